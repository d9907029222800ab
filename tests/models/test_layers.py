"""Layers and poolings: against NumPy and SciPy by hand; those of AST against transformers in tests/parity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.special

from genre_jax import models
from genre_jax.errors import UserError
from genre_jax.models import layers

AST = {'name': 'ast', 'width': 12, 'depth': 3, 'heads': 2}


def drawn(settings, *shape, classes=4):
    """A network with parameters and statistics that are all drawn, none 0 or 1; and features."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, *shape)).astype(np.float32)
    model = models.build(settings, classes)
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(features)
    return model, jax.tree.map(lambda x: x + 0.1 * np.abs(rng.normal(size=x.shape)), variables), features


def pooled(model, variables, features, pooling='mean'):
    """All layers, by number."""

    @jax.jit
    def read(variables, features):
        calls = layers.Calls(model)
        with calls.noted():
            model.apply(variables, features, train=False)
        return calls.pooled(layers.numbers(model, 'mean'), len(features), pooling)

    return read(variables, features)


def test_a_layer_of_maps_is_that_by_hand():
    """VGG's first: normalisation, convolution, ReLU, normalisation, maxima of 4 frames in strides of 2."""
    model, variables, features = drawn({'name': 'vgg', 'filters': 3}, 70, 66)
    params, stats = (jax.tree.map(np.float64, variables[key]) for key in ('params', 'batch_stats'))

    def normalised(x, name):
        scaled = (x - stats[name]['mean']) / np.sqrt(stats[name]['var'] + 1e-3)
        return scaled * params[name]['scale'] + params[name]['bias']

    pictures = normalised(features[..., None], 'bn_input')[..., 0]
    kernel = params['conv1']['kernel'][:, :, 0]
    maps = np.stack(
        [[scipy.signal.correlate2d(each, kernel[..., c], mode='same') for c in range(3)] for each in pictures]
    ).transpose(0, 2, 3, 1)
    maps = normalised(np.maximum(maps + params['conv1']['bias'], 0), 'bn1')[:, :, ::2]
    highest = np.stack([maps[:, i : i + 4].max(1) for i in range(0, maps.shape[1] - 3, 2)], axis=1)
    ours = pooled(model, variables, features)[0]
    np.testing.assert_allclose(ours, highest.mean((1, 2)), rtol=1e-4, atol=1e-4)


