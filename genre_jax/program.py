"""What all programs share: flags, the start of jax, one line and an exit code for what goes wrong.

Exit codes: 0 finished; 1 a fault of the program, with its traceback; 2 a mistake that one line explains;
130 and 143 stopped by SIGINT and SIGTERM after saving.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable

import ml_collections
from absl import flags, logging
from ml_collections import config_flags

# Heavy imports are inside the functions: worker processes import this module too.

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Config page, e.g. configs/folder.py.')
_WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Run folder; the same folder again continues the run.'
)
_DISTRIBUTED = flags.DEFINE_bool(
    'distributed', False, 'This is one of several processes of one run.'
)

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def prepare(argv: list[str]) -> tuple[ml_collections.ConfigDict, pathlib.Path]:
    """Checks the flags and starts jax.

    Args:
        argv: what is left of the command line.

    Returns:
        The config, and the run folder.

    Raises:
        UserError: a mistake in them, or jax does not start.
    """
    from genre_jax import config as config_lib
    from genre_jax.errors import UserError

    if len(argv) > 1:
        raise UserError(f'unexpected argument {argv[1]!r}: flags are written --name=value')
    if _CONFIG.value is None or not _WORKDIR.value:
        raise UserError('--config=PAGE and --workdir=DIR are needed; pages are in configs/')
    log_warnings_only()
    config_lib.validate(_CONFIG.value)

    start_jax()
    set_precision(_CONFIG.value)
    return _CONFIG.value, pathlib.Path(_WORKDIR.value)


def log_warnings_only() -> None:
    """Keeps what libraries log, short of warnings, from the screen."""
    logging.set_verbosity(logging.WARNING)
    # The exceptions that orbax logs, traceback and all, it raises as well.
    logging.get_absl_handler().addFilter(
        lambda record: not (record.exc_info and 'orbax' in record.pathname)
    )


def set_precision(config: ml_collections.ConfigDict) -> None:
    """Sets the precision of float32 products on GPUs and TPUs.

    Args:
        config: the whole config.
    """
    import jax

    if jax.default_backend() != 'cpu':
        jax.config.update('jax_default_matmul_precision', config.train.matmul_precision)


def start_jax() -> None:
    """Finds the devices and the other processes; what hinders that lies outside the program."""
    from genre_jax.errors import UserError

    try:
        import jax

        if _DISTRIBUTED.value:
            # What these two leave open, jax finds out by itself on SLURM, TPU VMs and GKE.
            jax.distributed.initialize(
                num_processes=_environment_int('JAX_NUM_PROCESSES'),
                process_id=_environment_int('JAX_PROCESS_ID'),
            )
        jax.devices()
    except Exception as error:
        raise UserError(
            f'jax does not start: {type(error).__name__}: {_one_line(error)}; look at the environment '
            'variables JAX_* and at the driver'
        ) from error


def _environment_int(name: str) -> int | None:
    return int(os.environ[name]) if os.environ.get(name) else None


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake becomes one line with the nearest valid name.

    Args:
        argv: the command line.

    Returns:
        What is left of it.
    """
    from genre_jax import config as config_lib
    from genre_jax.errors import UserError

    try:
        # Before ml_collections does: what it says about a wrong page or key is hard to read.
        words = flags.FLAGS.read_flags_from_files(argv[1:], force_gnu=False)
        pages = _pages(words)
        if len(pages) > 1:
            raise UserError(f'--config is given {len(pages)} times: {", ".join(pages)}')
        if not pages and any(word.startswith('--config.') for word in words):
            raise UserError('--config=PAGE is needed before --config.key=value')
        for page in pages:
            config_lib.check_overrides(words, config_lib.load_page(page))
        return flags.FLAGS(argv)
    except flags.IllegalFlagValueError as error:
        given, name = re.match(r'flag (--(.+?)=.*?): ', str(error), re.DOTALL).groups()
        _fail(f'error: {given}: expected {flags.FLAGS[name].parser.flag_type()}')
    except (flags.Error, UserError) as error:
        _fail(f'error: {_one_line(error)}')


def _pages(words: list[str]) -> list[str]:
    """Returns the values of --config, written with '=' or with a space."""
    pages = []
    for word, following in itertools.pairwise([*words, '']):
        name, separator, value = word.partition('=')
        if name in ('--config', '-config'):
            pages.append(value if separator else following)
    return pages


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())


def _fail(message: str, exit_code: int = 2) -> None:
    print(message, file=sys.stderr, flush=True)
    # Past exit handlers: other processes of the run may never answer the ones that wait for them.
    logging.flush()
    sys.stdout.flush()
    os._exit(exit_code)


def guarded(program: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Returns a program that ends with one line and an exit code where it raises.

    Args:
        program: takes what is left of the command line.
    """
    return functools.partial(_run_or_one_line, program)


def _run_or_one_line(program: Callable[[list[str]], None], argv: list[str]) -> None:
    from genre_jax.errors import Stopped, UserError

    try:
        program(argv)
    except UserError as error:
        _fail(f'error: {error}')
    except Stopped as stopped:
        _fail(str(stopped), stopped.exit_code)
    except KeyboardInterrupt:
        _fail('interrupted: the same command continues', 130)
    except Exception as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            _fail('interrupted: the same command continues', 130)
        # By the words: orbax puts them into exceptions of its own.
        full = [text for text in map(os.strerror, _DISK_FULL) if text in str(error)]
        if full:
            _fail(
                f'error: {full[0]}: make room where --workdir and config.data.prepared_dir lie; what was '
                'already saved is kept, and the same command continues'
            )
        if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error):
            _fail(
                f'error: out of memory ({_one_line(error)[:200]}): lower config.train.batch_size, '
                'config.eval.batch_size or config.windows; what was already saved is kept'
            )
        if isinstance(error, OSError):
            where = f'{error.filename}: ' if error.filename else ''
            _fail(f'error: {where}{error.strerror or error}; what was already saved is kept')
        _fail(traceback.format_exc(), 1)
