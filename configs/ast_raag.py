"""Audio Spectrogram Transformer on raags, fine-tuned as Kirby and Bhateja did.

    python -m genre_jax.main --config=configs/ast_raag.py \
        --config.data.root=DIR --workdir=runs/ast_raag

DIR holds one folder per raag, or a CSV that names artists and tonics (data/raag/README.md); the authors'
recordings are not published. The weights (336 MB) are fetched once, or name a file,
--config.init.checkpoint=FILE.

Segments of 30 s at 16 kHz, 26 a recording (28,942 segments in 1103 recordings); pictures of 2998 frames by
128 bins, patches of 16 x 16 every 10, so 3588 patches, for which the positional embedding is stretched in
time. Speed changed by up to 10 % (pitch with it), pitch shifted by up to two semitones, SpecAugment with
four stripes, CutMix for half of the segments. Adam, batch 8, dropout 0.2 before the output, the first
eight of twelve blocks frozen. Where the paper says nothing or the keys differ: 1e-5 for the learning rate
(AST's own for fine-tuning; the paper searched 1e-6 to 1e-1), ten epochs, the amounts of speed and pitch,
no weight decay (1e-4).

The paper: 19.23 % on its validation and test parts, against 1.6 % by chance, with strong overfitting. Its
parts are at random by length of the recordings; here the split keeps artists apart if a CSV names them, by
number of recordings. The paper's own is the list `paper`.

Wants a GPU, for attention over 3590 tokens (remat keeps the activations of one block at a time); for 241 h of
audio of the order of ten hours on a large one, estimated from the number of products and not measured. To
see it run on a CPU in a minute or two:

    --config.init.checkpoint= --config.model.width=48 --config.model.depth=2 --config.model.heads=2 \
    --config.model.time_stride=64 --config.model.frequency_stride=16 --config.optim.freeze='first 1' \
    --config.windows.train_per_track=1 --config.windows.eval_per_track=1 --config.train.length='4 steps'
"""

from __future__ import annotations

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = common.get_config()
    config.data.name = 'raag'
    config.data.root = ''
    config.data.sample_rate_hz = 16000
    config.data.group = 'auto'
    config.data.paper_seed = 0
    config.split.fractions = (0.8, 0.1, 0.1)

    config.windows.window_s = 30.0
    config.windows.train_per_track = 26
    config.windows.eval_per_track = 26
    config.features.name = 'ast'
    config.features.target_frames = 0  # as many as 30 s have

    config.augment.speed = {'max_factor': 1.1, 'probability': 1.0}
    config.augment.pitch_shift = {'max_semitones': 2.0, 'probability': 1.0}
    config.augment.spec_augment = {
        'time_stripes': 2,
        'time_width_frames': 192,
        'mel_stripes': 2,
        'mel_width_bins': 24,
    }
    config.augment.cutmix = {'probability': 0.5}

    config.model.name = 'ast'
    config.model.width = 768
    config.model.depth = 12
    config.model.heads = 12
    config.model.frequency_stride = 10
    config.model.time_stride = 10
    config.model.head_dropout = 0.2
    config.model.remat = True
    config.model.dtype = 'bfloat16'

    config.init.checkpoint = 'ast'
    config.optim.learning_rate = 1e-5
    config.optim.schedule = 'cosine'
    config.optim.warmup = '5 percent'
    config.optim.freeze = 'first 8'
    config.train.batch_size = 8
    config.eval.batch_size = 8
    config.train.length = '10 epochs'
    config.eval.select_on = 'song_majority'
    return config
