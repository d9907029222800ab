"""Blends of planted members: against brute force, scikit-learn and Caruana's algorithm taken literally."""

import dataclasses
import itertools
import json
import math
import sys

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.metrics
import sklearn.model_selection

from genre_jax.blend import integer_weights
from genre_jax.blend import members as blend_members
from genre_jax.blend import methods as blend_methods
from genre_jax.blend import run as blend_run
from genre_jax.blend import table as blend_report
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate, paired
from genre_jax.evaluation.evaluate import Predictions
from tests import program
from tests.report.test_report import Page

CLASSES = ('ballad', 'jig', 'polka', 'reel')
GOOD, OTHER, USELESS, COPY, WORSE = range(5)
INTEGER = {'votes': 'probability', 'max_weight': 4, 'grow_by': 0}


def softmax(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def drawn(seed, n, n_classes=4):
    """Two good members that err independently, chance, a copy of the first, and one worse than chance."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    truth = np.eye(n_classes)[labels]
    noise = rng.normal(size=(4, n, n_classes))
    good, other, useless = 1.6 * truth + noise[0], 1.5 * truth + noise[1], 1.5 * noise[2]
    logits = np.stack([good, other, useless, good, noise[3] - 1.2 * truth])
    return softmax(1.2 * logits).astype(np.float32), labels


def brute_force(probabilities, labels, votes, bound):
    """Tries everything, one by one: most right, then the smallest sum, then the first member's weight."""
    votes = integer_weights.cast_votes(probabilities, votes)
    best = max(
        (int((np.tensordot(w, votes, 1).argmax(-1) == labels).sum()), -sum(w), w)
        for w in itertools.product(range(bound + 1), repeat=len(votes))
        if any(w)
    )
    return best[0], list(best[2])


def accuracy(probabilities, labels):
    return (probabilities.argmax(-1) == labels).mean()


# --- integer weights -----------------------------------------------------------------------------


@pytest.mark.parametrize('votes', ['onehot', 'probability'])
@pytest.mark.parametrize('members, n_classes, n, bound', [(2, 2, 9, 5), (3, 5, 70, 4), (4, 3, 40, 3)])
def test_integer_search_is_brute_force(votes, members, n_classes, n, bound):
    rng = np.random.default_rng(members)
    labels = rng.integers(0, n_classes, n)
    for coarse in (False, True):
        probabilities = rng.dirichlet(np.ones(n_classes), (members, n))
        if coarse:  # equal votes, and so equal sums, everywhere
            probabilities = np.round(2 * probabilities) + 0.5
            probabilities /= probabilities.sum(-1, keepdims=True)
        found = blend_methods.integer(probabilities, labels, votes, bound, 0)
        right, weights = brute_force(probabilities, labels, votes, bound)
        assert (found.facts['right'], found.weights.tolist()) == (right, weights)
        # What is saved is what was counted.
        assert (found.apply(probabilities).argmax(-1) == labels).sum() == right
        np.testing.assert_allclose(found.apply(probabilities).sum(-1), 1)


def test_six_members_as_in_the_paper():
    """The worked example of Ma et al.: weights 1, 1, 0, 0, 3, 2 let the third class win with 4 votes of 7."""
    votes = np.eye(10)[[2, 6, 3, 2, 2, 3]][:, None]
    found = blend_methods.Weighted(np.array([1.0, 1, 0, 0, 3, 2]), 'onehot', {}).apply(votes)
    expected = np.zeros(10)
    expected[[2, 3, 6]] = 4 / 7, 2 / 7, 1 / 7
    np.testing.assert_allclose(found[0], expected)


def test_the_range_grows_while_there_is_a_gain():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 60)
    probabilities = rng.dirichlet(np.ones(3), (4, 60))
    by_bound = [brute_force(probabilities, labels, 'probability', bound) for bound in range(1, 7)]
    assert by_bound[0][0] < by_bound[1][0]  # else it would not grow at all
    expected = 1
    while by_bound[expected][0] > by_bound[expected - 1][0]:
        expected += 1
    found = blend_methods.integer(probabilities, labels, 'probability', 1, 1)
    assert found.facts['max_weight'] == expected
    assert (found.facts['right'], found.weights.tolist()) == by_bound[expected - 1]
    assert found.facts['stopped'] == f'weights up to {expected + 1} bring no gain'
    fixed = blend_methods.integer(probabilities, labels, 'probability', 1, 0)
    assert (fixed.facts['right'], fixed.facts['max_weight']) == (by_bound[0][0], 1)
    wide = blend_methods.integer(probabilities, labels, 'probability', 1, 4)
    assert wide.facts['right'] >= by_bound[4][0]


def test_nothing_grows_where_every_row_is_right():
    labels = np.array([0, 1, 2])
    found = blend_methods.integer(np.stack([np.eye(3), np.eye(3)]), labels, 'onehot', 5, 5)
    assert found.weights.tolist() == [1, 0] and found.facts['stopped'] == 'every row is right'


