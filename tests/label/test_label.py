"""Labels of recordings: against the network applied by hand, after kills, on other devices, of bad files."""

import csv
import doctest
import json
import os
import re
import shutil
import sys
import time
import urllib.parse

import flax
import jax
import numpy as np
import pyarrow.parquet
import pytest
import soundfile

import genre_jax
from genre_jax import features, models
from genre_jax.config import load_page
from genre_jax.convert import store
from genre_jax.convert.engine import Converted
from genre_jax.data import audio
from genre_jax.data.files import readable
from genre_jax.errors import BadAudio, UserError
from genre_jax.evaluation.evaluate import Predictions
from genre_jax.label import files
from genre_jax.label.classifier import Classifier
from genre_jax.label.journal import Journal
from tests import program


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run on tones, and twelve new recordings of other lengths, rates and formats."""
    home = program.train_on_tones(tmp_path_factory.mktemp('trained'))
    rng = np.random.default_rng(1)
    (home / 'new' / 'deeper').mkdir(parents=True)
    for i in range(12):
        rate_hz = (22050, 44100, 16000)[i % 3]
        time_s = np.arange(int(rate_hz * rng.uniform(0.3, 6))) / rate_hz
        sound = 0.4 * np.sin(2 * np.pi * rng.uniform(200, 2000) * time_s) + 0.05 * rng.standard_normal(
            len(time_s)
        )
        folder = home / 'new' / ('deeper' if i % 2 else '')
        name = ('a b', 'x"<i>&', '%41#?', 'line\nbreak', '\udcff', '-dash')[i % 6]
        suffix = ('wav', 'flac', 'ogg', 'mp3')[i % 4]
        with (folder / f'{i:02d}{name}.{suffix}').open('wb') as file:
            soundfile.write(file, sound, rate_hz, format=suffix.upper())
    return home


@pytest.fixture(scope='module')
def model(trained):
    return genre_jax.load(str(trained / 'run'))


def paths(trained):
    return sorted(str(file) for file in (trained / 'new').rglob('*') if file.is_file())


def label(*words, **keywords):
    """Runs the program."""
    return program.run([sys.executable, '-m', 'genre_jax.label', *map(str, words)], **keywords)


def test_a_window_is_as_long_as_the_frames_that_are_not_padding(tmp_path):
    """AST's front end pads whatever it hears to 1024 frames, of 400 samples, one every 160."""
    settings, picture = {'width': 8, 'depth': 1, 'heads': 1}, (1024, 128)
    network = models.build({'name': 'ast', **settings}, 2)
    variables = network.init(jax.random.key(0), np.zeros((1, *picture), np.float32), train=False)
    flat = flax.traverse_util.flatten_dict(jax.device_get(variables), sep='/')
    store.save(Converted('t', 'ast', settings, 2, 'ast', picture, flat, [], ['a', 'b']), tmp_path, {})
    assert genre_jax.load(str(tmp_path)).window == 400 + 1023 * 160


def test_they_are_those_by_hand(trained, model):
    assert model.labels == ('high', 'low', 'mid')
    assert (model.sample_rate_hz, model.window_s, model.tags) == (22050, 0.6, False)
    own = load_page(str(program.PAGE))
    front_end, network = features.build(own.features), models.build(own.model, 3)
    kept = store.load(trained / 'run' / 'model').variables
    variables = flax.traverse_util.unflatten_dict(kept, sep='/')
    temperatures = json.loads((trained / 'run' / 'model' / 'confidence.json').read_text())
    for path in paths(trained)[:2]:
        pcm = np.pad(audio.decode(path, 22050), (0, 13230))
        [song] = model.label(path, hop_s=0.25)
        starts = np.rint(song.start_s * 22050).astype(int)
        cut = np.stack([pcm[start : start + 13230] for start in starts]).astype(np.float32) / 32767
        logits, embedding = jax.jit(lambda x: network.apply(variables, front_end(x), train=False))(cut)
        weights = np.exp(np.asarray(logits, np.float64) / temperatures['segment']['temperature'])
        assert np.allclose(song.probabilities, weights / weights.sum(1, keepdims=True), atol=1e-5)
        assert np.allclose(model.embed(path, hop_s=0.25)[0], embedding, atol=1e-4)


