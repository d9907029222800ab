"""Three layers of long short-term memory on MFCCs.

Source: Wu, deep methods on GTZAN: 416, 32 and 48 units, tanh, a rate of dropout of 0.2 that its search
names after the second layer (77.3 % on 3-second pieces). Initialisation is Keras', which the author used:
Glorot's uniform kernels, orthogonal hidden kernels, a forget bias of 1.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.models.kernels import pytorch, recurrent_scan
from genre_jax.models.kernels.computed_once import computed_once
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.kernels.product import product
from genre_jax.models.network import Network


class Model(Network):
    """The network. 789,034 parameters on 13 coefficients with 10 classes.

    Attributes:
        hidden_units: widths of the recurrent layers.
        dropout: rate of dropout after each of them.
    """

    hidden_units: tuple[int, ...] = (416, 32, 48)
    dropout: tuple[float, ...] = (0.0, 0.2, 0.0)

    def __post_init__(self) -> None:
        if not self.hidden_units or len(self.dropout) != len(self.hidden_units):
            raise UserError(
                f'config.model.dropout={tuple(self.dropout)}: expected one rate for each of '
                f'config.model.hidden_units={tuple(self.hidden_units)}, and at least one'
            )
        super().__post_init__()

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        return (*((f'lstm_{i + 1}',) for i in range(len(self.hidden_units))), ('output',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies sequences; the embedding is the last state of the last recurrent layer."""
        dropped = features
        for i, (units, rate) in enumerate(zip(self.hidden_units, self.dropout, strict=True), 1):
            states = LSTM(units, 'keras', self.dtype, name=f'lstm_{i}')(dropped)
            if i == len(self.hidden_units):
                states = states[:, -1]
            dropped = Dropout(rate)(states, train)
        logits = nn.Dense(self.num_classes, kernel_init=nn.initializers.glorot_uniform(), name='output')
        return logits(dropped), states


class LSTM(nn.Module):
    """A layer of long short-term memory; the gates are input, forget, cell, output.

    Attributes:
        units: width of the hidden state.
        flavour: 'torch': two biases, all uniform in +-1/sqrt(units). 'keras': one bias, zero but for a
            forget gate of 1, Glorot's uniform kernels and an orthogonal hidden one.
        dtype: of the products with kernels; gates and state are float32.
    """

    units: int
    flavour: str = 'torch'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, sequence: jax.Array) -> jax.Array:
        """Maps (batch, steps, inputs) to the hidden states, float32 (batch, steps, units)."""
        width = 4 * self.units
        if self.flavour == 'torch':
            inits = [pytorch.uniform_fan_in(self.units)] * 3
        else:
            inits = [nn.initializers.glorot_uniform(), nn.initializers.orthogonal(), _forget_one]
        input_kernel = self.param('input_kernel', inits[0], (sequence.shape[-1], width))
        hidden_kernel = self.param('hidden_kernel', inits[1], (self.units, width))
        bias = self.param('input_bias', inits[2], (width,))
        if self.flavour == 'torch':
            bias = bias + self.param('hidden_bias', inits[2], (width,))

        projected = product(recurrent_scan.TIMES, sequence.swapaxes(0, 1), input_kernel, self.dtype)
        return recurrent_scan.states(
            _cell, projected, hidden_kernel, bias, n_states=2, dtype=self.dtype
        ).swapaxes(0, 1)


def _cell(projected, recurrent, states):
    _, memory = states
    gates = projected + recurrent
    # The sigmoid of everything, of the cell as well, where it is not wanted: XLA vectorises it on CPUs as
    # one array, not as slices. A fourth of the time.
    enter, forget, _, leave = jnp.split(computed_once(nn.sigmoid(gates)), 4, axis=-1)
    memory = forget * memory + enter * jnp.tanh(jnp.split(gates, 4, axis=-1)[2])
    return leave * jnp.tanh(memory), memory


def _forget_one(key, shape, dtype=jnp.float32):
    return jnp.zeros(shape, dtype).at[shape[0] // 4 : shape[0] // 2].set(1)
