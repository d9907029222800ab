"""Splits: properties over many random group structures, and every refusal."""

import collections

import numpy as np
import pytest

from genre_jax.configs import common
from genre_jax.errors import UserError
from genre_jax.loading import splits

FRACTIONS = (0.70, 0.15, 0.15)


def track(name, label, group, split='', n_samples=1):
    return {
        'track': name, 'label': label, 'group': group, 'split': split, 'n_samples': n_samples,
    }  # fmt: skip


def make(tracks, lists=None, window=1, **keys):
    labels = sorted({t['label'] for t in tracks})
    config = common.get_config().split
    config.update(keys)
    return splits.make_split(config, tracks, labels, 'artist', lists or {}, window)


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
    with pytest.raises(UserError, match=r"the grouped split leaves .*'[abcd]' \(3 songs, 3 groups\)"):
        make(tracks)


def test_all_classes_with_too_few_groups_are_named():
    tracks = [track(f'{g}{label}', label, f'{g}{label}') for g in 'vwxyz' for label in 'ab']
    tracks += [track(f'c{i}', 'c', 'one') for i in range(7)] + [track('d1', 'd', 'two')]
    with pytest.raises(UserError, match=r'needs at least 3 groups; .*config\.data\.classes') as error:
        make(tracks)
    assert "class 'c' has 7 songs in 1 groups; class 'd' has 1 songs in 1 groups" in str(error.value)


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
            track(f'{label}/{g}{i}', label, f'{label}artist{g}', 'train') for g in range(30) for i in range(2)
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
    expected = rf"leaks: 1 of 25 groups .*'Anon\.' in {first} \(x\) and {second} \(y\).*allow_leak"
    with pytest.raises(UserError, match=expected):
        make(tracks, protocol='official')
    leaky = make(tracks, protocol='official', allow_leak=True)
    assert leaky.leaky and "1 of 25 groups stand in several parts, such as 'Anon.'" in leaky.detail
    removed = make(tracks, protocol='official', remove_crossing=True)
    assert not removed.leaky and f'1 of 9 songs of {first}' in removed.detail
    named = {part: {tracks[i]['track'] for i in rows} for part, rows in removed.tracks.items()}
    assert 'y' in named[second] and not any('x' in names for names in named.values())
    assert sum(map(len, named.values())) == len(tracks) - 1


def test_an_official_split_must_be_whole():
    tracks = [*official(), track('lost.wav', 'a', 'lost')]
    with pytest.raises(UserError, match=r'1 have none, such as lost\.wav'):
        make(tracks, protocol='official')


def test_an_official_split_without_a_test_part():
    with pytest.raises(UserError, match=r"2 of 2 classes .*'a' \(.*\) lacks test; 'b' .* lacks test"):
        make(official(('train', 'val')), protocol='official')


# --- lists that come with a dataset --------------------------------------------------------------


def test_a_list_leaves_tracks_out():
    tracks = [track(f'{label}{i}', label, f'{label}{i}') for label in 'ab' for i in range(20)]
    parts = {f'{label}{i}': splits.PARTS[i % 3] for label in 'ab' for i in range(12)}
    split = make(tracks, {'fault_filtered': parts}, protocol='fault_filtered')
    assert split.protocol == 'fault_filtered' and 'leaves out 16 of 40 songs' in split.detail
    for part, rows in split.tracks.items():
        assert {tracks[i]['track'] for i in rows} == {t for t, p in parts.items() if p == part}


def test_a_list_without_validation():
    tracks = [track(f'{label}{i}', label, f'{label}{i // 2}') for label in 'ab' for i in range(40)]
    parts = {t['track']: 'train' if int(t['track'][1:]) < 30 else 'test' for t in tracks}
    split = make(tracks, {'paper': parts}, protocol='paper', fractions=(0.6, 0.2, 0.2))
    check_whole(split, tracks)
    assert {tracks[i]['track'] for i in split.tracks['test']} == {t for t, p in parts.items() if p == 'test'}
    assert len(split.tracks['val']) == pytest.approx(15, abs=4)