def test_a_run_without_its_confidence_is_said_to_be_uncalibrated(trained, tmp_path, caplog):
    shutil.copytree(trained / 'run' / 'model', tmp_path / 'model')
    genre_jax.load(str(tmp_path / 'model'))
    assert 'not calibrated' not in caplog.text
    (tmp_path / 'model' / 'confidence.json').unlink()
    genre_jax.load(str(tmp_path / 'model'))
    assert 'model has no confidence.json, which its run wrote' in caplog.text


def test_the_run_labels_its_own_classes(trained, model):
    """It has learned the tones: what it says of them is what it said in its own test."""
    songs = model.label(sorted(map(str, (trained / 'tones').rglob('*.wav'))))
    right = np.mean([song.track.split('/')[-2] == song.label for song in songs])
    assert right >= 0.9


def test_samples_of_any_rate(trained, model):
    sound, rate_hz = soundfile.read(paths(trained)[0])
    [a], [b] = model.label(sound, sample_rate_hz=rate_hz), model.label(paths(trained)[0])
    assert np.allclose(a.probabilities, b.probabilities, atol=1e-3)  # the file has 16 bits
    with pytest.raises(UserError, match='sample_rate_hz'):
        model.label(sound)
    for wrong, said in (
        (np.zeros(0), 'no samples'),
        (np.zeros((9000, 0)), 'no samples'),
        (np.zeros(9000), 'silent'),
        (np.full(9000, np.nan), 'non-finite'),
        (np.ones((2, 9000)), 'shorter'),  # channels come last
        (np.ones((9, 9, 9)), 'shape'),
        (np.ones(9000, bool), 'bool'),
    ):
        with pytest.raises(UserError, match=said):
            model.label(wrong, sample_rate_hz=22050)
    for rate_hz in (0, '22050', float('nan'), 1e7):
        with pytest.raises(UserError, match=f'rate of {rate_hz} Hz'):
            model.label(sound, sample_rate_hz=rate_hz)
    for wrong in (None, 3, b'a.wav', sound.tolist(), [sound.tolist()]):
        with pytest.raises(UserError, match='expected paths, or samples as an array each'):
            model.label(wrong, sample_rate_hz=22050)
    [numpys], [jaxs] = (model.label(each, sample_rate_hz=22050) for each in (sound, jax.numpy.asarray(sound)))
    assert np.allclose(numpys.probabilities, jaxs.probabilities, atol=1e-5)


def all_of(found):
    """What a labelling comes to, to the last bit."""
    return [(path, each.probabilities.tobytes(), each.duration_s) for path, each in found]


def test_what_was_stopped_goes_on_to_the_same_bits(trained, tmp_path):
    classifier = Classifier(str(trained / 'run'), batch_size=8)
    wanted = all_of(files.label(classifier, paths(trained), 5000))
    for stop in range(12):
        folder = tmp_path / str(stop)
        folder.mkdir()
        for first in (stop, 12):  # some, then all
            found = files.label(classifier, paths(trained), 5000, Journal(folder, {}))
            got = all_of(each for each, _ in zip(found, range(first), strict=False))
            found.close()
        assert got == wanted, stop
    # Half a line, as a kill leaves it.
    journal = tmp_path / '5' / 'journal.jsonl'
    journal.write_bytes(journal.read_bytes()[:-100])
    assert all_of(files.label(classifier, paths(trained), 5000, Journal(tmp_path / '5', {}))) == wanted


@pytest.mark.slow
def test_killed_again_and_again_it_ends_in_the_same_bytes(trained, tmp_path):
    words = (trained / 'run', trained / 'new', trained / 'tones', '--hop_s=0.05', '--batch_size=16')
    formats = '--formats=csv,jsonl,tracks,html'
    assert label(*words, formats, f'--out={tmp_path / "whole"}').returncode == 0
    out = tmp_path / 'killed'
    command = [sys.executable, '-m', 'genre_jax.label', *map(str, words), formats, f'--out={out}']
    journal, kills = out / 'journal.jsonl', 0
    while True:
        before = journal.stat().st_size if journal.exists() else 0
        process = program.start(command)
        while process.poll() is None and (not journal.exists() or journal.stat().st_size < before + 4_000):
            time.sleep(0.005)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    assert process.returncode == 0 and kills > 2, process.stdout.read()
    for file in (tmp_path / 'whole').rglob('*'):
        if file.is_file() and file.name not in ('.lock', 'journal.jsonl'):
            assert (out / file.relative_to(tmp_path / 'whole')).read_bytes() == file.read_bytes(), file


