"""Low-rank adaptation: what trains, what stays, and the merged network against narrow kernels."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import models
from genre_jax.convert import store
from genre_jax.errors import UserError
from genre_jax.run import folder
from genre_jax.training import lora
from genre_jax.training import step as train
from tests.training.test_freezing import after, batch, flat, make

# Of each a small one, and what it takes.
NETWORKS = {
    'ast': ({'width': 24, 'depth': 2, 'heads': 3}, (36, 36)),
    'ast, rematerialised': ({'width': 24, 'depth': 2, 'heads': 3, 'remat': True}, (36, 36)),
    'beats': (
        {'width': 24, 'depth': 2, 'heads': 3, 'hidden_units': 32, 'patch_width': 12, 'position_groups': 4},
        (48, 32),
    ),
    'mlp': ({'hidden_units': (12, 10)}, (20,)),
    'shallow_cnn': ({}, (80, 80)),
}


def settings(**keys):
    config = make()[0].config.optim
    config.update(lora_rank=3, lora_alpha=7.0)
    config.update(keys)
    return config


def with_random_kernels(params, rng):
    """B is no longer 0."""
    return {
        path: np.float32(rng.normal(0, 0.2, value.shape)) if lora.is_adapter(path) else value
        for path, value in flat(params).items()
    }


@pytest.mark.slow(but='ast, rematerialised')
@pytest.mark.parametrize('name', NETWORKS)
def test_merged_is_what_trains(name):
    """Outputs with narrow kernels beside the layers, those with merged ones, and those by NumPy's product."""
    keys, shape = NETWORKS[name]
    dropouts = {} if name.startswith('ast') else {'dropout': 0.0}
    known = models.takes(name.split(',')[0])
    keys |= {key: value for key, value in dropouts.items() if key in known}
    model = models.build({'name': name.split(',')[0], **keys}, 4)
    rng, optim = np.random.default_rng(0), settings(lora_rank=2)
    features = rng.standard_normal((3, *shape)).astype(np.float32)
    with lora.dense_layers() as dense:
        variables = jax.jit(lambda: model.init(jax.random.key(0), features, train=False))()
    dense = {layer for layer in dense if layer.split('/')[0] not in model.blocks[-1]}
    params = lora.added(variables['params'], dense, optim, jax.random.key(1))
    own = with_random_kernels(params, rng)
    nested = flax.traverse_util.unflatten_dict(own, sep='/')

    def apply(params):
        return model.apply({**variables, 'params': params}, features, train=False)

    with lora.beside(nested, optim):
        beside = jax.jit(apply)(nested)
    by_hand = {path: value for path, value in own.items() if not lora.is_adapter(path)}
    for path, value in own.items():
        if path.endswith('/lora_a'):
            layer = path.removesuffix('/lora_a')
            by_hand[f'{layer}/kernel'] = own[f'{layer}/kernel'] + 3.5 * value @ own[f'{layer}/lora_b']
    assert len(by_hand) == len(flat(variables['params'])) < len(own)
    merged = flat(lora.merged(nested, optim))
    for path, value in by_hand.items():
        np.testing.assert_allclose(merged[path], value, atol=1e-5)
    wanted = apply(flax.traverse_util.unflatten_dict(by_hand, sep='/'))
    without = apply(variables['params'])
    for ours, theirs, base in zip(beside, wanted, without, strict=True):
        assert np.abs(base - theirs).max() > 100 * np.abs(ours - theirs).max()
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * float(np.abs(theirs).max()))


def test_narrow_kernels_and_the_output_layer_train_and_nothing_else():
    job, state = make(lora_rank=2)
    before = flat(state.params)
    narrow = {path for path in before if lora.is_adapter(path)}
    assert narrow and all(not before[path].any() for path in narrow if path.endswith('lora_b'))
    state = after(job, state, 2)
    now = flat(state.params)
    head = job.model.blocks[-1]
    changed = {path for path, value in now.items() if (value != before[path]).any()}
    assert changed == narrow | {path for path in before if path.split('/')[0] in head}
    # The optimiser holds nothing of what stays.
    held = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    assert held <= 2 * sum(now[path].size for path in changed)


def test_a_beginning_changes_nothing():
    plain, adapted = make()[0], make(lora_rank=2)
    features = jnp.asarray(np.random.default_rng(0).standard_normal((2, *plain.picture)), jnp.float32)
    state = adapted[1]
    variables = {'params': state.params, 'batch_stats': state.batch_stats}
    logits = adapted[0].apply(variables, features, train=False)[0]
    own = {**variables, 'params': lora.split(state.params)[0]}
    np.testing.assert_array_equal(logits, plain.model.apply(own, features, train=False)[0])


