"""Conversion: golden outputs of the original networks, and every fault of a checkpoint told."""

import functools
import json
import pathlib

import flax
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import features, models
from genre_jax.convert import engine, store, tables
from genre_jax.errors import UserError
from genre_jax.models import ast
from tests import golden


def convert(tensors, **overrides):
    table = engine.recognise(tensors, tables.TABLES, 'file')
    return engine.convert(tensors, table, overrides, 'file')


def apply(converted, pictures):
    model = models.build({'name': converted.model, **converted.settings}, converted.num_classes)
    variables = flax.traverse_util.unflatten_dict(converted.variables, sep='/')
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False))
    return (np.asarray(output, np.float64) for output in apply(variables, jnp.asarray(pictures)))


@functools.cache
def _tiny_cnn():
    return golden.state_dict(golden.cnn_shapes((64, 128, 256, 512), 5, 1, num_classes=5))


def tiny_cnn():
    return dict(_tiny_cnn())


# --- outputs of the original code ----------------------------------------------------------------


@pytest.mark.parametrize(
    ('shapes', 'first', 'total', 'embedding', 'embedding_sum'),
    [
        (
            golden.cnn_shapes((64, 128, 256, 512)),
            (-8.77527, -25.3502, 5.49882, -43.6647, -25.6459, 12.2182),
            -342.202,
            {1: 9.83718, 2: 12.6620, 4: 5.83814, 6: 26.8045, 8: 14.3407},
            5400.5,
        ),
        (
            golden.cnn_shapes((64, 128, 256, 512), kernel=5, n_convs=1),
            (-15.9285, -10.5387, 22.5238, -50.9672, -26.0597, -12.0289),
            83.0364,
            {6: 5.51995, 9: 27.4348, 11: 0.316148, 12: 4.09713, 15: 52.5004},
            6073.44,
        ),
        (
            golden.mobilenet_shapes(),
            (0.216224, -2.62490, 3.28821, -0.507757, -0.458970, -0.204681),
            28.183,
            {1: 0.795660, 8: 1.74040, 9: 1.88842, 12: 1.07792, 13: 3.21631},
            754.416,
        ),
    ],
    ids=['cnn10', 'cnn6', 'mobilenet_v1'],
)
def test_panns_from_waveform_to_logits(shapes, first, total, embedding, embedding_sum):
    converted = convert(golden.state_dict(shapes))
    pictures = features.build({'name': converted.features})(golden.noisy(32000))[None]
    logits, ours = apply(converted, pictures)
    scale = np.abs(logits).max()
    np.testing.assert_allclose(logits[0, :6], first, rtol=0, atol=1e-4 * scale)
    np.testing.assert_allclose(logits.sum(), total, rtol=0, atol=1e-3 * scale)
    indices = list(embedding)
    np.testing.assert_allclose(ours[0, indices], list(embedding.values()), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.sum(), embedding_sum, rtol=1e-4)


YAMNET = (
    (0.242614, -0.0875238, -0.0555018, 0.111250, -0.957773, 0.0576654),
    (0.366872, -0.225551, -0.180238, 0.0243260, -1.14999, 0.0629485),
)


def yamnet_tensors():
    tensors = golden.state_dict(golden.yamnet_shapes())
    return {k: np.ones_like(v) if k.endswith('bn.weight') else v for k, v in tensors.items()}


def test_yamnet():
    converted = convert(yamnet_tensors())
    pictures = -3 + 3 * golden.u('input', (2, 96, 64)).astype(np.float32)
    logits, embedding = apply(converted, pictures)
    np.testing.assert_allclose(logits[:, :6], YAMNET, rtol=0, atol=1e-4)
    np.testing.assert_allclose(logits.sum(1), (14.2919, 16.5276), rtol=1e-4)
    expected = (0.675641, 0.476277, 0.0361545, 0, 0.311576, 0.0552890)
    np.testing.assert_allclose(embedding[0, :6], expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(embedding[0].sum(), 222.631, rtol=1e-4)


def test_scales_that_yamnet_does_not_have():
    tensors = yamnet_tensors()
    tensors['layer3.depthwise_conv.bn.weight'] = np.full(64, 1.5, np.float32)
    with pytest.raises(UserError, match='layer3.depthwise_conv.bn.weight is not 1 everywhere'):
        convert(tensors)


def vgg16_of_keras():
    """Tensors of the layers, the dense ones narrow."""
    shapes, inputs = {}, 3
    for block, (count, width) in enumerate(zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True), 1):
        for conv in range(1, count + 1):
            shapes[f'block{block}_conv{conv}'] = (3, 3, inputs, width)
            inputs = width
    shapes |= {'fc1': (512, 7), 'fc2': (7, 5), 'predictions': (5, 3)}
    kinds = {'kernel': lambda shape: shape, 'bias': lambda shape: shape[-1:]}
    return {
        f'{layer}/{kind}:0': np.zeros(of(shape), np.float32)
        for layer, shape in shapes.items()
        for kind, of in kinds.items()
    }


