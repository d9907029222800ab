"""Log-mel spectrograms of a waveform whose high frequencies are raised first, as EfficientAT hears."""

import dataclasses

import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.features import mel, stft
from genre_jax.features.front_end import AudioFrontEnd, require_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmphasisedMel(AudioFrontEnd):
    """Pre-emphasis, short-time power in HTK mel bands, logarithm, standardised.

    Source: Koutini et al., PaSST (2022), and Schmid et al., EfficientAT (2023): their `AugmentMelSTFT`, not
    augmented. The first sample has none before it and is left out; the window is a symmetric Hann window,
    centred in the FFT, and frames are centred with reflected ends. The narrowest bands, which hold no bin of
    the FFT, have the value of silence always, as published.

    Attributes:
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band, 0 for half the sample rate.
        preemphasis: share of the sample before that is subtracted from each.
        log_offset: added to the power before the natural logarithm.
        mean: subtracted from the result, in natural-log units.
        std: the result is divided by it.
    """

    sample_rate_hz: int = 32000
    n_fft: int = 1024
    win_length: int = 800
    hop_length: int = 320
    n_mels: int = 128
    f_min_hz: float = 0.0
    f_max_hz: float = 15000.0
    preemphasis: float = 0.97
    log_offset: float = 1e-5
    mean: float = -4.5
    std: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(
            self, 'sample_rate_hz', 'n_fft', 'win_length', 'hop_length', 'n_mels', 'log_offset', 'std'
        )
        if not self.hop_length <= self.win_length <= self.n_fft:
            raise UserError(
                f'config.features: expected hop_length={self.hop_length} <= win_length={self.win_length} '
                f'<= n_fft={self.n_fft}'
            )
        mel.check_bands(self.sample_rate_hz, self.n_fft, self.n_mels, self.f_min_hz, self.f_max_hz)

    @property
    def least_samples(self) -> int:
        """Samples of one window, and the one before it."""
        return 1 + self.win_length

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (frames, n_mels) from one float32 waveform (time,)."""
        emphasised = waveform[1:] - self.preemphasis * waveform[:-1]
        spectrum = stft.stft(
            emphasised, n_fft=self.n_fft, win_length=self.win_length, hop_length=self.hop_length,
            padding='reflect', periodic=False,
        )  # fmt: skip
        filters = mel.mel_filters(
            self.sample_rate_hz, self.n_fft, self.n_mels, self.f_min_hz, self.f_max_hz,
            scale='htk', triangles='mel', unit_area=False,
        )  # fmt: skip
        bands = jnp.matmul(stft.power(spectrum), filters, precision='highest')
        return (jnp.log(bands + self.log_offset) - self.mean) / self.std