def test_what_is_kept_is_merged(tmp_path):
    job, state = make(lora_rank=2)
    state = after(job, state, 2)
    folder.save_model(job, state.evaluated, 't', {}, tmp_path)
    kept = store.load(tmp_path)
    assert not any(map(lora.is_adapter, kept.variables))
    features = np.random.default_rng(0).standard_normal((2, *job.picture)).astype(np.float32)
    nested = flax.traverse_util.unflatten_dict(kept.variables, sep='/')
    logits = job.model.apply(nested, features, train=False)[0]
    np.testing.assert_allclose(logits, job.apply(state.evaluated, features, train=False)[0], atol=1e-6)


def test_training_is_that_of_the_equations():
    """One layer and the output layer, by hand: the gradients of A, B and the head, after a step of SGD."""
    rng, optim = np.random.default_rng(3), settings(lora_rank=2, lora_alpha=5.0)
    model = models.build({'name': 'mlp', 'hidden_units': (6,), 'dropout': 0.0}, 3)
    x = rng.standard_normal((4, 5)).astype(np.float32)
    params = model.init(jax.random.key(0), x, train=False)['params']
    own = with_random_kernels(lora.added(params, {'dense_1'}, optim, jax.random.key(1)), rng)
    nested = flax.traverse_util.unflatten_dict(own, sep='/')

    def total(params):
        with lora.beside(params, optim):
            return model.apply({'params': params}, x, train=False)[0].sum()

    gradient = flat(jax.jit(jax.grad(total))(nested))
    (layer,) = {path.rpartition('/')[0] for path in own if path.endswith('lora_a')}
    (head,) = {path.split('/')[0] for path in own} - {layer}
    w, a, b = (own[f'{layer}/{key}'] for key in ('kernel', 'lora_a', 'lora_b'))
    out = own[f'{head}/kernel']
    hidden = x @ (w + 2.5 * a @ b) + own[f'{layer}/bias']
    upper = (hidden > 0) * out.sum(1)
    np.testing.assert_allclose(gradient[f'{layer}/lora_a'], 2.5 * x.T @ upper @ b.T, atol=1e-4)
    np.testing.assert_allclose(gradient[f'{layer}/lora_b'], 2.5 * (x @ a).T @ upper, atol=1e-4)
    np.testing.assert_allclose(gradient[f'{head}/kernel'][:, 0], np.maximum(hidden, 0).sum(0), atol=1e-4)


def test_no_gradient_of_a_whole_kernel_is_computed():
    """A product of the kernel's shape stands in the gradient of all, and none in that of narrow kernels."""

    def products(**keys):
        job, state = make(**keys)
        step = train.train_program(job, job.plan.groups(0))
        text = step.lower(train.placed_numbers(job), state, batch()).as_text()
        sizes = state.params['fc_1']['kernel'].shape
        results = [f'-> tensor<{a}x{b}xf32>' for a, b in (sizes, sizes[::-1])]
        lines = [line for line in text.splitlines() if 'dot_general' in line]
        return sum(any(result in line for result in results) for line in lines)

    assert products() == 1
    assert products(lora_rank=2) == 0


def test_without_a_name_layers_not_wider_than_the_rank_stay_as_they_are():
    shapes = {'gate': (64, 8), 'narrow': (4, 64), 'same': (16, 8), 'wide': (64, 9), 'conv': (3, 64, 64)}
    params = {name: {'kernel': jnp.zeros(shape)} for name, shape in shapes.items()}

    def adapted(**keys):
        found = flat(lora.added(params, shapes.keys(), settings(**keys), jax.random.key(0)))
        return {path.split('/')[0] for path in found if lora.is_adapter(path)}

    assert adapted(lora_rank=8) == {'wide'}
    assert adapted(lora_rank=7) == {'wide', 'gate', 'same'}
    with pytest.raises(UserError, match='lora_rank=8: expected less than 8, which gate has, 64 x 8: or'):
        adapted(lora_rank=8, lora_layers='gate|wide')
    with pytest.raises(UserError, match='lora_rank=9: expected less than 9, which wide has, 64 x 9: or'):
        adapted(lora_rank=9)


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        ({'lora_layers': 'nothing_such'}, "lora_layers='nothing_such' names no dense layer: .*fc_1"),
        ({'lora_layers': '('}, 'no regular expression'),
        ({'lora_rank': 10_000}, 'lora_rank=10000: expected less than'),
        ({'freeze': 'first 1'}, "config.optim.freeze=''"),
        ({'unfreeze_at': '1 epochs'}, "config.optim.unfreeze_at=''"),
    ],
)
def test_settings_that_cannot_be(keys, message):
    with pytest.raises(UserError, match=message):
        make(**({'lora_rank': 2} | keys))
