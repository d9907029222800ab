"""What a leak is worth: counts and intervals against closed forms, and a table that must show it."""

import collections
import csv
import json
import sys

import numpy as np
import pytest

from genre_jax import leak
from genre_jax.config import load_page
from genre_jax.errors import UserError
from genre_jax.evaluation import paired
from genre_jax.evaluation.evaluate import Predictions
from genre_jax.loading import run_data
from genre_jax.study import protocols
from genre_jax.study.cells import Answer
from tests import program
from tests.report.test_report import Page

CLASSES = np.array(['a', 'b', 'c'])


def predictions(*rows):
    """Makes predictions of (track, label, probabilities)."""
    tracks, labels, probabilities = zip(*rows, strict=True)
    return Predictions(
        np.array(tracks), np.arange(len(rows), dtype=np.float32), np.array(labels, np.int32),
        np.array(probabilities, np.float32), CLASSES,
    )  # fmt: skip


def counts(hits, segments, right):
    return paired.Tested(*(np.array(each, float) for each in (hits, segments, right)))


# --- count ---------------------------------------------------------------------------------------


def test_counts_of_hand_made_predictions():
    folds = [
        predictions(
            ('s2', 0, (0.6, 0.3, 0.1)),  # right
            ('s2', 0, (0.4, 0.5, 0.1)),  # wrong; the sum, 1.0 against 0.8, is right
            ('s0', 1, (0.9, 0.1, 0.0)),  # wrong
            ('s0', 1, (0.3, 0.4, 0.3)),  # right
            ('s0', 1, (0.3, 0.4, 0.3)),  # right; the sum, 1.5 against 0.9, is wrong
        ),
        predictions(('s1', 2, (0.2, 0.2, 0.6)), ('s3', 2, (0.5, 0.0, 0.5))),
    ]
    found = paired.count(folds, ['s0', 's1', 's2', 's3'])
    assert found.hits.tolist() == [2, 1, 1, 0]
    assert found.segments.tolist() == [3, 1, 2, 1]
    assert found.right.tolist() == [0, 1, 1, 0]


def test_a_song_may_stand_in_several_folds():
    # By segment: its segments are tested by different models, and pooled all the same.
    folds = [predictions(('s0', 0, (0.4, 0.6, 0))), predictions(('s0', 0, (0.9, 0.1, 0)))]
    found = paired.count(folds, ['s0'])
    assert (found.hits.tolist(), found.segments.tolist(), found.right.tolist()) == ([1], [2], [1])


# --- compare -------------------------------------------------------------------------------------


def test_accuracies_and_differences():
    figures = paired.compare(
        {
            'segment_leaky': counts([4, 3, 1], [4, 4, 2], [1, 1, 0]),
            'artist': counts([2, 1, 0], [4, 4, 2], [0, 1, 0]),
        },
        ['x', 'y', 'z'],
    )
    leaky, strict = figures['segment_leaky'], figures['artist']
    assert leaky['segment']['accuracy'] == pytest.approx(8 / 10)
    assert leaky['segment']['inflation'] == pytest.approx(5 / 10)
    assert leaky['song']['accuracy'] == pytest.approx(2 / 3)
    assert leaky['song']['inflation'] == pytest.approx(1 / 3)
    assert strict['segment']['accuracy'] == pytest.approx(3 / 10)
    for level in ('segment', 'song'):
        assert strict[level]['inflation'] == 0 and strict[level]['inflation_ci95'] == [0, 0]
        low, high = leaky[level]['accuracy_ci95']
        assert 0 <= low <= leaky[level]['accuracy'] <= high <= 1


def half_width(interval):
    return (interval[1] - interval[0]) / 2


def test_intervals_are_those_of_a_mean():
    """One song a group: a share p of n has the standard error sqrt(p (1 - p) / n)."""
    n, rng = 400, np.random.default_rng(0)
    strict, extra = rng.random(n) < 0.6, rng.random(n) < 0.3
    loose = strict | extra
    ones = np.ones(n)
    figures = paired.compare(
        {'kfold': counts(loose, ones, loose), 'artist': counts(strict, ones, strict)},
        [f'g{i}' for i in range(n)],
    )  # fmt: skip
    for protocol, right in (('kfold', loose), ('artist', strict)):
        expected = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / n)
        for level in ('segment', 'song'):
            found = half_width(figures[protocol][level]['accuracy_ci95'])
            assert found == pytest.approx(expected, rel=0.08)
    # Paired: only the songs in which they differ count, so the interval is narrower than of two means.
    share = (loose & ~strict).mean()
    expected = 1.96 * np.sqrt(share * (1 - share) / n)
    found = figures['kfold']['song']
    assert found['inflation'] == pytest.approx(share)
    assert half_width(found['inflation_ci95']) == pytest.approx(expected, rel=0.08)


