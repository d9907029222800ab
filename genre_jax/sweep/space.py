"""What a sweep tries: a range for each hyperparameter, and how points are drawn from them.

A config page that can be swept has a second function beside get_config():

    def sweep():
        space = {'optim.learning_rate': LogUniform(1e-4, 1e-2), 'train.batch_size': Choice((32, 64, 128))}
        return Sweep(space, method='tpe', trials=40)

`python -m genre_jax.sweep --config=PAGE` trains its trials. The keys are those of the config; what is not
in the space stays as the page and the command line have it. `sweep(arguments)` gets what follows the colon
in `--config=page.py:key=value`, as get_config() does; without a parameter it is called without.
"""

import copy
import dataclasses
import itertools
import json
import math
import numbers
from collections.abc import Mapping

import ml_collections
import numpy as np

from genre_jax import config as config_lib
from genre_jax.config import keys
from genre_jax.errors import UserError

METHODS = ('grid', 'random', 'tpe')
# Where the trials of a sweep may not differ: their figures would not be of the same thing.
_SAME_FOR_ALL = ('split', 'eval', 'checkpoint', 'tracking')


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some numbers, booleans, strings, or sequences of them (layer sizes), all equally likely."""

    values: tuple


@dataclasses.dataclass(frozen=True)
class Uniform:
    """A number between two others."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class LogUniform(Uniform):
    """A number between two others, its logarithm uniform: as often from 0.001 to 0.01 as from 0.01 to 0.1."""


@dataclasses.dataclass(frozen=True)
class IntUniform(Uniform):
    """A whole number from low to high, both included."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A search space, and how it is searched.

    The method is 'grid': every combination of the choices; 'random': points drawn independently; 'tpe': drawn
    from where the trials before did well (Bergstra et al. 2011, Optuna's TPESampler). The metric is a figure
    of the validation part by which the trials are ranked, 'val/loss' or 'val/KIND/FIGURE', e.g.
    'val/segment/macro_f1'; '': 'val/KIND/accuracy' with the KIND of config.eval.select_on. Those that end in
    loss are better when lower.
    """

    space: Mapping[str, Choice | Uniform]  # by config key, without 'config.'
    method: str
    trials: int | None = None  # number of points; a grid has as many as it has
    seed: int = 0  # of the drawing; that of the training is config.seed
    metric: str = ''

    @property
    def size(self) -> int:
        """Number of trials."""
        if self.method == 'grid':
            return math.prod(len(each.values) for each in self.space.values())
        return self.trials

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is a loss."""
        return self.metric.endswith('loss')

    def to_json(self) -> dict:
        """Returns it as JSON takes it, the number of trials left out: a sweep may be extended."""
        space = {
            key: {'kind': type(each).__name__, **dataclasses.asdict(each)} for key, each in self.space.items()
        }
        return {'space': space} | {key: getattr(self, key) for key in ('method', 'seed', 'metric')}


def load(page: str) -> Sweep:
    """Calls the sweep() of a config page; a UserError where there is none, or it is wrong."""
    sweep = config_lib.call_page(page, 'sweep')
    if not isinstance(sweep, Sweep):
        raise UserError(
            f'--config={page}: its sweep() returned {type(sweep).__name__}; expected a '
            'genre_jax.sweep.space.Sweep'
        )
    return sweep


def label(value: object) -> bool | int | float | str | None:
    """Returns a hyperparameter's value as a study keeps it: sequences as JSON text."""
    plain = value is None or isinstance(value, bool | int | float | str)
    return value if plain else json.dumps(value, allow_nan=False)


def apply(config: ml_collections.ConfigDict, point: Mapping) -> ml_collections.ConfigDict:
    """Returns a copy of a config with other values, by key; a TypeError for one of another type."""
    changed = copy.deepcopy(config)
    changed.update_from_flattened_dict(point)
    return changed


def make_points(sweep: Sweep) -> list[dict[str, object]]:
    """Returns the points of a grid or a random search, always the same; a longer one begins as a shorter."""
    if sweep.method == 'grid':
        values = itertools.product(*(each.values for each in sweep.space.values()))
        return [dict(zip(sweep.space, point, strict=True)) for point in values]
    rngs = [np.random.default_rng([sweep.seed, number]) for number in range(sweep.trials)]
    return [{key: _draw(each, rng) for key, each in sweep.space.items()} for rng in rngs]