def test_vgg16_lacks_its_whole_output_layer_or_nothing():
    tensors = vgg16_of_keras()
    assert convert(tensors).num_classes == 3
    dense = ('fc1/', 'fc2/', 'predictions/')
    assert convert({k: v for k, v in tensors.items() if not k.startswith(dense)}).num_classes == 0
    for key in tensors:
        with pytest.raises(UserError, match='empty|fits none|not in the model|shape|at least'):
            convert({k: v for k, v in tensors.items() if k != key})


def test_yamnet_in_the_authors_file(tmp_path):
    """The same network under the names, and in the layouts, of yamnet.h5."""
    names = {'bias': 'beta', 'running_mean': 'moving_mean', 'running_var': 'moving_variance'}
    with h5py.File(tmp_path / 'yamnet.h5', 'w') as file:
        for key, value in yamnet_tensors().items():
            *layer, leaf = key.split('.')
            layer = [part for part in layer if part not in ('fused',)]
            if layer[-1] == 'conv':
                depthwise = 'depthwise_conv' in layer
                scope = '/'.join(layer if len(layer) == 2 else layer[:-1])
                kernel = 'depthwise_kernel' if depthwise else 'kernel'
                axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
                file[f'{scope}/{scope}/{kernel}:0'] = value.transpose(axes)
            elif layer[-1] == 'bn' and leaf in names:
                scope = '/'.join([*layer[:-1], 'conv', 'bn'] if len(layer) == 2 else layer)
                file[f'{scope}/{scope}/{names[leaf]}:0'] = value
            elif layer == ['classifier']:
                name, array = ('kernel', value.T) if leaf == 'weight' else ('bias', value)
                file[f'logits/logits/{name}:0'] = array
    with h5py.File(tmp_path / 'yamnet.h5') as file:
        tensors = {}
        file.visititems(
            lambda name, item: tensors.update({name: item[()]}) if hasattr(item, 'shape') else None
        )
    assert len(tensors) == 110
    ours, published = convert(tensors), convert(yamnet_tensors())
    assert ours.title != published.title and ours.sha256 == published.sha256


def test_positions_are_cut_and_stretched_as_by_the_authors():
    place = golden.u('v.pos_embed', (1, 1214, 768)).astype(np.float32)
    cut = ast.resize_pos_embed(place, (12, 101), (12, 25))[0, 2:]
    for index, value in {
        (0, 0): -0.09193496, (24, 0): 0.7039606, (25, 5): 0.7605547, (299, 767): 0.4668291,
    }.items():  # fmt: skip
        assert cut[index] == pytest.approx(value, abs=1e-6)
    assert np.asarray(cut, np.float64).sum() == pytest.approx(-100.87968, abs=1e-3)
    longer = ast.resize_pos_embed(place, (12, 101), (12, 149))[0, 2:]
    for index, value in {
        (0, 0): -0.2210685, (1, 0): -0.5611141, (74, 0): 0.2777122, (149, 5): 0.4351146,
        (1787, 767): 0.6840868,
    }.items():  # fmt: skip
        assert longer[index] == pytest.approx(value, abs=1e-6)
    assert np.asarray(longer, np.float64).sum() == pytest.approx(641.17685, abs=1e-2)


def test_ast_small_converts_from_any_length_and_stride():
    for stride, frames in ((10, 126), (12, 100), (16, 64)):
        rows, columns = (128 - 16) // stride + 1, (frames - 16) // stride + 1
        shapes = golden.ast_shapes(rows * columns + 2, 7, width=64, depth=2)
        tensors = golden.state_dict({f'module.{k}': v for k, v in shapes.items()})
        converted = convert(tensors, heads=1, frequency_stride=stride, time_stride=stride)
        assert converted.settings['width'] == 64 and converted.settings['depth'] == 2
        assert converted.num_classes == 7
        model = models.build({'name': 'ast', **converted.settings}, 7)
        assert model.grid(*converted.picture) == (rows, columns)


# --- faults of checkpoints -----------------------------------------------------------------------


