"""Log-mel spectrograms on the device."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogMel:
    """ln(mel magnitude + offset), centred frames, zeros beyond the ends, Slaney mel bands.

    The defaults are the 80-band front end of Schindler, Lidy and Rauber (2016) and of Herbert's
    re-implementation: 80 frames of 80 bands from 0.93 s. The paper's window of 1024 and hop of 512
    samples give 80 frames at 44.1 kHz; here they are halved with the rate, 22.05 kHz.

    Attributes:
        sample_rate_hz: rate of the waveform that comes in.
        n_fft: length of the (periodic Hann) window and of the FFT, in samples.
        hop_length: samples between frames.
        n_mels: number of bands.
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band, 0 for half the sample rate.
        log_offset: added before the logarithm; magnitudes of full-scale audio reach about n_fft / 4.
        mean: subtracted from the result, in natural-log units.
        std: the result is divided by it.
    """

    sample_rate_hz: int = 22050
    n_fft: int = 512
    hop_length: int = 256
    n_mels: int = 80
    f_min_hz: float = 0.0
    f_max_hz: float = 0.0
    log_offset: float = 1e-6
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        for name in ('sample_rate_hz', 'n_fft', 'hop_length', 'n_mels', 'log_offset', 'std'):
            if not getattr(self, name) > 0:
                raise UserError(
                    f'config.features.{name}={getattr(self, name)!r}: expected a value above 0'
                )
        if (
            not 0
            <= self.f_min_hz
            < (self.f_max_hz or self.sample_rate_hz / 2)
            <= self.sample_rate_hz / 2
        ):
            raise UserError(
                f'config.features: f_min_hz={self.f_min_hz} and f_max_hz={self.f_max_hz} do not fit '
                f'into 0 ... {self.sample_rate_hz / 2} Hz, half the sample rate'
            )
        filters = mel_filters(
            self.sample_rate_hz, self.n_fft, self.n_mels, self.f_min_hz, self.f_max_hz
        )
        empty = int((filters.sum(0) == 0).sum())
        if empty:
            raise UserError(
                f'config.features: {empty} of {self.n_mels} mel bands hold no FFT bin: lower n_mels or '
                f'raise n_fft={self.n_fft}'
            )

    def frames(self, n_samples: int) -> int:
        """Returns the number of frames of a waveform of `n_samples` samples: one a whole hop."""
        return max(1, n_samples // self.hop_length)

    def __call__(self, waveform: jax.Array) -> jax.Array:
        """Computes the features.

        Args:
            waveform: float32 (..., time) in [-1, 1] at `sample_rate_hz`.

        Returns:
            float32 (..., frames, n_mels).
        """
        n_frames = self.frames(waveform.shape[-1])
        half = self.n_fft // 2
        ends = [(0, 0)] * (waveform.ndim - 1) + [(half, half + self.n_fft)]
        padded = jnp.pad(waveform, ends)
        samples = np.arange(n_frames)[:, None] * self.hop_length + np.arange(self.n_fft)
        spectrum = jnp.abs(jnp.fft.rfft(padded[..., samples] * hann_window(self.n_fft)))
        mel = jnp.matmul(
            spectrum,
            mel_filters(self.sample_rate_hz, self.n_fft, self.n_mels, self.f_min_hz, self.f_max_hz),
            precision='highest',
        )
        return (jnp.log(mel + self.log_offset) - self.mean) / self.std


FLAVOURS = {'schindler': LogMel}


@functools.cache
def hann_window(n: int) -> np.ndarray:
    """Returns the periodic Hann window of `n` samples, float32 [n]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)


def _slaney_mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Slaney's scale: 3 mel for 200 Hz up to 1 kHz, then 27 mel for each factor of 6.4."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))


def _slaney_hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


@functools.cache
def mel_filters(
    sample_rate_hz: int, n_fft: int, n_mels: int, f_min_hz: float, f_max_hz: float
) -> np.ndarray:
    """Builds triangular mel filters on Slaney's scale, each of unit area (in Hz).

    Args:
        sample_rate_hz: sample rate.
        n_fft: FFT length.
        n_mels: number of bands.
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band, 0 for half the sample rate.

    Returns:
        float32 [n_fft // 2 + 1, n_mels], as `librosa.filters.mel(...).T`.
    """
    low, high = _slaney_hz_to_mel(f_min_hz), _slaney_hz_to_mel(f_max_hz or sample_rate_hz / 2)
    edges_hz = _slaney_mel_to_hz(np.linspace(low, high, n_mels + 2))
    bins_hz = np.arange(n_fft // 2 + 1)[:, None] * sample_rate_hz / n_fft
    rising = (bins_hz - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - bins_hz) / np.diff(edges_hz)[1:]
    area = 2 / (edges_hz[2:] - edges_hz[:-2])
    return (np.maximum(0, np.minimum(rising, falling)) * area).astype(np.float32)
