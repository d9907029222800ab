"""The sequence network: convolutions over a melody's steps, the same for every candidate tonic.

Where `orbit` counts what a melody holds, this one hears in which order. Each candidate turns the pitch
classes until it stands first, and the same layers give one score for each class; a softmax over candidates
times classes makes probabilities, as there. A transposed melody has the same candidates in another place.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features.melody_sequence import BESIDE, GRIDS
from genre_jax.models.kernels.candidates import Candidates, drawn, every
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.network import Network, Scores

_HEADS = 4  # of the attention over steps
_NEVER = -1e9


class _Scorer(nn.Module):
    """Convolutions and three ways of pooling: float32 (batch, steps, columns) to scores and hidden units."""

    num_classes: int
    widths: tuple[int, int]
    hidden_units: int
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, seen: jax.Array, inside: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        narrow, wide = self.widths
        maps, inside = self._layer(seen, inside, narrow, 5, 'conv_1', stride=2)
        maps = maps + self._layer(maps, inside, narrow, 5, 'conv_2')[0]
        maps, inside = _larger_of_pairs(maps), _larger_of_pairs(inside)
        maps, inside = self._layer(maps, inside, wide, 5, 'conv_3')
        maps, inside = _larger_of_pairs(maps), _larger_of_pairs(inside)
        maps = (maps + self._layer(maps, inside, wide, 3, 'conv_4')[0]).astype(jnp.float32)
        weight = jax.nn.softmax(jnp.where(inside > 0, nn.Dense(_HEADS, name='attention')(maps), _NEVER), 1)
        attended = jnp.einsum('bth,btc->bhc', weight, maps).reshape(len(maps), -1)
        mean = (maps * inside).sum(1) / jnp.maximum(inside.sum(1), 1)
        most = jnp.where(inside > 0, maps, -10.0).max(1)  # above any step's
        pooled = Dropout(self.dropout)(jnp.concatenate([mean, most, attended], -1), train)
        dense = nn.Dense(self.hidden_units, dtype=self.dtype, name='dense_1')
        hidden = nn.gelu(dense(pooled)).astype(jnp.float32)
        return nn.Dense(self.num_classes, name='output')(Dropout(self.dropout)(hidden, train)), hidden

    def _layer(
        self, maps: jax.Array, inside: jax.Array, width: int, taps: int, name: str, stride: int = 1
    ) -> tuple[jax.Array, jax.Array]:
        """Convolves, normalises, and sets to 0 what lies after the end; returns which steps do not."""
        conv = nn.Conv(width, (taps,), (stride,), dtype=self.dtype, name=name)
        maps = nn.gelu(nn.LayerNorm(dtype=self.dtype, name=f'{name}_norm')(conv(maps)))
        inside = inside[:, ::stride]
        return maps * inside.astype(maps.dtype), inside


def _larger_of_pairs(maps: jax.Array) -> jax.Array:
    """Keeps the larger one of steps 0 and 1, 2 and 3, ...: max_pool, whose gradient is slow on CPUs."""
    steps = maps.shape[1] // 2
    return maps[:, : 2 * steps].reshape(len(maps), steps, 2, -1).max(2)


class Model(Network):
    """The network. 174,552 parameters with the defaults on 53 bins with 20 classes.

    Attributes:
        widths: of the first two and of the last two convolutions.
        hidden_units: after pooling.
        candidates: tonics that a recording is trained with at a time, the true one among them.
        input_dropout: of the columns, each for all steps.
        dropout: before each of the last two layers.
        bins_per_octave: those of the front end.
    """

    names_tonic = True

    widths: tuple[int, int] = (64, 96)
    hidden_units: int = 128
    candidates: int = 2
    input_dropout: float = 0.1
    dropout: float = 0.25
    bins_per_octave: int = 53

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        return (('scorer',),)

    @nn.compact
    def __call__(
        self, features: jax.Array, train: bool, tonic_hz: jax.Array | None = None
    ) -> tuple[jax.Array | Scores, jax.Array]:
        """Classifies melodies (batch, steps, columns), at least 8 steps; the rest is as in `orbit`."""
        bins = self.bins_per_octave
        if features.ndim != 3 or features.shape[1] < 8 or features.shape[2] != GRIDS * bins + BESIDE:
            raise UserError(
                f'config.model.name=sequence: expected at least 8 steps of config.features.name='
                f"'melody_sequence' with bins_per_octave={bins}, got the shape {features.shape[1:]}"
            )
        lowest = jnp.broadcast_to(np.arange(GRIDS) / GRIDS, (len(features), GRIDS))
        known_hz = jnp.zeros(len(features)) if tonic_hz is None else tonic_hz
        if train and self.candidates < bins:
            key = self.make_rng('dropout')
            seen_from = drawn(key, lowest, known_hz, bins, self.candidates, nearest=True)
        else:
            seen_from = every(lowest, known_hz, bins)
        seen = self._seen(features, seen_from)
        # One mask for all candidates of a recording, which so stay comparable, and for all its steps.
        dropped = Dropout(self.input_dropout, broadcast_dims=(1, 2))(seen, train)
        settings = (self.num_classes, self.widths, self.hidden_units, self.dropout, self.dtype)
        flat = (each.reshape(-1, *each.shape[2:]) for each in (dropped, seen[..., -1:]))
        flat = _Scorer(*settings, name='scorer')(*flat, train)
        score, hidden = (each.reshape(*seen.shape[:2], -1) for each in flat)
        score = score + seen_from.correction[..., None]
        found = Scores(score[:, None], seen_from.height, seen_from.share)
        likely = jax.nn.softmax(jax.nn.logsumexp(score, -1), -1)
        embedding = jnp.einsum('bs,bsh->bh', likely, hidden)
        return found.logits if tonic_hz is None else found, embedding

    def _seen(self, features: jax.Array, seen_from: Candidates) -> jax.Array:
        """Returns what is seen from candidates, float32 (batch, candidates, steps, bins and 3)."""
        bins = self.bins_per_octave

        def one(features: jax.Array, row: jax.Array, place: jax.Array) -> jax.Array:
            classes, beside = jnp.split(features, [GRIDS * bins], axis=-1)
            column = (GRIDS * (place[:, None] + np.arange(bins)) + row[:, None]) % (GRIDS * bins)
            turned = jnp.moveaxis(classes[:, column], 1, 0)
            return jnp.concatenate([turned, jnp.broadcast_to(beside, (len(place), *beside.shape))], -1)

        return jax.vmap(one)(features, seen_from.row, seen_from.place)
