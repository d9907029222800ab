"""The orbit network: one network, the same for every candidate tonic, names mode and tonic together.

A mode is a set of intervals about a tonic, which differs from recording to recording. Here every candidate
for the tonic is looked at alike: distributions and surfaces as they are seen from it (features/melody.py)
go through the same layers to one score for each class, and a softmax over candidates times classes makes
them probabilities. A transposed melody has the same candidates in another place. Which class it is, is the
sum over the candidates; which tonic, the sum over the classes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features import melody
from genre_jax.models.kernels.candidates import Candidates, drawn, every
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.network import Network, Scores

# What is seen from a candidate: parts weigh less than the whole, as they are less certain, surfaces more.
_PARTS, _SURFACES = 0.5, 3.0


class _Scorer(nn.Module):
    """Two layers and a straight way: float32 (batch, candidates, columns) to scores and hidden units."""

    num_classes: int
    hidden_units: int
    input_dropout: float
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, seen: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        # One mask for all candidates of a recording, which so stay comparable.
        dropped = Dropout(self.input_dropout, broadcast_dims=(1,))(seen, train)
        dense = nn.Dense(self.hidden_units, dtype=self.dtype, name='dense_1')
        hidden = nn.gelu(dense(dropped)).astype(jnp.float32)
        score = nn.Dense(self.num_classes, name='output')(Dropout(self.dropout)(hidden, train))
        return score + nn.Dense(self.num_classes, use_bias=False, name='straight')(dropped), hidden


class Model(Network):
    """The network. 746,712 parameters with the defaults on 53 bins with 20 classes.

    Attributes:
        hidden_units: of each member.
        members: networks side by side, trained alike from other beginnings; their probabilities are averaged.
        candidates: tonics that a recording is trained with at a time, the true one among them.
        input_dropout: of what is seen from the candidates.
        dropout: of the hidden units.
        bins_per_octave: those of the front end.
    """

    names_tonic = True

    hidden_units: int = 192
    members: int = 2
    candidates: int = 16
    input_dropout: float = 0.25
    dropout: float = 0.5
    bins_per_octave: int = 53

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        return (('members',),)

    @nn.compact
    def __call__(
        self, features: jax.Array, train: bool, tonic_hz: jax.Array | None = None
    ) -> tuple[jax.Array | Scores, jax.Array]:
        """Classifies melodies (batch, 2, columns); embeds in hidden units, as each candidate is likely.

        With `tonic_hz`, float32 (batch,), 0 where unknown, it returns the scores of candidates instead of
        logits: of all, or in training of some, the true one among them.
        """
        bins = self.bins_per_octave
        if features.ndim != 3 or features.shape[1] != melody.GRIDS or features.shape[2] < 11 * bins:
            raise UserError(
                f"config.model.name=orbit: expected features of config.features.name='melody' with "
                f'bins_per_octave={bins}, got the shape {features.shape[1:]}'
            )
        columns = melody.columns(features, bins)
        known_hz = jnp.zeros(len(features)) if tonic_hz is None else tonic_hz
        if train and self.candidates < bins:
            key = self.make_rng('dropout')
            seen_from = drawn(key, columns.lowest, known_hz, bins, self.candidates)
        else:
            seen_from = every(columns.lowest, known_hz, bins)
        scorer = nn.vmap(
            _Scorer,
            variable_axes={'params': 0},
            split_rngs={'params': True, 'dropout': True},
            in_axes=(None, None),
            out_axes=1,
            axis_size=self.members,
        )(self.num_classes, self.hidden_units, self.input_dropout, self.dropout, self.dtype, name='members')
        score, hidden = scorer(self._seen(columns, seen_from), train)
        score = score + seen_from.correction[:, None, :, None]
        found = Scores(score, seen_from.height, seen_from.share)
        likely = jax.nn.softmax(jax.nn.logsumexp(score, -1), -1)
        embedding = jnp.einsum('bms,bmsh->bmh', likely, hidden).reshape(len(features), -1)
        return found.logits if tonic_hz is None else found, embedding

    def _seen(self, columns: melody.Columns, seen_from: Candidates) -> jax.Array:
        """Returns what is seen from candidates, float32 (batch, candidates, columns)."""
        bins = self.bins_per_octave

        def one(columns: melody.Columns, row: jax.Array, place: jax.Array) -> jax.Array:
            place = place[:, None]
            window = place + np.arange(melody.WINDOW * bins)
            octave = (place + np.arange(bins)) % bins
            unfolded = columns.unfolded[row[:, None], :, window]
            folded = columns.folded[row[:, None], :, octave]
            weights = np.full(folded.shape[-1], _PARTS)
            weights[0] = 1
            rooted = [
                weights[: each.shape[-1]] * jnp.sqrt(each / jnp.maximum(each.sum(1, keepdims=True), 1e-9))
                for each in (unfolded, folded)
            ]
            real, imaginary, frequency = jnp.moveaxis(columns.surfaces[row], -1, 0)
            angle = 2 * np.pi / bins * jnp.mod(frequency * place, bins)
            cos, sin = jnp.cos(angle), jnp.sin(angle)
            turned = [real * cos - imaginary * sin, real * sin + imaginary * cos]
            parts = [each.reshape(len(place), -1) for each in rooted]
            return jnp.concatenate([*parts, *(_SURFACES * each for each in turned)], -1)

        # Example by example: written for the batch at once, XLA would gather it on every device.
        return jax.vmap(one)(columns, seen_from.row, seen_from.place)
