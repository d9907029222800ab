"""Dasheng's pieces against the network on each of them alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import models
from genre_jax.errors import UserError

SMALL = {'name': 'dasheng', 'width': 16, 'depth': 2, 'heads': 2, 'target_frames': 12}


def test_pieces_know_nothing_of_each_other():
    """Of 31 frames: pieces of 3, 3 and 1 columns, and 3 frames that are no column; the mean is of columns."""
    model = models.build(SMALL, 3)
    pictures = jnp.asarray(np.random.default_rng(0).standard_normal((2, 31, 8)), jnp.float32)
    variables = model.init(jax.random.key(0), pictures, train=False)
    apply = jax.jit(lambda x: model.apply(variables, x, train=False)[1])
    alone = [apply(pictures[:, start:end]) for start, end in ((0, 12), (12, 24), (24, 28))]
    expected = (3 * alone[0] + 3 * alone[1] + alone[2]) / 7
    np.testing.assert_allclose(apply(pictures), expected, rtol=1e-4, atol=1e-5)
    # Within a piece they do, and the place counts.
    assert np.abs(apply(pictures[:, 12:24]) - apply(pictures[:, 8:20])).max() > 1e-3


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'heads': 3}, r'width=16 cannot be divided among 3 heads'),
        ({'target_frames': 3}, r'target_frames=3: expected at least 4'),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(UserError, match=message):
        models.build(SMALL | settings, 3)