def test_the_search_is_bounded():
    probabilities, labels = drawn(0, 20)
    many = np.concatenate([probabilities] * 3)[:12]
    with pytest.raises(UserError, match='12 members with weights from 0 to 5 are 2,176,782,336 comb'):
        blend_methods.integer(many, labels, 'onehot', 5, 5)
    found = blend_methods.integer(many[:7], labels, 'onehot', 5, 10)  # 6^7 may be tried, 16^7 not
    assert found.facts['stopped'] == 'weights up to 15 are too many combinations to try'


# --- the other methods ---------------------------------------------------------------------------


def caruana(probabilities, labels, metric, steps):
    """Caruana et al. 2004, section 2, word by word: bags of models, averaged anew each time."""

    def loss(bag):
        blended = sum(probabilities[i].astype(float) for i in bag) / len(bag)
        blended /= blended.sum(-1, keepdims=True)
        if metric == 'accuracy':
            return -sklearn.metrics.accuracy_score(labels, blended.argmax(-1))
        return sklearn.metrics.log_loss(labels, blended, labels=range(blended.shape[-1]))

    bag, path = [], []
    for _ in range(steps):
        bag = min(([*bag, i] for i in range(len(probabilities))), key=loss)
        path.append((loss(bag), bag))
    least = min(path, key=lambda each: each[0])[1]
    return np.bincount(least, minlength=len(probabilities))


@pytest.mark.parametrize('metric', ['log_loss', 'accuracy'])
def test_greedy_is_caruanas(metric):
    probabilities, labels = drawn(1, 150)
    members = probabilities[[GOOD, OTHER, USELESS, WORSE]]
    found = blend_methods.greedy(members, labels, metric, 20)
    assert found.weights.tolist() == caruana(members, labels, metric, 20).tolist()
    assert found.weights[0] and found.weights[1]
    total = found.apply(members)
    expected = np.average(members.astype(float), axis=0, weights=found.weights)
    np.testing.assert_allclose(total, expected, atol=1e-6)


def test_bags_draw_from_half_of_the_members():
    probabilities, labels = drawn(2, 100)
    found = blend_methods.greedy(probabilities[[GOOD, USELESS]], labels, 'log_loss', 10, bags=40)
    # A bag of one member gives it everything: the weights say how often each was the bag.
    assert found.weights.sum() == pytest.approx(1)
    assert np.all(found.weights > 0.2)
    alone = blend_methods.greedy(probabilities[[GOOD, USELESS]], labels, 'log_loss', 10)
    assert alone.weights[0] > 3 * alone.weights[1]


def test_stacking_is_scikit_learns():
    probabilities, labels = drawn(3, 240)
    members = probabilities[[GOOD, OTHER, USELESS]]
    groups = np.array([f'g{i // 3}' for i in range(240)])
    found = blend_methods.stacking(members, labels, groups)
    features = np.hstack(np.log(np.maximum(members.astype(float), 1e-4)))
    folds = sklearn.model_selection.StratifiedGroupKFold(5, shuffle=True, random_state=0)
    losses = {}
    for c in 10.0 ** np.arange(-4, 3):
        model = sklearn.linear_model.LogisticRegression(C=c, solver='newton-cg')
        out = sklearn.model_selection.cross_val_predict(
            model, features, labels, groups=groups, cv=folds, method='predict_proba'
        )
        losses[c] = sklearn.metrics.log_loss(labels, out)
    best = min(losses, key=losses.get)
    assert found.facts['inverse_penalty'] == best
    np.testing.assert_allclose(list(found.facts['inner_log_loss'].values()), list(losses.values()), rtol=1e-6)
    model = sklearn.linear_model.LogisticRegression(C=best, solver='newton-cg')
    model.fit(features, labels)
    np.testing.assert_allclose(found.apply(members), model.predict_proba(features), atol=1e-9)
    assert found.weights.sum() == pytest.approx(1)


def test_stacking_needs_two_groups():
    probabilities, labels = drawn(4, 20)
    with pytest.raises(UserError, match='20 rows of 1 groups and 4 classes are too few'):
        blend_methods.stacking(probabilities, labels, ['g'] * 20)


def test_mean_is_the_mean():
    probabilities, labels = drawn(5, 30)
    found = blend_methods.mean(probabilities, labels)
    np.testing.assert_allclose(found.apply(probabilities), probabilities.mean(0), atol=1e-6)


