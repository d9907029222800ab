"""Audio Spectrogram Transformer on raags, fine-tuned as Kirby and Bhateja did.

    python -m genre_jax.main --config=configs/ast_raag.py --config.data.root=DIR --workdir=runs/ast_raag
    python -m genre_jax.main --config=configs/ast_raag.py:training=1,protocol=paper ...
    python -m genre_jax.main --config=configs/ast_raag.py:input=tonic_normalised ...
    python -m genre_jax.sweep --config=configs/ast_raag.py ...               (the paper's search)

DIR holds one folder per raag, or a CSV that names artists and tonics (docs/datasets/raag.md); the authors'
recordings are not published. The weights (336 MB) are fetched once, or name a file,
--config.init.checkpoint=FILE.

Segments of 30 s at 16 kHz, 26 a recording (28,942 segments in 1103 recordings); pictures of 2998 frames by
128 bins, patches of 16 x 16 every 10, so 3588 patches, for which the positional embedding is stretched in
time. Speed changed by up to 10 % (pitch with it), pitch shifted by up to two semitones, SpecAugment with four
stripes, CutMix for half of the segments. Adam, batch 8, weight decay 1e-4, dropout 0.2 before the output, the
first eight of twelve blocks frozen: the second of the two samples that the paper shows. `training=1` is the
first: no dropout, nothing frozen, and of augmentation it says nothing, so none. The search: learning rates
1e-6 to 1e-1 on a log grid, dropout 0.2 to 0.5, 0, 8 or 10 blocks frozen; all 72 combinations here.

The paper: 19.23 % on its validation and test parts, against 1.6 % by chance, with strong overfitting.
`protocol=grouped` keeps artists apart if a CSV names them, and counts recordings. `protocol=paper` divides
the playing time of each raag at random, whoever plays (docs/datasets/raag.md), LEAKY where artists are named.
Of the rate of its figure (1e-5 here, AST's own for fine-tuning), the length (ten epochs) and the amounts of
speed and pitch the paper says nothing.

`input=tonic_normalised`, which is not the paper's, is told the tonic of every recording (a column of the
CSV): constant-Q pictures of as many bins, five and a third octaves in quarter tones, moved so that every
tonic stands at the same height. Pitch and speed are not changed then, which would change the tonic; the tempo
alone is. `input=constant_q` has the same pictures where they are: the difference is what the tonic is worth.
Both begin with the weights that were trained on mel bands. On synthetic music (`data=synthetic_raag`), and
what the tonic is worth there: docs/modal.md.

Wants a GPU, for attention over 3590 tokens (remat keeps the activations of one block at a time); for 241 h of
audio of the order of ten hours on a large one, estimated from the number of products and not measured. To
see it run on a CPU in a minute or two:

    --config.init.checkpoint= --config.model.width=48 --config.model.depth=2 --config.model.heads=2 \
    --config.model.time_stride=64 --config.model.frequency_stride=16 --config.optim.freeze='first 1' \
    --config.windows.train_per_track=1 --config.windows.eval_per_track=1 --config.train.length='4 steps'
"""

from genre_jax.configs import common, synthetic_raag
from genre_jax.sweep.space import Choice, Sweep


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=paper,training=1', what follows the page's colon."""
    arguments = common.parse_arguments(
        text,
        data=('raag', 'synthetic_raag'),
        protocol=('grouped', 'paper'),
        training=(2, 1),
        input=('mel', 'constant_q', 'tonic_normalised'),
    )
    config = common.get_config()
    if arguments.data == 'raag':
        config.data.update(name='raag', root='', sample_rate_hz=16000, group='auto', paper_seed=0)
    else:
        config.data.update(synthetic_raag.get_config().data)
    config.split.update(protocol=arguments.protocol, allow_leak=arguments.protocol == 'paper')
    config.split.fractions = (0.8, 0.1, 0.1)

    config.windows.update(window_s=30.0, train_per_track=26, eval_per_track=26)
    told = arguments.input == 'tonic_normalised'
    if arguments.input == 'mel':
        config.features.update(name='ast', target_frames=0)  # as many as 30 s have
    else:
        config.features.update(name='tonic_constant_q', hop_length=160, to_tonic=told)
        config.init.other_front_end = True
    config.model = {
        'name': 'ast', 'width': 768, 'depth': 12, 'heads': 12, 'frequency_stride': 10, 'time_stride': 10,
        'head_dropout': 0.0, 'remat': True, 'dtype': 'bfloat16',
    }  # fmt: skip
    config.init.checkpoint = 'ast'
    config.optim.update(learning_rate=1e-5, schedule='cosine', warmup='5 percent')
    config.train.update(batch_size=8, length='10 epochs')
    config.eval.update(batch_size=8, select_on='song_majority')
    if arguments.training == 2:
        if told:
            config.augment.time_stretch = {'max_factor': 1.1, 'probability': 1.0}
        else:
            config.augment.speed = {'max_factor': 1.1, 'probability': 1.0}
            config.augment.pitch_shift = {'max_semitones': 2.0, 'probability': 1.0}
        config.augment.update(
            spec_augment={'time_stripes': 2, 'time_width_frames': 192},
            cutmix={'probability': 0.5},
        )
        config.augment.spec_augment.update(mel_stripes=2, mel_width_bins=24)
        config.model.head_dropout = 0.2
        config.optim.update(freeze='first 8', weight_decay=1e-4)
    return config


def sweep() -> Sweep:
    """Returns the 72 points of the search."""
    space = {
        'optim.learning_rate': Choice((1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
        'model.head_dropout': Choice((0.2, 0.3, 0.4, 0.5)),
        'optim.freeze': Choice(('', 'first 8', 'first 10')),
    }
    return Sweep(space, method='grid')
