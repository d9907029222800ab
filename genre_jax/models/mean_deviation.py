"""Means and standard deviations of all bins over time, and a linear layer: the classical summary of a clip.

After Tzanetakis and Cook, Musical genre classification of audio signals (2002), who describe timbre by means
and variances of MFCCs and other features; here without texture windows in between. With
config.features.name='mfcc_20' these are 40 numbers.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.models.network import Network


class Model(Network):
    """The network. 410 parameters on 20 bins with 10 classes. All of it is float32 in any dtype."""

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        return (('output',),)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies sequences (other features: a UserError); embeds in means, then deviations (2 bins)."""
        del train
        if features.ndim != 3:
            raise UserError(
                f'config.model.name=mean_deviation: expected features of frames and bins, got the shape '
                f'{features.shape[1:]}'
            )
        embedding = jnp.concatenate([features.mean(1), features.std(1)], axis=-1)
        return nn.Dense(self.num_classes, name='output')(embedding), embedding
