"""Every key a config may have, with its default and its meaning.

A config page calls `get_config()`, changes what differs and returns it. The result is locked: a key
that is not on this page is a mistake, not a new setting.

Durations are written '30 epochs', '500 steps' or '5 percent' (of the whole training).
"""

from __future__ import annotations

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the defaults; pages overwrite them."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # of the weights, dropout, augmentation and the order of the data

    # Where the audio comes from. `name` is a module of data/; the keys that its Source takes are
    # added by the page (root=..., group=...).
    config.data = ml_collections.ConfigDict()
    config.data.name = 'folder'
    config.data.prepared_dir = 'prepared'  # prepared datasets, shared by all runs
    config.data.chunk_s = 1.0  # length of one stored record: a window reads those it touches

    config.split = ml_collections.ConfigDict()
    # 'grouped', 'artist', 'official', 'paper', 'fault_filtered', 'stratified', 'kfold', 'segment_leaky':
    # genre_jax/loading/splits.py tells what they are, data/NAME/README.md which lists a dataset brings.
    config.split.protocol = 'grouped'
    config.split.fractions = (0.70, 0.15, 0.15)  # of the songs, for train, val and test
    config.split.folds = 10  # of 'artist', 'kfold' and 'segment_leaky'
    config.split.fold = 0  # which of them is the test part, counted from 0
    config.split.seed = 0
    # Of the songs of the training part, by whole groups, class by class: for learning curves and quick
    # searches. A smaller share is part of a larger one.
    config.split.train_share = 1.0
    config.split.remove_crossing = False  # leave groups that cross out of train, then of val
    config.split.allow_leak = False  # have a split that leaks, every figure marked LEAKY

    # The stretches of a recording that the model sees.
    config.windows = ml_collections.ConfigDict()
    config.windows.window_s = 0.93
    config.windows.train_per_track = 15  # windows of one track in one epoch
    config.windows.train_draw = (
        'random'  # 'random': anew each epoch; 'grid': once, half overlapping
    )
    config.windows.eval_per_track = 15
    config.windows.eval_draw = 'even'  # 'even': spread over the track; 'grid': as above
    # 'class': every class gets as many training windows as the one with the most, from more windows of a
    # song, or its rows and pictures repeated. More of some classes only, by a factor: that is
    # config.augment.emphasis.copies (genre_jax/augment/__init__.py), which comes on top.
    config.windows.balance = 'none'

    config.features = ml_collections.ConfigDict()
    config.features.name = 'schindler'  # a flavour of genre_jax.features; pages may override fields

    # What training examples go through, see genre_jax/augment/__init__.py; nothing: empty.
    config.augment = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.name = 'shallow_cnn'  # a module of genre_jax.models; further keys go to its Model

    config.init = ml_collections.ConfigDict()
    # Begin with these parameters: a folder of genre_jax.convert, a finished run, a checkpoint's file, or
    # the name of a published one ('cnn14'). The output layer stays new.
    config.init.checkpoint = ''
    config.init.new = ''  # regular expression of further layers that stay new

    config.optim = ml_collections.ConfigDict()
    config.optim.name = 'adam'  # 'adam', 'adamw' or 'sgd'
    config.optim.learning_rate = 1e-3
    # 'constant', 'cosine' (to zero at the end), 'halving' (every halve_every) or 'plateau'.
    config.optim.schedule = 'constant'
    config.optim.warmup = '0 steps'  # linear, from zero
    config.optim.halve_every = '10 epochs'
    # 'plateau': multiply by the factor once more than so many evaluations in a row brought no gain.
    config.optim.plateau_metric = 'val/segment/accuracy'
    config.optim.plateau_factor = 0.1
    config.optim.plateau_patience = 5
    config.optim.plateau_min_learning_rate = 0.0
    config.optim.b1 = 0.9
    config.optim.b2 = 0.999
    config.optim.eps = 1e-8
    config.optim.momentum = 0.0  # of 'sgd'
    config.optim.freeze = (
        ''  # 'all but head', 'all but last 2', 'first 8', or an expression of layers
    )
    config.optim.unfreeze_at = ''  # a duration after which the frozen layers train as well
    config.optim.layer_decay = (
        1.0  # factor of the learning rate from each block of layers to the one before
    )
    config.optim.factors = ()  # further factors by layer: ('conv_block[12]=0.1', 'fc1=0.5')
    # Penalties on every kernel and normalisation scale, added to the loss: of |w| and of w^2.
    config.optim.l1 = 0.0
    config.optim.l2 = 0.0
    # Of all weights, as in PyTorch: 'adam' and 'sgd' add it to the gradient, 'adamw' shrinks the weights
    # by learning rate times decay besides.
    config.optim.weight_decay = 0.0
    config.optim.clip_norm = 0.0  # largest norm of the whole gradient; 0: any
    config.optim.ema_decay = 0.0  # above 0: evaluated and kept is a moving average of the weights

    config.train = ml_collections.ConfigDict()
    config.train.batch_size = 64  # over all devices together
    config.train.length = '30 epochs'
    config.train.accumulate = 1  # parts of a batch that are computed one after another
    config.train.label_smoothing = 0.0
    config.train.class_weights = ()  # of the loss: ('balanced',), or ('LABEL=WEIGHT', ...), others 1
    # Stop once so many evaluations in a row brought no gain; 0: never.
    config.train.stop_patience = 0
    config.train.stop_metric = 'val/loss'
    config.train.log_every = '1 epochs'
    config.train.loader_workers = 0  # processes that read records, 0: threads of the program itself
    # The whole dataset lies on the devices, as it is stored: reading costs nothing. For what fits.
    config.train.device_resident = False
    config.train.steps_per_dispatch = (
        1  # steps in one program; more where the device outruns the host
    )
    # Of float32 products on GPUs and TPUs: 'highest' is float32, 'default' rounds the factors to what the
    # hardware multiplies fastest (TF32, bfloat16).
    config.train.matmul_precision = 'highest'

    config.eval = ml_collections.ConfigDict()
    config.eval.batch_size = 64
    config.eval.every = '1 epochs'
    # The best checkpoint has the highest validation accuracy of this kind (ties: lower log loss).
    config.eval.select_on = 'song_max_probability'
    config.eval.bootstrap_samples = 2000

    config.checkpoint = ml_collections.ConfigDict()
    config.checkpoint.every = '1 epochs'
    config.checkpoint.keep_latest = 2  # besides the best one

    config.tracking = ml_collections.ConfigDict()
    config.tracking.wandb = 'auto'  # 'auto': online if logged in, else offline; or 'off'
    config.tracking.wandb_project = 'genre_jax'

    # The sections whose keys depend on a name stay open: the thing named checks its own keys.
    config.lock()
    for section in ('data', 'features', 'augment', 'model'):
        config[section].unlock()
    return config
