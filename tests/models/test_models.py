"""The shallow CNN against published numbers, flax's own layers and closed forms."""

import functools
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import models
from genre_jax.errors import UserError
from genre_jax.models import shallow_cnn
from genre_jax.models.kernels.convolution import SingleChannelConv
from tests.golden import torch_tensor, u

CHANNELS = 16


# --- the published network -----------------------------------------------------------------------


def torch_variables():
    """Herbert's network in Flax's layout. His pictures are mel x time, ours time x mel."""
    params, batch_stats = {}, {}
    for side, kernel in (('left', (10, 23)), ('right', (21, 20))):
        conv, norm = f'conv_{side}', f'bn_conv_{side}'
        weight = torch_tensor(f'{conv}.weight', CHANNELS, 1, *kernel)
        params[conv] = {
            'kernel': weight.transpose(3, 2, 1, 0),
            'bias': torch_tensor(f'{conv}.bias', CHANNELS),
        }
        params[norm] = {
            'scale': torch_tensor(f'{norm}.weight', CHANNELS),
            'bias': torch_tensor(f'{norm}.bias', CHANNELS),
        }
        batch_stats[norm] = {
            'mean': torch_tensor(f'{norm}.running_mean', CHANNELS),
            'var': torch_tensor(f'{norm}.running_var', CHANNELS),
        }
    weight = torch_tensor('fc_1.weight', 200, 10240)
    # Each half is flattened as channel, mel, time there, and as time, mel, channel here.
    halves = [
        half.reshape(200, CHANNELS, mel, time).transpose(3, 2, 1, 0).reshape(5120, 200)
        for half, mel, time in ((weight[:, :5120], 80, 4), (weight[:, 5120:], 4, 80))
    ]
    params['fc_1'] = {'kernel': np.concatenate(halves), 'bias': torch_tensor('fc_1.bias', 200)}
    params['fc_2'] = {
        'kernel': torch_tensor('fc_2.weight', 10, 200).T,
        'bias': torch_tensor('fc_2.bias', 10),
    }
    return {'params': params, 'batch_stats': batch_stats}


def test_the_generator():
    assert zlib.crc32(b'test') == 3632233996
    expected = [-0.8839569762, -0.4484389024, -0.0051207487, -0.4987826841]
    np.testing.assert_allclose(u('test', (4,)), expected, atol=1e-9)


def test_logits_of_the_pytorch_original():
    # Computed with Herbert's PyTorch code in evaluation mode.
    expected = np.array(
        [
            [2.72719, -0.486733, 0.741712, -0.187619, 2.18035, -3.33174, 3.35284, -0.818755,
             1.87725, 0.162967],
            [3.16560, -1.41154, -0.159872, -0.323212, 2.52126, -3.05374, 3.33689, -0.942058,
             0.838876, 1.73345],
        ]
    )  # fmt: skip
    pictures = u('input', (2, 1, 80, 80))[:, 0].transpose(0, 2, 1).astype(np.float32)
    model = shallow_cnn.Model(num_classes=10, batch_norm=True)
    logits, embedding = model.apply(torch_variables(), pictures, train=False)
    assert embedding.shape == (2, 200)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(logits.sum(1), [6.21747, 5.70566], atol=1e-3)


@pytest.mark.parametrize(('batch_norm', 'count'), [(False, 2_060_642), (True, 2_060_706)])
def test_number_of_parameters(batch_norm, count):
    model = models.build({'name': 'shallow_cnn', 'batch_norm': batch_norm}, 10)
    shapes = jax.eval_shape(
        lambda key: model.init(key, jnp.zeros((1, 80, 80)), train=False), jax.random.key(0)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes['params'])) == count
    assert set(shapes['params']) >= {'conv_left', 'conv_right', 'fc_1', 'fc_2'}


# --- its parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize('bias_cancels', [False, True])
@pytest.mark.parametrize('kernel_size', [(1, 1), (2, 3), (3, 2), (23, 10), (20, 21), (4, 4)])
def test_single_channel_conv_is_flaxs(kernel_size, bias_cancels):
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((3, 25, 31)).astype(np.float32)
    params = {
        'kernel': rng.standard_normal((*kernel_size, 1, 5)).astype(np.float32),
        'bias': rng.standard_normal(5).astype(np.float32),
    }
    ours = SingleChannelConv(5, kernel_size, nn.initializers.zeros, bias_cancels)
    flaxs = nn.Conv(5, kernel_size, padding='SAME')
    probe = rng.standard_normal((3, 25, 31, 5)).astype(np.float32)

    @functools.partial(jax.jit, static_argnums=0)
    def maps_and_gradient(layer, inputs):
        def loss(params):
            maps = layer.apply({'params': params}, inputs)
            return (maps * probe).sum(), maps

        gradient, maps = jax.grad(loss, has_aux=True)(params)
        return maps, gradient

    out, gradient = maps_and_gradient(ours, pictures)
    expected, their_gradient = maps_and_gradient(flaxs, pictures[..., None])
    np.testing.assert_allclose(out, expected, atol=2e-6 * np.abs(expected).max())
    np.testing.assert_allclose(gradient['kernel'], their_gradient['kernel'], rtol=1e-3, atol=1e-3)
    if bias_cancels:
        assert (gradient['bias'] == 0).all()
    else:
        np.testing.assert_allclose(gradient['bias'], their_gradient['bias'], rtol=1e-3, atol=1e-3)


