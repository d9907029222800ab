"""What a command line sets in a config: `--config=PAGE --config.section.key=value`, in any order."""

import ast
import collections
import functools
import inspect
import json
import operator
import re
import types
import typing
from collections.abc import Mapping, Sequence

import ml_collections

from genre_jax.config import keys, pages, sections
from genre_jax.config.names import flatten, nearest
from genre_jax.errors import UserError

_NAMES = ('data.name', 'features.name', 'model.name')
_TRUE, _FALSE = ('true', 't', '1', 'yes'), ('false', 'f', '0', 'no')


def split(words: Sequence[str]) -> tuple[str, list[tuple[str, str | None]], list[str]]:
    """Takes what is about the config out of a command line.

    Returns the page, '' without one; keys with their values, None where there is only the key of a switch and
    'False' behind --noconfig.key; and the other words. Several pages, or keys without one, are a UserError.
    """
    given, assignments, rest = [], [], []
    left = collections.deque(words)
    while left:
        word = left.popleft()
        match = re.fullmatch(r'--?(no)?config(?:\.([^=]*))?(?:=(.*))?', word, re.DOTALL)
        if not match or (match[1] and not match[2]):
            rest.append(word)
            continue
        value = match[3]
        if value is None and not match[1] and left and re.match(r'[^-]|-[\d.]|$', left[0]):
            value = left.popleft()
        if match[2]:
            assignments.append((match[2], 'False' if match[1] else value))
        else:
            given.append(value or '')
    if len(given) > 1:
        raise UserError(f'--config is given {len(given)} times: {", ".join(given)}')
    if assignments and not given:
        raise UserError('--config=PAGE is needed before --config.key=value')
    return (given[0] if given else ''), assignments, rest


def load(
    page: str, assignments: Sequence[tuple[str, str | None]]
) -> tuple[ml_collections.ConfigDict, list[str]]:
    """Returns a page's config with what `split` found, and what was dropped; UserError: it does not fit."""
    config = pages.load_page(page)
    notes = []
    # Names first: they decide which keys there are.
    for key, value in assignments:
        if key in _NAMES:
            notes += _name(config, key.partition('.')[0], value or '')
    for key, value in assignments:
        if key not in _NAMES:
            _assign(config, key, value)
    return config, notes


def _name(config: ml_collections.ConfigDict, section: str, name: str) -> list[str]:
    """Names another dataset, front end or model: what the page set for its own does not hold for that."""
    settings, old = config[section], config[section].name
    settings.name = name
    own = {key for key in settings if f'{section}.{key}' not in keys.BY_NAME}
    dropped = sorted(own) if name != old else []
    for key in dropped:
        del settings[key]
    what = f'config.{section}.name={name}: what the page sets for {old} does not hold'
    return [f'{what} ({", ".join(dropped)})'] if dropped else []


def _assign(config: ml_collections.ConfigDict, key: str, text: str | None) -> None:
    value = parse(f'config.{key}', text, _kind(config, key))
    *where, name = key.split('.')
    for section in where:
        if section not in config:
            config[section] = ml_collections.ConfigDict()
        config = config[section]
    with config.ignore_type():
        config[name] = value


def _kind(config: ml_collections.ConfigDict, key: str) -> object:
    """Returns the type of a key: on the page, or of what takes it; UserError: nothing does."""
    flat = flatten(config)
    if key in flat:
        *where, name = key.split('.')
        return functools.reduce(operator.getitem, where, config).get_type(name)
    known = [f'config.{each}' for each in flat]
    if inside := [each for each in known if each.startswith(f'config.{key}.')]:
        raise UserError(f'config.{key} is a section: set its keys, {", ".join(inside)}')
    section, _, name = key.partition('.')
    if section in keys.OPEN and name:
        thing, prefix = config[section].get('name'), f'{section}.'
        if section == 'augment':
            thing, _, name = name.partition('.')
            prefix = f'augment.{thing}.'
        settings = sections.settings_of(section, thing)
        if name in settings:
            return settings[name].type
        known += [f'config.{prefix}{each}' for each in settings]
    raise UserError(f'unknown key config.{key}{nearest(f"config.{key}", known)}')


def parse(flag: str, text: str | None, kind: object) -> object:
    """Returns the value that a text stands for, None being a switch by itself; else a UserError.

    `kind` is the type of the value, or an annotation; object where there is none.
    """
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        kinds = typing.get_args(kind)
        if text == 'None' and type(None) in kinds:
            return None
        kinds = [each for each in kinds if each is not type(None)]
        kind = kinds[0] if len(kinds) == 1 else object
    if typing.get_origin(kind) is typing.Literal:
        kind = str
    kind = typing.get_origin(kind) or kind
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        kind = object
    given = f'--{flag}' if text is None else f'--{flag}={text}'
    if text is None and kind is not bool:
        raise UserError(f'{given}: expected a value, as in --{flag}=...')
    try:
        if kind is bool:
            return (
                text is None or {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}[text.lower()]
            )
        if kind in (int, float, str):
            return kind(text)
        value = _literal(text)
    except (KeyError, ValueError):
        raise UserError(f'{given}: expected {getattr(kind, "__name__", kind)}') from None
    if kind in (object, typing.Any):
        return value
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _literal(text: str) -> object:
    """Returns a literal of Python or JSON, else the text; with commas in it, a tuple of such."""
    try:
        return json.loads(text) if text.startswith('{') else ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return tuple(_literal(part.strip()) for part in text.split(',')) if ',' in text else text
