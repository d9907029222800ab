"""Windows and batches of a real prepared dataset whose every sample tells its own position."""

import collections
import functools
import itertools
import math
import pickle
import types

import ml_collections
import numpy as np
import pytest
import scipy.stats

from genre_jax.data import prepare
from genre_jax.data.recordings import Recording, Source
from genre_jax.errors import UserError
from genre_jax.loading import balance, loader, prepared

RATE_HZ = 100
CHUNK_S = 1.0
WINDOW = 50
# Shorter than a window, exactly one, one sample more, off and on the borders of chunks.
LENGTHS = (30, 50, 51, 99, 100, 101, 237, 300, 555, 801)


class RampSource(Source):
    """Recording t is t * 1000 + 1, t * 1000 + 2, ...; zero is padding."""

    name = 'ramp'
    description = 'Ramps.'
    fingerprint = 'ramp'

    def recordings(self):
        return [
            Recording(track=f'track{t}', label='cab'[t % 3], group=f'g{t}', tonic_hz=100.0 * t)
            for t in range(len(LENGTHS))
        ], []

    def sample_rate_hz(self):
        return RATE_HZ

    def load(self, recording):
        return ramp(int(recording.track.removeprefix('track')))

    def group_key(self):
        return 'recording'


def ramp(t):
    return (1000 * t + 1 + np.arange(LENGTHS[t])).astype(np.int16)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    folder = prepare.prepare(RampSource(), tmp_path_factory.mktemp('prepared'), CHUNK_S)
    return prepared.Dataset(folder)


def windows(**keys):
    return ml_collections.ConfigDict(
        {
            'window_s': WINDOW / RATE_HZ, 'train_per_track': 3, 'train_draw': 'random',
            'eval_per_track': 4, 'eval_draw': 'even', 'balance': 'none', 'train_shortest_s': 0.0,
        }
        | keys
    )  # fmt: skip


def table_of(dataset, *, train, tracks=None, seed=0, **keys):
    tracks = np.arange(len(LENGTHS)) if tracks is None else np.asarray(tracks)
    return loader.WindowTable(dataset, tracks, windows(**keys), train=train, seed=seed)


def expected_audio(track, start):
    """What a window holds: the ramp, then zeros."""
    whole = np.concatenate([ramp(track), np.zeros(WINDOW, np.int16)])
    return whole[start : start + WINDOW]


def check_rows(batch):
    """Every row is the stretch of the track that it says it is, with its label."""
    for audio, track, start_s, label in zip(
        batch['audio'], batch['track'], batch['start_s'], batch['label'], strict=True
    ):
        start = round(float(start_s) * RATE_HZ)
        np.testing.assert_array_equal(audio, expected_audio(track, start))
        assert 'abc'[label] == 'cab'[track % 3]  # label ids are positions in the sorted names


def rows_of(batches):
    return [
        (int(track), round(float(start_s) * RATE_HZ))
        for batch in batches
        for track, start_s in zip(batch['track'], batch['start_s'], strict=True)
    ]


# --- the dataset ---------------------------------------------------------------------------------


def test_dataset(dataset):
    assert dataset.labels == ['a', 'b', 'c']
    assert dataset.sample_rate_hz == RATE_HZ
    assert [t['track'] for t in dataset.tracks] == [f'track{t}' for t in range(len(LENGTHS))]
    assert [t['n_samples'] for t in dataset.tracks] == list(LENGTHS)
    assert ['abc'[i] for i in dataset.label_ids()] == ['cab'[t % 3] for t in range(len(LENGTHS))]


@pytest.mark.parametrize('track', range(len(LENGTHS)))
def test_read_is_the_recording(dataset, track):
    n = LENGTHS[track]
    whole = np.concatenate([ramp(track), np.zeros(400, np.int16)])
    lengths = (1, 49, 50, 100, 101, 250, 399)
    starts = sorted({*range(0, n, 23), *range(99, n, 100), *range(100, n, 100), n - 1})
    for start, length in itertools.product(starts, lengths):
        audio = dataset.read(track, start, length)
        assert audio.dtype == np.int16
        np.testing.assert_array_equal(audio, whole[start : start + length])


