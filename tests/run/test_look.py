"""What a run leaves to look at and to listen to, against the recordings, NumPy and the formats' own rules."""

import io
import json
import pathlib
import time
import types

import numpy as np
import pytest
import soundfile
import soxr

from genre_jax.evaluation.evaluate import Predictions
from genre_jax.loading import loader, prepared
from genre_jax.run import excerpts, look
from tests import program

RATE = 22050


class Recordings:
    """A dataset of tracks that are held in memory."""

    kind, labels = 'audio', ['a', 'b']

    def __init__(self, audio, rate=RATE):
        self.audio, self.sample_rate_hz = audio, rate
        self.tracks = [
            {'track': f'{i}.wav', 'n_samples': len(each), 'path': f'{i}.wav', 'start_s': 0.5, 'tonic_hz': 0.0}
            for i, each in enumerate(audio)
        ]

    def column(self, key):
        return np.array([track[key] for track in self.tracks])

    def label_ids(self):
        return np.arange(len(self.tracks)) % 2

    def stored(self, window_s):
        shape = (round(window_s * self.sample_rate_hz),)
        return prepared.Stored('audio', shape, self.sample_rate_hz, ('0', '1'))

    def read(self, track, start, length):
        return self.audio[track][start : start + length]


def music(seconds, seed, rate=RATE):
    """A tune of decaying harmonic notes over quiet noise, int16."""
    rng, n = np.random.default_rng(seed), round(seconds * rate)
    sound, time_s = 0.002 * rng.standard_normal(n), np.arange(n) / rate
    for begin_s in np.arange(0, seconds, 0.25):
        note_hz, since_s = 220 * 2 ** (rng.integers(0, 24) / 12), time_s - begin_s
        on = np.where(since_s >= 0, np.exp(-6 * np.maximum(since_s, 0)), 0)
        sound += 0.1 * on * sum(np.sin(2 * np.pi * k * note_hz * since_s) / k for k in (1, 2, 3, 4))
    return np.rint(32767 * sound / np.abs(sound).max() * 0.8).astype(np.int16)


def table_of(recordings, window_s=1.0, per_track=4):
    config = types.SimpleNamespace(
        window_s=window_s, train_per_track=1, train_draw='random', eval_per_track=per_track,
        eval_draw='even', balance='none',
    )  # fmt: skip
    return loader.WindowTable(recordings, np.arange(len(recordings.tracks)), config, train=False, seed=0)


def heard_again(content):
    """Decodes what was written."""
    sound, rate = soundfile.read(io.BytesIO(content), dtype='float32')
    return sound, rate


@pytest.mark.parametrize(('rate', 'opus_rate'), [(16000, 16000), (22050, 24000), (44100, 48000)])
def test_what_is_heard_is_what_was_stored(rate, opus_rate):
    """The same length, time, level and sound, at a rate that can be listened to."""
    audio = music(6, seed=1, rate=rate)
    content = excerpts.opus(audio, rate)
    decoded, decoded_rate = heard_again(content)
    assert decoded_rate == opus_rate and decoded.ndim == 1
    kbit_s = 8 * len(content) / 6 / 1000
    assert 22 < kbit_s < 34
    stored = soxr.resample(audio / 32768, rate, opus_rate)
    assert abs(len(decoded) - len(stored)) <= opus_rate * 0.02
    n = min(len(decoded), len(stored))
    spectra = [np.fft.rfft(each[:n], 2 * n) for each in (decoded, stored)]
    delay = np.fft.irfft(spectra[0] * np.conj(spectra[1])).argmax()
    assert delay in (0, 2 * n - 1, 1)
    assert np.corrcoef(decoded[:n], stored[:n])[0, 1] > 0.97
    assert abs(20 * np.log10(np.std(decoded[:n]) / np.std(stored[:n]))) < 0.5


def ogg_pages(content):
    """Yields the pages of an Ogg file (RFC 3533)."""
    while content:
        assert content[:4] == b'OggS'
        n_segments = content[26]
        size = 27 + n_segments + sum(content[27 : 27 + n_segments])
        yield content[:size]
        content = content[size:]


