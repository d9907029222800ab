"""What all programs share: flags, the start of jax, one line and an exit code for what goes wrong.

Exit codes: 0 finished; 1 a fault of the program, with its traceback; 2 a mistake that one line explains; 75 a
fault of the machine or the network that may pass; 130 and 143 stopped by SIGINT and SIGTERM after saving.
"""

import contextlib
import errno
import functools
import logging as python_logging
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable

import ml_collections
from absl import app, flags, logging

# Heavy imports are inside the functions, here and in every program: worker processes import their modules
# too, and --help shall be quick.

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_COMPILED_BYTES = 2 * 2**30  # the most that is kept of compiled programs
_WRITTEN = ('workdir', 'out', 'json', 'csv', 'export_wandb')  # flags that say where
_HELP = ('--help', '-help', '-h', '--helpshort', '--helpfull')


def run(
    main: Callable[[list[str]], None],
    *,
    config: bool = True,
    others: bool = False,
    more_help: Callable[[], str] = str,
) -> None:
    """Runs a program: parses its flags, and ends with one line and an exit code where it raises.

    `main` takes what is left of the command line, flags that are not defined with `others`. With `config`
    there are --config, --workdir and --distributed; `more_help` is what --help says at the end.
    """
    if config:
        flags.DEFINE_string('config', None, 'config page: folder, or path/to/page.py[:arguments]')
        flags.DEFINE_string('workdir', None, 'run folder; the same folder again continues the run')
        flags.DEFINE_bool('distributed', False, 'this is one of several processes of one run')
    app.run(
        functools.partial(_run_or_one_line, main),
        flags_parser=functools.partial(_parse_flags, others=others, more_help=more_help),
    )


def prepare(argv: list[str]) -> tuple[ml_collections.ConfigDict, pathlib.Path]:
    """Checks the flags of a program with a config, and starts jax: config and run folder, or a UserError."""
    from genre_jax import config as config_lib
    from genre_jax.errors import UserError

    refuse_words(argv)
    given, workdir = flags.FLAGS['config'].value, flags.FLAGS.workdir
    if given is None or not workdir:
        raise UserError('--config=PAGE and --workdir=DIR are needed; --help lists the pages')
    config_lib.validate(given)
    for key in ('data.root', 'data.prepared', 'data.prepared_dir', 'init.checkpoint'):
        section, name = key.split('.')
        if str(given[section].get(name)).startswith('~'):  # which shells leave behind a '='
            given[section][name] = os.path.expanduser(given[section][name])

    start_jax()
    set_precision(given)
    return given, pathlib.Path(workdir).expanduser()


def refuse_words(argv: list[str]) -> None:
    """Refuses what is left of a command line of flags alone."""
    from genre_jax.errors import UserError

    if len(argv) > 1:
        raise UserError(f'unexpected argument {argv[1]!r}: flags are written --name=value')


def file_to_write(flag: str, name: str) -> pathlib.Path:
    """Returns the file that a flag names; a UserError, before the work, where a file cannot stand there."""
    from genre_jax.errors import UserError

    file = pathlib.Path(name)
    if file.is_dir():
        raise UserError(f'--{flag}={file} is a folder: expected a file to write')
    if not file.absolute().parent.is_dir():
        raise UserError(f'--{flag}={file}: there is no folder {file.absolute().parent}')
    return file


def page() -> str:
    """Returns the value of --config as it was given."""
    return _page[0]


_page = ['']


def _log_warnings_only() -> None:
    """Keeps what libraries log, short of warnings, from the screen."""
    logging.set_verbosity(logging.WARNING)
    handler = logging.get_absl_handler()
    handler.setFormatter(_Note())
    # The exceptions that orbax logs, traceback and all, it raises as well.
    handler.addFilter(lambda record: not (record.exc_info and 'orbax' in record.pathname))


class _Note(python_logging.Formatter):
    """Notes as the program says them, without absl's time, process and line."""

    def format(self, record: python_logging.LogRecord) -> str:
        """Returns one line."""
        from genre_jax.errors import printable

        return printable(f'note: {record.getMessage()}')