@pytest.mark.parametrize('method, settings', [('integer', INTEGER), ('greedy', {}), ('stacking', {})])
def test_planted_members(method, settings):
    """Fitted to some rows, the blend is better than each member on others of the same kind."""
    fit_to, labels = drawn(6, 600)
    arguments = [np.arange(600).astype(str)] if method == 'stacking' else []
    found = getattr(blend_methods, method)(fit_to, labels, *arguments, **settings)
    shares = found.weights / found.weights.sum()
    fresh, fresh_labels = drawn(7, 4000)
    alone = [accuracy(member, fresh_labels) for member in fresh]
    assert alone[WORSE] < alone[USELESS] < 0.3 < alone[OTHER]
    assert accuracy(found.apply(fresh), fresh_labels) > max(alone) + 0.04
    assert shares[OTHER] > 0.2 and shares[GOOD] + shares[COPY] > 0.2
    if method != 'stacking':  # that one may subtract who is worse than chance
        assert shares[WORSE] < 0.05 and shares[USELESS] < 0.12


# --- run folders ---------------------------------------------------------------------------------


def write_run(folder, probabilities, labels, part_names=('val', 'test'), split='s1', leaky=False, **changes):
    """Writes what a blend reads of a run: three segments a song, two songs a group."""
    folder.mkdir(parents=True)
    cuts = np.array_split(np.arange(len(labels)), len(part_names))
    for part, rows in zip(part_names, cuts, strict=True):
        song = np.arange(len(rows)) // 3
        table = Predictions(
            np.array([f'{part}{i:03}' for i in song]),
            (np.arange(len(rows)) % 3).astype(np.float32),
            labels[rows][3 * song].astype(np.int32),
            probabilities[rows],
            np.array(CLASSES),
            np.array([f'{part}-artist{i // 2}' for i in song]),
        )
        table = dataclasses.replace(table, **changes.get(part, {}))
        table.save(folder / 'predictions' / f'{part}.npz')
    counts = {'train': 12, 'val': 10, 'test': 10}
    result = {
        'protocol': 'grouped', 'protocol_detail': f'planted ({split})', 'leaky': leaky,
        'n_songs': counts, 'n_groups': counts, 'n_segments': counts, 'classes': CLASSES,
        'songs_per_class': {name: {'train': 3 + i} for i, name in enumerate(CLASSES)},
        'quarantined': {'count': 0, 'files': []}, 'warnings': [],
    }  # fmt: skip
    environment = {
        'split_fingerprint': split,
        'dataset': {
            'name': 'planted', 'description': 'drawn', 'fingerprint': 'f0', 'sample_rate_hz': 8000,
            'recordings': 32, 'hours': 0.0, 'group_key': 'artist',
        },
    }  # fmt: skip
    (folder / 'result.json').write_text(json.dumps(result))
    (folder / 'environment.json').write_text(json.dumps(environment))
    return folder


