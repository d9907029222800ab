"""What a run leaves for its page to look at and to listen to, in the folder `look/`.

A map of the embeddings, sound of test songs, and what the network looks at in some of their windows. None of
it is worth a run: where something fails, a note says so, and the run ends without it.
"""

import dataclasses
import pathlib
import shutil
import time
from collections.abc import Mapping

import jax
import numpy as np
from absl import logging

from genre_jax import sharding
from genre_jax.evaluation.evaluate import Arrays, Predictions, number_songs, pool_songs
from genre_jax.loading import loader, run_data
from genre_jax.logbook import Logbook, write_json
from genre_jax.run import excerpts
from genre_jax.training import saliency
from genre_jax.training.job import Job
from genre_jax.training.predict import Outputs

_POINTS = 5000
_PICTURES = 120
_PICTURE_BYTES = 2**25  # of all of them, and of their saliency
_AT_ONCE = 8  # pictures on a device
_TSNE_POINTS = 10  # below there is nothing to see


@dataclasses.dataclass(frozen=True)
class Map(Arrays):
    """Embeddings of windows in two dimensions."""

    row: np.ndarray  # of the windows among those of the test part, int32 [n]
    pca: np.ndarray  # float32 [n, 2]
    tsne: np.ndarray | None = None  # float32 [n, 2]; None of a handful of points


@dataclasses.dataclass(frozen=True)
class Pictures(Arrays):
    """What a network gets of windows, and what it looks at."""

    row: np.ndarray  # of the windows among those of the test part, int32 [m]
    label: np.ndarray  # class ids: what the songs were taken for, and what the saliency speaks for, int32 [m]
    spectrogram: np.ndarray  # from the least to the greatest value of each, uint8 [m, frames, bins]
    saliency: np.ndarray  # from nothing to the most of each, uint8 [m, frames, bins]
    kind: np.ndarray  # 'grad_cam', 'attention_rollout' or 'occlusion', str


def write(job: Job, data: run_data.Data, test: Outputs, variables: Mapping, logbook: Logbook) -> float:
    """Writes the folder, whole or not at all, as config.report says; returns the seconds that it took.

    `test` is what the network with these variables gives for the windows of the test part.
    """
    began_s, folder = time.monotonic(), logbook.workdir / 'look'
    if logbook.enabled:
        shutil.rmtree(folder, ignore_errors=True)  # of a training that has been continued
    if job.config.report.look:
        try:
            _write(job, data, test, variables, folder, logbook.enabled)
        except Exception as error:
            reason = (str(error).splitlines() or [''])[0]
            logging.warning('the page has nothing to look at: %s: %s', type(error).__name__, reason)
    return time.monotonic() - began_s


