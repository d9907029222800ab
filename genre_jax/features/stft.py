"""Frames, windows and the short-time Fourier transform of one clip."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.features import fourier

Padding = Literal['zeros', 'reflect', 'none']


@functools.cache
def hann_window(n: int, periodic: bool = True) -> np.ndarray:
    """Returns the Hann window of `n` samples, float64 [n].

    Periodic as for spectra (one period of n samples), else symmetric (of n - 1).
    """
    period = n if periodic else n - 1
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / period)


def pad(waveform: jax.Array, n_fft: int, padding: Padding) -> jax.Array:
    """Adds half a frame at both ends of (time,), so that frame t is centred at sample t * hop_length.

    'reflect' is about the first and the last sample, 'none' adds nothing.
    """
    if padding == 'none':
        return waveform
    half = n_fft // 2
    return jnp.pad(waveform, half, mode='constant' if padding == 'zeros' else 'reflect')


def frames(waveform: jax.Array, frame_length: int, hop_length: int) -> jax.Array:
    """Cuts (time,) into its whole frames, (1 + (time - frame_length) // hop_length, frame_length)."""
    starts = np.arange(1 + (waveform.shape[0] - frame_length) // hop_length) * hop_length
    # Copies of whole frames: a gather of single samples takes several times as long.
    return jax.vmap(lambda start: jax.lax.dynamic_slice(waveform, (start,), (frame_length,)))(
        jnp.asarray(starts)
    )


def in_float64(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Lets a function of one float32 array compute in float64 where the backend is a CPU.

    In float32 the rounding of a strong partial covers whatever lies 140 dB below it, which a logarithm
    brings to light. Other backends, where float64 is slow or missing, stay with float32. The function's
    constants are of its input's type; results are float32 or complex64, and the gradient is the float32
    one.
    """

    def with_float64(x: jax.Array) -> jax.Array:
        with jax.enable_x64(True):
            y = function(x.astype(jnp.float64))
            return y.astype(jnp.complex64 if jnp.iscomplexobj(y) else jnp.float32)

    # vmap would rewrite the float64 operations after this context has ended: it gets a new one.
    @jax.custom_batching.custom_vmap
    def on_this_backend(x: jax.Array) -> jax.Array:
        return jax.lax.platform_dependent(x, cpu=with_float64, default=function)

    @on_this_backend.def_vmap
    def batched(axis_size: int, in_batched: list[bool], x: jax.Array) -> tuple[jax.Array, bool]:
        return in_float64(jax.vmap(function))(x), True

    @jax.custom_vjp
    def precise(x: jax.Array) -> jax.Array:
        return on_this_backend(x)

    precise.defvjp(lambda x: (precise(x), x), lambda x, cotangent: jax.vjp(function, x)[1](cotangent))
    return precise


def stft(
    waveform: jax.Array,
    *,
    n_fft: int,
    win_length: int,
    hop_length: int,
    padding: Padding,
    float64: bool = False,
    periodic: bool = True,
) -> jax.Array:
    """Computes complex64 (frames, n_fft // 2 + 1) from float32 (time,) with a Hann window, see `hann_window`.

    A window shorter than the FFT is centred in it when `padding` centres the frames (as librosa does), else
    followed by zeros. See `pad` for the padding, `in_float64` for float64.
    """
    window = np.zeros(n_fft)
    before = 0 if padding == 'none' else (n_fft - win_length) // 2
    window[before : before + win_length] = hann_window(win_length, periodic)
    padded = pad(waveform, n_fft, padding)
    if padding == 'none':  # of the last frame only the window has to lie inside the clip
        padded = jnp.pad(padded, (0, n_fft - win_length))

    def transform(frames: jax.Array) -> jax.Array:
        return fourier.rfft(frames * window.astype(frames.dtype))

    return (in_float64(transform) if float64 else transform)(frames(padded, n_fft, hop_length))


def power(spectrum: jax.Array) -> jax.Array:
    """Returns the squared magnitude."""
    return spectrum.real**2 + spectrum.imag**2


def magnitude(power: jax.Array) -> jax.Array:
    """Returns the root of a power; its slope at 0 is infinite, and the gradient taken to be zero."""
    # Not `power > 0`: what is not a number stays so.
    return jnp.where(power == 0, 0, jnp.sqrt(jnp.where(power == 0, 1, power)))


def inverse(spectrum: jax.Array, n_samples: int, used: jax.Array | None = None) -> jax.Array:
    """Inverts a centred short-time Fourier transform with a Hann window of four hops.

    complex64 (frames, n_fft // 2 + 1) give float32 (n_samples,): at most as many as the frames have without
    half a frame at the beginning. Frames that are not `used`, bool (frames,), have to be 0.
    """
    n_frames, n_fft = spectrum.shape[0], 2 * (spectrum.shape[1] - 1)
    window = hann_window(n_fft).astype(np.float32)
    span = slice(n_fft // 2, n_fft // 2 + n_samples)
    xp, used = (np, np.ones(n_frames, bool)) if used is None else (jnp, used)
    weight = _overlap_add(used[:, None] * window**2, xp)[span]
    scale = 1 / xp.where(weight > np.finfo(np.float32).tiny, weight, 1)
    return _overlap_add(fourier.irfft(spectrum, n_fft) * window, jnp)[span] * scale


def _overlap_add(frames: jax.Array | np.ndarray, xp: ModuleType) -> jax.Array | np.ndarray:
    """Adds frames four hops long, with numpy or jax.numpy."""
    hops = frames.reshape(frames.shape[0], 4, -1)
    return sum(xp.pad(hops[:, i], ((i, 3 - i), (0, 0))) for i in range(4)).reshape(-1)
