"""VGG for tagging, musicnn's sister: five small convolutions with pooling, and nothing made for music.

Source: Pons and Serra, musicnn: Pre-trained convolutional neural networks for music audio tagging (2019),
after Choi, Fazekas and Sandler, Automatic tagging using deep convolutional neural networks (2016); their
code is the package `musicnn`. The front end is the flavour `musicnn`; the published networks saw 187 frames.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.kernels import pooling
from genre_jax.models.kernels.batch_norm import BatchNorm
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.network import Network, check_picture

_LAYERS = 5


class Model(Network):
    """The network. 605,748 parameters with 50 classes on 187 x 96 pictures.

    Attributes:
        filters: of every convolution.
        conv_dropout: rate of dropout after each pooling but the last.
        dropout: rate of dropout before the output layer.
    """

    filters: int = 128
    conv_dropout: float = 0.25
    dropout: float = 0.5

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        convs = [(f'conv{i}', f'bn{i}') for i in range(1, _LAYERS + 1)]
        return (('bn_input', *convs[0]), *convs[1:], ('logits',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies log-mel pictures, at least 66 x 63; the embedding is what the output layer reads.

        That is the last maps, flattened: pictures of another size have another output layer.
        """
        check_picture(features, 66, 63)
        # One mean and one variance of all bins together.
        maps = _Norm(name='bn_input')(features[..., None], train)
        for i in range(1, _LAYERS + 1):
            conv = nn.Conv(self.filters, (3, 3), kernel_init=_INIT, dtype=self.dtype, name=f'conv{i}')
            maps = _Norm(dtype=self.dtype, name=f'bn{i}')(nn.relu(conv(maps)), train)
            if i == 1:
                # As published: windows of 4 frames and a single bin, with strides of 2.
                maps = pooling.max_pool_overlapping(maps[:, :, ::2])
            elif i < _LAYERS:
                maps = pooling.max_pool_2x2(maps)
            else:
                maps = pooling.max_pool_along(pooling.max_pool_along(maps, 1, 4), 2, 4)
            if i < _LAYERS:
                maps = Dropout(self.conv_dropout)(maps, train)
        embedding = maps.astype(jnp.float32).reshape(len(maps), -1)
        dropped = Dropout(self.dropout)(embedding, train)
        return nn.Dense(self.num_classes, kernel_init=_INIT, name='logits')(dropped), embedding


_INIT = nn.initializers.glorot_uniform()
_Norm = functools.partial(BatchNorm, epsilon=1e-3, momentum=0.99)  # TensorFlow's constants
