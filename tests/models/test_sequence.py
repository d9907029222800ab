"""The sequence network: candidates are looked at alike, silence after the end changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import models
from genre_jax.errors import UserError
from genre_jax.features.melody_sequence import MelodySequence
from genre_jax.models.kernels import candidates

BINS, CLASSES, FRAMES = 53, 5, 320


def melodies(count=2, frames=FRAMES):
    rng = np.random.default_rng(1)
    steps = np.cumsum(rng.standard_normal((count, frames)), 1) / 10
    f0_hz = 300 * np.exp2(0.6 * np.sin(steps)).astype(np.float32)
    f0_hz[rng.random(f0_hz.shape) < 0.1] = 0
    return f0_hz


@functools.cache
def network():
    model = models.build({'name': 'sequence', 'widths': (8, 12), 'hidden_units': 16}, CLASSES)
    features = MelodySequence()(melodies())
    variables = jax.jit(lambda: model.init(jax.random.key(0), features, train=False))()
    # Far from even, so that what is equal is so for a reason.
    variables = jax.tree.map(lambda x: 1.5 * x, variables)
    return model, jax.jit(
        lambda f0_hz, tonic_hz: model.apply(
            variables, MelodySequence()(f0_hz), train=False, tonic_hz=jnp.full(len(f0_hz), tonic_hz)
        )[0]
    )


def answer(f0_hz, tonic_hz=0.0):
    return network()[1](f0_hz, np.float32(tonic_hz))


@pytest.mark.parametrize('half_bins', [-7, 1, 2, 53, 106])
def test_a_transposed_melody_has_the_same_answer_at_another_candidate(half_bins):
    here = answer(melodies())
    there = answer(melodies() * np.float32(2 ** (half_bins / 2 / BINS)))
    turned = np.roll(here.log_joint, half_bins, axis=1)
    assert np.ptp(np.asarray(here.log_joint)) > 3
    np.testing.assert_allclose(np.exp(there.log_joint), np.exp(turned), atol=1e-5)
    np.testing.assert_allclose(there.logits, here.logits, atol=1e-3)
    assert (np.asarray(here.height) == np.asarray(there.height)).all()


def test_height_and_share_name_the_true_tonic():
    found = answer(melodies(), 55 * 2 ** (20 / BINS))
    place = np.rint((np.asarray(found.height[0]) - np.log2(55)) * 106).astype(int)
    assert sorted(place) == list(range(106))
    share = np.asarray(found.share[0])[np.argsort(place)]
    assert share[40] == pytest.approx(0.5, abs=1e-4) and share.sum() == pytest.approx(1, abs=1e-4)


def test_silence_after_the_end_changes_nothing():
    f0_hz = melodies()
    longer = np.pad(f0_hz, ((0, 0), (0, 192)))
    np.testing.assert_allclose(answer(longer).logits, answer(f0_hz).logits, atol=1e-4)


def test_a_candidate_is_scored_as_if_it_were_the_only_one():
    """The network on a melody whose tonic was moved to the reference: its first candidate is the other's."""
    f0_hz = melodies()
    tonic_hz = 55 * 2 ** (17 / BINS)
    moved = answer(f0_hz * np.float32(55 / tonic_hz))
    np.testing.assert_allclose(answer(f0_hz).scores[:, 0, 34], moved.scores[:, 0, 0], atol=1e-4)


def test_training_takes_one_of_the_two_next_to_the_tonic():
    """As often as it is near; neither as another one; the corrected sum is that of all the others."""
    lowest = np.broadcast_to(np.float32([0, 0.5]), (4000, 2))
    tonic_hz = np.full(4000, 55 * 2 ** (17.3 / BINS), np.float32)
    draw = functools.partial(candidates.drawn, jax.random.key(0), bins=BINS, kept=4, nearest=True)
    found = jax.jit(draw)(lowest, tonic_hz)
    row, place, share = (np.asarray(each) for each in (found.row, found.place, found.share))
    above = 17.3 - row[:, 0] / 2
    true = (share == 1).argmax(1)
    assert (share.sum(1) == 1).all() and share.max(1).min() == 1
    taken = place[np.arange(4000), true]
    assert set(np.unique(taken - np.floor(above))) == {0, 1}
    for grid, wanted in ((0, 0.3), (1, 0.8)):
        upper = (taken > above)[row[:, 0] == grid].mean()
        assert upper == pytest.approx(wanted, abs=0.04)
    others = np.where(share == 1, np.nan, np.abs(place - above[:, None]))
    assert np.nanmin(others) >= 1
    weight = np.where(share == 1, 0, np.linspace(1, 3, BINS)[place] * np.exp(found.correction))
    rest = np.linspace(1, 3, BINS)
    rest = rest.sum() - rest[[17, 18]].sum()
    assert weight.sum(1)[row[:, 0] == 0].mean() == pytest.approx(rest, rel=0.05)


@pytest.mark.parametrize('shape', [(2, 7, 109), (2, 40, 108), (2, 40)])
def test_other_features_are_refused(shape):
    with pytest.raises(UserError, match='melody_sequence'):
        network()[0].init(jax.random.key(0), jnp.ones(shape), train=False)


def test_number_of_parameters():
    model = models.build({'name': 'sequence'}, 20)
    row = jax.ShapeDtypeStruct((1, 40, 109), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), row)
    convolutions = [(5, 56, 64), (5, 64, 64), (5, 64, 96), (3, 96, 96)]
    wanted = sum(taps * wide * out + 3 * out for taps, wide, out in convolutions)
    wanted += 97 * 4 + (6 * 96 + 1) * 128 + 129 * 20
    assert sum(x.size for x in jax.tree.leaves(shapes)) == wanted
    assert f'{wanted:,} parameters' in type(model).__doc__
