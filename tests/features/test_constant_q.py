"""The constant-Q front end against librosa and by physics."""

import jax
import librosa
import numpy as np
import pytest

from genre_jax.errors import UserError
from genre_jax.features.constant_q import ConstantQ
from tests.features.test_features import signal
from tests.features.test_handcrafted import real_clip

SETTINGS = [
    (22050, {}),
    (16000, {'n_bins': 72, 'sparsity': 0.0}),
    (22050, {'n_bins': 180, 'bins_per_octave': 36, 'f_min_hz': 65.4, 'tuning': 0.3}),
    (44100, {'n_bins': 70, 'hop_length': 1024}),
    (22050, {'hop_length': 500, 'n_bins': 60}),  # can be halved only twice
    (22050, {'n_bins': 30, 'bins_per_octave': 24, 'f_min_hz': 110.0, 'hop_length': 2048}),
]


@pytest.mark.parametrize(('rate_hz', 'settings'), SETTINGS, ids=str)
@pytest.mark.parametrize('kind', ['music', 'noise', 'clicks', 'silence', 'full_scale_sine'])
def test_constant_q_is_librosas(rate_hz, settings, kind):
    """To 4e-4 of the largest value: the halvings are ours here and soxr's there.

    The highest octave, which needs none, agrees to float32 rounding.
    """
    front_end = ConstantQ(sample_rate_hz=rate_hz, **settings)
    waveform = real_clip(3) if kind == 'music' else signal(kind, rate_hz, 40001)
    # soxr begins and ends otherwise than with silence around the clip: what is cut off there, a whole
    # sine for one, would ring on in all octaves.
    fade = np.minimum(1, np.arange(len(waveform)) / 4000)
    waveform = (waveform * fade * fade[::-1]).astype(np.float32)
    theirs = np.abs(
        librosa.cqt(
            waveform, sr=rate_hz, hop_length=front_end.hop_length, fmin=front_end.f_min_hz,
            n_bins=front_end.n_bins, bins_per_octave=front_end.bins_per_octave,
            tuning=front_end.tuning, sparsity=front_end.sparsity,
        )
    ).T  # fmt: skip
    ours = np.asarray(jax.jit(front_end)(waveform))
    assert ours.shape == theirs.shape
    # Of a click each octave keeps a share of its height; its halvings ring as their filters do.
    scale = max(theirs.max(), 0.5 * float(np.abs(waveform).max()))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=4e-4 * scale)
    if settings == {}:
        highest = slice(-front_end.bins_per_octave, None)
        np.testing.assert_allclose(ours[:, highest], theirs[:, highest], rtol=0, atol=1e-5)


@pytest.mark.parametrize('bins_per_octave', [12, 24])
def test_each_bin_hears_its_frequency(bins_per_octave):
    front_end = ConstantQ(n_bins=5 * bins_per_octave, bins_per_octave=bins_per_octave, f_min_hz=110.0)
    compute = jax.jit(front_end)
    t = np.arange(30000) / 22050
    for k, hz in enumerate(front_end.frequencies_hz()):
        if k % 5 == 0:
            middle = compute(np.sin(2 * np.pi * hz * t).astype(np.float32))[30]
            assert int(middle.argmax()) == k
            # A sine of amplitude 1 gathers half the root of the window's length.
            quality = 1 / (2 ** (1 / bins_per_octave) - 2 ** (-1 / bins_per_octave)) * 2
            assert middle[k] == pytest.approx(np.sqrt(quality * 22050 / hz) / 2, rel=0.06)


def test_f_min_at_the_tonic_makes_bins_degrees():
    """The same scale from two tonics gives the same picture."""
    t = np.arange(22050) / 22050

    def scale(tonic_hz):
        hz = tonic_hz * 2 ** (np.array([0, 1, 4, 5, 7, 8, 11]) / 12)  # bhairav
        return np.concatenate([np.sin(2 * np.pi * f * t) for f in hz]).astype(np.float32)

    degrees = []
    for tonic_hz in (130.8, 152.0):
        front_end = ConstantQ(f_min_hz=tonic_hz, n_bins=48)
        degrees.append(np.asarray(jax.jit(front_end)(scale(tonic_hz)))[20 : 20 + 43 * 7 : 43].argmax(1))
    assert degrees[0].tolist() == degrees[1].tolist() == [0, 1, 4, 5, 7, 8, 11]


def test_decibel():
    waveform = signal('noise', 22050, 30000)
    plain = np.asarray(jax.jit(ConstantQ())(waveform))
    out = jax.jit(ConstantQ(compression='db', db_reference='peak', top_db=60.0))(waveform)
    theirs = librosa.amplitude_to_db(plain, ref=np.max, top_db=60.0)
    np.testing.assert_allclose(out, theirs, atol=1e-3)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'n_bins': 120}, 'beyond half the sample rate, 11025 Hz: lower n_bins'),
        ({'n_bins': 0}, r'config\.features\.n_bins=0'),
        ({'f_min_hz': -1.0}, r'config\.features\.f_min_hz=-1'),
        ({'sparsity': 1.0}, r'config\.features\.sparsity=1'),
        ({'compression': 'ln'}, r"compression='ln'"),
    ],
)
def test_mistakes_are_named(wrong, message):
    with pytest.raises(UserError, match=message):
        ConstantQ(**wrong)
