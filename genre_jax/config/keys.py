"""Every key a config may have: default, what it may be, meaning; `python -m genre_jax.config` prints them.

A config page calls `get_config()`, changes what differs and returns it. The result is locked: a key that is
not in this table is a mistake, not a new setting. The sections data, features, augment and model stay open:
what their `name` names brings keys of its own, which `sections.py` finds.
"""

import dataclasses
import numbers
import re
from collections.abc import Callable

import ml_collections

from genre_jax.config.durations import is_duration
from genre_jax.config.names import nearest
from genre_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Check:
    """What a value may be: in words, and as a test of it; of a choice, the values."""

    expected: str
    accepts: Callable[[object], bool]
    choices: tuple[str, ...] = ()

    def refuse(self, key: str, value: object) -> None:
        """Raises the UserError of a value that cannot be."""
        if not self.accepts(value):
            hint = self.choices and nearest(str(value), self.choices)
            raise UserError(f'config.{key}={value!r}{hint or f": expected {self.expected}"}')


def one_of(*choices: str) -> Check:
    """Returns the check of a choice."""
    return Check(' '.join(map(repr, choices)), lambda value: value in choices, choices)


def whole(least: int) -> Check:
    """Returns the check of a whole number."""
    return Check(f'a whole number of at least {least}', lambda value: value >= least)


def seconds(least: float) -> Check:
    """Returns the check of a length in seconds."""
    return Check(f'at least {least} seconds', lambda value: least <= value < float('inf'))


