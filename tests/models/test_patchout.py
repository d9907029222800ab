"""Patchout: which patches a training step of the Audio Spectrogram Transformer leaves out."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding

from genre_jax import models, sharding
from genre_jax.compile.steps import count_operations
from genre_jax.errors import UserError
from genre_jax.models import ast

ROWS, COLUMNS, WIDTH, EXAMPLES = 4, 9, 8, 3


def network(**settings):
    strides = {'frequency_stride': 16, 'time_stride': 16}
    return models.build({'name': 'ast', 'width': WIDTH, 'depth': 1, 'heads': 2, **strides, **settings}, 5)


@functools.cache
def numbered():
    """Pictures whose patch in row r and column c is 100 r + c, plus 1000 times the example, and variables
    with which a token is that number, its place and zeros, through blocks that add nothing."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    pictures = np.kron(100 * rows + columns, np.ones((16, 16))).T
    pictures = np.float32(pictures + 1000 * np.arange(EXAMPLES)[:, None, None])
    model = network()
    variables = jax.jit(lambda: model.init(jax.random.key(0), pictures, train=False))()
    params = jax.tree.map(np.zeros_like, variables['params'])
    params['patch_embed']['kernel'][..., 0] = 1 / 256
    params['pos_embed'][0, :, 1] = np.arange(2 + ROWS * COLUMNS)
    return pictures, {'params': params}


def tokens(model, pictures, variables, key=0, train=True):
    """What comes out of the blocks, (batch, tokens, width)."""

    def apply(key):
        _, seen = model.apply(
            variables, pictures, train=train, rngs={'dropout': key},
            capture_intermediates=lambda module, _: isinstance(module, ast.Block),
        )  # fmt: skip
        return seen['intermediates']['blocks_0']['__call__'][0]

    return np.asarray(jax.jit(apply)(jax.random.key(key)))


@pytest.mark.parametrize(
    ('time', 'frequency', 'single', 'remat'),
    [(4, 0, 0, False), (0, 1, 0, False), (0, 0, 7, False), (3, 2, 5, True)],
)
def test_the_right_patches_stay_with_their_places(time, frequency, single, remat):
    pictures, variables = numbered()
    model = network(patchout_time=time, patchout_frequency=frequency, patchout=single, remat=remat)
    out = tokens(model, pictures, variables)
    left = (ROWS - frequency) * (COLUMNS - time) - single
    assert out.shape == (EXAMPLES, 2 + left, WIDTH)
    np.testing.assert_array_equal(out[:, :2, :2], [[[0, 0], [0, 1]]] * EXAMPLES)  # the two tokens
    place = out[0, 2:, 1] - 2
    rows, columns = place // COLUMNS, place % COLUMNS
    assert (np.diff(place) > 0).all() and place.min() >= 0 and place.max() < ROWS * COLUMNS
    if single:
        assert len(set(rows)) <= ROWS - frequency and len(set(columns)) <= COLUMNS - time
    else:  # whole rows and columns
        assert len(set(rows)) == ROWS - frequency and len(set(columns)) == COLUMNS - time
    for example in range(EXAMPLES):
        np.testing.assert_allclose(out[example, 2:, 0], 1000 * example + 100 * rows + columns, rtol=1e-5)
        np.testing.assert_array_equal(out[example, 2:, 1], place + 2)


def test_every_patch_stays_as_often_as_any_other():
    pictures, variables = numbered()
    model = network(patchout_time=3, patchout_frequency=1, patchout=6)

    def stay(key):
        _, seen = model.apply(
            variables, pictures[:1], train=True, rngs={'dropout': key},
            capture_intermediates=lambda module, _: isinstance(module, ast.Block),
        )  # fmt: skip
        return seen['intermediates']['blocks_0']['__call__'][0][0, 2:, 1]

    places = jax.jit(jax.vmap(stay))(jax.random.split(jax.random.key(0), 2000))
    often = np.bincount(np.asarray(places, int).ravel() - 2, minlength=ROWS * COLUMNS) / 2000
    # Of 36 patches 12 stay; five standard deviations.
    np.testing.assert_allclose(often, 12 / 36, atol=5 * np.sqrt(12 / 36 * 24 / 36 / 2000))


def test_the_key_decides_and_evaluation_leaves_nothing_out():
    pictures, variables = numbered()
    model, plain = network(patchout_time=4, patchout=5), network()
    first, again, other = (tokens(model, pictures, variables, key) for key in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: np.float32(rng.standard_normal(x.shape)), variables)
    ours, whole = (
        jax.jit(lambda v, m=m: m.apply(v, pictures, train=False))(variables) for m in (model, plain)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, whole)


def test_gradients_of_what_is_left_out_are_zero():
    pictures, variables = numbered()
    model = network(patchout_time=4, patchout_frequency=1)
    stay = tokens(model, pictures, variables)[0, :, 1].astype(int)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: np.float32(0.1 * rng.standard_normal(x.shape)), variables['params'])

    def loss(params):
        key = jax.random.key(0)
        return model.apply({'params': params}, pictures / 1000, train=True, rngs={'dropout': key})[0][0, 0]

    of_places = np.abs(jax.jit(jax.grad(loss))(params)['pos_embed'][0]).sum(1)
    np.testing.assert_array_equal(np.flatnonzero(of_places), stay)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'patchout_time': COLUMNS}, f'config.model.patchout_time={COLUMNS}: expected less than {COLUMNS}'),
        ({'patchout_frequency': 7}, f'config.model.patchout_frequency=7: expected less than {ROWS}'),
        ({'patchout_time': 8, 'patchout_frequency': 2, 'patchout': 2}, 'patchout=2: expected less than 2'),
    ],
)
def test_too_many_are_refused_at_the_start(settings, message):
    pictures, _ = numbered()
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda: network(**settings).init(jax.random.key(0), pictures, train=False))


def test_operations_are_those_of_what_is_left():
    """By hand: of the block four products of the tokens and two of attention."""
    pictures, variables = numbered()

    def operations(**settings):
        model = network(**settings)
        key = jax.random.key(0)
        traced = jax.jit(
            lambda v, x: model.apply(v, x, train=True, rngs={'dropout': key})
        ).trace(variables, pictures)  # fmt: skip
        return count_operations(traced.jaxpr)

    def by_hand(n_tokens):
        return EXAMPLES * (2 * n_tokens * 12 * WIDTH**2 + 2 * 2 * n_tokens**2 * WIDTH)

    whole, less = operations(), operations(patchout_time=3, patchout_frequency=1, patchout=2)
    assert whole - less == by_hand(2 + 36) - by_hand(2 + 3 * 6 - 2)


def test_all_devices_leave_out_the_same():
    """The mesh changes nothing, and only the gradients' sums are sent."""
    pictures, _ = numbered()
    pictures = np.concatenate([pictures] * 3)[:8] / 1000
    model = network(patchout_time=3, patchout_frequency=1, patchout=2)
    variables = jax.jit(lambda: model.init(jax.random.key(0), pictures, train=False))()
    mesh = sharding.make_mesh()

    def apply(variables, pictures):
        return model.apply(variables, pictures, train=True, rngs={'dropout': jax.random.key(3)})[0]

    split = jax.device_put(pictures, sharding.by_example(mesh))
    program = jax.jit(apply, out_shardings=NamedSharding(mesh, jax.P('data')))
    np.testing.assert_allclose(program(variables, split), jax.jit(apply)(variables, pictures), atol=1e-6)
    assert 'all-' not in program.lower(variables, split).compile().as_text()
