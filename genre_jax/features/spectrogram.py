"""Spectrograms, linear or in mel bands, plain or compressed: most published front ends."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.features import mel, stft
from genre_jax.features.front_end import AudioFrontEnd, require_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectrogram(AudioFrontEnd):
    """Short-time spectrum, gathered into mel bands where asked for, compressed and standardised.

    Attributes:
        n_fft: length of the FFT.
        win_length: length of the (periodic Hann) window, 0 for `n_fft`.
        padding: 'zeros' or 'reflect' centre frame t at sample t * hop_length; 'none' keeps to whole
            frames inside the clip.
        drop_last_frame: leaves out the last frame: as many as whole hops.
        float64: transforms in float64 on a CPU (`stft.in_float64`), for logarithms that reach far down.
        power: exponent of the magnitude, 1 or 2.
        n_mels: number of mel bands, 0 for the linear spectrum of n_fft // 2 + 1 bins.
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band, 0 for half the sample rate.
        mel_triangles: whether the bands' sides are straight over 'hz' or over 'mel'.
        mel_unit_area: bands of unit area, else of unit height.
        compression: 'none'; 'ln', ln(x + log_offset); 'log10', log10(1 + log_scale x); or 'db',
            10 log10(max(x, 1e-10)) for a power, 20 log10(max(x, 1e-5)) for a magnitude.
        db_reference: 0 dB is a value of 'one', or the clip's 'peak'.
        top_db: with 'db', values more than so much below the clip's peak are raised to that; 0: none.
        mean: subtracted from the result, in its own unit.
        std: the result is divided by it.
    """

    sample_rate_hz: int = 22050
    n_fft: int = 1024
    win_length: int = 0
    hop_length: int = 512
    padding: stft.Padding = 'zeros'
    drop_last_frame: bool = False
    float64: bool = False
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
    db_reference: Literal['one', 'peak'] = 'one'
    top_db: float = 0.0
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'sample_rate_hz', 'n_fft', 'hop_length', 'log_offset', 'log_scale', 'std')
        for name in ('n_mels', 'win_length', 'top_db'):
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
            mel.check_bands(self.sample_rate_hz, self.n_fft, self.n_mels, self.f_min_hz, self.f_max_hz)
            if empty := int((self._filters().sum(0) == 0).sum()):
                raise UserError(
                    f'config.features: {empty} of {self.n_mels} mel bands hold no FFT bin: lower n_mels '
                    f'or raise n_fft={self.n_fft}'
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
        return (self.compressed(waveform) - self.mean) / self.std

    def compressed(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (frames, bins) from one waveform (time,), not yet standardised."""
        spectrum = stft.stft(
            waveform, n_fft=self.n_fft, win_length=self.win_length or self.n_fft,
            hop_length=self.hop_length, padding=self.padding,
            float64=self.float64,
        )  # fmt: skip
        if self.drop_last_frame:
            spectrum = spectrum[:-1]
        bands = stft.power(spectrum)
        if self.power == 1:
            bands = stft.magnitude(bands)
        if self.n_mels:
            bands = jnp.matmul(bands, self._filters(), precision='highest')
        if self.compression == 'ln':
            return jnp.log(bands + self.log_offset)
        if self.compression == 'log10':
            return jnp.log10(1 + self.log_scale * bands)
        if self.compression == 'db':
            return decibel(bands, self.power, self.db_reference, self.top_db)
        return bands


def decibel(bands: jax.Array, power: int, reference: Literal['one', 'peak'], top_db: float) -> jax.Array:
    """Converts one clip to decibel, as `librosa.power_to_db` and `librosa.amplitude_to_db`.

    `power` is 1 for magnitudes, 2 for powers; reference and `top_db` are those of `Spectrogram`.
    """
    values = 20 / power * jnp.log10(jnp.maximum(bands, 1e-10 if power == 2 else 1e-5))
    peak = values.max()
    if reference == 'peak':
        # Not the maximum once more: rounded otherwise it is none of the values, its gradient no number.
        values, peak = values - peak, 0.0
    return jnp.maximum(values, peak - top_db) if top_db else values
