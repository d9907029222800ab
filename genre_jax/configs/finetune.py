"""A pretrained network fine-tuned on a folder of your own recordings.

    python -m genre_jax.main --config=configs/finetune.py:model=musicnn \
        --config.data.root=DIR --workdir=runs/x

model=musicnn, vgg, yamnet, efficientat, cnn14, ast, passt, maest, beats or dasheng. The published weights
are fetched once (33, 33, 15, 20, 313, 336, 345 and 345 MB, and of dasheng, by its parameters, 342; those of
MAEST are not for commercial use), or name a file, --config.init.checkpoint=yamnet.tflite. From scratch:
`:model=musicnn,pretrained=False`. Of beats none are fetched: name the authors' file, or put it here, as
BEATs_iter3_plus_AS2M.pt.

The output layer trains alone for the first tenth, then everything, earlier layers more slowly; the first
layer of musicnn, where nearly all of its time would go, stays as it is. musicnn and yamnet take minutes
for 150 half-minute songs on 2 CPU cores; cnn14 and the transformers want a GPU.

    python -m genre_jax.sweep --config=configs/finetune.py:model=musicnn \
        --config.data.root=DIR --workdir=sweeps/x

searches the learning rate, label smoothing and how much more slowly earlier layers learn, in 12 trainings.
"""

from genre_jax.configs import common
from genre_jax.sweep.space import LogUniform, Sweep, Uniform

# Front end, length of a window and published checkpoint; the network is of the same name, but of MAEST.
_NETWORKS = {
    'musicnn': ('musicnn', 3.0, 'musicnn_msd'),
    'vgg': ('musicnn', 3.0, 'vgg_msd'),
    'yamnet': ('yamnet', 3.0, 'yamnet'),
    'efficientat': ('efficientat', 10.0, 'mn10'),
    'cnn14': ('panns_32k', 10.0, 'cnn14'),
    'ast': ('ast', 10.24, 'ast'),
    'beats': ('beats', 10.0, 'BEATs_iter3_plus_AS2M.pt'),
    'dasheng': ('dasheng', 10.0, 'dasheng_base'),
    'passt': ('efficientat', 10.0, 'passt'),
    'maest': ('maest', 30.0, 'maest_30s_519'),
}
ARGUMENTS = {'model': tuple(_NETWORKS), 'pretrained': True}


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'model=musicnn,pretrained=True', what follows the page's colon."""
    arguments = common.parse_arguments(text, **ARGUMENTS)
    flavour, window_s, checkpoint = _NETWORKS[arguments.model]
    config = common.get_config()
    config.data.update(name='folder', root='', sample_rate_hz=common.optional(int), group='auto')

    config.windows.update(window_s=window_s, train_per_track=3, eval_per_track=8)
    config.features.name = flavour
    config.augment.outliers = {'probability': 0.1}
    config.model.name = 'passt' if arguments.model == 'maest' else arguments.model

    config.optim.update(learning_rate=5e-4, schedule='cosine', warmup='5 percent')
    config.train.update(batch_size=32, length='12 epochs')
    config.eval.batch_size = 32
    if arguments.pretrained:
        config.init.checkpoint = checkpoint
        config.optim.update(layer_decay=0.8, freeze='all but head', unfreeze_at='10 percent')
        if arguments.model == 'musicnn':
            config.optim.update(freeze='first 1', unfreeze_at='')
    return config


def sweep(text: str | None = None) -> Sweep:
    """Returns what genre_jax.sweep tries; from scratch all layers learn alike."""
    space = {'optim.learning_rate': LogUniform(1e-4, 5e-3), 'train.label_smoothing': Uniform(0.0, 0.2)}
    if common.parse_arguments(text, **ARGUMENTS).pretrained:
        space['optim.layer_decay'] = Uniform(0.5, 1.0)
    return Sweep(space, method='tpe', trials=12)
