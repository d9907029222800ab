"""Tempo from the periodicity of note onsets, on the device."""

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.features import fourier, stft

_WINDOW_S = 8.0
_TYPICAL_BPM, _FASTEST_BPM = 120.0, 320.0


def onset_strength(mel_db: jax.Array, n_fft: int, hop_length: int) -> jax.Array:
    """Computes how much louder than the frame before each frame is, the median over the bands.

    Source: `librosa.onset.onset_strength(aggregate=np.median)`. `mel_db` is float32 (frames, bands) of
    centred frames of `n_fft` samples, in dB.
    """
    n_frames = mel_db.shape[0]
    rise = jnp.median(jnp.maximum(0.0, mel_db[1:] - mel_db[:-1]), axis=1)
    return jnp.pad(rise, (1 + n_fft // (2 * hop_length), 0))[:n_frames]


def tempo(
    onsets: jax.Array, sample_rate_hz: int, hop_length: int, n_frames: jax.Array | None = None
) -> jax.Array:
    """Estimates the tempo that `librosa.beat.beat_track` begins with, in beats a minute.

    The mean autocorrelation of the onset strength, float32 (frames,), in windows of 8 s, weighted by a
    log-normal prior around 120 beats a minute (Ellis, 2007). Without onsets it is 0. Behind the first
    `n_frames`, which alone are counted, they have to be 0.
    """
    n_frames = onsets.shape[0] if n_frames is None else n_frames
    length = int(_WINDOW_S * sample_rate_hz // hop_length)
    half = length // 2
    ramp = np.arange(half, dtype=np.float32) / half
    padded = jnp.concatenate([ramp * onsets[0], onsets, jnp.zeros(half)])
    behind = np.arange(len(padded)) - half - n_frames
    fading = ((half - 1 - behind) / half).clip(0) * onsets[n_frames - 1]
    padded = jnp.where(behind < 0, padded, fading)
    windows = stft.frames(padded, length, 1)[: onsets.shape[0]] * stft.hann_window(length)

    def autocorrelation(windows: jax.Array) -> jax.Array:
        spectrum = fourier.rfft(jnp.pad(windows, ((0, 0), (0, length))))
        return fourier.irfft(stft.power(spectrum), 2 * length)[:, :length]

    # In float32, rounding times 1e6 would outweigh the prior where nothing repeats.
    lags = stft.in_float64(autocorrelation)(windows)
    peak = jnp.abs(lags).max(1, keepdims=True)
    strength = lags / jnp.where(peak < jnp.finfo(jnp.float32).tiny, 1, peak)
    used = np.arange(len(onsets))[:, None] < n_frames
    strength = jnp.where(used, strength, 0).sum(0) / n_frames
    bpm = 60 * sample_rate_hz / (hop_length * np.arange(1, length))
    prior = np.where(bpm < _FASTEST_BPM, -0.5 * np.log2(bpm / _TYPICAL_BPM) ** 2, -np.inf)
    best = jnp.argmax(jnp.log1p(1e6 * strength[1:]) + prior.astype(np.float32))
    return jnp.where(onsets.any(), jnp.asarray(bpm, jnp.float32)[best], 0)
