"""CNN14 and its smaller sisters CNN10 and CNN6, the convolutional networks of PANNs.

Source: Kong et al., PANNs: Large-scale pretrained audio neural networks for audio pattern recognition
(2020); layers are named as in its code (qiuqiangkong/audioset_tagging_cnn). The log-mel front end that
the authors keep inside the network is the flavour `panns_32k`, `panns_16k` or `panns_8k` here.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.kernels import pooling
from genre_jax.models.kernels.batch_norm import BatchNorm
from genre_jax.models.kernels.convolution import unbiased
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.network import Network, check_picture

# Channels of the blocks, convolutions per block, and kernel size of each variant.
_VARIANTS = {
    'cnn14': ((64, 128, 256, 512, 1024, 2048), 2, 3),
    'cnn10': ((64, 128, 256, 512), 2, 3),
    'cnn6': ((64, 128, 256, 512), 1, 5),
}


class Model(Network):
    """The network. With 527 classes and 64 mels: 80,753,615 (CNN14), 5,219,279 (CNN10), 4,837,455 (CNN6).

    Attributes:
        embedding_units: width of the embedding; None is the last block's.
        block_dropout: rate of dropout after every block.
        pooled_dropout: rate of dropout before the embedding's layer.
        head_dropout: rate of dropout before the output; none in the network that was trained on
            AudioSet, 0.5 in the authors' template for fine-tuning.
    """

    sharding_rules = (
        (r'conv_block[3-6]/conv\d/kernel', (None, None, 'fsdp', 'model')),
        ('fc1/kernel', ('fsdp', 'model')),
    )

    variant: Literal['cnn14', 'cnn10', 'cnn6'] = 'cnn14'
    embedding_units: int | None = None
    block_dropout: float = 0.2
    pooled_dropout: float = 0.5
    head_dropout: float = 0.0

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        n_blocks = len(_VARIANTS[self.variant][0])
        trunk = [(f'conv_block{i}',) for i in range(1, n_blocks + 1)]
        return (('bn0', *trunk[0]), *trunk[1:], ('fc1',), ('fc_audioset',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies log-mel pictures in dB, at least 32 x 32; 16 x 16 are enough for CNN10 and CNN6."""
        channels, n_convs, kernel = _VARIANTS[self.variant]
        halvings = min(len(channels), 5)  # the sixth block does not pool
        check_picture(features, 2**halvings, 2**halvings)
        maps = BatchNorm(name='bn0')(features, train)[..., None].astype(self.dtype)
        for i, width in enumerate(channels):
            block = ConvBlock(width, n_convs, kernel, self.dtype, name=f'conv_block{i + 1}')
            maps = block(maps, train)
            if i < halvings:
                maps = pooling.avg_pool_2x2(maps)
            maps = Dropout(self.block_dropout)(maps, train)
        return head(self, maps, train, self.embedding_units or channels[-1])


class ConvBlock(nn.Module):
    """One or two convolutions without bias, each with batch normalisation and ReLU."""

    channels: int
    n_convs: int
    kernel: int
    dtype: str

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, bins, channels) to (batch, frames, bins, channels)."""
        for i in range(1, self.n_convs + 1):
            maps = unbiased(self.channels, self.kernel, f'conv{i}', self.dtype)(maps)
            maps = nn.relu(BatchNorm(dtype=self.dtype, name=f'bn{i}')(maps, train))
        return maps


def head(model: nn.Module, maps: jax.Array, train: bool, units: int) -> tuple[jax.Array, jax.Array]:
    """Pools the maps and classifies: the end of every network of PANNs, inside its module.

    Maps (batch, frames, bins, channels) give logits (batch, num_classes) and the embedding (batch, units),
    float32. The rates of dropout are those of the model.
    """
    init = nn.initializers.xavier_uniform()
    highest, mean = pooling.max_and_mean(maps.astype(jnp.float32).mean(2))
    pooled = Dropout(model.pooled_dropout)(highest + mean, train)
    embedding = nn.relu(nn.Dense(units, kernel_init=init, name='fc1')(pooled))
    dropped = Dropout(model.head_dropout)(embedding, train)
    return nn.Dense(model.num_classes, kernel_init=init, name='fc_audioset')(dropped), embedding