def test_single_channel_conv_makes_flaxs_parameters():
    pictures = jnp.zeros((1, 8, 8))
    init = shallow_cnn.he_normal(0.3)
    ours = SingleChannelConv(6, (4, 5), init).init(jax.random.key(0), pictures)
    flaxs = nn.Conv(6, (4, 5), kernel_init=init).init(jax.random.key(0), pictures[..., None])
    jax.tree.map(np.testing.assert_array_equal, ours, flaxs)


@pytest.mark.parametrize(('shape', 'fan_in'), [((23, 10, 1, 400), 230), ((1000, 200), 1000)])
@pytest.mark.parametrize('slope', [0.0, 0.3])
def test_he_normal(shape, fan_in, slope):
    values = np.asarray(shallow_cnn.he_normal(slope)(jax.random.key(0), shape)).ravel()
    variance = 2 / ((1 + slope**2) * fan_in)
    error = np.sqrt(2 / values.size)  # relative standard error of a normal variable's variance
    assert abs(values.var() / variance - 1) < 5 * error
    assert abs(values.mean()) < 5 * np.sqrt(variance / values.size)
    # Gaussian, not cut off at two standard deviations: 4.55 % lie beyond.
    beyond = (np.abs(values) > 2 * np.sqrt(variance)).mean()
    assert abs(beyond - 0.0455) < 5 * np.sqrt(0.0455 * 0.9545 / values.size)


@pytest.fixture(scope='module')
def small():
    """A network with batch normalisation, and dropout that shows."""
    model = shallow_cnn.Model(num_classes=3, hidden_units=20, dropout=0.5, batch_norm=True)
    pictures = np.random.default_rng(0).standard_normal((6, 24, 40)).astype(np.float32) + 2
    init = jax.jit(lambda: model.init(jax.random.key(0), pictures, train=False))
    return model, init(), pictures


@functools.partial(jax.jit, static_argnums=0)
def trained(model, variables, pictures, seed):
    return model.apply(
        variables,
        pictures,
        train=True,
        rngs={'dropout': jax.random.key(seed)},
        mutable=['batch_stats'],
    )


