"""CREPE: the pitch of 1024 samples of sound, as the probability of each fifth of a semitone.

Source: Kim, Salamon, Li and Bello, CREPE: A Convolutional Representation for Pitch Estimation (ICASSP
2018), as the package `torchcrepe` has it. The front end `genre_jax.features.crepe` reads pitch with it.
"""

import functools

import flax.linen as nn
import jax

from genre_jax.errors import UserError
from genre_jax.models.kernels.batch_norm import BatchNorm
from genre_jax.models.network import Network

FRAME = 1024  # samples, at 16 kHz
_CHANNELS = (32, 4, 4, 4, 8, 16)  # of the layers, each so many times the capacity
_KERNEL, _FIRST_KERNEL, _FIRST_STRIDE = 64, 512, 4
_Norm = functools.partial(BatchNorm, epsilon=0.0010000000474974513)


class Model(Network):
    """The network. 486,552 parameters with 360 classes, 22,239,976 with a capacity of 32.

    It is called with frames of sound, float32 (batch, 1024, 1), each of mean 0 and deviation 1.

    Attributes:
        capacity: of the published 'tiny' 4, of 'full' 32.
    """

    capacity: int = 4

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        return (*((f'conv{i}', f'conv{i}_BN') for i in range(1, 7)), ('classifier',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies frames; the embedding is what the output layer reads."""
        if features.shape[1:] != (FRAME, 1):
            raise UserError(
                f'config.model.name=crepe takes frames of {FRAME} samples, (batch, {FRAME}, 1), and got '
                f'{features.shape}: it is the network of config.features.tracker=crepe_tiny'
            )
        maps = features.astype(self.dtype)
        for i, channels in enumerate(_CHANNELS, 1):
            first = i == 1
            maps = nn.Conv(
                channels * self.capacity,
                (_FIRST_KERNEL if first else _KERNEL,),
                strides=_FIRST_STRIDE if first else 1,
                padding=[(254, 254) if first else (31, 32)],
                dtype=self.dtype,
                name=f'conv{i}',
            )(maps)
            maps = _Norm(dtype=self.dtype, name=f'conv{i}_BN')(nn.relu(maps), train)
            maps = nn.max_pool(maps, (2,), (2,))
        embedding = maps.reshape(len(maps), -1).astype('float32')
        return nn.Dense(self.num_classes, name='classifier')(embedding), embedding
