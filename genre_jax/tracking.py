"""Where a run's figures are sent while it runs: Weights & Biases, TensorBoard."""

import json
import netrc
import os
import pathlib
import secrets
import struct
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import ml_collections
import numpy as np
from absl import logging

from genre_jax import config as config_lib
from genre_jax.errors import printable

# The servers that `wandb login` leaves keys for: versions before 0.31, and 0.31.
_WANDB_HOSTS = ('api.wandb.ai', 'api.forge.coreweave.com')
_WANDB_MODES = ('online', 'offline', 'disabled', 'shared', 'dryrun', 'run')
_SOUNDS = 32  # that W&B is sent one by one; the artefact has all


class Tracker(Protocol):
    """What a run tells of itself; what fails raises whatever it likes."""

    name: str

    def rewind(self, step: int) -> None:
        """Forgets what comes after a step, from which the run goes on."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Notes figures, by name, after a step."""

    def finish(self, result: Mapping) -> None:
        """Notes what the run came to, as result.json holds it, with tables and pictures of it."""

    def keep_page(self) -> None:
        """Keeps the page, where that can be."""

    def close(self) -> None:
        """Writes what is left to write."""


def start(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> list[Tracker]:
    """Starts what config.tracking asks for."""
    trackers: list[Tracker] = []
    if config.tracking.wandb != 'off' and (run := _start_wandb(workdir, config)) is not None:
        trackers.append(Wandb(workdir, run))
    if config.tracking.tensorboard:
        trackers.append(TensorBoard(workdir, config))
    return trackers


class Wandb:
    """A run of Weights & Biases, online or in files for a later `wandb sync`."""

    name = 'W&B'

    def __init__(self, workdir: pathlib.Path, run: Any) -> None:
        """Takes a run of `wandb.init`."""
        self._workdir, self._run = workdir, run

    def rewind(self, step: int) -> None:
        """See `Tracker.rewind`: W&B passes over steps that it knows."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.log`."""
        self._run.log(dict(values), step=step)

    def finish(self, result: Mapping) -> None:
        """See `Tracker.finish`: the summary, tables of classes, confusion and map, and sound."""
        import wandb

        test, classes = result['parts']['test'], result['classes']
        for name, value in _test_figures(result).items():
            self._run.summary[name] = value
        for key in ('protocol', 'chance', 'parameters_sha256'):
            self._run.summary[key] = result[key]
        confusion = [
            [true, predicted, songs]
            for true, row in zip(classes, test['song_max_probability']['confusion'], strict=True)
            for predicted, songs in zip(classes, row, strict=True)
        ]
        tables = {
            'test/confusion_matrix': (['true', 'predicted', 'songs'], confusion),
            'test/per_class': _per_class(result),
        }
        if (found := _map(self._workdir)) is not None:
            tables['test/map'] = found
        content = {name: wandb.Table(columns=columns, data=rows) for name, (columns, rows) in tables.items()}
        if sounds := _sounds(self._workdir)[:_SOUNDS]:
            content['test/sounds'] = [
                wandb.Audio(str(file), caption=printable(track)) for file, track in sounds
            ]
        self._run.log(content)

    def keep_page(self) -> None:
        """See `Tracker.keep_page`: an artefact of the page, the result and what there is to look at."""
        import wandb

        artifact = wandb.Artifact(f'page-{self._run.id}', type='page')
        # The run folder's own files: no copies, which would lie in the user's home.
        for name in ('report.html', 'result.json'):
            artifact.add_file(str(self._workdir / name), policy='immutable')
        for file in sorted((self._workdir / 'look').glob('*')):
            artifact.add_file(str(file), name=f'look/{file.name}', policy='immutable')
        self._run.log_artifact(artifact)

    def close(self) -> None:
        """See `Tracker.close`."""
        self._run.finish()


class TensorBoard:
    """Event files for TensorBoard, in the run folder; TensorFlow is not needed."""

    name = 'TensorBoard'

    def __init__(self, workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
        """Notes where they shall be."""
        self._workdir, self._folder = workdir, workdir / 'tensorboard'
        self._config, self._step, self._open = config, 0, None

    @property
    def _writer(self) -> Any:
        if self._open is None:
            import tensorboardX

            self._open = tensorboardX.SummaryWriter(str(self._folder), flush_secs=10)
        return self._open

    def rewind(self, step: int) -> None:
        """See `Tracker.rewind`: one file with the earlier events takes the place of all files."""
        from tensorboardX.proto import event_pb2

        self._step = step
        if not (files := sorted(self._folder.glob('events.*'))):
            return
        kept = {  # each once, also where this was cut off before
            record: None
            for file in files
            for record, content in _records(file.read_bytes())
            if event_pb2.Event.FromString(content).step <= step
        }
        whole = self._folder / 'events.out.tfevents.0'
        whole.with_name('kept.tmp').write_bytes(b''.join(kept))
        os.replace(whole.with_name('kept.tmp'), whole)
        for file in files:
            if file != whole:
                file.unlink()

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.log`."""
        for name, value in values.items():
            if name != 'epoch' or step != self._step:  # both lines of a step have it
                self._writer.add_scalar(name, value, step)
        self._step = step

    def finish(self, result: Mapping) -> None:
        """See `Tracker.finish`: figures, hyperparameters, and pictures of confusion and map."""
        from tensorboardX.summary import hparams

        figures = _test_figures(result)
        self.log(figures, result['steps'])
        settings = config_lib.flatten(json.loads(config_lib.to_json(self._config)))
        settings = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in settings.items()}
        for summary in hparams(settings, figures):
            self._writer.file_writer.add_summary(summary, self._step)
        columns, rows = _per_class(result)
        lines = [columns, ['---'] * len(columns), *rows]
        cells = (' | '.join(str(cell).replace('|', '&#124;') for cell in line) for line in lines)
        self._writer.add_text('test/per_class', '\n'.join(f'| {line} |' for line in cells), self._step)
        for name, figure in _drawn(result, _map(self._workdir)).items():
            self._writer.add_figure(name, figure, self._step)

    def keep_page(self) -> None:
        """See `Tracker.keep_page`: TensorBoard shows no pages."""

    def close(self) -> None:
        """See `Tracker.close`."""
        if self._open is not None:
            self._open.close()


def _records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the whole records of a TFRecord file, each as it stands and what it holds."""
    at = 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from('<Q', content, at)
        end = at + 12 + length + 4  # length and its checksum, content, its checksum
        if end > len(content):
            return
        yield content[at:end], content[at + 12 : end - 4]
        at = end


def _test_figures(result: Mapping) -> dict[str, float]:
    return {
        f'test/{kind}/{name}': values[name]
        for kind, values in result['parts']['test'].items()
        for name in ('accuracy', 'macro_f1', 'log_loss')
        if values[name] is not None
    }


def _per_class(result: Mapping) -> tuple[list[str], list[list]]:
    """Returns columns and rows of the songs' figures class by class."""
    columns = ['precision', 'recall', 'f1', 'support']
    per_class = result['parts']['test']['song_max_probability']['per_class']
    return ['class', *columns], [
        [name, *(per_class[name][key] for key in columns)] for name in result['classes']
    ]


def _map(workdir: pathlib.Path) -> tuple[list[str], list[list]] | None:
    """Returns columns and rows of the map of embeddings, by t-SNE where there is one."""
    file = workdir / 'look' / 'map.npz'
    if not file.exists():
        return None
    with np.load(file) as found, np.load(workdir / 'predictions' / 'test.npz') as test:
        row, classes = found['row'], test['classes']
        places = found['tsne' if 'tsne' in found else 'pca']
        true, predicted = test['label'][row], test['probabilities'][row].argmax(-1)
        names, start_s = test['track'][row], test['start_s'][row]
    columns = ['x', 'y', 'true', 'predicted', 'song', 'start_s']
    rows = zip(*places.T.tolist(), classes[true], classes[predicted], names, start_s.tolist(), strict=True)
    return columns, [[x, y, str(a), str(b), printable(str(song)), s] for x, y, a, b, song, s in rows]


def _sounds(workdir: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """Returns the excerpts that the run folder has, and their songs."""
    file = workdir / 'look' / 'excerpts.json'
    listed = json.loads(file.read_text()) if file.exists() else []
    found = ((file.parent / each['file'], each['track']) for each in listed)
    return [(sound, track) for sound, track in found if sound.parent == file.parent]


def _drawn(result: Mapping, found: tuple[list[str], list[list]] | None) -> dict[str, Any]:
    """Draws the confusion matrix of the songs, as shares of the true class, and the map."""
    from matplotlib.figure import Figure

    confusion = np.asarray(result['parts']['test']['song_max_probability']['confusion'])
    n, classes = len(confusion), [name.replace('$', r'\$') for name in result['classes']]
    figure = Figure(figsize=(3 + n / 4, 2.5 + n / 4), layout='constrained')
    axes = figure.subplots()
    axes.imshow(confusion / np.maximum(confusion.sum(1, keepdims=True), 1), vmin=0, vmax=1, cmap='Blues')
    axes.set(xlabel='predicted', ylabel='true')
    axes.set_xticks(range(n), classes, rotation=90)
    axes.set_yticks(range(n), classes)
    drawn = {'test/confusion_matrix': figure}
    if found is not None:
        x, y, true, *_ = zip(*found[1], strict=True)
        figure = Figure(figsize=(7, 6), layout='constrained')
        colours = [result['classes'].index(name) for name in true]
        figure.subplots().scatter(x, y, s=6, c=colours, cmap='tab20')
        drawn['test/map'] = figure
    return drawn


def _start_wandb(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> Any:
    """Starts W&B: online if the user is logged in, else offline. Never asks, never waits for long."""
    identity = workdir / 'wandb_id.txt'  # a continued run goes on under the same name there
    if not identity.exists():
        identity.write_text(secrets.token_hex(4))
    wanted = os.environ.get('WANDB_MODE')
    if config.tracking.wandb == 'offline' and wanted != 'disabled':
        wanted = 'offline'
    wanted = wanted or ('online' if _logged_in_to_wandb() else 'offline')
    if wanted not in _WANDB_MODES:  # which wandb itself does not say
        expected = ', '.join(_WANDB_MODES)
        logging.warning('W&B does not start: WANDB_MODE=%s: expected one of %s', wanted, expected)
        return None
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
