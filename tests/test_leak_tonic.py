"""Test recordings in other keys: pitches that are measured, figures that are counted by hand."""

import csv
import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.evaluation.evaluate import Predictions
from genre_jax.features.front_end import FrontEnd
from genre_jax.study import transposed
from tests import program
from tests.report.test_report import Page
from tests.test_leak import clustered

RATE_HZ, WINDOW = 16000, 80000


class Hears(FrontEnd):
    """Hands on what it hears, and is told."""

    kind, needs_tonic = 'audio', True

    def __call__(self, stored, tonic_hz):
        return stored, tonic_hz


def heard(clips, semitones, kind='audio', n_samples=0):
    other = transposed.Transposed(
        sample_rate_hz=RATE_HZ, kind=kind, inner=Hears(sample_rate_hz=RATE_HZ),
        way=transposed.way(semitones, kind), semitones=jnp.float32(semitones), n_samples=n_samples,
    )  # fmt: skip
    found, tonic_hz = other(jnp.asarray(clips), jnp.float32([100.0] * len(clips)))
    np.testing.assert_allclose(tonic_hz, 100 * 2 ** (semitones / 12), rtol=1e-6)
    return np.asarray(found)


def peak_hz(samples, rate_hz):
    """Where the spectrum of a stretch is highest, between two bins by a parabola."""
    spectrum = np.log(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) + 1e-9)
    i = spectrum.argmax()
    left, here, right = spectrum[i - 1 : i + 2]
    return (i + (left - right) / (2 * (left - 2 * here + right))) * rate_hz / len(samples)


def beeps(hz, length):
    """A tone that sounds in the first half of every half second."""
    time_s = np.arange(length) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * hz * time_s) * (time_s % 0.5 < 0.25)).astype(np.float32)


@pytest.mark.parametrize('semitones', [-3.0, 1.0, 4.0, -6.0, 7.0])
def test_sound_is_so_many_semitones_higher(semitones):
    kept = abs(semitones) <= transposed.PITCH_SHIFTED
    assert transposed.way(semitones, 'audio') == ('pitch shift' if kept else 'speed, tempo too')
    factor = 2 ** (semitones / 12)
    longer = WINDOW if kept else round(WINDOW * 2 ** (7 / 12))
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(longer) / RATE_HZ).astype(np.float32)
    both = heard(np.stack([tone, beeps(440, longer)]), semitones, n_samples=WINDOW)
    assert both.shape == (2, WINDOW)
    assert abs(1200 * np.log2(peak_hz(both[0, 8000:24000], RATE_HZ) / (440 * factor))) < 3
    assert np.abs(both[0, -4000:]).max() > 0.3  # sound to the end
    loud = np.abs(both[1]).reshape(-1, 160).mean(1)
    beeps_hz = peak_hz(loud - loud.mean(), RATE_HZ / 160)
    assert beeps_hz == pytest.approx(2 if kept else 2 * factor, rel=0.02)


def test_melodies_are_multiplied_and_rests_stay():
    f0_hz = np.float32([[0, 110, 220.5, 0, 440]])
    for semitones in (-7.0, 0.5, 12.0):
        assert transposed.way(semitones, 'pitch') == 'frequencies'
        expected = f0_hz * 2 ** (semitones / 12)
        np.testing.assert_allclose(heard(f0_hz, semitones, 'pitch'), expected, rtol=1e-6)


def test_figures_of_hand_made_predictions():
    """Two folds of three songs, of two windows each, in two other keys."""
    classes = np.array(['a', 'b'])

    def said(fold, right):
        track = np.repeat([f'{fold}{song}' for song in range(3)], 2)
        sure = np.where(np.repeat(right, 2), 0.9, 0.2)
        sure[0] = 1 - sure[0] if fold else sure[0]  # one window of one song says otherwise
        return Predictions(
            track, np.zeros(6, np.float32), np.zeros(6, np.int32),
            np.stack([sure, 1 - sure], 1).astype(np.float32), classes, np.char.add('g', track),
        )  # fmt: skip

    folds = [
        transposed.Heard(
            'audio', 100,
            {0.0: said(fold, [1, 1, 1]), -6.0: said(fold, [1, 0, 0]), 2.0: said(fold, [1, 1, 0])},
            {0.0: np.array([False] * 3), -6.0: np.array([True] * 3), 2.0: np.array([True, False, False])},
        )
        for fold in range(2)
    ]  # fmt: skip
    found = {(each['semitones'], each['level']): each for each in transposed.figures(folds)}
    assert {key for key, _ in found} == {'0', '-6', '+2', 'all'}
    songs = {key: found[key, 'song'] for key in ('0', '-6', '+2', 'all')}
    assert [each['accuracy'] for each in songs.values()] == pytest.approx([1, 2 / 6, 4 / 6, 6 / 12])
    assert [each['above_recorded'] for each in songs.values()] == pytest.approx([0, -4 / 6, -2 / 6, -1 / 2])
    windows = [found[key, 'segment']['accuracy'] for key in ('0', '-6', '+2', 'all')]
    assert windows == pytest.approx([11 / 12, 3 / 12, 7 / 12, 10 / 24])
    assert [each['tonic_known'] for each in songs.values()] == pytest.approx([0, 1, 1 / 3, 2 / 3])
    assert [each['way'] for each in songs.values()] == [
        'as recorded', 'speed, tempo too', 'pitch shift', 'speed, tempo too and pitch shift',
    ]  # fmt: skip
    for each in songs.values():
        low, high = each['above_recorded_ci95']
        assert low <= each['above_recorded'] <= high


