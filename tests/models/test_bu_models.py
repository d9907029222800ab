"""The networks of Bu et al. against published numbers, closed forms and XLA's own layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import models
from genre_jax.errors import UserError
from genre_jax.models import cnn_gru, efficient_cnn, lstm
from genre_jax.models.kernels import convolution, pooling
from tests.golden import norm_shapes, torch_tensor, u

NETWORKS = [
    {'name': 'efficient_cnn'},
    {'name': 'cnn_gru'},
    {'name': 'cnn_lstm'},
    {'name': 'cnn_gru_attention'},
    {'name': 'cnn_gru_attention', 'recurrence': 'time'},
]


def shapes(model, frames=64, bins=128):
    pictures = jnp.zeros((1, frames, bins))
    return jax.eval_shape(lambda key: model.init(key, pictures, train=False), jax.random.key(0))


# --- the published networks ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ('settings', 'published', 'gate'),
    [
        (NETWORKS[0], 16_456, 0),
        (NETWORKS[1], 39_050, 161),
        (NETWORKS[2], 46_346, 161),
        (NETWORKS[3], 38_889, 0),
        (NETWORKS[4], 38_889, 0),
    ],
    ids=str,
)
def test_number_of_parameters(settings, published, gate):
    params = shapes(models.build(settings, 8))['params']
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == published - gate


@pytest.mark.parametrize('settings', NETWORKS, ids=str)
def test_every_layer_is_in_one_block(settings):
    model = models.build(settings, 8)
    names = [name for block in model.blocks for name in block]
    assert sorted(names) == sorted(shapes(model)['params'])
    assert model.blocks[0][0] == 'cnn_features_0'
    assert model.blocks[-1] in (('classifier_1',), ('classifier_4',))


def golden_variables():
    """The weights that the reference figures were computed with.

    Kernels are mel x time there: reversed axes are those of Flax, and time before mel.
    """
    params, stats = {}, {}

    def layer(key, *shape, bias=True):
        new = params[key.replace('.', '_')] = {'kernel': torch_tensor(f'{key}.weight', *shape).T}
        if bias:
            new['bias'] = torch_tensor(f'{key}.bias', shape[0])

    layer('cnn_features.0', 32, 1, 3, 3)
    norms = {'cnn_features.1': 32}
    for i, inputs in (4, 32), (7, 64):
        layer(f'cnn_features.{i}.0', inputs, 1, 3, 3, bias=False)
        layer(f'cnn_features.{i}.3', 2 * inputs, inputs, 1, 1, bias=False)
        norms |= {f'cnn_features.{i}.1': inputs, f'cnn_features.{i}.4': 2 * inputs}
    for key, channels in norms.items():
        scale, bias, mean, var = (torch_tensor(each, channels) for each in norm_shapes(key, channels))
        params[key.replace('.', '_')] = {'scale': scale, 'bias': bias}
        stats[key.replace('.', '_')] = {'mean': mean, 'var': var}
    for i, inputs in (0, 128), (1, 32):
        params[f'gru_l{i}'] = {
            'input_kernel': torch_tensor(f'gru.weight_ih_l{i}', 96, inputs).T,
            'hidden_kernel': torch_tensor(f'gru.weight_hh_l{i}', 96, 32).T,
            'input_bias': torch_tensor(f'gru.bias_ih_l{i}', 96),
            'hidden_bias': torch_tensor(f'gru.bias_hh_l{i}', 96),
        }
    layer('residual_proj', 32, 128)
    layer('attention.0', 16, 32)
    layer('attention.2', 1, 16)
    layer('classifier.1', 8, 32)
    return {'params': params, 'batch_stats': stats}


@pytest.mark.parametrize('name', ['cnn_gru', 'cnn_gru_attention'])
def test_logits_of_the_pytorch_original(name):
    # Computed with the authors' final code in evaluation mode.
    expected = np.array(
        [
            [55.3266, 25.2548, 141.636, -56.2626, 78.1639, -127.544, 68.0675, 76.5593],
            [56.1088, 24.2578, 142.238, -56.9033, 78.4062, -128.351, 68.3640, 77.5037],
        ]
    )
    pictures = -40 + 40 * u('input', (2, 1, 128, 1292))[:, 0].transpose(0, 2, 1)
    model = models.build({'name': name}, 8)
    logits, embedding = evaluated(model, golden_variables(), pictures.astype(np.float32))
    assert embedding.shape == (2, 32)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# --- behaviour -----------------------------------------------------------------------------------


@pytest.fixture(scope='module', params=NETWORKS, ids=str)
def network(request):
    model = models.build(request.param, 3)
    pictures = np.random.default_rng(0).standard_normal((4, 41, 24)).astype(np.float32)
    return model, initialised(model, pictures), pictures


@functools.partial(jax.jit, static_argnums=0)
def initialised(model, pictures):
    return model.init(jax.random.key(0), pictures, train=False)


@functools.partial(jax.jit, static_argnums=0)
def trained(model, variables, pictures, seed):
    rngs = {'dropout': jax.random.key(seed)}
    return model.apply(variables, pictures, train=True, rngs=rngs, mutable=['batch_stats'])


@functools.partial(jax.jit, static_argnums=0)
def evaluated(model, variables, pictures):
    return model.apply(variables, pictures, train=False)


@pytest.mark.slow(but='efficient_cnn')
@pytest.mark.parametrize('shape', [(1, 8, 8), (2, 15, 9), (1, 23, 130)])
def test_any_size_gives_logits(network, shape):
    model, variables, _ = network
    logits, embedding = evaluated(model, variables, jnp.ones(shape))
    assert logits.shape == (shape[0], 3) and embedding.shape == (shape[0], 32)


@pytest.mark.parametrize('shape', [(1, 7, 128), (1, 128, 7)])
def test_too_small_pictures(network, shape):
    model, _, _ = network
    with pytest.raises(UserError, match=rf'at least 8 frames .* {shape[1]} x {shape[2]}'):
        shapes(model, *shape[1:])


def test_dropout_is_on_in_training_only(network):
    model, variables, pictures = network
    first, again, other = (trained(model, variables, pictures, seed)[0][0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # Without a key for dropout: Flax refuses to draw.
    one, two = (evaluated(model, variables, pictures)[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.slow(but='efficient_cnn')
def test_gradients_are_finite_and_reach_every_layer(network):
    model, variables, pictures = network

    @jax.jit
    @jax.grad
    def gradient(params):
        (logits, _), _ = trained(model, {**variables, 'params': params}, pictures, 0)
        return jax.nn.log_softmax(logits)[:, 0].sum()

    for name, leaves in gradient(variables['params']).items():
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(leaves)), name
        assert any((leaf != 0).any() for leaf in jax.tree.leaves(leaves)), name


@pytest.mark.slow(but='efficient_cnn')
def test_bfloat16_is_near_float32(network):
    model, variables, pictures = network
    expected = evaluated(model, variables, pictures)
    got = evaluated(model.clone(dtype='bfloat16'), variables, pictures)
    for ours, exact in zip(got, expected, strict=True):
        assert ours.dtype == jnp.float32
        difference = np.abs(ours - exact).max()
        assert 0 < difference < 0.05 * np.abs(exact).max()
    made = initialised(model.clone(dtype='bfloat16'), pictures)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype('float32')}


def test_the_two_readings_run_over_different_axes():
    pictures = np.random.default_rng(0).standard_normal((1, 64, 64)).astype(np.float32)
    mel, time = (models.build(settings, 3) for settings in NETWORKS[3:])
    variables = initialised(mel, pictures)
    # Exchanging time and frequency, of the kernels too, exchanges the readings.
    turned = jax.tree.map(lambda x: x.swapaxes(0, 1) if x.ndim == 4 else x, variables)
    over_mel = evaluated(mel, variables, pictures)[0]
    over_time = evaluated(time, turned, pictures.swapaxes(1, 2))[0]
    np.testing.assert_allclose(over_mel, over_time, atol=1e-5)
    assert np.abs(over_mel - evaluated(time, variables, pictures)[0]).max() > 1e-4


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'name': 'cnn_gru', 'cnn_dropout': 1.0}, r'cnn_dropout=1\.0'),
        ({'name': 'efficient_cnn', 'classifier_dropout': -0.1}, r'classifier_dropout=-0\.1'),
        ({'name': 'cnn_lstm', 'hidden_units': 0}, r'hidden_units=\(0,\)'),
        ({'name': 'cnn_gru', 'dtype': 'float16'}, r"dtype='float16'.*bfloat16"),
        (
            {'name': 'cnn_gru_attention', 'recurrence': 'tim'},
            r"recurrence='tim'; did you mean 'time'",
        ),
        ({'name': 'cnn_gru', 'recurrence': 'time'}, r'unknown key config\.model\.recurrence'),
    ],
    ids=str,
)
def test_build_refuses(settings, message):
    with pytest.raises(UserError, match=message):
        models.build(settings, 8)


# --- parts ---------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sequence_and_weights(layer, steps):
    """A batch of two sequences, and a recurrent layer's parameters, all drawn."""
    rng = np.random.default_rng(steps)
    sequence = rng.standard_normal((2, steps, 5))
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.float32(sequence))['params']
    return sequence, {name: rng.standard_normal(leaf.shape) for name, leaf in shapes.items()}


