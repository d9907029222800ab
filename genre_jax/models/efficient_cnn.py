"""Efficient CNN: a convolution and two depthwise separable ones, on mel spectrograms in dB.

Source: Bu, Gan, Yang and Wei, Music genre classification project report (2025); layers are named as in
its checkpoints (W-Bu-coder/music_classification). Initialisation is PyTorch's, as there: uniform in
+-1/sqrt(inputs), kernels and biases. The trunk is that of the authors' hybrid networks too.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models import layers

# Names and output channels of the depthwise separable convolutions.
_SEPARABLE = (('cnn_features_4', 64), ('cnn_features_7', 128))

TRUNK_BLOCKS = (
    ('cnn_features_0', 'cnn_features_1'),
    *(tuple(f'{name}_{i}' for i in (0, 1, 3, 4)) for name, _ in _SEPARABLE),
)


class Model(nn.Module):
    """The network. 16,456 parameters with 8 classes.

    Attributes:
        num_classes: size of the output.
        cnn_dropout: rate of dropout of whole channels at the end of the trunk, and half of it before.
        classifier_dropout: rate of dropout after the pooling, and half of it before the output.
        dtype: of the computation, 'float32' or 'bfloat16'.
    """

    num_classes: int
    cnn_dropout: float = 0.3
    classifier_dropout: float = 0.3
    dtype: str = 'float32'

    def __post_init__(self) -> None:
        layers.check_dtype(self.dtype)
        for name in ('cnn_dropout', 'classifier_dropout'):
            layers.check_dropout(name, getattr(self, name))
        super().__post_init__()

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        return (*TRUNK_BLOCKS, ('classifier_1',), ('classifier_4',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies pictures float32 (batch, frames, bins), at least 8 x 8; 1292 x 128 published.

        Returns logits (batch, num_classes) and the embedding (batch, 32).
        """
        pooled = trunk(features, train, self.cnn_dropout, self.dtype).mean((1, 2))
        pooled = layers.Dropout(self.classifier_dropout)(pooled, train)
        embedding = nn.relu(layers.torch_dense(pooled, 32, name='classifier_1'))
        dropped = layers.Dropout(self.classifier_dropout / 2)(embedding, train)
        return layers.torch_dense(dropped, self.num_classes, name='classifier_4'), embedding


def trunk(features: jax.Array, train: bool, dropout: float, dtype: str) -> jax.Array:
    """Computes the maps of three convolutions inside the calling module: 12,064 parameters.

    float32 (batch, frames, bins), at least 8 x 8, becomes float32 (batch, frames // 8, bins // 8, 128).
    `dropout` is the rate of dropout of whole channels at the end; half of it one stage before.
    """
    layers.check_picture(features, 8, 8)
    maps = Conv(32, dtype, name='cnn_features_0')(features[..., None])
    maps = layers.batch_norm(maps, train, name='cnn_features_1', dtype=dtype)
    # Pooling and ReLU may change places, and so there is less to do.
    maps = nn.relu(layers.max_pool_2x2(maps))
    for (name, channels), rate in zip(_SEPARABLE, (dropout / 2, dropout), strict=True):
        maps = layers.DepthwiseConv(
            (3, 3), layers.uniform_fan_in(9), dtype=dtype, name=f'{name}_0'
        )(maps)
        maps = nn.relu(layers.batch_norm(maps, train, name=f'{name}_1', dtype=dtype))
        maps = PointwiseConv(channels, dtype, name=f'{name}_3')(maps)
        maps = layers.batch_norm(maps, train, name=f'{name}_4', dtype=dtype)
        maps = nn.relu(layers.max_pool_2x2(maps))
        maps = layers.Dropout(rate, broadcast_dims=(1, 2))(maps, train)
    return maps.astype(jnp.float32)


class Conv(nn.Module):
    """A 3 x 3 convolution of one channel whose bias batch normalisation subtracts again.

    The gradient of the bias is zero, and said to be zero: see layers.SingleChannelConv, which pays with
    larger kernels only.
    """

    channels: int
    dtype: str

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Convolves (batch, height, width, 1) to (batch, height, width, channels)."""
        init = layers.uniform_fan_in(9)
        kernel = self.param('kernel', init, (3, 3, 1, self.channels))
        bias = jax.lax.stop_gradient(self.param('bias', init, (self.channels,)))
        maps = jax.lax.conv_general_dilated(
            pictures.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(1, 1),
            padding='SAME',
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
        return maps + bias.astype(self.dtype)


class PointwiseConv(nn.Module):
    """A 1 x 1 convolution without bias, as a product of matrices.

    XLA on CPU transposes all maps for the gradient of the kernel of a convolution.
    """

    channels: int
    dtype: str

    @nn.compact
    def __call__(self, maps: jax.Array) -> jax.Array:
        """Maps (batch, height, width, inputs) to (batch, height, width, channels)."""
        inputs = maps.shape[-1]
        init = layers.uniform_fan_in(inputs)
        kernel = self.param('kernel', init, (1, 1, inputs, self.channels))
        return maps.astype(self.dtype) @ kernel[0, 0].astype(self.dtype)
