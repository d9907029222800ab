"""The orbit network: every candidate is looked at alike, and a transposition moves the candidates alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import models
from genre_jax.errors import UserError
from genre_jax.features import melody
from genre_jax.models.kernels import candidates

BINS, CLASSES = 53, 5


def make(**settings):
    settings = {'hidden_units': 8, 'members': 2} | settings
    return models.build({'name': 'orbit', **settings}, CLASSES)


def features(rng, batch=3, components=4):
    """Features as the front end lays them out, of random numbers."""
    shape = (batch, 2)
    lowest = rng.integers(50, 200, (batch, 1)) / 2 + np.array([0, 0.5])
    frequency = rng.integers(0, 27, (batch, 2, components))
    surfaces = np.stack([*rng.standard_normal((2, *frequency.shape)), frequency], -1)
    parts = [lowest[..., None], rng.random((*shape, 5 * 211)), rng.random((*shape, 7 * 53))]
    return np.concatenate([*parts, surfaces.reshape(*shape, -1)], -1).astype(np.float32)


@functools.cache
def network():
    model = make()
    rows = features(np.random.default_rng(0))
    variables = jax.jit(lambda: model.init(jax.random.key(0), rows, train=False))()
    scored = jax.jit(lambda rows, tonic_hz: model.apply(variables, rows, train=False, tonic_hz=tonic_hz)[0])
    return model, variables, rows, scored


def found(rows, tonic_hz):
    return network()[-1](rows, np.float32(tonic_hz))


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def test_number_of_parameters():
    model = models.build({'name': 'orbit'}, 20)
    row = jax.ShapeDtypeStruct((1, 2, 2291), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), row)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 2 * (1742 * 192 + 192 + 192 * 20 + 20 + 1742 * 20)


def test_scores_are_those_of_each_candidate_alone():
    """In NumPy, candidate by candidate: what is seen from it, and the two layers."""
    _, variables, rows, _ = network()
    scores = found(rows, np.zeros(len(rows)))
    weights = jax.tree.map(np.asarray, variables['params']['members'])
    for example in range(len(rows)):
        for candidate in (0, 1, 37, 104, 105):
            place, grid = divmod(candidate, 2)
            row = rows[example, grid].astype(np.float64)
            unfolded, folded = row[1:1056].reshape(5, 211), row[1056:1427].reshape(7, 53)
            window = unfolded[:, place : place + 159]
            turned = np.roll(folded, -place, axis=1)
            window = np.sqrt(window / window.sum(1, keepdims=True)) * np.array([1, *[0.5] * 4])[:, None]
            turned = np.sqrt(turned / turned.sum(1, keepdims=True)) * np.array([1, *[0.5] * 6])[:, None]
            real, imaginary, frequency = row[1427:].reshape(-1, 3).T
            component = 3 * (real + 1j * imaginary) * np.exp(2j * np.pi * frequency * place / BINS)
            seen = np.concatenate([window.T.ravel(), turned.T.ravel(), component.real, component.imag])
            for member in range(2):
                own = jax.tree.map(lambda x, member=member: x[member], weights)
                hidden = gelu(seen @ own['dense_1']['kernel'] + own['dense_1']['bias'])
                wanted = hidden @ own['output']['kernel'] + own['output']['bias']
                wanted = wanted + seen @ own['straight']['kernel']
                np.testing.assert_allclose(scores.scores[example, member, candidate], wanted, atol=2e-4)
            height = np.log2(55) + (row[0] + place) / BINS
            assert scores.height[example, candidate] == pytest.approx(height, abs=1e-5)


def test_probabilities_are_the_mean_of_the_members():
    model, variables, rows, _ = network()
    scores = found(rows, np.zeros(len(rows)))
    flat = np.asarray(scores.scores, np.float64).reshape(len(rows), 2, -1)
    each = np.exp(flat - flat.max(-1, keepdims=True))
    each /= each.sum(-1, keepdims=True)
    joint = each.mean(1).reshape(len(rows), 106, CLASSES)
    np.testing.assert_allclose(np.exp(scores.log_joint), joint, atol=1e-6)
    logits, embedding = jax.jit(lambda: model.apply(variables, rows, train=False))()
    np.testing.assert_allclose(jax.nn.softmax(logits), joint.sum(1), atol=1e-6)
    assert embedding.shape == (len(rows), 16)


@pytest.mark.parametrize('half_bins', [-7, 1, 2, 53, 106])
def test_transposed_melodies_have_the_same_answer_higher_up(half_bins):
    """From the melody to the posterior, in float32: the candidates are in another place, and nothing else."""
    rng = np.random.default_rng(1)
    f0_hz = 300 * np.exp2(0.6 * np.sin(np.cumsum(rng.standard_normal((2, 900)), 1) / 30)).astype(np.float32)
    f0_hz[rng.random(f0_hz.shape) < 0.1] = 0
    answer = whole_way()
    here, there = answer(f0_hz), answer(f0_hz * np.float32(2 ** (half_bins / 2 / BINS)))
    np.testing.assert_allclose(there[0], here[0], atol=1e-5)
    np.testing.assert_allclose(there[1], here[1], atol=1e-5)
    np.testing.assert_allclose(there[2] - here[2], half_bins / 2 / BINS, atol=1e-5)


@functools.cache
def whole_way():
    front_end = melody.Melody(delays_s=(0.3,), components=30)
    model = make()
    shape = jax.eval_shape(front_end, jax.ShapeDtypeStruct((2, 900), jnp.float32))
    variables = jax.jit(lambda: model.init(jax.random.key(3), jnp.ones(shape.shape), train=False))()
    # Far from even, so that what is equal is so for a reason.
    variables = jax.tree.map(lambda x: 3 * x, variables)

    @jax.jit
    def answer(f0_hz):
        scores, _ = model.apply(variables, front_end(f0_hz), train=False, tonic_hz=jnp.zeros(len(f0_hz)))
        return scores.logits, jnp.exp(scores.log_joint), scores.height

    return answer


def test_a_tonic_is_shared_by_the_candidates_next_to_it():
    rows = network()[2]
    place = rows[:, 0, 0] + np.array([3.25, 20.5, 52.75])  # the last lies between the highest and the lowest
    octave = np.array([1, 4, 0.5])
    scores = found(rows, np.append(octave[:2] * 55 * 2 ** (place[:2] / BINS), 0))
    share = np.asarray(scores.share)
    np.testing.assert_allclose(share.sum(1), [1, 1, 0], atol=1e-4)
    # Of the first grid the places 3 and 4, of the second, half a bin higher, 2 and 3.
    np.testing.assert_allclose(share[0, [6, 8, 5, 7]], np.array([0.75, 0.25, 0.25, 0.75]) / 2, atol=1e-3)
    np.testing.assert_allclose(share[1, [40, 42, 41]], np.array([0.5, 0.5, 1]) / 2, atol=1e-3)
    share = np.asarray(found(rows, 55 * 2 ** (place / BINS)).share)
    np.testing.assert_allclose(share[2, [104, 0]], np.array([0.25, 0.75]) / 2, atol=1e-3)


def test_training_draws_the_true_tonic_and_stands_for_the_others():
    """The two candidates next to the tonic are always there; the corrected sum is that of all, on average."""
    rows = network()[2]
    rows = np.repeat(rows[:1], 400, axis=0)
    tonic_hz = np.full(400, 55 * 2 ** ((rows[0, 0, 0] + 17.3) / BINS), np.float32)
    draw = jax.jit(functools.partial(candidates.drawn, jax.random.key(0), bins=BINS, kept=10))
    for known in (True, False):
        drawn = draw(melody.columns(rows, BINS).lowest, tonic_hz * np.float32(known))
        grid, place = np.asarray(drawn.row), np.asarray(drawn.place)
        assert place.shape == (400, 10) and all(len(set(each)) == 10 for each in place)
        assert set(grid[:, 0]) == {0, 1} and (grid == grid[:, :1]).all()
        if known:
            above = 17.3 - grid[:, 0] / 2
            for step in (0, 1):
                assert (place == np.floor(above)[:, None] + step).any(1).all()
            np.testing.assert_allclose(drawn.share.sum(1), 1, atol=1e-3)
            np.testing.assert_allclose((drawn.share * place).sum(1), above, atol=1e-2)
        else:
            assert not np.asarray(drawn.share).any()
        weight = np.linspace(1, 3, BINS)[place] * np.exp(drawn.correction)
        assert weight.sum(1).mean() == pytest.approx(np.linspace(1, 3, BINS).sum(), rel=0.02)


@pytest.mark.parametrize('shape', [(4, 8), (3, 2, 100), (2, 3, 2291)])
def test_other_features_are_refused(shape):
    with pytest.raises(UserError, match=r"config.features.name='melody'"):
        make().init(jax.random.key(0), jnp.ones(shape), train=False)
