"""Weights split over the devices: the losses of one device, less memory, and checkpoints for any mesh."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from genre_jax import sharding
from genre_jax.errors import UserError
from genre_jax.loading import prepared
from genre_jax.training import step as train
from genre_jax.training.checkpoint import Checkpoints, digest
from genre_jax.training.job import make_job
from genre_jax.training.predict import make_predict
from tests import tiny_page

WINDOW = round(0.6 * 22050)
AST = {'name': 'ast', 'width': 64, 'depth': 1, 'heads': 8}
# XLA's time for code that runs three times is better spent elsewhere.
QUICKLY = {'xla_llvm_disable_expensive_passes': True, 'xla_backend_optimization_level': 0}


def mesh_of(data, fsdp, model):
    sizes = {'data': data, 'fsdp': fsdp, 'model': model}
    return sharding.make_mesh(jax.devices()[: data * fsdp * model], sizes)


def job_on(shape, model=None, accumulate=1, **optim):
    config = tiny_page.get_config()
    config.augment = {}
    config.model = model or AST
    config.optim.schedule = 'constant'
    config.optim.update(optim)
    config.train.accumulate = accumulate
    config.features.n_mels, config.features.hop_length = 40, 256
    stored = prepared.Stored('audio', (WINDOW,), 22050, ('a', 'b', 'c'))
    return make_job(config, stored, 160, mesh_of(*shape))


def batch_on(mesh):
    rng = np.random.default_rng(0)
    audio = (3000 * rng.standard_normal((16, WINDOW))).astype(np.int16)
    return sharding.put_batch({'audio': audio, 'label': rng.integers(0, 3, 16).astype(np.int32)}, mesh)


def trained(job, state, steps=3, options=QUICKLY):
    """Trains; returns the losses, the state, and what XLA says of the memory of one device."""
    compiled, losses, batch = {}, [], batch_on(job.mesh)
    for number in range(steps):
        groups = job.plan.groups(number)
        if tuple(groups) not in compiled:
            step = train.make_train_step(job, groups)
            lowered = step.func.lower(*step.args, state, batch)
            compiled[tuple(groups)] = lowered.compile(compiler_options=options)
        state, outputs = compiled[tuple(groups)](*step.args, state, batch)
        losses.append(float(outputs['loss']))
    return losses, state, compiled[tuple(groups)].memory_analysis()


def moved(state, job):
    """A state of one device as it lies on the mesh of a job."""
    return jax.device_put(jax.device_get(state), sharding.by_rules(state, job.model.sharding_rules, job.mesh))


def held_bytes(tree):
    """What one device holds of it."""
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


def split_weights(state):
    """Names of the arrays that no device holds whole."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path) for path, leaf in leaves if not leaf.is_fully_replicated}


@pytest.fixture(scope='module')
def one_device():
    job = job_on((1, 1, 1))
    fresh = jax.device_get(train.make_state(job))
    losses, _, memory = trained(job, jax.device_put(fresh, sharding.replicated(job.mesh)))
    return fresh, losses, memory


def mesh_shapes(quick, slow):
    marked = [pytest.param(shape, marks=pytest.mark.slow) for shape in slow]
    return pytest.mark.parametrize('shape', [*quick, *marked], ids=lambda shape: 'x'.join(map(str, shape)))


