"""VGG16, the network for photographs, on pictures of spectrograms.

Source: Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition
(2014); layers are named as in Keras. Wu (2022) puts dense layers on its features to classify genres.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.kernels.pooling import max_pool_2x2
from genre_jax.models.network import Network, check_picture, dropout_rates

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions

# What is subtracted from, and divides, RGB values of 0 to 255. The weights of Keras come from Caffe.
_PIXELS = {
    'keras': ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    'torchvision': ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}


class Model(Network):
    """The network. 138,357,544 parameters with 1000 classes on 224 x 224 pixels; 14,714,688 convolve.

    Attributes:
        hidden_units: widths of the dense layers before the output; published: (4096, 4096).
        pool: 'flatten' every place, as published, or their 'mean', for pictures of any size.
        dropout: rate of dropout after each dense layer, one for all or one for each.
        pixels: whose weights, which decides what is subtracted from the pixels.
    """

    sharding_rules = (
        (r'block[3-5]_conv\d/kernel', (None, None, 'fsdp', 'model')),
        (r'fc\d/kernel', ('fsdp', 'model')),
    )

    hidden_units: tuple[int, ...] = (4096, 4096)
    pool: Literal['flatten', 'mean'] = 'flatten'
    dropout: float | tuple[float, ...] = 0.5
    pixels: Literal['keras', 'torchvision'] = 'keras'

    def __post_init__(self) -> None:
        super().__post_init__()
        dropout_rates(self.dropout, len(self.hidden_units))

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        convs = [(name,) for block in _names() for name in block]
        dense = [(f'fc{i}',) for i in range(1, 1 + len(self.hidden_units))]
        return (*convs, *dense, ('predictions',))

    def over_picture(self, heat: jax.Array, picture: tuple[int, ...]) -> jax.Array:
        """Lays heat of its last maps over images, or over the spectrograms that became images."""
        if len(picture) == 3:
            return super().over_picture(heat, picture)
        return super().over_picture(heat[:, ::-1].swapaxes(1, 2), picture)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies RGB images or spectrograms, at least 32 pixels each way.

        Images are float32 (batch, rows, columns, 3) from 0 to 255. Spectrograms (batch, frames, bins)
        become grey images, the lowest bin at the bottom, their least value black and their greatest white.
        The embedding is what the output layer reads.
        """
        check_picture(features, 32, 32)
        maps = features if features.ndim == 4 else as_image(features)
        mean, scale = (jnp.asarray(value) for value in _PIXELS[self.pixels])
        maps = ((maps - mean) / scale).astype(self.dtype)
        for (channels, _), names in zip(_BLOCKS, _names(), strict=True):
            for name in names:
                conv = nn.Conv(channels, (3, 3), kernel_init=_INIT, dtype=self.dtype, name=name)
                maps = nn.relu(conv(maps))
            maps = max_pool_2x2(maps)
        maps = maps.astype(jnp.float32)
        embedding = maps.mean((1, 2)) if self.pool == 'mean' else maps.reshape(len(maps), -1)
        rates = dropout_rates(self.dropout, len(self.hidden_units))
        for i, (width, rate) in enumerate(zip(self.hidden_units, rates, strict=True), 1):
            dense = nn.Dense(width, kernel_init=_INIT, dtype=self.dtype, name=f'fc{i}')
            embedding = nn.relu(dense(embedding)).astype(jnp.float32)
            embedding = Dropout(rate)(embedding, train)
        return nn.Dense(self.num_classes, kernel_init=_INIT, name='predictions')(embedding), embedding


_INIT = nn.initializers.glorot_uniform()


def _names() -> list[list[str]]:
    return [[f'block{b}_conv{c}' for c in range(1, n + 1)] for b, (_, n) in enumerate(_BLOCKS, 1)]


def as_image(features: jax.Array) -> jax.Array:
    """Draws spectrograms in grey: float32 (batch, frames, bins) to (batch, bins, frames, 3), 0 to 255.

    Each is scaled by its own least and greatest value.
    """
    low = features.min((1, 2), keepdims=True)
    high = features.max((1, 2), keepdims=True)
    grey = 255 * (features - low) / jnp.maximum(high - low, 1e-6)
    return jnp.repeat(grey.swapaxes(1, 2)[:, ::-1, :, None], 3, axis=-1)
