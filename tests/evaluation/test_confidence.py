"""Temperatures and calibration against simulations, SciPy and scikit-learn; rules against planted ones."""

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import sklearn.covariance
import sklearn.metrics

from genre_jax.errors import UserError
from genre_jax.evaluation import confidence


def drawn(n, temperature, seed=0, n_classes=5):
    """Labels, what a network says whose logits are too large by a factor, and what they were drawn by."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, n_classes))
    true = scipy.special.softmax(logits, -1)
    labels = (true.cumsum(-1) < rng.uniform(size=(n, 1))).sum(-1)
    return labels, scipy.special.softmax(temperature * logits, -1).astype(np.float32), true


@pytest.mark.parametrize('temperature', [0.4, 1.0, 3.0])
def test_the_temperature_of_a_simulation_is_found(temperature):
    labels, said, true = drawn(20_000, temperature)
    found = confidence.fit_temperature(labels, said, len(labels))
    assert found == pytest.approx(temperature, rel=0.05)
    assert np.allclose(confidence.tempered(said, temperature), true, atol=1e-4)
    before = confidence.calibration(labels, said)['expected_error']
    after = confidence.calibration(labels, confidence.tempered(said, found))['expected_error']
    assert after < 0.015
    assert temperature == 1 or before > 5 * after


def test_few_songs_that_are_all_right_are_no_reason_to_be_certain():
    labels = np.arange(5) % 5
    said = np.full((5, 5), 0.1, np.float32) + 0.5 * np.eye(5, dtype=np.float32)
    sure = confidence.tempered(said, confidence.fit_temperature(labels, said, 5)).max(-1)
    assert np.allclose(sure, 6 / 7, atol=1e-3)  # (n + 1) / (n + 2)


def test_a_probability_of_0_in_float32_is_no_accident():
    said = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    assert np.isfinite(confidence.tempered(said, 0.05)).all()
    assert confidence.fit_temperature(np.array([0, 0, 1]), said, 3) > 1


def test_the_calibration_error_is_that_by_hand():
    said = np.array([[0.99, 0.01], [0.98, 0.02], [0.52, 0.48], [0.3, 0.7]])
    found = confidence.calibration(np.array([0, 1, 1, 1]), said)
    assert [each['n'] for each in found['bins']] == [1, 1, 2]  # of [7/15, 8/15), [10/15, 11/15), the last
    errors = np.abs([0 - 0.52, 1 - 0.7, 0.5 - 0.985])
    assert found['expected_error'] == pytest.approx((errors * [1, 1, 2]).sum() / 4)


def test_distances_are_mahalanobis_distances_to_the_nearest_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 400)
    embeddings = (rng.standard_normal((800, 6)) @ rng.standard_normal((6, 6)) + 3 * labels[:, None]).astype(
        np.float32
    )
    noise = rng.standard_normal((5, 6)).astype(np.float32)
    space = confidence.Space.fit(embeddings, labels, 2, noise)
    rest = embeddings - space.means[labels]
    inverse = np.linalg.inv(
        sklearn.covariance.shrunk_covariance(np.cov(rest.T, bias=True).astype(float), shrinkage=0.5)
    )
    points = rng.standard_normal((20, 6)).astype(np.float32)
    by_hand = [
        min(scipy.spatial.distance.mahalanobis(point, mean, inverse) for mean in space.means)
        for point in points
    ]
    assert np.allclose(space.distance(points), by_hand, rtol=1e-3)
    to_noise = [
        min(scipy.spatial.distance.mahalanobis(point, sound, inverse) for sound in noise) for point in points
    ]
    assert np.allclose(space.contrast(points), np.subtract(to_noise, by_hand), rtol=1e-3, atol=1e-3)


def test_more_units_than_windows_have_distances():
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((10, 64)).astype(np.float32)
    space = confidence.Space.fit(embeddings, np.zeros(10, int), 3, embeddings[:1])
    far = space.distance(100 + embeddings)
    assert np.isfinite(far).all() and (far > space.distance(embeddings)).all()
    flat = confidence.Space.fit(0 * embeddings, np.zeros(10, int), 3, embeddings[:1])
    assert np.isfinite(flat.distance(embeddings)).all()


def test_separation_is_the_area_under_the_roc_curve():
    rng = np.random.default_rng(0)
    above, below = rng.integers(0, 9, 50), rng.integers(0, 6, 70)
    area = sklearn.metrics.roc_auc_score(np.repeat([1, 0], [50, 70]), np.concatenate([above, below]))
    assert confidence.separation(above, below) == pytest.approx(area)
    assert confidence.separation(above, below[:0]) is None


def test_noise_that_lies_in_the_midst_of_a_class_is_no_music():
    """Classes far apart; noise as near to the mean of one as many of its own windows."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    songs = (rng.standard_normal((400, 8)) + 6 * labels[:, None]).astype(np.float32)
    noise = (0.9 + 0.05 * rng.standard_normal((40, 8))).astype(np.float32)
    space = confidence.Space.fit(songs, labels, 2, noise[::2])
    flat = np.full((len(songs), 2), 0.5), np.zeros(len(songs))
    sure = confidence.sureness(*flat, space, songs)
    of_noise = confidence.sureness(flat[0][:20], flat[1][:20], space, noise[1::2])
    scales = confidence.scales(sure)
    reached = {key: np.sort(each)[19:21] for key, each in sure.items()}
    for key in ('distance', 'music'):
        least, deviation = scales[key]
        assert reached[key][0] <= least <= reached[key][1] and deviation == pytest.approx(sure[key].std())
    assert (
        confidence.separation(sure['distance'], of_noise['distance']) < 0.6
    )  # by distance alone it is music
    both = [confidence.lesser(each, scales, 'distance') for each in (sure, of_noise)]
    assert confidence.separation(*both) > 0.95
    by_hand = [
        (sure[key] - least) / deviation
        for key, (least, deviation) in scales.items()
        if key in ('distance', 'music')
    ]
    assert np.allclose(both[0], np.minimum(*by_hand))


