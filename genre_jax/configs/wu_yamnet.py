"""Wu: YAMNet on pieces of 3 s, with three dense layers or three LSTM layers on top.

    python -m genre_jax.main --config=configs/wu_yamnet.py --config.data.root=GTZAN/genres_original \
        --workdir=runs/wu_yamnet
    python -m genre_jax.main --config=configs/wu_yamnet.py:top=lstm,protocol=paper ...
    python -m genre_jax.sweep --config=configs/wu_yamnet.py ...                      (the search)

    top=dense   mean and deviation of YAMNet's embeddings, 1024, 512 and 128 units,
                dropout, batch 52, 5 epochs                                          84.9 %
    top=lstm    LSTM layers of 480, 128 and 80 units on the sequence of embeddings,
                dropout 0.15 after the first, batch 44                               84.2 %

YAMNet's weights (15 MB) are fetched once, or name a file, --config.init.checkpoint=yamnet.tflite; they are
frozen. Adam 1e-3. `protocol` as in wu_mlp.py; artists come from Sturm's index (docs/datasets/gtzan.md).

What differs: a piece is five patches here, where the paper speaks of 62 frames, as many as 30 s have.
`dropout: True` is 0.25 after every layer, the rate of KerasTuner's examples. The list for the hybrid names a
second rate of 0.25 beside `dropout_2: False`: taken as unused. How long the hybrid trained is not said: up to
30 epochs, until validation accuracy has not risen for 5.

An hour on 2 CPU cores, estimated from configs/finetune.py; minutes on a GPU.
"""

import itertools

from genre_jax.configs import common, wu_mlp
from genre_jax.sweep.space import Sweep

_ARGUMENTS = {'top': ('dense', 'lstm'), 'protocol': wu_mlp.PROTOCOLS}


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'top=lstm,protocol=paper', what follows the page's colon."""
    arguments = common.parse_arguments(text, **_ARGUMENTS)
    config = wu_mlp.on_pieces(arguments.protocol)
    config.features.name = config.model.name = config.init.checkpoint = 'yamnet'
    config.optim.freeze = 'first 14'
    if arguments.top == 'dense':
        config.model.update(summary='mean_std', hidden_units=(1024, 512, 128))
        config.model.dropout = (0.25, 0.25, 0.25)
        config.init.new = 'dense_.*'
        config.train.update(batch_size=52, length='5 epochs')
    else:
        config.model.update(lstm_units=(480, 128, 80), dropout=(0.15, 0.0, 0.0))
        config.init.new = 'lstm_.*'
        config.train.update(batch_size=44, length='30 epochs')
        config.train.update(stop_metric='val/segment/accuracy', stop_patience=5)
    return config


def sweep(text: str | None = None) -> Sweep:
    """Returns the search."""
    if common.parse_arguments(text, **_ARGUMENTS).top == 'dense':
        return wu_mlp.random_search(
            hidden_units=itertools.product((256, 512, 1024), (128, 512, 1024), (32, 128, 512)),
            dropout=((0.0, 0.0, 0.0), (0.25, 0.25, 0.25)),
        )
    return wu_mlp.random_search(
        lstm_units=itertools.product((128, 256, 480), (32, 128, 480), (32, 80, 128)),
        dropout=itertools.product((0.0, 0.15, 0.25), (0.0, 0.25), (0.0,)),
    )
