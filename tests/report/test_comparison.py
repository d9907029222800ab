"""Runs beside one another: against scipy, closed forms and simulations, and what cannot be compared."""

import json
import sys

import numpy as np
import pytest
import scipy.stats

from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate
from genre_jax.report import comparison, figures
from tests import program
from tests.report.test_report import class_names, make_run

CLASSES = 3


def write_run(folder, right, tracks=None, config=(), **changes):
    """Writes a run that has songs right or wrong as told, three segments each, two songs a group."""
    tracks = [f'song <{i}> "a".wav' for i in range(len(right))] if tracks is None else tracks
    song = np.repeat(np.arange(len(right)), 3)
    label = np.array([sum(map(ord, track)) % CLASSES for track in tracks])
    said = np.where(right, label, (label + 1) % CLASSES)
    table = evaluate.Predictions(
        np.array(tracks)[song],
        np.tile(np.arange(3, dtype=np.float32), len(right)),
        label[song].astype(np.int32),
        (0.1 + 0.7 * np.eye(CLASSES)[said][song]).astype(np.float32),
        np.array(class_names(CLASSES)),
        np.array([f'group {i // 2}' for i in song]),
    )
    parts = {'test': evaluate.evaluate(table, figures.group_of_track(table))}
    make_run(folder, CLASSES, parts=parts, **changes)
    table.save(folder / 'predictions' / 'test.npz')
    kept = json.loads((folder / 'config.json').read_text())
    for key, value in dict(config).items():
        section, _, name = key.rpartition('.')
        (kept.setdefault(section, {}) if section else kept)[name] = value
    (folder / 'config.json').write_text(json.dumps(kept))
    return folder


def drawn_of(runs):
    """What the page's scripts read, and what its template does."""
    from genre_jax.report import page

    found = comparison.of_runs([run.name for run in runs], [page.read_run(run) for run in runs])
    return json.loads(str(found['drawn']).replace('\\u003c', '<')), found


def test_differences_are_those_by_hand(tmp_path):
    rng = np.random.default_rng(0)
    rights = rng.random((3, 200)) < [[0.8], [0.7], [0.75]]
    runs = [write_run(tmp_path / f'run {i}', right) for i, right in enumerate(rights)]
    drawn, _ = drawn_of(runs)
    assert [pair['runs'] for pair in drawn['pairs']] == [[0, 1], [0, 2], [1, 2]]
    p = []
    for pair in drawn['pairs']:
        first, second = (rights[i] for i in pair['runs'])
        assert pair['songs'] == 200 and pair['why_not'] is None
        assert pair['song'] == pytest.approx(first.mean() - second.mean())
        assert pair['segment'] == pytest.approx(pair['song'])  # all segments of a song say the same
        assert pair['only'] == [(first & ~second).sum(), (second & ~first).sum()]
        assert pair['p'] == pytest.approx(scipy.stats.binomtest(pair['only'][0], sum(pair['only'])).pvalue)
        assert pair['same'] == pytest.approx((first == second).mean())  # of wrong ones all say the same
        # Groups of two independent songs: the interval is that of independent differences.
        differences = first.astype(float) - second
        half = 1.96 * differences.std() / np.sqrt(200)
        low, high = pair['song_ci95']
        assert low < pair['song'] < high
        assert (high - low) / 2 == pytest.approx(half, rel=0.25)
        p.append(pair['p'])
    # Holm's procedure step by step: the smallest by three, then by two, never below the one before.
    order = sorted(range(3), key=lambda i: p[i])
    least = 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1, p[i] * (3 - rank)))
        assert drawn['pairs'][i]['p_holm'] == pytest.approx(least)