def set_precision(config: ml_collections.ConfigDict) -> None:
    """Sets the precision of float32 products on GPUs and TPUs."""
    import jax

    if jax.default_backend() != 'cpu':
        jax.config.update('jax_default_matmul_precision', config.train.matmul_precision)


def start_jax() -> None:
    """Finds the devices and the other processes; what hinders that lies outside the program."""
    from genre_jax.errors import UserError

    try:
        import jax

        if 'distributed' in flags.FLAGS and flags.FLAGS.distributed:
            # What these two leave open, jax finds out by itself on SLURM, TPU VMs and GKE.
            jax.distributed.initialize(
                num_processes=_environment_int('JAX_NUM_PROCESSES'),
                process_id=_environment_int('JAX_PROCESS_ID'),
            )
        else:
            # Hosts that compile together must all find a program, or none; their disks may be separate.
            _keep_compiled()
        jax.devices()
    except Exception as error:
        asked = os.environ.get('JAX_PLATFORMS')
        # jax's own words are none where a plugin is missing.
        why = _one_line(error) or 'no such device, or its plugin is not installed'
        raise UserError(
            f'jax does not start{f" with JAX_PLATFORMS={asked}" if asked else ""}: {type(error).__name__}: '
            f'{why}; look at the environment '
            'variables JAX_* and at the driver (GPUs need pip install "jax[cuda13]")'
        ) from error


def cache() -> pathlib.Path:
    """Returns the folder that programs share: $GENRE_JAX_CACHE, else ~/.cache/genre_jax."""
    place = os.environ.get('GENRE_JAX_CACHE')
    return pathlib.Path(place) if place else pathlib.Path.home() / '.cache' / 'genre_jax'


def _keep_compiled() -> None:
    """Has jax keep what it compiles in the cache of the package, unless the user has said otherwise.

    JAX_ENABLE_COMPILATION_CACHE=false turns it off, JAX_COMPILATION_CACHE_DIR names another folder.
    """
    import filelock
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        # A home that cannot be written, or locked (NotImplementedError is filelock's, of a system without
        # locks), with which jax would warn at every program.
        with contextlib.suppress(OSError, NotImplementedError):
            folder = cache() / 'compiled'
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder / '.try', timeout=1):
                pass
            jax.config.update('jax_compilation_cache_dir', str(folder))
            jax.config.update('jax_compilation_cache_max_size', _COMPILED_BYTES)
            jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


def _environment_int(name: str) -> int | None:
    return int(os.environ[name]) if os.environ.get(name) else None


def _parse_flags(argv: list[str], others: bool, more_help: Callable[[], str]) -> list[str]:
    """Parses the flags; a mistake becomes one line with the nearest valid name."""
    from genre_jax.errors import UserError, printable

    if any(word in _HELP for word in argv[1 : (argv + ['--']).index('--')]):
        print('\n'.join([*_help(), more_help()]).strip())
        sys.exit(0)
    try:
        words = flags.FLAGS.read_flags_from_files(argv[1:], force_gnu=False)
        words = list(map(_with_home, words))
        config = None
        if 'config' in flags.FLAGS:
            from genre_jax.config import overrides

            _page[0], assignments, words = overrides.split(words)
            if _page[0]:
                config, notes = overrides.load(_page[0], assignments)
                for note in notes:
                    print(printable(f'note: {note}'), file=sys.stderr)
        rest = flags.FLAGS([argv[0], *words], known_only=others)
        for name in _WRITTEN:
            if name in flags.FLAGS and '://' in (where := flags.FLAGS[name].value or ''):
                _fail(
                    f'error: --{name}={where}: what is written there lies on a file system; name a folder, '
                    'and copy it afterwards'
                )
        if config is not None:
            flags.FLAGS['config'].value = config
        return rest
    except flags.IllegalFlagValueError as error:
        given, name = re.match(r'flag (--(.+?)=.*?): ', str(error), re.DOTALL).groups()
        parser = flags.FLAGS[name].parser
        if flags.FLAGS[name].value is None and given == f'--{name}=None':
            _fail(f'error: --{name} is missing: {flags.FLAGS[name].help}')
        bounded = any(getattr(parser, f'{end}_bound', None) is not None for end in ('lower', 'upper'))
        within = f', {parser.syntactic_help}' if bounded else ''
        _fail(f'error: {given}: expected {parser.flag_type()}{within}')
    except (flags.Error, UserError) as error:
        _fail(f'error: {_one_line(error)}')