def test_intervals_count_groups_not_songs():
    """Ten songs of each artist, all alike, are worth one."""
    rng = np.random.default_rng(1)
    right = rng.random(100) < 0.5
    single = paired.compare({'artist': counts(right, np.ones(100), right)}, list(range(100)))
    many = np.repeat(right, 10)
    names = np.repeat([f'artist{i}' for i in range(100)], 10)
    grouped = paired.compare({'artist': counts(many, np.ones(1000), many)}, names)
    assert grouped['artist']['song']['accuracy'] == single['artist']['song']['accuracy']
    ratio = half_width(grouped['artist']['song']['accuracy_ci95']) / half_width(
        single['artist']['song']['accuracy_ci95']
    )
    assert ratio == pytest.approx(1, rel=0.1)


def test_the_order_of_songs_decides_nothing():
    rng = np.random.default_rng(2)
    right, groups = rng.random(60) < 0.5, rng.integers(0, 12, 60).astype(str)
    order = rng.permutation(60)
    ones = np.ones(60)
    one = paired.compare({'artist': counts(right, ones, right)}, groups)
    other = paired.compare({'artist': counts(right[order], ones, right[order])}, groups[order])
    for level, figures in one['artist'].items():
        for name, value in figures.items():
            np.testing.assert_allclose(value, other['artist'][level][name], atol=1e-12)


# --- the command ---------------------------------------------------------------------------------