def command(home, *flags, config='configs/synthetic_raag.py'):
    return program.run(
        [
            *(sys.executable, '-m', 'genre_jax.leak', '--tonic', f'--config={config}'),
            *(f'--workdir={home / "leak"}', f'--config.data.prepared_dir={home / "prepared"}', *flags),
        ]
    )


@pytest.mark.slow
def test_the_command(tmp_path):
    flags = (
        '--folds=2', '--semitones=-6,2', f'--json={tmp_path / "leak.json"}', '--config.report.look=False',
        "--config.data.raags=('marwa','desh')", '--config.data.per_class=24', '--config.data.musicians=24',
        '--config.data.duration_s=3', '--config.windows.window_s=1', '--config.windows.eval_per_track=2',
        '--config.windows.train_per_track=1', '--config.train.batch_size=8', '--config.train.length=1 epochs',
        '--config.eval.every=1 epochs', '--config.checkpoint.every=1 epochs', '--config.tracking.wandb=off',
        '--config.features.name=tonic_constant_q', '--config.features.hop_length=1024',
        '--config.model.name=mean_deviation',
    )  # fmt: skip
    done = command(tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / 'leak.json').read_text())
    leaky = {row['protocol']: row['leaky'] for row in result['protocols']}
    assert leaky == {'segment_leaky': True, 'kfold': True, 'artist': False, 'tonic': False}
    for protocol in leaky:
        home = tmp_path / 'leak' / protocol / 'tonic_constant_q' / 'mean_deviation'
        for key, name in (('-6', '*_-6_speed.npz'), ('+2', '*_+2_pitch.npz')):
            files = sorted(home.glob(f'fold_*/transposed/{name}'))
            parts = [Predictions.load(file) for file in files]
            right = np.concatenate([part.probabilities.argmax(1) == part.label for part in parts])
            assert len(files) == 2
            (figure,) = [
                each
                for each in result['keys'][protocol]
                if (each['semitones'], each['level']) == (key, 'segment')
            ]
            assert figure['accuracy'] == pytest.approx(right.mean())
    known = {each['semitones']: each['tonic_known'] for each in result['keys']['tonic']}
    assert known['0'] == 0 and known['-6'] > 0
    page = Page((tmp_path / 'leak' / 'index.html').read_text())
    rows = page.drawn()['charts']['keys']['rows']
    assert [row['name'] for row in rows] == [
        '-6 semitones (speed, tempo too)', '+2 semitones (pitch shift)', 'all these keys',
    ]  # fmt: skip
    assert [figure['mark'] for figure in rows[0]['figures']] == ['LEAKY', 'LEAKY', '', '']
    with (tmp_path / 'leak' / 'leak.csv').open() as lines:
        figures = list(csv.DictReader(lines))
    assert len(figures) == 4 * 2 * 4 and {row['semitones'] for row in figures} == {'0', '-6', '+2', 'all'}
    # Again: everything is read.
    newest = max(file.stat().st_mtime_ns for file in tmp_path.glob('leak/*/*/*/*/transposed/*'))
    again = command(tmp_path, *flags)
    assert again.returncode == 0 and json.loads((tmp_path / 'leak.json').read_text()) == result
    assert max(f.stat().st_mtime_ns for f in tmp_path.glob('leak/*/*/*/*/transposed/*')) == newest
    # A model that has to be told the tonic labels nothing.
    run = tmp_path / 'leak/artist/tonic_constant_q/mean_deviation/fold_0'
    tones = program.write_tones(tmp_path / 'tones', songs=1)
    words = [sys.executable, '-m', 'genre_jax.label', str(run), str(tones), f'--out={tmp_path / "out"}']
    refused = program.run(words)
    assert refused.returncode == 2 and 'has to be told the tonic' in refused.stderr.splitlines()[-1]


def test_mistakes_are_one_line(tmp_path):
    tones = program.write_tones(tmp_path / 'tones', songs=10, classes=(('low', 220), ('high', 880)))
    of_tones = (f'--config.data.root={tones}', '--folds=2')
    for flags, config, expected in (
        (
            ('--semitones=3,0',),
            'configs/synthetic_raag.py',
            '--semitones=3,0: expected numbers from -12 to 12',
        ),
        (of_tones, program.PAGE, "='tonic' needs the tonic of every recording, and 20 of 20 have none"),
        (
            (f'--config.data.root={clustered(tmp_path / "t.csv")}',),
            'configs/mlp_features.py',
            "--tonic: config.data.name='feature_table' holds data of kind 'table'",
        ),
    ):
        done = command(tmp_path, *flags, config=config)
        assert done.returncode == 2 and expected in done.stderr.splitlines()[-1], done.stderr
