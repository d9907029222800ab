"""CREPE with its published weights against the package torchcrepe: probabilities, the way through them."""

import importlib
import sys
import types

import jax
import numpy as np
import pytest

from genre_jax.data.makam import synth
from genre_jax.errors import UserError
from genre_jax.features.audio_melody import AudioMelody
from genre_jax.features.crepe import Crepe

RATE_HZ = 16000


@pytest.fixture(scope='module')
def torchcrepe(parity_code):
    """Without torchaudio, which it reads files with and which knows no recent PyTorch."""
    sys.modules['torchaudio'] = types.ModuleType('torchaudio')
    return importlib.import_module('torchcrepe')


def voice(seconds, seed):
    """A voice that glides, rests, and is heard through noise."""
    rng = np.random.default_rng(seed)
    frames = round(seconds / 0.01)
    hz = 220 * 2 ** np.sin(np.arange(frames) / 40 + seed)
    hz[frames // 2 : frames // 2 + 40] = 0
    wave = synth.render(hz, 0.01, RATE_HZ) / 32767
    return (wave + 0.02 * rng.standard_normal(len(wave))).astype(np.float32), hz


@pytest.mark.parametrize(
    ('capacity', 'seconds', 'hop_length', 'f_min_hz', 'octaves'),
    [
        ('tiny', 2.0, 512, 82.5, 4), ('tiny', 1.317, 160, 50.0, 5), ('tiny', 0.07, 333, 100.0, 3),
        ('full', 1.0, 512, 82.5, 4),
    ],
)  # fmt: skip
def test_it_is_torchcrepes(torchcrepe, capacity, seconds, hop_length, f_min_hz, octaves):
    import torch

    waveform, _ = voice(seconds, 1)
    front_end = Crepe(network=f'crepe_{capacity}', hop_length=hop_length, f_min_hz=f_min_hz, octaves=octaves)
    probabilities = jax.jit(front_end.probabilities)(waveform)
    with torch.no_grad():
        [frames] = torchcrepe.preprocess(torch.tensor(waveform)[None], RATE_HZ, hop_length)
        theirs = torchcrepe.infer(frames, capacity)
    assert probabilities.shape == theirs.shape
    np.testing.assert_allclose(probabilities, theirs, rtol=0, atol=1e-4)

    # What their `postprocess` gives, but that its pitch is dithered: the bins are taken.
    ways = []

    def decode(logits):
        ways.append(torchcrepe.decode.viterbi(logits)[0])
        return ways[0], ways[0]

    _, periodicity = torchcrepe.postprocess(
        theirs.T[None].clone(), f_min_hz, f_min_hz * 2**octaves, decode, return_periodicity=True
    )
    way = np.asarray(jax.jit(front_end.way)(probabilities))
    np.testing.assert_array_equal(way, ways[0][0])

    # Their pitch lies within the bins about it; rests are what their threshold `At` makes of it.
    hz = np.asarray(jax.jit(front_end)(waveform))[:, 0]
    sure = np.abs(periodicity[0].numpy() - 0.21) > 1e-4
    np.testing.assert_array_equal((hz > 0)[sure], (periodicity[0].numpy() >= 0.21)[sure])
    centre_hz = 10 * 2 ** ((20 * way + 1997.3794084376191) / 1200)
    assert np.abs(1200 * np.log2(hz[hz > 0] / centre_hz[hz > 0])).max() < 80


def test_the_melody_is_heard_and_says_by_which_weights():
    waveform, true_hz = voice(3.0, 2)
    front_end = AudioMelody(tracker='crepe_tiny', hop_length=160)
    hz = np.asarray(jax.jit(front_end.pitch())(np.stack([waveform, -waveform])))[..., 0]
    inside = np.r_[20:140, 210:280]
    cents = 1200 * np.log2(hz[:, inside] / true_hz[inside])
    assert np.abs(cents).max() < 25
    assert (hz[:, 158:182] == 0).mean() > 0.8
    assert len(front_end.weights) == 64 and front_end.weights != AudioMelody(tracker='crepe_full').weights
    assert AudioMelody(tracker='crepe_tiny', weights=front_end.weights) == AudioMelody(tracker='crepe_tiny')
    with pytest.raises(UserError, match="weights='another': this version"):
        AudioMelody(tracker='crepe_tiny', weights='another')


def test_silence_and_what_is_no_number():
    clips = np.zeros((3, 8000), np.float32)
    clips[1:] = voice(0.5, 3)[0]
    clips[2, 100] = np.nan
    silent, good, bad = np.asarray(jax.jit(Crepe())(clips))[..., 0]
    assert (silent == 0).all() and np.isfinite(good).all() and (good > 0).any()
    assert np.isnan(bad[0]) and np.isfinite(bad[3:]).all()
