"""Pictures that are moved to the tonic: the same tune in another key is the same picture."""

import jax
import numpy as np
import pytest

from genre_jax import augment, features
from genre_jax.errors import UserError
from genre_jax.features.constant_q import ConstantQ

RATE_HZ = 16000
SETTINGS = {'name': 'tonic_constant_q', 'sample_rate_hz': RATE_HZ, 'hop_length': 1024, 'f_min_hz': 110.0}
SETTINGS |= {'n_bins': 84, 'bins_per_octave': 24, 'top_db': 40.0}


def tune(tonic_hz, seconds=3.0):
    """A scale of harmonic tones, on the tonic and above; noise as in a room, at -50 dB."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    degrees = np.array([0, 4, 7, 11, 12])
    semitones = degrees[(time_s / seconds * len(degrees)).astype(int)]
    phase = 2 * np.pi * np.cumsum(tonic_hz * 2 ** (semitones / 12)) / RATE_HZ
    sound = sum(np.sin(k * phase) / k for k in range(1, 7))
    return (0.2 * sound + 1e-3 * np.random.default_rng(0).standard_normal(len(sound))).astype(np.float32)


def picture(tonic_hz, told_hz, **settings):
    return np.asarray(features.build(SETTINGS | settings)(tune(tonic_hz), np.float32(told_hz)))


# Of 24 bins an octave: whole ones first, then between two; down from the nearest octave of f_min_hz, and up.
@pytest.mark.parametrize(
    ('cents', 'most'), [(50, 0.03), (400, 0.03), (-550, 0.03), (137, 0.1), (237, 0.1), (-310, 0.1)]
)
def test_a_tune_in_another_key_is_the_same_picture(cents, most):
    hz = 220 * 2 ** (cents / 1200)
    expected, ours, unmoved = picture(220, 220), picture(hz, hz), picture(hz, 220)
    away, before = (np.abs(each - expected)[3:-3].mean() for each in (ours, unmoved))
    assert away < most and before > 3 * away  # of pictures from -1 to 1


def test_the_tonic_stands_at_the_lowest_bin_and_its_octaves():
    for tonic_hz in (130.8, 146.8, 196.0, 246.9):
        hz = np.float32(tonic_hz)
        drone = 0.5 * np.sin(2 * np.pi * tonic_hz * np.arange(2 * RATE_HZ) / RATE_HZ).astype(np.float32)
        mean = np.asarray(features.build(SETTINGS)(drone, hz)).mean(0)
        assert mean.argmax() % 24 == 0
        # Whatever octave the tonic is told in.
        other = np.asarray(features.build(SETTINGS)(drone, 4 * hz)).mean(0)
        np.testing.assert_allclose(other, mean, atol=1e-3)


def test_nothing_is_filled_up():
    """Moved by whole bins it is the constant-Q spectrogram from so much higher up, to the last bin."""
    for bins in (-12, -5, 0, 11):
        told_hz = 110.0 * 2 ** (bins / 24)
        wide = ConstantQ(
            sample_rate_hz=RATE_HZ, hop_length=1024, f_min_hz=told_hz, n_bins=84, bins_per_octave=24,
            compression='db', db_reference='peak', top_db=40.0,
        )  # fmt: skip
        expected = 1 + np.asarray(wide(tune(220))) / 20
        # A hair above, for -12 and rounding: half an octave below is half an octave above.
        found = picture(220, told_hz * 2 ** (1e-5 / 12))
        assert np.abs(found - expected).mean() < 0.01


def test_batches_are_told_each_its_own():
    front_end = features.build(SETTINGS)
    hz = np.float32([[150, 210], [180, 333]])
    clips = np.stack([tune(each, 1.0) for each in hz.ravel()]).reshape(2, 2, -1)
    found = jax.jit(front_end)(clips, hz)
    for index in np.ndindex(2, 2):
        np.testing.assert_allclose(found[index], front_end(clips[index], hz[index]), atol=2e-4)


def test_left_where_it_is_no_tonic_is_needed():
    still = features.build(SETTINGS | {'to_tonic': False})
    assert features.build(SETTINGS).needs_tonic and not still.needs_tonic
    np.testing.assert_allclose(still(tune(220)), picture(220, 110), atol=1e-5)


def test_what_changes_the_tonic_is_refused():
    labels = ('a', 'b')
    for settings in (
        {'pitch_shift': {'max_semitones': 1.0}},
        {'speed': {'max_factor': 1.1}},
        {'mixup': {'alpha': 1.0, 'on': 'waveform'}},
    ):
        with pytest.raises(UserError, match='changes the tonic, which config.features is told: take it out'):
            augment.Augmentation(settings, labels).check_tonics(learns=False)
    augment.Augmentation({'mixup': {'alpha': 1.0}, 'time_stretch': {'max_factor': 1.1}}, labels).check_tonics(
        False
    )
    with pytest.raises(UserError, match='reach up to'):
        features.build(SETTINGS | {'n_bins': 150})
