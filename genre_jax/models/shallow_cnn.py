"""Shallow CNN: two parallel convolutions, one for frequency and one for time relations.

Sources: Schindler, Lidy and Rauber, Comparing shallow versus deep neural network architectures for
automatic music genre classification (2016); Herbert's re-implementation, whose layer names these are
(georgeherbert/music-genre-classification), with its batch normalisation as an option.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.kernels.batch_norm import BatchNorm
from genre_jax.models.kernels.convolution import SingleChannelConv
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.kernels.pooling import max_pool_along
from genre_jax.models.network import Network, check_picture

_SLOPE = 0.3


def he_normal(negative_slope: float) -> Callable:
    """He's Gaussian initialiser for the leaky ReLU that follows: variance 2 / ((1 + slope^2) fan_in).

    Source: He et al. (2015); `torch.nn.init.kaiming_normal_(a=negative_slope)`.
    """
    return nn.initializers.variance_scaling(2 / (1 + negative_slope**2), 'fan_in', 'normal')


class Model(Network):
    """The network. 2,060,642 parameters on 80 x 80 pictures with 10 classes, 64 more with batch norm.

    The authors write kernels as mel x time: 10 x 23 (left) and 21 x 20 (right). Here time comes first.

    Attributes:
        hidden_units: width of the fully connected layer.
        dropout: rate of dropout after it.
        batch_norm: normalise after each of the two convolutions.
    """

    hidden_units: int = 200
    dropout: float = 0.1
    batch_norm: bool = False

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        norms = ('bn_conv_left', 'bn_conv_right') if self.batch_norm else ()
        return (('conv_left', 'conv_right', *norms), ('fc_1',), ('fc_2',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies log-mel pictures, at least 20 x 20; 80 x 80 published."""
        check_picture(features, 20, 20)
        left = self._pipeline(features, 'left', (23, 10), axis=1, train=train)
        right = self._pipeline(features, 'right', (20, 21), axis=2, train=train)
        hidden = jnp.concatenate([left, right], axis=-1)
        init = he_normal(_SLOPE)
        dense = nn.Dense(self.hidden_units, kernel_init=init, dtype=self.dtype, name='fc_1')
        embedding = nn.leaky_relu(dense(hidden).astype(jnp.float32), _SLOPE)
        dropped = Dropout(self.dropout)(embedding, train)
        return nn.Dense(self.num_classes, kernel_init=init, name='fc_2')(dropped), embedding

    def _pipeline(self, features, side, kernel_size, *, axis, train) -> jax.Array:
        name = f'conv_{side}'
        conv = SingleChannelConv(
            16, kernel_size, he_normal(_SLOPE), self.batch_norm, dtype=self.dtype, name=name
        )
        maps = conv(features)
        if self.batch_norm:
            maps = BatchNorm(dtype=self.dtype, name=f'bn_{name}')(maps, train)
        maps = max_pool_along(nn.leaky_relu(maps, _SLOPE), axis, 20)
        return maps.reshape(maps.shape[0], -1)