def _write(
    job: Job, data: run_data.Data, test: Outputs, variables: Mapping, folder: pathlib.Path, writes: bool
) -> None:
    table, dataset = data.tables['test'], data.dataset
    songs = choose(table.predictions(test.probabilities))
    pictures = None
    if table.stored.kind != 'table':
        pictures = look_at(job, table, variables, *_chosen(job, songs))
    if not writes:
        return
    partial = folder.with_name('look.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    if pictures is not None:
        pictures.save(partial / 'pictures.npz')
    project(test.embedding).save(partial / 'map.npz')
    if dataset.kind == 'audio':
        settings, sounds = job.config.report, [excerpts.around(table, each.rows, each.row) for each in songs]
        if settings.link_audio:
            root = pathlib.Path(job.config.data.get('root') or '.')
            listed = excerpts.link(table, sounds, root)
        else:
            listed = excerpts.write(table, sounds, round(settings.audio_mb * 1e6), partial)
        write_json(partial / 'excerpts.json', listed)
    partial.rename(folder)


@dataclasses.dataclass(frozen=True)
class Song:
    """A test song: its windows, the one that is surest of what the song was taken for, and that class."""

    rows: np.ndarray
    row: int
    label: int
    wrong: bool


def choose(predictions: Predictions) -> list[Song]:
    """Orders the songs: the wrong ones, the surest mistake first, then the right ones, class after class."""
    songs = pool_songs(predictions)
    _, song = number_songs(predictions.track)
    by_song = np.argsort(song, kind='stable')
    rows = np.split(by_song, np.cumsum(np.bincount(song))[:-1])
    taken_for = songs.max_probability()
    sure = songs.probability[np.arange(len(taken_for)), taken_for]
    surest_first = np.lexsort((songs.track, -sure))
    wrong = [i for i in surest_first if taken_for[i] != songs.label[i]]
    right: dict[int, list[int]] = {}
    for i in surest_first:
        if taken_for[i] == songs.label[i]:
            right.setdefault(int(taken_for[i]), []).append(i)
    # The first of every class, then the second ...
    turns = sorted((turn, label, i) for label, each in right.items() for turn, i in enumerate(each))
    found = []
    for i in [*wrong, *(i for _, _, i in turns)]:
        of_class = predictions.probabilities[rows[i], taken_for[i]]
        row, label = int(rows[i][of_class.argmax()]), int(taken_for[i])
        found.append(Song(rows[i], row, label, wrong=label != int(songs.label[i])))
    return found


def _chosen(job: Job, songs: list[Song]) -> tuple[np.ndarray, np.ndarray]:
    """Returns which windows are looked at, and for which class: mostly wrong songs, a few right ones."""
    most = min(_PICTURES, max(1, _PICTURE_BYTES // (2 * int(np.prod(job.picture[:2])))))
    wrong, right = ([each for each in songs if each.wrong is what] for what in (True, False))
    few = max(1, most // 5)
    some = [*wrong[: most - few], *right[:few]]
    return np.array([each.row for each in some], np.int32), np.array([each.label for each in some], np.int32)


def look_at(
    job: Job, table: loader.WindowTable, variables: Mapping, rows: np.ndarray, classes: np.ndarray
) -> Pictures:
    """Computes pictures and saliency of windows, for classes, on the devices; all processes call it."""
    kind, look = saliency.program(job)
    parts = sharding.batch_parts(job.mesh)
    size = parts * min(_AT_ONCE, job.config.eval.batch_size // parts)
    found = []
    for first in range(0, len(rows), size):
        here = np.minimum(first + sharding.rows_here(size, job.mesh), len(rows) - 1)
        batch = sharding.put_batch(table.read(table.places(rows[here])) | {'class': classes[here]}, job.mesh)
        found.append(jax.device_get(look(variables, batch, batch['class'])))
    spectrogram, heat = (np.concatenate(each)[: len(rows)] for each in zip(*found, strict=True))
    return Pictures(rows, classes, spectrogram, heat, np.array(kind))


def project(embedding: np.ndarray) -> Map:
    """Maps at most 5000 embeddings, float32 [n, units], evenly chosen, to two dimensions.

    By principal components, and by t-SNE (van der Maaten and Hinton 2008) of at most 50 of them.
    """
    import sklearn.decomposition
    import sklearn.manifold
    import threadpoolctl

    row = np.unique(np.linspace(0, len(embedding) - 1, _POINTS).round().astype(np.int32))
    # Sums over threads come out otherwise each time.
    with threadpoolctl.threadpool_limits(1), np.errstate(invalid='ignore'):  # of points that are alike
        n_components = min(50, len(row), embedding.shape[1])
        axes = sklearn.decomposition.PCA(n_components, random_state=0)
        components = axes.fit_transform(embedding[row].astype(np.float64))
        pca = np.zeros((len(row), 2), np.float32)
        pca[:, :n_components] = components[:, :2]
        tsne = None
        if n_components > 1 and len(np.unique(components, axis=0)) >= _TSNE_POINTS:
            perplexity = min(30, (len(row) - 1) / 3)
            # Half the usual steps: the later ones hardly move what is seen, and 5000 points take a minute.
            plane = sklearn.manifold.TSNE(perplexity=perplexity, init='pca', max_iter=500, random_state=0)
            tsne = plane.fit_transform(components.astype(np.float32)).astype(np.float32)
    return Map(row, pca, tsne)
