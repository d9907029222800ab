"""Conversion: golden outputs of the original networks, and every fault of a checkpoint told."""

import functools
import json
import pathlib
import re

import flax
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from genre_jax import features, models
from genre_jax.convert import checkpoint, engine, init_from, store, tables
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
    for block, (count, width) in enumerate(
        zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True), 1
    ):
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


def transformers_ast(folder, config=None):
    """Writes an AST of 6 heads as transformers does; returns the file, and the tensors of its authors."""
    ours = golden.state_dict(golden.ast_shapes(3 * 12 + 2, 3, width=192, depth=2))
    names = (
        (r'v\.(cls_token)', r'embeddings.\1'),
        (r'v\.dist_token', 'embeddings.distillation_token'),
        (r'v\.pos_embed', 'embeddings.position_embeddings'),
        (r'v\.patch_embed\.proj', 'embeddings.patch_embeddings.projection'),
        (r'v\.blocks\.(\d)\.norm1', r'encoder.layer.\1.layernorm_before'),
        (r'v\.blocks\.(\d)\.norm2', r'encoder.layer.\1.layernorm_after'),
        (r'v\.blocks\.(\d)\.attn\.proj', r'encoder.layer.\1.attention.output.dense'),
        (r'v\.blocks\.(\d)\.mlp\.fc1', r'encoder.layer.\1.intermediate.dense'),
        (r'v\.blocks\.(\d)\.mlp\.fc2', r'encoder.layer.\1.output.dense'),
        (r'v\.norm', 'layernorm'),
    )
    theirs = {}
    for key, value in ours.items():
        if match := re.fullmatch(r'v\.blocks\.(\d)\.attn\.qkv\.(.*)', key):
            for part, name in zip(np.split(value, 3), ('query', 'key', 'value'), strict=True):
                layer = f'encoder.layer.{match[1]}.attention.attention.{name}.{match[2]}'
                theirs[f'audio_spectrogram_transformer.{layer}'] = part
            continue
        if key.startswith('mlp_head'):
            name = key.replace('mlp_head.0', 'classifier.layernorm')
            theirs[name.replace('mlp_head.1', 'classifier.dense')] = value
            continue
        ((old, new),) = ((old, new) for old, new in names if re.match(old, key))
        theirs['audio_spectrogram_transformer.' + re.sub(old, new, key)] = value
    safetensors.numpy.save_file(theirs, folder / 'model.safetensors')
    if config is not None:
        (folder / 'config.json').write_text(json.dumps(config))
    return folder / 'model.safetensors', ours


CONFIG = {
    'model_type': 'audio-spectrogram-transformer', 'hidden_size': 192, 'num_attention_heads': 6,
    'frequency_stride': 8, 'time_stride': 4, 'num_mel_bins': 32, 'max_length': 60,
    'layer_norm_eps': 1e-6,
}  # fmt: skip


def test_what_the_weights_of_ast_leave_open_is_read_beside_them(tmp_path):
    file, ours = transformers_ast(tmp_path, CONFIG)
    for path in (file, tmp_path):
        converted, _ = checkpoint.convert_checkpoint(str(path))
        assert converted.settings == {
            'heads': 6, 'frequency_stride': 8, 'time_stride': 4, 'layer_norm_epsilon': 1e-6,
            'head_norm_epsilon': 1e-6, 'width': 192, 'depth': 2,
        }  # fmt: skip
        assert converted.picture == (60, 32) and converted.features == ''
    assert init_from.find(str(tmp_path)).sha256 == converted.sha256
    authors = convert(ours, heads=6, frequency_stride=56, time_stride=4)
    assert authors.sha256 == converted.sha256
    # What transformers leaves out of the file has its default.
    rest = {key: value for key, value in CONFIG.items() if key != 'layer_norm_eps'}
    (tmp_path / 'config.json').write_text(json.dumps(rest))
    converted, _ = checkpoint.convert_checkpoint(str(file))
    assert converted.settings['layer_norm_epsilon'] == 1e-12


def test_what_the_weights_of_ast_leave_open_is_asked_for(tmp_path):
    file, _ = transformers_ast(tmp_path)
    given = {'heads': 6, 'frequency_stride': 56, 'time_stride': 4, 'layer_norm_epsilon': 1e-6}
    for key in given:
        with pytest.raises(UserError, match=f'do not tell {key}: .*--set={key}=NUMBER$') as caught:
            rest = {k: v for k, v in given.items() if k != key}
            checkpoint.convert_checkpoint(str(file), 'ast', rest)
        assert 'heads may be [1, 2, 3, 4, 6, 8, 12, 16,' in str(caught.value)
    converted, _ = checkpoint.convert_checkpoint(str(file), 'ast', given)
    assert converted.settings['heads'] == 6 and converted.picture == (60, 128)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'num_attention_heads': 5}, 'width=192 cannot be divided among 5 heads'),
        ({'num_attention_heads': '6'}, "config.json beside it has num_attention_heads='6'"),
        ({'time_stride': 0}, 'has time_stride=0, expected as 10'),
        ({'frequency_stride': 4}, r'pos_embed has the shape \(1, 38, 192\), expected \(1, 62, 192\)'),
        ({'max_length': 1024}, 'pos_embed has the shape'),
        ({'patch_size': 8}, 'has patch_size=8, not 16'),
        ({'hidden_act': 'gelu_new'}, "has hidden_act='gelu_new', not 'gelu'"),
        ({'model_type': 'vit'}, 'do not tell heads, frequency_stride, time_stride, layer_norm_eps'),
    ],
)  # fmt: skip
def test_a_config_beside_an_ast_that_does_not_fit(change, said, tmp_path):
    file, _ = transformers_ast(tmp_path, CONFIG | change)
    with pytest.raises(UserError, match=said) as caught:
        checkpoint.convert_checkpoint(str(file))
    assert str(caught.value).startswith(f'{file}: as AST of transformers')


def test_strides_of_the_authors_ast_are_those_they_published():
    for stride, frames in ((10, 1024), (12, 1024), (14, 1024), (16, 1024), (10, 128)):
        tokens = (112 // stride + 1) * ((frames - 16) // stride + 1) + 2
        converted = convert(golden.state_dict(golden.ast_shapes(tokens, 2, width=192, depth=1)))
        keys = ('heads', 'frequency_stride', 'time_stride')
        assert [converted.settings[key] for key in keys] == [3, stride, stride]
    with pytest.raises(
        UserError, match='do not tell heads, frequency_stride, time_stride: heads may'
    ):
        convert(golden.state_dict(golden.ast_shapes(12 * 73 + 2, 2, width=64, depth=1)))


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
