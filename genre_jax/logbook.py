"""One writer for everything a run reports: stdout with a progress bar, metrics.jsonl, W&B.

Only process 0 writes. `metrics.jsonl` holds nothing that depends on the clock, so that a run that was
killed and continued leaves the same bytes as one that was not.
"""

import contextlib
import csv
import importlib.metadata
import json
import netrc
import os
import pathlib
import platform
import secrets
import shlex
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import tqdm
from absl import logging

from genre_jax import config as config_lib
from genre_jax.errors import UserError, printable

# The servers that `wandb login` leaves keys for: versions before 0.31, and 0.31.
_WANDB_HOSTS = ('api.wandb.ai', 'api.forge.coreweave.com')
_PACKAGES = (
    'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'tensorflow-datasets', 'numpy',
    'soundfile', 'soxr', 'ml-collections', 'wandb', 'music21', 'scikit-learn', 'xgboost-cpu', 'xgboost',
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
    return tqdm.tqdm(total=total, unit=f' {unit}', desc=title, mininterval=seconds, **more)


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
        self._wandb = None
        if self.enabled and config.tracking.wandb != 'off':
            self._wandb = _start_wandb(workdir, config)

    def rewind(self, step: int) -> None:
        """Drops the metrics of steps after `step`: they are about to be computed again.

        A damaged line is a UserError.
        """
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
        """Appends figures by name, such as 'val/segment/accuracy', to metrics.jsonl and sends them to W&B."""
        if not self.enabled:
            return
        line = json.dumps({'step': step, 'epoch': epoch} | dict(values))
        with self._metrics_file.open('a') as stream:
            stream.write(line + '\n')
            stream.flush()
            os.fsync(stream.fileno())
        self.track(lambda run: run.log({'epoch': epoch} | dict(values), step=step))

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
                print('\n'.join(map(printable, text.split('\n'))), flush=True)

    def finish(self, result: Mapping) -> None:
        """Sends the result, as result.json holds it, and the confusion matrix to W&B."""

        def send(run) -> None:
            import wandb

            scores, classes = result['parts']['test'], result['classes']
            for kind, values in scores.items():
                for name in ('accuracy', 'macro_f1', 'log_loss'):
                    run.summary[f'test/{kind}/{name}'] = values[name]
            for key in ('protocol', 'chance', 'parameters_sha256'):
                run.summary[key] = result[key]
            rows = [
                [true, predicted, songs]
                for true, row in zip(classes, scores['song_max_probability']['confusion'], strict=True)
                for predicted, songs in zip(classes, row, strict=True)
            ]
            table = wandb.Table(columns=['true', 'predicted', 'songs'], data=rows)
            run.log({'test/confusion_matrix': table})

        self.track(send)

    def close(self) -> None:
        """Ends the progress bar and the W&B run."""
        self.end_progress()
        self.track(lambda run: run.finish())
        self._wandb = None

    def track(self, send: Callable[[Any], None]) -> None:
        """Does something with the W&B run, if there is one; a failure ends tracking, not training."""
        if self._wandb is None:
            return
        try:
            send(self._wandb)
        except Exception as error:
            logging.warning('W&B is off from here on: %s', (str(error).splitlines() or [''])[0])
            self._wandb = None


def _start_wandb(workdir: pathlib.Path, config: ml_collections.ConfigDict):
    """Starts W&B: online if the user is logged in, else offline. Never asks, never waits for long."""
    identity = workdir / 'wandb_id.txt'  # a continued run goes on under the same name there
    if not identity.exists():
        identity.write_text(secrets.token_hex(4))
    wanted = os.environ.get('WANDB_MODE')
    if config.tracking.wandb == 'offline' and wanted != 'disabled':
        wanted = 'offline'
    wanted = wanted or ('online' if _logged_in_to_wandb() else 'offline')
    for mode in dict.fromkeys([wanted, 'offline']):
        try:
            import wandb

            return wandb.init(
                project=config.tracking.wandb_project,
                name=workdir.name,
                id=identity.read_text().strip(),
                resume='allow',
                dir=workdir,
                mode=mode,
                config=json.loads(config_lib.to_json(config)),
                settings=wandb.Settings(silent=True, console='off', init_timeout=10, disable_git=True),
            )
        except Exception as error:  # tracking must never stop the training
            reason = (str(error).splitlines() or [''])[0]
            logging.warning('W&B does not start %s: %s', mode, reason)
            if 'wandb' in sys.modules:
                sys.modules['wandb'].teardown()  # it would say that the run is in use
    return None


def _logged_in_to_wandb() -> bool:
    """Looks for a key where `wandb login` leaves it, without asking wandb, which may ask the network."""
    if os.environ.get('WANDB_API_KEY'):
        return True
    url = os.environ.get('WANDB_BASE_URL')
    hosts = [urllib.parse.urlparse(url).hostname] if url else _WANDB_HOSTS
    try:
        entries = netrc.netrc(os.environ.get('NETRC'))
        return any(entries.authenticators(host) for host in hosts)
    except (OSError, netrc.NetrcParseError):
        return False


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
    majority = result['majority']
    lines.append(f'  {"always " + majority["class"]:<28} {percent(majority)}   (majority class)')
    lines.append(f'  {"chance":<28} {100 * result["chance"]:5.1f} %')
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
