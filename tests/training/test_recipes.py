"""What config.optim and config.train change in a step, by closed forms and other ways to the same."""

import jax
import numpy as np
import pytest

from genre_jax import sharding
from genre_jax.configs import mlp_features
from genre_jax.errors import UserError
from genre_jax.loading import prepared
from genre_jax.training import step as train
from genre_jax.training.job import make_job

LABELS = ('a', 'b', 'c')
RNG = np.random.default_rng(0)
BATCHES = [
    {
        'table': RNG.standard_normal((32, 5)).astype(np.float32),
        'label': RNG.integers(0, 3, 32).astype(np.int32),
    }
    for _ in range(5)
]


def make(**keys):
    config = mlp_features.get_config()
    config.model.hidden_units = (7,)
    config.model.dropout = 0.0
    config.optim.schedule = 'constant'
    config.train.batch_size = 32
    for key, value in keys.items():
        section, name = key.split('__')
        config[section][name] = value
    stored = prepared.Stored('table', (5,), 0, LABELS)
    return make_job(config, stored, 320, sharding.make_mesh())


def trained(job, batches, state=None):
    """States after each batch."""
    state = train.make_state(job) if state is None else state
    step, states = train.make_train_step(job, job.plan.groups(0)), []
    for batch in batches:
        state, outputs = step(state, sharding.put_batch(batch, job.mesh))
        states.append(jax.tree.map(np.array, jax.device_get(state)))
        assert np.isfinite(outputs['loss'])
    return states


def gap(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


@pytest.mark.parametrize('weights', [(), ('a=0', 'c=9')])
def test_accumulation_is_the_whole_batch(weights):
    """Also where a part has other classes than the next, and one that nothing weighs in."""
    batches = [{key: rows[np.argsort(batch['label'])] for key, rows in batch.items()} for batch in BATCHES]
    # Device by device, the first part has the first rows.
    order = np.arange(32).reshape(4, 8).T.ravel()
    batches = [{key: rows[order] for key, rows in batch.items()} for batch in batches]
    shared = {'optim__name': 'sgd', 'optim__learning_rate': 0.5, 'optim__l2': 0.01}
    shared |= {'train__class_weights': weights}
    whole = trained(make(**shared), batches)
    parts = trained(make(**shared, train__accumulate=4), batches)
    assert gap(whole[-1].params, parts[-1].params) < 1e-6
    assert parts[-1].sums['examples'] == 160
    assert parts[-1].sums['hits'] == whole[-1].sums['hits']
    assert parts[-1].sums['loss'] == pytest.approx(whole[-1].sums['loss'], rel=1e-6)


def test_a_batch_that_cannot_be_divided():
    with pytest.raises(UserError, match=r'accumulate=5 on 8 devices: expected a multiple of 40'):
        make(train__accumulate=5)


def test_averages_are_those_of_the_weights():
    states = trained(make(optim__ema_decay=0.6), BATCHES)
    average = states[0].params
    for state in states[1:]:
        average = jax.tree.map(lambda a, b: 0.6 * a + 0.4 * b, average, state.params)
    assert gap(states[-1].evaluated['params'], average) < 1e-6
    assert gap(states[-1].params, trained(make(), BATCHES)[-1].params) == 0
    assert gap(states[-1].params, average) > 1e-4


def test_a_plateau_scales_the_step():
    job = make(optim__name='sgd', optim__learning_rate=0.5, optim__schedule='plateau')
    fresh = train.make_state(job)
    start = jax.tree.map(np.array, jax.device_get(fresh))
    lowered = sharding.put_replicated(start.watch | {'plateau_scale': np.float32(0.1)}, job.mesh)
    low = trained(job, BATCHES[:1], fresh.replace(watch=lowered))[0]
    high = trained(job, BATCHES[:1])[0]

    def change(state):
        return jax.tree.map(lambda a, b: a - b, state.params, start.params)

    assert gap(change(low), jax.tree.map(lambda x: 0.1 * x, change(high))) < 1e-6


@pytest.mark.parametrize('norm', [0.01, 0.1])
def test_clipping_shortens_the_step(norm):
    job = make(optim__name='sgd', optim__learning_rate=1.0, optim__clip_norm=norm)
    start = jax.device_get(train.make_state(job).params)
    end = trained(job, BATCHES[:1])[0].params
    squares = jax.tree.map(lambda a, b: ((a - b) ** 2).sum(), start, end)
    assert sum(jax.tree.leaves(squares)) ** 0.5 == pytest.approx(norm, rel=1e-3)


def test_l2_is_the_decay_of_kernels():
    """A penalty of decay / 2 and decay in the gradient differ in the biases alone."""
    penalty = trained(make(optim__name='sgd', optim__l2=0.05), BATCHES[:1])[0].params
    decay = trained(make(optim__name='sgd', optim__weight_decay=0.1), BATCHES[:1])[0].params
    for layer in penalty:
        np.testing.assert_allclose(penalty[layer]['kernel'], decay[layer]['kernel'], atol=1e-7)


def test_a_class_of_weight_0_teaches_nothing():
    job = make(train__class_weights=('a=0', 'c=2.5'), optim__name='sgd', optim__learning_rate=0.5)
    others = BATCHES[0]['label'] != 0
    changed = BATCHES[0] | {'table': np.where(others[:, None], BATCHES[0]['table'], 9)}
    one, other = (trained(job, [batch])[0].params for batch in (BATCHES[0], changed))
    assert gap(one, other) < 1e-7