@pytest.mark.parametrize('steps', [1, 3, 21])
def test_gru_follows_its_equations(steps):
    layer = cnn_gru.GRU(4)
    sequence, p = sequence_and_weights(layer, steps)
    state, states = np.zeros((2, 4)), []
    for i in range(steps):
        a = np.split(sequence[:, i] @ p['input_kernel'] + p['input_bias'], 3, axis=1)
        b = np.split(state @ p['hidden_kernel'] + p['hidden_bias'], 3, axis=1)
        reset, update = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
        state = (1 - update) * np.tanh(a[2] + reset * b[2]) + update * state
        states.append(state)
    ours = layer.apply({'params': jax.tree.map(jnp.float32, p)}, jnp.float32(sequence))
    np.testing.assert_allclose(ours, np.stack(states, 1), atol=1e-5)


@pytest.mark.parametrize('flavour', ['torch', 'keras'])
@pytest.mark.parametrize('steps', [1, 3, 21])
def test_lstm_follows_its_equations(steps, flavour):
    layer = lstm.LSTM(4, flavour)
    sequence, p = sequence_and_weights(layer, steps)
    assert ('hidden_bias' in p) == (flavour == 'torch')
    bias = p['input_bias'] + p.get('hidden_bias', 0)
    state, memory, states = np.zeros((2, 4)), np.zeros((2, 4)), []
    for i in range(steps):
        gates = sequence[:, i] @ p['input_kernel'] + state @ p['hidden_kernel'] + bias
        enter, forget, cell, leave = np.split(gates, 4, axis=1)
        memory = sigmoid(forget) * memory + sigmoid(enter) * np.tanh(cell)
        state = sigmoid(leave) * np.tanh(memory)
        states.append(state)
    ours = layer.apply({'params': jax.tree.map(jnp.float32, p)}, jnp.float32(sequence))
    np.testing.assert_allclose(ours, np.stack(states, 1), atol=1e-5)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize(('kernel_size', 'centred'), [((3, 3), 0), ((5, 3), 0), ((2, 4), 0), ((5, 3), 1)])
