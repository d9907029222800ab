"""What the synthetic datasets share: settings, random numbers, instruments, and the way to int16."""

import math
from typing import Any, NamedTuple

import numpy as np

from genre_jax.data import digests
from genre_jax.errors import UserError

# Harmonics above this share of the sample rate are left out.
HIGHEST_HARMONIC = 0.45
_NONE = (0.0, 0.0)


class Family(NamedTuple):
    """Ranges (low, high) from which an instrument of a family is drawn."""

    tilt: tuple[float, float]  # harmonic k starts from the amplitude k ** -tilt
    even: tuple[float, float]  # factor on the even harmonics
    attack_s: tuple[float, float]  # time to full strength
    decay_s: tuple[float, float]  # time constant of the decay; infinite for a held tone
    inharmonicity: tuple[float, float] = _NONE  # B in f_k = k f_1 sqrt((1 + B k^2) / (1 + B))
    vibrato_cents: tuple[float, float] = _NONE  # peak deviation
    damping: tuple[float, float] = _NONE  # harmonic k decays 1 + damping * (k - 1) times as fast
    meend: tuple[float, float] = _NONE  # share of the notes that are reached by a glide


def check(name: str, *settings: tuple[str, object, Any, float, float]) -> None:
    """Refuses settings of a dataset, (key, value, kind of number, least, most), that are out of range.

    None is refused unless the kind holds it, as `numbers.Real | None`. Raises UserError.
    """
    for key, value, kind, least, most in settings:
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not (fits and (value is None or (least <= value <= most and math.isfinite(value)))):
            number = 'a number' if isinstance(0.5, kind) else 'a whole number'
            end = f'to {most}' if math.isfinite(most) else 'up'
            none = ', or None' if isinstance(None, kind) else ''
            raise UserError(f'data.{name}: {key} is {value!r}, expected {number} from {least} {end}{none}')


def generator(seed: int, track: str) -> np.random.Generator:
    """Returns the random numbers of one recording of a dataset of this seed, the same in every process."""
    return np.random.default_rng([seed, int.from_bytes(digests.of_text(track)[:8], 'little')])


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draws a number from low to high, evenly on the scale of its logarithm."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def draw_amplitudes(
    family: Family, rng: np.random.Generator, harmonics: int, spread_db: float
) -> tuple[float, ...]:
    """Draws the amplitudes of the harmonics, with a standard deviation of their own in dB."""
    amplitudes = np.arange(1, harmonics + 1) ** -rng.uniform(*family.tilt)
    amplitudes *= 10 ** (rng.normal(0, spread_db, harmonics) / 20)
    amplitudes[1::2] *= rng.uniform(*family.even)
    return tuple(amplitudes.tolist())


def to_int16(wave: np.ndarray, rng: np.random.Generator, *, snr_db: float, peak_dbfs: float) -> np.ndarray:
    """Adds white noise and scales to a peak; returns int16 [samples].

    The wave, float32 [samples], not silent, is overwritten. `snr_db` is its power over that of the noise,
    infinite for none; `peak_dbfs` the largest magnitude of the result, in dB below full scale.
    """
    power = np.mean(np.square(wave, dtype=np.float64))
    noise = rng.standard_normal(len(wave), np.float32)
    wave += noise * np.float32(math.sqrt(power) * 10 ** (-snr_db / 20))
    peak = 32767 * 10 ** (peak_dbfs / 20)
    return np.round(wave * np.float32(peak / np.abs(wave).max())).astype(np.int16)
