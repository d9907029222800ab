"""Kaldi's log-mel filter banks, as the Audio Spectrogram Transformer and BEATs take them in."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.features import fourier, mel, stft
from genre_jax.features.front_end import AudioFrontEnd, require_positive

_PREEMPHASIS = 0.97
_FLOOR = 1.1920929e-07  # float32's epsilon


@dataclasses.dataclass(frozen=True, kw_only=True)
class KaldiFilterBank(AudioFrontEnd):
    """Kaldi filter banks (HTK-compatible, no dither), padded, then standardised.

    Source: Gong, Chung and Glass, AST (2021), and torchaudio.compliance.kaldi.fbank. Frames that pad
    a clip to `target_frames` are 0 before standardisation, as published, hence above the mean after it.

    Attributes:
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band, 0 for half the sample rate.
        window: symmetric, 'hann', or 'povey', Kaldi's own: that to the power of 0.85.
        scale: the waveform is multiplied by it; Kaldi's is that of 16-bit samples, 32768.
        subtract_mean: subtracts the clip's mean first, as AST's authors do; the port in transformers
            does not.
        target_frames: pads with zeros, or cuts, to so many frames; 0: as many as the clip has.
        mean: subtracted from the result, in natural-log units; AudioSet's by default.
        std: the result is divided by twice this.
    """

    sample_rate_hz: int = 16000
    frame_length: int = 400
    hop_length: int = 160
    n_fft: int = 512
    n_mels: int = 128
    f_min_hz: float = 20.0
    f_max_hz: float = 0.0
    window: Literal['hann', 'povey'] = 'hann'
    scale: float = 1.0
    subtract_mean: bool = True
    target_frames: int = 1024
    mean: float = -4.2677393
    std: float = 4.5689974

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(
            self, 'sample_rate_hz', 'frame_length', 'hop_length', 'n_fft', 'n_mels', 'scale', 'std'
        )
        if not self.hop_length <= self.frame_length <= self.n_fft:
            raise UserError(
                f'config.features: expected hop_length={self.hop_length} <= frame_length='
                f'{self.frame_length} <= n_fft={self.n_fft}'
            )
        if self.target_frames < 0:
            raise UserError(f'config.features.target_frames={self.target_frames}: expected 0 or more')
        mel.check_bands(self.sample_rate_hz, self.n_fft, self.n_mels, self.f_min_hz, self.f_max_hz)

    @property
    def least_samples(self) -> int:
        """Samples of one frame."""
        return self.frame_length

    def check_length(self, n_samples: int) -> None:
        """Refuses clips shorter than one frame, and clips of which `target_frames` would drop a part."""
        super().check_length(n_samples)
        n_frames = 1 + (n_samples - self.frame_length) // self.hop_length
        if self.target_frames and n_frames > self.target_frames:
            raise UserError(
                f'config.features.target_frames={self.target_frames} would drop the end of clips of '
                f'{n_frames} frames: raise it, set it to 0, or lower config.windows.window_s'
            )

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (frames, n_mels) from one float32 waveform (time,)."""
        spectrum = stft.in_float64(self._transform)(waveform)
        filters = mel.mel_filters(
            self.sample_rate_hz, self.n_fft, self.n_mels, self.f_min_hz, self.f_max_hz,
            scale='htk', triangles='mel', unit_area=False,
        )  # fmt: skip
        power = stft.power(spectrum)
        bands = jnp.log(jnp.maximum(jnp.matmul(power, filters, precision='highest'), _FLOOR))
        if self.target_frames:
            missing = max(0, self.target_frames - bands.shape[0])
            bands = jnp.pad(bands[: self.target_frames], ((0, missing), (0, 0)))
        return (bands - self.mean) / (2 * self.std)

    def _transform(self, waveform: jax.Array) -> jax.Array:
        if self.subtract_mean:
            waveform = waveform - waveform.mean()
        frames = stft.frames(waveform, self.frame_length, self.hop_length)
        frames = frames - frames.mean(-1, keepdims=True)
        before = jnp.concatenate([frames[:, :1], frames[:, :-1]], -1)
        window = stft.hann_window(self.frame_length, periodic=False)
        if self.window == 'povey':
            window = window**0.85
        windowed = (frames - _PREEMPHASIS * before) * (self.scale * window).astype(frames.dtype)
        return fourier.rfft(jnp.pad(windowed, ((0, 0), (0, self.n_fft - self.frame_length))))
