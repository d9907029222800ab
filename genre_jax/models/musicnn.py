"""musicnn: wide and tall kernels made for timbre and rhythm, then dense convolutions over time.

Source: Pons and Serra, musicnn: Pre-trained convolutional neural networks for music audio tagging
(2019); their code is the package `musicnn`. The front end is the flavour `musicnn`; the published
networks saw 187 frames (3 s).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.kernels import pooling
from genre_jax.models.kernels.batch_norm import BatchNorm
from genre_jax.models.kernels.convolution import SingleChannelConv
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.network import Network, check_picture, spread

_TIMBRAL = (0.4, 0.7)  # heights of the kernels as shares of the bins; 7 frames wide
_TEMPORAL = (128, 64, 32)  # lengths of the kernels in frames; one bin high


class Model(Network):
    """The network. 787,159 parameters with 50 classes and 96 bins.

    Attributes:
        midend_filters: of the three convolutions over time; 512 in the authors' 'big' network.
        hidden_units: width of the penultimate layer; 500 there.
        dropout: rate of dropout before and after that layer.
    """

    midend_filters: int = 64
    hidden_units: int = 200
    dropout: float = 0.5

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        front = [*(f'timbral_{i}' for i in range(1, 3)), *(f'temporal_{i}' for i in range(1, 4))]
        midend = [(f'midend_{i}',) for i in range(1, 4)]
        return (('bn_input', *front), *midend, ('bn_pool', 'dense', 'bn_dense'), ('logits',))

    def over_picture(self, heat: jax.Array, picture: tuple[int, ...]) -> jax.Array:
        """Lays heat of the first layers' maps over the pictures: a place has seen its kernel's bins."""
        return spread(heat, (1, picture[1] - heat.shape[2] + 1), (1, 1), picture)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies log-mel pictures; the embedding is the penultimate layer."""
        check_picture(features, 1, 2)
        bins = features.shape[2]
        # One mean and one variance of all bins together.
        pictures = _Norm(name='bn_input')(features[..., None], train)[..., 0]
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
        pooled = jnp.stack(pooling.max_and_mean(sequence), axis=-1)
        pooled = _Norm(name='bn_pool')(pooled.reshape(len(pooled), -1), train)
        pooled = Dropout(self.dropout)(pooled, train)
        dense = nn.Dense(self.hidden_units, kernel_init=_INIT, name='dense')
        embedding = _Norm(name='bn_dense')(nn.relu(dense(pooled)), train)
        dropped = Dropout(self.dropout)(embedding, train)
        return nn.Dense(self.num_classes, kernel_init=_INIT, name='logits')(dropped), embedding


_INIT = nn.initializers.glorot_uniform()
_Norm = functools.partial(BatchNorm, epsilon=1e-3, momentum=0.99)  # TensorFlow's constants


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
        size = (self.frames, self.bins)
        conv = SingleChannelConv(
            self.channels, size, _INIT, same_columns=False, dtype=self.dtype, name='conv'
        )
        maps = _Norm(dtype=self.dtype, name='bn')(nn.relu(conv(pictures)), train)
        return pooling.max_over(maps, 2)


class TimeConv(nn.Module):
    """Convolution over seven frames and all channels, ReLU, batch normalisation."""

    channels: int
    dtype: str

    @nn.compact
    def __call__(self, sequence: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, inputs) to (batch, frames, channels)."""
        conv = nn.Conv(self.channels, (7,), padding=3, kernel_init=_INIT, dtype=self.dtype, name='conv')
        return _Norm(dtype=self.dtype, name='bn')(nn.relu(conv(sequence)), train)
