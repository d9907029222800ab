"""Reel, jig, hornpipe, slip jig or strathspey? Real dance tunes, rendered to audio, in minutes.

    python -m genre_jax.main --config=configs/quickstart.py --workdir=runs/quickstart

Needs no account and no download: the tunes are public-domain scores inside the music21 package,
played by a small synthesiser (data/tunes/README.md). Settings of the same tune never cross the
split. The shallow CNN with batch normalisation on 80 x 80 log-mel pictures of 5 s, long enough to
hold a few bars, hence the long hop.
"""

from __future__ import annotations

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = common.get_config()
    config.data.name = 'tunes'
    config.data.max_per_class = 110
    config.data.duration_s = 20.0
    config.data.sample_rate_hz = 16000
    config.data.seed = 0

    config.windows.window_s = 5.0
    config.windows.train_per_track = 4
    config.windows.eval_per_track = 6
    config.features.name = 'schindler'
    config.features.sample_rate_hz = 16000
    config.features.n_fft = 1024
    config.features.hop_length = 1000

    config.model.name = 'shallow_cnn'
    config.model.hidden_units = 200
    config.model.dropout = 0.1
    config.model.batch_norm = True

    config.optim.learning_rate = 1e-3
    config.optim.schedule = 'cosine'
    config.train.batch_size = 64
    config.train.length = '20 epochs'
    return config
