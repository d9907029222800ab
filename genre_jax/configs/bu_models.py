"""Bu, Gan, Yang and Wei: features (Table II) and networks (Table III) on FMA small.

    python -m genre_jax.main --config=configs/bu_models.py:features=mel --config.data.root=fma \
        --workdir=runs/bu_mel
    python -m genre_jax.main --config=configs/bu_models.py:model=cnn_lstm,protocol=paper ...

Clips of 30 s; a small network of depthwise separable convolutions, without or with two recurrent layers and
attention. Best accuracy on the validation part, %:

    Table II    features=mel 56.35, mfcc 56.13, chroma 54.37, with the network cnn_gru
    Table III   model=efficient_cnn 52.59 (16,456 parameters), cnn_gru 56.35 (39,050), cnn_lstm 55.65 (46,346)

`model=cnn_gru_attention` has the layers of cnn_gru, and a choice: in the authors' code the recurrence runs
over mel rows, in their text over time, `recurrence=time`. Of the parameters of the hybrids 161 are a gate
that was never called; it is not built here.

`protocol=official` is FMA's own split, artists apart. `protocol=paper`: 70, 10 and 20 % of each genre at
random; artists and albums cross, and every figure is marked LEAKY.

What differs, besides docs/papers.md: training is as the authors' code compares networks (Adam 1e-3, weight
decay 1e-4, 20 epochs), with the batch and the early stopping of their later experiments. With 13 or 12 bins
a recurrence over rows has a single step.

An hour or less on a small GPU, as the paper's 12 minutes say; a night on 2 CPU cores.
"""

from genre_jax.configs import common

_FEATURES = {'mel': 'fma_mel', 'mfcc': 'mfcc_13', 'chroma': 'chroma'}
_MODELS = ('cnn_gru', 'efficient_cnn', 'cnn_lstm', 'cnn_gru_attention')


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=paper,features=mfcc,model=cnn_lstm', what follows the page's colon."""
    arguments = common.parse_arguments(
        text,
        protocol=('official', 'paper'),
        features=tuple(_FEATURES),
        model=_MODELS,
        recurrence=('mel', 'time'),
    )
    config = common.get_config()
    config.seed = 42
    config.data.update(name='fma', root='', subset='small', sample_rate_hz=22050, metadata='')
    config.split.update(protocol=arguments.protocol, allow_leak=arguments.protocol == 'paper')
    config.split.seed = 42

    config.windows.update(window_s=30.0, train_per_track=1, train_draw='grid')
    config.windows.update(eval_per_track=1, eval_draw='grid')
    config.features.name = _FEATURES[arguments.features]

    # A quarter of the clips each: as they are, with noise, shifted, both.
    config.augment.update(time_shift={'max_share': 0.10}, picture_noise={'sigma': 0.005})
    both = ('picture_noise', 'time_shift')
    config.augment.one_of = ((), ('picture_noise',), ('time_shift',), both)

    config.model.update(name=arguments.model, cnn_dropout=0.3, classifier_dropout=0.3)
    if arguments.model == 'cnn_gru_attention':
        config.model.recurrence = arguments.recurrence
    elif arguments.recurrence != 'mel':
        raise ValueError('recurrence=time: only model=cnn_gru_attention has the choice')

    config.optim.update(learning_rate=1e-3, weight_decay=1e-4)
    config.train.update(batch_size=16, length='20 epochs', stop_metric='val/loss', stop_patience=8)
    config.eval.batch_size = 16
    return config