def test_the_rule_that_separates_is_chosen():
    rng = np.random.default_rng(0)
    right = rng.uniform(size=300) < 0.7
    blind = {rule: rng.standard_normal(300) for rule in ('probability', 'energy', 'distance')}
    known = blind | {'energy': right + 0.1 * rng.standard_normal(300)}
    strange = {rule: rng.standard_normal(50) for rule in known} | {'energy': np.full(50, -9.0)}
    assert confidence.choose_rule(known, right, strange)['rule'] == 'energy'
    # All right, and no sound to compare with: any rule, but one.
    nothing = {rule: np.zeros(0) for rule in known}
    assert confidence.choose_rule(known, np.ones(300, bool), nothing)['rule'] in known


def test_songs_have_the_mean_of_their_windows():
    assert confidence.of_songs(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1])).tolist() == [2, 5]


def test_what_was_found_is_read_again_and_damage_is_said(tmp_path):
    assert confidence.load(tmp_path) is None
    space = confidence.Space.fit(np.eye(4, dtype=np.float32), np.arange(4), 4, np.ones((2, 4), np.float32))
    found = {
        'segment': {'temperature': 2.0},
        'song': {'temperature': 1.0},
        'reject': {
            'rule': 'energy',
            'scales': {key: [1.0, 2.0] for key in (*confidence.RULES, confidence.MUSIC)},
            'least': {'song': -1.0, 'window': -2.0},
        },
    }
    confidence.save(found, space, tmp_path)
    again, also = confidence.load(tmp_path)
    assert again == found and np.array_equal(also.means, space.means)
    for damaged in ('{}', '{"segment": 3}', 'nothing', '{"segment": {"temperature": 0.0}}'):
        (tmp_path / 'confidence.json').write_text(damaged)
        with pytest.raises(UserError, match='damaged'):
            confidence.load(tmp_path)
    confidence.save(found, space, tmp_path)
    (tmp_path / 'space.npz').write_bytes(b'nothing')
    with pytest.raises(UserError, match='damaged'):
        confidence.load(tmp_path)
