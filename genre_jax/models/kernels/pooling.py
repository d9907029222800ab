"""Pooling whose gradients are fast on CPUs, and exact: see `computed_once`."""

import functools

import jax
import jax.numpy as jnp

from genre_jax.models.kernels.computed_once import computed_once


def max_over(maps: jax.Array, axis: int) -> jax.Array:
    """Takes the maximum along a whole axis."""
    return computed_once(maps).max(axis)


def max_and_mean(sequence: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Takes the maximum and the mean over the frames of (batch, frames, channels)."""
    sequence = computed_once(sequence)
    return sequence.max(1), sequence.mean(1)


def max_pool_2x2(maps: jax.Array) -> jax.Array:
    """Takes the maximum of every 2 x 2 fields; an odd last row or column is left out.

    Maps are (batch, height, width, channels). The gradient of XLA's pooling windows takes over ten times as
    long on CPUs. The first of equal maxima gets it.
    """
    return functools.reduce(_larger, _fields(maps))


def max_pool_overlapping(maps: jax.Array) -> jax.Array:
    """Takes the maximum of every 4 values along axis 1, in windows that begin 2 apart.

    What is left over at its end is left out.
    """
    pairs = max_pool_along(maps, 1, 2)
    return _larger(pairs[:, :-1], pairs[:, 1:])


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def max_pool_along(maps: jax.Array, axis: int, size: int) -> jax.Array:
    """Takes the maximum of every `size` values along axis 1 or 2 of (batch, height, width, channels).

    What is left over at its end is left out. The gradient of XLA's pooling windows takes three times as
    long on CPUs. The first of equal maxima gets it.
    """
    return _windows(maps, axis, size).max(axis + 1)


def _windows(maps, axis, size):
    count = maps.shape[axis] // size
    maps = jax.lax.slice_in_dim(maps, 0, count * size, axis=axis)
    return maps.reshape(*maps.shape[:axis], count, size, *maps.shape[axis + 1 :])


@max_pool_along.defjvp
def _max_pool_jvp(axis, size, primals, tangents):
    maps = computed_once(primals[0])
    windows = _windows(maps, axis, size)
    highest = max_pool_along(maps, axis, size)
    is_highest = windows == jnp.expand_dims(highest, axis + 1)
    first = jnp.expand_dims(jax.lax.argmax(is_highest, axis + 1, jnp.int32), axis + 1)
    is_first = first == jax.lax.broadcasted_iota(jnp.int32, windows.shape, axis + 1)
    return highest, jnp.where(is_first, _windows(tangents[0], axis, size), 0).sum(axis + 1)


def avg_pool_2x2(maps: jax.Array) -> jax.Array:
    """Takes the mean of every 2 x 2 fields; an odd last row or column is left out.

    Maps are (batch, height, width, channels), the sums float32. XLA would join its pooling windows on CPUs
    with the convolution before them, to something slower.
    """
    return (sum(field.astype(jnp.float32) for field in _fields(maps)) / 4).astype(maps.dtype)


def _fields(maps):
    height, width = (size // 2 * 2 for size in maps.shape[1:3])
    return [maps[:, row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]


def _larger(first, second):
    # Not jnp.maximum, whose gradient looks for the field that equals the result: XLA may compute it twice
    # with different rounding, and the gradient was lost. NaN wins.
    return jnp.where((second > first) | jnp.isnan(second), second, first)
