"""CNN-LSTM: cnn_gru.py with long short-term memory in place of gated recurrent units.

Source: Bu, Gan, Yang and Wei, Music genre classification project report (2025). The report counts
46,346 parameters; 161 of them are the gate that was never called (see cnn_gru.py) and is not built here.
No checkpoint of this network is published; layers are named as in those of its sister. Initialisation
is PyTorch's.
"""

from genre_jax.models import cnn_gru, lstm


class Model(cnn_gru.Model):
    """The network. 46,185 parameters with 8 classes; its attributes are those of cnn_gru.Model."""

    layer = lstm.LSTM
    kind = 'lstm'
