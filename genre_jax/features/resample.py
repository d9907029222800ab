"""Band-limited resampling on the device."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError

# Zero crossings of the sinc on each side, the Kaiser window's shape, and the cut-off as a share of
# the lower Nyquist frequency: flat to 0.002 dB up to 91 % of it, and what would alias is at least
# 80 dB down.
_ZEROS = 64
_KAISER_BETA = 10.0
_ROLLOFF = 0.955
# Blocks of fewer outputs (one, for a factor of two) would turn the product below into slow copying.
_MIN_BLOCK = 128
# Rates without a common divisor need a filter for each of thousands of phases.
_MAX_COEFFICIENTS = 2**24


def resample(waveform: jax.Array, from_hz: int, to_hz: int) -> jax.Array:
    """Resamples along the last axis with a windowed-sinc polyphase filter.

    Source: Smith, Digital Audio Resampling. The output is made in blocks that all begin at the same
    phase, so that one matrix product with the filters of every phase yields them.

    Args:
        waveform: float32 (..., time) at `from_hz`.
        from_hz: sample rate of the input.
        to_hz: sample rate wanted.

    Returns:
        float32 (..., ceil(time * to_hz / from_hz)).

    Raises:
        UserError: the two rates would need too large a filter.
    """
    if from_hz == to_hz:
        return waveform
    divisor = math.gcd(from_hz, to_hz)
    repeat = -(-_MIN_BLOCK * divisor // to_hz)
    step, phases = repeat * from_hz // divisor, repeat * to_hz // divisor
    if phases * (step + 2 * _ZEROS * max(1, step / phases)) > _MAX_COEFFICIENTS:
        raise UserError(
            f'audio stored at {from_hz} Hz cannot be brought to {to_hz} Hz on the device, the rates have '
            f'too little in common: prepare it at a usual one, config.data.sample_rate_hz={to_hz}'
        )
    kernel, reach = _polyphase_kernel(step, phases)
    n_out = -(-waveform.shape[-1] * phases // step)
    n_blocks = -(-n_out // phases)
    flat = waveform.reshape(-1, waveform.shape[-1])
    needed = (n_blocks - 1) * step + kernel.shape[0]
    flat = jnp.pad(flat, ((0, 0), (reach, max(0, needed - reach - flat.shape[-1]))))
    samples = np.arange(n_blocks)[:, None] * step + np.arange(kernel.shape[0])
    blocks = jnp.matmul(flat[:, samples], kernel, precision='highest')
    return blocks.reshape((*waveform.shape[:-1], -1))[..., :n_out]


@functools.cache
def _polyphase_kernel(step: int, phases: int) -> tuple[np.ndarray, int]:
    """Builds the filter for every phase.

    Args:
        step: input samples from block to block.
        phases: output samples in one block.

    Returns:
        float32 [taps, phases], and how many samples before its block the filter begins.
    """
    cutoff = _ROLLOFF * min(1.0, phases / step)  # of the input's Nyquist frequency
    reach = math.ceil(_ZEROS / cutoff)
    # Output p of a block lies p * step / phases input samples after the block's first sample.
    offset = np.arange(-reach, reach + step)[:, None] - np.arange(phases) * step / phases
    inside = np.clip(offset * cutoff / _ZEROS, -1, 1)
    window = np.i0(_KAISER_BETA * np.sqrt(1 - inside**2)) / np.i0(_KAISER_BETA)
    window[np.abs(offset * cutoff) > _ZEROS] = 0
    return (cutoff * np.sinc(offset * cutoff) * window).astype(np.float32), reach