def test_unknown_protocols_name_what_there_is():
    tracks = structure('single_recordings', 0)
    with pytest.raises(UserError, match='no such list; expected one of artist, .*paper.*stratified'):
        make(tracks, {'paper': {}}, protocol='fault_filtered')
    with pytest.raises(UserError) as error:
        make(tracks, protocol='fault_filtered')
    assert 'official' not in str(error.value)


# --- folds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('folds', [2, 3, 10])
@pytest.mark.parametrize('protocol', ['artist', 'kfold'])
def test_every_song_is_tested_in_one_fold(protocol, folds):
    tracks = structure('many_small_groups', 3)
    tested = []
    for fold in range(folds):
        split = make(tracks, protocol=protocol, folds=folds, fold=fold, allow_leak=True)
        rows = np.concatenate([split.tracks[part] for part in splits.PARTS])
        assert sorted(rows) == list(range(len(tracks)))
        tested += split.tracks['test'].tolist()
        groups = [{tracks[i]['group'] for i in split.tracks[part]} for part in splits.PARTS]
        crossing = groups[0] & groups[1] | groups[1] & groups[2] | groups[0] & groups[2]
        assert split.leaky == bool(crossing) == (protocol == 'kfold')
        for label in {t['label'] for t in tracks}:
            total = sum(t['label'] == label for t in tracks)
            count = sum(tracks[i]['label'] == label for i in split.tracks['test'])
            assert abs(count - total / folds) <= 3
    assert sorted(tested) == list(range(len(tracks)))


def test_folds_by_song_are_refused_where_groups_cross():
    with pytest.raises(UserError, match=r'the kfold split leaks: .*allow_leak=True'):
        make(structure('many_small_groups', 3), protocol='kfold')
    assert not make(structure('single_recordings', 8), protocol='kfold', folds=3).leaky


def test_mistaken_folds():
    tracks = structure('single_recordings', 8)
    with pytest.raises(UserError, match=r'config\.split\.fold=5: expected 0 to 4'):
        make(tracks, protocol='artist', folds=5, fold=5)
    with pytest.raises(UserError, match=r'too few for 1000 folds: it needs at least 1000 groups'):
        make(tracks, protocol='artist', folds=1000)


def test_stratified_is_by_song():
    tracks = structure('many_small_groups', 0)
    with pytest.raises(UserError, match='the stratified split leaks'):
        make(tracks, protocol='stratified')
    split = make(tracks, protocol='stratified', allow_leak=True)
    assert split.leaky
    for label in {t['label'] for t in tracks}:
        total = sum(t['label'] == label for t in tracks)
        for part, share in zip(splits.PARTS, FRACTIONS, strict=True):
            assert abs(sum(tracks[i]['label'] == label for i in split.tracks[part]) - share * total) <= 1.5


# --- by segment ----------------------------------------------------------------------------------