@pytest.mark.slow
def test_a_file_that_has_changed_is_labelled_again(trained, tmp_path):
    classifier = Classifier(str(trained / 'run'))
    shutil.copytree(trained / 'new', tmp_path / 'new')
    mine = sorted(str(file) for file in (tmp_path / 'new').rglob('*') if file.is_file())
    list(files.label(classifier, mine, 5000, Journal(tmp_path, {})))
    shutil.copy(mine[0], mine[5])
    found = dict(files.label(classifier, mine, 5000, Journal(tmp_path, {})))
    assert np.allclose(found[mine[5]].probabilities, found[mine[0]].probabilities, atol=1e-6)


def test_another_model_or_hop_does_not_mix(trained, tmp_path):
    Journal(tmp_path, {'model': 'a', 'hop_s': 1})
    with pytest.raises(UserError, match='another hop_s'):
        Journal(tmp_path, {'model': 'a', 'hop_s': 2})
    (tmp_path / 'journal.jsonl').write_text('{"settings": {}}\nnonsense\n')
    with pytest.raises(UserError, match='line 2 is damaged'):
        Journal(tmp_path, {})
    # JSON, but not what was written.
    for line in (
        '{"path": "x"}',
        '{"path": "x", "state": [-1, 0], "windows": 2, "logits": "AAA", "n_samples": 1}',
    ):
        (tmp_path / 'journal.jsonl').write_text('{"settings": {}}\n' + line + '\n')
        with pytest.raises(UserError, match='x is damaged'):
            Journal(tmp_path, {}).find('x')


def test_calibration_is_that_by_hand(trained):
    """From the predictions that the run has left, with loops."""
    found = json.loads((trained / 'run' / 'model' / 'confidence.json').read_text())
    val, test = (
        Predictions.load(trained / 'run' / 'predictions' / f'{part}.npz') for part in ('val', 'test')
    )
    other = 1 / (len(set(val.track)) + 2)

    def loss(temperature):
        total = 0
        for label, probabilities in zip(val.label, val.probabilities.astype(float), strict=True):
            raised = probabilities ** (1 / temperature)
            target = [1 - other if c == label else other / 2 for c in range(3)]
            total -= sum(t * np.log(p) for t, p in zip(target, raised / raised.sum(), strict=True))
        return total

    temperature = found['segment']['temperature']
    assert loss(temperature) <= min(loss(0.97 * temperature), loss(1.03 * temperature))
    gap = 0
    for low in np.arange(15) / 15:
        top = test.probabilities.astype(float).max(1)
        inside = (top >= low) & (top < low + 1 / 15)
        if inside.any():
            right = test.probabilities[inside].argmax(1) == test.label[inside]
            gap += inside.sum() * abs(right.mean() - top[inside].mean())
    assert found['segment']['test']['before']['expected_error'] == pytest.approx(
        gap / len(test.label), abs=1e-6
    )


def test_what_is_no_music_is_none_of_these(trained, model, tmp_path):
    """The tones were learned from noisy sines of a register each; chords and noise are something else."""
    time_s = np.arange(22050 * 4) / 22050
    rng = np.random.default_rng(5)
    strange = {
        'noise': 0.3 * rng.standard_normal(len(time_s)),
        'clicks': (rng.uniform(size=len(time_s)) < 1e-3) * 0.9,
    }
    for name, sound in strange.items():
        soundfile.write(tmp_path / f'{name}.wav', sound, 22050)
    assert model.rejects
    formats = '--formats=csv,jsonl,parquet'
    done = label(trained / 'run', tmp_path, '--reject', f'--out={tmp_path / "out"}', formats)
    assert done.returncode == 0, done.stderr
    with (tmp_path / 'out' / 'songs.csv').open() as stream:
        assert {row['label'] for row in csv.DictReader(stream)} == {'none of these'}
    with (tmp_path / 'out' / 'segments.csv').open() as stream:
        assert {row['label'] for row in csv.DictReader(stream)} == {'none of these'}
    songs = model.label(sorted(map(str, (trained / 'tones').rglob('*.wav'))))
    assert np.mean([song.known for song in songs]) > 0.8
    # Known and unknown in one table.
    both = [trained / 'tones' / 'low', tmp_path / 'noise.wav']
    done = label(trained / 'run', *both, '--reject', f'--out={tmp_path / "both"}', formats)
    assert done.returncode == 0, done.stderr
    rows = pyarrow.parquet.read_table(tmp_path / 'both' / 'songs.parquet').to_pylist()
    assert {row['label']: row['probability'] is None for row in rows} == {'low': False, 'none of these': True}


