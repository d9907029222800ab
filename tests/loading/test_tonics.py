"""Folds by tonic, against distances that are taken pair by pair."""

import numpy as np
import pytest

from genre_jax.config import keys
from genre_jax.errors import UserError
from genre_jax.loading import splits, tonics


def recording(number, label, group, hz):
    return {
        'track': f'r{number}', 'label': label, 'group': group, 'split': '', 'tonic_hz': hz, 'n_samples': 1,
    }  # fmt: skip


def recordings(seed, musicians=40, each=8, spread_cents=60):
    """Musicians who keep to a tonic of theirs, more or less, in any octave, and play every class."""
    rng = np.random.default_rng(seed)
    made = []
    for musician in range(musicians):
        home = rng.uniform(0, 1200)
        for i in range(each):
            above = home + rng.normal(0, spread_cents) + 1200 * rng.integers(0, 3)
            made.append(recording(len(made), 'abcd'[i % 4], f'm{musician}', 55 * 2 ** (above / 1200)))
    return made


def make(tracks, fold, folds=5, margin=50.0, **settings):
    config = keys.get_config().split
    config.update(protocol='tonic', folds=folds, fold=fold, tonic_margin_cents=margin, **settings)
    return splits.make_split(config, tracks, sorted({t['label'] for t in tracks}), 'artist')


def pairs_apart(tracks, split, parts=('train', 'val')):
    """Returns how many cents each pair of a test recording and another lies apart, whatever the octave."""
    hz = np.array([track['tonic_hz'] for track in tracks])
    others = np.concatenate([split.tracks[part] for part in parts])
    octaves = np.log2(hz[split.tracks['test']][:, None] / hz[others])
    return 1200 * np.abs(octaves - np.round(octaves))


@pytest.mark.parametrize('margin', [0.0, 50.0, 90.0])
@pytest.mark.parametrize('seed', range(5))
def test_no_tonic_of_training_lies_near_one_of_the_test(seed, margin):
    tracks = recordings(seed)
    tested = []
    for fold in range(5):
        split = make(tracks, fold, margin=margin)
        assert pairs_apart(tracks, split).min() >= margin and not split.leaky
        groups = [{tracks[row]['group'] for row in split.tracks[part]} for part in splits.PARTS]
        assert not (groups[2] & (groups[0] | groups[1])) and not groups[0] & groups[1]
        # What is left out had to be: it is near, or of a group that is tested.
        taken = np.concatenate(list(split.tracks.values()))
        for row in set(range(len(tracks))) - set(taken.tolist()):
            alone = splits.Split('', '', {'test': split.tracks['test'], 'train': np.array([row])})
            near = pairs_apart(tracks, alone, ('train',)).min() < margin
            assert near or tracks[row]['group'] in groups[2]
        tested += split.tracks['test'].tolist()
        assert f'within {margin:g} cents' in split.detail
    assert sorted(tested) == list(range(len(tracks)))


def test_groups_may_be_shared_and_that_is_marked():
    tracks = recordings(0)
    shared = [make(tracks, fold, allow_leak=True) for fold in range(5)]
    alone = [make(tracks, fold) for fold in range(5)]
    assert any(split.leaky for split in shared)
    for one, other in zip(shared, alone, strict=True):
        assert pairs_apart(tracks, one).min() >= 50
        assert len(one.tracks['train']) + len(one.tracks['val']) >= len(other.tracks['train']) + len(
            other.tracks['val']
        )


def test_tonics_that_are_alike_stay_together():
    """Six tonics, 200 cents apart, in three folds: two each, and nothing has to be left out."""
    tracks = [recording(i, 'ab'[i % 2], f'g{i}', 61.0 * 2 ** (i // 10 / 6) * 2 ** (i % 3)) for i in range(60)]
    for fold in range(3):
        split = make(tracks, fold, folds=3)
        assert len(split.tracks['test']) == 20 and sum(map(len, split.tracks.values())) == 60
        assert pairs_apart(tracks, split).min() == pytest.approx(200)


def test_the_seed_and_the_order_of_the_list_leave_the_test_part_as_it_is():
    tracks = recordings(3)
    names = {tracks[row]['track'] for row in make(tracks, 2).tracks['test']}
    moved = tracks[7:] + tracks[:7]
    assert {moved[row]['track'] for row in make(moved, 2, seed=5).tracks['test']} == names


def test_tonics_that_are_unknown_or_all_alike_are_refused():
    tracks = recordings(1)
    for row in (4, 9):
        tracks[row]['tonic_hz'] = 0.0
    with pytest.raises(
        UserError, match=r"'tonic' needs .*, and 2 of 320 have none, such as 'r4': give it in"
    ):
        make(tracks, 0)
    alike = [track | {'tonic_hz': 220.0 * 2 ** (i % 3)} for i, track in enumerate(tracks)]
    with pytest.raises(UserError, match=r'no tonic lies 50 cents or more from those of the test part'):
        make(alike, 0)
    with pytest.raises(UserError, match='config.split.folds=400: there are 320 recordings'):
        make(recordings(1), 0, folds=400)
    with pytest.raises(UserError, match='config.split.fold=5: expected 0 to 4'):
        make(recordings(1), 5)


def test_distances_on_the_circle():
    places, others = np.array([0.0, 10, 599, 601, 1199]), np.array([1195.0, 5])
    assert tonics.away(places, others).tolist() == [5, 5, 594, 594, 4]
    assert tonics.cents([55, 110, 440 * 2 ** (-1 / 12)]).round(6).tolist() == [0, 0, 1100]
