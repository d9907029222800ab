"""Scores against scikit-learn, pooling by hand, intervals against closed forms."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from benchmarks import coverage
from genre_jax.evaluation import evaluate, intervals
from genre_jax.evaluation.evaluate import Predictions

CLASSES = ('a', 'b', 'c', 'd', 'e')


def table(rows, classes=('a', 'b')):
    """rows: (track, label, probabilities...)."""
    return Predictions(
        track=np.array([row[0] for row in rows]),
        start_s=np.arange(len(rows), dtype=np.float32),
        label=np.array([row[1] for row in rows], np.int32),
        probabilities=np.array([row[2:] for row in rows], np.float32),
        classes=np.array(classes),
    )


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('true_ids', 'predicted_ids'),
    [
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([0, 1, 3], [0, 1, 3]),  # two classes nowhere
        ([0, 1, 3], [0, 1, 2, 3, 4]),  # two classes only predicted
        ([0, 1, 2, 3, 4], [2]),  # one class predicted for all
    ],
)
def test_figures_are_scikit_learns(true_ids, predicted_ids):
    rng = np.random.default_rng(0)
    labels = rng.choice(true_ids, 300)
    predicted = np.where(rng.random(300) < 0.4, labels, rng.choice(predicted_ids, 300))
    if len(predicted_ids) == 1:
        predicted[:] = predicted_ids
    probabilities = rng.dirichlet(np.ones(5), 300)
    losses = evaluate.log_losses(labels, probabilities)
    ours = evaluate.score(labels, predicted, labels.astype(str), CLASSES, losses, with_intervals=False)
    ids = np.arange(5)
    assert ours['n'] == 300
    assert ours['accuracy'] == pytest.approx(metrics.accuracy_score(labels, predicted))
    # scikit-learn's default: the mean over the classes that occur as truth or as prediction.
    macro_f1 = metrics.f1_score(labels, predicted, average='macro', zero_division=0)
    assert ours['macro_f1'] == pytest.approx(macro_f1)
    assert ours['log_loss'] == pytest.approx(metrics.log_loss(labels, probabilities, labels=ids))
    np.testing.assert_array_equal(ours['confusion'], metrics.confusion_matrix(labels, predicted, labels=ids))
    theirs = metrics.precision_recall_fscore_support(labels, predicted, labels=ids, zero_division=0)
    for i, name in enumerate(CLASSES):
        row = ours['per_class'][name]
        np.testing.assert_allclose(
            [row['precision'], row['recall'], row['f1'], row['support']], [t[i] for t in theirs]
        )
    assert not any(key.endswith('_ci95') for key in ours)


@pytest.mark.parametrize(('right', 'expected'), [(True, 1.0), (False, 0.0)])
def test_perfect_and_all_wrong(right, expected):
    labels = np.arange(40) % 5
    predicted = labels if right else (labels + 1) % 5
    groups = [str(i // 2) for i in range(40)]
    ours = evaluate.score(labels, predicted, groups, CLASSES)
    assert ours['accuracy'] == ours['macro_f1'] == expected
    for row in ours['per_class'].values():
        assert row == {'precision': expected, 'recall': expected, 'f1': expected, 'support': 8}
    assert ours['accuracy_ci95'][0] <= expected <= ours['accuracy_ci95'][1]
    # Twenty groups show no error: 90 % right would show none with a chance of 12 %.
    assert ours['accuracy_ci95'][0] < 0.9 or ours['accuracy_ci95'][1] > 0.1
    assert np.diff(ours['accuracy_ci95'])[0] > 0.1
    assert ours['log_loss'] is None and ours['log_loss_ci95'] is None


def test_an_impossible_truth_costs_much_but_not_infinitely():
    values = evaluate.log_losses(np.array([0, 1]), np.float32([[0, 1], [0, 1]]))
    assert 80 < values[0] < 110 and values[1] == 0


# --- pooling -------------------------------------------------------------------------------------


def test_pooling_by_hand():
    # Unordered segments, songs of 1, 2 and 3 segments.
    songs = evaluate.pool_songs(
        table(
            [
                ('y', 1, 0.6, 0.4),
                ('x', 0, 0.9, 0.1),
                ('y', 1, 0.0, 1.0),
                ('z', 0, 0.4, 0.6),
                ('x', 0, 0.4, 0.6),
                ('y', 1, 0.6, 0.4),
            ]
        )
    )
    assert songs.track.tolist() == ['y', 'x', 'z']  # in order of first appearance
    assert songs.label.tolist() == [1, 0, 0]
    np.testing.assert_allclose(
        songs.probability, [[1.2 / 3, 1.8 / 3], [1.3 / 2, 0.7 / 2], [0.4, 0.6]], atol=1e-6
    )
    np.testing.assert_array_equal(songs.votes, [[2, 1], [1, 1], [0, 1]])
    assert songs.max_probability().tolist() == [1, 0, 1]
    assert songs.majority().tolist() == [0, 0, 1]  # y: two votes win; x: a tie, 1.3 beats 0.7


def test_a_tie_of_votes_is_broken_among_those_tied_only():
    # a and b have two votes each; c has the largest summed probability and one vote.
    rows = [
        ('s', 0, 0.40, 0.25, 0.35),
        ('s', 0, 0.40, 0.25, 0.35),
        ('s', 0, 0.10, 0.46, 0.44),
        ('s', 0, 0.10, 0.46, 0.44),
        ('s', 0, 0.00, 0.00, 1.00),
    ]
    songs = evaluate.pool_songs(table(rows, 'abc'))
    assert songs.max_probability().tolist() == [2]
    assert songs.majority().tolist() == [1]  # 1.42 against 1.00


def test_one_vote_more_beats_any_probability():
    rows = [('s', 0, 0.51, 0.49)] * 51 + [('s', 0, 0.0, 1.0)] * 50
    songs = evaluate.pool_songs(table(rows))
    assert songs.max_probability().tolist() == [1]
    assert songs.majority().tolist() == [0]


def test_the_order_of_segments_does_not_matter():
    rng = np.random.default_rng(1)
    tracks = rng.integers(0, 20, 200)
    rows = [(f't{t}', t % 3, *rng.dirichlet(np.ones(3))) for t in tracks]
    shuffled = [rows[i] for i in rng.permutation(200)]
    groups = {f't{t}': f'g{t // 2}' for t in range(20)}
    one, other = (evaluate.evaluate(table(r, 'abc'), groups, 300) for r in (rows, shuffled))
    for kind in evaluate.KINDS:
        assert one[kind]['confusion'] == other[kind]['confusion']
        np.testing.assert_allclose(one[kind]['accuracy_ci95'], other[kind]['accuracy_ci95'])


def test_evaluate_joins_everything():
    predictions = table(
        [
            ('x', 0, 0.9, 0.1),
            ('x', 0, 0.4, 0.6),
            ('y', 1, 0.8, 0.2),
            ('y', 1, 0.3, 0.7),
            ('y', 1, 0.4, 0.6),
        ]
    )
    scores = evaluate.evaluate(predictions, {'x': 'g', 'y': 'h'}, 50)
    assert tuple(scores) == evaluate.KINDS
    assert scores['segment']['confusion'] == [[1, 1], [1, 2]]
    assert scores['segment']['n'] == 5
    assert scores['segment']['log_loss'] == pytest.approx(-np.log([0.9, 0.4, 0.2, 0.7, 0.6]).mean(), rel=1e-5)
    assert scores['song_max_probability']['confusion'] == [[1, 0], [1, 0]]  # both sum to 1.5: first
    assert scores['song_max_probability']['log_loss'] == pytest.approx(-np.log([0.65, 0.5]).mean(), rel=1e-5)
    assert scores['song_majority']['confusion'] == [[1, 0], [0, 1]]
    assert scores['song_majority']['log_loss'] is None
    assert scores['song_majority']['n'] == 2


# --- intervals -----------------------------------------------------------------------------------


def binary(outcomes, groups):
    """Scores predictions that are right where `outcomes` is 1, all of class a."""
    labels = np.zeros(len(outcomes), int)
    return evaluate.score(labels, 1 - np.asarray(outcomes), groups, 'ab')


@pytest.mark.parametrize('share', [0.3, 0.7, 0.9])
def test_interval_of_independent_items(share):
    n = 400
    outcomes = (np.arange(n) < share * n).astype(int)
    low, high = binary(outcomes, [str(i) for i in range(n)])['accuracy_ci95']
    half = 1.96 * np.sqrt(share * (1 - share) / n)
    np.testing.assert_allclose([low, high], [share - half, share + half], atol=0.006)
    exact = stats.binomtest(outcomes.sum(), n).proportion_ci(method='exact')
    np.testing.assert_allclose([low, high], exact, atol=0.008)


def test_items_of_one_group_count_once():
    # 25 groups of 16 items that are right or wrong together: the interval is that of 25 items.
    outcomes = np.repeat((np.arange(25) < 15).astype(int), 16)
    groups = np.repeat([f'g{i}' for i in range(25)], 16)
    grouped = binary(outcomes, groups)
    # Wilson's interval of 15 in 25, with Student's quantile for the 24 degrees of freedom of 25 groups.
    t = stats.t.ppf(0.975, 24)
    centre, half = 0.6 + t**2 / 50, t * np.sqrt(0.24 / 25 + t**2 / (4 * 25**2))
    expected = np.array([centre - half, centre + half]) / (1 + t**2 / 25)
    np.testing.assert_allclose(grouped['accuracy_ci95'], expected, rtol=1e-6)
    single = binary(outcomes, [str(i) for i in range(400)])
    width = {key: np.diff(figures['accuracy_ci95'])[0] for key, figures in
             (('grouped', grouped), ('single', single))}  # fmt: skip
    assert width['grouped'] == pytest.approx(4 * width['single'], rel=0.1)


def test_groups_of_unequal_size():
    # Delta method for a ratio of sums over groups (Cochran 1977): right / all.
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 8, 200)
    outcomes = np.concatenate([rng.random(size) < rng.beta(4, 2) for size in sizes]).astype(int)
    groups = np.repeat([f'{i:03d}' for i in range(200)], sizes)
    p = outcomes.mean()
    right = np.array([outcomes[groups == f'{i:03d}'].sum() for i in range(200)])
    half = 1.96 * np.sqrt(((right - p * sizes) ** 2).sum()) / sizes.sum()
    np.testing.assert_allclose(binary(outcomes, groups)['accuracy_ci95'], [p - half, p + half], atol=0.006)


def test_interval_of_the_log_loss():
    losses = np.random.default_rng(3).exponential(2.0, 500)
    labels = np.zeros(500, int)
    ours = evaluate.score(labels, labels, [str(i) for i in range(500)], 'ab', losses)
    half = 1.96 * losses.std() / np.sqrt(500)
    np.testing.assert_allclose(ours['log_loss_ci95'], [losses.mean() - half, losses.mean() + half], atol=0.03)


def test_interval_of_macro_f1_is_near_a_plain_bootstraps():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 60)
    predicted = np.where(rng.random(60) < 0.6, labels, rng.integers(0, 3, 60))
    group = np.arange(60) // 3
    ours = evaluate.score(labels, predicted, group.astype(str), 'abc')
    values = []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(group == g) for g in rng.integers(0, 20, 20)])
        values.append(metrics.f1_score(labels[rows], predicted[rows], average='macro'))
    np.testing.assert_allclose(ours['macro_f1_ci95'], np.percentile(values, [2.5, 97.5]), atol=0.04)
    assert ours['macro_f1_ci95'][0] < ours['macro_f1'] < ours['macro_f1_ci95'][1]


@pytest.mark.parametrize('right', [0, 1, 2, 3, 10, 40, 48, 50])
def test_independent_items_have_wilsons_interval(right):
    """Or, next to none and all, Poisson's: 50 items, with scipy's intervals."""
    outcomes = (np.arange(50) < right).astype(int)
    ours = binary(outcomes, np.arange(50).astype(str))['accuracy_ci95']
    wilson = stats.binomtest(right, 50).proportion_ci(method='wilson')
    exact = stats.binomtest(right, 50).proportion_ci(method='exact')
    assert min(wilson.low, exact.low) - 1e-9 <= ours[0] <= wilson.low + 1e-9
    assert wilson.high - 1e-9 <= ours[1] <= max(wilson.high, exact.high) + 1e-9


def test_one_group_tells_next_to_nothing():
    low, high = binary([1, 1, 0, 1], ['g'] * 4)['accuracy_ci95']
    assert low < 0.05 and high > 0.95


def test_large_collections_cost_little_memory():
    """161 classes and 16,000 groups: the whole tables of confusions would be 3 GB."""
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 161, 40_000)
    predicted = np.where(rng.random(40_000) < 0.5, labels, rng.integers(0, 161, 40_000))
    groups = rng.integers(0, 16_000, 40_000).astype(str)
    tracemalloc.start()
    evaluate.score(labels, predicted, groups, [str(i) for i in range(161)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6


CELLS = [
    {'sizes': 'single', 'n_classes': 2, 'n_groups': 50, 'correlation': 0.0, 'accuracy': 0.97},
    {'sizes': 'equal', 'n_classes': 10, 'n_groups': 20, 'correlation': 0.3, 'accuracy': 0.97},
    {'sizes': 'skewed', 'n_classes': 10, 'n_groups': 50, 'correlation': 0.3, 'accuracy': 0.9},
    {'sizes': 'skewed', 'n_classes': 60, 'n_groups': 150, 'correlation': 0.1, 'accuracy': 0.6},
    {'sizes': 'equal', 'n_classes': 2, 'n_groups': 300, 'correlation': 0.1, 'accuracy': 0.8},
    {'sizes': 'dominated', 'n_classes': 2, 'n_groups': 50, 'correlation': 0.3, 'accuracy': 0.9},
    {'sizes': 'equal', 'n_classes': 2, 'n_groups': 12, 'correlation': 0.3, 'accuracy': 0.97},
]


@pytest.mark.slow(but='0')
@pytest.mark.parametrize('cell', CELLS, ids=map(str, range(len(CELLS))))
def test_intervals_hold_the_truth_as_often_as_they_say(cell):
    # 600 test parts: of 95 % at least 92.5 are held with a chance of 99.7 %.
    accuracy, macro_f1 = coverage.coverage(600, seed=1, **cell)
    assert accuracy > 0.925 and macro_f1 > 0.925


@pytest.mark.slow
@pytest.mark.parametrize('n_groups', [12, 40])
def test_intervals_of_differences_and_losses_hold_the_truth(n_groups):
    """Songs of an artist share a shift: of how often each of two models is right, and of the loss."""
    rng, held = np.random.default_rng(7), np.zeros(2)
    group = np.repeat(np.arange(n_groups), 5)
    for _ in range(600):
        hard = rng.beta(2, 2, n_groups)[group]
        first, second = rng.random((2, len(group))) < [0.3 + 0.4 * hard, 0.2 + 0.4 * hard]
        low, high = intervals.difference(first * 1.0 - second, group, np.ones(len(group)))
        held[0] += low <= 0.1 <= high
        losses = rng.exponential(1, len(group)) * (2 * hard)
        low, high = intervals.mean(losses, group)
        held[1] += low <= 1.0 <= high
    assert (held / 600 > 0.925).all()


# --- the majority class --------------------------------------------------------------------------


def test_majority_class():
    predictions = table([('x', 0, 1, 0), ('x', 0, 1, 0), ('x', 0, 1, 0), ('y', 1, 0, 1), ('z', 1, 1, 0)])
    groups = {'x': 'g', 'y': 'h', 'z': 'i'}
    # b is the most frequent of the training songs; two of the three test songs are b.
    ours = evaluate.majority_class(np.array([0, 1, 1]), predictions, groups)
    assert ours['class'] == 'b'
    assert ours['accuracy'] == pytest.approx(2 / 3)
    exact = stats.binomtest(2, 3).proportion_ci(method='wilson')
    assert ours['accuracy_ci95'][0] <= exact.low and ours['accuracy_ci95'][1] >= exact.high
    # What the test part has most of does not matter.
    ours = evaluate.majority_class(np.array([0, 0, 1]), predictions, groups)
    assert ours['class'] == 'a' and ours['accuracy'] == pytest.approx(1 / 3)


# --- the file ------------------------------------------------------------------------------------


def test_predictions_survive_the_file(tmp_path):
    rng = np.random.default_rng(6)
    before = Predictions(
        track=np.array(['a/é ü.wav', 'b', 'राग.ogg']),
        start_s=rng.random(3).astype(np.float32),
        label=np.array([0, 1, 1], np.int32),
        probabilities=rng.dirichlet(np.ones(2), 3).astype(np.float32),
        classes=np.array(['x', 'हिन्दी']),
    )
    file = tmp_path / 'new' / 'test.npz'
    before.save(file)
    before.save(file)  # over an old one
    after = Predictions.load(file)
    for name in ('track', 'start_s', 'label', 'probabilities', 'classes'):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
        assert getattr(before, name).dtype == getattr(after, name).dtype
    assert [path.name for path in file.parent.iterdir()] == ['test.npz']
    with np.load(file, allow_pickle=False) as arrays:
        assert set(arrays) == {'track', 'start_s', 'label', 'probabilities', 'classes'}


def test_the_roc_area_counts_ordered_pairs():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    # Rounded: there are ties, which count half.
    probabilities = rng.dirichlet(np.ones(4), 60).round(1)
    probabilities[np.arange(60), labels] += 0.2
    curves = evaluate.roc_curves(labels, probabilities)
    assert curves[3] is None  # no item has that class
    for i, (false, true, area) in enumerate(curves[:3]):
        own, other = probabilities[labels == i, i], probabilities[labels != i, i]
        pairs = np.sign(own[:, None] - other[None]) / 2 + 0.5
        assert area == pytest.approx(pairs.mean())
        theirs = metrics.roc_curve(labels == i, probabilities[:, i], drop_intermediate=False)
        np.testing.assert_allclose((false, true), theirs[:2])
