"""Frames, windows and the short-time Fourier transform of one clip."""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

Padding = Literal['zeros', 'reflect', 'none']
PADDINGS = ('zeros', 'reflect', 'none')


@functools.cache
def hann_window(n: int, periodic: bool = True) -> np.ndarray:
    """Returns the Hann window of `n` samples, float32 [n].

    Args:
        n: its length.
        periodic: as for spectra (one period of n samples), else symmetric (of n - 1).
    """
    period = n if periodic else n - 1
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / period)).astype(np.float32)


def pad(waveform: jax.Array, n_fft: int, padding: Padding) -> jax.Array:
    """Adds half a frame at both ends, so that frame t is centred at sample t * hop_length.

    Args:
        waveform: (time,).
        n_fft: length of a frame.
        padding: 'zeros', 'reflect' (about the first and the last sample), or 'none': nothing added.
    """
    if padding == 'none':
        return waveform
    half = n_fft // 2
    return jnp.pad(waveform, half, mode='constant' if padding == 'zeros' else 'reflect')


def frames(waveform: jax.Array, frame_length: int, hop_length: int) -> jax.Array:
    """Cuts a waveform into its whole frames.

    Args:
        waveform: (time,), at least one frame long.
        frame_length: samples in one frame.
        hop_length: samples from frame to frame.

    Returns:
        (1 + (time - frame_length) // hop_length, frame_length).
    """
    starts = np.arange(1 + (waveform.shape[0] - frame_length) // hop_length) * hop_length
    # Copies of whole frames: a gather of single samples takes several times as long.
    return jax.vmap(lambda start: jax.lax.dynamic_slice(waveform, (start,), (frame_length,)))(
        jnp.asarray(starts)
    )


def stft(
    waveform: jax.Array, *, n_fft: int, win_length: int, hop_length: int, padding: Padding
) -> jax.Array:
    """Computes the short-time Fourier transform with a periodic Hann window.

    Args:
        waveform: float32 (time,).
        n_fft: length of the FFT, in samples.
        win_length: length of the window, in samples: where it is shorter than the FFT, centred in it
            when `padding` centres the frames (as librosa does), else followed by zeros.
        hop_length: samples from frame to frame.
        padding: see `pad`.

    Returns:
        complex64 (frames, n_fft // 2 + 1).
    """
    if padding == 'none':
        return jnp.fft.rfft(frames(waveform, win_length, hop_length) * hann_window(win_length), n_fft)
    window = np.zeros(n_fft, np.float32)
    before = (n_fft - win_length) // 2
    window[before : before + win_length] = hann_window(win_length)
    return jnp.fft.rfft(frames(pad(waveform, n_fft, padding), n_fft, hop_length) * window)
