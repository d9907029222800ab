"""Config pages: found by name or path, and run."""

import inspect
import os
import pathlib
import re
import runpy
import traceback

import ml_collections

from genre_jax.config import keys
from genre_jax.config.names import flatten, nearest
from genre_jax.errors import UserError

_PACKAGED = pathlib.Path(__file__).parents[1] / 'configs'


def find_page(page: str) -> tuple[str, list[str]]:
    """Returns the path of a page, and its arguments if there are some; UserError: there is none.

    A page is the path of a file, or the name of a page of the package, 'folder' or 'configs/folder.py',
    wherever the current folder is; then a colon and arguments, if it takes some.
    """
    path, *arguments = page.split(':', 1)
    if os.path.isfile(path):
        return path, arguments
    name = path.removeprefix('configs/').removesuffix('.py')
    if name in packaged():
        return str(_PACKAGED / f'{name}.py'), arguments
    raise UserError(
        f'--config={page}: there is no file {os.path.abspath(path)!r}, and the package has no page {name!r}'
        f'{nearest(name, packaged())}'
    )


def packaged() -> list[str]:
    """Returns the names of the package's own pages."""
    stems = {path.stem for path in _PACKAGED.glob('*.py')}
    return sorted(stems - {'__init__', 'common'})


def load_page(page: str) -> ml_collections.ConfigDict:
    """Runs a config page; UserError: there is no such page, or it is wrong."""
    config = call_page(page, 'get_config')
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(
            f'--config={page}: its get_config() returned {type(config).__name__}, not the config that '
            'configs.common.get_config() gave it'
        )
    return config


def call_page(page: str, function: str) -> object:
    """Calls a function of a page, with the page's arguments if it takes any; UserError: missing or wrong."""
    path, arguments = find_page(page)
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