def test_dropout_is_on_in_training_only(small):
    model, variables, pictures = small
    first, again, other = (trained(model, variables, pictures, seed)[0][0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # Without a key for dropout: Flax refuses to draw.
    one, two = (model.apply(variables, pictures, train=False)[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_dropout_lies_between_the_embedding_and_the_logits(small):
    model, variables, pictures = small
    (logits, embedding), _ = trained(model, variables, pictures, 0)
    head = variables['params']['fc_2']
    dense = embedding @ head['kernel'] + head['bias']
    assert np.abs(logits - dense).max() > 0.01
    logits, embedding = model.apply(variables, pictures, train=False)
    dense = embedding @ head['kernel'] + head['bias']
    np.testing.assert_allclose(logits, dense, atol=1e-5)
    # Inverted dropout: the logits' mean over many draws is that without it.
    draw = jax.jit(jax.vmap(lambda seed: trained(model, variables, pictures, seed)[0]))
    logits, embedding = draw(jnp.arange(4000))
    dense = embedding[0] @ head['kernel'] + head['bias']
    sigma = logits.std(0) / np.sqrt(4000)
    assert (np.abs(logits.mean(0) - dense) < 5 * sigma).all()


def test_running_statistics_follow_the_closed_form(small):
    model, variables, pictures = small
    expected = {}
    for side, kernel_size in (('left', (23, 10)), ('right', (20, 21))):
        params = {'params': variables['params'][f'conv_{side}']}
        maps = np.asarray(nn.Conv(16, kernel_size).apply(params, pictures[..., None]), np.float64)
        mean, var = np.zeros(16), np.ones(16)
        for _ in range(2):
            mean = 0.9 * mean + 0.1 * maps.mean((0, 1, 2))
            var = 0.9 * var + 0.1 * maps.var((0, 1, 2))
        expected[f'bn_conv_{side}'] = {'mean': mean, 'var': var}
    state = variables
    for seed in range(2):
        _, updates = trained(model, state, pictures, seed)
        state = {'params': variables['params']} | updates
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4),
        dict(state['batch_stats']),
        expected,
    )


def test_batch_statistics_normalise_in_training_only(small):
    model, variables, pictures = small
    # A gain and an offset of the input cancel only where the batch's own statistics are used.
    changed = 5 * pictures
    train_a, train_b = (trained(model, variables, x, 0)[0][0] for x in (pictures, changed))
    np.testing.assert_allclose(train_a, train_b, atol=1e-3)
    eval_a, eval_b = (model.apply(variables, x, train=False)[0] for x in (pictures, changed))
    assert np.abs(eval_a - eval_b).max() > 0.1
    _, updates = model.apply(variables, pictures, train=False, mutable=['batch_stats'])
    jax.tree.map(np.testing.assert_array_equal, updates['batch_stats'], variables['batch_stats'])


def test_the_bias_before_batch_norm_does_nothing(small):
    model, variables, pictures = small
    shifted = jax.tree.map(lambda x: x, variables)
    shifted['params']['conv_left']['bias'] = jnp.full(16, 7.0)
    plain, moved = (trained(model, v, pictures, 0)[0][0] for v in (variables, shifted))
    np.testing.assert_allclose(plain, moved, atol=1e-3)


@pytest.mark.parametrize('shape', [(1, 19, 80), (1, 80, 19)])
def test_too_small_pictures(shape):
    model = shallow_cnn.Model(num_classes=2)
    with pytest.raises(UserError, match=rf'at least 20 .* {shape[1]} x {shape[2]}'):
        jax.eval_shape(lambda key: model.init(key, jnp.zeros(shape), train=False), jax.random.key(0))


def test_the_smallest_pictures():
    model = shallow_cnn.Model(num_classes=2, hidden_units=3)
    (logits, embedding), _ = model.init_with_output(jax.random.key(0), jnp.ones((4, 20, 20)), train=False)
    assert logits.shape == (4, 2) and embedding.shape == (4, 3)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'name': 'shalow_cnn'}, r"config\.model\.name='shalow_cnn'; did you mean 'shallow_cnn'"),
        ({'name': 'network'}, r"config\.model\.name='network'"),
        ({'name': 'shallow_cnn', 'droput': 0.1}, r"droput; did you mean 'config\.model\.dropout'"),
        ({'name': 'shallow_cnn', 'num_classes': 3}, r'unknown key config\.model\.num_classes'),
        ({'name': 'shallow_cnn', 'parent': 3}, r'unknown key config\.model\.parent'),
        ({'name': 'shallow_cnn', 'hidden_units': 0}, r'hidden_units=\(0,\): expected at least 1'),
        ({'name': 'ast', 'patchout_time': -1}, r'patchout_time=\(-1,\): expected at least 0'),
        ({'name': 'shallow_cnn', 'dropout': 1.0}, r'dropout=1\.0'),
        ({'name': 'shallow_cnn', 'dropout': -0.1}, r'dropout=-0\.1'),
        ({'name': 'shallow_cnn', 'dropout': float('nan')}, r'dropout=nan'),
        ({'name': 'vgg16', 'dropout': (0.5,)}, r'dropout=\(0\.5,\): .* one for each of 2 layers'),
        ({'name': 'vgg16', 'dropout': (0.5, 1.0)}, r'dropout=1\.0'),
        ({'name': 'yamnet', 'lstm_units': (4,), 'dropout': ()}, r'one for each of 1 layers'),
        ({'name': 'yamnet', 'summary': 'std'}, r"summary='std'; expected one of mean, mean_std"),
    ],
    ids=str,
)
def test_build_refuses(settings, message):
    with pytest.raises(UserError, match=message):
        models.build(settings, 10)


@pytest.mark.slow(but='mlp')
@pytest.mark.parametrize(
    ('settings', 'shape'),
    [
        ({'name': 'mlp'}, (4, 8)), ({'name': 'mean_deviation'}, (9, 8)),
        ({'name': 'vgg16', 'hidden_units': (4,), 'pool': 'mean'}, (32, 32)),
        ({'name': 'cnn14', 'variant': 'cnn6'}, (32, 32)), ({'name': 'crepe'}, (1024, 1)),
        ({'name': 'ast', 'width': 16, 'heads': 2, 'depth': 2}, (32, 32)),
    ],
    ids=['mlp', 'mean_deviation', 'vgg16', 'cnn14', 'crepe', 'ast'],
)  # fmt: skip
def test_derivatives_forwards_are_those_in_reverse(settings, shape):
    """Of the networks that docs/models.md names."""
    rng = np.random.default_rng(0)
    pictures = np.float32(rng.standard_normal((3, *shape)))
    model = models.build(settings, 5)
    variables = jax.jit(lambda: model.init(jax.random.key(0), pictures, train=False))()
    weights = np.float32(rng.standard_normal((3, 5)))

    def objective(params):
        settings = {'train': True, 'mutable': ['batch_stats'], 'rngs': {'dropout': jax.random.key(1)}}
        (logits, _), _ = model.apply(variables | {'params': params}, pictures, **settings)
        return (weights * logits).sum()

    params = variables['params']
    along = jax.tree.map(lambda x: np.float32(rng.standard_normal(x.shape)), params)
    _, forwards = jax.jit(lambda *x: jax.jvp(objective, x[:1], x[1:]))(params, along)
    terms = jax.tree.map(lambda a, b: np.float64(a) * b, jax.jit(jax.grad(objective))(params), along)
    terms = np.concatenate([x.ravel() for x in jax.tree.leaves(terms)])
    assert forwards == pytest.approx(terms.sum(), abs=1e-5 * np.abs(terms).sum())