def test_batches_and_order_do_not_matter(trained, model):
    one = dict(files.label(model, paths(trained), 5000))
    other = Classifier(str(trained / 'run'), batch_size=8)
    for path, song in files.label(other, paths(trained)[::-1], 5000):
        assert np.allclose(song.probabilities, one[path].probabilities, atol=1e-5)


def test_the_program_writes_what_python_returns(trained, model, tmp_path):
    out = tmp_path / 'out'
    words = (trained / 'run', trained / 'new', f'--out={out}', '--formats=csv,jsonl,parquet,tracks,html')
    done = label(*words)
    assert done.returncode == 0, done.stderr
    songs = model.label(paths(trained))
    with (out / 'songs.csv').open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row['track'], row['label']) for row in rows] == [
        (readable(song.track), song.label) for song in songs
    ]
    for row, song in zip(rows, songs, strict=True):
        assert float(row['probability']) == pytest.approx(song.probability.max(), abs=1e-5)
        assert float(row['agreement']) == pytest.approx(song.agreement, abs=1e-5)
        assert int(row['windows']) == len(song.start_s)
    with (out / 'segments.csv').open() as stream:
        rows = list(csv.DictReader(stream))
    timelines = [each for song in songs for each in song.timeline()]
    assert [row['label'] for row in rows] == [each.label for each in timelines]
    assert np.allclose([float(row['end_s']) for row in rows], [each.end_s for each in timelines], atol=1e-3)
    assert pyarrow.parquet.read_table(out / 'segments.parquet').to_pylist() == [
        {key: value if key in ('track', 'label') else float(value) for key, value in row.items()}
        for row in rows
    ]
    lines = [json.loads(line) for line in (out / 'songs.jsonl').read_text().splitlines()]
    assert all(len(line['timeline']) == 1 for line in lines if line['agreement'] == 1)
    assert sum(line['agreement'] == 1 and line['windows'] > 4 for line in lines) > 2
    assert [line['track'] for line in lines] == [readable(song.track) for song in songs]
    assert len(lines[0]['timeline']) == len(songs[0].timeline())
    track = (out / 'tracks' / f'{songs[0].track.split("/")[-1]}.txt').read_text().splitlines()
    assert [line.split('\t')[2] for line in track] == [each.label for each in songs[0].timeline()]
    page = (out / 'label.html').read_text()
    assert page.count('<article>') == 12 and 'http' not in page
    assert f'parameters {model.sha256[:12]}; licence of the weights: not told' in page
    sources = {urllib.parse.unquote_to_bytes(each) for each in re.findall('src="file://([^"]+)"', page)}
    assert sources == {os.fsencode(path) for path in paths(trained)}
    # Again: nothing to do, the same bytes.
    before = {file: file.read_bytes() for file in out.rglob('*.*') if file.is_file()}
    assert label(*words).returncode == 0
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.slow
def test_eight_devices_say_the_same(trained, model, tmp_path):
    out = tmp_path / 'out'
    words = (trained / 'run', trained / 'new', f'--out={out}', '--formats=jsonl')
    done = label(*words, env=program.environment(devices=8))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (out / 'songs.jsonl').read_text().splitlines()]
    for line, song in zip(lines, model.label(paths(trained)), strict=True):
        assert line['probability'] == pytest.approx(song.probability.max(), abs=1e-5)