def test_only_songs_of_both_count(tmp_path):
    tracks = [f'{i}.wav' for i in range(60)]
    first = write_run(tmp_path / 'a', np.arange(40) % 2 == 0, tracks[:40])
    second = write_run(tmp_path / 'b', np.arange(40) % 4 < 3, tracks[20:])
    third = write_run(tmp_path / 'c', np.ones(15, bool), tracks[:15])
    drawn, _ = drawn_of([first, second, third])
    both = drawn['pairs'][0]
    assert both['songs'] == 20
    assert both['song'] == pytest.approx(0.5 - 0.75)
    assert 'only 0 songs' in drawn['pairs'][2]['why_not'] and drawn['pairs'][1]['songs'] == 15
    assert np.sum(np.array(drawn['songs']['said'][1]) >= 0) == 40


def test_what_is_another_song_is_not_paired(tmp_path):
    """By the same name: of another dataset, or of another class."""
    right = np.ones(30, bool)
    runs = [
        write_run(tmp_path / 'a', right, config={'data.name': 'folder'}),
        write_run(tmp_path / 'b', right, config={'data.name': 'gtzan'}),
    ]
    assert 'other datasets' in drawn_of(runs)[0]['pairs'][0]['why_not']
    other = write_run(tmp_path / 'c', right)
    file = other / 'predictions' / 'test.npz'
    table = evaluate.Predictions.load(file)
    evaluate.Predictions(**vars(table) | {'label': (table.label + 1) % CLASSES}).save(file)
    same = write_run(tmp_path / 'd', right)
    assert drawn_of([other, same])[0]['pairs'][0]['songs'] == 0


def test_runs_without_predictions_have_their_figures_alone(tmp_path):
    runs = [write_run(tmp_path / name, np.ones(30, bool)) for name in 'ab']
    (runs[1] / 'predictions' / 'test.npz').unlink()
    drawn, found = drawn_of(runs)
    assert 'no predictions' in drawn['pairs'][0]['why_not']
    assert len(drawn['charts']['accuracies']['rows']) == 2 and found['settings'][0]['pooled']


def test_seeds_and_folds(tmp_path):
    """Two settings, each of two folds with three seeds: deviations by numpy, Welch's interval by scipy."""
    rng = np.random.default_rng(3)
    accuracies, runs = {}, []
    for setting, rate in enumerate((0.85, 0.6)):
        for fold in range(2):
            tracks = [f'{fold} {i}.wav' for i in range(100)]
            for seed in range(3):
                right = rng.random(100) < rate + 0.05 * seed
                config = {'seed': seed, 'split.fold': fold, 'optim.learning_rate': 0.1 * (setting + 1)}
                name = f'{setting}{fold}{seed}'
                runs.append(write_run(tmp_path / name, right, tracks, config=config))
                accuracies[setting, fold, seed] = right.mean()
    _, found = drawn_of(runs)
    assert [each['runs'] for each in found['settings']] == [list(range(6)), list(range(6, 12))]
    within = []
    for i, each in enumerate(found['settings']):
        table = np.array([[accuracies[i, fold, seed] for seed in range(3)] for fold in range(2)])
        assert (each['folds'], each['seeds'], each['free'], each['n']) == (2, 3, 4, 200)
        assert each['mean'] == pytest.approx(table.mean()) and each['std'] == pytest.approx(table.std(ddof=1))
        within.append(np.sqrt(table.var(1, ddof=1).mean()))
        assert each['within'] == pytest.approx(within[-1])
        assert each['pooled']['accuracy'] == pytest.approx(table.mean())
        assert each['range'] == [table.min(), table.max()]
    [contrast] = found['contrasts']
    means = [each['mean'] for each in found['settings']]
    assert contrast['difference'] == pytest.approx(means[0] - means[1]) and contrast['songs'] == 200
    parts = np.square(within) / 6
    free = parts.sum() ** 2 / (parts**2 / 4).sum()
    half = scipy.stats.t.ppf(0.975, free) * np.sqrt(parts.sum())
    np.testing.assert_allclose(
        contrast['by_seeds_ci95'], [means[0] - means[1] - half, means[0] - means[1] + half]
    )
    assert contrast['by_songs_ci95'][0] > 0


