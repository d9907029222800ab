"""Prepared records + split -> windows -> batches, by grain.

The order of the data is a pure function of the seed and the step: nothing has to be saved to continue
a run, and it is the same whatever the number of processes.
"""

import dataclasses
import types
from collections.abc import Iterator, Mapping

import grain
import ml_collections
import numpy as np

from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate, tonic
from genre_jax.loading import balance
from genre_jax.loading.prepared import Dataset

# What a batch holds of its examples besides what is stored.
KNOWN = ('label', 'tonic_hz')


def draw_lengths(n_samples: np.ndarray, window: int, shortest: int, rng: np.random.Generator) -> np.ndarray:
    """Chooses how long windows are: samples, int64 [windows], of tracks with so many samples.

    Their logarithms are uniform from `shortest` to twice what a track and a window hold, which is then the
    most: so a part of them is all that there is. A track that is shorter than `shortest` is taken whole.
    """
    most = np.minimum(n_samples, window)
    span = np.log(np.maximum(2 * most / shortest, 1))
    drawn = shortest * np.exp(rng.random(len(most)) * span)
    return np.minimum(np.rint(drawn).astype(np.int64), most)


def draw_starts(n_samples: int, window: int, count: int, draw: str, rng: np.random.Generator) -> np.ndarray:
    """Chooses where `count` windows of one track start: samples, int64 [count], ascending but for 'random'.

    `draw` is 'even': spread over the track from its first to its last sample; 'random': uniform; 'grid':
    from half-overlapping positions, no position twice while there are enough (Schindler, Herbert).
    """
    last = max(0, n_samples - window)
    if draw == 'even' and count == 1:
        return np.array([last // 2])
    if draw == 'even':
        return np.linspace(0, last, count).round().astype(np.int64)
    if draw == 'random':
        return rng.integers(0, last, count, endpoint=True)
    positions = np.arange(0, last + 1, window // 2)
    whole, rest = divmod(count, len(positions))
    extra = rng.choice(len(positions), rest, replace=False)
    return np.sort(np.concatenate([np.tile(positions, whole), positions[extra]]))


class WindowTable:
    """All windows of one part of a split, in order.

    `places` says where they lie: for data that are on the device already that is all. `read` reads them. Of
    pictures and tables a song has as many windows as pictures or rows. With `train_draw='random'` the start
    is left to a generator of chance. `length` are the samples of each window, after which there are zeros.
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
        """Lays out the windows of the tracks at these positions, as config.windows, `config`, says.

        `train` tells whether its training or its evaluation settings apply. The seed is that of the draw
        'grid', and of what cannot be balanced evenly; `copies` are how many times more windows a class has,
        by its number; `segments` where the windows of each track start, for a split by segment. A UserError:
        lengths are to be drawn of what has none.
        """
        self.dataset = dataset
        self.stored = dataset.stored(config.window_s)
        self.window = self.stored.shape[0] if self.stored.over_time else 1
        self.whole = self.stored.over_time and not config.window_s
        if not self.stored.over_time and segments is None:
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
            dataset.column('track')[tracks],
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
        self._n_samples = dataset.column('n_samples')[self.track]
        self._shortest = round(config.train_shortest_s * dataset.sample_rate_hz) if train else 0
        if self._shortest and (segments is not None or not self.stored.over_time):
            raise UserError(
                f'config.windows.train_shortest_s={config.train_shortest_s:g}: windows of a split by '
                'segment, pictures and rows of tables have one length: expected 0'
            )
        self.length = np.full(len(self.track), self.window)
        if self._shortest and not self.redrawn:
            self.length, self.start = self._drawn(self._n_samples, np.random.default_rng([seed, 0]))
        self.labels = label_ids[self.track]
        self.tonic_hz = dataset.column('tonic_hz').astype(np.float32)[self.track]
        self.start_s = (self.start / dataset.sample_rate_hz).astype(np.float32)

    def __len__(self) -> int:
        return len(self.track)

    def _drawn(self, n_samples: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws length and start of windows of tracks with so many samples."""
        length = np.full(len(n_samples), self.window)
        if self._shortest:
            length = draw_lengths(n_samples, self.window, self._shortest, rng)
        return length, rng.integers(0, np.maximum(0, n_samples - length), endpoint=True)

    def places(self, rows: np.ndarray, rng: np.random.Generator | None = None) -> dict[str, np.ndarray]:
        """Returns where windows lie: 'row' here, 'track', 'start' in it, 'length'; what is known of them.

        That is 'label' and 'tonic_hz', 0 where it is not known; all are (batch,). Where `redrawn`, `rng`
        draws lengths and starts anew.
        """
        length, start = self.length[rows], self.start[rows]
        if self.redrawn and rng is not None:
            length, start = self._drawn(self._n_samples[rows], rng)
        known = {'label': self.labels[rows], 'tonic_hz': self.tonic_hz[rows]}
        return known | {'row': rows, 'track': self.track[rows], 'start': start, 'length': length}

    def read(self, places: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns windows: 'audio' int16 (batch, window), or another kind, with 'label' and 'tonic_hz'."""
        shape = self.stored.batch(len(places['track']))
        windows = np.zeros(shape.shape, shape.dtype)
        where = (places[key].tolist() for key in ('track', 'start', 'length'))
        for window, track, start, length in zip(windows, *where, strict=True):
            if self.stored.over_time:
                window = window[:length]
            window[:] = self.dataset.read(track, start, length)
        return {self.stored.kind: windows} | {key: places[key] for key in KNOWN}

    def read_all(self) -> np.ndarray:
        """Returns every window, or picture or row, (windows, ...): for what fits into memory."""
        return self.read(self.places(np.arange(len(self))))[self.stored.kind]

    def predictions(
        self, probabilities: np.ndarray, joint: np.ndarray | None = None, height: np.ndarray | None = None
    ) -> evaluate.Predictions:
        """Joins the windows with their probabilities, float32 [windows, classes].

        Of a model that names the tonic with those of tonic and class, [windows, tonics, classes], and the
        height of the tonics [windows, tonics].
        """
        names, groups = (self.dataset.column(key)[self.track] for key in ('track', 'group'))
        classes = np.asarray(self.dataset.labels)
        found = evaluate.Predictions(names, self.start_s, self.labels, probabilities, classes, groups)
        if joint is None:
            return found
        ordered = tonic.by_pitch_class(joint, height)
        return dataclasses.replace(
            found,
            tonic_hz=self.tonic_hz,
            tonic=ordered.sum(-1),
            given=tonic.given(ordered, self.tonic_hz),
        )


@dataclasses.dataclass(eq=False)
class _Batches:
    """The batches of one process: some of the rows of every global batch, where they lie or what they hold.

    A source for grain whose items are whole batches: handing every row through its queues and collating
    them took longer than reading them.
    """

    table: WindowTable
    batch_size: int
    steps: range
    rows: np.ndarray | None
    places: bool

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        places = self.of_step(self.steps[i])
        if self.rows is not None:
            places = {key: value[self.rows] for key, value in places.items()}
        return places if self.places else self.table.read(places)

    def of_step(self, step: int) -> dict[str, np.ndarray]:
        """Where the windows of an evaluation batch lie."""
        rows = step * self.batch_size + np.arange(self.batch_size)
        # Padding repeats the last window: real audio, so nothing overflows or becomes NaN.
        return self.table.places(np.minimum(rows, len(self.table) - 1))


@dataclasses.dataclass(eq=False)
class _Shuffled(_Batches):
    """Training batches: where their windows lie is a pure function of the seed and the step."""

    seed: int
    orders: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

    def of_step(self, step: int) -> dict[str, np.ndarray]:
        """Where the windows of a training batch lie."""
        # Whole batches only, so that an epoch begins with a batch.
        epoch, batch = divmod(step, len(self.table) // self.batch_size)
        order = self.orders.get(epoch)
        if order is None:
            order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.table))
            # Threads read ahead: where one epoch ends some are in the next already.
            self.orders = {epoch - 1: self.orders.get(epoch - 1), epoch: order}
        rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return self.table.places(rows, np.random.default_rng([self.seed, 1, step]))


def train_batches(
    table: WindowTable,
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    steps: int,
    rows: np.ndarray | None = None,
    workers: int = 0,
    places: bool = False,
) -> Iterator[Mapping[str, np.ndarray]]:
    """Yields the training batches after `first_step`, shuffled anew each epoch: these `rows`, or all.

    `workers` are processes that read records, 0 for threads of this one. Yields what `WindowTable.read`
    returns, or with `places` what `WindowTable.places` does.
    """
    span = range(first_step, first_step + steps)
    return _iterate(_Shuffled(table, batch_size, span, rows, places, seed), workers)


def eval_batches(
    table: WindowTable,
    *,
    batch_size: int,
    rows: np.ndarray | None = None,
    workers: int = 0,
    places: bool = False,
) -> Iterator[Mapping[str, np.ndarray]]:
    """Yields batches of all windows, the last repeated; `workers` are threads: processes start too slowly."""
    span = range(-(-len(table) // batch_size))
    return _iterate(_Batches(table, batch_size, span, rows, places), threads=max(2, workers))


def _iterate(batches: _Batches, workers: int = 0, threads: int = 2) -> Iterator[Mapping[str, np.ndarray]]:
    """Reads ahead, in threads or in processes."""
    ahead = grain.MapDataset.source(batches).to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    )
    if workers:
        ahead = ahead.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(ahead)
