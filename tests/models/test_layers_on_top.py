"""New layers on top of YAMNet and VGG16: what they read, and their rates of dropout."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.models import vgg16, yamnet
from genre_jax.models.network import dropout_rates


def drawn(model, pictures):
    """Variables that leave something of a picture at the other end; a layer's depend on its name alone."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), pictures, train=False))

    def draw(path, leaf):
        rng = np.random.default_rng(list(jax.tree_util.keystr(path).encode()))
        scale = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if leaf.ndim > 1 else 0.1
        values = scale * rng.standard_normal(leaf.shape, np.float32)
        return np.ones_like(values) if "'var'" in jax.tree_util.keystr(path) else values

    return jax.tree_util.tree_map_with_path(draw, shapes)


def test_summary_of_patches():
    """Means and deviations of what each patch gives by itself, by hand."""
    model = yamnet.Model(num_classes=3, hidden_units=(5,), summary='mean_std')
    pictures = jax.random.normal(jax.random.key(1), (1, 96 + 2 * 48, 64))
    variables = drawn(model, pictures)
    logits, embedding = jax.jit(lambda: model.apply(variables, pictures, train=False))()
    trunk = yamnet.Model(num_classes=3)
    patches = jnp.concatenate([pictures[:, i : i + 96] for i in (0, 48, 96)])
    alone = drawn(trunk, patches)
    patches = jax.jit(lambda: trunk.apply(alone, patches, train=False)[1])()
    assert patches.std(0).max() > 0.01
    np.testing.assert_allclose(embedding[0], patches.mean(0), rtol=1e-4, atol=1e-6)
    dense, output = (variables['params'][name] for name in ('dense_1', 'logits'))
    hidden = np.concatenate([patches.mean(0), patches.std(0)]) @ dense['kernel'] + dense['bias']
    expected = np.maximum(hidden, 0) @ output['kernel'] + output['bias']
    np.testing.assert_allclose(logits[0], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_a_rate_of_dropout_for_each_layer():
    assert dropout_rates(0.5, 3) == (0.5, 0.5, 0.5)
    assert dropout_rates((0.1, 0.0), 2) == (0.1, 0.0)
    pictures = jax.random.uniform(jax.random.key(1), (1, 32, 32, 3), maxval=255)
    model = vgg16.Model(num_classes=2, hidden_units=(9, 300), pool='mean', dropout=(0.0, 0.9))
    variables, rngs = drawn(model, pictures), {'dropout': jax.random.key(0)}
    apply = jax.jit(lambda: model.apply(variables, pictures, train=True, rngs=rngs)[1])
    # ReLU sets about half to zero, dropout nine of ten of the others.
    assert 0.9 < (apply() == 0).mean() < 1


def test_lstms_read_the_patches_in_order():
    """Flax's cell with the same weights, on what each patch gives by itself."""
    model = yamnet.Model(num_classes=3, lstm_units=(4,))
    pictures = jax.random.normal(jax.random.key(1), (1, 96 + 2 * 48, 64))
    variables = drawn(model, pictures)
    logits, _ = jax.jit(lambda: model.apply(variables, pictures, train=False))()
    patches = jnp.concatenate([pictures[:, i : i + 96] for i in (0, 48, 96)])
    trunk = yamnet.Model(num_classes=3)
    alone = drawn(trunk, patches)
    patches = jax.jit(lambda: trunk.apply(alone, patches, train=False)[1])()
    params = variables['params']['lstm_1']
    kernels, hidden_kernels, biases = (
        jnp.split(params[name], 4, axis=-1) for name in ('input_kernel', 'hidden_kernel', 'input_bias')
    )
    gates = {f'i{gate}': {'kernel': kernel} for gate, kernel in zip('ifgo', kernels, strict=True)}
    for gate, kernel, bias in zip('ifgo', hidden_kernels, biases, strict=True):
        gates[f'h{gate}'] = {'kernel': kernel, 'bias': bias}
    states = nn.RNN(nn.LSTMCell(4)).apply({'params': {'cell': gates}}, patches[None])
    output = variables['params']['logits']
    expected = states[0, -1] @ output['kernel'] + output['bias']
    np.testing.assert_allclose(logits[0], expected, rtol=1e-3, atol=1e-3)
