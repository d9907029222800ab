"""What the programs of this folder share: arguments, and one line for every mistake."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Sequence

import ml_collections

from genre_jax import config as config_lib
from genre_jax.config import keys
from genre_jax.errors import UserError


def run(main: Callable[[list[str]], None]) -> None:
    """Runs a program; a mistake ends it with one line and exit code 2, Ctrl-C with 130.

    Args:
        main: takes the arguments of the command line.
    """
    try:
        main(sys.argv[1:])
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('interrupted: the same command continues', file=sys.stderr)
        sys.exit(130)


def settings_from(argv: Sequence[str]) -> ml_collections.ConfigDict:
    """Turns a dataset's name and --key=value arguments into the section config.data.

    Args:
        argv: ['gtzan', '--source=DIR', '--out=DIR', ...].

    Raises:
        UserError: an argument that is no such pair, or a value that cannot be.
    """
    config = keys.get_config()
    settings = config.data
    settings.name = argv[0]
    for item in argv[1:]:
        key, separator, value = item.removeprefix('--').partition('=')
        if not separator:
            raise UserError(f'{item!r}: expected --key=value')
        key = {'source': 'root', 'out': 'prepared_dir'}.get(key, key)
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(value)
        try:
            settings[key] = value
        except TypeError:
            raise UserError(f'{item}: expected {type(settings[key]).__name__}') from None
        except ValueError as error:  # a section with a dot in the name of a key
            raise UserError(f'{item}: {error}') from None
    config_lib.validate(config)
    return settings