def clustered(path, artists=True, per_class=6, songs=4, pieces=4):
    """Songs lie anywhere, whatever their class; their pieces lie close by, and an artist's songs near.

    So a piece tells the class of its siblings, a song that of its artist's others, and a new artist
    nothing.
    """
    rng = np.random.default_rng(0)
    with path.open('w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['filename', 'label', 'artist', *'uvwxyz'])
        for number in range(3 * per_class):
            label, home = 'abc'[number % 3], rng.normal(size=6)
            for song in range(songs):
                place = home + 0.5 * rng.normal(size=6)
                for piece in range(pieces):
                    name = f'{label}.{number:03}{song:02}.{piece}.wav'
                    values = place + 0.02 * rng.normal(size=6)
                    table.writerow([name, label, f'A{number}' if artists else '', *values])
    return path


def command(tmp_path, root, *flags, page='configs/mlp_features.py'):
    return program.run(
        [
            *(sys.executable, '-m', 'genre_jax.leak', f'--config={page}'),
            *(f'--workdir={tmp_path / "leak"}', f'--config.data.root={root}', *flags),
            f'--config.data.prepared_dir={tmp_path / "prepared"}',
        ]
    )


def test_a_table_in_which_songs_are_clusters(tmp_path):
    root, file = clustered(tmp_path / 't.csv'), tmp_path / 'leak.json'
    done = command(tmp_path, root, '--forest', '--folds=3', f'--json={file}')
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    assert (result['songs'], result['groups'], result['folds']) == (72, 18, 3)
    assert result['model'] == 'random forest' and result['group_key'] == 'artist'
    rows = {row['protocol']: row for row in result['protocols']}
    assert list(rows) == ['segment_leaky', 'kfold', 'artist']
    assert [row['leaky'] for row in rows.values()] == [True, True, False]
    accuracy = {name: row['segment']['accuracy'] for name, row in rows.items()}
    assert accuracy['segment_leaky'] > 0.95
    assert accuracy['segment_leaky'] > accuracy['kfold'] > accuracy['artist'] + 0.1
    assert accuracy['artist'] < 0.6  # a third by chance, give or take 18 artists
    for name in ('segment_leaky', 'kfold'):
        for level in ('segment', 'song'):
            assert rows[name][level]['inflation_ci95'][0] > 0
            difference = rows[name][level]['accuracy'] - rows['artist'][level]['accuracy']
            assert rows[name][level]['inflation'] == pytest.approx(difference)
    assert rows['artist']['song']['inflation'] == 0
    lines = done.stdout.splitlines()
    for name, leaky in (('segment_leaky', True), ('kfold', True), ('artist', False)):
        (line,) = [line for line in lines if line.startswith('by ') and f'({name})' in line]
        assert line.endswith('LEAKY') == leaky
        assert f'{100 * accuracy[name]:.1f}' in line
    check_page(tmp_path / 'leak', rows)
    with (tmp_path / 'leak' / 'leak.csv').open() as lines:
        figures = {(row['protocol'], row['level']): row for row in csv.DictReader(lines)}
    assert len(figures) == 6
    assert float(figures['kfold', 'segment']['accuracy']) == accuracy['kfold']


def check_page(home, rows):
    """Its charts show what is counted by hand from the predictions of all folds, and it links to these."""
    page = Page((home / 'index.html').read_text())
    charts = page.drawn()['charts']
    shown = [row['figures'] for row in charts['accuracy']['rows']]
    above = [row['figures'] for row in charts['above']['rows']]
    of_segments = []
    for name, figures in zip(rows, shown, strict=True):
        folds = [home / name / 'features' / 'forest' / f'fold_{i}' for i in range(3)]
        parts = [Predictions.load(fold / 'predictions' / 'test.npz') for fold in folds]
        right = np.concatenate([part.probabilities.argmax(1) == part.label for part in parts])
        of_segments.append(right.mean())
        assert figures[0]['value'] == pytest.approx(right.mean())
        for figure, level in zip(figures, ('segment', 'song'), strict=True):
            assert figure['ci95'] == rows[name][level]['accuracy_ci95']
            assert figure['mark'] == ('LEAKY' if rows[name]['leaky'] else '')
        hrefs = {f'{fold.relative_to(home)}/result.json' for fold in folds}
        assert hrefs <= set(page.links())
    assert [each[0]['value'] for each in above] == pytest.approx(
        [share - of_segments[-1] for share in of_segments[:-1]]
    )
    assert all((home / link).exists() for link in page.links() if not link.startswith('#'))
    assert charts['accuracy']['lines'] == [{'name': 'chance', 'value': 1 / 3, 'colour': 'muted'}]


def test_every_row_is_tested_once_under_each_protocol(tmp_path):
    """And without artists there are two protocols."""
    config = load_page('configs/mlp_features.py')
    root = clustered(tmp_path / 't.csv', artists=False, per_class=3)
    config.data.update(root=str(root), prepared_dir=str(tmp_path / 'prepared'))
    seen, fitted = collections.defaultdict(collections.Counter), []

    def perfect(fold, model, features):
        split = fold.config.split
        dataset = run_data.open_dataset(fold.config)
        made = run_data.make_split(fold.config, dataset)
        table = run_data.make_tables(fold.config, dataset, made)['test']
        home = tmp_path / split.protocol / 'features' / 'perfect'
        assert fold.folder(model) == home / f'fold_{split.fold}'
        seen[split.protocol].update(zip(table.track, table.start, strict=True))
        said = table.predictions(np.eye(3, dtype=np.float32)[table.labels])

        def fit(rows):
            fitted.append(1)
            return lambda: Answer({'test': said})

        fold.fill(model, {}, features, fit)

    result = leak.measure(config, tmp_path, 3, 'perfect', perfect)
    assert [(row['protocol'], row['leaky']) for row in result['protocols']] == [
        ('segment_leaky', True), ('kfold', False),
    ]  # fmt: skip
    everything = {(track, row): 1 for track in range(36) for row in range(4)}
    assert seen == {'segment_leaky': everything, 'kfold': everything}
    assert all(row[level]['accuracy'] == 1 for row in result['protocols'] for level in ('segment', 'song'))
    # Again: every fold is read, what is missing is fitted.
    (tmp_path / 'kfold/features/perfect/fold_1/result.json').unlink()
    again = leak.measure(config, tmp_path, 3, 'perfect', perfect)
    assert again['protocols'] == result['protocols'] and len(fitted) == 7


def test_folders_of_an_earlier_version_are_refused(tmp_path):
    for old in ('artist/fold_0', 'kfold/knn', 'kfold/fold_1/knn'):
        (tmp_path / old).mkdir(parents=True)
        (tmp_path / old / 'config.json').touch()
    for protocol, first in (('artist', 'fold_0'), ('kfold', 'fold_1')):
        with pytest.raises(UserError) as caught:
            protocols.source_home(tmp_path, protocol, 'features')
        assert str(caught.value).startswith(f'{tmp_path}/{protocol}/{first} was written by an earlier')
        assert f'{tmp_path}/{protocol}/features/MODEL/fold_N' in str(caught.value)
    home = protocols.source_home(tmp_path, 'segment_leaky', 'features')
    (home / 'mlp' / 'fold_0').mkdir(parents=True)
    (home / 'mlp' / 'fold_0' / 'config.json').touch()
    assert protocols.source_home(tmp_path, 'segment_leaky', 'features') == home


def test_a_forest_takes_tables_only(tmp_path):
    tones = program.write_tones(tmp_path / 'tones', songs=2)
    done = command(tmp_path, tones, '--forest', page=program.PAGE)
    assert done.returncode == 2 and not (tmp_path / 'prepared').exists()
    (line,) = done.stderr.splitlines()
    assert "--forest: config.data.name='folder' holds data of kind 'audio'" in line
