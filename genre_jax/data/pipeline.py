"""Applies a function to many items as an Apache Beam pipeline: on one machine, Dataflow, Flink or Spark."""

import contextlib
import functools
import io
import pickle
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from genre_jax.data.storage import Path
from genre_jax.errors import UserError

_INSTALL = 'pip install -r requirements-beam.txt'


class Pipeline:
    """Where a pipeline runs. Items and results travel as files, so the pipeline itself stays small."""

    def __init__(self, runner: str, options: str = '') -> None:
        """Checks that it can run there.

        `runner`: 'DirectRunner' (this machine), 'DataflowRunner', 'FlinkRunner', 'SparkRunner', ...;
        `options`: of Beam and that runner, as on a command line: '--direct_num_workers=4 ...'.
        """
        try:
            import apache_beam
            from apache_beam.options import pipeline_options
        except ModuleNotFoundError as error:
            raise UserError(
                f'--runner={runner} needs Apache Beam ({error.name} is not installed): {_INSTALL}'
            ) from None
        self._beam, self._runner = apache_beam, runner
        try:
            apache_beam.runners.create_runner(runner)
        except (AttributeError, ImportError, ValueError) as error:
            raise UserError(f'--runner={runner}: {_one_line(error)}') from None
        words = _words(options)
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                self._options = pipeline_options.PipelineOptions(words)
                given = self._options.get_all_options(drop_default=True, retain_unknown_options=True)
                unknown = given.keys() - self._options.get_all_options().keys()
        except SystemExit:  # of argparse, which has printed why
            raise UserError(f'--beam_options={options!r}: {_one_line(said.getvalue())}') from None
        if unknown:
            raise UserError(
                f'--beam_options={options!r}: Beam {apache_beam.__version__} has no option --{min(unknown)}'
            )

    def map(self, function: Callable[[Any], Any], items: Sequence, folder: Path, title: str) -> list:
        """Returns function(item) for every item, in order.

        More than one worker may get the same item: the function, which is pickled, must leave only whole
        files behind. All workers reach the folder; `<title>.items` and `<title>.results` lie there meanwhile.
        """
        beam = self._beam
        given, results = folder / f'{title}.items', folder / f'{title}.results'
        folder.mkdir(parents=True, exist_ok=True)
        given.write_bytes(pickle.dumps(list(enumerate(items))))
        try:
            with beam.Pipeline(runner=self._runner, options=self._options) as pipeline:
                _ = (
                    pipeline
                    | beam.Create([given])
                    | 'items' >> beam.FlatMap(_read)
                    | 'spread' >> beam.Reshuffle()
                    | title >> beam.Map(functools.partial(_apply, function))
                    | 'all results' >> beam.combiners.ToList()
                    | 'keep' >> beam.Map(functools.partial(_write, results))
                )
        except Exception as error:  # each runner has its own, and wraps what a worker raised
            raise UserError(
                f'the pipeline on {self._runner} failed ({_one_line(error)}): the same command goes on, '
                'what is already decoded is kept'
            ) from None
        found = dict(_read(results))
        given.unlink()
        results.unlink()
        return [found[i] for i in range(len(items))]


def from_arguments(argv: Sequence[str]) -> tuple[Pipeline | None, list[str]]:
    """Returns the pipeline that --runner=NAME and --beam_options=... ask for, and the other arguments."""
    given: dict[str, str] = {}
    rest = []
    for item in argv:
        key, _, value = item.removeprefix('--').partition('=')
        if key in ('runner', 'beam_options'):
            given[key] = value
        else:
            rest.append(item)
    if given and not given.get('runner'):
        raise UserError('expected --runner=NAME, e.g. --runner=DirectRunner')
    return (Pipeline(given['runner'], given.get('beam_options', '')) if given else None), rest


def _words(options: str) -> list[str]:
    """Splits options as a shell does; argparse would pass over what is none."""
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise UserError(f'--beam_options={options!r}: {error}') from None
    for word in words:
        if not word.startswith('--') or word == '--help':
            raise UserError(f'--beam_options={options!r}: {word!r}: expected --option=value')
    return words


def _read(file: Path) -> list[tuple[int, Any]]:
    return pickle.loads(file.read_bytes())


def _write(file: Path, results: list[tuple[int, Any]]) -> None:
    file.write_bytes(pickle.dumps(results))


def _apply(function: Callable[[Any], Any], item: tuple[int, Any]) -> tuple[int, Any]:
    number, given = item
    return number, function(given)


def _one_line(error: object) -> str:
    """Returns the last line of a message, which names the cause where it holds a traceback."""
    return (str(error).strip() or 'no reason given').splitlines()[-1].strip()
