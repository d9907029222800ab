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

from __future__ import annotations

import itertools

import ml_collections

from genre_jax.configs import common, wu_mlp


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Returns the config of 'protocol=paper', what follows the page's colon."""
    config = wu_mlp.shared(common.parse_arguments(text, protocol=wu_mlp.PROTOCOLS).protocol)
    config.data.name = 'gtzan'
    config.data.sample_rate_hz = 22050
    config.data.splits = ''
    config.windows.window_s = 3.0
    config.windows.train_per_track = 10
    config.windows.eval_per_track = 10
    config.features.name = 'mfcc_13'

    config.model.name = 'lstm'
    config.model.hidden_units = (416, 32, 48)
    config.model.dropout = (0.0, 0.2, 0.0)
    config.train.batch_size = 12
    config.train.length = '16 epochs'
    return config


def sweep():
    """Returns the search."""
    return wu_mlp.random_search(
        hidden_units=tuple(itertools.product((128, 256, 416), (32, 128, 416), (32, 48, 128))),
        dropout=tuple(itertools.product((0.0,), (0.0, 0.2, 0.4), (0.0, 0.2))),
    )
