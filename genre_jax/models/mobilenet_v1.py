"""MobileNetV1 of PANNs: depthwise separable convolutions on log-mel pictures.

Source: Kong et al., PANNs (2020); layers are named as in its code (qiuqiangkong/audioset_tagging_cnn).
Unlike the MobileNet of Howard et al. (2017) it halves by average pooling between a convolution and its
batch normalisation, never by strides.
"""

from __future__ import annotations

import flax.linen as nn
import jax

from genre_jax.models import cnn14, layers

# Output channels and halving of the blocks after the first.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class Model(nn.Module):
    """The network. 4,796,303 parameters with 527 classes and 64 mels.

    Attributes:
        num_classes: size of the output.
        pooled_dropout: rate of dropout before the embedding's layer.
        head_dropout: rate of dropout before the output.
        dtype: of the computation, 'float32' or 'bfloat16'.
    """

    num_classes: int
    pooled_dropout: float = 0.5
    head_dropout: float = 0.0
    dtype: str = 'float32'

    def __post_init__(self) -> None:
        layers.check_dtype(self.dtype)
        for name in ('pooled_dropout', 'head_dropout'):
            layers.check_dropout(name, getattr(self, name))
        super().__post_init__()

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        trunk = [(f'features_{i}',) for i in range(1 + len(_BLOCKS))]
        return (('bn0', *trunk[0]), *trunk[1:], ('fc1',), ('fc_audioset',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies log-mel pictures float32 (batch, frames, bins) in dB, at least 32 x 32.

        Returns logits (batch, num_classes) and the embedding (batch, 1024).
        """
        layers.check_picture(features, 32, 32)
        maps = layers.batch_norm(features, train, name='bn0')[..., None].astype(self.dtype)
        maps = FirstBlock(self.dtype, name='features_0')(maps, train)
        for i, (channels, halving) in enumerate(_BLOCKS, 1):
            maps = Separable(channels, halving, self.dtype, name=f'features_{i}')(maps, train)
        return cnn14.head(self, maps, train, units=1024)


class FirstBlock(nn.Module):
    """Convolution to 32 channels, halving, batch normalisation, ReLU."""

    dtype: str

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, bins, 1) to (batch, frames // 2, bins // 2, 32)."""
        init = nn.initializers.xavier_uniform()
        conv = nn.Conv(32, (3, 3), use_bias=False, kernel_init=init, dtype=self.dtype, name='conv')
        maps = layers.avg_pool_2x2(conv(maps))
        return nn.relu(layers.batch_norm(maps, train, name='bn', dtype=self.dtype))


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
        maps = layers.DepthwiseConv((3, 3), init, dtype=self.dtype, name='depthwise')(maps)
        if self.halving > 1:
            maps = layers.avg_pool_2x2(maps)
        maps = nn.relu(layers.batch_norm(maps, train, name='bn_depthwise', dtype=self.dtype))
        maps = nn.Conv(
            self.channels,
            (1, 1),
            use_bias=False,
            kernel_init=init,
            dtype=self.dtype,
            name='pointwise',
        )(maps)
        return nn.relu(layers.batch_norm(maps, train, name='bn_pointwise', dtype=self.dtype))
