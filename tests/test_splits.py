"""Splits: properties over many random group structures, and every refusal."""

import collections

import ml_collections
import numpy as np
import pytest

from genre_jax import splits
from genre_jax.errors import UserError

FRACTIONS = (0.70, 0.15, 0.15)


def track(name, label, group, split=''):
    return {'track': name, 'label': label, 'group': group, 'split': split}


def settings(protocol='grouped', fractions=FRACTIONS, seed=0):
    return ml_collections.ConfigDict({'protocol': protocol, 'fractions': fractions, 'seed': seed})


def make(tracks, **keys):
    labels = sorted({t['label'] for t in tracks})
    return splits.make_split(settings(**keys), tracks, labels, 'artist')


def structure(kind, seed):
    """Random tracks: a few classes, each with groups of random sizes."""
    rng = np.random.default_rng(seed)
    tracks = []
    for label in 'abcdef'[: rng.integers(2, 7)]:
        if kind == 'few_big_groups':
            sizes = rng.integers(5, 40, rng.integers(3, 6))
        elif kind == 'many_small_groups':
            sizes = rng.integers(1, 4, rng.integers(20, 80))
        elif kind == 'single_recordings':
            sizes = np.ones(rng.integers(3, 60), int)
        else:  # 'one_giant': one group holds most of the class
            sizes = np.append(rng.integers(1, 3, rng.integers(3, 10)), 80)
        for g, size in enumerate(sizes):
            tracks += [track(f'{label}/{g}/{i}', label, f'{label}{g}') for i in range(size)]
    return [tracks[i] for i in rng.permutation(len(tracks))]


KINDS = ('few_big_groups', 'many_small_groups', 'single_recordings', 'one_giant')


def check_whole(split, tracks):
    """Every track stands in one part, no group in two, every class in each."""
    rows = np.concatenate([split.tracks[part] for part in splits.PARTS])
    assert sorted(rows) == list(range(len(tracks)))
    part_of = {row: part for part in splits.PARTS for row in split.tracks[part]}
    parts_of_group = collections.defaultdict(set)
    for row, t in enumerate(tracks):
        parts_of_group[t['group']].add(part_of[row])
    assert all(len(parts) == 1 for parts in parts_of_group.values())
    for part in splits.PARTS:
        assert (np.diff(split.tracks[part]) > 0).all()
        assert {tracks[row]['label'] for row in split.tracks[part]} == {t['label'] for t in tracks}


@pytest.mark.parametrize('fractions', [FRACTIONS, (0.6, 0.15, 0.25), (0.34, 0.33, 0.33)])
@pytest.mark.parametrize('kind', KINDS)
def test_grouped_splits(kind, fractions):
    for seed in range(25):
        tracks = structure(kind, seed)
        split = make(tracks, seed=seed, fractions=fractions)
        check_whole(split, tracks)
        # A part takes a group only while it lacks songs, so no part ends more than the largest group
        # above what is wanted, and what all lack sums to zero, so none more than two below.
        for label in {t['label'] for t in tracks}:
            own = [t for t in tracks if t['label'] == label]
            largest = max(collections.Counter(t['group'] for t in own).values())
            for part, share in zip(splits.PARTS, fractions, strict=True):
                count = sum(tracks[row]['label'] == label for row in split.tracks[part])
                assert share * len(own) - 2 * largest < count < share * len(own) + largest


def test_many_groups_come_close_to_the_shares():
    for seed in range(10):
        tracks = structure('many_small_groups', seed)
        split = make(tracks, seed=seed)
        for label in {t['label'] for t in tracks}:
            total = sum(t['label'] == label for t in tracks)
            for part, share in zip(splits.PARTS, FRACTIONS, strict=True):
                count = sum(tracks[row]['label'] == label for row in split.tracks[part])
                assert abs(count - share * total) <= 1.5  # songs


@pytest.mark.parametrize('n_labels', [2, 3, 6])
def test_groups_that_hold_several_labels(n_labels):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        tracks = [
            track(f'{g}/{i}', 'abcdef'[rng.integers(n_labels)], f'g{g}')
            for g in range(12 * n_labels)
            for i in range(rng.integers(1, 6))
        ]
        split = make(tracks, seed=seed)
        check_whole(split, tracks)
        for part, share in zip(splits.PARTS, FRACTIONS, strict=True):
            assert abs(len(split.tracks[part]) / len(tracks) - share) < 0.06


def test_groups_that_cannot_be_divided_are_refused():
    tracks = [track(f'{g}{label}', label, g) for g in 'xyz' for label in 'ab']
    check_whole(make(tracks), tracks)
    # Each pair of the four groups shares a class, and a class has three groups at most: whichever two
    # groups stand in one part, some class misses a part.
    holds = {'w': 'abc', 'x': 'abd', 'y': 'acd', 'z': 'bcd'}
    tracks = [track(f'{g}{label}', label, g) for g, labels in holds.items() for label in labels]
    with pytest.raises(
        UserError, match=r"class '[abcd]' has no song in the \w+ part of the grouped"
    ):
        make(tracks)


