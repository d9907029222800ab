"""musicnn: wide and tall kernels made for timbre and rhythm, then dense convolutions over time.

Source: Pons and Serra, musicnn: Pre-trained convolutional neural networks for music audio tagging
(2019); their code is the package `musicnn`. The front end is the flavour `musicnn`; the published
networks saw 187 frames (3 s).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models import layers

_TIMBRAL = (0.4, 0.7)  # heights of the kernels as shares of the bins; 7 frames wide
_TEMPORAL = (128, 64, 32)  # lengths of the kernels in frames; one bin high


class Model(nn.Module):
    """The network. 787,152 parameters with 50 classes and 96 bins.

    Attributes:
        num_classes: size of the output.
        midend_filters: of the three convolutions over time; 512 in the authors' 'big' network.
        hidden_units: width of the penultimate layer; 500 there.
        dropout: rate of dropout before and after that layer.
        dtype: of the computation, 'float32' or 'bfloat16'.
    """

    num_classes: int
    midend_filters: int = 64
    hidden_units: int = 200
    dropout: float = 0.5
    dtype: str = 'float32'

    def __post_init__(self) -> None:
        layers.check_units('midend_filters', (self.midend_filters,))
        layers.check_units('hidden_units', (self.hidden_units,))
        layers.check_dropout('dropout', self.dropout)
        layers.check_dtype(self.dtype)
        super().__post_init__()

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        front = [*(f'timbral_{i}' for i in range(1, 3)), *(f'temporal_{i}' for i in range(1, 4))]
        midend = [(f'midend_{i}',) for i in range(1, 4)]
        return (('bn_input', *front), *midend, ('bn_pool', 'dense', 'bn_dense'), ('logits',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies log-mel pictures float32 (batch, frames, bins).

        Returns logits (batch, num_classes) and the penultimate layer (batch, hidden_units).
        """
        layers.check_picture(features, 1, 2)
        bins = features.shape[2]
        # One mean and one variance of all bins together.
        pictures = norm(features[..., None], train, 'bn_input', 'float32')[..., 0]
        pictures = pictures.astype(self.dtype)
        columns = [
            PooledConv(204, 7, int(share * bins), self.dtype, name=f'timbral_{i}')(pictures, train)
            for i, share in enumerate(_TIMBRAL, 1)
        ]
        columns += [
            PooledConv(51, frames, 1, self.dtype, name=f'temporal_{i}')(pictures, train)
            for i, frames in enumerate(_TEMPORAL, 1)
        ]
        front = jnp.concatenate(columns, axis=-1)

        sequences, hidden = [front], 0
        for i in range(1, 4):
            step = TimeConv(self.midend_filters, self.dtype, name=f'midend_{i}')
            # The first has nothing to be added to: its input has another width.
            hidden = step(sequences[-1], train) + hidden
            sequences.append(hidden)
        sequence = jnp.concatenate(sequences, axis=-1).astype(jnp.float32)

        # Maximum and mean of a channel stand side by side.
        sequence = jax.lax.optimization_barrier(sequence)  # as in PooledConv
        pooled = jnp.stack([sequence.max(1), sequence.mean(1)], axis=-1)
        pooled = norm(pooled.reshape(len(pooled), -1), train, 'bn_pool', 'float32')
        pooled = layers.Dropout(self.dropout)(pooled, train)
        dense = nn.Dense(self.hidden_units, kernel_init=_INIT, name='dense')
        embedding = norm(nn.relu(dense(pooled)), train, 'bn_dense', 'float32')
        dropped = layers.Dropout(self.dropout)(embedding, train)
        return nn.Dense(self.num_classes, kernel_init=_INIT, name='logits')(dropped), embedding


_INIT = nn.initializers.glorot_uniform()


def norm(values: jax.Array, train: bool, name: str, dtype: str) -> jax.Array:
    """Normalises the last axis with the constants of TensorFlow."""
    return layers.batch_norm(values, train, name=name, dtype=dtype, epsilon=1e-3, momentum=0.99)


class PooledConv(nn.Module):
    """Convolution, ReLU, batch normalisation, and the maximum over all bins.

    The kernel is `frames` wide, 'same' along time, and `bins` high, 'valid' along frequency.
    """

    channels: int
    frames: int
    bins: int
    dtype: str

    @nn.compact
    def __call__(self, pictures: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, bins) to (batch, frames, channels)."""
        conv = layers.SingleChannelConv(
            self.channels,
            (self.frames, self.bins),
            _INIT,
            same_columns=False,
            dtype=self.dtype,
            name='conv',
        )
        maps = norm(nn.relu(conv(pictures)), train, 'bn', self.dtype)
        # The barrier: the gradient looks for the maximum again, among values that must be the same bits.
        return jax.lax.optimization_barrier(maps).max(2)


class TimeConv(nn.Module):
    """Convolution over seven frames and all channels, ReLU, batch normalisation."""

    channels: int
    dtype: str

    @nn.compact
    def __call__(self, sequence: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, inputs) to (batch, frames, channels)."""
        conv = nn.Conv(
            self.channels, (7,), padding=3, kernel_init=_INIT, dtype=self.dtype, name='conv'
        )
        return norm(nn.relu(conv(sequence)), train, 'bn', self.dtype)
