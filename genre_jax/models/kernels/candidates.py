"""Candidates for the tonic: pitch classes on two grids, half a bin apart, of which training draws some."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.features import melody


class Candidates(NamedTuple):
    """Candidates of a batch, each (batch, candidates)."""

    row: jax.Array  # the grid
    place: jax.Array  # in it, bins from its lowest candidate
    correction: jax.Array  # added to their scores, for others that were not drawn
    share: jax.Array  # how much each is the true tonic; 0 where that is unknown
    height: jax.Array  # octaves above 1 Hz


def every(lowest: jax.Array, tonic_hz: jax.Array, bins: int) -> Candidates:
    """Returns all candidates of both grids, from the lowest upwards.

    `lowest` are those of the grids, in bins above `melody.REFERENCE_HZ`, (batch, 2); tonics are (batch,) in
    Hz, 0 where unknown; an octave has `bins`.
    """
    place, row = np.divmod(np.arange(melody.GRIDS * bins), melody.GRIDS)
    above, known = _above_lowest(lowest, tonic_hz, bins)
    share = known * _shares(above[:, row], place, bins) / melody.GRIDS
    place, row = (jnp.broadcast_to(each, share.shape) for each in (place, row))
    return Candidates(row, place, jnp.zeros(share.shape), share, _height(lowest, row, place, bins))


def drawn(
    key: jax.Array, lowest: jax.Array, tonic_hz: jax.Array, bins: int, kept: int, nearest: bool = False
) -> Candidates:
    """Draws `kept` candidates of one grid for each example: those next to its tonic, and others.

    `nearest` takes one of the two next to the tonic, the more often the nearer it is, and not the other.
    Further arguments as `every`.
    """
    of_row, of_order = jax.random.split(key)
    row = jax.random.randint(of_row, (len(tonic_hz), 1), 0, melody.GRIDS)
    above, known = _above_lowest(lowest, tonic_hz, bins)
    above = jnp.take_along_axis(above, row, 1)
    lower = jnp.floor(above)
    grid = np.arange(bins)
    sides = jnp.stack([grid == lower, grid == (lower + 1) % bins], 1)  # (batch, 2, bins)
    next_to_it, share_of = known & sides.any(1), _shares(above, grid, bins)
    if nearest:
        upper = jax.random.uniform(jax.random.fold_in(key, 2), above.shape) < above - lower
        chosen = known & jnp.where(upper, sides[:, 1], sides[:, 0])
        share_of = chosen.astype(jnp.float32)
    else:
        chosen = next_to_it
    order = jax.random.uniform(of_order, next_to_it.shape) + 2.0 * chosen - next_to_it
    place = jax.lax.top_k(order, kept)[1]
    certain, away = chosen.sum(1, keepdims=True), bins - next_to_it.sum(1, keepdims=True)
    is_certain, share = (jnp.take_along_axis(each, place, 1) for each in (chosen, share_of))
    correction = jnp.where(is_certain, 0, jnp.log(away / (kept - certain)))
    row = jnp.broadcast_to(row, place.shape)
    return Candidates(row, place, correction, known * share, _height(lowest, row, place, bins))


def _above_lowest(lowest: jax.Array, tonic_hz: jax.Array, bins: int) -> tuple[jax.Array, jax.Array]:
    """Returns how far tonics lie above the lowest candidates, bins (batch, 2), and which are known."""
    known = tonic_hz > 0
    place = melody.bins_above_reference(jnp.where(known, tonic_hz, melody.REFERENCE_HZ), bins)
    return jnp.mod(place[:, None] - lowest, bins), known[:, None]


def _shares(above: jax.Array, place: jax.Array, bins: int) -> jax.Array:
    """Divides a tonic between the two candidates of a grid that lie next to it."""
    away = jnp.abs(above - place)
    return jnp.maximum(0, 1 - jnp.minimum(away, bins - away))


def _height(lowest: jax.Array, row: jax.Array, place: jax.Array, bins: int) -> jax.Array:
    return np.log2(melody.REFERENCE_HZ) + (jnp.take_along_axis(lowest, row, 1) + place) / bins