def songs_drawn(seed, songs, n_classes=4):
    """Members for segments of songs, three each, and their labels."""
    probabilities, labels = drawn(seed, 3 * songs, n_classes)
    # The segments of a song have one label: members are moved to it.
    own = labels[3 * (np.arange(3 * songs) // 3)]
    column = (np.arange(n_classes) - own[:, None] + labels[:, None]) % n_classes
    return np.take_along_axis(probabilities, column[None], -1), own


@pytest.fixture
def runs(tmp_path):
    probabilities, labels = songs_drawn(8, 120)
    return [
        write_run(tmp_path / 'runs' / name, probabilities[i], labels)
        for i, name in enumerate(('good', 'other', 'useless', 'copy', 'worse'))
    ]


def measured(folders, method='integer', level='segment', leaky=False, **settings):
    settings = settings or ({} if method != 'integer' else INTEGER)
    tasks = blend_members.make_tasks(folders, level)
    recipe = blend_run.Recipe(method, settings, level, leaky)
    return blend_run.measure(tasks, folders, recipe)[0]


def test_weights_do_not_see_the_test_part(runs):
    before = {method: measured(runs, method) for method in ('integer', 'greedy', 'stacking')}
    order = np.random.default_rng(0).permutation(60)
    for folder in runs:
        file = folder / 'predictions' / 'test.npz'
        table = Predictions.load(file)
        by_song = table.label[::3][order]
        dataclasses.replace(table, label=np.repeat(by_song, 3)).save(file)
    for method, result in before.items():
        after = measured(runs, method)
        assert after['blend']['weights'] == result['blend']['weights']
        assert after['blend']['fits'] == result['blend']['fits']
        assert after['parts']['val'] == result['parts']['val']
        assert after['parts']['test']['segment']['accuracy'] < 0.5
        assert not result['leaky'] and 'gap' not in result['blend']


def test_a_fit_to_the_test_part_is_leaky_and_higher(runs):
    honest = measured(runs)
    leaky = measured(runs, leaky=True)
    assert leaky['leaky'] and 'LEAKY' in leaky['protocol_detail']
    assert leaky['blend']['fitted_on'] == 'the test part itself'
    own = leaky['blend']['honest']
    assert own['weights'] == honest['blend']['weights']
    assert own['parts'] == honest['blend']['parts']
    gap = leaky['blend']['gap']['segment']
    high, low = (x['parts']['test']['segment']['accuracy'] for x in (leaky, honest))
    assert gap['difference'] == pytest.approx(high - low)
    assert high >= low
    lines = blend_report.table(leaky).splitlines()
    title, row, gap = [line for line in lines if 'LEAKY' in line]
    assert title.split()[:2] == ['weight', '(LEAKY)']
    assert row.startswith('blend, fitted on the test part itself') and row.endswith('LEAKY')
    assert gap.startswith('LEAKY: weights fitted on test minus the honest blend')
    first = f'{own["weights"][0][0]:g} ({leaky["blend"]["weights"][0][0]:g})'
    assert [line for line in lines if line.startswith('good') and first in line]
    assert 'LEAKY' not in blend_report.table(honest)


def test_members_that_leak_make_leaky_blends(tmp_path):
    probabilities, labels = songs_drawn(8, 20)
    folders = [
        write_run(tmp_path / 'a', probabilities[GOOD], labels, leaky=True),
        write_run(tmp_path / 'b', probabilities[OTHER], labels, leaky=True),
    ]
    result = measured(folders)
    assert result['leaky']
    rows = [line for line in blend_report.table(result).splitlines() if '[' in line]
    assert all(line.endswith('LEAKY') for line in rows[:3])


def test_the_best_member_is_chosen_by_validation(runs):
    # By validation alone: on the test part the useless one, made perfect there, would be best.
    file = runs[USELESS] / 'predictions' / 'test.npz'
    table = Predictions.load(file)
    perfect = np.eye(4, dtype=np.float32)[table.label]
    dataclasses.replace(table, probabilities=perfect).save(file)
    blended = measured(runs)['blend']
    by_val = [member['parts']['val']['segment']['accuracy'] for member in blended['members']]
    assert blended['best'] == blended['members'][int(np.argmax(by_val))]['name'] != 'useless'
    assert blended['members'][USELESS]['parts']['test']['segment']['accuracy'] == 1


def test_songs_of_other_windows(runs, tmp_path):
    """Other windows can be blended by song only; there the pooled probabilities are what counts."""
    probabilities, labels = songs_drawn(8, 120)
    own = {part: {'start_s': np.arange(180, dtype=np.float32)} for part in ('val', 'test')}
    shifted = write_run(tmp_path / 'long', probabilities[OTHER], labels, **own)
    with pytest.raises(UserError, match=r'good and .*long have other segments.*--level=song'):
        measured([runs[GOOD], shifted])
    result = measured([runs[GOOD], shifted], 'mean', 'song')
    pooled = [
        evaluate.pool_songs(Predictions.load(folder / 'predictions' / 'test.npz')).probability
        for folder in (runs[GOOD], shifted)
    ]
    truth = evaluate.pool_songs(Predictions.load(shifted / 'predictions' / 'test.npz')).label
    expected = accuracy(sum(pooled), truth)
    assert result['parts']['test']['song_max_probability']['accuracy'] == pytest.approx(expected)
    assert result['parts']['test']['segment']['n'] == 60
    assert any('blended by song' in line for line in result['warnings'])


def test_classes_and_rows_in_another_order_are_realigned(runs, tmp_path):
    order, rows = np.array([2, 0, 3, 1]), np.random.default_rng(0).permutation(180)
    probabilities, labels = songs_drawn(8, 120)
    other = write_run(tmp_path / 'other_order', probabilities[OTHER], labels)
    for part in ('val', 'test'):
        file = other / 'predictions' / f'{part}.npz'
        table = Predictions.load(file)
        Predictions(
            table.track[rows], table.start_s[rows], np.argsort(order)[table.label][rows],
            table.probabilities[rows][:, order], table.classes[order], table.group[rows],
        ).save(file)  # fmt: skip
    one, two = (measured([runs[GOOD], folder])['parts'] for folder in (runs[OTHER], other))
    assert one == two


def test_without_groups_songs_are_groups_and_a_note_says_so(tmp_path):
    probabilities, labels = songs_drawn(8, 20)
    none = {part: {'group': None} for part in ('val', 'test')}
    folders = [write_run(tmp_path / str(i), probabilities[i], labels, **none) for i in (GOOD, OTHER)]
    assert any('do not name groups' in line for line in measured(folders)['warnings'])
    tasks = blend_members.make_tasks(folders, 'segment')
    assert tasks[0].test.group.tolist() == tasks[0].test.track.tolist()


def test_tonics_and_excerpts_are_blended_as_classes_are(tmp_path):
    """By hand, of the mean of two members; one has its classes in another order, one knows no tonics."""
    rng, parts, songs = np.random.default_rng(4), ('val', 'test', 'test_30s'), 20
    probabilities, labels = songs_drawn(8, 3 * songs)
    tonic_hz = np.repeat(55 * 2 ** (rng.integers(0, 24, songs) / 24), 3).astype(np.float32)
    near = np.exp(-np.abs((24 * np.log2(tonic_hz / 55))[:, None] - np.arange(24)))
    said, folders = {}, []
    for name, i in (('a', GOOD), ('b', OTHER), ('none', USELESS)):
        columns = {}
        for part in parts if name != 'none' else ():
            noise = rng.exponential(0.8, near.shape)
            tonic = ((near + noise) / (near + noise).sum(1, keepdims=True)).astype(np.float32)
            given = rng.dirichlet(np.ones(4), 3 * songs).astype(np.float32)
            said[name, part] = tonic, given
            columns[part] = {'tonic': tonic, 'given': given, 'tonic_hz': tonic_hz}
        folders.append(write_run(tmp_path / name, probabilities[i], labels, parts, **columns))
    order = np.array([2, 0, 3, 1])
    for part in parts:
        file = folders[1] / 'predictions' / f'{part}.npz'
        table = Predictions.load(file)
        dataclasses.replace(
            table, label=np.argsort(order)[table.label], classes=table.classes[order],
            probabilities=table.probabilities[:, order], given=table.given[:, order],
        ).save(file)  # fmt: skip

    for folder in folders:  # no part, and no excerpt of so many seconds
        (folder / 'predictions' / 'test_old.npz').write_bytes(b'something else')

    for level in ('segment', 'song'):
        result = measured(folders[:2], 'mean', level)
        assert set(result['tonic']) == set(result['parts']) == set(parts)
        for k, part in enumerate(parts):
            tonic, given = (
                np.mean([said[name, part][i] for name in 'ab'], 0).reshape(songs, 3, -1).mean(1)
                for i in (0, 1)
            )
            own = labels[np.array_split(np.arange(len(labels)), 3)[k]][::3]
            best, song = tonic.argmax(1), np.arange(songs)
            low, mid, high = (tonic[song, (best + step) % 24] for step in (-1, 0, 1))
            away = best + (high - low) / (low + mid + high) - 24 * np.log2(tonic_hz[::3] / 55)
            right = np.abs((away + 12) % 24 - 12) <= 0.5  # 25 cents
            figures = result['tonic'][part]
            assert 0.2 < right.mean() < 1
            assert figures['tonic']['accuracy'] == pytest.approx(right.mean())
            assert figures['class_tonic_known']['accuracy'] == pytest.approx(accuracy(given, own))
            named = figures['class_tonic_unknown']['accuracy']
            assert named == result['parts'][part]['song_max_probability']['accuracy']
    for others in (measured(folders, 'mean'), measured([folders[0], folders[2]], 'mean')):
        assert others['tonic'] == {} and set(others['parts']) == set(parts)


def write_folds(folder, probabilities, labels, folds=3):
    """Writes the folds of a cross-validation: test parts only."""
    for i, rows in enumerate(np.split(np.arange(len(labels)), folds)):
        write_run(folder / f'fold_{i}', probabilities[rows], labels[rows], ('test',), split=f's{i}')
        file = folder / f'fold_{i}' / 'predictions' / 'test.npz'
        table = Predictions.load(file)
        named = {name: np.char.add(getattr(table, name), f'-{i}') for name in ('track', 'group')}
        dataclasses.replace(table, **named).save(file)
    return folder


def test_folds_are_fitted_to_the_others(tmp_path):
    probabilities, labels = songs_drawn(9, 60)
    folders = [write_folds(tmp_path / str(i), probabilities[i], labels) for i in range(3)]
    result = measured(folders)
    parts = np.split(np.arange(180), 3)
    right = 0
    for i, rows in enumerate(parts):
        others = np.setdiff1d(np.arange(180), rows)
        _, weights = brute_force(probabilities[:3][:, others], labels[others], 'probability', 4)
        assert result['blend']['weights'][i] == weights
        votes = integer_weights.cast_votes(probabilities[:3][:, rows], 'probability')
        right += (np.tensordot(weights, votes, 1).argmax(-1) == labels[rows]).sum()
    assert result['parts']['test']['segment']['accuracy'] == pytest.approx(right / 180)
    assert result['parts']['test']['segment']['n'] == 180 and 'val' not in result['parts']
    assert result['n_songs'] == {'test': 60}
    assert result['blend']['fitted_on'] == 'the other folds'
    leaky = measured(folders, leaky=True)
    _, weights = brute_force(probabilities[:3], labels, 'probability', 4)
    assert leaky['blend']['weights'] == [weights] * 3


def test_beside_a_run_a_cross_validation_is_its_fold_of_that_split(runs, tmp_path):
    probabilities, labels = songs_drawn(8, 120)
    for i, member in enumerate((OTHER, GOOD, USELESS)):
        write_run(
            tmp_path / 'knn' / f'fold_{i}',
            probabilities[member],
            labels,
            split='s1' if i == 1 else f'x{i}',
        )
    mixed, plain = measured([tmp_path / 'knn', runs[OTHER]]), measured([runs[GOOD], runs[OTHER]])
    assert mixed['parts'] == plain['parts']
    assert mixed['blend']['weights'] == plain['blend']['weights']
    assert [member['name'] for member in mixed['blend']['members']] == ['knn', 'other']
    assert [line for line in mixed['warnings'] if 'knn only fold_1 is blended' in line]


def test_what_all_folds_warn_of_is_said_once(tmp_path):
    probabilities, labels = songs_drawn(9, 60)
    folders = [write_folds(tmp_path / str(i), probabilities[i], labels) for i in range(2)]
    for folder in folders:
        for i in range(3):
            file = folder / f'fold_{i}' / 'result.json'
            result = json.loads(file.read_text())
            result['warnings'] = ['of all'] + ['of one'] * (i == 2)
            file.write_text(json.dumps(result))
    assert measured(folders)['warnings'] == ['of all', 'fold 2: of one']


@pytest.mark.slow
def test_classical_models_of_a_cross_validation(tmp_path):
    """The command of genre_jax.classical over folds, and that of a blend of two of its models."""
    rng, lines = np.random.default_rng(0), ['filename,label,artist,x,y']
    for number in range(30):
        label = number % 2
        for row in range(2):
            x, y = 1.5 * label + rng.normal(size=2)
            lines.append(f'{"ab"[label]}.{number:05}.{row}.wav,{"ab"[label]},A{number // 4},{x},{y}')
    (tmp_path / 't.csv').write_text('\n'.join(lines))
    done = program.run(
        [
            *(sys.executable, '-m', 'genre_jax.classical', '--config=configs/mlp_features.py'),
            *('--models=knn,svm,tree', '--folds=3', '--protocols=artist'),
            *(f'--workdir={tmp_path / "w"}', f'--config.data.root={tmp_path / "t.csv"}'),
            f'--config.data.prepared_dir={tmp_path / "prepared"}',
        ]
    )
    assert done.returncode == 0, done.stderr
    home = tmp_path / 'w' / 'artist' / 'features'
    members = [home / 'knn', home / 'svm']
    done = command(tmp_path / 'blend', members, '--method=mean')
    assert done.returncode == 0, done.stderr
    hits = []
    for fold in range(3):
        parts = [Predictions.load(m / f'fold_{fold}/predictions/test.npz') for m in members]
        mean = (parts[0].probabilities + parts[1].probabilities) / 2
        hits.append(mean.argmax(-1) == parts[0].label)
    test = program.result(tmp_path / 'blend')['parts']['test']['segment']
    assert test['n'] == 60 and test['accuracy'] == pytest.approx(np.concatenate(hits).mean())
    with pytest.raises(UserError, match='w/features/knn is no folder.*mean .*w/artist/features/knn'):
        blend_members.make_tasks([tmp_path / 'w/features/knn', home / 'svm'], 'segment')
    with pytest.raises(UserError, match=r'features has no result.json.*did you mean .*features/knn'):
        blend_members.make_tasks([home, home / 'svm' / 'fold_0'], 'segment')


def test_differences_by_hand():
    def table(*right):
        hits = np.array(right)
        probabilities = np.where(hits[:, None], [[1.0, 0.0]], [[0.0, 1.0]])
        tracks = np.array([f's{i}' for i in range(len(hits))])
        zeros = np.zeros(len(hits))
        return Predictions(tracks, zeros, zeros.astype(int), probabilities, np.array(['a', 'b']), tracks)

    # 7 songs right in the first alone, 1 in the second: 2 * (C(8,0) + C(8,1)) / 2^8.
    first = table(*[1] * 7, 0, *[1] * 10, *[0] * 2)
    second = table(*[0] * 7, 1, *[1] * 10, *[0] * 2)
    found = paired.difference(first, second)
    assert found['mcnemar']['only_first'] == 7 and found['mcnemar']['only_second'] == 1
    assert found['mcnemar']['p'] == pytest.approx(2 * (1 + math.comb(8, 1)) / 2**8)
    assert found['song']['difference'] == pytest.approx(6 / 20)
    assert found['song'] == found['segment']
    low, high = found['song']['difference_ci95']
    deviation = math.sqrt((8 / 20 - 0.3**2) / 20)
    assert (high - low) / 2 == pytest.approx(1.96 * deviation, rel=0.15)
    same = paired.difference(first, first)
    assert same['mcnemar']['p'] == 1 and same['song']['difference'] == 0
    # Of twenty songs none differs: one in ten might, with a chance of 12 %.
    np.testing.assert_allclose(same['song']['difference_ci95'], [-0.13, 0.13], atol=0.03)


# --- mistakes ------------------------------------------------------------------------------------


def changed(part, **columns):
    """Returns a mistake: other columns in one predictions file."""

    def change(folder):
        file = folder / 'predictions' / f'{part}.npz'
        table = Predictions.load(file)
        made = {name: make(getattr(table, name)) for name, make in columns.items()}
        dataclasses.replace(table, **made).save(file)

    return change


def first_changed(value):
    def change(column):
        column = column.copy()
        column[0] = value
        return column

    return change


def other_split(folder):
    file = folder / 'environment.json'
    file.write_text(file.read_text().replace('"s1"', '"s2"'))
    changed('test', track=lambda names: np.char.replace(names, 'test007', 'zither'))(folder)


def rewrite(name, text):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    'mistake, said',
    [
        (other_split, r"good \(protocol grouped.*other \(protocol.*different splits; 'test007' is in the"),
        (changed('val', track=lambda names: np.char.replace(names, 'val003', 'zither')), "'val003' is in"),
        (changed('test', start_s=lambda starts: starts + 0.5), 'other segments in the test part'),
        (changed('val', label=lambda labels: (labels + 1) % 4), "different labels: 'val000' of the val"),
        (changed('test', group=first_changed('someone')), "'test000' is of group 'test-artist0' in"),
        (changed('val', classes=first_changed('air')), "different classes: 'air' is one of .*other"),
        (changed('test', probabilities=lambda p: 2 * p), 'test.npz holds something else than prob'),
        (changed('test', probabilities=lambda p: p * np.nan), 'something else than probabilities'),
        (lambda folder: (folder / 'predictions/val.npz').unlink(), 'has no predictions/val.npz'),
        (lambda folder: (folder / 'result.json').unlink(), 'other has no result.json: expected the f'),
        (rewrite('predictions/test.npz', 'x'), 'test.npz is damaged'),
        (rewrite('result.json', '{'), 'result.json is damaged'),
        (rewrite('environment.json', '{}'), 'environment.json lacks split_fingerprint'),
    ],
)  # fmt: skip
def test_members_that_cannot_be_blended(runs, mistake, said):
    mistake(runs[OTHER])
    with pytest.raises(UserError, match=said) as caught:
        blend_members.make_tasks(runs[:2], 'segment')
    assert '\n' not in str(caught.value)


def test_folds_that_cannot_be_blended(runs, tmp_path):
    probabilities, labels = songs_drawn(9, 60)
    a, b = (write_folds(tmp_path / name, probabilities[0], labels) for name in 'ab')
    alone = write_run(tmp_path / 'alone', probabilities[0], labels, split='another')
    with pytest.raises(UserError, match='a has 3 folds, and none is of the split of .*alone'):
        blend_members.make_tasks([a, alone], 'segment')
    short = write_folds(tmp_path / 'short', probabilities[0], labels, folds=2)
    with pytest.raises(UserError, match='a has 3 folds and .*short has 2 folds'):
        blend_members.make_tasks([a, short], 'segment')
    (b / 'fold_1').rename(b / 'fold_7')
    with pytest.raises(UserError, match='b: has 3 folders fold_.*, and no fold_1'):
        blend_members.make_tasks([a, b], 'segment')
    with pytest.raises(UserError, match='nowhere is no folder'):
        blend_members.make_tasks([runs[0], tmp_path / 'nowhere'], 'segment')
    with pytest.raises(UserError, match='has no result.json.*did you mean .*/a'):
        blend_members.make_tasks([runs[0], tmp_path], 'segment')


@pytest.mark.parametrize(
    'flags, said',
    [
        (['--method=greedy', '--votes=onehot'], '--votes belongs to --method=integer, not to greedy'),
        (['--config=configs/mlp_features.py'], '--config: a blend has no config page'),
        (['--method=boosting'], '--method=boosting'),
    ],
)  # fmt: skip
def test_flags_that_do_not_fit(tmp_path, runs, flags, said):
    done = command(tmp_path / 'out', runs[:2], *flags)
    assert done.returncode == 2 and not (tmp_path / 'out').exists()
    (line,) = done.stderr.splitlines()
    assert said in line


@pytest.mark.parametrize(
    'choose, said',
    [
        (lambda runs: (runs[:1], runs[0].parent / 'out'), 'names one run'),
        (lambda runs: ([runs[0], runs[0]], runs[0].parent / 'out'), 'is named twice'),
        (lambda runs: (runs[:2], runs[1]), 'one of the members'),
        (lambda runs: (runs[:2], runs[1] / 'predictions' / 'blend'), 'one of the members'),
    ],
)
def test_members_named_wrongly(runs, choose, said):
    with pytest.raises(UserError, match=said):
        ran(*choose(runs))


# --- the run folder ------------------------------------------------------------------------------


def ran(members, workdir, method='mean', leaky=False, **settings):
    return blend_run.run(members, workdir, blend_run.Recipe(method, settings, 'segment', leaky))


def command(workdir, members, *flags):
    members = ','.join(map(str, members))
    return program.run(
        [
            *(sys.executable, '-m', 'genre_jax.blend', f'--members={members}'),
            *(f'--workdir={workdir}', *flags),
        ]
    )


@pytest.mark.slow
def test_a_leaky_blend_from_the_command_line(runs, tmp_path):
    out = tmp_path / 'blend'
    done = command(out, runs[:3], '--leaky_fit_on_test', '--max_weight=2', '--grow_by=1')
    assert done.returncode == 0, done.stderr
    result = program.result(out)
    assert result['leaky'] and result['blend']['settings']['votes'] == 'onehot'
    saved = Predictions.load(out / 'predictions' / 'test.npz')
    hits = accuracy(saved.probabilities, saved.label)
    assert hits == pytest.approx(result['parts']['test']['segment']['accuracy'])
    assert 'LEAKY: weights fitted on test minus the honest blend' in done.stdout
    assert f'{100 * hits:5.1f}' in done.stdout
    page = (out / 'report.html').read_text()
    assert '<title>LEAKY' in page and 'What was blended' in page
    assert 'fitted to the test part itself' in page and 'share groups' not in page
    charts = Page(page).drawn()['charts']
    assert list(charts) == ['blend-segments', 'blend-songs', 'blend-differences', 'blend-weights']
    rows = {row['name']: row['figures'] for row in charts['blend-segments']['rows']}
    for run in runs[:3]:
        test, val = rows[run.name]
        for figure, part in ((test, 'test'), (val, 'val')):
            table = Predictions.load(run / 'predictions' / f'{part}.npz')
            assert figure['value'] == pytest.approx(accuracy(table.probabilities, table.label))
            assert figure['ci95'][0] <= figure['value'] <= figure['ci95'][1] and not figure['mark']
    honest, leaky = (row[0] for name, row in rows.items() if name.startswith('blend, '))
    assert leaky['value'] == pytest.approx(hits) and (honest['mark'], leaky['mark']) == ('', 'LEAKY')
    versus_best, gap = (row['figures'][0] for row in charts['blend-differences']['rows'])
    assert gap['value'] == pytest.approx(leaky['value'] - honest['value'])
    best = max(runs[:3], key=lambda run: rows[run.name][1]['value'])
    assert versus_best['value'] == pytest.approx(honest['value'] - rows[best.name][0]['value'])
    shares = np.array([[f['value'] for f in row['figures']] for row in charts['blend-weights']['rows']])
    np.testing.assert_allclose(shares.sum(0), 1)
    weights = np.array(result['blend']['weights'][0])
    np.testing.assert_allclose(shares[:, 1], weights / weights.sum())
    # A blend of the blend: leaky, as its member is.
    assert measured([out, runs[OTHER]], 'mean')['leaky']


def test_the_same_again_and_nothing_else(runs, tmp_path):
    out = tmp_path / 'blend'
    ran(runs[:2], out)
    before = {name: (out / name).read_bytes() for name in ('result.json', 'report.html')}
    assert b'LEAKY' not in before['report.html']
    (out / 'predictions' / 'test.npz').write_bytes(b'cut')
    ran(runs[:2], out)
    assert before == {name: (out / name).read_bytes() for name in before}
    assert len(Predictions.load(out / 'predictions' / 'test.npz').track) == 180
    for members, method in ((runs[:3], 'mean'), (runs[:2], 'greedy')):
        with pytest.raises(UserError, match='holds a run with another config'):
            ran(members, out, method)
    assert before['result.json'] == (out / 'result.json').read_bytes()
    ran([out, runs[USELESS]], tmp_path / 'again')
    (out / 'fold_0').mkdir()
    with pytest.raises(UserError, match='holds fold_0 of another blend'):
        ran(runs[:2], out)


def test_folds_are_written_as_folds(tmp_path):
    probabilities, labels = songs_drawn(9, 60)
    folders = [write_folds(tmp_path / str(i), probabilities[i], labels) for i in range(2)]
    out = tmp_path / 'blend'
    result = ran(folders, out, 'greedy', steps=10)
    assert not result['leaky'] and result['protocol_detail'].startswith('all 3 folds together')
    assert (out / 'report.html').exists()
    whole = Predictions.load(out / 'predictions/test.npz')
    parts = [Predictions.load(out / f'fold_{i}/predictions/test.npz') for i in range(3)]
    joined = np.concatenate([part.probabilities for part in parts])
    np.testing.assert_array_equal(joined, whole.probabilities)
    blended = measured([out, folders[1]], 'mean')
    assert blended['parts']['test']['segment']['n'] == 180
    assert any('a blend of folds itself' in line for line in blended['warnings'])