def test_seeds_that_agree_by_chance_are_not_certain(tmp_path):
    """Two seeds with the same accuracy on ten songs: it is known to a song, and no better."""
    runs = []
    for rate, wrong in ((0.1, 2), (0.2, 5)):
        for seed in range(2):
            config = {'seed': seed, 'optim.learning_rate': rate}
            right = np.roll(np.arange(10) >= wrong, seed)
            runs.append(write_run(tmp_path / f'{rate} {seed}', right, config=config))
    _, found = drawn_of(runs)
    assert [each['within'] for each in found['settings']] == [0, 0]
    low, high = found['contrasts'][0]['by_seeds_ci95']
    # Each mean of two has the variance of rounding to a tenth, 0.1**2 / 12, halved; two degrees of freedom.
    half = scipy.stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(12)
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half))


def test_without_a_second_seed_its_noise_is_unknown(tmp_path):
    runs = []
    for rate in (0.1, 0.2):
        for fold in range(2):
            config = {'split.fold': fold, 'optim.learning_rate': rate}
            tracks = [f'{fold} {i}' for i in range(20)]
            runs.append(write_run(tmp_path / f'{rate} {fold}', np.ones(20, bool), tracks, config=config))
    _, found = drawn_of(runs)
    assert [each['within'] for each in found['settings']] == [None, None]
    assert found['contrasts'][0]['by_seeds_ci95'] is None


def test_intervals_between_settings_cover(tmp_path):
    """Two equal settings: the interval by songs covers 0 in about 95 of 100 draws of grouped songs."""
    rng, covered = np.random.default_rng(5), 0
    for _ in range(100):
        ease = np.repeat(rng.uniform(0.4, 0.9, 60), 2)  # songs of a group are alike
        rights = [rng.random(120) < ease for _ in range(4)]
        songs = [evaluate_table(right) for right in rights]
        found = comparison._Songs(songs)
        settings = [{'runs': runs, 'free': 0} for runs in ([0, 1], [2, 3])]
        [contrast] = comparison._contrasts(settings, found)
        low, high = contrast['by_songs_ci95']
        covered += low <= 0 <= high
    assert 88 <= covered <= 100


def evaluate_table(right):
    label = np.arange(len(right)) % CLASSES
    said = np.where(right, label, (label + 1) % CLASSES)
    return evaluate.Predictions(
        np.array([f'{i}.wav' for i in range(len(right))]),
        np.zeros(len(right), np.float32),
        label.astype(np.int32),
        np.eye(CLASSES, dtype=np.float32)[said],
        np.array(class_names(CLASSES)),
        np.array([f'group {i // 2}' for i in range(len(right))]),
    )


def test_what_differs_is_listed(tmp_path):
    runs = [
        write_run(tmp_path / str(rate), np.ones(20, bool), config={'optim.learning_rate': rate})
        for rate in (0.1, 0.2)
    ]
    _, found = drawn_of(runs)
    assert found['differing'] == [('optim.learning_rate', ['0.1', '0.2'])]


def test_names_are_as_long_as_needed(tmp_path):
    runs = [write_run(tmp_path / deep / 'run', np.ones(20, bool)) for deep in ('a', 'b')]
    text = comparison.write(runs, tmp_path / 'page.html').read_text()
    assert 'a/run' in text and 'b/run' in text


def test_mistakes_are_one_line(tmp_path):
    run = write_run(tmp_path / 'run', np.ones(20, bool))
    other = tmp_path / 'other'
    make_run(other, 5)
    for words, said in (
        ([run, run], 'named twice'),
        ([run, other], 'other classes'),
        ([run, tmp_path], 'no result.json'),
    ):
        done = program.run(
            [sys.executable, '-m', 'genre_jax.report', *map(str, words), f'--out={tmp_path / "page.html"}']
        )
        assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    with pytest.raises(UserError, match='cannot write'):
        comparison.write(
            [run, write_run(tmp_path / 'second', np.ones(20, bool))], tmp_path / 'none' / 'page.html'
        )
