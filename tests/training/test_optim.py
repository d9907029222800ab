"""The optimiser and the schedules against their formulas in numpy."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genre_jax.config import Length
from genre_jax.configs import common
from genre_jax.errors import UserError
from genre_jax.training import optim


def settings(**optim_keys):
    config = common.get_config()
    config.optim.update(optim_keys)
    return config


def schedule(steps, **optim_keys):
    length = Length(steps_per_epoch=100, total_steps=1000)
    values = optim.make_schedule(settings(**optim_keys), length)
    return [float(values(step)) for step in steps]


def test_adam_is_kingma_and_bas():
    learning_rate, b1, b2, eps = 5e-5, 0.9, 0.999, 1e-8
    config = settings(learning_rate=learning_rate)
    optimizer = optim.make_optimizer(config, optim.make_schedule(config, Length(10, 100)))
    # Gradients from large to far below eps, where its place in the formula shows.
    scale = np.array([1e3, 1.0, 1e-4, 1e-8, 1e-10])
    rng = np.random.default_rng(0)
    ours = {'kernel': jnp.zeros(5)}
    state = optimizer.init(ours)
    theirs = m = v = np.zeros(5)
    for t in range(1, 6):
        g = scale * rng.standard_normal(5)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        theirs = theirs - learning_rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        changes, state = optimizer.update({'kernel': jnp.float32(g)}, state, ours)
        ours = optax.apply_updates(ours, changes)
        np.testing.assert_allclose(ours['kernel'], theirs, rtol=2e-5)


@pytest.mark.parametrize(('key', 'value'), [('b1', 0.5), ('b2', 0.5), ('eps', 1.0)])
def test_the_optimisers_keys_matter(key, value):
    gradients = [jnp.float32([g]) for g in (1.0, -0.3, 0.2)]
    ends = []
    for keys in ({}, {key: value}):
        config = settings(**keys)
        optimizer = optim.make_optimizer(config, optax.constant_schedule(0.1))
        params = jnp.float32([1.0])
        state = optimizer.init(params)
        for gradient in gradients:
            changes, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, changes)
        ends.append(float(params[0]))
    assert abs(ends[0] - ends[1]) > 1e-3


def steps_of(config, gradients, start):
    """Where our optimiser goes from `start` on these gradients."""
    optimizer = optim.make_optimizer(config, optax.constant_schedule(config.optim.learning_rate))
    params = jnp.float32(start)
    state, places = optimizer.init(params), []
    for gradient in gradients:
        changes, state = optimizer.update(jnp.float32(gradient), state, params)
        params = optax.apply_updates(params, changes)
        places.append(np.asarray(params))
    return np.stack(places)


GRADIENTS = np.random.default_rng(1).standard_normal((6, 4))
START = np.array([1.0, -2.0, 0.5, 3.0])


def test_sgd_with_momentum_and_decay():
    config = settings(name='sgd', learning_rate=0.1, momentum=0.3, weight_decay=0.05)
    w, velocity, expected = START, np.zeros(4), []
    for g in GRADIENTS:
        velocity = 0.3 * velocity + (g + 0.05 * w)
        w = w - 0.1 * velocity
        expected.append(w)
    np.testing.assert_allclose(steps_of(config, GRADIENTS, START), expected, rtol=1e-5)


def test_decay_is_coupled_in_adam_and_decoupled_in_adamw():
    """Loshchilov and Hutter (2019), algorithm 2: the pink and the green terms."""
    learning_rate, b1, b2, decay = 0.01, 0.9, 0.98, 0.3
    for name, coupled in (('adam', decay), ('adamw', 0.0)):
        config = settings(name=name, learning_rate=learning_rate, b2=b2, weight_decay=decay)
        w, m, v, expected = START, 0.0, 0.0, []
        for t, gradient in enumerate(GRADIENTS, 1):
            g = gradient + coupled * w
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            step = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
            w = w - learning_rate * (step + (decay - coupled) * w)
            expected.append(w)
        np.testing.assert_allclose(steps_of(config, GRADIENTS, START), expected, rtol=2e-5)


def test_clipping_is_of_all_gradients_together():
    gradients = {'a': jnp.float32([3.0]), 'b': {'c': jnp.float32([0.0, 4.0])}}
    short = optim.clipped(gradients, 2.0)
    np.testing.assert_allclose(short['a'], [1.2], rtol=1e-6)
    np.testing.assert_allclose(short['b']['c'], [0, 1.6], rtol=1e-6)
    for norm in (0.0, 5.5):
        np.testing.assert_array_equal(optim.clipped(gradients, norm)['b']['c'], [0, 4])


def test_moving_average():
    values = [2.0, 4.0, -1.0, 0.5]
    average = {'w': jnp.float32(1000.0)}  # forgotten at once
    for step, value in enumerate(values):
        average = optim.moving_average(average, {'w': jnp.float32(value)}, 0.75, jnp.int32(step))
    expected = 0.75 * (0.75 * (0.75 * 2 + 0.25 * 4) + 0.25 * -1) + 0.25 * 0.5
    assert average['w'] == pytest.approx(expected, rel=1e-6)


def test_halving_counts_from_the_first_step():
    steps = [0, 25, 50, 299, 300, 599, 600, 999]
    rates = schedule(steps, learning_rate=0.8, schedule='halving', halve_every='3 epochs', warmup='50 steps')
    np.testing.assert_allclose(rates, [0, 0.4, 0.8, 0.8, 0.4, 0.4, 0.2, 0.1], rtol=1e-6)


def test_constant():
    assert schedule([0, 1, 500, 999], learning_rate=0.25) == [0.25] * 4


@pytest.mark.parametrize('warmup', ['200 steps', '2 epochs', '20 percent'])
def test_warm_up_to_constant(warmup):
    rates = schedule([0, 1, 50, 100, 200, 999], learning_rate=0.5, warmup=warmup)
    np.testing.assert_allclose(rates, [0, 0.0025, 0.125, 0.25, 0.5, 0.5], rtol=1e-6)


def test_cosine():
    steps = np.array([0, 1, 250, 500, 750, 999, 1000])
    rates = schedule(steps, learning_rate=0.5, schedule='cosine')
    np.testing.assert_allclose(rates, 0.25 * (1 + np.cos(np.pi * steps / 1000)), atol=1e-7)


def test_warm_up_to_cosine():
    steps = np.array([0, 10, 100, 325, 550, 1000])
    rates = schedule(steps, learning_rate=0.5, schedule='cosine', warmup='10 percent')
    decay = 0.25 * (1 + np.cos(np.pi * (steps - 100) / 900))
    np.testing.assert_allclose(rates, np.where(steps < 100, steps / 200, decay), atol=1e-7)


@pytest.mark.parametrize('kind', ['constant', 'cosine'])
@pytest.mark.parametrize('warmup', ['10 epochs', '100 percent', '3000 steps'])
def test_a_warm_up_as_long_as_the_training_is_refused(warmup, kind):
    with pytest.raises(UserError, match=r'config\.optim\.warmup'):
        schedule([0], schedule=kind, warmup=warmup)


def test_a_wrong_duration():
    with pytest.raises(UserError, match=r"config\.optim\.warmup='5 minutes'"):
        schedule([0], warmup='5 minutes')
