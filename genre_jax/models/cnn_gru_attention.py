"""CNN-GRU-Attention: the final network of Bu, Gan, Yang and Wei, in both readings.

Source: Music genre classification project report (2025) and its code (W-Bu-coder/music_classification).
The layers and their names are those of cnn_gru.py, which has the attention already; the rates of dropout
are those that the authors' search chose (63.65 % on their test part).

Text and code differ. The report has the recurrence and the attention run over time. The code averages
the maps over time and keeps the mel rows, so both run over frequency, from low to high: every published
figure and checkpoint is of that kind. The parameters are the same in number and shape.
"""

from typing import Literal

from genre_jax.models import cnn_gru


class Model(cnn_gru.Model):
    """The network. 38,889 parameters with 8 classes.

    Attributes:
        recurrence: 'mel', over mel rows as in the code, or 'time' as in the report's text.
        cnn_dropout: rate of dropout of whole channels at the end of the trunk, and half of it before.
        classifier_dropout: rate of dropout before the output; the others are those of cnn_gru.Model.
    """

    recurrence: Literal['mel', 'time'] = 'mel'
    cnn_dropout: float = 0.2
    classifier_dropout: float = 0.4
