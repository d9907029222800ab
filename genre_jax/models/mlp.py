"""Multilayer perceptron on tables of handcrafted features, or on flattened pictures.

Sources, with their settings:

- Ma et al., features and blending on GTZAN: 58-256-256-10 in NumPy, `hidden_units=(256, 256)`, ReLU, no
  dropout (87.74 % on 3-second pieces; their table of results prints 258, text and settings file 256).
- The same, in Keras: 58-2048-1024-512-256-128-64-10, `hidden_units=(2048, 1024, 512, 256, 128, 64)`,
  ReLU, `dropout=0.5` (94.34 %, pieces of one recording on both sides of the split).
- Wu, deep methods on GTZAN: `hidden_units=(448, 672, 32)`, ReLU, no dropout, on means and deviations of
  MFCCs (88.9 %).

Initialisation is Keras': Glorot's uniform kernels, biases of zero.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.network import Network


class Model(Network):
    """The network. 83,466 parameters with the defaults on 58 columns with 10 classes.

    Attributes:
        hidden_units: widths of the hidden layers.
        activation: after each of them.
        dropout: rate of dropout after each of them.
    """

    hidden_units: tuple[int, ...] = (256, 256)
    activation: Literal['relu', 'tanh', 'sigmoid'] = 'relu'
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.hidden_units:
            raise UserError('config.model.hidden_units=(): expected at least one width')
        super().__post_init__()

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        return (*((f'dense_{i + 1}',) for i in range(len(self.hidden_units))), ('output',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies rows (batch, columns), or pictures, flattened; embeds in the last hidden layer."""
        init = nn.initializers.glorot_uniform()
        activation = getattr(nn, self.activation)
        dropped = features.reshape(len(features), -1)
        for i, units in enumerate(self.hidden_units, 1):
            dense = nn.Dense(units, kernel_init=init, dtype=self.dtype, name=f'dense_{i}')
            hidden = activation(dense(dropped))
            dropped = Dropout(self.dropout)(hidden, train)
        logits = nn.Dense(self.num_classes, kernel_init=init, name='output')
        return logits(dropped.astype(jnp.float32)), hidden.astype(jnp.float32)
