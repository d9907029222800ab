"""One writer for everything a run reports: stdout with a progress bar, metrics.jsonl, W&B.

Only process 0 writes. `metrics.jsonl` holds nothing that depends on the clock, so that a run that was
killed and continued leaves the same bytes as one that was not.
"""

import contextlib
import csv
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import tqdm
from absl import logging

from genre_jax import tracking
from genre_jax.errors import UserError, printable, say

_PACKAGES = (
    'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'tensorflow-datasets', 'numpy',
    'soundfile', 'soxr', 'ml-collections', 'wandb', 'tensorboardX', 'music21', 'scikit-learn',
    'xgboost-cpu', 'xgboost',
)  # fmt: skip


def write_text(file: pathlib.Path, text: str) -> None:
    """Writes a text file atomically: it is whole or as it was."""
    temporary = file.with_name(file.name + '.tmp')
    temporary.write_text(text)
    os.replace(temporary, file)


def write_rows(file: pathlib.Path, rows: Iterable[Iterable]) -> int:
    """Writes a CSV, row by row, as `write_text` writes text; returns the number of rows."""
    temporary = file.with_name(file.name + '.tmp')
    with temporary.open('w', newline='') as stream:
        writer = csv.writer(stream, lineterminator='\n')
        count = sum(writer.writerow(row) > 0 for row in rows)
    os.replace(temporary, file)
    return count


def write_json(file: pathlib.Path, content: Any) -> None:
    """Writes JSON as `write_text` writes text."""
    write_text(file, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + '\n')


def read_json(file: pathlib.Path, remedy: str = 'restore it, or use another --workdir') -> dict:
    """Reads a JSON object that `write_json` wrote; a UserError with the remedy where it is damaged."""
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f'{file} is damaged: {remedy}')
    return content


def progress_bar(total: int, unit: str, title: str = '', **more: Any) -> tqdm.tqdm:
    """Returns a progress bar; without a terminal a line now and then is enough for a log file."""
    seconds = 0.5 if sys.stderr.isatty() else 30
    return tqdm.tqdm(total=total, unit=f' {unit}', desc=printable(title), mininterval=seconds, **more)


def environment() -> dict:
    """Returns versions, devices and the git commit of the code that runs."""
    commit, describe = '', ['git', 'describe', '--always', '--dirty', '--abbrev=40']
    with contextlib.suppress(FileNotFoundError):  # images have no git
        commit = subprocess.run(
            describe, cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, check=False
        ).stdout.strip()
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = 'not installed'
    return {
        'python': platform.python_version(),
        'platform': platform.platform(),
        'packages': versions,
        'backend': jax.default_backend(),
        'devices': jax.device_count(),
        'device_kind': jax.devices()[0].device_kind,
        'processes': jax.process_count(),
        'git_commit': commit or 'unknown',
    }


def parameter_table(params: Mapping) -> str:
    """Returns a table of all parameters: name, shape, size."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    rows = [
        ('.'.join(entry.key for entry in path), str(leaf.shape), f'{leaf.size:,}') for path, leaf in leaves
    ]
    rows.append(('total', '', f'{sum(leaf.size for _, leaf in leaves):,}'))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f'{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}' for a, b, c in rows]
    return '\n'.join(lines) + '\n'


class Logbook:
    """The records of one run."""

    def __init__(self, workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
        """Opens the run folder's records."""
        self.workdir = workdir
        self.enabled = jax.process_index() == 0
        self._metrics_file = workdir / 'metrics.jsonl'
        self._bar: tqdm.tqdm | None = None
        self._trackers = tracking.start(workdir, config) if self.enabled else []

    def rewind(self, step: int) -> None:
        """Drops the metrics of steps after `step`: they are about to be computed again.

        A damaged line is a UserError.
        """
        self.track(lambda tracker: tracker.rewind(step))
        if not self.enabled or not self._metrics_file.exists():
            return
        kept = []
        for number, line in enumerate(self._metrics_file.read_bytes().splitlines(keepends=True), 1):
            if not line.endswith(b'\n'):  # a kill cut it off
                break
            try:
                if json.loads(line)['step'] <= step:
                    kept.append(line)
            except (KeyError, TypeError, ValueError):
                raise UserError(
                    f'{self._metrics_file}, line {number} is damaged: restore it, or delete the line to '
                    'continue without its figures'
                ) from None
        write_text(self._metrics_file, b''.join(kept).decode())

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Appends figures by name, such as 'val/segment/accuracy', to metrics.jsonl, and tracks them."""
        if not self.enabled:
            return
        line = json.dumps({'step': step, 'epoch': epoch} | dict(values))
        with self._metrics_file.open('a') as stream:
            stream.write(line + '\n')
            stream.flush()
            os.fsync(stream.fileno())
        self.track(lambda tracker: tracker.log({'epoch': epoch} | dict(values), step))

    def start_progress(self, step: int, total_steps: int) -> None:
        """Shows the progress bar with its ETA, `step` steps being done."""
        if self.enabled:
            self._bar = progress_bar(total_steps, 'steps', 'training', initial=step)

    def advance(self, loss: float, steps: int, **more: str) -> None:
        """Moves the progress bar by some steps and shows the loss of the last, and more by name."""
        if self._bar is not None:
            self._bar.set_postfix(loss=f'{loss:.3f}', refresh=False, **more)
            self._bar.update(steps)

    def end_progress(self) -> None:
        """Closes the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def say(self, text: str) -> None:
        """Prints lines to stdout without breaking the progress bar."""
        if self.enabled:
            with tqdm.tqdm.external_write_mode():
                say(*text.split('\n'))

    def finish(self, result: Mapping) -> None:
        """Tracks the result, as result.json holds it, and what `look/` and `predictions/` hold."""
        self.track(lambda tracker: tracker.finish(result))

    def keep_page(self) -> None:
        """Has W&B keep the page, and what belongs to it."""
        self.track(lambda tracker: tracker.keep_page())

    def close(self) -> None:
        """Ends the progress bar and what tracks the run."""
        self.end_progress()
        self.track(lambda tracker: tracker.close())
        self._trackers = []

    def track(self, send: Callable[[tracking.Tracker], None]) -> None:
        """Does something with all that track the run; a failure ends tracking, not training."""
        for tracker in list(self._trackers):
            try:
                send(tracker)
            except Exception as error:
                reason = (str(error).splitlines() or [''])[0]
                logging.warning('%s is off from here on: %s', tracker.name, reason)
                self._trackers.remove(tracker)


