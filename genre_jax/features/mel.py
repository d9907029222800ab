"""Mel scales and triangular mel filters."""

import functools
from typing import Literal

import numpy as np

from genre_jax.errors import UserError

MelScale = Literal['slaney', 'htk']
_MOST_WEIGHTS = 2**25  # 1024 bands of an FFT of 32768


def hz_to_mel(hz: np.ndarray | float, scale: MelScale) -> np.ndarray:
    """Converts frequencies to mel.

    'slaney': 3 mel for 200 Hz up to 1 kHz, then 27 mel for each factor of 6.4. 'htk': 1127 ln(1 + f / 700).
    """
    hz = np.asarray(hz, np.float64)
    if scale == 'htk':
        return 1127 * np.log1p(hz / 700)
    above = 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4)
    return np.where(hz < 1000, hz * 3 / 200, above)


def mel_to_hz(mel: np.ndarray | float, scale: MelScale) -> np.ndarray:
    """Converts mel to frequencies in Hz, the inverse of `hz_to_mel`."""
    mel = np.asarray(mel, np.float64)
    if scale == 'htk':
        return 700 * np.expm1(mel / 1127)
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))


def check_bands(sample_rate_hz: int, n_fft: int, n_mels: int, f_min_hz: float, f_max_hz: float) -> None:
    """Refuses bands that would fill the memory, and edges outside 0 ... half the sample rate: a UserError."""
    if n_fft * n_mels > _MOST_WEIGHTS:
        raise UserError(
            f'config.features: n_fft={n_fft} and n_mels={n_mels} are more than {_MOST_WEIGHTS} together, '
            'multiplied: lower them'
        )
    nyquist_hz = sample_rate_hz / 2
    if not 0 <= f_min_hz < (f_max_hz or nyquist_hz) <= nyquist_hz:
        raise UserError(
            f'config.features: f_min_hz={f_min_hz} and f_max_hz={f_max_hz} do not fit into '
            f'0 ... {nyquist_hz:g} Hz, half the sample rate'
        )


@functools.cache
def mel_filters(
    sample_rate_hz: int,
    n_fft: int,
    n_mels: int,
    f_min_hz: float,
    f_max_hz: float,
    scale: MelScale = 'slaney',
    triangles: Literal['hz', 'mel'] = 'hz',
    unit_area: bool = True,
) -> np.ndarray:
    """Builds triangular filters whose edges are spaced evenly in mel.

    As `librosa.filters.mel(...).T` with the defaults, float32 [n_fft // 2 + 1, n_mels]. An `f_max_hz` of 0
    is half the sample rate. The triangles' sides are straight over Hz (librosa) or over mel (Kaldi, HTK).
    `unit_area` scales each to unit area in Hz ("Slaney" normalisation), else to a peak of 1.
    """
    low, high = hz_to_mel(f_min_hz, scale), hz_to_mel(f_max_hz or sample_rate_hz / 2, scale)
    edges_mel = np.linspace(low, high, n_mels + 2)
    edges_hz = mel_to_hz(edges_mel, scale)
    bins_hz = np.arange(n_fft // 2 + 1)[:, None] * sample_rate_hz / n_fft
    if triangles == 'hz':
        edges, bins = edges_hz, bins_hz
    else:
        edges, bins = edges_mel, hz_to_mel(bins_hz, scale)
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    area = 2 / (edges_hz[2:] - edges_hz[:-2]) if unit_area else 1.0
    return (np.maximum(0, np.minimum(rising, falling)) * area).astype(np.float32)
