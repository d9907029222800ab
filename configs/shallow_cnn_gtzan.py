"""Shallow CNN of Schindler, Lidy and Rauber (2016) as Herbert re-implemented it, on GTZAN.

    python -m genre_jax.main --config=configs/shallow_cnn_gtzan.py \
        --config.data.root=GTZAN/genres_original --workdir=runs/shallow_cnn
    python -m genre_jax.main --config=configs/shallow_cnn_gtzan.py:batch_norm=True ...

Two parallel convolutions over 80 x 80 log-mel pictures of 0.93 s, 15 of them drawn at random from
each track (half-overlapping grid), Adam 5e-5, batch 64, L1 1e-4, He initialisation, 200 epochs.
Runs on any folder with one folder per class.

The paper (Table II, 200 epochs, 75/25 % of the tracks, mean of 5 runs): raw 64.22, maximum
probability 77.20, majority vote 76.16 %; with batch normalisation 66.78, 79.60 and 77.68 %.
Its 25 % served for watching the training as well; here 15 of the 75 % are set aside for choosing
the checkpoint, so the network sees 60 % and the test part stays closed until the end. GTZAN has no
artist labels in its file names: tracks of one artist cross this split, as they did in the paper.
"""

from __future__ import annotations

import ml_collections

from configs import common


def get_config(arguments: str | None = None) -> ml_collections.ConfigDict:
    """Returns the config; `arguments` may hold batch_norm=True."""
    arguments = common.parse_arguments(arguments, batch_norm=False)
    config = common.get_config()
    config.data.name = 'folder'
    config.data.root = ''
    config.data.sample_rate_hz = common.optional(int)
    config.data.group = 'auto'
    config.split.fractions = (0.60, 0.15, 0.25)

    config.windows.window_s = 0.93
    config.windows.train_per_track = 15
    config.windows.train_draw = 'grid'
    config.windows.eval_per_track = 15
    config.windows.eval_draw = 'grid'
    config.features.name = 'schindler'

    config.model.name = 'shallow_cnn'
    config.model.hidden_units = 200
    config.model.dropout = 0.1
    config.model.batch_norm = arguments.batch_norm

    config.optim.learning_rate = 5e-5
    config.optim.l1 = 1e-4
    config.train.batch_size = 64
    config.train.length = '200 epochs'
    config.eval.every = '5 epochs'
    config.checkpoint.every = '5 epochs'
    return config
