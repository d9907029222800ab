"""Convolutions in groups against Flax's own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models.kernels.grouped_convolution import GroupedConv


@pytest.mark.parametrize('taps', [6, 3])
@pytest.mark.parametrize('platform', ['cpu', 'default'])
def test_is_flaxs(taps, platform, monkeypatch):
    monkeypatch.setattr(jax.lax, 'platform_dependent', lambda *arrays, **ways: ways[platform](*arrays))
    rng = np.random.default_rng(0)
    sequence, weights = (jnp.asarray(rng.standard_normal((2, 11, 12)), jnp.float32) for _ in range(2))
    init = nn.initializers.normal(1.0)
    theirs = nn.Conv(
        12, (taps,), padding=[(taps // 2, taps - 1 - taps // 2)], feature_group_count=3, kernel_init=init
    )
    variables = theirs.init(jax.random.key(0), sequence)
    variables['params']['bias'] += 1.0

    def both(module):
        def objective(variables, sequence):
            return (weights * module.apply(variables, sequence)).sum()

        return jax.tree.leaves(jax.value_and_grad(objective, (0, 1))(variables, sequence))

    for ours, reference in zip(both(GroupedConv(taps, 3, init)), both(theirs), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)
