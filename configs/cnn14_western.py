"""CNN14 of PANNs on bluegrass, country and folk, fine-tuned as Kirby and Bhateja did.

    python -m genre_jax.main --config=configs/cnn14_western.py \
        --config.data.root=DIR --workdir=runs/cnn14_western

DIR holds the folders bluegrass, country and folk with your songs (data/western/README.md); the authors'
are not published. The weights (313 MB) are fetched once, or name a file, --config.init.checkpoint=FILE.

Segments of 20 s, twelve a song (as many as four minutes hold), at 32 kHz; pitch shifted by up to two
semitones; 24 stripes of SpecAugment. Adam 3.71e-4, batch 128, warm-up of 500 steps, dropout 0.4 before
the output, the last three blocks trained: the paper's last row of settings. Where it says nothing or the
keys differ: 60 epochs; the rate falls along a cosine instead of by halves every 15 epochs; no weight decay
(8.76e-5); pitches are drawn anew each time instead of once.

The paper: 81 % of the segments and 83 % of the songs by majority vote, on 54 songs at random. Here the
split keeps artists apart if a CSV names them; the paper's own is the list `paper` (data/western/README.md).

Wants a GPU; for 360 songs of the order of half an hour on a large one, estimated from the number of
products and not measured. To see it run on a CPU in a minute or two:

    --config.init.checkpoint= --config.model.variant=cnn6 --config.windows.train_per_track=2 \
    --config.windows.eval_per_track=2 --config.train.batch_size=4 --config.eval.batch_size=4 \
    --config.train.length='4 steps' --config.optim.warmup='1 steps'
"""

from __future__ import annotations

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = common.get_config()
    config.data.name = 'western'
    config.data.root = ''
    config.data.sample_rate_hz = 32000
    config.data.group = 'auto'
    config.data.paper_seed = 0
    config.split.fractions = (0.75, 0.10, 0.15)

    config.windows.window_s = 20.0
    config.windows.train_per_track = 12
    config.windows.eval_per_track = 12
    config.features.name = 'panns_32k'

    config.augment.pitch_shift = {'max_semitones': 2.0, 'probability': 1.0}
    # Half of the stripes along each axis; their widths are those of PANNs.
    config.augment.spec_augment = {
        'time_stripes': 12,
        'time_width_frames': 64,
        'mel_stripes': 12,
        'mel_width_bins': 8,
    }

    config.model.name = 'cnn14'
    config.model.variant = 'cnn14'
    config.model.head_dropout = 0.4

    config.init.checkpoint = 'cnn14'
    config.optim.learning_rate = 3.71e-4
    config.optim.schedule = 'cosine'
    config.optim.warmup = '500 steps'
    config.optim.freeze = 'all but last 3'
    config.train.batch_size = 128
    config.train.length = '60 epochs'
    config.eval.select_on = 'song_majority'
    return config
