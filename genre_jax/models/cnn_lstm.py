"""CNN-LSTM: cnn_gru.py with long short-term memory in place of gated recurrent units.

Source: Bu, Gan, Yang and Wei, Music genre classification project report (2025). The report counts
46,346 parameters; 161 of them are the gate that was never called (see cnn_gru.py) and is not built here.
No checkpoint of this network is published; layers are named as in those of its sister. Initialisation
is PyTorch's.
"""

from __future__ import annotations

import flax.linen as nn
import jax

from genre_jax.models import cnn_gru, lstm


class Model(nn.Module):
    """The network. 46,185 parameters with 8 classes.

    Attributes:
        num_classes: size of the output.
        hidden_units: of the recurrent layers and the embedding.
        cnn_dropout: rate of dropout of whole channels at the end of the trunk, and half of it before.
        classifier_dropout: rate of dropout before the output.
        dtype: of the computation, 'float32' or 'bfloat16'.
    """

    num_classes: int
    hidden_units: int = 32
    cnn_dropout: float = 0.3
    classifier_dropout: float = 0.3
    dtype: str = 'float32'

    def __post_init__(self) -> None:
        cnn_gru.check(self)
        super().__post_init__()

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        return cnn_gru.blocks('lstm')

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies pictures.

        Args:
            features: float32 (batch, frames, bins), at least 8 frames and bins; 1292 x 128 published.
            train: whether dropout is on and batch normalisation uses the batch's statistics.

        Returns:
            Logits (batch, num_classes) and the embedding (batch, hidden_units).
        """
        return cnn_gru.classify(self, features, train, lstm.LSTM, 'lstm', 'mel')
