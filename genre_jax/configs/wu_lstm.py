"""Wu: three LSTM layers on the MFCCs of pieces of 3 s.

    python -m genre_jax.main --config=configs/wu_lstm.py --config.data.root=GTZAN/genres_original \
        --workdir=runs/wu_lstm
    python -m genre_jax.main --config=configs/wu_lstm.py:protocol=paper ...
    python -m genre_jax.sweep --config=configs/wu_lstm.py ...                        (the search)

Layers of 416, 32 and 48 units, tanh, dropout 0.2 after the second, Adam 1e-3, batch 12, 16 epochs: **77.3 %**
of the pieces.

`protocol` as in configs/wu_mlp.py; artists come from Sturm's index (docs/datasets/gtzan.md).

What differs: how many coefficients there are is not said: 13 here, librosa's MFCCs with windows of 2048 and a
hop of 512 samples, 130 steps. Pieces train from anywhere in a song under `grouped`; side by side under
`paper`, as there.

Wants a GPU: 130 steps one after another, 8,500 times, or as the paper says, really slow.
"""

import itertools

from genre_jax.configs import common, wu_mlp
from genre_jax.sweep.space import Sweep


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=paper', what follows the page's colon."""
    arguments = common.parse_arguments(text, protocol=wu_mlp.PROTOCOLS)
    config = wu_mlp.on_pieces(arguments.protocol)
    config.features.name = 'mfcc_13'
    config.model.update(name='lstm', hidden_units=(416, 32, 48), dropout=(0.0, 0.2, 0.0))
    config.train.update(batch_size=12, length='16 epochs')
    return config


def sweep() -> Sweep:
    """Returns the search."""
    return wu_mlp.random_search(
        hidden_units=itertools.product((128, 256, 416), (32, 128, 416), (32, 48, 128)),
        dropout=itertools.product((0.0,), (0.0, 0.2, 0.4), (0.0, 0.2)),
    )
