"""Batch normalisation against Flax's: parameters, numbers, running statistics and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models.kernels import batch_norm

SHAPES = [(6, 5), (4, 3, 7, 2), (1, 1, 1, 3)]


class Flaxs(nn.BatchNorm):
    def __call__(self, values, train):
        return super().__call__(values, use_running_average=not train)


def make(shape, use_scale=True, dtype='float32'):
    """Both layers, the same random variables for them, values, and how much each result counts."""
    rng = np.random.default_rng(len(shape))
    ours = batch_norm.BatchNorm(1e-3, 0.7, use_scale, dtype)
    flaxs = Flaxs(epsilon=1e-3, momentum=0.7, use_scale=use_scale, dtype=dtype)
    values, probe = (jnp.asarray(2 * rng.standard_normal(shape) + 0.5, kind) for kind in (dtype, 'float32'))
    fresh = [layer.init(jax.random.key(0), values, train=True) for layer in (ours, flaxs)]
    jax.tree.map(np.testing.assert_array_equal, *fresh)
    variables = jax.tree.map(lambda x: x + jnp.float32(rng.random(x.shape)), fresh[0])
    return ours, flaxs, variables, values, probe


def train(layer, variables, values, probe):
    """Results, updated statistics, and gradients of the parameters and the values."""

    def objective(params, values):
        result, updates = layer.apply(
            variables | {'params': params},
            values,
            train=True,
            mutable=['batch_stats'],
        )
        return (probe * result.astype(jnp.float32)).sum(), (result, updates)

    function = jax.jit(jax.grad(objective, (0, 1), has_aux=True))
    gradients, (result, updates) = function(variables['params'], values)
    return result, updates, gradients


def near(limit):
    def compare(ours, flaxs):
        assert ours.dtype == flaxs.dtype
        ours, flaxs = (np.asarray(x, np.float32) for x in (ours, flaxs))
        np.testing.assert_allclose(ours, flaxs, rtol=limit, atol=limit)

    return compare


@pytest.mark.parametrize('use_scale', [True, False])
@pytest.mark.parametrize('shape', SHAPES)
def test_training(shape, use_scale):
    ours, flaxs, *inputs = make(shape, use_scale)
    jax.tree.map(near(2e-5), train(ours, *inputs), train(flaxs, *inputs))


@pytest.mark.parametrize('shape', SHAPES)
def test_evaluation(shape):
    ours, flaxs, variables, values, _ = make(shape)
    results = [layer.apply(variables, values, train=False) for layer in (ours, flaxs)]
    near(1e-6)(*results)


def test_bfloat16():
    """Results and gradients of values have eight bits; statistics and parameters stay float32."""
    ours, flaxs, *inputs = make((64, 9, 3), dtype='bfloat16')
    mine, theirs = train(ours, *inputs), train(flaxs, *inputs)
    jax.tree.map(near(2e-2), mine[0], theirs[0])
    jax.tree.map(near(1e-5), mine[1], theirs[1])
    for ours_, flaxs_ in zip(*(jax.tree.leaves(x[2]) for x in (mine, theirs)), strict=True):
        assert ours_.dtype == flaxs_.dtype
        difference = jnp.linalg.norm(jnp.float32(ours_ - flaxs_))
        assert difference < 0.02 * jnp.linalg.norm(jnp.float32(flaxs_))


def test_several_runs_at_once():
    ours, flaxs, variables, values, probe = make((5, 4, 3))
    runs = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), (variables, values))
    packed = jax.vmap(lambda variables, values: train(ours, variables, values, probe))(*runs)
    for i in range(2):
        reference = train(flaxs, *jax.tree.map(lambda x, i=i: x[i], runs), probe)
        jax.tree.map(near(2e-5), jax.tree.map(lambda x, i=i: x[i], packed), reference)


def test_equal_values_stay_finite():
    """Rounding must not make a variance of nothing negative."""
    ours, _, variables, _, probe = make((6, 5))
    result, _, gradients = train(ours, variables, jnp.full((6, 5), 1234.567), probe)
    near(1e-2)(result, jnp.broadcast_to(variables['params']['bias'], (6, 5)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