def test_bad_files_are_named_and_counted(trained, tmp_path):
    shutil.copytree(trained / 'new', tmp_path / 'new')
    (tmp_path / 'new' / 'broken.wav').write_bytes(b'RIFF' + bytes(50))
    (tmp_path / 'new' / 'empty.mp3').touch()
    (tmp_path / 'new' / 'notes.txt').write_text('not audio')
    soundfile.write(tmp_path / 'new' / 'silence.wav', np.zeros(22050), 22050)
    words = (trained / 'run', tmp_path / 'new', f'--out={tmp_path / "out"}')
    done = label(*words)
    assert done.returncode == 2
    assert 'error: 3 of 15 files cannot be used' in done.stderr and 'Traceback' not in done.stderr
    assert 'notes.txt' in done.stdout
    with (tmp_path / 'out' / 'bad.csv').open() as stream:
        bad = {row['track'].split('/')[-1]: row['reason'] for row in csv.DictReader(stream)}
    assert set(bad) == {'broken.wav', 'empty.mp3', 'silence.wav'} and 'silent' in bad['silence.wav']
    with (tmp_path / 'out' / 'songs.csv').open() as stream:
        assert len(list(csv.DictReader(stream))) == 12
    assert label(*words).returncode == 2  # nor the second time
    strict = label(*words[:2], f'--out={tmp_path / "strict"}', '--strict')
    assert strict.returncode == 2 and 'broken.wav' in strict.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    'words, said',
    [
        ([], 'MODEL PATHS'),
        (['{run}'], 'MODEL PATHS'),
        (['{run}', '{home}/nowhere'], 'nowhere: there is no such file'),
        (['{home}/nothing', '{home}/new'], 'MODEL='),
        (['muscinn_msd', '{home}/new'], 'musicnn_msd'),
        (['{home}/prepared', '{home}/new'], 'prepared: is a folder'),
        (['{run}', '{home}/run'], 'no audio files'),
        (['{run}', '{home}/new', '--formats=csv,cvs'], '--formats=cvs'),
        (['{run}', '{home}/new', '--hop_s=0'], 'hop_s=0'),
        (['{run}', '{home}/new', '--hop_s=nan'], 'hop_s=nan: expected seconds above 0'),
        (['{run}', '{home}/new', '--top=0'], '--top=0: expected int, a positive integer'),
        (['{run}', '{home}/new', '--threshold=nan'], '--threshold=nan: expected a probability'),
        (['{run}', '{home}/new', ''], 'MODEL PATHS'),
        (['{run}', '{home}/new', '--formats='], '--formats=: expected some of csv'),
        (['{run}', '{home}/new', '--labels={home}/tones/low/00.wav'], 'UTF-8'),
        (['{run}', '{home}/new', '--out={home}/tones/low/00.wav/x'], '--out='),
    ],
)
def test_mistakes_are_one_line(trained, words, said):
    done = label(*(word.format(run=trained / 'run', home=trained) for word in words))
    assert done.returncode == 2
    *_, last = done.stderr.splitlines()
    assert last.startswith('error: ') and said in last, done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_what_was_compiled_is_kept_where_that_can_be_written(trained, tmp_path):
    song = next((trained / 'tones' / 'low').iterdir())
    (tmp_path / 'file').touch()
    for place, kept in ((tmp_path / 'cache', True), (tmp_path / 'file' / 'cache', False)):
        env = program.environment(GENRE_JAX_CACHE=str(place))
        del env['JAX_COMPILATION_CACHE_DIR']
        done = label(trained / 'run', song, env=env)
        assert done.returncode == 0 and 'cache' not in done.stderr
        assert bool(list(place.glob('compiled/jit_forward-*'))) == kept


@pytest.mark.slow
def test_a_table_of_paths(trained, tmp_path):
    tones = sorted(map(str, (trained / 'tones' / 'low').iterdir()))
    (tmp_path / 'list.csv').write_text('path,title\n' + ''.join(f'{path},x\n' for path in tones[:3]))
    done = label(trained / 'run', tmp_path / 'list.csv', tones[0])
    assert done.returncode == 0, done.stderr
    assert [line.split(':')[0] for line in done.stdout.splitlines()] == tones[:3]


@pytest.mark.slow
def test_three_hours_in_bounded_memory(trained, tmp_path):
    noise = (np.random.default_rng(0).standard_normal(44100 * 60) * 3000).astype(np.int16)
    with soundfile.SoundFile(tmp_path / 'long.wav', 'w', 44100, 1) as file:
        for _ in range(180):
            file.write(noise)
    code = (
        'import runpy, sys; sys.argv = ["label"] + sys.argv[1:]\n'
        'try: runpy.run_module("genre_jax.label", run_name="__main__", alter_sys=True)\n'
        'finally: print(open("/proc/self/status").read())'
    )
    words = [sys.executable, '-c', code, str(trained / 'run'), str(tmp_path / 'long.wav')]
    done = program.run(words, timeout=600)
    assert done.returncode == 0, done.stderr
    assert '18000 windows' in done.stdout
    # Not getrusage's, which a process has from the one that started it.
    assert int(re.search(r'VmHWM:\s+(\d+) kB', done.stdout)[1]) < 1.5 * 2**20


# --- Whole recordings ----------------------------------------------------------------------------


def of_whole_recordings(folder, name, **settings):
    """Saves a network of random weights as if trained on whole recordings of a second at most."""
    front_end = features.build({'name': 'fma_mel'})
    picture = front_end(np.zeros(22050, np.float32)).shape
    network = models.build({'name': name, **settings}, 2)
    variables = network.init(jax.random.key(0), np.zeros((1, *picture), np.float32), train=False)
    flat = flax.traverse_util.flatten_dict(jax.device_get(variables), sep='/')
    told = {'labels': ['a', 'b'], 'window_s': 1.0, 'sample_rate_hz': 22050, 'whole': True}
    store.save(Converted('t', name, settings, 2, 'fma_mel', picture, flat, [], **told), folder, {})
    return network, front_end, variables


