"""Recurrent layers and their gradients against the equations, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models import cnn_gru, lstm
from genre_jax.models.kernels import recurrent_scan

LAYERS = {
    'gru': lambda dtype: cnn_gru.GRU(4, dtype=dtype),
    'lstm': lambda dtype: lstm.LSTM(4, 'torch', dtype),
    'keras': lambda dtype: lstm.LSTM(4, 'keras', dtype),
}


def sigmoid(x):
    return 1 / (1 + jnp.exp(-x))


def step_by_step(kind, params, sequence):
    """The layer as a Python loop, differentiated by JAX as it stands."""
    hidden = memory = jnp.zeros((len(sequence), 4))
    states = []
    for inputs in sequence.swapaxes(0, 1):
        a = inputs @ params['input_kernel'] + params['input_bias']
        b = hidden @ params['hidden_kernel'] + params.get('hidden_bias', 0)
        if kind == 'gru':
            (in_reset, in_update, in_new), (reset, update, new) = (
                [x[:, i : i + 4] for i in (0, 4, 8)] for x in (a, b)
            )
            update = sigmoid(in_update + update)
            new = jnp.tanh(in_new + sigmoid(in_reset + reset) * new)
            hidden = (1 - update) * new + update * hidden
        else:
            enter, forget, cell, leave = ((a + b)[:, i : i + 4] for i in (0, 4, 8, 12))
            memory = sigmoid(forget) * memory + sigmoid(enter) * jnp.tanh(cell)
            hidden = sigmoid(leave) * jnp.tanh(memory)
        states.append(hidden)
    return jnp.stack(states, 1)


def make(kind, steps, dtype='float32'):
    rng = np.random.default_rng(steps)
    layer = LAYERS[kind](dtype)
    sequence = jnp.float32(rng.standard_normal((3, steps, 5)))
    shapes = jax.eval_shape(layer.init, jax.random.key(0), sequence)['params']
    params = {k: jnp.float32(0.5 * rng.standard_normal(v.shape)) for k, v in shapes.items()}
    # Every state counts differently, so that a gradient of another step's shows.
    weights = jnp.float32(rng.standard_normal((3, steps, 4)))

    def gradients(function):
        def objective(params, sequence):
            return (weights * function(params, sequence)).sum()

        return jax.jit(jax.grad(objective, (0, 1)))

    ours = gradients(lambda params, sequence: layer.apply({'params': params}, sequence))
    reference = gradients(lambda params, sequence: step_by_step(kind, params, sequence))
    return ours, reference, params, sequence


@pytest.mark.slow
@pytest.mark.parametrize('steps', [1, 2, 9])
@pytest.mark.parametrize('kind', LAYERS)
def test_gradients(kind, steps):
    ours, reference, params, sequence = make(kind, steps)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        ours(params, sequence),
        reference(params, sequence),
    )


@pytest.mark.parametrize('kind', ['gru', 'lstm'])
def test_gradients_of_several_runs_at_once(kind):
    """Packed sweeps map their runs over the parameters."""
    ours, reference, params, sequence = make(kind, 5)
    runs = jax.tree.map(lambda x: jnp.stack([x, -0.5 * x, 2 * x]), params)
    packed = jax.vmap(ours, (0, None))(runs, sequence)
    for i in range(3):
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5),
            packed,
            reference(jax.tree.map(lambda x, i=i: x[i], runs), sequence),
        )


@pytest.mark.parametrize('kind', ['gru', 'lstm'])
def test_gradients_of_bfloat16_products(kind):
    """Factors have eight bits: errors of a few times 2**-8, and float32 all the same."""
    ours, reference, params, sequence = make(kind, 9, 'bfloat16')

    def compare(a, b):
        assert a.dtype == jnp.float32
        assert 0 < jnp.linalg.norm(a - b) < 0.02 * jnp.linalg.norm(b)

    jax.tree.map(compare, ours(params, sequence), reference(params, sequence))


def test_the_kernels_gradient_is_one_product_after_the_loop():
    """The gradient of `jax.lax.scan` would carry a sum of the kernel's shape from step to step."""

    def cell(projected, recurrent, states):
        return (jnp.tanh(projected + recurrent),)

    def objective(kernel):
        states = recurrent_scan.states(cell, jnp.ones((7, 2, 3)), kernel, jnp.zeros(3))
        return states.sum()

    jaxpr = jax.make_jaxpr(jax.grad(objective))(jnp.ones((3, 3)))
    loops = [e for e in jaxpr.jaxpr.eqns if e.primitive.name == 'scan']
    carried = [v.aval.shape for e in loops for v in e.outvars[: e.params['num_carry']]]
    assert carried == [(2, 3), (2, 3)]