@mesh_shapes([(1, 8, 1), (1, 1, 8), (2, 2, 2)], [(8, 1, 1), (1, 2, 4), (4, 2, 1), (2, 1, 2)])
def test_every_mesh_gives_the_losses_of_one_device(one_device, shape):
    fresh, expected, whole = one_device
    job = job_on(shape)
    state = moved(fresh, job)
    held, everything = held_bytes(state), held_bytes(jax.device_put(fresh, jax.devices()[0]))
    # Bytes of what the rules name, the weights and two moments.
    parts, fsdp, model = shape[0] * shape[1], *shape[1:]
    kernels, biases = 4 * 3 * 12 * 64 * 64, 4 * 3 * 7 * 64
    less = kernels * (1 - 1 / (fsdp * model)) + biases * (1 - 1 / model)
    assert everything - held == less
    losses, state, memory = trained(job, state)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert held_bytes(state) == held  # nothing is gathered for good
    examples = 16 * WINDOW * 2 + 16 * 4
    spared = less + examples * (1 - 1 / parts)
    assert whole.argument_size_in_bytes - memory.argument_size_in_bytes == pytest.approx(spared, abs=64)
    assert memory.temp_size_in_bytes < whole.temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    ('model', 'n_split', 'shape'),
    [
        # Convolutions from the third block on, and dense layers but the last.
        ({'name': 'cnn14', 'variant': 'cnn6', 'embedding_units': 64}, 3, (1, 8, 1)),
        ({'name': 'cnn14', 'variant': 'cnn10', 'embedding_units': 64}, 5, (2, 2, 2)),
        ({'name': 'vgg16', 'hidden_units': (64, 32)}, 11, (2, 2, 2)),
    ],
)
def test_networks_of_convolutions(model, n_split, shape):
    # Not Adam: it makes full steps of gradients that are rounding noise.
    one, several = (job_on(each, model, name='sgd', learning_rate=1e-3) for each in ((1, 1, 1), shape))
    fresh = jax.device_get(train.make_state(one))
    start = jax.device_put(fresh, sharding.replicated(one.mesh))
    expected, ours, whole = trained(one, start, 2, None)
    state = moved(fresh, several)
    assert len(split_weights(state)) == n_split
    losses, theirs, memory = trained(several, state, 2, None)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    # Few steps hardly show a wrong gradient in the loss.
    for path, start in jax.tree_util.tree_leaves_with_path(fresh.params):
        one_moved, moved_too = (
            np.asarray(jax.device_get(functools.reduce(lambda tree, key: tree[key.key], path, each.params)))
            for each in (ours, theirs)
        )
        way = np.linalg.norm(one_moved - start)
        assert np.linalg.norm(moved_too - one_moved) < 0.05 * way, path
    assert memory.argument_size_in_bytes < 0.5 * whole.argument_size_in_bytes


@pytest.mark.slow
def test_accumulation_averages_and_layers_that_join_later():
    model = AST | {'depth': 2}
    recipe = {
        'freeze': 'blocks_0', 'unfreeze_at': '2 steps', 'ema_decay': 0.5, 'clip_norm': 1.0, 'name': 'adamw',
        'weight_decay': 0.01, 'layer_decay': 0.9,
    }  # fmt: skip
    one, several = (job_on(shape, model, 2, **recipe) for shape in ((1, 1, 1), (2, 2, 2)))
    start = jax.device_get(train.make_state(one).average)
    expected, whole, _ = trained(one, train.make_state(one), 4)
    fresh = train.make_state(several)
    losses, state, _ = trained(several, fresh, 4)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    # Six arrays of each of two blocks: the weights, two moments of each group, the averages.
    assert len(split_weights(state)) == 2 * 6 * 4
    # By the way that they went: Adam makes whole steps of single gradients that are rounding noise.
    averages = (jax.tree.leaves(jax.device_get(each)) for each in (state.average, whole.average, start))
    for ours, theirs, before in zip(*averages, strict=True):
        assert np.linalg.norm(ours - theirs) <= 0.01 * np.linalg.norm(theirs - before)


@pytest.mark.slow
def test_checkpoints_move_between_meshes(tmp_path):
    began = job_on((2, 2, 2))
    state = trained(began, train.make_state(began), 1)[1]
    saved = Checkpoints(tmp_path / 'checkpoints', keep_latest=2)
    saved.save(1, state, [0.5, -1])
    for shape in [(1, 1, 1), (1, 4, 2), (8, 1, 1), (1, 1, 8)]:
        job = job_on(shape)
        places = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), train.make_state(job)
        )
        step, restored = saved.restore_latest(places)
        assert step == 1
        assert digest(restored) == digest(state)
        assert split_weights(restored) == split_weights(moved(jax.device_get(state), job))
        trained(job, restored, 1)
    saved.close()