@pytest.mark.parametrize('held_bytes', [0, 500, 2**20])
def test_what_is_held_changes_nothing(dataset, monkeypatch, held_bytes):
    monkeypatch.setattr(prepared, '_HELD_BYTES', held_bytes)
    fresh = prepared.Dataset(dataset.folder)
    for _ in range(2):  # from the files, then from memory where there is room
        for track in range(len(LENGTHS)):
            np.testing.assert_array_equal(fresh.read(track, 0, LENGTHS[track]), ramp(track))
    assert sum(array.nbytes for array in fresh._held.values()) <= held_bytes
    copy = pickle.loads(pickle.dumps(fresh))  # as a worker process gets it
    np.testing.assert_array_equal(copy.read(9, 0, LENGTHS[9]), ramp(9))
    assert not copy._held


# --- where windows start -------------------------------------------------------------------------


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize('count', [2, 3, 15])
@pytest.mark.parametrize('n_samples', [50, 51, 200, 1000])
def test_even_spreads_from_the_first_to_the_last_sample(n_samples, count):
    starts = loader.draw_starts(n_samples, 50, count, 'even', rng())
    last = n_samples - 50
    assert len(starts) == count and starts[0] == 0 and starts[-1] == last
    gaps = np.diff(starts)
    assert (np.abs(gaps - last / (count - 1)) < 1).all()


def test_even_puts_one_window_in_the_middle():
    assert loader.draw_starts(150, 50, 1, 'even', rng()).tolist() == [50]


@pytest.mark.parametrize('draw', ['even', 'random', 'grid'])
@pytest.mark.parametrize('n_samples', [1, 49, 50])
def test_short_tracks_start_at_zero(n_samples, draw):
    assert loader.draw_starts(n_samples, 50, 4, draw, rng()).tolist() == [0] * 4


