"""Kirby and Bhateja's search for CNN14's learning rate and L2 penalty.

    python -m genre_jax.sweep --config=configs/cnn14_western_search.py:search=learning_rate \
        --config.data.root=DIR --workdir=runs/cnn14_rates
    python -m genre_jax.sweep --config=configs/cnn14_western_search.py:search=grid \
        --config.data.root=DIR --workdir=runs/cnn14_grid

`search=learning_rate`: rates at random on 20 % of the training songs, 6 epochs. From the shape of the curves
the authors kept 9.32e-3, 4.06e-4 and 1.42e-3.

`search=grid`: these three with penalties of 1e-5, 5e-5 and 1e-4, on 40 % of the songs, 3 epochs. Training
loss of the last epoch (Table 1, where every value is slightly perturbed):

    rate      L2 1e-5   5e-5     1e-4
    9.32e-3   0.5285    0.6019   0.6092
    4.06e-4   0.4207    0.4151   0.4555        (0.4151: 3.71e-4 with 4.76e-5)
    1.42e-3   0.4757    0.4458   0.4957

DIR and `protocol` as in configs/cnn14_western.py, whose first training the other settings are those of,
without warm-up and halving. What differs: the grid is not perturbed; how many rates were tried, and from
which range, is not said: twelve here, log-uniform from 1e-5 to 1e-1. The table above is of training losses,
and favours whatever fits fast: the sweep ranks by validation.

A GPU; 12 runs of some 400 steps and 9 of 400, half an hour on a large one by the estimate of that page.
"""

from genre_jax.configs import cnn14_western, common
from genre_jax.sweep.space import Choice, LogUniform, Sweep

_ARGUMENTS = {'search': ('learning_rate', 'grid'), 'protocol': ('grouped', 'paper')}


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'search=grid,protocol=paper', what follows the page's colon."""
    arguments = common.parse_arguments(text, **_ARGUMENTS)
    config = cnn14_western.get_config(f'training=1,protocol={arguments.protocol}')
    config.optim.schedule = 'constant'
    config.split.train_share, config.train.length = {
        'learning_rate': (0.2, '6 epochs'),
        'grid': (0.4, '3 epochs'),
    }[arguments.search]
    return config


def sweep(text: str | None = None) -> Sweep:
    """Returns the rates, or the nine points of Table 1."""
    if common.parse_arguments(text, **_ARGUMENTS).search == 'learning_rate':
        space = {'optim.learning_rate': LogUniform(1e-5, 1e-1)}
        return Sweep(space, method='random', trials=12)
    space = {
        'optim.learning_rate': Choice((9.32e-3, 4.06e-4, 1.42e-3)),
        'optim.weight_decay': Choice((1e-5, 5e-5, 1e-4)),
    }
    return Sweep(space, method='grid')