@pytest.mark.parametrize('kind', KINDS)
def test_the_seed_decides_and_the_order_of_the_list_does_not(kind):
    different = 0
    for seed in range(8):
        tracks = structure(kind, seed)
        rng = np.random.default_rng(seed)
        shuffled = [tracks[i] for i in rng.permutation(len(tracks))]

        def parts(given, seed):
            split = make(given, seed=seed)
            return {part: {given[i]['track'] for i in split.tracks[part]} for part in splits.PARTS}

        assert parts(tracks, seed) == parts(tracks, seed) == parts(shuffled, seed)
        different += parts(tracks, seed) != parts(tracks, seed + 1)
    # Few groups leave few splits to choose from.
    assert different >= (1 if kind == 'few_big_groups' else 6)


def test_fingerprint_tells_splits_apart():
    tracks = structure('single_recordings', 0)
    names = [t['track'] for t in tracks]
    one, same, other = (make(tracks, seed=seed).fingerprint(names) for seed in (0, 0, 1))
    assert one == same != other


def test_the_protocol_in_words():
    split = make(structure('single_recordings', 1), seed=7, fractions=(0.6, 0.15, 0.25))
    assert split.protocol == 'grouped'
    for word in ('artist', '60/15/25 %', 'seed 7'):
        assert word in split.detail


# --- refusals ------------------------------------------------------------------------------------


def test_too_few_groups_names_the_class():
    tracks = structure('single_recordings', 0)
    tracks += [track(f'z/{i}', 'zydeco', f'z{i % 2}') for i in range(9)]
    with pytest.raises(UserError, match=r"'zydeco' has 9 songs in 2 groups.* 3 groups"):
        make(tracks)


def test_one_class():
    tracks = [track(f'{i}', 'polka', f'{i}') for i in range(9)]
    with pytest.raises(UserError, match=r"9 usable recordings have one label \('polka'\)"):
        make(tracks)


# --- the dataset's own split ---------------------------------------------------------------------


def official(parts=('train', 'val', 'test'), per_part=4):
    return [
        track(f'{label}/{part}{i}', label, f'{label}{part}{i}', part)
        for label in 'ab'
        for part in parts
        for i in range(per_part)
    ]


def test_an_official_split_is_honoured():
    tracks = official()[::-1]
    split = make(tracks, protocol='official')
    check_whole(split, tracks)
    for part in splits.PARTS:
        assert {tracks[i]['split'] for i in split.tracks[part]} == {part}
    assert split.protocol == 'official'


def test_validation_is_set_aside_from_the_training_part_by_group():
    tracks = official(('test',), 5)
    for label in 'ab':
        tracks += [
            track(f'{label}/{g}{i}', label, f'{label}artist{g}', 'train')
            for g in range(30)
            for i in range(2)
        ]
    split = make(tracks, protocol='official', fractions=(0.6, 0.2, 0.2))
    check_whole(split, tracks)
    assert {tracks[i]['split'] for i in split.tracks['test']} == {'test'}
    for part in ('train', 'val'):
        assert {tracks[i]['split'] for i in split.tracks[part]} == {'train'}
    # 0.2 / (0.6 + 0.2) of the training part, in both classes.
    labels = collections.Counter(tracks[i]['label'] for i in split.tracks['val'])
    assert all(abs(labels[label] - 15) <= 2 for label in 'ab')
    assert '25 %' in split.detail


@pytest.mark.parametrize('groups', [2, 3, 4])
def test_setting_validation_aside_takes_one_group_where_there_are_few(groups):
    tracks = official(('train', 'test'), groups)
    split = make(tracks, protocol='official')
    check_whole(split, tracks)
    labels = collections.Counter(tracks[i]['label'] for i in split.tracks['val'])
    assert labels == {'a': 1, 'b': 1}


@pytest.mark.parametrize(('first', 'second'), [('train', 'test'), ('val', 'test')])
def test_a_leaking_official_split_names_the_group(first, second):
    tracks = official()
    tracks += [track('x', 'a', 'Anon.', first), track('y', 'b', 'Anon.', second)]
    with pytest.raises(UserError, match=rf"leaks: group 'Anon\.' .*{first}.*{second}"):
        make(tracks, protocol='official')


def test_an_official_split_must_be_whole():
    tracks = [*official(), track('lost.wav', 'a', 'lost')]
    with pytest.raises(UserError, match=r'1 have none, such as lost\.wav'):
        make(tracks, protocol='official')


def test_an_official_split_without_a_test_part():
    with pytest.raises(UserError, match="class 'a' has no song in the test part"):
        make(official(('train', 'val')), protocol='official')