def _draw(each: Choice | Uniform, rng: np.random.Generator) -> object:
    if isinstance(each, Choice):
        return each.values[rng.integers(len(each.values))]
    if isinstance(each, IntUniform):
        return int(rng.integers(each.low, each.high, endpoint=True))
    if isinstance(each, LogUniform):
        value = math.exp(rng.uniform(math.log(each.low), math.log(each.high)))
        return min(max(value, each.low), each.high)
    return float(rng.uniform(each.low, each.high))


def figure(result: Mapping, metric: str, part: str = 'val') -> tuple[float, list[float] | None]:
    """Returns a finished run's metric, of METRIC in config.keys or that of a part, and its 95 % interval."""
    kind, name = ('segment', 'log_loss') if metric == 'val/loss' else metric.split('/')[1:]
    figures = result['parts'][part][kind]
    return figures[name], figures.get(f'{name}_ci95')


def check(sweep: Sweep, config: ml_collections.ConfigDict, where: str) -> Sweep:
    """Returns a sweep with its metric filled in; UserError, with `where`: it does not fit the config."""
    metric = sweep.metric or f'val/{config.eval.select_on}/accuracy'
    try:
        _check(sweep, config)
        if metric not in keys.METRIC.choices:
            raise UserError(
                f'metric={metric!r}: a sweep chooses by a figure of the validation part'
                f'{config_lib.nearest(metric, keys.METRIC.choices)}'
            )
    except UserError as error:
        raise UserError(f'{where}: {error}') from None
    return dataclasses.replace(sweep, metric=metric)


def _check(sweep: Sweep, config: ml_collections.ConfigDict) -> None:
    """Refuses what cannot be in a sweep, but for its metric."""
    if sweep.method not in METHODS:
        hint = config_lib.nearest(str(sweep.method), METHODS)
        raise UserError(f'method={sweep.method!r}{hint}')
    if not isinstance(sweep.space, Mapping) or not sweep.space:
        raise UserError("expected a space such as {'optim.learning_rate': Choice(...)}")
    known = config_lib.flatten(config)
    for key, each in sweep.space.items():
        if key not in known:
            raise UserError(f'unknown key {key}{config_lib.nearest(str(key), known)}')
        if key.split('.')[0] in _SAME_FOR_ALL:
            raise UserError(
                f'{key}: trials that differ in it cannot be ranked: train them one by one with genre_jax.main'
            )
        if not isinstance(each, Choice | Uniform):
            raise UserError(f'{key}={each!r}: expected a Choice, Uniform, LogUniform or IntUniform')
        if mistake := _mistake(each):
            raise UserError(f'{key}={each}: {mistake}')
        if sweep.method == 'grid' and not isinstance(each, Choice):
            raise UserError(f"{key}={each}: a grid has no ranges: expected a Choice, or method='random'")
        for value in each.values if isinstance(each, Choice) else (each.low, each.high):
            try:
                config_lib.validate(apply(config, {key: value}))
            except (TypeError, ValueError, UserError) as error:
                raise UserError(f'{key} cannot be {value!r}: {error}') from None
    trials, seed = sweep.trials, sweep.seed
    if sweep.method == 'grid':
        if trials not in (None, sweep.size):
            raise UserError(
                f'trials={trials}, but the grid has {sweep.size} points: leave trials out, or '
                "method='random' for some of them"
            )
    elif not isinstance(trials, int) or trials < 1:
        raise UserError(f'trials={trials}: expected a whole number of at least 1 (--trials=N)')
    if not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise UserError(f'seed={seed}: expected a whole number from 0 to 2**32 - 1')


def _mistake(each: Choice | Uniform) -> str:
    """Returns what is wrong with a choice or a range, '' if nothing is."""
    if isinstance(each, Choice):
        try:
            labels = [label(value) for value in each.values]
        except (TypeError, ValueError):
            return 'expected numbers, booleans, strings or sequences of them'
        if not labels:
            return 'expected at least one value'
        alike = any(first == second for first, second in itertools.combinations(labels, 2))
        return 'expected values that differ' if alike else ''
    ends = each.low, each.high
    if isinstance(each, IntUniform) and not all(isinstance(end, int) for end in ends):
        return 'expected two whole numbers'
    if not all(isinstance(end, numbers.Real) and math.isfinite(end) for end in ends):
        return 'expected two numbers'
    if not each.low < each.high:
        return 'expected low below high'
    return 'expected low above 0' if isinstance(each, LogUniform) and each.low <= 0 else ''