def test_whole_recordings_are_filled_up_to_the_longest_or_to_so_many_times_it(tmp_path, monkeypatch):
    network, front_end, variables = of_whole_recordings(tmp_path, 'mean_deviation')
    model = genre_jax.load(str(tmp_path))
    assert model.whole
    for seconds, filled in ((0.4, 1), (1.0, 1), (2.3, 3)):
        sound = 0.3 * np.random.default_rng(3).standard_normal(int(22050 * seconds))
        pcm = audio.of_samples(sound, 22050, 22050)
        padded = np.pad(pcm, (0, 22050 * filled - len(pcm))).astype(np.float32) / 32767
        logits, embedding = network.apply(variables, front_end(padded[None]), train=False)
        [song] = model.label(sound, sample_rate_hz=22050)
        assert song.start_s.tolist() == [0] and song.end_s.tolist() == [len(pcm) / 22050]
        assert np.allclose(song.probability, jax.nn.softmax(logits[0]), atol=1e-5)
        assert np.allclose(model.embed(sound, sample_rate_hz=22050)[0], embedding, atol=1e-5)
    with pytest.raises(UserError, match='hop_s=1: this model hears each recording as a whole'):
        model.label(sound, sample_rate_hz=22050, hop_s=1)
    # However they are ordered, batched, and cut off: long ones among short ones.
    rng, named = np.random.default_rng(4), []
    for i in range(25):
        named.append(str(tmp_path / f'{i:02d}.wav'))
        seconds = rng.uniform(1.5, 4) if i % 5 == 1 else rng.uniform(0.3, 1)
        soundfile.write(named[-1], 0.3 * rng.standard_normal(int(22050 * seconds)), 22050)
    eights, batches = Classifier(str(tmp_path), batch_size=8), set()
    begun = eights._stream._begun

    def noted(batch, size):
        batches.add((b''.join(window.tobytes() for window in batch), size))
        return begun(batch, size)

    monkeypatch.setattr(eights._stream, '_begun', noted)
    wanted = all_of(files.label(eights, named, eights.hop(None)))
    unharmed = set(batches)
    for stop in (1, 2, 9, 10, 11, 12, 16, 24):
        folder = tmp_path / f'stopped_{stop}'
        folder.mkdir()
        for first in (stop, 25):
            found = files.label(eights, named, eights.hop(None), Journal(folder, {}))
            got = all_of(each for each, _ in zip(found, range(first), strict=False))
            found.close()
        assert got == wanted and batches == unharmed, stop
    for path, song in files.label(model, named[::-1], model.hop(None)):
        probabilities = {each[0]: each[1] for each in wanted}[path]
        assert np.allclose(song.probabilities, np.frombuffer(probabilities), atol=1e-5)


def test_a_recording_that_a_network_cannot_hear_as_a_whole_is_named(tmp_path):
    of_whole_recordings(tmp_path, 'shallow_cnn', hidden_units=4)
    model = genre_jax.load(str(tmp_path))
    rng = np.random.default_rng(0)
    assert len(model.label(0.1 * rng.standard_normal(22050), sample_rate_hz=22050)) == 1
    with pytest.raises(UserError, match=r'lasts 1.5 s, and this model, which .* takes 1.0 s at most'):
        model.label(0.1 * rng.standard_normal(33075), sample_rate_hz=22050)


MELODIES = """
from genre_jax.configs import folder

def get_config():
    config = folder.get_config()
    config.windows.update(window_s=0, train_per_track=1, train_draw='grid', eval_per_track=1)
    config.features = {'name': 'audio_melody', 'hop_length': 1024}
    config.augment = {}
    config.model = {'name': 'orbit', 'hidden_units': 8}
    config.optim.update(name='adamw', learning_rate=1e-2, schedule='cosine')
    config.train.update(batch_size=8, length='8 epochs', features_once=True)
    config.eval.batch_size = 8
    config.tracking.wandb = 'off'
    config.report.look = False
    return config
"""


