"""Freezing: what trains, what stays, with which statistics and learning rates."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import models, run, sharding
from genre_jax.config import Length
from genre_jax.configs import finetune
from genre_jax.convert import engine, store, tables
from genre_jax.errors import UserError
from genre_jax.loading import prepared
from genre_jax.training import freezing
from genre_jax.training import step as train
from genre_jax.training.job import make_job
from tests import golden, tiny_page

WINDOW = round(0.6 * 22050)


def make(**optim_keys):
    """A job on nothing but shapes, and its state. Without augmentation and dropout."""
    config = tiny_page.get_config()
    config.augment = {}
    config.model.dropout = 0.0
    config.optim.schedule = 'constant'
    config.optim.update(optim_keys)
    stored = prepared.Stored('audio', (WINDOW,), 22050, ('a', 'b', 'c'))
    job = make_job(config, stored, 160, sharding.make_mesh(jax.devices()[:1]))
    return job, train.make_state(job)


def batch():
    rng = np.random.default_rng(0)
    audio = (3000 * rng.standard_normal((16, WINDOW))).astype(np.int16)
    return {'audio': audio, 'label': rng.integers(0, 3, 16).astype(np.int32)}


def flat(tree):
    flat = flax.traverse_util.flatten_dict(jax.device_get(tree), sep='/')
    return {path: np.array(value) for path, value in flat.items()}


def after(job, state, steps, first=0):
    """Parameters and statistics after some steps, by path."""
    compiled = {}
    for step in range(first, first + steps):
        groups = job.plan.groups(step)
        if tuple(groups) not in compiled:
            compiled[tuple(groups)] = train.make_train_step(job, groups)
        state, _ = compiled[tuple(groups)](state, sharding.put_batch(batch(), job.mesh))
    return state


def test_frozen_layers_keep_every_bit_and_their_statistics():
    job, state = make(freeze='all but head')
    before, statistics = flat(state.params), flat(state.batch_stats)
    state = after(job, state, 2)
    now = flat(state.params)
    for path, value in before.items():
        assert (now[path].tobytes() == value.tobytes()) == (not path.startswith('fc_2')), path
    for path, value in flat(state.batch_stats).items():
        assert value.tobytes() == statistics[path].tobytes(), path


@pytest.mark.slow
def test_the_heads_gradient_is_that_of_the_running_statistics():
    """Closed form: logits are linear in the embedding, which frozen layers make as in evaluation."""
    job, state = make(freeze='all but head', eps=1e30, learning_rate=1e30)
    examples = batch()
    pictures = job.featurize({'audio': jnp.asarray(examples['audio'])})
    variables = {'params': state.params, 'batch_stats': state.batch_stats}
    logits, embedding = job.model.apply(variables, pictures, train=False)
    errors = jax.nn.softmax(logits) - jax.nn.one_hot(examples['label'], 3)
    expected = np.asarray(embedding).T @ np.asarray(errors) / 16
    before = flat(state.params)['fc_2/kernel']
    # With so large an eps Adam's step is learning_rate / eps times the gradient.
    change = before - flat(after(job, state, 1).params)['fc_2/kernel']
    np.testing.assert_allclose(change, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def flops(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()['flops']


@pytest.mark.slow
def test_what_is_frozen_is_not_differentiated():
    def of_step(**keys):
        job, state = make(**keys)
        step = train.make_train_step(job, job.plan.groups(0))
        return flops(step, state, sharding.put_batch(batch(), job.mesh))

    def forward(state, examples):
        key = jax.random.key(0)
        pictures, _ = job.training_examples(key, examples)
        variables = {'params': state.params, 'batch_stats': state.batch_stats}
        return job.model.apply(variables, pictures, train=False)

    job, state = make()
    head_only, everything = of_step(freeze='all but head'), of_step()
    # Nothing but the head's 3 classes besides the forward pass.
    assert head_only < 1.001 * flops(forward, state, sharding.put_batch(batch(), job.mesh))
    assert head_only < of_step(freeze='all but last 2') < everything


def test_later_the_rest_trains_as_well():
    job, state = make(freeze='all but head', unfreeze_at='3 steps', learning_rate=1e-3)
    start = flat(state.params)
    state = after(job, state, 3)
    assert all(
        value.tobytes() == start[path].tobytes()
        for path, value in flat(state.params).items()
        if not path.startswith('fc_2')
    )
    before = flat(state.params)
    now = flat(after(job, state, 1, first=3).params)
    change = np.abs(now['fc_1/kernel'] - before['fc_1/kernel'])
    # The first step of Adam is the learning rate, wherever the gradient is far above eps.
    assert np.median(change[change > 0]) == pytest.approx(1e-3, rel=1e-2)


def test_learning_rates_layer_by_layer():
    rate = 1e-3
    job, state = make(learning_rate=rate, layer_decay=0.5, factors=('fc_1=0.1', 'conv_.*=3'))
    before = flat(state.params)
    now = flat(after(job, state, 1).params)
    # Blocks from the output: fc_2, fc_1, convolutions.
    for path, factor in (
        ('fc_2/kernel', 1), ('fc_1/kernel', 0.05), ('conv_left/kernel', 0.75), ('bn_conv_left/scale', 0.25),
    ):  # fmt: skip
        change = np.abs(now[path] - before[path])
        assert np.median(change[change > 0]) == pytest.approx(rate * factor, rel=2e-2), path


# --- what the settings name ----------------------------------------------------------------------


def frozen_blocks(freeze, model=None):
    """Top-level layers of a small AST that stay frozen."""
    model = model or models.build(
        {'name': 'ast', 'width': 8, 'depth': 12, 'heads': 2, 'frequency_stride': 16}, 3
    )
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 128)), train=False))
    config = tiny_page.get_config()
    config.optim.freeze = freeze
    plan = freezing.make_plan(config, model, shapes['params'], Length(10, 100))
    paths = flax.traverse_util.flatten_dict(shapes['params'], sep='/')
    return {path.split('/')[0] for path in paths if path not in plan.first}


EMBEDDING = {'patch_embed', 'cls_token', 'dist_token', 'pos_embed'}


@pytest.mark.parametrize('count', [8, 10])
def test_ast_with_its_first_layers_frozen(count):
    assert frozen_blocks(f'first {count}') == EMBEDDING | {f'blocks_{i}' for i in range(count)}


def test_ast_unfrozen_altogether_or_in_its_head_only():
    assert frozen_blocks('') == set()
    everything = EMBEDDING | {f'blocks_{i}' for i in range(12)} | {'norm'}
    assert frozen_blocks('all but head') == frozen_blocks('all but last 1') == everything
    assert frozen_blocks('blocks_[0-3]|patch_embed') == {
        'patch_embed',
        *(f'blocks_{i}' for i in range(4)),
    }


def test_cnn14_with_its_last_layers_unfrozen():
    model = models.build({'name': 'cnn14', 'variant': 'cnn10'}, 3)
    trunk = {'bn0', 'conv_block1', 'conv_block2', 'conv_block3'}
    assert frozen_blocks('all but last 2', model) == trunk | {'conv_block4'}
    assert frozen_blocks('all but last 3', model) == trunk


@pytest.mark.parametrize(
    ('keys', 'words'),
    [
        ({'freeze': 'last 2'}, 'names no layer; the layers are conv_left'),
        ({'freeze': 'first 9'}, 'only 3 blocks'),
        ({'freeze': 'first 3'}, 'nothing is left to train'),
        ({'freeze': '.*'}, 'nothing is left to train'),
        ({'freeze': '('}, 'regular expression'),
        ({'unfreeze_at': '2 epochs'}, 'nothing is frozen'),
        ({'freeze': 'all but head', 'unfreeze_at': 'soon'}, 'expected a duration'),
        ({'factors': ('fc_9=2',)}, "expected 'LAYER=FACTOR'"),
        ({'factors': ('fc_1',)}, "expected 'LAYER=FACTOR'"),
        ({'factors': ('fc_1=-1',)}, "expected 'LAYER=FACTOR'"),
    ],
)
def test_mistakes(keys, words):
    with pytest.raises(UserError, match=words) as error:
        make(**keys)
    assert '\n' not in str(error.value) and 'config.optim.' in str(error.value)


def test_what_a_checkpoint_tells_of_the_network_counts_where_it_is_checked(tmp_path):
    """Its thirteen layers of width 192 and its 1200 frames, not those of the page's defaults."""
    tensors = golden.state_dict(golden.ast_shapes(8 * 75 + 2, 3, width=192, depth=13))
    table = engine.recognise(tensors, tables.TABLES, 'file')
    told = {'heads': 3, 'frequency_stride': 16, 'time_stride': 16, 'frames': 1200}
    store.save(engine.convert(tensors, table, told, 'file'), tmp_path, {})
    config = finetune.get_config('model=ast')
    config.init.checkpoint = str(tmp_path)
    config.windows.window_s = 12.0
    config.model.update(layers=12, heads=3)
    config.train.batch_size = config.eval.batch_size = 8
    front_end, source = run.check(config, sharding.make_mesh())
    assert front_end.target_frames == 1200 and source.settings['depth'] == config.model.depth == 13
    config.model.layers = 13
    with pytest.raises(UserError, match='config.model.layers=13: ast has layers 0 to 12'):
        run.check(config, sharding.make_mesh())


@pytest.mark.parametrize(
    ('optim', 'said'),
    [
        ({'freeze': 'all but head'}, ["config.optim.freeze='all but head' without config.init.checkpoint"]),
        ({'lora_rank': 4}, ['config.optim.lora_rank=4 without config.init.checkpoint']),
        ({'freeze': 'all but head', 'unfreeze_at': '10 percent'}, []), ({}, []),
    ],
)  # fmt: skip
def test_what_is_frozen_at_random_is_told(optim, said, caplog):
    config = finetune.get_config('model=musicnn,pretrained=False')
    config.optim.update(freeze='', unfreeze_at='')
    config.optim.update(optim)
    config.train.batch_size = config.eval.batch_size = 8
    caplog.set_level('WARNING', 'absl')
    run.check(config, sharding.make_mesh())
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == len(said) and all(line.startswith(s) for line, s in zip(found, said, strict=True))