def test_segments_are_dealt_out_once():
    rng = np.random.default_rng(0)
    tracks = [
        track(f'{label}{i}', label, f'{label}{i}', n_samples=int(rng.integers(40, 400)))
        for label in 'ab'
        for i in range(30)
    ]
    with pytest.raises(UserError, match='segment_leaky lets segments of one song train and test'):
        make(tracks, protocol='segment_leaky', window=50)
    split = make(tracks, protocol='segment_leaky', window=50, allow_leak=True)
    assert split.leaky
    dealt = collections.Counter(
        (row, start)
        for segments in split.segments.values()
        for row, starts in segments.items()
        for start in starts.tolist()
    )
    expected = {(row, 50 * i) for row, t in enumerate(tracks) for i in range(max(1, t['n_samples'] // 50))}
    assert set(dealt) == expected and set(dealt.values()) == {1}
    for label in 'ab':
        of_label = [row for row, t in enumerate(tracks) if t['label'] == label]
        total = sum(row in of_label for row, _ in expected)
        shares = 0.9 * 0.70 / 0.85, 0.9 * 0.15 / 0.85, 0.1
        for part, share in zip(splits.PARTS, shares, strict=True):
            own = split.segments[part]
            assert abs(sum(len(own.get(row, ())) for row in of_label) - share * total) <= 2
    shuffled = [tracks[i] for i in rng.permutation(len(tracks))]
    names, other = [t['track'] for t in tracks], [t['track'] for t in shuffled]
    again = make(shuffled, protocol='segment_leaky', window=50, allow_leak=True)
    starts = [
        {(given[row], s) for row, own in one.segments['test'].items() for s in own.tolist()}
        for one, given in ((split, names), (again, other))
    ]
    assert starts[0] == starts[1]
    tested = collections.Counter()
    for fold in range(10):
        other = make(tracks, protocol='segment_leaky', window=50, allow_leak=True, fold=fold)
        tested.update((row, s) for row, own in other.segments['test'].items() for s in own.tolist())
    assert set(tested) == expected and set(tested.values()) == {1}
    reseeded = make(tracks, protocol='segment_leaky', window=50, allow_leak=True, seed=1)
    assert reseeded.fingerprint(names) != split.fingerprint(names)


# --- a share of the training part ----------------------------------------------------------------


@pytest.mark.parametrize('kind', KINDS)
def test_a_share_of_the_training_part(kind):
    for seed in range(5):
        tracks = structure(kind, seed)
        whole = make(tracks, seed=seed)
        assert 'of the training part' not in whole.detail
        before = set()
        for share in (0.1, 0.4, 0.8, 0.999):
            split = make(tracks, seed=seed, train_share=share)
            assert f'of the training part {100 * share:g} %, drawn by group' in split.detail
            for part in ('val', 'test'):
                assert (split.tracks[part] == whole.tracks[part]).all()
            kept = set(split.tracks['train'].tolist())
            assert before <= kept <= set(whole.tracks['train'].tolist())
            before = kept
            groups = {tracks[row]['group'] for row in kept}
            # Whole groups, and of every class the share, with less than a group to spare.
            assert kept == {row for row in whole.tracks['train'] if tracks[row]['group'] in groups}
            for label in {t['label'] for t in tracks}:
                own = [row for row in whole.tracks['train'] if tracks[row]['label'] == label]
                sizes = collections.Counter(tracks[row]['group'] for row in own)
                count = sum(tracks[row]['label'] == label for row in kept)
                assert share * len(own) <= count < share * len(own) + max(sizes.values())


def test_a_share_depends_on_the_seed_and_not_on_the_order():
    tracks = structure('single_recordings', 3)
    names = [t['track'] for t in tracks]
    split = make(tracks, train_share=0.5)
    order = np.random.default_rng(0).permutation(len(tracks))
    again = make([tracks[i] for i in order], train_share=0.5)
    assert {names[i] for i in split.tracks['train']} == {names[order[i]] for i in again.tracks['train']}
    assert split.fingerprint(names) != make(tracks).fingerprint(names)


def test_a_share_of_segments():
    tracks = [track(f'{x}{i}', x, f'{x}{i}', n_samples=40 + 20 * i) for x in 'ab' for i in range(9)]
    keys = {'protocol': 'segment_leaky', 'window': 10, 'allow_leak': True}
    whole, half = make(tracks, **keys), make(tracks, train_share=0.5, **keys)
    counts = []
    for split in (whole, half):
        train = split.segments['train']
        assert sorted(train) == split.tracks['train'].tolist()
        dealt = {(row, start) for row, starts in train.items() for start in starts.tolist()}
        counts.append(collections.Counter(tracks[row]['label'] for row, _ in dealt))
        assert dealt <= {(row, s) for row, own in whole.segments['train'].items() for s in own}
        assert split.segments['test'].keys() == whole.segments['test'].keys()
    assert counts[1] == {label: -(-n // 2) for label, n in counts[0].items()}
