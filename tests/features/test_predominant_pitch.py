"""The melody's pitch: of tones whose frequency is known, and of synthetic raags, by MIREX's measures."""

import functools

import jax
import mir_eval
import numpy as np
import pytest

from genre_jax.data.makam import synth
from genre_jax.data.synthetic_raag import Source, sound
from genre_jax.errors import UserError
from genre_jax.features import audio_melody, melody
from genre_jax.features.predominant_pitch import PredominantPitch

RATE_HZ, HOP = 16000, 512
FRAME_S = HOP / RATE_HZ


@functools.cache
def compiled(**fields):
    return jax.jit(PredominantPitch(**fields))


def pitch_of(waveform, **fields):
    return np.asarray(compiled(**fields)(waveform.astype(np.float32) / 32767))[:, 0]


def cents(found_hz, true_hz):
    return 1200 * np.log2(found_hz / true_hz)


@pytest.mark.parametrize('hz', [95.0, 221.3, 400.0, 1000.0])
def test_a_steady_tone(hz):
    found = pitch_of(synth.render(np.full(80, hz), FRAME_S, RATE_HZ))
    assert np.abs(cents(found[10:70], hz)).max() < 6


def test_a_glide_is_followed_and_rests_are_rests():
    hz = 200 * 2 ** np.linspace(0, 1.5, 200)
    hz[90:130] = 0
    found = pitch_of(synth.render(hz, FRAME_S, RATE_HZ))[: len(hz)]
    inside = np.r_[10:75, 145:190]  # windows at the ends, and beside the rest, hear other things too
    assert np.abs(cents(found[inside], hz[inside])).max() < 25
    assert (found[103:117] == 0).all()


def test_silence_has_no_pitch():
    assert (pitch_of(np.zeros(20_000, np.int16)) == 0).all()


def test_silence_behind_changes_nothing():
    """Recordings are filled up with zeros to the longest; what is heard of them stays."""
    wave = synth.render(200 * 2 ** np.sin(np.arange(90) / 20), FRAME_S, RATE_HZ)
    alone, filled = pitch_of(wave), pitch_of(np.pad(wave, (0, 60_000)))
    np.testing.assert_allclose(filled[:80], alone[:80], rtol=1e-4)
    assert (filled[len(alone) + 25 :] == 0).all()


def accuracies(n_tracks, **fields):
    """Means over tracks with drone and room: raw pitch within 50 and 25 cents, raw chroma, overall."""
    source = Source(duration_s=10)
    rows = []
    for recording in source.recordings()[0][:: 320 // n_tracks + 1]:  # each by another musician
        notes = source.melody(recording.track)
        found = pitch_of(source.load(recording), **fields)
        true = sound.contour(notes, 10.0, RATE_HZ)[np.minimum(np.arange(len(found)) * HOP, 10 * RATE_HZ - 1)]
        time_s = np.arange(len(found)) * FRAME_S
        both = mir_eval.melody.to_cent_voicing(time_s, true, time_s, found)
        rows.append(
            [
                mir_eval.melody.raw_pitch_accuracy(*both),
                mir_eval.melody.raw_pitch_accuracy(*both, cent_tolerance=25),
                mir_eval.melody.raw_chroma_accuracy(*both),
                mir_eval.melody.overall_accuracy(*both),
            ]
        )
    return np.mean(rows, 0)


def test_melodies_over_a_drone():
    """0.93, 0.92, 0.94 and 0.90: floors that another octave or bin now and then would fall below."""
    pitch, near, chroma, overall = accuracies(16)
    assert pitch > 0.9 and near > 0.89 and chroma >= pitch and overall > 0.87


def test_audio_at_another_tonic_has_the_same_melody():
    """Played a fifth higher the features begin elsewhere, and are the same."""
    rng = np.random.default_rng(0)
    hz = 200 * 2 ** (np.repeat(rng.integers(0, 8, 60), 15) * 2 / 12)
    steps = 62  # of half bins, of 53 in an octave
    front_end = audio_melody.AudioMelody(delays_s=(0.3,), components=40)
    rows = [
        np.asarray(jax.jit(front_end)(synth.render(each, FRAME_S, RATE_HZ).astype(np.float32) / 32767))
        for each in (hz, hz * 2 ** (steps / 106))
    ]
    lower, higher = (melody.columns(each, 53) for each in rows)
    np.testing.assert_allclose(higher.lowest - lower.lowest, steps / 2, atol=1e-3)
    for one, other in ((lower.folded, higher.folded), (lower.unfolded, higher.unfolded)):
        assert 0.5 * np.abs(one[:, 0] - other[:, 0]).sum(-1).max() < 0.05  # shares of the time


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'octaves': 7}, 'lower octaves or f_min_hz'),
        ({'bins_per_octave': 3}, 'at least 12'),
        ({'voiced_db': 0.0}, 'voiced_db'),
        ({'hop_length': 0}, 'hop_length'),
    ],
)
def test_what_cannot_be_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        PredominantPitch(**fields)
