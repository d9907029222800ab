"""The perceptron and Wu's LSTM against published sizes, closed forms and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import models
from genre_jax.errors import UserError

MLP = {'name': 'mlp', 'hidden_units': (6, 5), 'dropout': 0.5}
LSTM = {'name': 'lstm', 'hidden_units': (6, 4, 5)}


def count(settings, shape):
    model = models.build(settings, 10)
    variables = jax.eval_shape(
        lambda key: model.init(key, jnp.zeros((1, *shape)), train=False), jax.random.key(0)
    )
    assert [name for block in model.blocks for name in block] == list(variables['params'])
    return sum(leaf.size for leaf in jax.tree.leaves(variables['params']))


@pytest.mark.parametrize(
    ('columns', 'hidden_units'),
    [(58, (256, 256)), (58, (2048, 1024, 512, 256, 128, 64)), (40, (448, 672, 32)), (3, (1,))],
)
def test_parameters_of_the_perceptron(columns, hidden_units):
    widths = (columns, *hidden_units, 10)
    expected = sum((a + 1) * b for a, b in zip(widths[:-1], widths[1:], strict=True))
    assert count({'name': 'mlp', 'hidden_units': hidden_units}, (columns,)) == expected


def test_parameters_of_the_documentation():
    assert count({'name': 'mlp'}, (58,)) == 83_466
    assert count({'name': 'lstm'}, (130, 13)) == 789_034


@pytest.mark.parametrize(('bins', 'hidden_units'), [(13, (416, 32, 48)), (20, (7,))])
def test_parameters_of_the_lstm(bins, hidden_units):
    # Keras: four gates of inputs, state and one bias.
    widths = (bins, *hidden_units)
    expected = sum(4 * b * (a + b + 1) for a, b in zip(widths[:-1], widths[1:], strict=True))
    expected += 10 * (hidden_units[-1] + 1)
    settings = {'hidden_units': hidden_units, 'dropout': (0.1,) * len(hidden_units)}
    assert count({'name': 'lstm', **settings}, (9, bins)) == expected


@pytest.mark.parametrize('activation', ['relu', 'tanh', 'sigmoid'])
@pytest.mark.parametrize('shape', [(12,), (3, 4)])
def test_the_perceptron_in_numpy(activation, shape):
    functions = {
        'relu': lambda x: np.maximum(x, 0),
        'tanh': np.tanh,
        'sigmoid': lambda x: 1 / (1 + np.exp(-x)),
    }
    features = np.random.default_rng(0).standard_normal((5, *shape)).astype(np.float32)
    model = models.build({**MLP, 'activation': activation}, 3)
    variables = model.init(jax.random.key(0), features, train=False)
    params = variables['params']
    hidden = features.reshape(5, -1)
    for name in ('dense_1', 'dense_2'):
        hidden = functions[activation](hidden @ params[name]['kernel'] + params[name]['bias'])
    logits, embedding = model.apply(variables, features, train=False)
    np.testing.assert_allclose(embedding, hidden, atol=1e-5)
    expected = hidden @ params['output']['kernel'] + params['output']['bias']
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_initialisation_is_keras():
    features = jnp.zeros((1, 4, 100))
    params = models.build({'name': 'lstm', 'hidden_units': (50,), 'dropout': (0.0,)}, 10).init(
        jax.random.key(0), features, train=False
    )['params']['lstm_1']
    kernel, hidden = np.asarray(params['input_kernel']), np.asarray(params['hidden_kernel'])
    # Glorot over all four gates at once, as Keras does; the state's kernel has orthonormal rows.
    limit = np.sqrt(6 / (100 + 200))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(hidden @ hidden.T, np.eye(50), atol=1e-5)
    np.testing.assert_array_equal(params['input_bias'], np.repeat([0, 1, 0, 0], 50))


def test_the_embedding_is_of_the_last_frame():
    features = np.random.default_rng(0).standard_normal((2, 30, 4)).astype(np.float32)
    model = models.build(LSTM, 3)
    variables = jax.jit(lambda: model.init(jax.random.key(0), features, train=False))()
    run = jax.jit(lambda x: model.apply(variables, x, train=False)[1])
    embedding = run(features)
    changed = features.copy()
    changed[:, -1] += 1
    assert np.abs(run(changed) - embedding).max() > 1e-3
    # The units are in (-1, 1): an output gate times a hyperbolic tangent.
    assert np.abs(run(1e3 * features)).max() < 1


@pytest.mark.slow(but='mlp')
@pytest.mark.parametrize('settings', [MLP, LSTM], ids=str)
@pytest.mark.parametrize('frames', [1, 9])
def test_training_and_evaluation(settings, frames):
    features = np.random.default_rng(0).standard_normal((8, frames, 4)).astype(np.float32)
    model = models.build(settings, 3)
    variables = jax.jit(lambda: model.init(jax.random.key(0), features, train=False))()

    def evaluate(model):
        return jax.jit(lambda v: model.apply(v, features, train=False))(variables)

    logits, embedding = evaluate(model)
    assert logits.shape == (8, 3) and embedding.shape == (8, 5)

    @jax.jit
    def train(key):
        return model.apply(variables, features, train=True, rngs={'dropout': key})[0]

    first, same, other = (train(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()

    @jax.jit
    @jax.grad
    def gradient_of(variables):
        return jax.nn.log_softmax(model.apply(variables, features, train=False)[0])[:, 0].sum()

    gradient = gradient_of(variables)
    for leaf in jax.tree.leaves(gradient):
        assert jnp.isfinite(leaf).all()
        # A single frame follows on a state of zeros.
        assert (leaf != 0).any() or (frames == 1 and settings is LSTM)
    for got, exact in zip(evaluate(model.clone(dtype='bfloat16')), (logits, embedding), strict=True):
        assert got.dtype == jnp.float32
        assert 0 < np.abs(got - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'name': 'mlp', 'hidden_units': ()}, r'hidden_units=\(\): expected at least one'),
        ({'name': 'mlp', 'hidden_units': (3, 0)}, r'hidden_units=\(3, 0\)'),
        ({'name': 'mlp', 'activation': 'rleu'}, r"activation='rleu'; did you mean 'relu'"),
        ({'name': 'mlp', 'dropout': 1.0}, r'dropout=1\.0'),
        ({'name': 'mlp', 'dtype': 'float64'}, r"dtype='float64'"),
        ({'name': 'lstm', 'dropout': (0.1,)}, r'dropout=\(0\.1,\): expected one rate for each'),
        ({'name': 'lstm', 'hidden_units': (), 'dropout': ()}, r'at least one'),
        ({'name': 'lstm', 'hidden_units': (4, -1, 2)}, r'hidden_units=\(4, -1, 2\)'),
        ({'name': 'lstm', 'dropout': (0.0, 1.5, 0.0)}, r'dropout=1\.5'),
    ],
    ids=str,
)
def test_build_refuses(settings, message):
    with pytest.raises(UserError, match=message):
        models.build(settings, 10)