def test_a_recurrent_layer_is_the_mean_of_its_states_by_hand():
    settings = {'name': 'lstm', 'hidden_units': (3, 2), 'dropout': (0.0, 0.0)}
    model, variables, features = drawn(settings, 9, 4)
    layer = jax.tree.map(np.float64, variables['params']['lstm_1'])
    state, memory, states = np.zeros((2, 3)), np.zeros((2, 3)), []
    for step in features.swapaxes(0, 1):
        gates = step @ layer['input_kernel'] + state @ layer['hidden_kernel'] + layer['input_bias']
        enter, forget, new, leave = np.split(gates, 4, axis=-1)
        memory = scipy.special.expit(forget) * memory + scipy.special.expit(enter) * np.tanh(new)
        state = scipy.special.expit(leave) * np.tanh(memory)
        states.append(state)
    ours = pooled(model, variables, features)[0]
    np.testing.assert_allclose(ours, np.mean(states, axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_patches_of_a_window_are_pooled_together():
    """YAMNet's maps have a row for each patch: two windows are not taken for the patches of one."""
    model, variables, features = drawn({'name': 'yamnet'}, 192, 64)
    both = pooled(model, variables, features)[3]
    halves = [pooled(model, variables, features[:1, i : i + 96])[3] for i in (0, 48, 96)]
    np.testing.assert_allclose(both[0], np.mean(halves, axis=0)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('pooling', ['mean', 'class', 'tokens'])
def test_tokens_are_pooled_apart_from_the_special_ones(pooling):
    values = np.random.default_rng(1).normal(size=(2, 7, 3)).astype(np.float32)
    expected = {
        'mean': values[:, 2:].sum(1) / 5,
        'class': values[:, 0],
        'tokens': np.concatenate([values[:, 0], values[:, 1], values[:, 2:].sum(1) / 5], axis=1),
    }
    np.testing.assert_allclose(layers.pool(values, 2, 2, pooling), expected[pooling], rtol=1e-6)


@pytest.mark.parametrize('remat', [False, True])
def test_weights_of_layers_are_those_of_superb_and_learn(remat):
    """sum_i softmax(w)_i h_i, its gradient softmax(w)_i (g.h_i - sum_j softmax(w)_j g.h_j)."""
    plain, variables, features = drawn(AST, 40, 32)
    of_layers = np.stack([np.float64(each) for each in pooled(plain, variables, features, 'tokens').values()])
    assert of_layers.shape == (3, 2, 3 * 12)
    model = models.build(
        {**AST, 'remat': remat, 'layers': 'weighted', 'pooling': 'tokens', 'head_dropout': 0.5}, 4
    )
    fresh = jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(features)['params']
    assert model.blocks[-1] == ('mlp_head_norm', 'mlp_head', 'layer_weights')
    assert set(fresh) == {name for block in model.blocks for name in block}
    np.testing.assert_array_equal(fresh['layer_weights'], 0)
    chosen = np.array([0.3, -1.0, 2.0])
    params = {**variables['params'], 'layer_weights': jnp.float32(chosen)}
    params |= {name: fresh[name] for name in ('mlp_head_norm', 'mlp_head')}
    shares = scipy.special.softmax(chosen)
    mixed = np.einsum('l,lbu->bu', shares, of_layers)
    normed = (mixed - mixed.mean(1, keepdims=True)) / np.sqrt(mixed.var(1, keepdims=True) + 1e-5)
    logits, embedding = jax.jit(lambda p: model.apply({'params': p}, features, train=False))(params)
    np.testing.assert_allclose(embedding, mixed, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, normed @ np.float64(params['mlp_head']['kernel']), atol=1e-4)

    direction = np.random.default_rng(2).normal(size=mixed.shape)

    def projected(params, train):
        _, embedding = model.apply(
            {'params': params}, features, train=train, rngs={'dropout': jax.random.key(3)}
        )
        return (embedding * direction).sum()

    gradient = jax.jit(jax.grad(projected), static_argnums=1)(params, True)
    along = np.einsum('bu,lbu->l', direction, of_layers)
    expected = shares * (along - shares @ along)
    np.testing.assert_allclose(gradient['layer_weights'], expected, rtol=1e-3, atol=1e-4)
    assert np.abs(gradient['blocks_0']['mlp_fc1']['kernel']).max() > 0


def test_another_layer_takes_the_place_of_the_embedding_before_dropout():
    """musicnn drops half of what its output reads; behind layer 1 nothing learns."""
    settings = {'name': 'musicnn', 'dropout': 0.5, 'midend_filters': 6, 'hidden_units': 5}
    plain, variables, features = drawn(settings, 12, 10, classes=6)
    model = models.build({**settings, 'layers': 1}, 6)
    kernel = np.random.default_rng(4).normal(size=(6, 6)).astype(np.float32)
    params = {**variables['params'], 'logits': {'kernel': kernel, 'bias': np.zeros(6, np.float32)}}

    @functools.partial(jax.jit, static_argnums=1)
    def forward(params, train):
        settings = {'rngs': {'dropout': jax.random.key(0)}, 'mutable': ['batch_stats']}
        return model.apply({**variables, 'params': params}, features, train, **settings)[0]

    logits, embedding = forward(params, False)
    expected = pooled(plain, variables, features)[1]
    np.testing.assert_allclose(embedding, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, expected @ kernel, rtol=1e-4, atol=1e-4)
    logits, embedding = forward(params, True)
    read = np.linalg.solve(kernel.T, np.asarray(logits).T).T / embedding  # each unit twofold, or not at all
    assert set(np.rint(read).ravel()) == {0, 2} and np.abs(read - np.rint(read)).max() < 1e-3
    gradient = jax.grad(lambda p: (forward(p, True)[0] ** 2).sum())(params)
    assert not any(np.abs(x).any() for x in jax.tree.leaves(gradient['dense']))
    assert np.abs(gradient['midend_1']['conv']['kernel']).max() > 0


def test_attention_over_the_places_of_a_layer():
    """Equal scores weigh alike; a steep score of a unit chooses the place where that is largest."""
    plain, variables, features = drawn(AST, 40, 32)
    model = models.build({**AST, 'layers': '1', 'pooling': 'attention'}, 4)
    params = jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(features)['params']
    params = {**params, **{name: variables['params'][name] for name in variables['params']}}

    @jax.jit
    def embedding(scale):
        attention = jax.tree.map(jnp.zeros_like, params['layer_attention'])
        attention['attention_v']['kernel'] = attention['attention_v']['kernel'].at[0, 0].set(1.0)
        attention['attention_w']['kernel'] = attention['attention_w']['kernel'].at[0, 0].set(scale)
        return model.apply({'params': {**params, 'layer_attention': attention}}, features, train=False)[1]

    @jax.jit
    def read(variables):
        calls = layers.Calls(plain)
        with calls.noted():
            plain.apply(variables, features, train=False)
        return calls.layer(1)

    places = np.asarray(read(variables))[:, 2:]
    np.testing.assert_allclose(embedding(0.0), places.mean(1), rtol=1e-4, atol=1e-5)
    highest = np.take_along_axis(places, places[..., :1].argmax(1, keepdims=True), 1)[:, 0]
    np.testing.assert_allclose(embedding(1e6), highest, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        ({'name': 'ast', 'depth': 3, 'layers': 3}, 'layers=3: ast has layers 0 to 2; expected one of these'),
        ({'name': 'ast', 'depth': 3, 'layers': 'wieghted'}, 'layers=wieghted: ast has layers 0 to 2'),
        ({'name': 'mean_deviation', 'layers': 'mean'}, 'mean_deviation has no layer before its output'),
        ({'name': 'orbit', 'layers': '0'}, 'orbit has no layer before its output; expected last'),
        ({'name': 'cnn14', 'layers': 0, 'pooling': 'tokens'}, 'pooling=tokens: cnn14 has no class token'),
        ({'name': 'ast', 'pooling': 'class'}, 'with config.model.layers=last the output reads what'),
        ({'name': 'ast', 'layers': 1, 'pooling': 'max'}, "config.model.pooling='max'"),
    ],
)
def test_layers_that_a_network_does_not_have(settings, said):
    with pytest.raises(UserError, match=said):
        models.build(settings, 2)


def test_layers_of_several_widths_have_no_mean():
    model = models.build({'name': 'lstm', 'hidden_units': (3, 2), 'dropout': (0.0, 0.0), 'layers': 'mean'}, 2)
    with pytest.raises(UserError, match=r'layers=mean: the layers are of several widths \(0: 3, 1: 2\)'):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), jnp.zeros((2, 9, 4)))
