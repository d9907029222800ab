"""What a sweep tries: a range for each hyperparameter, and how points are drawn from them.

A config page that can be swept has a second function beside get_config():

    def sweep():
        return Sweep(
            {
                'optim.learning_rate': LogUniform(1e-4, 1e-2),
                'model.dropout': Uniform(0.2, 0.5),
                'train.batch_size': Choice((32, 64, 128)),
            },
            method='tpe',
            trials=40,
        )

`python -m genre_jax.sweep --config=PAGE` trains its trials. The keys are those of the config; what is not
in the space stays as the page and the command line have it. `sweep(arguments)` gets what follows the colon
in `--config=page.py:key=value`, as get_config() does; without a parameter it is called without.
"""

from __future__ import annotations

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
    """One of some values, all equally likely; they have no order.

    Attributes:
        values: numbers, booleans, strings, or sequences of them (layer sizes).
    """

    values: tuple

    def mistake(self) -> str:
        """Returns what is wrong with it, '' if nothing is."""
        try:
            labels = [label(value) for value in self.values]
        except (TypeError, ValueError):
            return 'expected numbers, booleans, strings or sequences of them'
        if not labels:
            return 'expected at least one value'
        if any(first == second for first, second in itertools.combinations(labels, 2)):
            return 'expected values that differ'
        return ''

    def samples(self) -> tuple:
        """Returns values that the config has to take: all of them."""
        return tuple(self.values)

    def draw(self, rng: np.random.Generator) -> object:
        """Returns one of the values."""
        return self.values[rng.integers(len(self.values))]


@dataclasses.dataclass(frozen=True)
class Uniform:
    """A number between two others."""

    low: float
    high: float

    def mistake(self) -> str:
        """Returns what is wrong with it, '' if nothing is."""
        if not all(isinstance(end, numbers.Real) and math.isfinite(end) for end in self.samples()):
            return 'expected two numbers'
        return '' if self.low < self.high else 'expected low below high'

    def samples(self) -> tuple:
        """Returns values that the config has to take: the ends."""
        return self.low, self.high

    def draw(self, rng: np.random.Generator) -> float:
        """Returns a number between the ends."""
        return float(rng.uniform(self.low, self.high))


@dataclasses.dataclass(frozen=True)
class LogUniform(Uniform):
    """A number between two others, its logarithm uniform: as often from 0.001 to 0.01 as from 0.01 to 0.1."""

    def mistake(self) -> str:
        """Returns what is wrong with it, '' if nothing is."""
        return super().mistake() or ('' if self.low > 0 else 'expected low above 0')

    def draw(self, rng: np.random.Generator) -> float:
        """Returns a number between the ends."""
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return min(max(value, self.low), self.high)


