"""Mel-frequency cepstral coefficients."""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features.front_end import require_positive
from genre_jax.features.spectrogram import Spectrogram


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mfcc(Spectrogram):
    """Cosine transform of a mel spectrogram in decibel, as `librosa.feature.mfcc`.

    Attributes:
        n_mfcc: number of coefficients, at most `n_mels`.
    """

    n_fft: int = 2048
    n_mels: int = 128
    n_mfcc: int = 20
    compression: Literal['none', 'ln', 'log10', 'db'] = 'db'
    top_db: float = 80.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'n_mels', 'n_mfcc')
        if self.n_mfcc > self.n_mels:
            raise UserError(f'config.features.n_mfcc={self.n_mfcc}: expected at most n_mels={self.n_mels}')

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (frames, n_mfcc) from one float32 waveform (time,)."""
        bands = self.compressed(waveform)
        cepstrum = jnp.matmul(bands, dct_matrix(self.n_mfcc, self.n_mels), precision='highest')
        return (cepstrum - self.mean) / self.std


@functools.cache
def dct_matrix(n_mfcc: int, n_mels: int) -> np.ndarray:
    """Returns the first columns of the orthonormal cosine transform (DCT-II), float32 [n_mels, n_mfcc]."""
    angle = np.pi * np.outer(np.arange(n_mels) + 0.5, np.arange(n_mfcc)) / n_mels
    scale = np.where(np.arange(n_mfcc) == 0, np.sqrt(1 / n_mels), np.sqrt(2 / n_mels))
    return (np.cos(angle) * scale).astype(np.float32)
