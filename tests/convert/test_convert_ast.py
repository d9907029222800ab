"""What the weights of an AST leave open: read in transformers' config.json, given by name, or asked for."""

import json
import re

import numpy as np
import pytest
import safetensors.numpy

from genre_jax.convert import checkpoint, engine, init_from, tables
from genre_jax.errors import UserError
from tests import golden


def convert(tensors, **overrides):
    table = engine.recognise(tensors, tables.TABLES, 'file')
    return engine.convert(tensors, table, overrides, 'file')


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
    'model_type': 'audio-spectrogram-transformer', 'hidden_size': 192, 'num_hidden_layers': 2,
    'num_attention_heads': 6,
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
        ({'layer_norm_eps': float('nan')}, 'has layer_norm_eps=nan, expected as 1e-12'),
        ({'layer_norm_eps': float('inf')}, 'has layer_norm_eps=inf, expected as 1e-12'),
        ({'hidden_size': 384}, 'has hidden_size=384, the tensors 192: it is that of another model'),
        ({'num_hidden_layers': 12}, 'has num_hidden_layers=12, the tensors 2: it is that of another model'),
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


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ({'heads': 1.5}, 'heads=1.5: expected a whole number'),
        ({'frequency_stride': 0}, 'frequency_stride=0: expected a whole number from 1 up'),
        ({'layer_norm_epsilon': float('nan')}, 'layer_norm_epsilon=nan: expected a number'),
        ({'features': 3}, "ast has no setting 'features'"),
        ({'picture': 3}, "ast has no setting 'picture'"),
        ({'num_classes': 9}, "ast has no setting 'num_classes'"),
        ({'head': 3}, "ast has no setting 'head'; did you mean 'heads'"),
    ],
)
def test_settings_that_no_ast_has(given, said):
    with pytest.raises(UserError, match=re.escape(said)):
        convert(golden.state_dict(golden.ast_shapes(64 + 2, 3, width=192, depth=1)), **given)


def test_strides_of_the_authors_ast_are_those_they_published():
    for stride, frames in ((10, 1024), (12, 1024), (14, 1024), (16, 1024), (10, 128)):
        tokens = (112 // stride + 1) * ((frames - 16) // stride + 1) + 2
        converted = convert(golden.state_dict(golden.ast_shapes(tokens, 2, width=192, depth=1)))
        keys = ('heads', 'frequency_stride', 'time_stride')
        assert [converted.settings[key] for key in keys] == [3, stride, stride]
    with pytest.raises(UserError, match='do not tell heads, frequency_stride, time_stride: heads may'):
        convert(golden.state_dict(golden.ast_shapes(12 * 73 + 2, 2, width=64, depth=1)))
