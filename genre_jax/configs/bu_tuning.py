"""Bu, Gan, Yang and Wei: batch size, learning rate, optimiser and scheduler, one after another.

    python -m genre_jax.sweep --config=configs/bu_tuning.py:phase=batch_size --config.data.root=fma \
        --workdir=runs/bu_batch_size

Best accuracy on the validation part, %, of the CNN-GRU with attention and rates of dropout of 0.3:

    phase=batch_size     16: 59.88, 32: 58.35, 48: 58.82; 64 did not fit their GPU            (Table IV)
    phase=learning_rate  5e-5, 1e-4, 3e-4, 1e-3: the higher the better, 1e-3 is kept            (Fig. 3)
    phase=optimizer      AdamW is 4.47 points above Adam                                        (Fig. 4)
    phase=scheduler      with AdamW; constant 58.35, ReduceLROnPlateau 58.35                   (Table V)

Each phase begins with what the one before it chose. `protocol` is that of configs/bu_models.py, and so are
the data, the augmentation and most of what differs. Besides: the report does not say how long these runs were
(30 epochs here, as in its grid) nor their weight decay (1e-4, as in the code's comparison of networks; Fig. 4
is sensitive to it, since AdamW takes it times the learning rate alone). The plateau is watched on the
validation accuracy, as in the code: a tenth of the rate after more than five evaluations without gain.

A run took the authors 28 to 42 minutes on an RTX 4060; a phase has two to four.
"""

from genre_jax.configs import bu_models, common
from genre_jax.sweep.space import Choice, Sweep

_PHASES = {
    'batch_size': ('train.batch_size', (16, 32, 48, 64)),
    'learning_rate': ('optim.learning_rate', (5e-5, 1e-4, 3e-4, 1e-3)),
    'optimizer': ('optim.name', ('adam', 'adamw')),
    'scheduler': ('optim.schedule', ('constant', 'plateau')),
}
_ARGUMENTS = {'phase': tuple(_PHASES), 'protocol': ('official', 'paper')}


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'phase=scheduler,protocol=paper', what follows the page's colon."""
    arguments = common.parse_arguments(text, **_ARGUMENTS)
    config = bu_models.get_config(f'model=cnn_gru_attention,protocol={arguments.protocol}')
    config.train.length = '30 epochs'
    config.optim.update(plateau_metric='val/segment/accuracy', plateau_factor=0.1)
    config.optim.update(plateau_patience=5, plateau_min_learning_rate=1e-6)
    if arguments.phase == 'scheduler':
        config.optim.name = 'adamw'
    return config


def sweep(text: str | None = None) -> Sweep:
    """Returns the values that a phase compares."""
    key, values = _PHASES[common.parse_arguments(text, **_ARGUMENTS).phase]
    return Sweep({key: Choice(values)}, method='grid')