@pytest.mark.slow
def test_a_run_on_whole_recordings_says_what_it_said_in_its_own_test(tmp_path):
    """Songs of other lengths in two modes, which the network tells apart, the tonic unknown."""
    (tmp_path / 'page.py').write_text(MELODIES)
    rng = np.random.default_rng(0)
    for mode, steps in (('major', (0, 2, 4, 5, 7, 9, 11)), ('minor', (0, 2, 3, 5, 7, 8, 10))):
        (tmp_path / 'songs' / mode).mkdir(parents=True)
        for i in range(12):
            tonic_hz = 220 * 2 ** rng.uniform(0, 1)
            degrees = rng.choice(steps, rng.integers(8, 24))
            hz = np.repeat(tonic_hz * 2 ** (np.r_[0, degrees, 0] / 12), 4000)
            sound = 0.3 * np.sin(2 * np.pi * np.cumsum(hz) / 16000)
            soundfile.write(tmp_path / 'songs' / mode / f'{i}.wav', sound, 16000)
    words = program.command(
        tmp_path / 'run', tmp_path / 'songs', tmp_path / 'prepared', page=tmp_path / 'page.py'
    )
    done = program.run(words, timeout=900)
    assert done.returncode == 0, done.stderr
    said = Predictions.load(tmp_path / 'run' / 'predictions' / 'test.npz')
    confident = json.loads((tmp_path / 'run' / 'model' / 'confidence.json').read_text())
    named = [str(tmp_path / 'songs' / track) for track in said.track]
    model = genre_jax.load(str(tmp_path / 'run'))
    assert model.whole and model.names_tonic and model.rejects
    assert genre_jax.load(str(tmp_path / 'run' / 'model')).whole
    songs = model.label(named)
    for song, probabilities, tonic in zip(songs, said.probabilities, said.tonic, strict=True):
        raised = probabilities.astype(float) ** (1 / confident['song']['temperature'])
        assert np.allclose(song.probability, raised / raised.sum(), atol=1e-5)
        assert np.allclose(song.tonic, tonic, atol=1e-5)
        assert len(song.start_s) == len(song.timeline()) == 1
    lengths = {song.duration_s for song in songs}
    assert len(lengths) > 1 and max(lengths) <= model.window_s
    assert all(len(each) == 1 for each in model.embed(named))
    out = tmp_path / 'out'
    for _ in range(2):  # the second time from the journal
        done = label(tmp_path / 'run', *named, '--reject', f'--out={out}')
        assert done.returncode == 0, done.stderr
        assert done.stdout.count('; one window\n') == len(named)
        with (out / 'songs.csv').open() as stream:
            rows = {row['track']: row for row in csv.DictReader(stream)}
        for song in songs:
            assert rows[song.track]['label'] == song.decision(True)
            assert float(rows[song.track]['tonic_hz']) == pytest.approx(song.tonic_hz, abs=1e-3)


