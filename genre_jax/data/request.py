"""What a preparation is asked for: a dataset by its name and settings, and which folder it got last time."""

import importlib
import inspect
import json
import os
import pathlib
import typing
from collections.abc import Mapping

from genre_jax import config as config_lib
from genre_jax.data import digests
from genre_jax.data.recordings import Source
from genre_jax.data.storage import Path
from genre_jax.errors import UserError

# Part of every fingerprint: raise it when the prepared bytes change for the same input.
FORMAT = 7
# Keys of config.data that decide how whatever dataset is prepared.
_PREPARING = ('chunk_s', 'find_copies')
# Types of a dataset's keys that are checked, and what to do about another one. On the command line a
# folder called 5 looks like a number.
_TYPES = {int: '', int | None: '', str: ', for a path in the form ./NAME'}


def names() -> list[str]:
    """Returns the names of all datasets."""
    root = pathlib.Path(__file__).parent
    return sorted(path.parent.name for path in root.glob('*/__init__.py'))


def source_class(name: str, section: str = 'data') -> type[Source]:
    """Returns `data.<name>.Source`; a UserError says which section of the config names no dataset."""
    if name not in names():
        raise UserError(f'config.{section}.name={name!r}{config_lib.nearest(str(name), names())}')
    return importlib.import_module(f'genre_jax.data.{name}').Source


def takes(name: str) -> dict[str, config_lib.Setting]:
    """Returns the further keys of config.data that a dataset takes."""
    return config_lib.accepted(source_class(name))


def load_source(settings: Mapping, section: str = 'data') -> Source:
    """Builds `data.<name>.Source` from the section config.data, or one in it, called `section` in messages.

    Settings are 'name' and whatever that Source takes; in config.data, what is about preparing is left out.
    UserError: no such dataset, a key that it does not take, or a value of another type.
    """
    made = source_class(settings['name'], section)
    for key, hint in typing.get_type_hints(made.__init__).items():
        value = settings.get(key)
        if hint in _TYPES and key in settings and not isinstance(value, hint):
            wanted = getattr(hint, '__name__', hint)
            raise UserError(f'config.{section}.{key}={value!r}: expected {wanted}{_TYPES[hint]}')
    of_any = ('prepared_dir', 'prepared', 'classes', *_PREPARING) if section == 'data' else ()
    return config_lib.call_with_section(made, section, settings, skip=('name', *of_any))


def request_file(settings: Mapping, home: Path) -> Path:
    """Returns the file that remembers which preparation these settings, of config.data, had last."""

    def plain(value: object) -> object:
        return dict(value) if hasattr(value, 'items') else repr(value)

    parameters = inspect.signature(source_class(settings['name']).__init__).parameters
    asked = {key: settings.get(key, parameters[key].default) for key in parameters if key != 'self'}
    asked |= {key: settings.get(key) for key in _PREPARING}
    asked.pop('root', None)
    where = [os.path.abspath(root) for root in roots(settings)]
    text = json.dumps([FORMAT, settings['name'], asked, where], default=plain, sort_keys=True)
    return home / f'{digests.of_text(text).hex()[:16]}.request'


def root_file(root: str, home: Path) -> Path:
    """Returns the file that remembers which preparation a root had last."""
    return home / f'{digests.of_text(os.path.abspath(root)).hex()[:16]}.root'


def roots(settings: Mapping) -> list[str]:
    """Returns the folders and files that the settings name as roots, at any depth."""
    found = []
    for key, value in settings.items():
        if hasattr(value, 'items'):
            found += roots(value)
        elif key == 'root' and value:
            found.append(os.path.expanduser(value))
    return found
