"""Reading a config: pages run, values checked once, durations resolved once, unknown keys named.

Nothing else in the package has defaults: what is not in `keys.py` or in a page does not exist.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import numbers
import os
import re
import runpy
import traceback
from collections.abc import Callable, Iterable, Mapping

import ml_collections

from genre_jax.config import keys
from genre_jax.errors import UserError

# What genre_jax/loading/splits.py knows, and the names of lists that datasets bring.
PROTOCOLS = (
    'grouped', 'artist', 'official', 'paper', 'fault_filtered', 'stratified', 'kfold', 'segment_leaky',
)  # fmt: skip

# The figures of an evaluation that may be watched, as metrics.jsonl names them.
METRICS = (
    'val/loss',
    *(
        f'val/{kind}/{name}'
        for kind in ('segment', 'song_max_probability', 'song_majority')
        for name in ('accuracy', 'macro_f1', 'log_loss')
        if (kind, name) != ('song_majority', 'log_loss')
    ),
)

# Keys that may differ when a run is continued: they change where things are written, not what.
FREE_ON_RESUME = (
    'tracking', 'data.prepared_dir', 'train.loader_workers', 'train.device_resident',
)  # fmt: skip


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Returns ', did you mean X?' for the candidate most like `name`, or the list of all."""
    candidates = sorted(candidates)

    def likeness(candidate: str) -> tuple[float, float]:
        # By the last part first: the sections before it are alike anyway.
        pairs = ((name.rsplit('.', 1)[-1], candidate.rsplit('.', 1)[-1]), (name, candidate))
        return tuple(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    best = max(candidates, key=likeness, default='')
    if best and likeness(best)[0] >= 0.6:
        return f'; did you mean {best!r}?'
    return f'; expected one of {", ".join(candidates)}' if candidates else ''


def flatten(config: Mapping, prefix: str = '') -> dict[str, object]:
    """Returns {'section.key': value} for a nested config."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            flat |= flatten(value, f'{prefix}{key}.')
        else:
            flat[prefix + key] = value
    return flat


def load_page(page: str) -> ml_collections.ConfigDict:
    """Runs a config page.

    Args:
        page: path of the page, then a colon and its arguments if it takes some.

    Raises:
        UserError: there is no such page, or it is wrong.
    """
    config = call_page(page, 'get_config')
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(
            f'--config={page}: its get_config() returned {type(config).__name__}, not the config that '
            'configs.common.get_config() gave it'
        )
    return config


def call_page(page: str, function: str) -> object:
    """Runs a page and calls one of its functions, with the page's arguments where it takes some.

    Args:
        page: path of the page, then a colon and its arguments if it takes some.
        function: name of the function.

    Raises:
        UserError: there is no such page or function, or it is wrong.
    """
    path, *arguments = page.split(':', 1)
    if not os.path.isfile(path):
        raise UserError(f'--config={page}: there is no file {path!r}; pages are in configs/')
    try:
        names = runpy.run_path(path)
        if function not in names:
            raise AttributeError(f'it has no function {function}()')
        if function != 'get_config' and not inspect.signature(names[function]).parameters:
            arguments = []  # they are for get_config() alone
        return names[function](*arguments)
    except Exception as error:
        raise UserError(_page_mistake(page, path, error)) from None


def _page_mistake(page: str, path: str, error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    if isinstance(error, SyntaxError) and error.lineno:
        lines = [error.lineno]
    where = f'--config={page}' + (f', line {lines[-1]}' if lines else '')
    if match := re.search(r'Key "(\w+)" does not exist', str(error)):
        names = {key.rsplit('.', 1)[-1] for key in flatten(keys.get_config())}
        return f'{where}: unknown key {match[1]}{nearest(match[1], names)}'
    return f'{where}: {type(error).__name__}: {" ".join(str(error).split())}'


def check_overrides(arguments: Iterable[str], config: Mapping) -> None:
    """Checks that the keys which a command line sets are in the config.

    Args:
        arguments: the command line, e.g. '--config.train.batch_size=32'.
        config: what the page returned.

    Raises:
        UserError: an unknown key, with the nearest.
    """
    known = [f'config.{key}' for key in flatten(config)]
    for argument in arguments:
        match = re.match(r'--?(?:no)?(config\.[^=]*)', argument)
        if match and match[1] not in known:
            inside = [key for key in known if key.startswith(f'{match[1]}.')]
            if inside:
                raise UserError(f'{match[1]} is a section: set its keys, {", ".join(inside)}')
            raise UserError(f'unknown key {match[1]}{nearest(match[1], known)}')


def call_with_section(
    function: Callable,
    section: str,
    settings: Mapping,
    *,
    skip: tuple[str, ...] = (),
    **fixed: object,
):
    """Calls `function` with the keys of a config section, each of which it must take.

    Args:
        function: a class or function with keyword arguments.
        section: name of the section, for messages ('model').
        settings: the section.
        skip: keys of the section that are not for the function ('name').
        **fixed: further arguments, which the section may not set.

    Returns:
        What the function returns.

    Raises:
        UserError: a key that the function does not take, or one that it needs and does not get.
    """
    parameters = inspect.signature(function).parameters
    # A Linen module's own fields, `parent` and `name`, are not settings.
    accepted = {
        key: p
        for key, p in parameters.items()
        if key not in fixed and key not in ('parent', 'name')
    }
    keywords = {key: value for key, value in settings.items() if key not in skip}
    for key in sorted(keywords.keys() - accepted.keys()):
        hint = nearest(f'config.{section}.{key}', [f'config.{section}.{name}' for name in accepted])
        raise UserError(f'unknown key config.{section}.{key}{hint}')
    for key, parameter in accepted.items():
        if parameter.default is parameter.empty and key not in keywords:
            raise UserError(f'config.{section}.{key} is missing: {settings["name"]} needs it')
    return function(**fixed, **keywords)


@dataclasses.dataclass(frozen=True)
class Length:
    """How long training lasts, so that every other duration can be turned into steps."""

    steps_per_epoch: int
    total_steps: int

    def epochs(self, step: int) -> float:
        """Returns the number of epochs that `step` steps are."""
        return step / self.steps_per_epoch


def duration_steps(text: str, key: str, length: Length | int) -> int:
    """Turns '30 epochs', '500 steps' or '5 percent' into steps.

    Args:
        text: the duration.
        key: the config key that holds it, for messages.
        length: the training's length, or only its steps per epoch (then percent is refused).

    Returns:
        The number of steps, rounded to the nearest.

    Raises:
        UserError: anything else.
    """
    match = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*(epochs?|steps?|percent)\s*', str(text))
    if not match:
        raise UserError(
            f"config.{key}={text!r}: expected a duration such as '30 epochs', '500 steps' or '5 percent'"
        )
    number, unit = float(match[1]), match[2]
    if unit.startswith('step'):
        return round(number)
    if unit.startswith('epoch'):
        steps_per_epoch = length if isinstance(length, int) else length.steps_per_epoch
        return round(number * steps_per_epoch)
    if isinstance(length, int):
        raise UserError(f'config.{key}={text!r}: percent of what? Write it in epochs or steps')
    return round(number / 100 * length.total_steps)


def resolve_length(config: ml_collections.ConfigDict, examples_per_epoch: int) -> Length:
    """Returns the training's length; an epoch is every training window once, the last part batch left out.

    Args:
        config: the whole config.
        examples_per_epoch: training windows in one epoch.

    Raises:
        UserError: fewer windows than one batch, or a length of no steps.
    """
    batch_size = config.train.batch_size
    if examples_per_epoch < batch_size:
        raise UserError(
            f'the training part has {examples_per_epoch} windows, fewer than config.train.batch_size='
            f'{batch_size}: lower it, or raise config.windows.train_per_track'
        )
    steps_per_epoch = examples_per_epoch // batch_size
    total_steps = duration_steps(config.train.length, 'train.length', steps_per_epoch)
    if total_steps < 1:
        raise UserError(f'config.train.length={config.train.length!r} is less than one step')
    return Length(steps_per_epoch, total_steps)


def every_steps(config: ml_collections.ConfigDict, key: str, length: Length) -> int:
    """Returns the period in steps, at least 1, of a key such as 'eval.every'."""
    section, name = key.split('.')
    return max(1, duration_steps(config[section][name], key, length))


def _check(ok: bool, key: str, value: object, expected: str) -> None:
    if not ok:
        raise UserError(f'config.{key}={value!r}: expected {expected}')


def _is_expression(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks every value that no other part of the program checks by itself.

    Raises:
        UserError: the first value that is missing or out of range, with what was expected.
    """
    flat = flatten(config)
    for key in flatten(keys.get_config()):
        if key not in flat:
            raise UserError(f'config.{key} is missing: begin a page with common.get_config()')

    def check(key: str, ok: Callable[[object], bool], expected: str) -> None:
        _check(ok(flat[key]), key, flat[key], expected)

    check('train.loader_workers', lambda v: v >= 0, 'a whole number of at least 0')
    check(
        'train.steps_per_dispatch',
        lambda v: v == 1 or flat['train.device_resident'],
        '1, or config.train.device_resident=True',
    )
    check('split.train_share', lambda v: 0 < v <= 1, 'a number in (0, 1]')
    check('split.folds', lambda v: v >= 2, 'a whole number of at least 2')
    for key, least in (('windows.window_s', 0.01), ('data.chunk_s', 0.1)):
        check(key, lambda v, least=least: least <= v < float('inf'), f'at least {least} seconds')
    for key in ('optim.learning_rate', 'optim.eps'):
        check(key, lambda v: 0 < v < float('inf'), 'a number above 0')
    for key in (
        'windows.train_per_track', 'windows.eval_per_track', 'train.batch_size', 'eval.batch_size',
        'eval.bootstrap_samples', 'train.steps_per_dispatch', 'train.accumulate',
    ):  # fmt: skip
        check(key, lambda v: v >= 1, 'a whole number of at least 1')
    check(
        'checkpoint.keep_latest',
        lambda v: v >= 2,
        'at least 2: the newest may be cut off by a kill',
    )
    for key in (
        'optim.l1', 'optim.l2', 'optim.weight_decay', 'optim.clip_norm',
        'optim.plateau_min_learning_rate',
    ):  # fmt: skip
        check(key, lambda v: 0 <= v < float('inf'), 'a number of at least 0')
    for key in ('optim.plateau_patience', 'train.stop_patience'):
        check(key, lambda v: v >= 0, 'a whole number of at least 0')
    check('optim.plateau_factor', lambda v: 0 < v < 1, 'a number between 0 and 1')
    check('optim.layer_decay', lambda v: 0 < v <= 1, 'a number in (0, 1]')
    check('init.new', _is_expression, 'a regular expression of layers')
    for key in ('data.name', 'data.prepared_dir'):
        check(key, bool, 'a name')
    for key in ('seed', 'split.seed'):  # jax keeps 32 bits and drops the others
        check(key, lambda v: 0 <= v < 2**32, 'a whole number from 0 to 2**32 - 1')
    for key in (
        'optim.b1', 'optim.b2', 'optim.momentum', 'optim.ema_decay', 'train.label_smoothing',
    ):  # fmt: skip
        check(key, lambda v: 0 <= v < 1, 'a number in [0, 1)')
    choices = {
        'split.protocol': PROTOCOLS,
        'windows.train_draw': ('random', 'grid'),
        'windows.eval_draw': ('even', 'grid'),
        'windows.balance': ('none', 'class'),
        'optim.name': ('adam', 'adamw', 'sgd'),
        'optim.schedule': ('constant', 'cosine', 'halving', 'plateau'),
        'optim.plateau_metric': METRICS,
        'train.stop_metric': METRICS,
        'train.matmul_precision': ('highest', 'high', 'default'),
        'eval.select_on': ('segment', 'song_max_probability', 'song_majority'),
        'tracking.wandb': ('auto', 'off'),
    }
    for key, values in choices.items():
        if flat[key] not in values:
            raise UserError(f'config.{key}={flat[key]!r}{nearest(str(flat[key]), values)}')
    # Their number of steps is not known yet, whether they can be read is.
    for key in (
        'train.length',
        'train.log_every',
        'eval.every',
        'checkpoint.every',
        'optim.warmup',
        'optim.halve_every',
    ):
        duration_steps(flat[key], key, 1 if key == 'train.length' else Length(1, 1))
    check(
        'split.fractions',
        lambda v: (
            len(v) == 3
            and all(isinstance(share, numbers.Real) and share > 0 for share in v)
            and abs(sum(v) - 1) < 1e-6
        ),
        'three shares above 0 (train, val, test) that sum to 1',
    )


def to_json(config: ml_collections.ConfigDict) -> str:
    """Returns the config as indented JSON, keys sorted."""
    return json.dumps(json.loads(config.to_json_best_effort()), indent=2, sort_keys=True) + '\n'


def differences(old: Mapping, new: Mapping) -> list[str]:
    """Lists the keys in which two configs differ, those left out that may change on resume.

    Args:
        old: nested config as read from a run folder's config.json.
        new: nested config of this call, after a round trip through JSON.

    Returns:
        Lines such as 'optim.learning_rate: 0.001 -> 0.01'.
    """
    old, new = flatten(old), flatten(new)
    lines = []
    for key in sorted(old.keys() | new.keys()):
        free = any(key == free or key.startswith(free + '.') for free in FREE_ON_RESUME)
        if old.get(key) != new.get(key) and not free:
            lines.append(f'{key}: {old.get(key)!r} -> {new.get(key)!r}')
    return lines
