"""What the launch recipes share: flags, the program's command line, handing over a document."""

import argparse
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from genre_jax.errors import UserError

# Any free port will do; it only has to be the same in every process of a run.
COORDINATOR_PORT = 8476


def parser(description: str) -> argparse.ArgumentParser:
    """Makes a parser with the flags that every recipe has, `--module` and `--dry-run`."""
    made = argparse.ArgumentParser(
        description=description,
        epilog='Everything else goes to genre_jax.main: --config=FILE --workdir=DIR '
        '[--config.key=value ...], after a lone -- if you like.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument('--module', default='genre_jax.main', help='program to run (%(default)s)')
    made.add_argument('--dry-run', action='store_true', help='print what would be done, do nothing')
    return made


def parse(flags: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Separates the recipe's flags from the program's arguments, which keep their order.

    The flags get the program's `workdir`, too. A UserError where its arguments lack --config or --workdir.
    """
    argv = list(argv)
    if '--' in argv:
        cut = argv.index('--')
        options, arguments = flags.parse_args(argv[:cut]), argv[cut + 1 :]
    else:
        options, arguments = flags.parse_known_args(argv)
    needed = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    needed.add_argument('--config', nargs='?')
    needed.add_argument('--workdir', nargs='?')
    given, _ = needed.parse_known_args(arguments)
    for name, value in vars(given).items():
        if not value:
            raise UserError(f'--{name} is missing: give genre_jax.main its --config=FILE --workdir=DIR')
    options.workdir = given.workdir
    return options, arguments


def program(options: argparse.Namespace, arguments: Sequence[str], python: str = 'python') -> list[str]:
    """Builds the command line of one process of the run, in words, unquoted."""
    others = [argument for argument in arguments if argument != '--distributed']
    return [python, '-m', options.module, *others, '--distributed']


def dns_label(value: str) -> str:
    """Checks a name that becomes part of a host name: a DNS label of at most 40 characters."""
    if not re.fullmatch(r'[a-z]([-a-z0-9]{0,38}[a-z0-9])?', value):
        raise argparse.ArgumentTypeError(
            f'{value!r}: at most 40 lower-case letters, digits and dashes, a letter first'
        )
    return value


def submit(document: str, command: Sequence[str], suffix: str, options: argparse.Namespace) -> int:
    """Runs `command FILE` on a document; returns its exit code. With --dry-run both are printed instead."""
    if options.dry_run:
        print(f'would run: {shlex.join(command)} FILE{suffix}, the file being:', file=sys.stderr)
        print(document, end='')
        return 0
    require(command[0])
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, f'genre_jax{suffix}')
        file.write_text(document, encoding='utf-8')
        return subprocess.run([*command, str(file)]).returncode


def require(tool: str) -> None:
    """Makes sure that a command-line tool is on the PATH; a UserError where it is not."""
    if shutil.which(tool) is None:
        raise UserError(f'{tool} is not on the PATH: install it, or see the plan with --dry-run')


def run_as_program(main: Callable[[Sequence[str]], int]) -> None:
    """Runs a recipe on the process's arguments; a user's mistake is one line and exit code 2."""
    try:
        code = main(sys.argv[1:])
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        code = 2
    sys.exit(code)