@dataclasses.dataclass(frozen=True)
class IntUniform(Uniform):
    """A whole number from low to high, both included."""

    low: int
    high: int

    def mistake(self) -> str:
        """Returns what is wrong with it, '' if nothing is."""
        if not all(isinstance(end, int) for end in self.samples()):
            return 'expected two whole numbers'
        return super().mistake()

    def draw(self, rng: np.random.Generator) -> int:
        """Returns a whole number from low to high."""
        return int(rng.integers(self.low, self.high, endpoint=True))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A search space, and how it is searched.

    Attributes:
        space: config key, without 'config.', to what it is drawn from.
        method: 'grid': every combination of the choices; 'random': points drawn independently; 'tpe': drawn
            from where the trials before did well (Bergstra et al. 2011, Optuna's TPESampler).
        trials: number of points; a grid has as many as it has.
        seed: of the drawing. The seed of the training is config.seed.
        metric: figure of the validation part by which the trials are ranked, 'val/loss' or
            'val/KIND/FIGURE', e.g. 'val/segment/macro_f1'; '': 'val/KIND/accuracy' with the KIND of
            config.eval.select_on. Those that end in loss are better when lower.
    """

    space: Mapping[str, Choice | Uniform | LogUniform | IntUniform]
    method: str
    trials: int | None = None
    seed: int = 0
    metric: str = ''

    @property
    def size(self) -> int:
        """Number of trials."""
        if self.method == 'grid':
            return math.prod(len(each.values) for each in self.space.values())
        return self.trials

    def to_json(self) -> dict:
        """Returns it as JSON takes it, the number of trials left out: a sweep may be extended."""
        return {
            'space': {
                key: {'kind': type(each).__name__, **dataclasses.asdict(each)}
                for key, each in self.space.items()
            },
            'method': self.method,
            'seed': self.seed,
            'metric': self.metric,
        }


def load(page: str) -> Sweep:
    """Calls the sweep() of a config page; a UserError where there is none, or it is wrong."""
    sweep = config_lib.call_page(page, 'sweep')
    if not isinstance(sweep, Sweep):
        raise UserError(
            f'--config={page}: its sweep() returned {type(sweep).__name__}; expected a '
            'genre_jax.search_space.Sweep'
        )
    return sweep


def label(value: object) -> bool | int | float | str | None:
    """Returns a hyperparameter's value as a study keeps it: sequences as JSON text."""
    plain = value is None or isinstance(value, bool | int | float | str)
    return value if plain else json.dumps(value, allow_nan=False)


def apply(config: ml_collections.ConfigDict, point: Mapping) -> ml_collections.ConfigDict:
    """Returns a copy of a config with other values, by config key; the keys exist.

    Raises a TypeError for a value of another type than the config's.
    """
    changed = copy.deepcopy(config)
    for key, value in point.items():
        *sections, name = key.split('.')
        inner = changed
        for section in sections:
            inner = inner[section]
        inner[name] = value
    return changed


def make_points(sweep: Sweep) -> list[dict[str, object]]:
    """Returns the points of a grid or a random search: the same for the same sweep, in the same order.

    A longer random search begins with the points of a shorter one.
    """
    if sweep.method == 'grid':
        values = itertools.product(*(each.values for each in sweep.space.values()))
        return [dict(zip(sweep.space, point, strict=True)) for point in values]
    points = []
    for number in range(sweep.trials):
        rng = np.random.default_rng([sweep.seed, number])
        points.append({key: each.draw(rng) for key, each in sweep.space.items()})
    return points


def figure(result: Mapping, metric: str, part: str = 'val') -> tuple[float, list[float] | None]:
    """Returns the metric of a finished run, as result.json holds it, and its 95 % interval, None without.

    `metric` is one of genre_jax.config.METRICS; the part 'test' has the same figure there.
    """
    kind, name = ('segment', 'log_loss') if metric == 'val/loss' else metric.split('/')[1:]
    figures = result['parts'][part][kind]
    return figures[name], figures.get(f'{name}_ci95')


def check(sweep: Sweep, config: ml_collections.ConfigDict, where: str) -> Sweep:
    """Checks a sweep against the whole config that it changes; returns it with its metric filled in.

    `where` is what to call the sweep in messages. The first mistake is a UserError.
    """
    if sweep.method not in METHODS:
        hint = config_lib.nearest(str(sweep.method), METHODS)
        raise UserError(f'{where}: method={sweep.method!r}{hint}')
    if not isinstance(sweep.space, Mapping) or not sweep.space:
        raise UserError(f"{where}: expected a space such as {{'optim.learning_rate': Choice(...)}}")
    for key, each in sweep.space.items():
        _check_key(key, config, where)
        if not isinstance(each, Choice | Uniform):
            raise UserError(
                f'{where}: {key}={each!r}: expected a Choice, Uniform, LogUniform or IntUniform'
            )
        if mistake := each.mistake():
            raise UserError(f'{where}: {key}={each}: {mistake}')
        if sweep.method == 'grid' and not isinstance(each, Choice):
            raise UserError(
                f"{where}: {key}={each}: a grid has no ranges: expected a Choice, or method='random'"
            )
        for value in each.samples():
            try:
                config_lib.validate(apply(config, {key: value}))
            except (TypeError, ValueError, UserError) as error:
                raise UserError(f'{where}: {key} cannot be {value!r}: {error}') from None
    _check_numbers(sweep, where)
    metric = sweep.metric or f'val/{config.eval.select_on}/accuracy'
    if metric not in keys.METRIC.choices:
        raise UserError(
            f'{where}: metric={metric!r}: a sweep chooses by a figure of the validation part'
            f'{config_lib.nearest(metric, keys.METRIC.choices)}'
        )
    return dataclasses.replace(sweep, metric=metric)


def _check_key(key: str, config: ml_collections.ConfigDict, where: str) -> None:
    known = config_lib.flatten(config)
    if key not in known:
        raise UserError(f'{where}: unknown key {key}{config_lib.nearest(str(key), known)}')
    if key.split('.')[0] in _SAME_FOR_ALL:
        raise UserError(
            f'{where}: {key}: trials that differ in it cannot be ranked: train them one by one with '
            'genre_jax.main'
        )


def _check_numbers(sweep: Sweep, where: str) -> None:
    whole = isinstance(sweep.trials, int) and sweep.trials >= 1
    if sweep.method == 'grid':
        if sweep.trials not in (None, sweep.size):
            raise UserError(
                f'{where}: trials={sweep.trials}, but the grid has {sweep.size} points: leave trials out, '
                "or method='random' for some of them"
            )
    elif not whole:
        raise UserError(
            f'{where}: trials={sweep.trials}: expected a whole number of at least 1 (--trials=N)'
        )
    if not (isinstance(sweep.seed, int) and 0 <= sweep.seed < 2**32):
        raise UserError(f'{where}: seed={sweep.seed}: expected a whole number from 0 to 2**32 - 1')
