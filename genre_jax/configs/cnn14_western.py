"""CNN14 of PANNs on bluegrass, country and folk, fine-tuned as Kirby and Bhateja did.

    python -m genre_jax.main --config=configs/cnn14_western.py \
        --config.data.root=DIR --workdir=runs/cnn14_western
    python -m genre_jax.main --config=configs/cnn14_western.py:training=1,protocol=paper ...

DIR holds the folders bluegrass, country and folk with your songs (docs/datasets/western.md); the authors'
are not published. The weights (313 MB) are fetched once, or name a file, --config.init.checkpoint=FILE.

Segments of 20 s, twelve a song (as many as four minutes hold), at 32 kHz; pitch shifted by up to two
semitones; stripes of SpecAugment; Adam 3.71e-4. `training=` 1 to 6 are the paper's lists of settings
(`_TRAININGS` below), the last of which is its final model: batch 128, weight decay 8.76e-5, warm-up of 500
steps, rate halved every 15 epochs, dropout 0.4 before the output, 24 stripes, the last three blocks trained.

The paper: 81 % of the segments and 83 % of the songs by majority vote, on 54 songs at random; of the other
trainings it shows curves alone. `protocol=grouped` keeps artists apart if a CSV names them; `protocol=paper`
is 75, 10 and 15 % of the songs whoever plays them, LEAKY where artists are named.

What differs, besides docs/papers.md: half of the stripes along each axis, with the widths of PANNs; pitches
are drawn anew each time instead of once.

Wants a GPU; for 360 songs of the order of half an hour on a large one, estimated from the number of
products and not measured. To see it run on a CPU in a minute or two:

    --config.init.checkpoint= --config.model.variant=cnn6 --config.windows.train_per_track=2 \
    --config.windows.eval_per_track=2 --config.train.batch_size=4 --config.eval.batch_size=4 \
    --config.train.length='4 steps' --config.optim.warmup='1 steps'
"""

from genre_jax.configs import common

# Batch, L2 penalty, steps of warm-up, epochs to halving, dropout, stripes, frozen layers.
_TRAININGS = {
    6: (128, 8.76e-5, 500, 15, 0.4, 24, 'all but last 3'),
    1: (64, 4.76e-5, 0, 10, 0.3, 4, 'all but last 2'),
    2: (64, 5.76e-5, 250, 15, 0.4, 8, ''),
    3: (64, 4.76e-5, 250, 10, 0.3, 8, 'all but last 2'),
    4: (64, 5.76e-5, 500, 15, 0.3, 16, 'all but last 2'),
    5: (128, 5.76e-5, 500, 15, 0.4, 24, 'all but last 2'),
}


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=paper,training=1', what follows the page's colon."""
    arguments = common.parse_arguments(text, protocol=('grouped', 'paper'), training=tuple(_TRAININGS))
    batch, decay, warmup, halving, dropout, stripes, freeze = _TRAININGS[arguments.training]
    config = common.get_config()
    config.data.update(name='western', root='', sample_rate_hz=32000, group='auto', paper_seed=0)
    config.split.update(protocol=arguments.protocol, allow_leak=arguments.protocol == 'paper')
    config.split.fractions = (0.75, 0.10, 0.15)

    config.windows.update(window_s=20.0, train_per_track=12, eval_per_track=12)
    config.features.name = 'panns_32k'
    config.augment.pitch_shift = {'max_semitones': 2.0, 'probability': 1.0}
    config.augment.spec_augment = {'time_stripes': stripes // 2, 'time_width_frames': 64}
    config.augment.spec_augment.update(mel_stripes=stripes // 2, mel_width_bins=8)

    config.model.update(name='cnn14', variant='cnn14', head_dropout=dropout)
    config.init.checkpoint = 'cnn14'
    config.optim.update(learning_rate=3.71e-4, weight_decay=decay, freeze=freeze)
    config.optim.update(schedule='halving', halve_every=f'{halving} epochs', warmup=f'{warmup} steps')
    config.train.update(batch_size=batch, length='60 epochs')
    config.eval.select_on = 'song_majority'
    return config
