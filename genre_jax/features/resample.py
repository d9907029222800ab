"""Band-limited resampling on the device."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.features import fourier, stft
from genre_jax.features.front_end import over_clips

# The filter of soxr's 'HQ': a sinc cut off at this share of the lower Nyquist frequency, under a
# Kaiser window over so many of its zeros on each side. It is flat to 1e-5 dB up to 91 % of that
# frequency; what would alias is at least 120 dB down.
_ROLLOFF = 0.9568718
_ZEROS = 93.056
_KAISER_BETA = 13.0401
# Shorter blocks would be mostly overlap, longer ones leave the cache.
_LEAST_BLOCK = 4096


def resample(waveform: jax.Array, from_hz: int, to_hz: int) -> jax.Array:
    """Resamples float32 (..., time) with a windowed sinc to (..., ceil(time * to_hz / from_hz)).

    Source: Smith, Digital Audio Resampling. Overlapping blocks are filtered in the frequency domain,
    where another rate is another number of bins.
    """
    if from_hz == to_hz:
        return waveform
    if waveform.ndim == 1:
        return _resample_clip(waveform, from_hz, to_hz)
    one = functools.partial(_resample_clip, from_hz=from_hz, to_hz=to_hz)
    flat = over_clips(one, waveform.reshape(-1, waveform.shape[-1]), unroll=True)
    return flat.reshape(*waveform.shape[:-1], -1)


def _resample_clip(waveform: jax.Array, from_hz: int, to_hz: int) -> jax.Array:
    divisor = math.gcd(from_hz, to_hz)
    # Input and output fall together only every so many samples: blocks consist of such steps.
    step_in, step_out = from_hz // divisor, to_hz // divisor
    cutoff = _ROLLOFF * min(1.0, to_hz / from_hz)  # of the input's Nyquist frequency
    margin = math.ceil(_ZEROS / cutoff / step_in)
    # A power of two: with the usual rates, the blocks are then lengths that suit an FFT.
    n_steps = 2 ** math.ceil(math.log2(max(_LEAST_BLOCK / step_in, 8 * margin)))
    n_kept = n_steps - 2 * margin

    n_out = -(-waveform.shape[0] * step_out // step_in)
    n_blocks = -(-n_out // (n_kept * step_out))
    missing = (n_blocks * n_kept + margin) * step_in - waveform.shape[0]
    blocks = stft.frames(jnp.pad(waveform, (margin * step_in, missing)), n_steps * step_in, n_kept * step_in)
    n_bins = n_steps * min(step_in, step_out) // 2 + 1
    response = _low_pass(cutoff, n_steps * step_in)[:n_bins] * (to_hz / from_hz)
    resampled = fourier.irfft(fourier.rfft(blocks)[:, :n_bins] * response, n_steps * step_out)
    kept = resampled[:, margin * step_out : (margin + n_kept) * step_out]
    return kept.reshape(-1)[:n_out]


def low_pass(waveform: jax.Array, cutoff: jax.Array) -> jax.Array:
    """Takes out of float32 (time,) what lies above a share of the Nyquist frequency, which may be traced.

    By 100 dB; flat below 97.5 % of half the sample rate less than that share.
    """
    reach, n_fft = 256, 4096
    offset = np.arange(-reach, reach + 1)
    centre = cutoff - 0.0125  # half of the way from flat to silent
    kernel = centre * jnp.sinc(offset * centre) * np.kaiser(2 * reach + 1, 10.0).astype(np.float32)
    response = fourier.rfft(jnp.roll(jnp.pad(kernel, (0, n_fft - len(offset))), -reach)).real
    n_kept = n_fft - 2 * reach
    missing = -waveform.shape[0] % n_kept
    blocks = stft.frames(jnp.pad(waveform, (reach, missing + reach)), n_fft, n_kept)
    filtered = fourier.irfft(fourier.rfft(blocks) * response, n_fft)
    return filtered[:, reach : reach + n_kept].reshape(-1)[: waveform.shape[0]]


@functools.cache
def _low_pass(cutoff: float, n_fft: int) -> np.ndarray:
    """Builds the response, float32 [n_fft // 2 + 1]; the cutoff is a share of the Nyquist frequency."""
    reach = math.floor(_ZEROS / cutoff)
    offset = np.arange(-reach, reach + 1)
    window = np.i0(_KAISER_BETA * np.sqrt(1 - (offset * cutoff / _ZEROS) ** 2))
    kernel = np.zeros(n_fft)
    kernel[offset] = cutoff * np.sinc(offset * cutoff) * window / np.i0(_KAISER_BETA)
    return np.fft.rfft(kernel).real.astype(np.float32)
