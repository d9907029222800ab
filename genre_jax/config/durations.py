"""Durations in a config, turned into steps once."""

import dataclasses
import re

import ml_collections

from genre_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Length:
    """How long training lasts, so that every other duration can be turned into steps."""

    steps_per_epoch: int
    total_steps: int

    def epochs(self, step: int) -> float:
        """Returns the number of epochs that `step` steps are."""
        return step / self.steps_per_epoch


_DURATION = re.compile(r'\s*(\d+(?:\.\d+)?)\s*(epochs?|steps?|percent)\s*')


def is_duration(value: object) -> bool:
    """Tells whether a value is written as a duration."""
    return bool(_DURATION.fullmatch(str(value)))


def number_and_unit(text: str) -> tuple[float, str]:
    """Returns the two parts of a duration, the unit as 'epochs', 'steps' or 'percent'."""
    match = _DURATION.fullmatch(text)
    return float(match[1]), {'e': 'epochs', 's': 'steps', 'p': 'percent'}[match[2][0]]


def duration_steps(text: str, key: str, length: Length | int) -> int:
    """Turns '30 epochs', '500 steps' or '5 percent' into steps, rounded to the nearest; else a UserError.

    `key` is the config's, for messages. `length` may be steps per epoch alone: then percent is refused.
    """
    if not is_duration(text):
        raise UserError(
            f"config.{key}={text!r}: expected a duration such as '30 epochs', '500 steps' or '5 percent'"
        )
    number, unit = number_and_unit(text)
    if unit == 'steps':
        return round(number)
    if unit == 'epochs':
        steps_per_epoch = length if isinstance(length, int) else length.steps_per_epoch
        return round(number * steps_per_epoch)
    if isinstance(length, int):
        raise UserError(f'config.{key}={text!r}: percent of what? Write it in epochs or steps')
    return round(number / 100 * length.total_steps)


def resolve_length(config: ml_collections.ConfigDict, examples_per_epoch: int) -> Length:
    """Returns the training's length, each epoch of whole batches; UserError: less than one batch, or step."""
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
