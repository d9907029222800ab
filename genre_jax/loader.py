"""Prepared records + split -> windows -> batches, by grain.

The order of the data is a pure function of the seed and the step: nothing has to be saved to continue
a run, and it is the same whatever the number of processes.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import types
from collections.abc import Iterator, Mapping

import grain
import jax
import ml_collections
import numpy as np

from data import prepare
from data.recordings import Kind
from genre_jax import balance
from genre_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Stored:
    """What one example is on its way to the device.

    Attributes:
        kind: 'audio', 'image' or 'table', also its key in a batch.
        shape: of the array: (samples,), (height, width, 3) or (columns,).
        sample_rate_hz: of audio.
        labels: class names.
    """

    kind: Kind
    shape: tuple[int, ...]
    sample_rate_hz: int
    labels: tuple[str, ...]

    def batch(self, size: int) -> jax.ShapeDtypeStruct:
        """Returns shape and type of so many of them."""
        return jax.ShapeDtypeStruct((size, *self.shape), _STORED[self.kind])


_STORED = {'audio': np.int16, 'image': np.uint8, 'table': np.float32}
# Held, a record is read ten times as fast. GTZAN is 1.3 GB; what is larger is read from files in part.
_HELD_BYTES = 2 * 2**30


class Dataset:
    """A prepared dataset: its manifest, and random access to any stretch of any track.

    Attributes:
        manifest: what `data.prepare` wrote.
        tracks: the manifest's tracks: dicts with 'track', 'label', 'group', 'n_samples', ...
        labels: class names; a label id is a position in this list.
        sample_rate_hz: rate of the stored audio.
        kind: what is stored: 'audio', 'image' or 'table'.
        folder: that it was prepared in.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        """Opens a prepared dataset.

        Args:
            folder: what `data.prepare.prepare` returned.
        """
        self.manifest = prepare.read_manifest(folder)
        self.tracks: list[dict] = self.manifest['tracks']
        self.labels: list[str] = self.manifest['labels']
        self.sample_rate_hz: int = self.manifest['sample_rate_hz']
        self.kind: Kind = self.manifest['kind']
        self._chunk: int = self.manifest['chunk']
        self.folder = folder
        self._records = prepare.open_records(folder, self.kind)
        self._held: dict[int, np.ndarray] = {}
        self._held_bytes = 0

    def __getstate__(self) -> dict:
        # Every worker process has a copy: each would come to hold all records.
        return self.__dict__ | {'_held': {}, '_held_bytes': _HELD_BYTES}

    def label_ids(self) -> np.ndarray:
        """Returns the label of every track, int32."""
        index = {label: i for i, label in enumerate(self.labels)}
        return np.asarray([index[track['label']] for track in self.tracks], np.int32)

    def stored(self, window_s: float) -> Stored:
        """Returns what one example is: a window of so many seconds, a picture, or a row."""
        shape = (math.ceil(window_s * self.sample_rate_hz),)
        if self.kind != 'audio':
            shape = self.record(0).shape
        return Stored(self.kind, shape, self.sample_rate_hz, tuple(self.labels))

    def read(self, track: int, start: int, length: int) -> np.ndarray:
        """Reads a stretch of a track.

        Args:
            track: position in `tracks`.
            start: first sample, or the row.
            length: samples; beyond the end of the track there are zeros.

        Returns:
            int16 [length], or the picture or the row.
        """
        row = self.tracks[track]
        if self.kind != 'audio':
            return self._hold(row['first_record'] + start)
        stop = min(start + length, row['n_samples'])
        window = np.zeros(length, np.int16)
        for chunk in range(start // self._chunk, -(-stop // self._chunk)):
            audio = self._hold(row['first_record'] + chunk)
            begin = chunk * self._chunk
            lo, hi = max(start, begin), min(stop, begin + len(audio))
            window[lo - start : hi - start] = audio[lo - begin : hi - begin]
        return window

    def _hold(self, record: int) -> np.ndarray:
        """Returns what one record holds, from memory the second time."""
        array = self._held.get(record)
        if array is None:
            array = self.record(record)
            if self._held_bytes + array.nbytes <= _HELD_BYTES:
                self._held[record] = array
                self._held_bytes += array.nbytes
        return array

    def record(self, record: int) -> np.ndarray:
        """Reads what one record holds: up to a chunk of audio, a picture or a row.

        Args:
            record: its number.

        Raises:
            UserError: it is damaged.
        """
        try:
            return self._records[record]
        except Exception as error:  # ArrayRecord and protobuf raise many kinds on damaged files
            raise UserError(
                f'{self.folder}: record {record} is damaged ({type(error).__name__}): delete that '
                'folder, it is prepared again'
            ) from None


def draw_starts(
    n_samples: int, window: int, count: int, draw: str, rng: np.random.Generator
) -> np.ndarray:
    """Chooses where the windows of one track start.

    Args:
        n_samples: length of the track.
        window: length of a window, in samples.
        count: windows wanted.
        draw: 'even': spread over the track from its first to its last sample; 'random': uniform;
            'grid': from half-overlapping positions, no position twice while there are enough
            (Schindler, Herbert).
        rng: source of chance for 'random' and 'grid'.

    Returns:
        First samples, int64 [count], ascending but for 'random'.
    """
    last = max(0, n_samples - window)
    if draw == 'even':
        # One window of a track sits in its middle.
        return (
            np.linspace(0, last, count).round().astype(np.int64)
            if count > 1
            else np.array([last // 2])
        )
    if draw == 'random':
        return rng.integers(0, last, count, endpoint=True)
    positions = np.arange(0, last + 1, window // 2)
    whole, rest = divmod(count, len(positions))
    extra = rng.choice(len(positions), rest, replace=False)
    return np.sort(np.concatenate([np.tile(positions, whole), positions[extra]]))


class WindowTable:
    """All windows of one part of a split, in order.

    `place` says where one lies: for data that are on the device already that is all. `read` reads them. Of
    pictures and tables a song has as many windows as pictures or rows. With `train_draw='random'` the start
    is left to `random_place`.
    """

    def __init__(
        self,
        dataset: Dataset,
        tracks: np.ndarray,
        config: ml_collections.ConfigDict,
        *,
        train: bool,
        seed: int,
        copies: Mapping[int, int] = types.MappingProxyType({}),
        segments: Mapping[int, np.ndarray] | None = None,
    ) -> None:
        """Lays out the windows.

        Args:
            dataset: the prepared dataset.
            tracks: positions of the part's tracks.
            config: the section config.windows.
            train: whether the training or the evaluation settings apply.
            seed: of the draw 'grid', and of what cannot be balanced evenly.
            copies: how many times more windows a class has, by its number.
            segments: where the windows of each track start, for a split by segment.
        """
        self.dataset = dataset
        self.stored = dataset.stored(config.window_s)
        self.window = self.stored.shape[0] if dataset.kind == 'audio' else 1
        if dataset.kind != 'audio' and segments is None:
            segments = {int(t): np.arange(dataset.tracks[t]['n_samples']) for t in tracks}
        self.redrawn = train and segments is None and config.train_draw == 'random'
        each = config.train_per_track if train else config.eval_per_track
        draw = config.train_draw if train else config.eval_draw
        tracks = np.asarray(tracks, np.int32)
        label_ids = dataset.label_ids()
        if segments is not None:
            each = 1
            tracks = np.repeat(tracks, [len(segments[int(track)]) for track in tracks])
        counts = balance.window_counts(
            label_ids[tracks],
            [dataset.tracks[track]['track'] for track in tracks],
            each,
            balance=config.balance if train else 'none',
            copies=copies,
            seed=seed,
        )
        self.track = np.repeat(tracks, counts)
        self.start = np.zeros(len(self.track), np.int64)
        if segments is not None:
            starts = [segments[track] for track in dict.fromkeys(tracks.tolist())]
            self.start = np.repeat(np.concatenate([np.zeros(0, np.int64), *starts]), counts)
        elif not self.redrawn:
            starts = [
                draw_starts(
                    dataset.tracks[track]['n_samples'], self.window, track_count, draw,
                    np.random.default_rng([seed, track]),
                )
                for track, track_count in zip(tracks, counts, strict=True)
            ]  # fmt: skip
            self.start = np.concatenate(starts) if len(starts) else self.start
        self.labels = label_ids[self.track]
        self.start_s = (self.start / dataset.sample_rate_hz).astype(np.float32)

    def __len__(self) -> int:
        return len(self.track)

    def place(self, i: int) -> dict[str, np.ndarray]:
        """Returns where window i lies: {'label', 'track', 'start' in samples or rows, 'mask'}."""
        return self._place(i, self.start[i])

    def random_place(self, i: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns a place drawn from `rng` for window i."""
        n_samples = self.dataset.tracks[self.track[i]]['n_samples']
        return self._place(i, draw_starts(n_samples, self.window, 1, 'random', rng)[0])

    def _place(self, i: int, start: np.int64) -> dict[str, np.ndarray]:
        return {
            'label': self.labels[i],
            'track': self.track[i],
            'start': np.int64(start),
            'mask': np.float32(1),
        }

    def read(self, places: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the windows at several places.

        Args:
            places: of `place`, each (batch,).

        Returns:
            'audio' int16 (batch, window), or 'image' or 'table', with 'label', 'track', 'start_s', 'mask'.
        """
        shape = self.stored.batch(len(places['track']))
        windows = np.empty(shape.shape, shape.dtype)
        for window, track, start in zip(
            windows, places['track'].tolist(), places['start'].tolist(), strict=True
        ):
            window[:] = self.dataset.read(track, start, self.window)
        return {
            self.stored.kind: windows,
            'label': places['label'],
            'track': places['track'],
            'start_s': (places['start'] / self.dataset.sample_rate_hz).astype(np.float32),
            'mask': places['mask'],
        }


class _Batches:
    """The batches of one process: its slice of the rows of every global batch, in order.

    A source for grain whose items are whole batches: handing every row through its queues and collating
    them took longer than reading them.
    """

    def __init__(
        self,
        places: grain.MapDataset,
        table: WindowTable | None,
        batch_size: int,
        first_step: int,
        steps: int,
        process: int,
        processes: int,
    ):
        self._places = places
        self._table = table
        self._batch_size = batch_size
        self._rows = batch_size // processes
        self._first = first_step * batch_size + process * self._rows
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        first = self._first + step * self._batch_size
        rows = [self._places[row] for row in range(first, first + self._rows)]
        places = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        return places if self._table is None else self._table.read(places)


def train_batches(
    table: WindowTable,
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    steps: int,
    process: int = 0,
    processes: int = 1,
    workers: int = 0,
    places: bool = False,
) -> Iterator[Mapping[str, np.ndarray]]:
    """Yields this process's rows of the training batches, shuffled anew each epoch.

    Args:
        table: the windows of the training part.
        batch_size: examples in a global batch.
        seed: of the order and of the random starts.
        first_step: step to begin with.
        steps: batches to yield.
        process: this process.
        processes: number of processes; it divides the batch size.
        workers: processes that read records, 0 for threads of this one.
        places: yields only where the windows lie.

    Yields:
        Dicts of arrays with batch_size / processes rows.
    """
    # Whole batches only, so that an epoch begins with a batch.
    indices = grain.MapDataset.range(len(table)).seed(seed).shuffle()
    indices = indices[: len(table) // batch_size * batch_size].repeat()
    where = indices.random_map(table.random_place) if table.redrawn else indices.map(table.place)
    return _iterate(
        _Batches(
            where, None if places else table, batch_size, first_step, steps, process, processes
        ),
        workers,
    )


def eval_batches(
    table: WindowTable,
    *,
    batch_size: int,
    process: int = 0,
    processes: int = 1,
    workers: int = 0,
    places: bool = False,
) -> Iterator[Mapping[str, np.ndarray]]:
    """Yields this process's rows of all windows in order; the last batch is padded and masked.

    Args:
        table: the windows of a part.
        batch_size: examples in a global batch.
        process: this process.
        processes: number of processes; it divides the batch size.
        workers: processes that read records, 0 for threads of this one.
        places: yields only where the windows lie.

    Yields:
        Dicts of arrays with batch_size / processes rows; 'mask' is 0 where a row is padding.
    """
    steps = -(-len(table) // batch_size)

    def place(i: int) -> dict[str, np.ndarray]:
        # Padding repeats the last window: real audio, so nothing overflows or becomes NaN.
        return table.place(min(i, len(table) - 1)) | {'mask': np.float32(i < len(table))}

    where = grain.MapDataset.range(steps * batch_size).map(place)
    return _iterate(
        _Batches(where, None if places else table, batch_size, 0, steps, process, processes),
        workers,
    )


def _iterate(batches: _Batches, workers: int) -> Iterator[Mapping[str, np.ndarray]]:
    """Reads ahead, in threads or in processes."""
    ahead = grain.MapDataset.source(batches).to_iter_dataset(
        grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    )
    if workers:
        ahead = ahead.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(ahead)
