"""Reel, jig, hornpipe, slip jig or strathspey? Real dance tunes, rendered to audio, in minutes.

    python -m genre_jax.main --config=configs/quickstart.py --workdir=runs/quickstart

Needs no account and no download: the tunes are public-domain scores inside the music21 package,
played by a small synthesiser (docs/datasets/tunes.md). Settings of the same tune never cross the
split. The shallow CNN with batch normalisation on log-mel pictures of 5 s, long enough to hold a few
bars: 100 frames of 20 bands, coarse in frequency because the dance is in the rhythm.
"""

from __future__ import annotations

import ml_collections

from genre_jax.configs import common


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
    config.windows.eval_per_track = 8
    config.features.name = 'schindler'
    config.features.sample_rate_hz = 16000
    config.features.n_fft = 1024
    config.features.hop_length = 800  # 50 ms, a quarter of the shortest common note
    config.features.n_mels = 20
    config.features.f_min_hz = 200.0  # the melody, and a few harmonics of it
    config.features.f_max_hz = 3000.0
    config.features.log_offset = 0.1  # hides the noise floor

    config.model.name = 'shallow_cnn'
    config.model.hidden_units = 200
    config.model.dropout = 0.1
    config.model.batch_norm = True

    config.optim.learning_rate = 1e-3
    config.optim.schedule = 'cosine'
    config.train.batch_size = 64
    config.train.length = '34 epochs'
    config.train.log_every = '1 epochs'
    config.eval.every = '4 epochs'
    config.checkpoint.every = '4 epochs'
    return config
