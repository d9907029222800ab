"""Constant-Q spectrograms: bins spaced evenly in pitch, each with its own window."""

import dataclasses
import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features import stft
from genre_jax.features.front_end import AudioFrontEnd, require_positive
from genre_jax.features.resample import resample
from genre_jax.features.spectrogram import decibel

_HANN_BANDWIDTH = 1.50018310546875  # librosa's, in bins of the window's transform


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantQ(AudioFrontEnd):
    """Magnitude of the constant-Q transform, as `librosa.cqt`.

    Source: Schoerkhuber and Klapuri (2010): the bins of the highest octave are inner products with
    short windows; for each octave below, the waveform is brought to half its rate and the same is done
    again. With f_min_hz at a singer's tonic, the bins are degrees of the scale.

    Attributes:
        f_min_hz: lowest bin; by default C1.
        tuning: shifts all bins up, in shares of a bin.
        sparsity: share of each filter's spectrum that is dropped, from its weakest parts: librosa's
            approximation for speed; 0 is exact.
        compression: 'none', or 'db', 20 log10(max(x, 1e-5)).
        db_reference: 0 dB is a value of 'one', or the clip's 'peak'.
        top_db: with 'db', values more than so much below the clip's peak are raised to that; 0: none.
    """

    sample_rate_hz: int = 22050
    hop_length: int = 512
    f_min_hz: float = 440 * 2 ** (-45 / 12)
    n_bins: int = 84
    bins_per_octave: int = 12
    tuning: float = 0.0
    sparsity: float = 0.01
    compression: Literal['none', 'db'] = 'none'
    db_reference: Literal['one', 'peak'] = 'one'
    top_db: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'sample_rate_hz', 'hop_length', 'f_min_hz', 'n_bins', 'bins_per_octave')
        if not 0 <= self.sparsity < 1:
            raise UserError(f'config.features.sparsity={self.sparsity}: expected 0 <= sparsity < 1')
        highest_hz = self.frequencies_hz()[-1] * (1 + _HANN_BANDWIDTH / 2 / self._quality())
        if highest_hz > self.sample_rate_hz / 2:
            raise UserError(
                f'config.features: {self.n_bins} bins from {self.f_min_hz:g} Hz reach up to '
                f'{highest_hz:.0f} Hz, beyond half the sample rate, {self.sample_rate_hz / 2:g} Hz: '
                'lower n_bins or f_min_hz'
            )

    def frequencies_hz(self) -> np.ndarray:
        """Returns the centre of each bin, in Hz."""
        steps = np.arange(self.n_bins) + self.tuning
        return self.f_min_hz * 2.0 ** (steps / self.bins_per_octave)

    def _quality(self) -> float:
        """Returns centre frequency over bandwidth, the same for all bins."""
        ratio = 2 ** (2 / self.bins_per_octave)
        return (ratio + 1) / (ratio - 1)

    @property
    def least_samples(self) -> int:
        """Samples of the shortest window: longer ones may reach beyond the clip, into silence."""
        return math.ceil(self._quality() * self.sample_rate_hz / self.frequencies_hz()[-1])

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (frames, n_bins) from one float32 waveform (time,)."""
        octaves = []
        halvings = 0
        for kernel, n_halvings in _octaves(self):
            for _ in range(n_halvings - halvings):
                waveform = resample(waveform, 2, 1)
            halvings = n_halvings
            padded = stft.pad(waveform, len(kernel), 'zeros')
            frames = stft.frames(padded, len(kernel), self.hop_length >> halvings)
            both = jnp.matmul(frames, kernel, precision='highest')
            real, imaginary = jnp.split(both, 2, axis=1)
            octaves.append(stft.magnitude(real**2 + imaginary**2))
        n_frames = min(len(octave) for octave in octaves)
        bins = jnp.concatenate([octave[:n_frames] for octave in octaves[::-1]], axis=1)
        if self.compression == 'db':
            return decibel(bins, 1, self.db_reference, self.top_db)
        return bins


@functools.cache
def _octaves(front_end: ConstantQ) -> list[tuple[np.ndarray, int]]:
    """Builds the filters of each octave, from the highest, and how often the waveform is halved before.

    Filters are float32 [samples, 2 x bins], real parts, then imaginary ones.
    """
    frequencies_hz, quality = front_end.frequencies_hz(), front_end._quality()
    cutoff_hz = frequencies_hz[-1] * (1 + _HANN_BANDWIDTH / 2 / quality)
    n_octaves = math.ceil(front_end.n_bins / front_end.bins_per_octave)
    # As often as the rate may be halved at once for the highest octave, and hop_length allows it.
    twos = (front_end.hop_length & -front_end.hop_length).bit_length() - 1
    spare = math.ceil(math.log2(front_end.sample_rate_hz / 2 / cutoff_hz)) - 2
    halvings = min(max(0, spare), max(0, twos - n_octaves + 1))
    octaves = []
    for last in range(front_end.n_bins, 0, -front_end.bins_per_octave):
        first = max(0, last - front_end.bins_per_octave)
        octaves.append((_filters(front_end, frequencies_hz[first:last], halvings), halvings))
        if halvings < twos:
            halvings += 1
    return octaves


def _filters(front_end: ConstantQ, frequencies_hz: np.ndarray, halvings: int) -> np.ndarray:
    """Builds the windows of some bins as librosa does, float32 [samples, 2 x bins]."""
    quality, full_rate_hz = front_end._quality(), front_end.sample_rate_hz
    lengths = quality * full_rate_hz / frequencies_hz / 2**halvings
    n_fft = 2 ** math.ceil(math.log2(lengths.max()))
    windows = np.zeros((len(lengths), n_fft), np.complex128)
    for row, length, hz in zip(windows, lengths, frequencies_hz, strict=True):
        n = np.arange(-length // 2, length // 2)
        window = stft.hann_window(len(n))
        wave = window * np.exp(2j * np.pi * hz * 2**halvings / full_rate_hz * n)
        start = (n_fft - len(n)) // 2
        # The halved waveform gathers half as much in half as many samples: 2**halvings.
        wave = wave / window.sum() * length / n_fft * 2**halvings
        row[start : start + len(n)] = wave / np.sqrt(quality * full_rate_hz / hz)
    spectra = np.fft.fft(windows)[:, : n_fft // 2 + 1]
    if front_end.sparsity:
        weakest = np.sort(np.abs(spectra), axis=1)
        dropped = np.cumsum(weakest / weakest.sum(1, keepdims=True), axis=1) < front_end.sparsity
        least = np.take_along_axis(weakest, dropped.argmin(1)[:, None], 1)
        spectra = np.where(np.abs(spectra) >= least, spectra, 0)
    # A product with the frame's spectrum, written as one with the frame.
    turn = np.exp(-2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) / n_fft)
    kernel = (spectra @ turn).T
    return np.concatenate([kernel.real, kernel.imag], axis=1).astype(np.float32)
