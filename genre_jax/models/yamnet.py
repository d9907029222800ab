"""YAMNet: MobileNetV1 on patches of 0.96 s of a log-mel picture, with new layers on top if wanted.

Source: tensorflow/models, research/audioset/yamnet; layers are named as there. Wu (2022) classifies
genres with dense layers, or three LSTMs and dense layers, on its embeddings. The front end is the
flavour `yamnet`.
"""

import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models import lstm
from genre_jax.models.kernels.batch_norm import BatchNorm
from genre_jax.models.kernels.convolution import DepthwiseConv, unbiased
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.mobilenet_v1 import BLOCKS
from genre_jax.models.network import Network, check_picture, dropout_rates

_PATCH_FRAMES = 96
_PATCH_HOP = 48


class Model(Network):
    """The network. 3,729,481 parameters with the 521 published classes and no layers on top.

    Attributes:
        lstm_units: widths of LSTM layers that read the sequence of patches; without, it is summarised.
        summary: of the patches, their 'mean', or 'mean_std', their mean and standard deviation.
        hidden_units: widths of dense layers before the output.
        dropout: rate of dropout after each of the layers on top, one for all or one for each.
    """

    lstm_units: tuple[int, ...] = ()
    summary: Literal['mean', 'mean_std'] = 'mean'
    hidden_units: tuple[int, ...] = ()
    dropout: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        dropout_rates(self.dropout, len(self.lstm_units + self.hidden_units))

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        trunk = [(f'layer{i}',) for i in range(1, 2 + len(BLOCKS))]
        lstms = [(f'lstm_{i}',) for i in range(1, 1 + len(self.lstm_units))]
        dense = [(f'dense_{i}',) for i in range(1, 1 + len(self.hidden_units))]
        return (*trunk, *lstms, *dense, ('logits',))

    def over_picture(self, heat: jax.Array, picture: tuple[int, ...]) -> jax.Array:
        """Lays heat of the last maps of all patches over the pictures; patches that overlap are averaged."""
        frames, bins = picture
        batch = len(heat) // (1 + (frames - _PATCH_FRAMES) // _PATCH_HOP)
        patches = super().over_picture(heat, (_PATCH_FRAMES, bins)).reshape(batch, -1, _PATCH_FRAMES, bins)
        back = jax.linear_transpose(_patches, jax.ShapeDtypeStruct((batch, frames, bins), heat.dtype))
        (total,), (seen_by,) = back(patches), back(jnp.ones_like(patches))
        return total / jnp.maximum(seen_by, 1)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies log-mel pictures of 64 bins and at least 96 frames.

        Patches of 96 frames begin every 48; what is left over at the end is not seen. The embedding is
        YAMNet's, of 1024 units, the mean over the patches.
        """
        check_picture(features, _PATCH_FRAMES, 32)
        patches = _patches(features)
        batch, n_patches, _, bins = patches.shape
        maps = patches.reshape(batch * n_patches, _PATCH_FRAMES, bins, 1).astype(self.dtype)
        maps = FirstLayer(self.dtype, name='layer1')(maps, train)
        for i, (channels, stride) in enumerate(BLOCKS, 2):
            maps = Separable(channels, stride, self.dtype, name=f'layer{i}')(maps, train)
        pooled = maps.astype(jnp.float32).mean((1, 2)).reshape(batch, n_patches, -1)

        rates = iter(dropout_rates(self.dropout, len(self.lstm_units + self.hidden_units)))
        hidden = pooled
        for i, width in enumerate(self.lstm_units, 1):
            hidden = lstm.LSTM(width, 'keras', self.dtype, name=f'lstm_{i}')(hidden)
            hidden = Dropout(next(rates))(hidden, train)
        embedding = pooled.mean(1)
        if self.lstm_units:
            hidden = hidden[:, -1]
        elif self.summary == 'mean':
            hidden = embedding
        else:
            # The root has no slope at 0, where all patches are alike.
            spread = jnp.sqrt(pooled.var(1) + 1e-8)
            hidden = jnp.concatenate([embedding, spread], axis=-1)
        for i, width in enumerate(self.hidden_units, 1):
            dense = nn.Dense(width, kernel_init=_INIT, dtype=self.dtype, name=f'dense_{i}')
            hidden = nn.relu(dense(hidden)).astype(jnp.float32)
            hidden = Dropout(next(rates))(hidden, train)
        return nn.Dense(self.num_classes, kernel_init=_INIT, name='logits')(hidden), embedding


def _patches(features: jax.Array) -> jax.Array:
    """Cuts pictures (batch, frames, bins) into (batch, patches, 96, bins)."""
    starts = range(0, features.shape[1] - _PATCH_FRAMES + 1, _PATCH_HOP)
    return jnp.stack([features[:, i : i + _PATCH_FRAMES] for i in starts], axis=1)


_INIT = nn.initializers.glorot_uniform()
_Norm = functools.partial(BatchNorm, epsilon=1e-4, momentum=0.99, use_scale=False)


class FirstLayer(nn.Module):
    """Convolution with stride 2 to 32 channels, batch normalisation, ReLU."""

    dtype: str

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, bins, 1) to (batch, frames / 2, bins / 2, 32)."""
        maps = unbiased(32, 3, 'conv', self.dtype, stride=2)(maps)
        return nn.relu(_Norm(dtype=self.dtype, name='bn')(maps, train))


class Separable(nn.Module):
    """Depthwise and pointwise convolution, each with batch normalisation and ReLU.

    The stride is that of the depthwise convolution; padding goes after the last frame and bin, as in
    TensorFlow.
    """

    channels: int
    stride: int
    dtype: str

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, bins, channels) to (batch, frames / stride, bins / stride, channels)."""
        maps = DepthwiseConv(_INIT, self.stride, self.dtype, name='depthwise_conv')(maps)
        maps = nn.relu(_Norm(dtype=self.dtype, name='depthwise_bn')(maps, train))
        maps = unbiased(self.channels, 1, 'pointwise_conv', self.dtype)(maps)
        return nn.relu(_Norm(dtype=self.dtype, name='pointwise_bn')(maps, train))