# Figures of a model that names the tonic, by song.
TONIC_WORDS = {
    'class_tonic_known': 'song, told the tonic',
    'tonic': 'tonic within 25 cents',
    'tonic_and_class': 'tonic and class',
}


def summary_lines(result: Mapping, workdir: pathlib.Path) -> Sequence[str]:
    """Returns the last lines that a run prints: the numbers and where everything is."""

    def percent(figures: Mapping, key: str = 'accuracy') -> str:
        low, high = figures[f'{key}_ci95']
        return f'{100 * figures[key]:5.1f} %  [{100 * low:.1f}, {100 * high:.1f}]'

    test = result['parts']['test']
    leaky = '  LEAKY' if result['leaky'] else ''
    lines = [
        '',
        f'test: {result["n_songs"]["test"]} songs, {result["n_groups"]["test"]} groups, '
        f'{len(result["classes"])} classes',
        f'protocol {result["protocol"]}: {result["protocol_detail"]}{leaky}',
        'accuracy, with its 95 % interval:',
    ]
    for kind, words in (
        ('segment', 'one segment'),
        ('song_max_probability', 'song, maximum probability'),
        ('song_majority', 'song, majority vote'),
    ):
        lines.append(f'  {words:<28} {percent(test[kind])}')
    for kind, words in TONIC_WORDS.items() if result.get('tonic', {}).get('test') else ():
        lines.append(f'  {words:<28} {percent(result["tonic"]["test"][kind])}')
    for part, figures in result['parts'].items():
        if part.startswith('test_'):
            words = f'song, of {part.removeprefix("test_").removesuffix("s")} s of it'
            lines.append(f'  {words:<28} {percent(figures["song_max_probability"])}')
    majority = result['majority']
    lines.append(f'  {"always " + majority["class"]:<28} {percent(majority)}   (majority class)')
    if by_tonic := result.get('tonic_alone'):
        lines.append(f'  {"by the tonic alone":<28} {percent(by_tonic)}')
    lines.append(f'  {"chance":<28} {100 * result["chance"]:5.1f} %')
    if weights := result.get('layer_weights'):
        lines.append(f'weights of the layers, from 0: {", ".join(f"{each:.3f}" for each in weights)}')
    if result['quarantined']['count']:
        lines.append(f'quarantined: {result["quarantined"]["count"]} files, listed on the page')
    timing = read_json(workdir / 'timing.json') if (workdir / 'timing.json').exists() else {}
    if parts_s := timing.get('train_parts_s'):
        shares = ', '.join(f'{part} {100 * s / timing["train_s"]:.0f} %' for part, s in parts_s.items())
        lines.append(f'training: {timing["examples_per_s"]:.0f} examples/s; time: {shares}')
    lines += [f'note: {warning}' for warning in result['warnings']]
    lines += ['', f'run folder: {workdir}', f'page:       {workdir / "report.html"}']
    # One for each time that the run was continued.
    if offline := sorted(map(str, workdir.glob('wandb/offline-run-*'))):
        lines.append(f'W&B files:  wandb sync {" ".join(map(shlex.quote, offline))} uploads them')
    return list(map(printable, lines))
