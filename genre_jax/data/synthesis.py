"""What the synthetic datasets share: random numbers of one recording, and how it is brought to int16."""

from __future__ import annotations

import math

import numpy as np

from genre_jax.data import digests

# Harmonics above this share of the sample rate are left out.
HIGHEST_HARMONIC = 0.45


def generator(seed: int, track: str) -> np.random.Generator:
    """Returns the random numbers of one recording of a dataset of this seed, the same in every process."""
    return np.random.default_rng([seed, int.from_bytes(digests.of_text(track)[:8], 'little')])


def to_int16(
    wave: np.ndarray, rng: np.random.Generator, *, snr_db: float, peak_dbfs: float
) -> np.ndarray:
    """Adds white noise and scales to a peak; returns int16 [samples].

    Args:
        wave: float32 [samples], not silent; overwritten.
        rng: for the noise.
        snr_db: power of the wave over that of the noise; infinite for none.
        peak_dbfs: largest magnitude of the result, in dB below full scale.
    """
    power = np.mean(np.square(wave, dtype=np.float64))
    noise = rng.standard_normal(len(wave), np.float32)
    wave += noise * np.float32(math.sqrt(power) * 10 ** (-snr_db / 20))
    peak = 32767 * 10 ** (peak_dbfs / 20)
    return np.round(wave * np.float32(peak / np.abs(wave).max())).astype(np.int16)
