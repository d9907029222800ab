"""Wu: VGG16 on the stored pictures of GTZAN's spectrograms, with three dense layers on top.

    python -m genre_jax.main --config=configs/wu_vgg16.py --config.data.root=images_original \
        --workdir=runs/wu_vgg16
    python -m genre_jax.main --config=configs/wu_vgg16.py:protocol=paper ...
    python -m genre_jax.sweep --config=configs/wu_vgg16.py ...                       (the search)

Pictures of 432 x 288 pixels in full; the convolutions are Keras' (59 MB, fetched once) and stay frozen;
layers of 3072, 1536 and 288 units, dropout after the first, Adam 1e-3, batch 28, 6 epochs: **65.5 %**.

`protocol` as in configs/wu_mlp.py. There is one picture of a song; what leaks under `paper` are 14 pairs of
copies, and artists, where `--config.data.index=` names them.

What differs: the rate of that dropout is not given, 0.25 here as in KerasTuner's examples. Pixels are
normalised as VGG16's weights want it, one of the three ways that the paper tried. The search's range is that
of the text, up to 3072 units; the optional fourth layer is left out.

Wants a GPU with 8 GB: the first dense layer alone has 184 million parameters.
"""

import itertools

from genre_jax.configs import common, wu_mlp
from genre_jax.sweep.space import Sweep


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=paper', what follows the page's colon."""
    arguments = common.parse_arguments(text, protocol=wu_mlp.PROTOCOLS)
    config = common.get_config()
    wu_mlp.share(config, arguments.protocol)
    config.data.name = 'images'
    config.features.update(name='picture', height=288, width=432)

    config.model.update(name='vgg16', hidden_units=(3072, 1536, 288), pool='flatten')
    config.model.dropout = (0.25, 0.0, 0.0)
    config.init.update(checkpoint='vgg16_conv', new='fc.*')
    config.optim.freeze = 'first 13'
    config.train.update(batch_size=28, length='6 epochs')
    config.eval.batch_size = 28
    return config


def sweep() -> Sweep:
    """Returns the search."""
    return wu_mlp.random_search(
        hidden_units=itertools.product((1024, 1536, 3072), (512, 1536, 3072), (32, 288, 1024)),
        dropout=itertools.product((0.0, 0.25), repeat=3),
    )