def test_the_predictions_of_a_mesh(one_device):
    """Of the variables as they lie."""
    fresh, probabilities = one_device[0], []
    for shape in ((1, 1, 1), (2, 2, 2)):
        job = job_on(shape)
        batch = batch_on(job.mesh)

        class Given:
            def evaluate(self, table, batch=batch):
                yield {'audio': batch['audio']}

        predict = make_predict(job, Given())
        probabilities.append(predict(moved(fresh, job).evaluated, range(16)))
    np.testing.assert_allclose(probabilities[1], probabilities[0], rtol=1e-5)


def test_rules_name_the_end_of_a_path_and_leave_whole_what_does_not_divide():
    rules = (('layer/kernel', ('fsdp', 'model')), ('layer/bias', ('model',)))
    array = np.zeros((8, 6), np.float32)
    tree = {
        'params': {'layer': {'kernel': array, 'bias': np.zeros(6)}, 'my_layer': {'kernel': array}},
        'opt_state': ({'mu': {'outer': {'layer': {'kernel': array}}}}, {'layer': {'kernel': np.zeros(())}}),
    }
    placed = sharding.by_rules(tree, rules, mesh_of(1, 2, 4))
    assert placed['params']['layer']['kernel'].spec == PartitionSpec('fsdp', None)  # 4 does not divide 6
    assert placed['opt_state'][0]['mu']['outer']['layer']['kernel'].spec == PartitionSpec('fsdp', None)
    placed = sharding.by_rules(tree, rules, mesh_of(2, 2, 2))
    assert placed['params']['layer']['kernel'].spec == PartitionSpec('fsdp', 'model')
    assert placed['params']['layer']['bias'].spec == PartitionSpec('model')
    assert placed['params']['my_layer']['kernel'].is_fully_replicated
    assert placed['opt_state'][1]['layer']['kernel'].is_fully_replicated
    # Nothing is asked of a mesh that splits no weights.
    assert sharding.by_rules(tree, rules, mesh_of(8, 1, 1)).is_fully_replicated


@pytest.mark.parametrize('sizes', [(3, 1, 1), (4, 1, 1), (-1, 3, 1), (-1, -1, 1), (-1, 16, 1), (2, 2, 4)])
def test_a_mesh_that_does_not_fit_is_one_line(sizes):
    with pytest.raises(UserError, match=r'config\.mesh \(.*\) does not fit 8 devices: expected') as raised:
        sharding.make_mesh(sizes=dict(zip(('data', 'fsdp', 'model'), sizes, strict=True)))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize('shape', [(4, 1, 2), (2, 2, 2), (1, 1, 8)])
def test_devices_along_model_hold_the_same_rows(shape):
    mesh = mesh_of(*shape)
    rows = np.arange(16, dtype=np.int32)
    placed = sharding.put_batch({'rows': rows}, mesh)['rows']
    np.testing.assert_array_equal(placed, rows)
    of_device = {shard.device: shard.data.tolist() for shard in placed.addressable_shards}
    for parts in mesh.devices.reshape(-1, shape[2]):
        assert len({tuple(of_device[device]) for device in parts}) == 1
    assert sorted(sum((of_device[row[0]] for row in mesh.devices.reshape(-1, shape[2])), [])) == [*rows]
    with pytest.raises(UserError, match=r'config\.train\.batch_size=9 cannot be divided among'):
        sharding.check_batch_size(9, 'train.batch_size', mesh_of(4, 2, 1))


@pytest.mark.parametrize(
    'sizes', [(4, 1, 4), (8, 1, 2), (4, 2, 2), (2, 4, 2), (1, 4, 4), (1, 8, 2), (16, 1, 1)]
)
def test_model_stays_inside_a_host(sizes):
    """Whatever the order in which the devices are listed: four hosts of four, one device of each in turn."""

    class Device:
        platform = device_kind = 'cpu'

        def __init__(self, number):
            self.id, self.process_index = number, number % 4

    ordered = sharding._in_order([Device(number) for number in range(16)], sizes)
    assert ordered.shape == sizes and len({device.id for device in ordered.flat}) == 16
    hosts = np.vectorize(lambda device: device.process_index)(ordered)
    assert (hosts == hosts[..., :1]).all()
    if sizes[1] * sizes[2] <= 4:  # and `fsdp`, where both fit in a host
        assert (hosts == hosts[:, :1, :1]).all()