def change(key, value=None):
    tensors = tiny_cnn()
    if value is None:
        del tensors[key]
    else:
        tensors[key] = value
    return tensors


@pytest.mark.parametrize(
    ('tensors', 'words'),
    [
        (change('conv_block2.bn1.bias'), 'params/conv_block2/bn1/bias stays empty'),
        (change('fc2.weight', np.ones((3, 3))), 'fc2.weight matches no rule'),
        (change('conv_block1.bn1.weight', np.ones(63)), r'has the shape \(63,\), expected \(64,\)'),
        (change('fc1.bias', np.full(512, np.nan)), 'fc1.bias holds values that are not finite'),
        (change('fc1.bias', np.float32(1)), 'params/fc1/bias has the shape'),
        (change('conv_block1.conv1.weight', np.ones(9)), 'cannot be laid out'),
        (change('bn0.running_var', np.full(64, -1.0)), 'batch_stats/bn0/var holds negative variances'),
        ({'weights': np.ones(3)}, 'it fits none'),
        ({}, 'it fits none'),
    ],
)  # fmt: skip
def test_faults_are_told(tensors, words):
    with pytest.raises(UserError, match=words) as error:
        convert(tensors)
    assert '\n' not in str(error.value)


def test_all_faults_are_told_at_once():
    tensors = change('fc1.bias', np.full(512, np.inf)) | {'a': np.ones(1), 'b': np.ones(1)}
    with pytest.raises(UserError, match=r'a matches no rule; b matches no rule|fc1.bias') as error:
        convert(tensors)
    assert all(words in str(error.value) for words in ('a matches', 'b matches', 'fc1.bias'))


def test_wrappings_come_off_and_what_lies_outside_is_reported():
    plain = convert(tiny_cnn())
    wrapped = {f'model.{key}': value for key, value in tiny_cnn().items()}
    wrapped['sampler.indexes'] = np.arange(3)
    wrapped['model.bn0.num_batches_tracked'] = np.int64(7)
    converted = convert(wrapped)
    assert converted.sha256 == plain.sha256
    left_out = {key: reason for key, path, _, reason in converted.rows if path is None}
    assert left_out == {
        'sampler.indexes': 'outside the model',
        'model.bn0.num_batches_tracked': 'a counter of PyTorch, not used',
    }


def test_a_network_that_is_there_twice():
    """As a teacher and its student, or weights and their average: which is meant cannot be known."""
    twice = {f'{role}.{key}': value for role in ('student', 'teacher') for key, value in tiny_cnn().items()}
    with pytest.raises(UserError, match=r"holds the network 2 times, under 'student.', 'teacher.': save"):
        convert(twice)


def test_other_bands_than_those_of_panns_are_of_an_unknown_front_end():
    plain = tiny_cnn()
    assert convert(plain).features == 'panns_32k'
    other = {key: np.resize(value, 128) if key.startswith('bn0.') else value for key, value in plain.items()}
    converted = convert(other)
    assert (converted.features, converted.picture) == ('', (1001, 128))


# --- the folder ----------------------------------------------------------------------------------


def test_the_folder_holds_the_report_and_is_verified(tmp_path):
    converted = convert(tiny_cnn())
    report = store.save(converted, tmp_path / 'out', {'file': 'x.pth', 'sha256': '0' * 64})
    assert report['n_parameters'] == sum(
        value.size for key, value in tiny_cnn().items() if 'running' not in key
    )
    assert len(report['keys']) == len(tiny_cnn())
    assert json.loads((tmp_path / 'out' / 'conversion.json').read_text())['model'] == 'cnn14'
    assert '5 classes' in store.report_lines(report)
    again = store.load(tmp_path / 'out')
    assert again.sha256 == converted.sha256
    assert {p: v.tobytes() for p, v in again.variables.items()} == {
        p: np.ascontiguousarray(v).tobytes() for p, v in converted.variables.items()
    }


@pytest.mark.parametrize('position', [200, 5000, -3000, -10])
def test_a_damaged_folder_is_refused(tmp_path, position):
    store.save(convert(tiny_cnn()), tmp_path, {'file': 'x.pth', 'sha256': ''})
    file = pathlib.Path(tmp_path / 'parameters.npz')
    content = bytearray(file.read_bytes())
    content[position] ^= 0xFF
    file.write_bytes(content)
    try:
        loaded = store.load(tmp_path)
    except UserError:
        return
    # A byte of the archive that means nothing to its readers.
    assert loaded.sha256 == convert(tiny_cnn()).sha256
