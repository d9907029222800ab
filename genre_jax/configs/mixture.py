"""One network for the classes of several datasets: bluegrass, country and folk, and raags.

    python -m genre_jax.main --config=configs/mixture.py --config.data.parts.western.root=DIR \
        --config.data.parts.raag.root=DIR --workdir=runs/mixture

Each part is a dataset with its own keys (docs/datasets/mixture.md); `name` says which, so a folder of your
own takes the place of either: --config.data.parts.western.name=folder. For other parts copy this page.

The network of configs/folder.py; every class gets the same number of windows. A minute an epoch for 200
half-minute clips in 14 classes on 2 CPU cores that were busy otherwise; 20 epochs.

Where no class has recordings of both parts, part of the accuracy only says that the parts were recorded
differently: look at the confusions inside each part.
"""

from genre_jax.configs import common, folder


def get_config() -> common.Config:
    """Returns the config."""
    config = folder.get_config()
    for key in ('root', 'sample_rate_hz', 'group'):  # of one folder
        del config.data[key]
    config.data.update(name='mixture', sample_rate_hz=22050)
    config.data.parts = {name: {'name': name, 'root': '', 'group': 'auto'} for name in ('western', 'raag')}
    config.windows.balance = 'class'
    return config
