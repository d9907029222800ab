"""Harmonic-percussive separation by median filters, on the device."""

import functools

import jax
import jax.numpy as jnp

_LENGTH = 31
HALF = _LENGTH // 2  # neighbours on each side
_STRIP = 64  # rows or columns whose windows stay in a CPU's cache


def median_filter_31(values: jax.Array, axis: int) -> jax.Array:
    """Computes the running median of 31 neighbours along axis 0 or 1 of float32 (rows, columns), 0 or more.

    The ends are reflected (the edge value repeated), as `scipy.ndimage.median_filter(mode='reflect')`.
    """
    # Floats of 0 and above are ordered as their bits are, and integers have no NaN to look out for.
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)
    filtered = jax.lax.platform_dependent(
        bits if axis == 0 else bits.T, cpu=_in_strips, default=_median_of_rows
    )
    filtered = jax.lax.bitcast_convert_type(filtered, jnp.float32)
    return filtered if axis == 0 else filtered.T


def _in_strips(values: jax.Array) -> jax.Array:
    rows, columns = values.shape
    strips = jnp.pad(values, ((0, 0), (0, -columns % _STRIP))).reshape(rows, -1, _STRIP)
    filtered = jax.lax.map(_median_of_rows, strips.transpose(1, 0, 2))
    return filtered.transpose(1, 0, 2).reshape(rows, -1)[:, :columns]


def _median_of_rows(values: jax.Array) -> jax.Array:
    """Computes the running median along axis 0.

    Sorted windows of 2, 4, 8 and 16 neighbours are merged from sorted halves, for all positions at
    once; two windows of 16 that share their middle element make up one of 31.
    """
    runs = [jnp.pad(values, ((HALF, HALF), (0, 0)), mode='symmetric')]
    for width in (1, 2, 4, 8):
        size = runs[0].shape[0] - width
        left, right = [run[:size] for run in runs], [run[width:] for run in runs]
        runs = [_kth_of_two(left, right, k) for k in range(1, 2 * width + 1)]
        # Without it each window would be computed anew from the values, in every one of its uses.
        runs = jax.lax.optimization_barrier(runs)
    size = values.shape[0]
    left, right = [run[:size] for run in runs], [run[HALF:] for run in runs]
    # `values` itself is the element that both hold. Of the 32 the 16th and 17th are in the middle:
    # when one copy is taken out below them the 17th becomes the 16th of 31, else the 16th stays.
    lower, upper = _kth_of_two(left, right, 16), _kth_of_two(left, right, 17)
    return jnp.where(values <= lower, upper, lower)


def _kth_of_two(left: list[jax.Array], right: list[jax.Array], k: int) -> jax.Array:
    """Returns the k-th smallest, from 1, of two sorted lists of equal length, elementwise."""
    least = max(0, k - len(right))
    candidates = []
    for taken in range(least, min(k, len(left)) + 1):  # from the left, k - taken from the right
        largest = [left[taken - 1]] * (taken > 0) + [right[k - taken - 1]] * (k > taken)
        candidates.append(functools.reduce(jnp.maximum, largest))
    return functools.reduce(jnp.minimum, candidates)


def soft_masks(magnitude: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes the shares of the harmonic and of the percussive part of (frames, bins), which sum to 1.

    Source: Fitzgerald (2010), as `librosa.decompose.hpss` with its defaults (31 x 31, power 2).
    """
    harmonic = median_filter_31(magnitude, axis=0)
    percussive = median_filter_31(magnitude, axis=1)
    largest = jnp.maximum(harmonic, percussive)
    empty = largest < jnp.finfo(jnp.float32).tiny
    largest = jnp.where(empty, 1, largest)
    harmonic, percussive = (harmonic / largest) ** 2, (percussive / largest) ** 2
    share = jnp.where(empty, 0.5, harmonic / jnp.where(empty, 1, harmonic + percussive))
    return share, 1 - share
