"""Efficient CNN: a convolution and two depthwise separable ones, on mel spectrograms in dB.

Source: Bu, Gan, Yang and Wei, Music genre classification project report (2025); layers are named as in
its checkpoints (W-Bu-coder/music_classification). Initialisation is PyTorch's, as there: uniform in
+-1/sqrt(inputs), kernels and biases. The trunk is that of the authors' hybrid networks too.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.kernels import pooling, pytorch
from genre_jax.models.kernels.batch_norm import BatchNorm
from genre_jax.models.kernels.convolution import DepthwiseConv, SingleChannelConv, pointwise
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.network import Network, check_picture

# Names and output channels of the depthwise separable convolutions.
_SEPARABLE = (('cnn_features_4', 64), ('cnn_features_7', 128))

TRUNK_BLOCKS = (
    ('cnn_features_0', 'cnn_features_1'),
    *(tuple(f'{name}_{i}' for i in (0, 1, 3, 4)) for name, _ in _SEPARABLE),
)


class Model(Network):
    """The network. 16,456 parameters with 8 classes.

    Attributes:
        cnn_dropout: rate of dropout of whole channels at the end of the trunk, and half of it before.
        classifier_dropout: rate of dropout after the pooling, and half of it before the output.
    """

    cnn_dropout: float = 0.3
    classifier_dropout: float = 0.3

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        return (*TRUNK_BLOCKS, ('classifier_1',), ('classifier_4',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies pictures, at least 8 x 8; 1292 x 128 published. The embedding has 32 units."""
        pooled = trunk(features, train, self.cnn_dropout, self.dtype).mean((1, 2))
        pooled = Dropout(self.classifier_dropout)(pooled, train)
        embedding = nn.relu(pytorch.dense(pooled, 32, name='classifier_1'))
        dropped = Dropout(self.classifier_dropout / 2)(embedding, train)
        return pytorch.dense(dropped, self.num_classes, name='classifier_4'), embedding


def trunk(features: jax.Array, train: bool, dropout: float, dtype: str) -> jax.Array:
    """Computes the maps of three convolutions inside the calling module: 12,064 parameters.

    float32 (batch, frames, bins), at least 8 x 8, becomes float32 (batch, frames // 8, bins // 8, 128).
    `dropout` is the rate of dropout of whole channels at the end; half of it one stage before.
    """
    check_picture(features, 8, 8)
    init = pytorch.uniform_fan_in(9)
    conv = SingleChannelConv(
        32, (3, 3), init, bias_cancels=True, dtype=dtype, bias_init=init, name='cnn_features_0'
    )
    maps = BatchNorm(dtype=dtype, name='cnn_features_1')(conv(features), train)
    # Pooling and ReLU may change places, and so there is less to do.
    maps = nn.relu(pooling.max_pool_2x2(maps))
    for (name, channels), rate in zip(_SEPARABLE, (dropout / 2, dropout), strict=True):
        maps = DepthwiseConv(init, dtype=dtype, name=f'{name}_0')(maps)
        maps = nn.relu(BatchNorm(dtype=dtype, name=f'{name}_1')(maps, train))
        maps = PointwiseConv(channels, dtype, name=f'{name}_3')(maps)
        maps = BatchNorm(dtype=dtype, name=f'{name}_4')(maps, train)
        maps = nn.relu(pooling.max_pool_2x2(maps))
        maps = Dropout(rate, broadcast_dims=(1, 2))(maps, train)
    return maps.astype(jnp.float32)


class PointwiseConv(nn.Module):
    """A 1 x 1 convolution without bias."""

    channels: int
    dtype: str

    @nn.compact
    def __call__(self, maps: jax.Array) -> jax.Array:
        """Maps (batch, height, width, inputs) to (batch, height, width, channels)."""
        inputs = maps.shape[-1]
        init = pytorch.uniform_fan_in(inputs)
        kernel = self.param('kernel', init, (1, 1, inputs, self.channels))
        return pointwise(maps.astype(self.dtype), kernel.astype(self.dtype))
