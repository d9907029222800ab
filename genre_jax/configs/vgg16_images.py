"""VGG16 on stored pictures of spectrograms, such as GTZAN's images_original, after Wu (2022).

    python -m genre_jax.main --config=configs/vgg16_images.py \
        --config.data.root=images_original --workdir=runs/vgg16

One folder of pictures per class (docs/datasets/images.md). The convolutions begin with Keras' published
weights and stay frozen; dense layers on top are new. Wu's own settings are configs/wu_vgg16.py. Wants a GPU;
the full size was never timed on a CPU. Without the weights:
--config.init.checkpoint= --config.optim.freeze=

GTZAN's pictures hold 14 pairs that are alike to the last pixel, one of them in two genres: copies share a
group here and never cross the split.
"""

from __future__ import annotations

import ml_collections

from genre_jax.configs import common


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = common.get_config()
    config.data.name = 'images'
    config.data.root = ''
    config.data.index = ''

    config.features.name = 'picture'
    config.features.height = 144
    config.features.width = 216
    config.model.name = 'vgg16'
    config.model.hidden_units = (256,)
    config.model.pool = 'mean'
    config.model.dropout = 0.5

    config.init.checkpoint = 'vgg16_conv'
    config.init.new = 'fc1'
    config.optim.freeze = 'first 13'
    config.optim.learning_rate = 1e-3
    config.optim.schedule = 'cosine'
    config.train.batch_size = 32
    config.eval.batch_size = 32
    config.train.length = '10 epochs'
    return config