def _with_home(word: str) -> str:
    """Puts the home folder in the place of ~ at the beginning of a flag's values, where shells leave it."""
    name, mark, value = word.partition('=')
    if not name.startswith('--'):
        return word
    return name + mark + ','.join(map(os.path.expanduser, value.split(',')))


def _help() -> list[str]:
    """Returns what a program says of itself: its docstring, its flags, and of a config the pages."""
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    shared = flags.FLAGS.get_key_flags_for_module(__name__)
    text = [(sys.modules['__main__'].__doc__ or '').strip(), '']
    for flag in sorted({flag.name: flag for flag in [*own, *shared]}.values(), key=lambda f: f.name):
        values = '|'.join(getattr(flag.parser, 'enum_values', ()))
        shown = f'--{flag.name}=<{values}>' if values else f'--{flag.name}'
        default = '' if flag.default in (None, '', False, []) else f' (default: {flag.default})'
        text.append(f'  {shown}: {flag.help}{default}')
    if 'config' in flags.FLAGS:
        from genre_jax.config import pages

        text += [
            '  --config.SECTION.KEY=VALUE: any key of the config: python -m genre_jax.config lists them',
            '',
            f'Pages: {", ".join(pages.packaged())}.',
        ]
    return text


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())


def _fail(message: str, exit_code: int = 2) -> None:
    from genre_jax.errors import printable

    # One line, but for a traceback; what was typed and what files are called may hold anything.
    lines = message.split('\n') if exit_code == 1 else [message]
    print('\n'.join(map(printable, lines)), file=sys.stderr, flush=True)
    # Past exit handlers: other processes of the run may never answer the ones that wait for them.
    logging.flush()
    sys.stdout.flush()
    os._exit(exit_code)


def _keep_traceback() -> str:
    """Writes the traceback into the run folder, if there is one; returns where, in words."""
    workdir = flags.FLAGS['workdir'].value if 'workdir' in flags.FLAGS else None
    try:
        file = pathlib.Path(workdir or '').expanduser() / 'error.txt'
        if workdir and file.parent.is_dir():
            file.write_text(traceback.format_exc())
            return f' ({file} says where it came from)'
    except OSError:  # the fault may be that folder's
        pass
    return ''


def _run_or_one_line(main: Callable[[list[str]], None], argv: list[str]) -> None:
    from genre_jax.errors import MACHINE_FAULT, Stopped, UserError, machine_fault

    _log_warnings_only()
    try:
        main(argv)
    except Stopped as stopped:
        _fail(str(stopped), stopped.exit_code)
    except KeyboardInterrupt:
        _fail('interrupted: the same command continues', 130)
    except Exception as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            _fail('interrupted: the same command continues', 130)
        if fault := machine_fault(error):
            _fail(
                f'error: {fault}; what was already saved is kept, and the same command continues'
                f'{_keep_traceback()}',
                MACHINE_FAULT,
            )
        if isinstance(error, UserError):
            _fail(f'error: {error}')
        # By the words: orbax puts them into exceptions of its own.
        if full := [text for text in map(os.strerror, _DISK_FULL) if text in str(error)]:
            _fail(
                f'error: {full[0]}: make room where --workdir or --out, and config.data.prepared_dir, lie; '
                'what was already saved is kept, and the same command continues'
            )
        if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error):
            _fail(
                f'error: out of memory ({_one_line(error)[:200]}): lower config.train.batch_size, '
                'config.eval.batch_size, config.windows or --batch_size; what was already saved is kept. If '
                'others use the GPU, XLA_PYTHON_CLIENT_PREALLOCATE=false or XLA_PYTHON_CLIENT_MEM_FRACTION '
                'leaves them room'
            )
        if isinstance(error, OSError):
            where = f'{error.filename}: ' if error.filename else ''
            _fail(f'error: {where}{error.strerror or error}; what was already saved is kept')
        _fail(traceback.format_exc(), 1)