def test_the_same_sound_is_the_same_bytes_at_another_time():
    audio = music(2, seed=2)
    first = excerpts.opus(audio, RATE)
    time.sleep(1.1)  # libsndfile's numbers come from the clock
    assert excerpts.opus(audio, RATE) == first
    pages = list(ogg_pages(first))
    assert len(pages) > 2 and {page[14:18] for page in pages} == {b'\x01\0\0\0'}
    for page in pages:  # by long division, as the format has it
        remainder = 0
        for byte in page[:22] + bytes(4) + page[26:]:
            remainder ^= byte << 24
            for _ in range(8):
                remainder = (remainder << 1 ^ (0x04C11DB7 if remainder >> 31 else 0)) & 0xFFFFFFFF
        assert page[22:26] == remainder.to_bytes(4, 'little')


def test_excerpts_are_what_was_evaluated_and_no_more_than_the_budget(tmp_path):
    recordings = Recordings([music(length_s, i) for i, length_s in enumerate((4, 40, 3, 5))])
    table = table_of(recordings)
    rows = [np.flatnonzero(table.track == i) for i in range(4)]
    short, long = excerpts.around(table, rows[0], rows[0][0]), excerpts.around(table, rows[1], rows[1][2])
    assert short == (0, 0, 4 * RATE)
    # The windows of 40 s begin at 0, 13, 26 and 39 s; that at 26 s is in the middle, as far as can be.
    assert long == (1, round(10 * RATE), 40 * RATE)
    first = excerpts.around(table, rows[1], rows[1][0])
    assert first == (1, 0, 30 * RATE)
    wanted = [short, *(excerpts.around(table, rows[i], rows[i][0]) for i in (2, 3))]
    listed = excerpts.write(table, wanted, 10**6, tmp_path)
    assert [each['track'] for each in listed] == ['0.wav', '2.wav', '3.wav']
    for each, (track, start, end) in zip(listed, wanted, strict=True):
        sound, rate = heard_again((tmp_path / each['file']).read_bytes())
        stored = soxr.resample(recordings.audio[track][start:end] / 32768, RATE, rate)
        n = min(len(sound), len(stored))
        assert np.corrcoef(sound[:n], stored[:n])[0, 1] > 0.95
        assert (each['start_s'], each['end_s']) == (start / RATE, end / RATE)
    sizes = [(tmp_path / each['file']).stat().st_size for each in listed]
    less = tmp_path / 'less'
    less.mkdir()
    listed = excerpts.write(table, wanted, sum(sizes[:2]) + sizes[2] // 2, less)
    assert len(listed) == 2 and sum(file.stat().st_size for file in less.iterdir()) == sum(sizes[:2])
    assert excerpts.write(table, wanted, 0, tmp_path) == []


def test_links_name_files_that_are_there(tmp_path):
    table = table_of(Recordings([music(4, 0), music(4, 1)]))
    wanted = [excerpts.Excerpt(0, 0, RATE), excerpts.Excerpt(1, RATE, 2 * RATE)]
    (tmp_path / '1.wav').touch()
    (tmp_path / 'list.csv').touch()
    for root in (tmp_path, tmp_path / 'list.csv'):
        listed = excerpts.link(table, wanted, root)
        # This recording begins half a second into its file.
        expected = {'track': '1.wav', 'start_s': 1.0, 'end_s': 2.0, 'file_start_s': -0.5}
        assert listed == [expected | {'file': str(tmp_path / '1.wav')}]


def test_wrong_songs_come_first_and_right_ones_class_after_class():
    songs = {  # true class, and the windows' probabilities of classes a, b, c
        'right a 1': (0, [(0.9, 0.1, 0.0), (0.7, 0.2, 0.1)]),
        'wrong 1': (0, [(0.6, 0.4, 0.0), (0.1, 0.9, 0.0)]),
        'right a 2': (0, [(0.99, 0.01, 0.0), (0.9, 0.0, 0.1)]),
        'right b 1': (1, [(0.2, 0.6, 0.2), (0.3, 0.5, 0.2)]),
        'wrong 2': (1, [(0.0, 0.05, 0.95), (0.1, 0.0, 0.9)]),
    }
    windows = [(name, true, p) for name, (true, each) in songs.items() for p in each]
    windows = windows[::2] + windows[1::2]  # in any order
    names, labels, probabilities = map(np.array, zip(*windows, strict=True))
    table = Predictions(names, np.zeros(10), labels, probabilities.astype(np.float32), np.array(list('abc')))
    chosen = look.choose(table)
    in_order = ['wrong 2', 'wrong 1', 'right a 2', 'right b 1', 'right a 1']
    assert [names[each.row] for each in chosen] == in_order
    assert [each.wrong for each in chosen] == [True, True, False, False, False]
    assert [each.label for each in chosen] == [2, 1, 0, 1, 0]
    # The window that is surest of what the song was taken for.
    np.testing.assert_allclose(
        [probabilities[each.row][each.label] for each in chosen], [0.95, 0.9, 0.99, 0.6, 0.9]
    )
    for each in chosen:
        np.testing.assert_array_equal(each.rows, np.flatnonzero(names == names[each.row]))


# --- the map -------------------------------------------------------------------------------------


def test_a_map_keeps_clusters_apart_and_its_bytes(tmp_path):
    rng = np.random.default_rng(0)
    cluster = np.arange(120) % 3
    embedding = (rng.standard_normal((120, 20)) + 8 * np.eye(20)[cluster]).astype(np.float32)
    found = look.project(embedding)
    np.testing.assert_array_equal(found.row, np.arange(120))
    centred = embedding - embedding.mean(0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    theirs = left[:, :2] * singular[:2]
    np.testing.assert_allclose(np.abs(found.pca), np.abs(theirs), atol=1e-4)
    distances = np.linalg.norm(found.tsne[:, None] - found.tsne, axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (cluster[distances.argmin(1)] == cluster).all()
    files = [tmp_path / f'{i}.npz' for i in range(2)]
    for file in files:
        look.project(embedding).save(file)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    'embedding', [np.zeros((1, 4)), np.ones((40, 3)), np.eye(5), np.arange(30.0)[:, None]]
)
def test_a_map_of_next_to_nothing(embedding):
    found = look.project(embedding.astype(np.float32))
    assert found.tsne is None and found.pca.shape == (len(embedding), 2)
    assert np.isfinite(found.pca).all()


def test_a_large_map_is_thinned_evenly(monkeypatch):
    monkeypatch.setattr(look, '_POINTS', 50)
    found = look.project(np.random.default_rng(0).standard_normal((1001, 3)).astype(np.float32))
    np.testing.assert_allclose(np.diff(found.row), 1000 / 49, atol=1)
    assert (found.row[0], found.row[-1], found.row.dtype) == (0, 1000, np.int32)


# --- runs ----------------------------------------------------------------------------------------


def test_what_fails_does_not_stop_the_run(tmp_path, caplog):
    (tmp_path / 'look').mkdir()
    (tmp_path / 'look' / 'map.npz').write_text('of an earlier end')
    report = types.SimpleNamespace(look=True)
    job = types.SimpleNamespace(config=types.SimpleNamespace(report=report))
    logbook = types.SimpleNamespace(workdir=tmp_path, enabled=True)
    assert look.write(job, None, None, None, logbook) < 10
    assert 'nothing to look at' in caplog.text and not (tmp_path / 'look').exists()


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp('look')
    program.write_tones(folder / 'tones')
    return folder


def words(places, name, *flags):
    flags = ('--config.train.length=1 epochs', '--config.windows.eval_per_track=5', *flags)
    flags = ('--config.report.look=True', *flags)
    return program.command(places / name, places / 'tones', places / 'prepared', *flags)


@pytest.fixture(scope='module')
def finished(places):
    ended = program.run(words(places, 'finished'))
    assert ended.returncode == 0 and 'nothing to look at' not in ended.stderr, ended.stderr
    return places / 'finished'


def test_a_run_leaves_what_its_page_needs(places, finished):
    test = Predictions.load(finished / 'predictions' / 'test.npz')
    found = look.Map.load(finished / 'look' / 'map.npz')
    np.testing.assert_array_equal(found.row, np.arange(len(test.track)))
    assert found.pca.shape == found.tsne.shape == (len(test.track), 2)
    pictures = look.Pictures.load(finished / 'look' / 'pictures.npz')
    assert pictures.kind == 'grad_cam'
    assert pictures.spectrogram.shape == pictures.saliency.shape == (len(pictures.row), 25, 24)
    songs = test.track[pictures.row]
    assert len(set(songs)) == len(songs) <= len(set(test.track))
    listed = json.loads((finished / 'look' / 'excerpts.json').read_text())
    assert {each['track'] for each in listed} == set(test.track)
    for each in listed:
        sound, rate = soundfile.read(finished / 'look' / each['file'])
        original, _ = soundfile.read(places / 'tones' / each['track'])
        begin, end = (round(each[key] * 22050) for key in ('start_s', 'end_s'))
        original = soxr.resample(original[begin:end], 22050, rate)
        n = min(len(sound), len(original))
        assert n > 0.9 * rate * (each['end_s'] - each['start_s'])
        # A tone below noise, which Opus does not keep as it was.
        spectra = [np.abs(np.fft.rfft(each[:n])) for each in (sound, original)]
        assert abs(spectra[0].argmax() - spectra[1].argmax()) <= 2
    assert 'look_s' in json.loads((finished / 'timing.json').read_text())


@pytest.mark.slow
def test_killed_while_it_looks_and_continued(places, finished):
    from tests.run.test_survival import kill_when

    workdir = places / 'killed'
    kill_when(words(places, 'killed'), lambda: (workdir / 'look.partial').exists())
    assert not (workdir / 'result.json').exists()
    assert program.run(words(places, 'killed')).returncode == 0
    files = {path.name for path in (finished / 'look').iterdir()}
    assert files == {path.name for path in (workdir / 'look').iterdir()}
    assert not (workdir / 'look.partial').exists()
    for name in files:
        assert (workdir / 'look' / name).read_bytes() == (finished / 'look' / name).read_bytes(), name
    for name in ('result.json', 'metrics.jsonl'):
        assert (workdir / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.slow
def test_several_devices_and_hosts_see_the_same(places, finished):
    import sys

    ended = program.run(words(places, 'eight'), env=program.environment(devices=8))
    assert ended.returncode == 0, ended.stderr
    recipe = ['launch/local.py', '--processes=2', '--module=tests.other_machine', '--']
    ended = program.run(
        [sys.executable, *recipe, *words(places, 'hosts')[3:]],
        env=program.environment(MACHINE='interleaved,guarded'),
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    one = finished / 'look'
    for other in (places / 'eight' / 'look', places / 'hosts' / 'look'):
        for name in ('excerpts.json', '0000.opus'):
            assert (other / name).read_bytes() == (one / name).read_bytes(), name
        ours, theirs = (look.Pictures.load(each / 'pictures.npz') for each in (one, other))
        np.testing.assert_array_equal(ours.row, theirs.row)
        assert np.abs(ours.spectrogram.astype(int) - theirs.spectrogram).max() <= 1
        assert np.mean(np.abs(ours.saliency.astype(int) - theirs.saliency) > 3) < 0.02


@pytest.mark.slow
def test_sound_can_be_left_out_or_linked(places):
    links = words(places, 'links', '--config.report.link_audio=True')
    assert program.run(links).returncode == 0
    listed = json.loads((places / 'links' / 'look' / 'excerpts.json').read_text())
    assert listed and all(pathlib.Path(each['file']).is_file() for each in listed)
    assert not list((places / 'links' / 'look').glob('*.opus'))
    assert program.run(words(places, 'silent', '--config.report.audio_mb=0')).returncode == 0
    assert json.loads((places / 'silent' / 'look' / 'excerpts.json').read_text()) == []
