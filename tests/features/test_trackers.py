"""Trackers of the melody: pYIN against librosa's, and what all refuse. CREPE: tests/parity/test_crepe.py."""

import functools

import jax
import librosa
import numpy as np
import pytest

from genre_jax.data.makam import synth
from genre_jax.errors import UserError
from genre_jax.features.audio_melody import AudioMelody
from genre_jax.features.pyin import Pyin

RATE_HZ = 16000


def sound(kind):
    rng = np.random.default_rng(0)
    hz = 200 * 2 ** np.sin(np.arange(90) / 12)
    hz[30:45] = 0
    voice = synth.render(hz, 0.032, RATE_HZ) / 32767
    return {
        'voice': voice,
        'in noise': voice + 0.05 * rng.standard_normal(len(voice)),
        'two': voice + 0.5 * np.roll(voice, 20_011),
        'noise': rng.uniform(-1, 1, len(voice)),
        'silence': np.zeros(5000),
    }[kind].astype(np.float32)


@functools.cache
def compiled(hop_length):
    return jax.jit(Pyin(hop_length=hop_length, f_min_hz=100.0, octaves=3))


@pytest.mark.parametrize(
    ('kind', 'hop_length'),
    [('voice', 512), ('in noise', 512), ('two', 512), ('noise', 512), ('silence', 512), ('two', 160)],
)
def test_it_is_librosas(kind, hop_length):
    waveform = sound(kind)
    hz, voiced, _ = librosa.pyin(
        waveform.astype(np.float64), fmin=100.0, fmax=800.0, sr=RATE_HZ, hop_length=hop_length
    )
    ours = np.asarray(compiled(hop_length)(waveform))[:, 0]
    assert ours.shape == hz.shape
    # A trough on one of the hundred thresholds may fall on its other side in float32.
    assert ((ours > 0) != voiced).mean() <= 0.01
    both = (ours > 0) & voiced
    assert both.sum() >= (0 if kind in ('silence', 'noise') else 60)
    far = np.abs(ours[both] - hz[both]) > 1e-3 * hz[both]
    assert far.sum() <= 0.01 * len(ours)


@pytest.mark.parametrize(
    ('tracker', 'fields', 'said'),
    [
        ('pyin', {'f_min_hz': 15.0}, 'f_min_hz=15: .*two periods of more than 15.6'),
        ('pyin', {'octaves': 7}, 'lower octaves or f_min_hz'),
        ('pyin', {'hop_length': 0}, 'hop_length'),
        ('pyin', {'voiced_db': 10.0}, "voiced_db=10.0: tracker='pyin' has no such key"),
        ('pyin', {'weights': 'others'}, "weights='others'"),
        ('constant_q', {'periodicity': 0.5}, "periodicity=0.5: tracker='constant_q' has no such key"),
        ('crepe_full', {'sample_rate_hz': 22050}, 'sample_rate_hz=22050: expected 16000'),
        ('crepe_full', {'octaves': 5}, '5 octaves from 82.5 Hz: CREPE hears 31.7 to 2005 Hz'),
        ('crepe_tiny', {'f_min_hz': 25.0}, '4 octaves from 25 Hz'),
        ('crepe', {}, "tracker='crepe': expected one of 'constant_q', 'pyin', 'crepe_tiny', 'crepe_full'"),
    ],
)
def test_what_cannot_be_is_refused(tracker, fields, said):
    with pytest.raises(UserError, match=said):
        AudioMelody(tracker=tracker, **fields)
