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

from genre_jax.configs import common


def get_config() -> common.Config:
    """Returns the config."""
    config = common.get_config()
    config.data.update(name='images', root='', index='')
    config.features.update(name='picture', height=144, width=216)
    config.model.update(name='vgg16', hidden_units=(256,), pool='mean', dropout=0.5)

    config.init.update(checkpoint='vgg16_conv', new='fc1')
    config.optim.update(freeze='first 13', learning_rate=1e-3, schedule='cosine')
    config.train.update(batch_size=32, length='10 epochs')
    config.eval.batch_size = 32
    return config
