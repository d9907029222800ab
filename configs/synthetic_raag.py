"""Sixteen raags.

python -m genre_jax.main --config=configs/synthetic_raag.py --workdir=runs/synthetic_raag
"""

from __future__ import annotations

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = common.get_config()
    config.data.name = 'synthetic_raag'
    config.data.per_class = 20
    config.data.duration_s = 30.0
    config.data.sample_rate_hz = 16000
    config.data.seed = 0
    config.data.raags = ()
    config.data.tonic_hz = common.optional(float)
    config.data.musicians = 20

    config.windows.window_s = 10.0
    config.windows.train_per_track = 3
    config.windows.eval_per_track = 5
    config.features.name = 'constant_q'
    config.features.sample_rate_hz = 16000
    config.features.hop_length = 2048  # 128 ms
    config.features.f_min_hz = 73.0
    config.features.n_bins = 96
    config.features.bins_per_octave = 24
    config.features.compression = 'db'
    config.features.db_reference = 'peak'
    config.features.top_db = 50.0

    config.model.name = 'efficient_cnn'
    config.model.cnn_dropout = 0.0
    config.model.classifier_dropout = 0.1

    config.optim.learning_rate = 5e-3
    config.optim.schedule = 'cosine'
    config.optim.warmup = '5 percent'
    config.train.batch_size = 16
    config.train.length = '36 epochs'
    config.eval.every = '6 epochs'
    config.checkpoint.every = '6 epochs'
    return config