def _is_expression(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def _are_shares(value: tuple) -> bool:
    return (
        len(value) == 3
        and all(isinstance(share, numbers.Real) and share > 0 for share in value)
        and abs(sum(value) - 1) < 1e-6
    )


ANY = Check('anything of its kind', lambda value: True)
NAME = Check('a name', bool)
SEED = Check('a whole number from 0 to 2**32 - 1', lambda value: 0 <= value < 2**32)  # jax keeps 32 bits
POSITIVE = Check('a number above 0', lambda value: 0 < value < float('inf'))
FROM_ZERO = Check('a number of at least 0', lambda value: 0 <= value < float('inf'))
BELOW_ONE = Check('a number in [0, 1)', lambda value: 0 <= value < 1)
SHARE = Check('a number in (0, 1]', lambda value: 0 < value <= 1)
CENTS = Check('cents from 0 to below 600', lambda value: 0 <= value < 600)
BETWEEN = Check('a number between 0 and 1', lambda value: 0 < value < 1)
SHARES = Check('three shares above 0 (train, val, test) that sum to 1', _are_shares)
EXPRESSION = Check('a regular expression of layers', _is_expression)
DURATION = Check("a duration such as '30 epochs', '500 steps' or '5 percent'", is_duration)
LENGTH = Check(
    "a duration such as '30 epochs' or '500 steps'",
    lambda value: is_duration(value) and 'percent' not in value,
)
WINDOW = Check(
    '0: whole recordings, or at least 0.01 seconds', lambda value: value == 0 or 0.01 <= value < float('inf')
)
LENGTHS = Check(
    'lengths in seconds, each once, such as (60.0, 30.0)',
    lambda value: (
        all(isinstance(each, numbers.Real) and 0.01 <= each < float('inf') for each in value)
        and len({f'{each:g}' for each in value}) == len(value)  # which files are named by
    ),
)
MESH = Check('a whole number of at least 1, or -1: all devices that are left', lambda n: n == -1 or n >= 1)
KEPT = Check('at least 2: the newest may be cut off by a kill', lambda value: value >= 2)
KINDS = ('segment', 'song_max_probability', 'song_majority')
# The figures of an evaluation that may be watched, as metrics.jsonl names them.
METRIC = one_of(
    'val/loss',
    *(
        f'val/{kind}/{name}'
        for kind in KINDS
        for name in ('accuracy', 'macro_f1', 'log_loss')
        if (kind, name) != ('song_majority', 'log_loss')
    ),
)


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of the config, by section and name.

    It is free when a run is continued (True) where it changes where or how fast, not what; else under a
    condition of `run/changes.py`, which the run then notes. A number is an argument of the training step's
    program, not a constant (step_numbers.py).
    """

    name: str
    default: object
    check: Check
    meaning: str
    free: bool | str = False
    number: bool = False


_SEEDED = 'of the weights, dropout, augmentation and the order of the data'
PROTOCOL = one_of(
    'grouped', 'artist', 'tonic', 'official', 'paper', 'fault_filtered', 'stratified', 'kfold',
    'segment_leaky',
)  # fmt: skip
_PROTOCOL = 'which songs train, validate and test: loading/splits.py; docs/datasets/NAME.md has the lists'
_SHARE = 'of the training songs, by whole groups, class by class; a smaller share is part of a larger one'
_BALANCE = "'class': as many training windows of every class as of the largest; more: augment.emphasis.copies"
_CHECKPOINT = 'begin with it: conversion, run, file or published name; the output layer stays new'
_SELECT = 'the best checkpoint has the highest validation accuracy of this kind (ties: lower log loss)'
_DECAY = "of all weights, as in PyTorch: 'adam', 'sgd' add it to the gradient, 'adamw' shrinks the weights"
_PRECISION = "of float32 products on GPUs and TPUs: 'highest' is float32, 'default' TF32 or bfloat16"

KEYS = (
    Key('seed', 0, SEED, _SEEDED, number=True),
    Key('data.name', 'folder', NAME, 'a dataset of genre_jax.data; further keys go to its Source'),
    Key('data.prepared_dir', 'prepared', NAME, 'prepared datasets, shared by all runs', free=True),
    Key('data.prepared', '', ANY, 'a prepared dataset, used as it is: no recordings needed', free=True),
    Key('data.classes', (), ANY, "to keep, by name: ('LABEL', 'LABEL', ...); none named: all"),
    Key('data.chunk_s', 1.0, seconds(0.1), 'of one stored record: a window reads those it touches'),
    # Free, because other groups are another split, which a run does not continue with.
    Key('data.find_copies', True, ANY, 'by sound, not by identical content alone', free=True),
    Key('split.protocol', 'grouped', PROTOCOL, _PROTOCOL),
    Key('split.fractions', (0.70, 0.15, 0.15), SHARES, 'of the songs, for train, val and test'),
    Key('split.folds', 10, whole(2), "of 'artist', 'tonic', 'kfold' and 'segment_leaky'"),
    Key('split.fold', 0, ANY, 'which of them is the test part, counted from 0'),
    Key('split.tonic_margin_cents', 50.0, CENTS, "of 'tonic': nearer to a test tonic nothing trains"),
    Key('split.seed', 0, SEED, 'of the split'),
    Key('split.train_share', 1.0, SHARE, _SHARE),
    Key('split.remove_crossing', False, ANY, 'leave groups that cross out of train, then of val'),
    Key('split.allow_leak', False, ANY, 'have a split that leaks, every figure marked LEAKY'),
    Key('windows.window_s', 0.93, WINDOW,
        'length of what the model sees at once; 0: whole recordings, filled up with zeros to the longest'),
    Key('windows.train_per_track', 15, whole(1), 'windows of one track in one epoch'),
    Key('windows.train_draw', 'random', one_of('random', 'grid'),
        "'random': anew each epoch; 'grid': once, half overlapping"),
    Key('windows.train_shortest_s', 0.0, FROM_ZERO,
        'above 0: training windows are of all lengths from here on, filled up with zeros'),
    Key('windows.eval_per_track', 15, whole(1), 'windows of one track in an evaluation'),
    Key('windows.eval_draw', 'even', one_of('even', 'grid'), "'even': spread over the track"),
    Key('windows.balance', 'none', one_of('none', 'class'), _BALANCE),
    Key('features.name', 'schindler', NAME, 'a flavour of genre_jax.features; its fields may follow'),
    Key('model.name', 'shallow_cnn', NAME, 'a module of genre_jax.models; further keys go to its Model'),
    Key('init.checkpoint', '', ANY, _CHECKPOINT),
    Key('init.other_front_end', False, ANY, 'than the checkpoint was trained with: have it, and say so'),
    Key('init.new', '', EXPRESSION, 'further layers that stay new'),
    Key('optim.name', 'adam', one_of('adam', 'adamw', 'sgd'), 'the optimiser'),
    Key('optim.learning_rate', 1e-3, POSITIVE, 'at its highest', free='diverged', number=True),
    Key('optim.schedule', 'constant', one_of('constant', 'cosine', 'halving', 'plateau'),
        "'cosine': to zero at the end"),
    Key('optim.warmup', '0 steps', DURATION, 'linear, from zero'),
    Key('optim.halve_every', '10 epochs', DURATION, "of 'halving'"),
    Key('optim.plateau_metric', 'val/segment/accuracy', METRIC, "watched by 'plateau'"),
    Key('optim.plateau_factor', 0.1, BETWEEN, 'times the rate where evaluations bring no gain'),
    Key('optim.plateau_patience', 5, whole(0), 'so many evaluations in a row may bring none'),
    Key('optim.plateau_min_learning_rate', 0.0, FROM_ZERO, 'the rate falls no lower'),
    Key('optim.b1', 0.9, BELOW_ONE, 'of Adam', number=True),
    Key('optim.b2', 0.999, BELOW_ONE, 'of Adam', number=True),
    Key('optim.eps', 1e-8, POSITIVE, 'of Adam', number=True),
    Key('optim.momentum', 0.0, BELOW_ONE, "of 'sgd'", number=True),
    Key('optim.freeze', '', ANY, "'all but head', 'all but last 2', 'first 8', or an expression of layers"),
    Key('optim.unfreeze_at', '', ANY, 'a duration after which the frozen layers train as well'),
    Key('optim.lora_rank', 0, whole(0),
        'above 0: all but the output layers stays, and a product of two narrow kernels trains beside each'),
    Key('optim.lora_alpha', 16.0, POSITIVE, 'which counts alpha / rank'),
    Key('optim.lora_layers', '', ANY,
        "dense layers that it stands beside, an expression; '': all that are wider than the rank"),
    Key('optim.layer_decay', 1.0, SHARE, 'of the rate, from each block of layers to the one before'),
    Key('optim.factors', (), ANY, "of the rate, by layer: ('conv_block[12]=0.1', 'fc1=0.5')"),
    Key('optim.l1', 0.0, FROM_ZERO, 'penalty on |w| of kernels and normalisation scales', number=True),
    Key('optim.l2', 0.0, FROM_ZERO, 'penalty on w^2 of the same', number=True),
    Key('optim.weight_decay', 0.0, FROM_ZERO, _DECAY, number=True),
    Key('optim.clip_norm', 0.0, FROM_ZERO, 'largest norm of the whole gradient; 0: any',
        free='diverged', number=True),
    Key('optim.ema_decay', 0.0, BELOW_ONE,
        'above 0: evaluated and kept is a moving average of the weights', number=True),
    Key('train.batch_size', 64, whole(1), 'over all devices together'),
    Key('train.length', '30 epochs', LENGTH, 'of the training', free='longer'),
    Key('train.accumulate', 1, whole(1), 'parts of a batch that are computed one after another'),
    Key('train.label_smoothing', 0.0, BELOW_ONE, 'of the targets', number=True),
    Key('train.class_weights', (), ANY, "of the loss: ('balanced',), or ('LABEL=WEIGHT', ...), others 1"),
    Key('train.stop_patience', 0, whole(0), 'stop after so many evaluations without gain; 0: never'),
    Key('train.stop_metric', 'val/loss', METRIC, 'watched for it'),
    Key('train.log_every', '1 epochs', DURATION, 'between lines of the training'),
    Key('train.loader_workers', 0, whole(0),
        'processes that read training records, 0: threads of the program itself', free=True),
    Key('train.device_resident', False, ANY,
        'the whole dataset lies on the devices: reading costs nothing; for what fits', free=True),
    Key('train.features_once', False, ANY, 'computed before the training; for windows that stay the same'),
    Key('train.steps_per_dispatch', 1, whole(1),
        'steps in one program, where the data are resident', free=True),
    Key('train.matmul_precision', 'highest', one_of('highest', 'high', 'default'), _PRECISION),
    Key('mesh.data', -1, MESH, 'devices along this axis: parts of a batch', free=True),
    Key('mesh.fsdp', 1, MESH, 'parts of a batch, too; large weights are split as well', free=True),
    Key('mesh.model', 1, MESH, 'have their examples in common, and split large weights', free=True),
    Key('eval.batch_size', 64, whole(1), 'over all devices together', free=True),
    Key('eval.every', '1 epochs', DURATION, 'between validations', free='unwatched'),
    Key('eval.select_on', 'song_max_probability', one_of(*KINDS), _SELECT),
    Key('eval.excerpts_s', (), LENGTHS, 'lengths; of each test song a stretch as long, at random, is tested'),
    Key('eval.bootstrap_samples', 0, whole(0), 'of older pages; intervals need no resampling', free=True),
    Key('checkpoint.every', '1 epochs', DURATION, 'between saves', free=True),
    Key('checkpoint.keep_latest', 2, KEPT, 'besides the best one', free=True),
    Key('report.look', True, ANY, 'a map, sound, and what the network looks at, for the page', free=True),
    Key('report.audio_mb', 3.0, FROM_ZERO, 'of sound of test songs, for the page', free=True),
    Key('report.link_audio', False, ANY, 'the page plays the original files instead', free=True),
    Key('tracking.wandb', 'auto', one_of('auto', 'offline', 'off'),
        "'auto': online if logged in, else offline", free=True),
    Key('tracking.wandb_project', 'genre_jax', ANY, 'of Weights & Biases', free=True),
    Key('tracking.tensorboard', False, ANY, 'event files for it, in the run folder', free=True),
)  # fmt: skip

BY_NAME = {key.name: key for key in KEYS}
# The sections whose further keys depend on a name, or, in augment, on what training examples go through.
OPEN = ('data', 'features', 'augment', 'model')


def get_config() -> ml_collections.ConfigDict:
    """Returns the defaults; pages overwrite them."""
    config = ml_collections.ConfigDict({'augment': {}})
    for key in KEYS:
        section, _, name = key.name.rpartition('.')
        if section and section not in config:
            config[section] = ml_collections.ConfigDict()
        (config[section] if section else config)[name] = key.default
    config.lock()
    for section in OPEN:
        config[section].unlock()
    return config


def may_differ_on_resume(name: str) -> bool:
    """Tells whether a run may be continued with another value of a key."""
    # Where the recordings lie is free: what they are is compared by their fingerprint.
    return name == 'data.root' or (name in BY_NAME and BY_NAME[name].free is True)
