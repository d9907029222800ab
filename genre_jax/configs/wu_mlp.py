"""Wu: the perceptron on a table of features; the settings that all five networks of the paper share.

    python -m genre_jax.main --config=configs/wu_mlp.py --config.data.root=features_3_sec.csv \
        --workdir=runs/wu_mlp
    python -m genre_jax.main --config=configs/wu_mlp.py:protocol=paper ...
    python -m genre_jax.sweep --config=configs/wu_mlp.py ...                         (the search)

Layers of 448, 672 and 32 units, ReLU, no dropout, Adam 1e-3, batch 12, 11 epochs: the best that the search
found, **88.9 %** of the 3-s rows. A minute on 2 CPU cores for 3,000 rows, four for 10,000.

`protocol=grouped` keeps a song, and its artist where `--config.data.index=` names them, in one part.
`protocol=paper` deals rows (pieces, pictures) out at random, 4:1 and of the four fifths again 4:1 for
validation: rows of a song train and test, and every figure is marked LEAKY.

What differs, besides docs/papers.md: the search's ranges are shown in part only. Here they are five widths
from 32 to 1024 for each layer, rates of 1e-4 to 1e-2 and batches of 12 to 64, at random, each network trained
once instead of twice.
"""

import itertools

from genre_jax.configs import common
from genre_jax.sweep.space import Choice, LogUniform, Sweep

PROTOCOLS = ('grouped', 'paper')


def share(config: common.Config, protocol: str) -> None:
    """Sets what all networks of the paper have in common."""
    config.data.update(root='', index='')
    leaky = protocol == 'paper'
    config.split.update(protocol='segment_leaky' if leaky else 'grouped', allow_leak=leaky)
    config.split.update(fractions=(0.64, 0.16, 0.20), folds=5)
    config.optim.learning_rate = 1e-3
    config.eval.select_on = 'segment'


def on_pieces(protocol: str) -> common.Config:
    """Returns what the networks on pieces of 3 s have in common."""
    config = common.get_config()
    share(config, protocol)
    config.data.update(name='gtzan', sample_rate_hz=22050, splits='')
    config.windows.update(window_s=3.0, train_per_track=10, eval_per_track=10)
    return config


def random_search(**space: object) -> Sweep:
    """Returns a search at random over learning rate, batch and `space`, by key of config.model."""
    whole = {
        'optim.learning_rate': LogUniform(1e-4, 1e-2),
        'train.batch_size': Choice(tuple(range(12, 65, 4))),
    } | {f'model.{key}': Choice(tuple(values)) for key, values in space.items()}
    return Sweep(whole, method='random', trials=30)


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=paper', what follows the page's colon."""
    config = common.table_config()
    share(config, common.parse_arguments(text, protocol=PROTOCOLS).protocol)
    config.model.update(hidden_units=(448, 672, 32), activation='relu', dropout=0.0)
    config.train.update(batch_size=12, length='11 epochs')
    return config


def sweep() -> Sweep:
    """Returns the search."""
    return random_search(
        hidden_units=itertools.product((32, 128, 448, 672, 1024), repeat=3),
        activation=('relu', 'tanh'),
        dropout=(0.0, 0.25),
    )
