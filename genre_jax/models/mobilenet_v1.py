"""MobileNetV1 of PANNs: depthwise separable convolutions on log-mel pictures.

Source: Kong et al., PANNs (2020); layers are named as in its code (qiuqiangkong/audioset_tagging_cnn).
Unlike the MobileNet of Howard et al. (2017) it halves by average pooling between a convolution and its
batch normalisation, never by strides.
"""

import flax.linen as nn
import jax

from genre_jax.models import cnn14
from genre_jax.models.kernels.batch_norm import BatchNorm
from genre_jax.models.kernels.convolution import DepthwiseConv, unbiased
from genre_jax.models.kernels.pooling import avg_pool_2x2
from genre_jax.models.network import Network, check_picture

# Output channels and halving of the blocks after the first, in YAMNet too.
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class Model(Network):
    """The network. 4,796,303 parameters with 527 classes and 64 mels.

    Attributes:
        pooled_dropout: rate of dropout before the embedding's layer.
        head_dropout: rate of dropout before the output.
    """

    pooled_dropout: float = 0.5
    head_dropout: float = 0.0

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        trunk = [(f'features_{i}',) for i in range(1 + len(BLOCKS))]
        return (('bn0', *trunk[0]), *trunk[1:], ('fc1',), ('fc_audioset',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies log-mel pictures in dB, at least 32 x 32. The embedding has 1024 units."""
        check_picture(features, 32, 32)
        maps = BatchNorm(name='bn0')(features, train)[..., None].astype(self.dtype)
        maps = FirstBlock(self.dtype, name='features_0')(maps, train)
        for i, (channels, halving) in enumerate(BLOCKS, 1):
            maps = Separable(channels, halving, self.dtype, name=f'features_{i}')(maps, train)
        return cnn14.head(self, maps, train, units=1024)


class FirstBlock(nn.Module):
    """Convolution to 32 channels, halving, batch normalisation, ReLU."""

    dtype: str

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, bins, 1) to (batch, frames // 2, bins // 2, 32)."""
        maps = avg_pool_2x2(unbiased(32, 3, 'conv', self.dtype)(maps))
        return nn.relu(BatchNorm(dtype=self.dtype, name='bn')(maps, train))


class Separable(nn.Module):
    """Depthwise and pointwise convolution, each with batch normalisation and ReLU.

    A `halving` of 2 averages pairs of frames and of bins after the depthwise convolution; 1 does not.
    """

    channels: int
    halving: int
    dtype: str

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, bins, channels) to (batch, frames / halving, bins / halving, channels)."""
        init = nn.initializers.xavier_uniform()
        maps = DepthwiseConv(init, dtype=self.dtype, name='depthwise')(maps)
        if self.halving > 1:
            maps = avg_pool_2x2(maps)
        maps = nn.relu(BatchNorm(dtype=self.dtype, name='bn_depthwise')(maps, train))
        maps = unbiased(self.channels, 1, 'pointwise', self.dtype)(maps)
        return nn.relu(BatchNorm(dtype=self.dtype, name='bn_pointwise')(maps, train))
