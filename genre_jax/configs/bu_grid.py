"""Bu, Gan, Yang and Wei: the grid of 54 runs over beta2, two rates of dropout and weight decay.

    python -m genre_jax.sweep --config=configs/bu_grid.py --config.data.root=fma --workdir=runs/bu_grid
    python -m genre_jax.sweep --config=configs/bu_grid.py:protocol=paper ...

AdamW 1e-3 with ReduceLROnPlateau, batch 16, at most 30 epochs. All four are numbers: the runs can be trained
together as one program. Accuracy on the validation part, % (Table VI):

    1   60.47   beta2 0.999  cnn_dropout 0.2  classifier_dropout 0.4  weight_decay 0.03
    2   60.12         0.999              0.2                     0.3               0.03
    3   59.65         0.98               0.3                     0.2               0.02
    baseline with 0.3 and 0.3: 56.35

`protocol`, and what differs from the paper, as in configs/bu_models.py. The best of 54 runs on some 800
validation clips is a few points too good by chance. The paper: 13 hours on an RTX 4060.
"""

from genre_jax.configs import bu_tuning, common
from genre_jax.sweep.space import Choice, Sweep


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=paper', what follows the page's colon."""
    arguments = common.parse_arguments(text, protocol=('official', 'paper'))
    config = bu_tuning.get_config(f'phase=scheduler,protocol={arguments.protocol}')
    config.optim.update(schedule='plateau', weight_decay=0.03)
    config.model.update(cnn_dropout=0.2, classifier_dropout=0.4)
    return config


def sweep() -> Sweep:
    """Returns the 54 points."""
    space = {
        'optim.b2': Choice((0.98, 0.999)),
        'model.cnn_dropout': Choice((0.2, 0.3, 0.4)),
        'model.classifier_dropout': Choice((0.2, 0.3, 0.4)),
        'optim.weight_decay': Choice((0.01, 0.02, 0.03)),
    }
    return Sweep(space, method='grid')