@pytest.mark.parametrize('window', [50, 51])
def test_grid_draws_distinct_half_overlapping_positions(window):
    positions = np.arange(0, 1000 - window + 1, window // 2)
    seen = np.zeros(len(positions), int)
    for seed in range(300):
        starts = loader.draw_starts(1000, window, 15, 'grid', rng(seed))
        assert (np.diff(starts) > 0).all()
        assert np.isin(starts, positions).all()
        seen[np.searchsorted(positions, starts)] += 1
    # Every position is as likely: 15 of them in each of 300 draws.
    share = 15 / len(positions)
    assert (np.abs(seen / 300 - share) < 5 * np.sqrt(share * (1 - share) / 300)).all()


def test_grid_of_the_published_clips():
    # 30-s clips hold 63 half-overlapping pieces of 0.93 s.
    window = int(np.ceil(0.93 * 22050))
    starts = loader.draw_starts(30 * 22050, window, 63, 'grid', rng())
    assert len(np.unique(starts)) == 63
    assert len(np.unique(loader.draw_starts(30 * 22050, window, 64, 'grid', rng()))) == 63


def test_grid_repeats_only_where_positions_run_out():
    starts = loader.draw_starts(100, 50, 8, 'grid', rng())  # 0, 25, 50
    assert sorted(np.unique_counts(starts).counts) == [2, 3, 3]


def test_random_is_uniform_over_all_starts():
    starts = loader.draw_starts(60, 50, 22_000, 'random', rng())
    counts = np.bincount(starts)
    assert len(counts) == 11  # 0 ... 10, both ends included
    assert (np.abs(counts - 2000) < 5 * np.sqrt(2000)).all()


def test_a_window_is_never_shorter_than_asked():
    for window_s, rate_hz in ((0.93, 22050), (2.8, 22050), (0.1, 44100), (1 / 3, 8000)):
        dataset = types.SimpleNamespace(kind='audio', sample_rate_hz=rate_hz, labels=['a', 'b'])
        stored = prepared.Dataset.stored(dataset, window_s)
        assert 0 <= stored.shape[0] - window_s * rate_hz < 1


# --- training batches ----------------------------------------------------------------------------


BATCH = 4  # 30 windows: 7 steps an epoch, 2 windows left out


def stream(table, first_step=0, steps=21, batch_size=BATCH, seed=0, **keys):
    keys |= {'batch_size': batch_size, 'seed': seed, 'first_step': first_step, 'steps': steps}
    return with_places(functools.partial(loader.train_batches, table, **keys))


def in_order(table, **keys):
    return with_places(functools.partial(loader.eval_batches, table, **keys))


def with_places(batches):
    """Returns the batches, each with where its windows lie."""
    found = []
    for read, places in zip(batches(), batches(places=True), strict=True):
        assert read.keys() == {'audio', 'label', 'tonic_hz'}
        np.testing.assert_array_equal(read['label'], places['label'])
        np.testing.assert_array_equal(read['tonic_hz'], 100 * places['track'])
        start_s = (places['start'] / RATE_HZ).astype(np.float32)
        found.append(read | {'track': places['track'], 'start_s': start_s})
    return found


def equal(ours, theirs):
    return len(ours) == len(theirs) and all(
        a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
        for a, b in zip(ours, theirs, strict=True)
    )


def test_training_rows_are_right(dataset):
    table = table_of(dataset, train=True, tracks=[0, 2, 5, 9])
    batches = stream(table, steps=9)
    assert len(batches) == 9
    for batch in batches:
        check_rows(batch)
        assert batch['audio'].shape == (BATCH, WINDOW) and batch['audio'].dtype == np.int16
    assert set(np.concatenate([batch['track'] for batch in batches])) == {0, 2, 5, 9}


def test_an_epoch_holds_every_window_once(dataset):
    # 'grid' on tracks with three positions or more: every window is told apart by its start.
    table = table_of(dataset, train=True, train_draw='grid', tracks=[4, 5, 6, 7, 8, 9])
    windows_of_table = sorted(zip(table.track.tolist(), table.start.tolist(), strict=True))
    assert len(set(windows_of_table)) == 18
    left_out, orders = set(), set()
    for epoch in range(8):
        rows = rows_of(stream(table, first_step=4 * epoch, steps=4))
        assert len(set(rows)) == 16  # 18 but for the part batch
        assert set(rows) <= set(windows_of_table)
        left_out.add(tuple(sorted(set(windows_of_table) - set(rows))))
        orders.add(tuple(rows))
    assert len(orders) == 8
    assert len(left_out) > 1  # not the same windows in every epoch


def test_an_epoch_without_remainder_holds_all(dataset):
    table = table_of(dataset, train=True, train_draw='grid', tracks=[4, 5, 6, 7])
    for epoch in range(3):
        rows = rows_of(stream(table, first_step=3 * epoch, steps=3))
        assert sorted(rows) == sorted(zip(table.track.tolist(), table.start.tolist(), strict=True))


def test_random_starts_are_drawn_anew(dataset):
    table = table_of(dataset, train=True, tracks=[8, 9], train_per_track=50)
    epochs = [set(rows_of(stream(table, first_step=25 * e, steps=25))) for e in range(3)]
    for rows in epochs:
        tracks, starts = np.array(sorted(rows)).T
        for track in (8, 9):
            own = starts[tracks == track]
            last = LENGTHS[track] - WINDOW
            assert own.min() >= 0 and own.max() <= last
            assert len(own) > 40  # 50 draws, hardly any twice
            assert own.min() < 0.2 * last and own.max() > 0.8 * last
    assert len(epochs[0] & epochs[1]) < 25 and epochs[1] != epochs[2]


@pytest.mark.parametrize('n_samples, window, shortest', [(10_000, 5_000, 100), (3_000, 5_000, 200)])
def test_logarithms_of_lengths_are_uniform_up_to_the_whole(n_samples, window, shortest):
    drawn = loader.draw_lengths(np.full(20_000, n_samples), window, shortest, np.random.default_rng(1))
    most = min(n_samples, window)
    assert drawn.min() >= shortest and drawn.max() == most
    # Of the range from `shortest` to twice the most, its upper part is the whole.
    whole = math.log(2) / math.log(2 * most / shortest)
    assert (drawn == most).mean() == pytest.approx(whole, abs=0.01)
    rest = drawn[drawn < most] + np.random.default_rng(2).uniform(-0.5, 0.5, (drawn < most).sum())
    assert scipy.stats.kstest(rest, scipy.stats.loguniform(shortest, most).cdf).pvalue > 0.01


def test_what_is_shorter_than_the_shortest_is_taken_whole():
    n_samples = np.array([1, 70, 99, 100])
    assert loader.draw_lengths(n_samples, 500, 1000, np.random.default_rng(0)).tolist() == [1, 70, 99, 100]


@pytest.mark.parametrize('draw', ['random', 'grid'])
@pytest.mark.parametrize('window_s', [0, 2.0])
def test_windows_of_all_lengths(dataset, draw, window_s):
    table = table_of(
        dataset, train=True, train_draw=draw, train_per_track=40, train_shortest_s=0.2, window_s=window_s
    )
    seen = collections.defaultdict(set)
    for step in range(10):
        rows = np.arange(40 * step, 40 * step + 40)
        places = table.places(rows, np.random.default_rng(step))
        for audio, track, start, length in zip(
            table.read(places)['audio'], *(places[key] for key in ('track', 'start', 'length')), strict=True
        ):
            assert 20 <= length <= min(LENGTHS[track], table.window) and start + length <= LENGTHS[track]
            np.testing.assert_array_equal(audio[:length], ramp(track)[start : start + length])
            assert not audio[length:].any()
            seen[int(track)].add((int(start), int(length)))
    assert all(len(own) > 15 for track, own in seen.items() if LENGTHS[track] > 230)
    again = table.places(np.arange(40), np.random.default_rng(99))
    assert (again['start'] == table.places(np.arange(40), np.random.default_rng(0))['start']).all() == (
        draw == 'grid'
    )
    # Evaluated windows are as long as the model's.
    assert (table_of(dataset, train=False, train_shortest_s=0.2).length == WINDOW).all()


def test_lengths_of_segments_are_not_drawn(dataset):
    with pytest.raises(UserError, match=r'config.windows.train_shortest_s=0.2: .* expected 0'):
        loader.WindowTable(
            dataset,
            np.arange(2),
            windows(train_shortest_s=0.2),
            train=True,
            seed=0,
            segments={0: np.array([0]), 1: np.array([0])},
        )


@pytest.mark.parametrize('draw', ['random', 'grid'])
def test_the_stream_continues_at_any_step(dataset, draw):
    table = table_of(dataset, train=True, train_draw=draw)
    whole = stream(table)
    for first_step in range(22):
        assert equal(stream(table, first_step, 21 - first_step), whole[first_step:])


@pytest.mark.parametrize('draw', ['random', 'grid'])
@pytest.mark.parametrize('processes', [2, 4])
def test_processes_share_each_batch(dataset, processes, draw):
    table = table_of(dataset, train=True, train_draw=draw)
    whole = stream(table)
    for first_step in (0, 5):
        parts = [
            stream(table, first_step, 21 - first_step, rows=np.arange(p, BATCH, processes))
            for p in range(processes)
        ]
        joined = [
            {
                key: np.stack([batch[key] for batch in step], 1).reshape(BATCH, *step[0][key].shape[1:])
                for key in step[0]
            }
            for step in zip(*parts, strict=True)
        ]
        assert equal(joined, whole[first_step:])


def test_the_seed_decides(dataset):
    table = table_of(dataset, train=True)
    assert equal(stream(table), stream(table))
    assert not equal(stream(table), stream(table, seed=1))
    # No epoch of one seed is an epoch of another.
    ours = {tuple(rows_of(stream(table, 7 * e, 7))) for e in range(4)}
    theirs = {tuple(rows_of(stream(table, 7 * e, 7, seed=1))) for e in range(4)}
    assert not ours & theirs
    one, other = (table_of(dataset, train=True, train_draw='grid', seed=s) for s in (0, 1))
    assert (one.start != other.start).any()


# --- balance -------------------------------------------------------------------------------------

UNEQUAL = [0, 3, 6, 9, 1, 4, 2]  # 4 tracks of c, 2 of a, 1 of b
ROWS = {0: 1, 3: 4, 6: 2, 9: 6, 1: 3, 4: 2, 2: 4}  # c has 13, a 5, b 4


def per_class(table):
    return np.bincount(table.labels, minlength=3).tolist()  # a, b, c


def per_track(table):
    return {int(t): int((table.track == t).sum()) for t in np.unique(table.track)}


@pytest.mark.parametrize('draw', ['random', 'grid'])
def test_every_class_gets_as_many_windows_as_the_largest(dataset, draw):
    keys = {'train': True, 'tracks': UNEQUAL, 'train_draw': draw, 'train_per_track': 5}
    assert per_class(table_of(dataset, **keys)) == [10, 5, 20]
    balanced = table_of(dataset, **keys, balance='class')
    assert per_class(balanced) == [20, 20, 20]
    assert per_track(balanced) == {0: 5, 3: 5, 6: 5, 9: 5, 1: 10, 4: 10, 2: 20}


def test_grid_draws_other_positions_before_it_repeats_any(dataset):
    # Track 8 has 21 half-overlapping positions.
    tracks = [0, 3, 6, 9, 8]
    table = table_of(
        dataset, train=True, tracks=tracks, train_draw='grid', train_per_track=5, balance='class'
    )
    assert len(np.unique(table.start[table.track == 8])) == 20


def test_what_cannot_be_balanced_evenly_is_drawn(dataset):
    # 8 windows for the 3 tracks of a class: 3, 3 and 2; each of them is the one with 2 for some seed.
    tracks = [0, 3, 6, 9, 1, 4, 7]
    keys = {'train': True, 'train_per_track': 2, 'balance': 'class'}
    fewer = set()
    for seed in range(20):
        table = table_of(dataset, tracks=tracks, seed=seed, **keys)
        counts = {t: n for t, n in per_track(table).items() if t in (1, 4, 7)}
        assert sorted(counts.values()) == [2, 3, 3]
        fewer.add(min(counts, key=counts.get))
        again = table_of(dataset, tracks=tracks, seed=seed, **keys)
        np.testing.assert_array_equal(again.track, table.track)
        reverse = table_of(dataset, tracks=tracks[::-1], seed=seed, **keys)
        assert per_track(reverse) == per_track(table)
    assert fewer == {1, 4, 7}


def test_the_order_of_songs_and_the_other_classes_decide_nothing():
    labels, names = np.array([0] * 7 + [1] * 3), list('gfedcbaxyz')
    keys = {'balance': 'class', 'copies': {}, 'seed': 4}
    counts = balance.window_counts(labels, names, 1, **keys)
    assert counts.sum() == 14
    order = np.random.default_rng(0).permutation(10)
    shuffled = balance.window_counts(labels[order], [names[i] for i in order], 1, **keys)
    np.testing.assert_array_equal(shuffled, counts[order])


def test_copies_come_on_top_of_the_balance(dataset):
    tracks = np.asarray(UNEQUAL)
    config = windows(train_per_track=5, balance='class')
    table = loader.WindowTable(dataset, tracks, config, train=True, seed=0, copies={1: 2, 2: 1})
    assert per_class(table) == [20, 60, 40]


def test_validation_and_test_are_never_balanced(dataset):
    table = table_of(dataset, train=False, tracks=UNEQUAL, balance='class')
    assert per_class(table) == [8, 4, 16]


def test_no_track_no_window(dataset):
    assert len(table_of(dataset, train=True, tracks=[], balance='class')) == 0


def test_segments_are_repeated(dataset):
    segments = {track: 7 * np.arange(rows) for track, rows in ROWS.items()}
    table = loader.WindowTable(
        dataset,
        np.asarray(UNEQUAL),
        windows(balance='class'),
        train=True,
        seed=0,
        segments=segments,
    )
    assert per_class(table) == [13, 13, 13]
    times = collections.Counter(zip(table.track.tolist(), table.start.tolist(), strict=True))
    assert set(times) == {(t, int(s)) for t in ROWS for s in segments[t]}
    by_class = collections.defaultdict(list)
    for (track, _), count in times.items():
        by_class['cab'[track % 3]].append(count)
    assert set(by_class['c']) == {1}
    assert sorted(by_class['a']) == [2, 2, 3, 3, 3]
    assert sorted(by_class['b']) == [3, 3, 3, 4]
    # One window says where it lies, whatever comes before it.
    places = table.places(np.array([0, 20, 38]))
    check_rows(table.read(places) | places | {'start_s': places['start'] / RATE_HZ})


# --- evaluation batches --------------------------------------------------------------------------


@pytest.mark.parametrize('draw', ['even', 'grid'])
@pytest.mark.parametrize('batch_size', [8, 20, 64])
def test_evaluation_batches(dataset, batch_size, draw):
    table = table_of(dataset, train=False, eval_draw=draw)
    assert len(table) == 40
    batches = in_order(table, batch_size=batch_size)
    assert len(batches) == -(-40 // batch_size)
    for batch in batches:
        check_rows(batch)
        assert len(batch['audio']) == batch_size
    rows = rows_of(batches)
    assert set(rows[40:]) <= {rows[39]}  # the last batch is filled up with the last window
    assert rows[:40] == list(zip(table.track.tolist(), table.start.tolist(), strict=True))
    assert equal(batches, in_order(table, batch_size=batch_size))
    np.testing.assert_allclose(table.start_s, table.start / RATE_HZ)


@pytest.mark.parametrize('processes', [2, 4])
def test_evaluation_rows_are_shared_among_processes(dataset, processes):
    table = table_of(dataset, train=False)
    whole = in_order(table, batch_size=12)
    parts = [
        in_order(table, batch_size=12, rows=np.arange(12).reshape(processes, -1)[p]) for p in range(processes)
    ]
    joined = [
        {key: np.concatenate([batch[key] for batch in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert equal(joined, whole)


def test_whole_recordings_are_filled_up_with_zeros(dataset):
    table = table_of(dataset, train=True, window_s=0, train_per_track=1)
    (batch,) = in_order(table, batch_size=len(LENGTHS))
    assert batch['audio'].shape == (len(LENGTHS), max(LENGTHS))
    for t, row in enumerate(batch['audio']):
        np.testing.assert_array_equal(row[: LENGTHS[t]], ramp(t))
        assert not row[LENGTHS[t] :].any()


def test_only_some_classes(dataset):
    some = prepared.Dataset(dataset.folder, ('c', 'a'))
    assert some.labels == ['a', 'c']
    kept = [t for t in range(len(LENGTHS)) if t % 3 < 2]  # 'cab'[t % 3]
    assert [track['track'] for track in some.tracks] == [f'track{t}' for t in kept]
    assert some.label_ids().tolist() == [1 - t % 3 for t in kept]
    for row, t in enumerate(kept):
        np.testing.assert_array_equal(some.read(row, 0, LENGTHS[t]), ramp(t))
    with pytest.raises(UserError, match=r"config\.data\.classes: there is no class 'd'"):
        prepared.Dataset(dataset.folder, ('a', 'd'))