@pytest.mark.slow
def test_a_run_on_pitch_tracks_labels_pitch_tracks(tmp_path):
    """As it did in its own test; files as published, and arrays, at their rate and thinned."""
    rng, listed = np.random.default_rng(0), []
    for i in range(24):
        makam, steps = (('Rast', (0, 2, 4, 5, 7, 9, 11)), ('Saba', (0, 1, 3, 4, 7, 8, 10)))[i % 2]
        tonic_hz = 220 * 2 ** rng.uniform(0, 1)
        degrees = rng.choice(steps, rng.integers(10, 40))
        f0_hz = np.repeat(tonic_hz * 2 ** (np.r_[0, degrees, 0] / 12), 100)
        mbid = f'00000000-0000-4000-8000-{i:012x}'
        listed.append({'mbid': mbid, 'makam': makam, 'tonic': tonic_hz})
        file = tmp_path / 'otmm' / 'data' / makam / f'{mbid}.pitch'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(''.join(f'{hz:.3f}\n' for hz in f0_hz))
    (tmp_path / 'otmm' / 'annotations.json').write_text(json.dumps(listed))
    words = program.command(
        *(tmp_path / each for each in ('run', 'otmm', 'prepared')),
        *('--config.split.folds=4', '--config.eval.excerpts_s=()', '--config.windows.train_shortest_s=0'),
        *('--config.train.batch_size=8', '--config.model.hidden_units=8', '--config.report.look=False'),
        *('--config.windows.train_per_track=1', '--config.tracking.wandb=off'),
        page='makam_orbit',
    )
    done = program.run(words, timeout=900)
    assert done.returncode == 0, done.stderr
    said = Predictions.load(tmp_path / 'run' / 'predictions' / 'test.npz')
    kept = json.loads((tmp_path / 'run' / 'model' / 'confidence.json').read_text())
    named = [str(tmp_path / 'otmm' / 'data' / f'{track}.pitch') for track in said.track]
    model = genre_jax.load(str(tmp_path / 'run'))
    assert (model.kind, model.whole, model.rejects) == ('pitch', True, False)
    tracks = [np.loadtxt(path) for path in named]
    ways = [
        model.label(named),
        model.label(tracks, sample_rate_hz=44100 / 128),
        model.label([each[::8] for each in tracks], sample_rate_hz=44100 / 1024),
    ]
    for songs in ways:
        for song, probabilities, tonic in zip(songs, said.probabilities, said.tonic, strict=True):
            raised = probabilities.astype(float) ** (1 / kept['song']['temperature'])
            assert np.allclose(song.probability, raised / raised.sum(), atol=1e-5)
            assert np.allclose(song.tonic, tonic, atol=1e-5)
    for wrong, rate_hz, message in (
        (tracks[0], 100, '100 frames of pitch a second: expected 43.07'),
        (-tracks[0], 44100 / 128, 'frame 1 is no frequency'),
        (np.stack([tracks[0]] * 2, 1), 44100 / 128, r'expected \[n\] in Hz'),
        (0 * tracks[0], 44100 / 128, 'no voiced frame'),
    ):
        with pytest.raises(UserError, match=message):
            model.label(wrong, sample_rate_hz=rate_hz)
    # A folder of them; sound is none.
    soundfile.write(tmp_path / 'sound.wav', np.random.default_rng(0).standard_normal(16000) / 10, 16000)
    done = label(tmp_path / 'run', tmp_path / 'otmm', tmp_path / 'sound.wav', f'--out={tmp_path / "out"}')
    assert done.returncode == 2 and '1 of 25 files cannot be used' in done.stderr, done.stderr
    assert 'sound.wav: cannot be used: sound, and this model hears pitch' in done.stdout
    with (tmp_path / 'out' / 'songs.csv').open() as stream:
        rows = {row['track']: row for row in csv.DictReader(stream)}
    assert len(rows) == 24 and [rows[path]['label'] for path in named] == [song.label for song in ways[0]]


def test_the_example_of_the_docstring_is_true(trained, monkeypatch):
    """It is of a published model; here it is tried on the one that was trained."""
    monkeypatch.chdir(trained)
    text = Classifier.__doc__ + genre_jax.load.__doc__
    assert '>>>' in text
    examples = doctest.DocTestParser().get_doctest(text, {}, 'load', None, 0)
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_a_bad_recording_among_good_ones_is_raised_in_python(trained, model, tmp_path):
    (tmp_path / 'x.wav').write_bytes(b'nothing')
    with pytest.raises(UserError, match='x.wav'):
        model.label([paths(trained)[0], str(tmp_path / 'x.wav')])
    [(_, found)] = files.label(model, [str(tmp_path / 'x.wav')], 5000)
    assert isinstance(found, BadAudio)


YAMNET = program.DATA / 'weights' / 'yamnet'


@pytest.mark.skipif(not YAMNET.exists(), reason=f'no {YAMNET}')
def test_yamnet_hears_what_its_authors_expect(tmp_path):
    """White noise first in noise, a sine wave among the first ten in one (their own test)."""
    soundfile.write(tmp_path / 'noise.wav', np.random.default_rng(0).uniform(-1, 1, 48000), 16000)
    soundfile.write(tmp_path / 'sine.wav', np.sin(2 * np.pi * 440 * np.arange(48000) / 16000), 16000)
    names = YAMNET / 'yamnet_class_map.csv'
    out = tmp_path / 'out'
    done = label(YAMNET / 'yamnet.tflite', tmp_path, f'--labels={names}', f'--out={out}', '--formats=csv')
    assert done.returncode == 0, done.stderr
    with (out / 'songs.csv').open() as stream:
        noise, _ = csv.DictReader(stream)
    assert noise['label'] == 'White noise'
    with names.open() as stream:
        labels = [row['display_name'] for row in csv.DictReader(stream)]
    [sine] = genre_jax.load(str(YAMNET / 'yamnet.tflite'), labels).label(str(tmp_path / 'sine.wav'))
    assert 'Sine wave' in [name for name, _ in sine.top(10)]
    unnamed = label(YAMNET / 'yamnet.tflite', tmp_path / 'sine.wav')
    assert unnamed.returncode == 2 and '521 classes by number alone' in unnamed.stderr
