"""A pretrained network that stays as it is, and a linear layer on it: how well does it serve your recordings?

    python -m genre_jax.transfer --config=configs/probe.py:encoder=musicnn --config.data.root=DIR \
        --heads=linear --layers=best --workdir=runs/probe

encoder= one of the networks of configs/finetune.py. The network goes over the recordings once, for all of
its layers; layer and learning rate are chosen on validation, five seeds are averaged, and the test part
is opened once. Several encoders in one table, with differences on the same songs:
--sources=musicnn_msd,yamnet.

    python -m genre_jax.main --config=configs/probe.py:encoder=ast --config.data.root=DIR --workdir=runs/x

trains the output layer alone as a run of its own, on random windows; --config.model.layers=weighted has it
read all layers of one width.
"""

from genre_jax.configs import common, finetune


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'encoder=musicnn', what follows the page's colon."""
    encoder = common.parse_arguments(text, encoder=finetune.ARGUMENTS['model']).encoder
    config = finetune.get_config(f'model={encoder}')
    config.augment = {}
    config.optim.update(learning_rate=1e-3, layer_decay=1.0, freeze='all but head', unfreeze_at='')
    return config
