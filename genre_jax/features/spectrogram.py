"""Spectrograms, linear or in mel bands, plain or compressed: most published front ends."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.features import mel, stft
from genre_jax.features.front_end import FrontEnd, require_choice, require_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectrogram(FrontEnd):
    """Short-time spectrum, gathered into mel bands where asked for, compressed and standardised.

    Attributes:
        sample_rate_hz: rate of the waveform that comes in.
        n_fft: length of the FFT, in samples.
        win_length: length of the (periodic Hann) window, in samples, 0 for `n_fft`.
        hop_length: samples between frames.
        padding: 'zeros' or 'reflect' centre frame t at sample t * hop_length; 'none' keeps to whole
            frames inside the clip.
        drop_last_frame: leaves out the last frame: as many as whole hops.
        power: exponent of the magnitude, 1 or 2.
        n_mels: number of mel bands, 0 for the linear spectrum of n_fft // 2 + 1 bins.
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band, 0 for half the sample rate.
        mel_scale: 'slaney' or 'htk'.
        mel_triangles: whether the bands' sides are straight over 'hz' or over 'mel'.
        mel_unit_area: bands of unit area, else of unit height.
        compression: 'none'; 'ln', ln(x + log_offset); 'log10', log10(1 + log_scale x); or 'db',
            10 log10(max(x, 1e-10)) for a power, 20 log10(max(x, 1e-5)) for a magnitude.
        log_offset: of 'ln'.
        log_scale: of 'log10'.
        db_below_peak: with 'db', 0 dB is the clip's peak and lower values than minus this are raised
            to it; 0: 0 dB is a value of 1, nothing is raised.
        mean: subtracted from the result, in its own unit.
        std: the result is divided by it.
    """

    sample_rate_hz: int = 22050
    n_fft: int = 1024
    win_length: int = 0
    hop_length: int = 512
    padding: stft.Padding = 'zeros'
    drop_last_frame: bool = False
    power: int = 2
    n_mels: int = 0
    f_min_hz: float = 0.0
    f_max_hz: float = 0.0
    mel_scale: mel.MelScale = 'slaney'
    mel_triangles: Literal['hz', 'mel'] = 'hz'
    mel_unit_area: bool = True
    compression: Literal['none', 'ln', 'log10', 'db'] = 'none'
    log_offset: float = 1e-6
    log_scale: float = 10000.0
    db_below_peak: float = 0.0
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        require_positive(
            self, 'sample_rate_hz', 'n_fft', 'hop_length', 'log_offset', 'log_scale', 'std'
        )
        require_choice(self, 'padding', stft.PADDINGS)
        require_choice(self, 'mel_scale', mel.MEL_SCALES)
        require_choice(self, 'mel_triangles', ('hz', 'mel'))
        require_choice(self, 'compression', ('none', 'ln', 'log10', 'db'))
        for name in ('n_mels', 'win_length', 'db_below_peak'):
            if not getattr(self, name) >= 0:
                raise UserError(f'config.features.{name}={getattr(self, name)}: expected 0 or more')
        if self.power not in (1, 2):
            raise UserError(f'config.features.power={self.power}: expected 1 or 2')
        if self.win_length > self.n_fft:
            raise UserError(
                f'config.features.win_length={self.win_length} does not fit into n_fft={self.n_fft}'
            )
        if self.hop_length > (self.win_length or self.n_fft):
            raise UserError(
                f'config.features.hop_length={self.hop_length}: samples between windows of '
                f'{self.win_length or self.n_fft} would be left out; expected at most the window'
            )
        if self.n_mels:
            self._check_bands()

    def _check_bands(self) -> None:
        nyquist_hz = self.sample_rate_hz / 2
        if not 0 <= self.f_min_hz < (self.f_max_hz or nyquist_hz) <= nyquist_hz:
            raise UserError(
                f'config.features: f_min_hz={self.f_min_hz} and f_max_hz={self.f_max_hz} do not fit '
                f'into 0 ... {nyquist_hz} Hz, half the sample rate'
            )
        empty = int((self._filters().sum(0) == 0).sum())
        if empty:
            raise UserError(
                f'config.features: {empty} of {self.n_mels} mel bands hold no FFT bin: lower n_mels or '
                f'raise n_fft={self.n_fft}'
            )

    def _filters(self) -> jax.Array:
        return mel.mel_filters(
            self.sample_rate_hz, self.n_fft, self.n_mels, self.f_min_hz, self.f_max_hz,
            self.mel_scale, self.mel_triangles, self.mel_unit_area,
        )  # fmt: skip

    @property
    def least_samples(self) -> int:
        """Samples of one window, centred or not."""
        return self.win_length or self.n_fft

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (frames, bins) from one float32 waveform (time,)."""
        spectrum = stft.stft(
            waveform, n_fft=self.n_fft, win_length=self.win_length or self.n_fft,
            hop_length=self.hop_length, padding=self.padding,
        )  # fmt: skip
        if self.drop_last_frame:
            spectrum = spectrum[:-1]
        bands = spectrum.real**2 + spectrum.imag**2
        if self.power == 1:
            # The square root's slope at an empty bin is infinite; its gradient is taken to be zero.
            bands = jnp.where(bands > 0, jnp.sqrt(jnp.where(bands > 0, bands, 1)), 0)
        if self.n_mels:
            bands = jnp.matmul(bands, self._filters(), precision='highest')
        return (self._compress(bands) - self.mean) / self.std

    def _compress(self, bands: jax.Array) -> jax.Array:
        if self.compression == 'ln':
            return jnp.log(bands + self.log_offset)
        if self.compression == 'log10':
            return jnp.log10(1 + self.log_scale * bands)
        if self.compression == 'db':
            return decibel(bands, self.power, self.db_below_peak)
        return bands


def decibel(bands: jax.Array, power: int, below_peak_db: float) -> jax.Array:
    """Converts magnitudes or powers to decibel, as `librosa.power_to_db` and `amplitude_to_db`.

    Args:
        bands: float32 (frames, bins) of one clip.
        power: 1 for magnitudes, 2 for powers.
        below_peak_db: 0 dB is the clip's peak, values lower than minus this are raised to it; 0: 0 dB
            is a value of 1, nothing is raised.
    """
    values = 20 / power * jnp.log10(jnp.maximum(bands, 1e-10 if power == 2 else 1e-5))
    if not below_peak_db:
        return values
    return jnp.maximum(values - values.max(), -below_peak_db)
