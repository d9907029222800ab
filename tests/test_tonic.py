"""The tonic of recordings, by a model that was trained as a user trains it."""

import csv
import re
import sys

import numpy as np
import pytest
import soundfile

import genre_jax
from genre_jax.data.synthetic_raag import Source
from genre_jax.evaluation import tonic
from genre_jax.label.classifier import Answer
from genre_jax.label.journal import Journal
from tests import program

RAAGS = ('yaman', 'todi', 'malkauns')
CLASSES = 106


def peaks(*shares):
    """A posterior with so much at each of some places, among a hundred and six."""
    posterior = np.zeros(CLASSES)
    for place, share in shares:
        posterior[place] = share
    return posterior


def test_the_likeliest_stand_for_their_neighbourhood():
    posterior = peaks((50, 0.3), (51, 0.3), (10, 0.2), (11, 0.02), (80, 0.04))
    first, second = tonic.likeliest(posterior)  # of the third there is too little
    assert first[0] == pytest.approx(55 * 2 ** (50.5 / CLASSES)) and first[3] == pytest.approx(0.6)
    assert abs(1200 * np.log2(second[0] / (55 * 2 ** (10 / CLASSES)))) < 2 and second[3] == pytest.approx(
        0.22
    )


@pytest.mark.parametrize(
    ('hz', 'note', 'cents'),
    [(440, 'A', 0), (55, 'A', 0), (261.6256, 'C', 0), (450, 'A', 38.9), (82.41, 'E', 0), (430, 'A', -39.8)],
)
def test_notes(hz, note, cents):
    assert tonic.note(hz) == (note, pytest.approx(cents, abs=0.1))


def test_the_journal_keeps_tonics_to_the_last_bit(tmp_path):
    (tmp_path / 'a.wav').write_bytes(b'x')
    rng = np.random.default_rng(0)
    for width in (0, CLASSES):
        kept = Answer(7, *(rng.random(shape, np.float32) for shape in ((3, 4), (3,), (3, width))))
        folder = tmp_path / str(width)
        folder.mkdir()
        Journal(folder, {}).add(str(tmp_path / 'a.wav'), kept)
        found = Journal(folder, {}).find(str(tmp_path / 'a.wav'))
        assert found.n_samples == 7
        for one, other in zip(kept[1:], found[1:], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp('raags')
    done = program.run(
        [
            *(sys.executable, '-m', 'genre_jax.main', '--config=raag_orbit', f'--workdir={home / "run"}'),
            *(f'--config.data.raags={RAAGS!r}', '--config.data.per_class=12', '--config.data.musicians=12'),
            *(f'--config.data.prepared_dir={home}', '--config.train.batch_size=12'),
            *('--config.data.duration_s=15', '--config.windows.window_s=15', '--config.report.look=False'),
        ]
    )
    assert done.returncode == 0, done.stderr
    source = Source(per_class=4, duration_s=15, seed=5, raags=RAAGS)
    (home / 'new').mkdir()
    for recording in source.recordings()[0]:
        name = f'{recording.tonic_hz:.3f}_{recording.label}.flac'
        soundfile.write(home / 'new' / name, source.load(recording), 16_000)
    return home


@pytest.mark.slow
def test_tonics_of_recordings_by_other_musicians(trained):
    """And their octave does not count; the label program says the same, and Python."""
    out = trained / 'tonics.csv'
    words = [
        sys.executable,
        '-m',
        'genre_jax.tonic',
        str(trained / 'run'),
        str(trained / 'new'),
        f'--out={out}',
    ]
    done = program.run(words)
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        rows = list(csv.DictReader(file))
    first = {row['path']: row for row in reversed(rows)}
    assert len(first) == 12
    away = {}
    for path, row in first.items():
        true_hz = float(re.search(r'([\d.]+)_', path.rsplit('/')[-1])[1])
        away[path] = abs(tonic.away_cents(float(row['tonic_hz']), true_hz))
        printed = re.search(rf'{re.escape(path)}: ([\d.]+) Hz \({re.escape(row["note"])} ', done.stdout)
        assert float(printed[1]) == pytest.approx(float(row['tonic_hz']), abs=0.06)
    assert np.mean([each <= 25 for each in away.values()]) >= 0.75
    songs = genre_jax.load(str(trained / 'run')).label(list(first))
    for song in songs:
        assert float(first[song.track]['tonic_hz']) == pytest.approx(song.tonic_hz, abs=0.01)
        assert float(first[song.track]['probability']) == pytest.approx(song.tonic_probability, abs=1e-4)
    assert np.mean([song.label in song.track for song in songs]) >= 0.75


@pytest.mark.slow
def test_models_without_tonics_are_refused(tmp_path):
    home = program.train_on_tones(tmp_path)
    words = [sys.executable, '-m', 'genre_jax.tonic', str(home / 'run'), str(home / 'tones')]
    done = program.run(words)
    assert done.returncode == 2 and 'names no tonics' in done.stderr and 'Traceback' not in done.stderr
