"""YAMNet: MobileNetV1 on patches of 0.96 s of a log-mel picture, with new layers on top if wanted.

Source: tensorflow/models, research/audioset/yamnet; layers are named as there. Wu (2022) classifies
genres with dense layers, or three LSTMs and dense layers, on its embeddings. The front end is the
flavour `yamnet`.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models import layers

_PATCH_FRAMES = 96
_PATCH_HOP = 48

# Channels and stride of the separable layers, which are numbered from 2.
_SEPARABLE = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class Model(nn.Module):
    """The network. 3,729,481 parameters with the 521 published classes and no layers on top.

    Attributes:
        num_classes: size of the output.
        lstm_units: widths of LSTM layers that read the sequence of patches; without, it is summarised.
        summary: of the patches, their 'mean', or 'mean_std', their mean and standard deviation.
        hidden_units: widths of dense layers before the output.
        dropout: rate of dropout after each of the layers on top, one for all or one for each.
        dtype: of the computation, 'float32' or 'bfloat16'.
    """

    num_classes: int
    lstm_units: tuple[int, ...] = ()
    summary: str = 'mean'
    hidden_units: tuple[int, ...] = ()
    dropout: float | tuple[float, ...] = 0.0
    dtype: str = 'float32'

    def __post_init__(self) -> None:
        layers.check_units('lstm_units', self.lstm_units)
        layers.check_units('hidden_units', self.hidden_units)
        layers.check_choice('summary', self.summary, ('mean', 'mean_std'))
        layers.dropout_rates(self.dropout, len(self.lstm_units + self.hidden_units))
        layers.check_dtype(self.dtype)
        super().__post_init__()

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        trunk = [(f'layer{i}',) for i in range(1, 2 + len(_SEPARABLE))]
        lstms = [(f'lstm_{i}',) for i in range(1, 1 + len(self.lstm_units))]
        dense = [(f'dense_{i}',) for i in range(1, 1 + len(self.hidden_units))]
        return (*trunk, *lstms, *dense, ('logits',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies log-mel pictures float32 (batch, frames, 64), at least 96 frames.

        Patches of 96 frames begin every 48; what is left over at the end is not seen.

        Returns logits (batch, num_classes) and YAMNet's embedding (batch, 1024), the mean over the patches.
        """
        layers.check_picture(features, _PATCH_FRAMES, 32)
        batch, frames, bins = features.shape
        n_patches = 1 + (frames - _PATCH_FRAMES) // _PATCH_HOP
        patches = jnp.stack(
            [
                features[:, i * _PATCH_HOP : i * _PATCH_HOP + _PATCH_FRAMES]
                for i in range(n_patches)
            ],
            axis=1,
        )
        maps = patches.reshape(batch * n_patches, _PATCH_FRAMES, bins, 1).astype(self.dtype)
        maps = FirstLayer(self.dtype, name='layer1')(maps, train)
        for i, (channels, stride) in enumerate(_SEPARABLE, 2):
            maps = Separable(channels, stride, self.dtype, name=f'layer{i}')(maps, train)
        pooled = maps.astype(jnp.float32).mean((1, 2)).reshape(batch, n_patches, -1)

        rates = iter(layers.dropout_rates(self.dropout, len(self.lstm_units + self.hidden_units)))
        hidden = pooled
        for i, width in enumerate(self.lstm_units, 1):
            hidden = nn.RNN(nn.OptimizedLSTMCell(width, name=f'lstm_{i}'))(hidden)
            hidden = layers.Dropout(next(rates))(hidden, train)
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
            hidden = nn.relu(nn.Dense(width, kernel_init=_INIT, name=f'dense_{i}')(hidden))
            hidden = layers.Dropout(next(rates))(hidden, train)
        return nn.Dense(self.num_classes, kernel_init=_INIT, name='logits')(hidden), embedding


_INIT = nn.initializers.glorot_uniform()


def _norm(maps: jax.Array, train: bool, name: str, dtype: str) -> jax.Array:
    return layers.batch_norm(
        maps, train, name=name, dtype=dtype, epsilon=1e-4, momentum=0.99, use_scale=False
    )


class FirstLayer(nn.Module):
    """Convolution with stride 2 to 32 channels, batch normalisation, ReLU."""

    dtype: str

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, bins, 1) to (batch, frames / 2, bins / 2, 32)."""
        conv = nn.Conv(
            32, (3, 3), 2, use_bias=False, kernel_init=_INIT, dtype=self.dtype, name='conv'
        )
        return nn.relu(_norm(conv(maps), train, 'bn', self.dtype))


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
        depthwise = layers.DepthwiseConv(
            (3, 3), _INIT, self.stride, self.dtype, name='depthwise_conv'
        )
        maps = nn.relu(_norm(depthwise(maps), train, 'depthwise_bn', self.dtype))
        pointwise = nn.Conv(
            self.channels,
            (1, 1),
            use_bias=False,
            kernel_init=_INIT,
            dtype=self.dtype,
            name='pointwise_conv',
        )
        return nn.relu(_norm(pointwise(maps), train, 'pointwise_bn', self.dtype))
