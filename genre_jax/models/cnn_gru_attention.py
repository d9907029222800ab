"""CNN-GRU-Attention: the final network of Bu, Gan, Yang and Wei, in both readings.

Source: Music genre classification project report (2025) and its code (W-Bu-coder/music_classification).
The layers and their names are those of cnn_gru.py, which has the attention already; the rates of dropout
are those that the authors' search chose (63.65 % on their test part).

Text and code differ. The report has the recurrence and the attention run over time. The code averages
the maps over time and keeps the mel rows, so both run over frequency, from low to high: every published
figure and checkpoint is of that kind. The parameters are the same in number and shape.
"""

from __future__ import annotations

import flax.linen as nn
import jax

from genre_jax.models import cnn_gru, layers


class Model(nn.Module):
    """The network. 38,889 parameters with 8 classes.

    Attributes:
        num_classes: size of the output.
        recurrence: 'mel', over mel rows as in the code, or 'time' as in the report's text.
        hidden_units: of the recurrent layers and the embedding.
        cnn_dropout: rate of dropout of whole channels at the end of the trunk, and half of it before.
        classifier_dropout: rate of dropout before the output.
        dtype: of the computation, 'float32' or 'bfloat16'.
    """

    num_classes: int
    recurrence: str = 'mel'
    hidden_units: int = 32
    cnn_dropout: float = 0.2
    classifier_dropout: float = 0.4
    dtype: str = 'float32'

    def __post_init__(self) -> None:
        layers.check_choice('recurrence', self.recurrence, ('mel', 'time'))
        cnn_gru.check(self)
        super().__post_init__()

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        return cnn_gru.blocks('gru')

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies pictures.

        Args:
            features: float32 (batch, frames, bins), at least 8 frames and bins; 1292 x 128 published.
            train: whether dropout is on and batch normalisation uses the batch's statistics.

        Returns:
            Logits (batch, num_classes) and the embedding (batch, hidden_units).
        """
        return cnn_gru.classify(self, features, train, cnn_gru.GRU, 'gru', self.recurrence)