@pytest.mark.parametrize('size', [(1, 1), (6, 9), (7, 4)])
def test_depthwise_conv_is_xlas(size, kernel_size, centred, stride):
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, *size, 5)).astype(np.float32)
    kernel = rng.standard_normal((*kernel_size, 1, 5)).astype(np.float32)

    def xlas(maps, kernel):
        return jax.lax.conv_general_dilated(
            maps,
            kernel,
            window_strides=(stride, stride),
            padding=[(n // 2, n // 2) for n in kernel_size] if centred else 'SAME',
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=5,
        )

    def ours(maps, kernel):
        return convolution.depthwise(maps, kernel, stride, bool(centred))

    shape = jax.eval_shape(xlas, maps, kernel).shape
    probe = rng.standard_normal(shape).astype(np.float32)

    @jax.jit
    def both(maps, kernel):
        made = [jax.vjp(function, maps, kernel) for function in (ours, xlas)]
        return [(values, *back(probe)) for values, back in made]

    for got, wanted, limit in zip(*both(maps, kernel), (1e-5, 1e-4, 1e-4), strict=True):
        np.testing.assert_allclose(got, wanted, atol=limit)


@pytest.mark.parametrize('size', [(2, 2), (5, 8), (7, 3)])
def test_max_pool_is_xlas(size):
    maps = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32)

    def xlas(maps):
        return jax.lax.reduce_window(maps, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID')

    ours, back = jax.vjp(pooling.max_pool_2x2, maps)
    expected, expected_back = jax.vjp(xlas, maps)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(back(expected)[0], expected_back(expected)[0])


@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('size', [(8, 12), (9, 7)])
@pytest.mark.parametrize('axis', [1, 2])
def test_max_pool_along_is_xlas(axis, size, tied):
    maps = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32)
    if tied:  # the first of the highest gets the gradient
        maps = np.round(maps)
    window = (1, 4, 1, 1) if axis == 1 else (1, 1, 4, 1)

    def xlas(maps):
        return jax.lax.reduce_window(maps, -jnp.inf, jax.lax.max, window, window, 'VALID')

    expected, expected_back = jax.vjp(xlas, maps)
    probe = np.arange(1.0, expected.size + 1, dtype=np.float32).reshape(expected.shape)
    ours, back = jax.vjp(lambda maps: pooling.max_pool_along(maps, axis, 4), maps)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(back(probe)[0], expected_back(probe)[0])


@pytest.mark.parametrize(
    ('name', 'fan_in'),
    [('cnn_features_0', 9), ('cnn_features_4_0', 9), ('cnn_features_7_3', 64), ('gru_l0', 32),
     ('residual_proj', 128), ('attention_2', 16)],
)  # fmt: skip
def test_initialisation_is_pytorchs(name, fan_in):
    params = initialised(models.build({'name': 'cnn_gru'}, 8), jnp.zeros((1, 8, 8)))['params'][name]
    values = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    limit = fan_in**-0.5
    assert np.abs(values).max() <= limit
    # The standard error of a uniform variable's variance: limit^2 * sqrt(4 / 45 / n).
    assert abs(values.var() - limit**2 / 3) < 5 * limit**2 * np.sqrt(4 / 45 / values.size)


def test_whole_channels_are_dropped():
    class Trunk(efficient_cnn.nn.Module):
        @efficient_cnn.nn.compact
        def __call__(self, pictures, train):
            return efficient_cnn.trunk(pictures, train, 0.5, 'float32')

    pictures = np.random.default_rng(0).standard_normal((8, 64, 64)).astype(np.float32)
    variables = initialised(Trunk(), pictures)
    maps, _ = trained(Trunk(), variables, pictures, 0)
    dropped = np.asarray((maps == 0).all((1, 2)))
    # 1,024 channels of pictures, each dropped with probability 1/2.
    assert abs(dropped.mean() - 0.5) < 5 * 0.5 / np.sqrt(dropped.size)


def test_bfloat16_means_are_rounded_once():
    maps = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 6, 3)), jnp.bfloat16)
    wide = np.asarray(maps, np.float64)[:, :4].reshape(2, 2, 2, 3, 2, 3).mean((2, 4))
    ours = jax.jit(pooling.avg_pool_2x2)(maps)
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_array_equal(ours, jnp.asarray(wide, jnp.float32).astype(jnp.bfloat16))
