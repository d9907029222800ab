"""CNN-GRU: the efficient CNN's trunk, two recurrent layers, and attention over their steps.

Source: Bu, Gan, Yang and Wei, Music genre classification project report (2025); layers are named as in
its checkpoints (W-Bu-coder/music_classification). Initialisation is PyTorch's, as there.

The report counts 39,050 parameters. 161 of them are a gate (160 inputs, one output) that its code built
and never called: it has no part in the output and never got a gradient. It is not built here, which
leaves 38,889; the authors' later checkpoints lack it too.

This network already has the attention and the residual connection of the report's final one:
cnn_gru_attention.py is the same with other rates of dropout, and with the choice of the recurrence.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models import efficient_cnn
from genre_jax.models.kernels import pytorch, recurrent_scan
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.kernels.product import product
from genre_jax.models.network import Network

_LAYERS = 2


class GRU(nn.Module):
    """A layer of gated recurrent units, PyTorch's `nn.GRU`; the gates are reset, update, new.

    `nn.GRUCell` of Flax computes another function: it has no bias of the hidden state inside the product
    with the reset gate. The products with kernels are of `dtype`; gates and state are float32.
    """

    units: int
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, sequence: jax.Array) -> jax.Array:
        """Maps (batch, steps, inputs) to the hidden states, float32 (batch, steps, units)."""
        init = pytorch.uniform_fan_in(self.units)
        width = 3 * self.units
        input_kernel = self.param('input_kernel', init, (sequence.shape[-1], width))
        hidden_kernel = self.param('hidden_kernel', init, (self.units, width))
        input_bias = self.param('input_bias', init, (width,))
        hidden_bias = self.param('hidden_bias', init, (width,))

        projected = product(recurrent_scan.TIMES, sequence.swapaxes(0, 1), input_kernel, self.dtype)
        return recurrent_scan.states(
            _cell, projected + input_bias, hidden_kernel, hidden_bias, dtype=self.dtype
        ).swapaxes(0, 1)


def _cell(projected, recurrent, states):
    (state,) = states
    in_reset, in_update, in_new = jnp.split(projected, 3, axis=-1)
    reset, update, new = jnp.split(recurrent, 3, axis=-1)
    update = nn.sigmoid(in_update + update)
    new = jnp.tanh(in_new + nn.sigmoid(in_reset + reset) * new)
    return (new + update * (state - new),)


class Model(Network):
    """The network. 38,889 parameters with 8 classes.

    Attributes:
        hidden_units: of the recurrent layers and the embedding.
        cnn_dropout: rate of dropout of whole channels at the end of the trunk, and half of it before.
        classifier_dropout: rate of dropout before the output.
    """

    hidden_units: int = 32
    cnn_dropout: float = 0.3
    classifier_dropout: float = 0.3

    # What the sisters have otherwise: the recurrent layer, its kind in the layers' names, and its axis.
    layer = GRU
    kind = 'gru'
    recurrence = 'mel'

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        recurrent = (f'{self.kind}_l{i}' for i in range(_LAYERS))
        return (
            *efficient_cnn.TRUNK_BLOCKS,
            (*recurrent, 'residual_proj'),
            ('attention_0', 'attention_2'),
            ('classifier_1',),
        )

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies pictures, at least 8 x 8; 1292 x 128 published."""
        maps = efficient_cnn.trunk(features, train, self.cnn_dropout, self.dtype)
        # The mean over time is a sequence of mel rows, low to high, 16 of 128 bins; the mean over mel rows is
        # a sequence in time, 161 steps of 1292 frames.
        sequence = maps.mean(1 if self.recurrence == 'mel' else 2)
        states = sequence
        for i in range(_LAYERS):
            name = f'{self.kind}_l{i}'
            states = self.layer(self.hidden_units, dtype=self.dtype, name=name)(states)
        states += pytorch.dense(sequence, self.hidden_units, name='residual_proj', dtype=self.dtype)
        scores = nn.tanh(pytorch.dense(states, 16, name='attention_0', dtype=self.dtype))
        weights = nn.softmax(pytorch.dense(scores, 1, name='attention_2'), axis=1)
        embedding = (weights * states).sum(1)
        dropped = Dropout(self.classifier_dropout)(embedding, train)
        return pytorch.dense(dropped, self.num_classes, name='classifier_1'), embedding
