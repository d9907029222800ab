"""The program: `python -m genre_jax.main --config=configs/quickstart.py --workdir=runs/quickstart`.

Exit codes: 0 finished; 2 a mistake that one line explains; 130 and 143 stopped by SIGINT and SIGTERM
after saving. The same command continues a run that was stopped or killed.
"""

from __future__ import annotations

import errno
import os
import pathlib
import re
import sys
import traceback

from absl import app, flags, logging
from ml_collections import config_flags

# Heavy imports are inside the functions: worker processes import this module too.

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Config page, e.g. configs/folder.py.')
_WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Run folder; the same folder again continues the run.'
)
_DISTRIBUTED = flags.DEFINE_bool(
    'distributed', False, 'This is one of several processes of one run.'
)


def main(argv: list[str]) -> None:
    """Runs what the flags say.

    Args:
        argv: what is left of the command line.
    """
    from genre_jax import config as config_lib
    from genre_jax.errors import UserError

    if len(argv) > 1:
        raise UserError(f'unexpected argument {argv[1]!r}: flags are written --name=value')
    if _CONFIG.value is None or not _WORKDIR.value:
        raise UserError('--config=PAGE and --workdir=DIR are needed; pages are in configs/')
    logging.set_verbosity(logging.WARNING)
    config_lib.validate(_CONFIG.value)

    import jax

    if _DISTRIBUTED.value:
        # What these two leave open, jax finds out by itself on SLURM, TPU VMs and GKE.
        jax.distributed.initialize(
            num_processes=_environment_int('JAX_NUM_PROCESSES'),
            process_id=_environment_int('JAX_PROCESS_ID'),
        )

    from genre_jax import run

    run.run(_CONFIG.value, pathlib.Path(_WORKDIR.value))


def _environment_int(name: str) -> int | None:
    return int(os.environ[name]) if os.environ.get(name) else None


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake becomes one line with the nearest valid name."""
    from genre_jax import config as config_lib

    try:
        return flags.FLAGS(argv)
    except (AttributeError, KeyError) as error:  # what ml_collections raises for unknown keys
        config = _load_page(argv)
        known = {f'config.{key}' for key in config_lib.flatten(config)} if config else set()
        for argument in argv[1:]:
            key = re.split('[=\\[]', argument.lstrip('-'))[0]
            if key.startswith('config.') and key not in known:
                _fail(f'error: unknown key {key}{config_lib.nearest(key, known)}')
        _fail(f'error: {_one_line(error)}')
    except (flags.Error, ImportError, OSError, SyntaxError, TypeError, ValueError) as error:
        _fail(f'error: {_one_line(error)}')


def _load_page(argv: list[str]):
    for argument in argv:
        name, separator, page = argument.lstrip('-').partition('=')
        if name == 'config' and separator:
            return config_flags.config_flags.ConfigFileFlagParser('config').parse(page)
    return None


def _one_line(error: Exception) -> str:
    """The last line that says something: ml_collections puts a whole traceback into its messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r'^\w*Error: ', '', lines[-1]) if lines else type(error).__name__


def _fail(message: str, exit_code: int = 2) -> None:
    print(message, file=sys.stderr, flush=True)
    # Past exit handlers: other processes of the run may never answer the ones that wait for them.
    logging.flush()
    sys.stdout.flush()
    os._exit(exit_code)


def _main_or_one_line(argv: list[str]) -> None:
    from genre_jax.errors import Stopped, UserError

    try:
        main(argv)
    except UserError as error:
        _fail(f'error: {error}')
    except Stopped as stopped:
        _fail(str(stopped), stopped.exit_code)
    except KeyboardInterrupt:
        _fail('interrupted: the same command continues', 130)
    except OSError as error:
        where = f'{error.filename}: ' if error.filename else ''
        _fail(f'error: {where}{error.strerror or error}; what was already saved is kept')
    except Exception as error:
        # orbax reports a full disk in exceptions of its own.
        if os.strerror(errno.ENOSPC) in str(error):
            _fail(f'error: {os.strerror(errno.ENOSPC)}; what was already saved is kept')
        _fail(traceback.format_exc(), 1)


if __name__ == '__main__':
    app.run(_main_or_one_line, flags_parser=_parse_flags)
