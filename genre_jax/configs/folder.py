"""A folder of your own recordings: one folder per class, or a CSV with columns path,label.

    python -m genre_jax.main --config=configs/folder.py --config.data.root=DIR --workdir=runs/x

WAV, FLAC, OGG, MP3, AU or AIFF at any rate, channels and length; docs/datasets/folder.md has the
details. Recordings of one artist (else album, else recording) never cross the split.

The shallow CNN with batch normalisation on 2.8-s windows, a learning rate that suits a few hundred
songs, and SpecAugment. About 4 minutes for 150 half-minute songs on 2 CPU cores.
"""

from __future__ import annotations

import ml_collections

from genre_jax.configs import common


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = common.get_config()
    config.data.name = 'folder'
    config.data.root = ''
    config.data.sample_rate_hz = common.optional(int)
    config.data.group = 'auto'

    config.windows.window_s = 2.8
    config.windows.train_per_track = 8
    config.windows.eval_per_track = 10
    config.features.name = 'schindler'
    config.features.n_fft = 1024
    config.features.hop_length = 768

    config.augment.spec_augment = ml_collections.ConfigDict()
    config.augment.spec_augment.time_stripes = 2
    config.augment.spec_augment.time_width_frames = 10
    config.augment.spec_augment.mel_stripes = 2
    config.augment.spec_augment.mel_width_bins = 10

    config.model.name = 'shallow_cnn'
    config.model.hidden_units = 200
    config.model.dropout = 0.1
    config.model.batch_norm = True

    config.optim.learning_rate = 5e-4
    config.optim.schedule = 'cosine'
    config.train.batch_size = 64
    config.train.length = '20 epochs'
    return config
