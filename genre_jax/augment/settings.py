"""Checking the section config.augment: one line for each mistake, before training begins."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from genre_jax import config as config_lib
from genre_jax.errors import UserError

# What an amount may be, by its name: least, largest, whether the least itself is allowed.
_RANGES = {
    'probability': (0, 1, True),
    'max_db': (0, 120, True),
    'sigma': (0, math.inf, True),
    'max_share': (0, 1, True),
    'min_share': (0, 1, True),
    'max_semitones': (0, 24, True),
    'max_factor': (1, 4, False),
    'alpha': (0, math.inf, False),
    'time_stripes': (0, math.inf, True),
    'mel_stripes': (0, math.inf, True),
    'time_width_frames': (1, math.inf, True),
    'mel_width_bins': (1, math.inf, True),
}
_WHOLE = ('time_stripes', 'mel_stripes', 'time_width_frames', 'mel_width_bins')
# They decide shapes, so they are the same for all examples, and constants of the program.
_SAME_FOR_ALL = ('max_semitones', *_WHOLE)


def is_number(amount: str) -> bool:
    """Tells whether an amount may be an argument of the training step's program (step_numbers.py)."""
    return amount == 'one_of_probability' or (amount in _RANGES and amount not in _SAME_FOR_ALL)


class Step(NamedTuple):
    """One augmentation as a config sets it: all its amounts, and which are others for emphasised classes."""

    probability: float
    amounts: Mapping[str, Any]
    emphasized: Mapping[str, float]


def make_step(
    name: str,
    function: Callable,
    takes: Mapping[str, config_lib.Setting],
    settings: Mapping,
    emphasized: Mapping,
) -> Step:
    """Checks the section of one augmentation, and that of config.augment.emphasis.

    `takes` are the keys that may be set. Raises a UserError for an unknown or missing amount, or one that
    cannot be.
    """
    if not hasattr(emphasized, 'items'):
        raise UserError(f'config.augment.emphasis.{name}={emphasized!r}: expected a section of amounts')
    for where, section in (('', settings), ('emphasis.', emphasized)):
        for key, value in section.items():
            full = f'config.augment.{where}{name}.{key}'
            if key not in takes:
                options = [f'config.augment.{where}{name}.{each}' for each in takes]
                raise UserError(f'unknown key {full}{config_lib.nearest(full, options)}')
            check_range(full, key, value)
    for key, setting in takes.items():
        if setting.needed and key not in settings:
            raise UserError(f'config.augment.{name}.{key} is missing')
    for key, value in emphasized.items():
        if key in _SAME_FOR_ALL or key == 'probability' or isinstance(value, bool | str):
            raise UserError(f'config.augment.emphasis.{name}.{key} is the same for all classes')
    amounts = inspect.signature(function).parameters
    amounts = {k: settings.get(k, p.default) for k, p in amounts.items() if k in takes}
    if name == 'spectral_masking':
        for section in (amounts, {**amounts, **emphasized}):
            low, high = section['min_share'], section['max_share']
            if not any(isinstance(end, jax.core.Tracer) for end in (low, high)) and low > high:
                raise UserError(f'config.augment.{name}: min_share={low} is above max_share={high}')
    return Step(settings.get('probability', 1.0), amounts, dict(emphasized))


def check_range(full: str, key: str, value: object) -> None:
    """Refuses a value that its name, the last part of the `full` key, rules out: a UserError."""
    if key == 'fill':
        if value != 'mean' and (isinstance(value, bool | str) or not math.isfinite(value)):
            raise UserError(f"{full}={value!r}: expected 'mean' or a number")
        return
    if key not in _RANGES or isinstance(value, jax.core.Tracer):  # traced: checked before
        return
    least, largest, closed = _RANGES[key]
    if key in _WHOLE and not isinstance(value, int):
        raise UserError(f'{full}={value!r}: expected a whole number')
    ok = isinstance(value, int | float) and not isinstance(value, bool) and value <= largest
    if not (ok and (value >= least if closed else value > least)):
        bounds = f'{"at least" if closed else "above"} {least}'
        if largest < math.inf:
            bounds += f' and at most {largest}'
        raise UserError(f'{full}={value!r}: expected a number {bounds}')


def alternatives(one_of: Sequence[Sequence[str]], steps: Mapping[str, Step]) -> tuple[tuple[str, ...], ...]:
    """Checks config.augment.one_of: tuples of names in use, else a UserError."""
    for group in one_of:
        if isinstance(group, str):
            raise UserError(
                f'config.augment.one_of holds {group!r}: expected tuples of names, such as ({group!r},)'
            )
        for name in group:
            if name not in steps:
                raise UserError(f'config.augment.one_of names {name!r}: there is no config.augment.{name}')
    return tuple(tuple(group) for group in one_of)


def class_ids(classes: Sequence[str], labels: Sequence[str] | None) -> tuple[int, ...]:
    """Returns the numbers of classes among the dataset's labels, none while those are not known.

    Raises a UserError for a name that the dataset has not.
    """
    if labels is None:
        return ()
    for name in classes:
        if name not in labels:
            raise UserError(
                f'config.augment.emphasis.classes holds {name!r}{config_lib.nearest(name, labels)}'
            )
    return tuple(list(labels).index(name) for name in classes)
