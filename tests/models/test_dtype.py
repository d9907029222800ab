"""bfloat16 computes, float32 remembers: every model, its training, and rematerialisation."""

import re

import jax
import jax.ad_checkpoint
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genre_jax import models
from genre_jax.training import losses

# Small pictures that each network takes; test_bu_models.py and test_mlp_lstm.py try the other networks.
NETWORKS = {
    'shallow_cnn': ({'hidden_units': 16, 'batch_norm': True}, (40, 40)),
    'efficient_cnn': ({}, (40, 24)),
    'cnn14': ({'variant': 'cnn10'}, (32, 32)),
    'mobilenet_v1': ({}, (32, 32)),
    'ast': ({'width': 32, 'depth': 2, 'heads': 2}, (40, 32)),
    'vgg16': ({'hidden_units': (16,), 'pool': 'mean'}, (32, 32)),
    'yamnet': ({'lstm_units': (8,), 'hidden_units': (8,)}, (144, 64)),
    'musicnn': ({}, (30, 96)),
    'mlp': ({}, (4, 8)),
}


def network(name, **more):
    settings, shape = NETWORKS[name]
    pictures = jnp.asarray(np.random.default_rng(0).standard_normal((4, *shape)), jnp.float32)
    return models.build({'name': name, **settings, **more}, 3), pictures


@pytest.mark.slow(but='shallow_cnn')
@pytest.mark.parametrize('name', NETWORKS)
def test_bfloat16_computes_and_float32_remembers(name):
    exact, pictures = network(name)
    rounded, _ = network(name, dtype='bfloat16')
    init = jax.jit(lambda: exact.init(jax.random.key(0), pictures, train=False))
    variables = init()
    shapes = jax.eval_shape(lambda: rounded.init(jax.random.key(0), pictures, train=False))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), variables) == jax.tree.map(
        lambda x: (x.shape, x.dtype), shapes
    )
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    both = [
        jax.jit(lambda v, model=model: model.apply(v, pictures, train=False))(variables)
        for model in (rounded, exact)
    ]
    for ours, theirs in zip(*both, strict=True):
        assert ours.dtype == jnp.float32
        difference = float(jnp.abs(ours - theirs).max() / jnp.abs(theirs).max())
        # Eight bits a number, and something was rounded.
        assert 0 < difference < 0.1, difference


@pytest.mark.slow
@pytest.mark.parametrize('name', ['mlp', 'efficient_cnn', 'ast'])
def test_training_in_bfloat16_ends_where_float32_does(name):
    """Three classes that differ in the mean of a third of the picture."""
    labels = np.arange(24) % 3
    exact, pictures = network(name)
    noise = np.random.default_rng(1).standard_normal((24, *pictures.shape[1:]))
    thirds = np.array_split(np.arange(noise.shape[1]), 3)
    for i, label in enumerate(labels):
        noise[i, thirds[label]] += 2.0
    pictures = jnp.asarray(noise, jnp.float32)
    fresh = jax.jit(lambda: exact.init(jax.random.key(0), pictures, train=False))()
    optimizer, ends = optax.adam(2e-3), []
    for model in (exact, network(name, dtype='bfloat16')[0]):
        variables, state = fresh, optimizer.init(fresh['params'])

        @jax.jit
        def step(variables, state, key, model=model):
            def objective(params):
                (logits, _), updates = model.apply(
                    variables | {'params': params}, pictures, train=True, rngs={'dropout': key},
                    mutable=['batch_stats'],
                )  # fmt: skip
                entropy = losses.cross_entropy(logits, jax.nn.one_hot(labels, 3))
                return entropy.mean(), (logits, updates)

            (loss, (logits, updates)), gradients = jax.value_and_grad(objective, has_aux=True)(
                variables['params']
            )
            changes, state = optimizer.update(gradients, state)
            params = optax.apply_updates(variables['params'], changes)
            hits = (logits.argmax(-1) == labels).mean()
            return variables | updates | {'params': params}, state, loss, hits

        for i in range(80):
            variables, state, loss, hits = step(variables, state, jax.random.key(i))
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
        ends.append((float(loss), float(hits)))
    (exact_loss, exact_hits), (loss, hits) = ends
    assert exact_hits > 0.9 and exact_loss < 0.4
    assert hits > 0.9 and loss == pytest.approx(exact_loss, abs=0.1)


@pytest.mark.slow
def test_rematerialisation_keeps_less_and_changes_nothing_else(capsys):
    """What is kept for the backward pass; XLA on CPU then keeps it all the same, other backends do not."""
    settings = {'name': 'ast', 'width': 64, 'depth': 6, 'heads': 2}
    plain, saving = (models.build({**settings, 'remat': remat}, 3) for remat in (False, True))
    pictures = jax.random.normal(jax.random.key(1), (1, 100, 128))
    variables = jax.jit(lambda: plain.init(jax.random.key(0), pictures, train=False))()
    results = []
    for model in (plain, saving):

        def loss(variables, model=model):
            logits, _ = model.apply(variables, pictures, train=True)
            return losses.cross_entropy(logits, jnp.eye(3)[:1]).mean()

        jax.ad_checkpoint.print_saved_residuals(loss, variables)
        shapes = re.findall(r'^f32\[([\d,]+)\]', capsys.readouterr().out, re.MULTILINE)
        kept = sum(np.prod([int(n) for n in shape.split(',')]) for shape in shapes)
        results.append((jax.jit(jax.value_and_grad(loss))(variables), kept))
    ((value, gradients), kept), ((again, same), less) = results
    assert float(value) == pytest.approx(float(again), rel=1e-6)
    for ours, theirs in zip(jax.tree.leaves(same), jax.tree.leaves(gradients), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * float(jnp.abs(theirs).max()))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert less - parameters < 0.2 * (kept - parameters)
