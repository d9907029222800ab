"""SpecAugment against the distributions that its docstring promises."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from genre_jax.augment import spec_augment

OFF = {'time_stripes': 0, 'time_width_frames': 16, 'mel_stripes': 0, 'mel_width_bins': 16}


def augmented(features, seed=0, **settings):
    apply = jax.jit(functools.partial(spec_augment, **(OFF | settings)))
    return np.asarray(apply(jax.random.key(seed), features))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def masked_positions(batch, total, stripes, width, axis='time', seed=0):
    """Returns bool [batch, total]: which positions of one axis are masked."""
    if axis == 'time':
        features = noise(batch, total, 2)
        out = augmented(features, seed, time_stripes=stripes, time_width_frames=width)
        return (out != features).all(2)
    features = noise(batch, 2, total)
    out = augmented(features, seed, mel_stripes=stripes, mel_width_bins=width)
    return (out != features).all(1)


def runs(mask):
    """Returns the number of separate stretches of True in each row."""
    return (np.diff(np.pad(mask, ((0, 0), (1, 0))).astype(int), axis=1) == 1).sum(1)


def p_value(observed, expected):
    return stats.chisquare(observed, expected).pvalue


@pytest.mark.parametrize('axis', ['time', 'mel'])
def test_one_stripe_has_a_uniform_width_and_start(axis):
    total, width = 24, 6
    mask = masked_positions(60_000, total, 1, width, axis)
    widths = mask.sum(1)
    assert (runs(mask) == (widths > 0)).all()
    counts = np.bincount(widths)
    assert len(counts) == width  # 0 ... width - 1
    assert p_value(counts, np.full(width, len(mask) / width)) > 1e-4
    for w in range(1, width):
        starts = np.bincount(mask[widths == w].argmax(1))
        assert len(starts) == total - w + 1  # both ends are reached, and nothing beyond
        assert p_value(starts, np.full(len(starts), starts.sum() / len(starts))) > 1e-4


def share_of_one(total, width):
    """P(position is masked by one stripe), by counting all equally likely stripes."""
    share = np.zeros(total)
    for w in range(width):
        places = total - w + 1
        for start in range(places):
            share[start : start + w] += 1 / (width * places)
    return share


@pytest.mark.parametrize('axis', ['time', 'mel'])
@pytest.mark.parametrize(('stripes', 'width'), [(1, 10), (2, 10), (5, 4)])
def test_masked_share_is_the_closed_form(stripes, width, axis):
    total, batch = 30, 20_000
    mask = masked_positions(batch, total, stripes, width, axis)
    expected = 1 - (1 - share_of_one(total, width)) ** stripes
    sigma = np.sqrt(expected * (1 - expected) / batch)
    assert (np.abs(mask.mean(0) - expected) < 5 * sigma).all()


def test_number_of_stripes():
    mask = masked_positions(2000, 400, 3, 4)
    assert runs(mask).max() == 3
    assert mask.sum(1).max() <= 3 * 3


def test_time_and_mel_are_masked_independently():
    features = noise(20_000, 12, 12)
    settings = {
        'time_stripes': 1, 'time_width_frames': 5, 'mel_stripes': 1, 'mel_width_bins': 5,
    }  # fmt: skip
    changed = augmented(features, **settings) != features
    rows, columns = changed.all(2), changed.all(1)
    np.testing.assert_array_equal(changed, rows[:, :, None] | columns[:, None, :])
    # Equal axes, equal settings: one key for both would give equal stripes.
    widths = rows.sum(1), columns.sum(1)
    table = np.zeros((5, 5))
    np.add.at(table, widths, 1)
    assert p_value(table.ravel(), np.full(25, 20_000 / 25)) > 1e-4


def test_masked_values_are_the_examples_mean_and_others_stay():
    features = noise(64, 20, 30) + np.arange(64, dtype=np.float32)[:, None, None]
    settings = {'time_stripes': 2, 'mel_stripes': 2}
    out = augmented(features, **settings)
    changed = out != features
    assert 0.2 < changed.mean() < 0.9
    means = np.broadcast_to(features.mean((1, 2), keepdims=True), features.shape)
    np.testing.assert_allclose(out[changed], means[changed], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(out[~changed], features[~changed])


def test_every_example_is_drawn_for_itself():
    features = np.repeat(noise(1, 60, 60), 100, axis=0)
    out = augmented(features, time_stripes=2, mel_stripes=2)
    assert len(np.unique(out != features, axis=0)) > 95


def test_the_key_decides():
    features = noise(8, 40, 40)
    settings = {'time_stripes': 2, 'mel_stripes': 2}
    first = augmented(features, 0, **settings)
    np.testing.assert_array_equal(first, augmented(features, 0, **settings))
    assert (first != augmented(features, 1, **settings)).any()


def test_no_stripes_is_the_identity():
    features = noise(4, 20, 20)
    np.testing.assert_array_equal(augmented(features), features)


@pytest.mark.parametrize('axis', ['time', 'mel'])
@pytest.mark.parametrize('total', [1, 2, 10])
def test_a_width_beyond_the_axis_never_masks_all(total, axis):
    mask = masked_positions(5000, total, 1, 1000, axis)
    assert not mask.all(1).any()
    counts = np.bincount(mask.sum(1), minlength=total)
    assert len(counts) == total  # 0 ... total - 1
    if total > 1:
        assert p_value(counts, np.full(total, 5000 / total)) > 1e-4
