"""A pretrained network fine-tuned on a folder of your own recordings.

    python -m genre_jax.main --config=configs/finetune.py:model=musicnn \
        --config.data.root=DIR --workdir=runs/x

model=musicnn, yamnet, cnn14 or ast. The published weights are fetched once (33, 15, 313 and 336 MB), or
name a file, --config.init.checkpoint=yamnet.tflite. From scratch: `:model=musicnn,pretrained=False`.

The output layer trains alone for the first tenth, then everything, earlier layers more slowly; the first
layer of musicnn, where nearly all of its time would go, stays as it is. musicnn and yamnet take minutes
for 150 half-minute songs on 2 CPU cores; cnn14 and ast want a GPU.
"""

from __future__ import annotations

import ml_collections

from genre_jax.configs import common

# Front end, length of a window and published checkpoint of each network.
_NETWORKS = {
    'musicnn': ('musicnn', 3.0, 'musicnn_msd'),
    'yamnet': ('yamnet', 3.0, 'yamnet'),
    'cnn14': ('panns_32k', 10.0, 'cnn14'),
    'ast': ('ast', 10.24, 'ast'),
}


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Returns the config of 'model=musicnn,pretrained=True', what follows the page's colon."""
    arguments = common.parse_arguments(text, model=tuple(_NETWORKS), pretrained=True)
    flavour, window_s, checkpoint = _NETWORKS[arguments.model]
    config = common.get_config()
    config.data.name = 'folder'
    config.data.root = ''
    config.data.sample_rate_hz = common.optional(int)
    config.data.group = 'auto'

    config.windows.window_s = window_s
    config.windows.train_per_track = 3
    config.windows.eval_per_track = 8
    config.features.name = flavour
    config.model.name = arguments.model

    config.optim.learning_rate = 5e-4
    config.optim.schedule = 'cosine'
    config.optim.warmup = '5 percent'
    config.train.batch_size = 32
    config.eval.batch_size = 32
    config.train.length = '12 epochs'
    if arguments.pretrained:
        config.init.checkpoint = checkpoint
        config.optim.layer_decay = 0.8
        config.optim.freeze = 'all but head'
        config.optim.unfreeze_at = '10 percent'
        if arguments.model == 'musicnn':
            config.optim.freeze, config.optim.unfreeze_at = 'first 1', ''
    return config
