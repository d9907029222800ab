"""Losses against scikit-learn and arithmetic by hand."""

import jax
import numpy as np
import pytest
from sklearn import metrics
from sklearn.utils import class_weight

from genre_jax.errors import UserError
from genre_jax.models.network import Scores
from genre_jax.training import losses


def test_cross_entropy_is_scikit_learns():
    rng = np.random.default_rng(0)
    logits = (5 * rng.standard_normal((200, 7))).astype(np.float32)
    labels = rng.integers(0, 7, 200).astype(np.int32)
    values = losses.cross_entropy(logits, np.eye(7, dtype=np.float32)[labels])
    assert values.shape == (200,)
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = metrics.log_loss(labels, probabilities, labels=range(7))
    assert np.mean(values) == pytest.approx(expected, rel=1e-5)
    each = [
        metrics.log_loss([label], [row], labels=range(7))
        for label, row in zip(labels, probabilities, strict=True)
    ]
    np.testing.assert_allclose(values, each, rtol=1e-4, atol=1e-6)


def test_cross_entropy_of_huge_logits_is_finite():
    values = losses.cross_entropy(np.float32([[1e4, -1e4, 0]]), np.float32([[0, 1, 0]]))
    np.testing.assert_allclose(values, [2e4])


def test_cross_entropy_gradient():
    # softmax - onehot
    logits = np.float32([[0.0, np.log(2), np.log(5)]])
    gradient = jax.grad(lambda x: losses.cross_entropy(x, np.float32([[0, 0, 1]])).sum())(logits)
    np.testing.assert_allclose(gradient, [[1 / 8, 2 / 8, 5 / 8 - 1]], atol=1e-6)


def test_cross_entropy_of_shares_is_their_mean():
    logits = np.float32([[0.3, -1.2, 2.0]])
    pure = [float(losses.cross_entropy(logits, np.eye(3, dtype=np.float32)[i : i + 1])[0]) for i in range(3)]
    mixed = losses.cross_entropy(logits, np.float32([[0.25, 0.75, 0.0]]))
    np.testing.assert_allclose(mixed, [0.25 * pure[0] + 0.75 * pure[1]], rtol=1e-6)


def test_label_smoothing_by_hand():
    logits = np.float32([[0.0, np.log(2), np.log(5)]])  # probabilities 1/8, 2/8, 5/8
    value = losses.cross_entropy(logits, np.float32([[0, 0, 1]]), label_smoothing=0.3)
    expected = -(0.8 * np.log(5 / 8) + 0.1 * np.log(2 / 8) + 0.1 * np.log(1 / 8))
    np.testing.assert_allclose(value, [expected], rtol=1e-6)


def test_balanced_weights_are_scikit_learns():
    labels = np.array([0] * 5 + [1] * 2 + [2])
    ours = losses.class_weights(('balanced',), 'abc', np.bincount(labels))
    theirs = class_weight.compute_class_weight('balanced', classes=np.arange(3), y=labels)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((8, 3)).astype(np.float32)
    value = losses.cross_entropy(logits, np.eye(3, dtype=np.float32)[labels], 0.0, ours).mean()
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = metrics.log_loss(labels, probabilities, sample_weight=theirs[labels])
    assert value == pytest.approx(expected, rel=1e-5)


def test_weights_by_name():
    weights = losses.class_weights(('folk=2', 'hip hop=0.5'), ('folk', 'pop', 'hip hop'), np.ones(3))
    np.testing.assert_array_equal(weights, [2, 1, 0.5])
    assert losses.class_weights((), ('folk', 'pop'), np.ones(2)) is None


@pytest.mark.parametrize('item', ['balanced', 'fork=2', 'folk=', 'folk=-1', 'folk=inf', 'folk', 2.0])
def test_wrong_weights_are_one_line(item):
    with pytest.raises(UserError, match=r'config\.train\.class_weights=.*folk, pop'):
        losses.class_weights(('pop=1', item), ('folk', 'pop'), np.ones(2))


def test_penalties_count_weights_and_no_biases():
    params = {
        'conv': {'kernel': np.float32([[1, -2], [3, -4]]), 'bias': np.float32([100, -100])},
        'norm': {'scale': np.float32([-0.5, 1.5]), 'bias': np.float32([1000])},
        'gru': {'hidden_kernel': np.float32([[0.25]]), 'hidden_bias': np.float32([-7])},
    }
    assert losses.penalty(params, 1.0, 0.0) == pytest.approx(10 + 2 + 0.25)
    assert losses.penalty(params, 0.0, 0.5) == pytest.approx((30 + 2.5 + 0.0625) / 2)
    gradient = jax.grad(losses.penalty)(params, 1.0, 0.5)
    np.testing.assert_array_equal(gradient['conv']['kernel'], [[2, -3], [4, -5]])
    np.testing.assert_array_equal(gradient['norm']['scale'], [-1.5, 2.5])
    np.testing.assert_array_equal(gradient['norm']['bias'], [0])


def test_joint_cross_entropy_is_the_mean_of_what_is_known():
    """By hand, of two members, with a tonic between two candidates; each example lacks something else."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((4, 2, 6, 3))
    share = np.zeros((4, 6))
    share[[0, 2], 1], share[[0, 2], 4] = 0.125, 0.375  # any scale: of two grids they sum to a half
    targets = np.eye(3)[[2, 0, 1, 1]]
    targets[2:] = 0
    p = np.exp(scores)
    p /= p.sum((-2, -1), keepdims=True)
    both = -(0.25 * np.log(p[0, :, 1, 2]) + 0.75 * np.log(p[0, :, 4, 2]))
    given = -sum(w * np.log(p[0, :, s, 2] / p[0, :, s].sum(-1)) for s, w in ((1, 0.25), (4, 0.75)))
    label = [-np.log(p[row, :, :, c].sum(-1)) for row, c in ((0, 2), (1, 0))]
    tonic = -sum(w * np.log(p[2, :, s].sum(-1)) for s, w in ((1, 0.25), (4, 0.75)))
    wanted = [(both + given + label[0]).mean() / 3, label[1].mean(), tonic.mean(), 0]
    found = Scores(np.float32(scores), None, np.float32(share))
    np.testing.assert_allclose(losses.joint_cross_entropy(found, np.float32(targets)), wanted, rtol=1e-5)
    np.testing.assert_allclose(
        jax.nn.softmax(found.logits), p.mean(1).sum(1), rtol=1e-5
    )  # whatever the tonic


def test_joint_cross_entropy_smooths_and_weighs():
    """With one candidate, the true one, all three parts are the ordinary cross-entropy but the joint's."""
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((5, 4)).astype(np.float32)
    targets, weights = np.eye(4, dtype=np.float32)[[0, 3, 1, 1, 2]], np.float32([1, 2, 0.5, 3])
    found = Scores(logits[:, None, None], None, np.ones((5, 1), np.float32))
    np.testing.assert_allclose(
        losses.joint_cross_entropy(found, targets, 0.1, weights),
        losses.cross_entropy(logits, targets, 0.1, weights),
        rtol=1e-5,
    )
