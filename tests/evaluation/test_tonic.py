"""Figures of tonics: by hand, and against a plain loop."""

import numpy as np
import pytest

from genre_jax.evaluation import evaluate, tonic


def test_cents_are_the_nearest_octaves():
    found = tonic.away_cents(np.array([110.0, 220.0, 441.0, 330.0]), np.array([440.0, 440.0, 440.0, 220.0]))
    np.testing.assert_allclose(found, [0, 0, 1200 * np.log2(441 / 440), -498.045], atol=1e-3)


def test_candidates_come_in_the_order_of_their_pitch_classes():
    """From wherever they begin; S candidates fill an octave."""
    rng = np.random.default_rng(0)
    joint = rng.random((3, 8, 2))
    for row, begin in enumerate((0, 5, -11)):
        height = np.log2(55) + (begin + np.arange(8)) / 8
        ordered = tonic.by_pitch_class(joint[row : row + 1], height[None].astype(np.float32))[0]
        for i in range(8):
            np.testing.assert_array_equal(ordered[(begin + i) % 8], joint[row, i])


def test_the_tonic_is_refined_by_its_neighbours():
    posterior = np.zeros((3, 8))
    posterior[0, 3] = 1
    posterior[1, [2, 3, 4]] = 0.2, 0.5, 0.3
    posterior[2, [7, 0, 1]] = 0.3, 0.6, 0.1  # across the end
    wanted = 55 * 2 ** (np.array([3, 3.1, 7.8]) / 8)
    np.testing.assert_allclose(tonic.estimate(posterior), wanted)


def test_a_known_tonic_takes_its_candidates():
    rng = np.random.default_rng(1)
    ordered = rng.random((3, 8, 4))
    ordered /= ordered.sum((1, 2), keepdims=True)
    of = ordered / ordered.sum(-1, keepdims=True)
    given = tonic.given(ordered, np.array([220 * 2 ** (3 / 8), 110 * 2 ** (7.25 / 8), 0]))
    np.testing.assert_allclose(given[0], of[0, 3], rtol=1e-5)
    np.testing.assert_allclose(given[1], 0.75 * of[1, 7] + 0.25 * of[1, 0], rtol=1e-5)
    np.testing.assert_allclose(given[2], ordered[2].sum(0), rtol=1e-5)


def predictions():
    """Four songs of two windows: right, wrong tonic, wrong class but for a known tonic, no tonic known."""
    sure = {0: [0.9, 0.1], 1: [0.2, 0.8]}
    posterior = np.zeros((8, 106))
    for song, place in enumerate((10, 50, 30, 70)):
        posterior[[2 * song, 2 * song + 1], place] = 1
    hertz = 55 * 2 ** (np.array([10.5, 90, 31, 0]) / 106)
    hertz[3] = 0
    chosen = np.repeat([0, 1, 1, 0], 2)
    return evaluate.Predictions(
        track=np.repeat(['a', 'b', 'c', 'd'], 2),
        start_s=np.zeros(8, np.float32),
        label=np.repeat([0, 1, 0, 0], 2).astype(np.int32),
        probabilities=np.float32([sure[each] for each in chosen]),
        classes=np.array(['x', 'y']),
        tonic_hz=np.repeat(hertz, 2).astype(np.float32),
        tonic=posterior.astype(np.float32),
        given=np.float32([sure[each] for each in np.repeat([0, 0, 0, 0], 2)]),
    )


def test_figures_by_song():
    found = tonic.score(predictions(), {song: song for song in 'abcd'})
    shares = {key: found[key]['accuracy'] for key in found if key not in ('n', 'median_cents')}
    third = pytest.approx(1 / 3)
    assert shares['tonic'] == pytest.approx(2 / 3) and shares['tonic_and_class'] == third
    assert shares['class_tonic_unknown'] == pytest.approx(2 / 3)
    assert shares['class_tonic_known'] == pytest.approx(2 / 3)
    assert found['n'] == 3 and found['median_cents'] == pytest.approx(1200 / 106, rel=1e-3)
    for figures in (found['tonic'], found['tonic_and_class']):
        low, high = figures['accuracy_ci95']
        assert low < figures['accuracy'] < high


def test_nothing_is_known():
    unknown = predictions()
    unknown.tonic_hz[:] = 0
    assert tonic.score(unknown, {song: song for song in 'abcd'}) is None


def test_what_the_tonic_alone_tells():
    """Classes that have keys of their own are told by them, whatever the octave; others by chance."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 100)
    group = np.arange(400).astype(str)
    train, test = np.arange(0, 400, 2), np.arange(1, 400, 2)
    octave = rng.integers(1, 4, 400)
    own = 55 * 2.0 ** (octave + (300 * label + rng.normal(0, 20, 400)) / 1200)
    told = tonic.alone(label, own, group, train, test)
    assert told['n'] == 200 and told['accuracy'] == 1.0 and told['commonest'] == 0.25
    any_key = 55 * 2.0 ** (octave + rng.random(400))
    told = tonic.alone(label, any_key, group, train, test)
    assert told['accuracy_ci95'][0] < 0.25 < told['accuracy_ci95'][1]
    # Two classes with keys about 0 and 100 cents, of one width: the bound lies between them.
    both = np.repeat([0, 1], 2000)
    cents = 100 * both + rng.normal(0, 100, 4000)
    told = tonic.alone(
        both, 55 * 2.0 ** (cents / 1200), np.arange(4000).astype(str), *np.arange(4000).reshape(-1, 2).T
    )
    assert told['accuracy'] == pytest.approx(0.6915, abs=0.03)  # the normal distribution up to 0.5


def test_songs_without_a_tonic_are_left_out():
    label, group = np.array([0, 1, 0, 1, 0]), np.array(list('abcde'))
    tonic_hz = np.array([110.0, 160.0, 220.0, 0.0, 0.0])
    told = tonic.alone(label, tonic_hz, group, np.array([0, 1, 4]), np.array([2, 3]))
    assert (told['n'], told['accuracy']) == (1, 1.0)
    assert tonic.alone(label, tonic_hz, group, np.array([0, 1, 4]), np.array([3])) is None
