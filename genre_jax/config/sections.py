"""Open sections of a config: their keys are those that the thing named takes."""

import dataclasses
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from genre_jax.config.names import nearest
from genre_jax.errors import UserError

# Each has a function `takes(name)`. Imported when a name is looked up: these rooms are above this one.
_ROOMS = {
    'data': 'genre_jax.data.request',
    'features': 'genre_jax.features',
    'augment': 'genre_jax.augment',
    'model': 'genre_jax.models',
}


class Setting(NamedTuple):
    """A key of an open section: its type, an annotation, or object; and whether there is no default."""

    type: Any
    needed: bool = False


def settings_of(section: str, name: str) -> dict[str, Setting]:
    """Returns the keys that a dataset, front end, augmentation or model takes; UserError: there is none."""
    return importlib.import_module(_ROOMS[section]).takes(name)


def accepted(function: Callable, fixed: Collection[str] = ()) -> dict[str, Setting]:
    """Returns the settings that a class, or a function with keyword-only arguments, takes but for `fixed`."""
    plain = function.func if isinstance(function, functools.partial) else function
    fields = dataclasses.is_dataclass(plain) or not inspect.isclass(plain)
    hints = typing.get_type_hints(plain if fields else plain.__init__)
    return {
        key: Setting(hints.get(key, object), parameter.default is parameter.empty)
        for key, parameter in inspect.signature(function).parameters.items()
        # A Linen module's own fields, `parent` and `name`, are not settings.
        if key not in (*fixed, 'parent', 'name')
        and (inspect.isclass(plain) or parameter.kind is parameter.KEYWORD_ONLY)
    }


def call_with_section(
    function: Callable, section: str, settings: Mapping, *, skip: tuple[str, ...] = (), **fixed: object
):
    """Calls `function` with a section's keys but `skip`, and `fixed`; UserError: a key too many or few."""
    takes = accepted(function, fixed)
    keywords = {key: value for key, value in settings.items() if key not in skip}
    for key in sorted(keywords.keys() - takes.keys()):
        hint = nearest(f'config.{section}.{key}', [f'config.{section}.{name}' for name in takes])
        raise UserError(f'unknown key config.{section}.{key}{hint}')
    for key, setting in takes.items():
        if setting.needed and key not in keywords:
            raise UserError(f'config.{section}.{key} is missing: {settings["name"]} needs it')
    return function(**fixed, **keywords)
