"""What the weights of an AST leave open: read in transformers' config.json, given by name, or asked for."""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest
import safetensors.numpy

from genre_jax import features
from genre_jax.config import keys
from genre_jax.convert import checkpoint, engine, init_from, store, tables
from genre_jax.errors import UserError
from genre_jax.label import hearing
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
    # What it says need not be named, nor may it be otherwise, even where the weights fit.
    checkpoint.convert_checkpoint(str(file), 'ast', {'heads': 6, 'frames': 60, 'layer_norm_epsilon': 1e-6})
    for key, value, told in (
        ('heads', 3, 6), ('frames', 63, 60), ('layer_norm_epsilon', 1e-5, 1e-06), ('bins', 33, 32),
        ('depth', 1, 2),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f' has {key}={told}, and {key}={value} is named: leave that out'):
            checkpoint.convert_checkpoint(str(file), 'ast', {key: value})
    authors = convert(ours, heads=6, frequency_stride=56, time_stride=4)
    assert authors.sha256 == converted.sha256
    # What transformers leaves out of the file has its default.
    rest = {key: value for key, value in CONFIG.items() if key != 'layer_norm_eps'}
    (tmp_path / 'config.json').write_text(json.dumps(rest))
    converted, _ = checkpoint.convert_checkpoint(str(file))
    assert converted.settings['layer_norm_epsilon'] == 1e-12


def test_what_the_weights_of_ast_leave_open_is_asked_for(tmp_path):
    file, _ = transformers_ast(tmp_path)
    given = {
        'heads': 6, 'frequency_stride': 8, 'time_stride': 4, 'layer_norm_epsilon': 1e-6, 'bins': 32,
    }  # fmt: skip
    for key in given:
        with pytest.raises(UserError, match=f'do not tell {key}: .*--set={key}=NUMBER$') as caught:
            rest = {k: v for k, v in given.items() if k != key}
            checkpoint.convert_checkpoint(str(file), 'ast', rest)
        assert ('heads may be [1, 2, 3, 4, 6, 8, 12, 16,' in str(caught.value)) == (key == 'heads')
    converted, _ = checkpoint.convert_checkpoint(str(file), 'ast', given)
    assert converted.settings['heads'] == 6 and converted.picture == (60, 32)
    assert 'bins' not in converted.settings
    converted, _ = checkpoint.convert_checkpoint(str(file), 'ast', given | {'frames': 63})
    assert converted.picture == (63, 32)
    with pytest.raises(
        UserError, match='64 frames with time_stride=4 of 13 columns: .* have 36 positions of patches'
    ):
        checkpoint.convert_checkpoint(str(file), 'ast', given | {'frames': 64})
    with pytest.raises(UserError, match='stride=4 are pictures of 5 rows of patches: .* have 36 positions'):
        checkpoint.convert_checkpoint(str(file), 'ast', given | {'frequency_stride': 4})


def test_the_readings_of_a_grid_are_told(tmp_path):
    """600 patches are 15 x 40 in strides of 8 as well as 12 x 50 in strides of 10, of as many bins."""
    with pytest.raises(UserError) as caught:
        convert(golden.state_dict(golden.ast_shapes(600 + 2, 3, width=192, depth=1)), heads=3)
    said = 'the frequency_stride of 600 patches 8 of 128 bins (15 x 40) or 10 of 128 bins (12 x 50) or'
    assert said in str(caught.value) and 'heads may be' not in str(caught.value)
    assert str(caught.value).endswith('--set=frequency_stride=NUMBER --set=time_stride=NUMBER')


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'num_attention_heads': 5}, 'width=192 cannot be divided among 5 heads'),
        ({'num_attention_heads': '6'}, "config.json beside it has num_attention_heads='6'"),
        ({'time_stride': 0}, 'has time_stride=0, expected as 10'),
        ({'frequency_stride': 4}, '32 bins with frequency_stride=4 are .* 5 rows .* have 36 positions'),
        ({'num_mel_bins': 40}, '40 bins with frequency_stride=8 are pictures of 4 rows of patches'),
        ({'num_mel_bins': 12}, '12 bins with frequency_stride=8 are pictures of 0 rows of patches'),
        ({'max_length': 1024}, '1024 frames with time_stride=4 of 253 columns: the tensors have 36'),
        ({'num_attention_heads': 12, 'hidden_size': 384}, 'has hidden_size=384, the tensors 192'),
        ({'intermediate_size': 384}, 'has intermediate_size=384, the tensors 768'),
        ({'qkv_bias': False}, 'has qkv_bias=False, not True'),
        ({'num_labels': 4}, 'has num_labels=4, the tensors have 3 classes'),
        ({'id2label': {'0': 'a', '1': 'b'}}, r'has 2 classes \(id2label\), the tensors have 3'),
        ({'id2label': {'1': 'a', '2': 'b', '3': 'c'}}, r'has 3 classes \(id2label\), the tensors have 3'),
        ({'id2label': ['a', 'b']}, r'has 2 classes \(id2label\)'),
        (
            {'id2label': {'0': 'a', '1': 'b', '3': 'c'}},
            r"has 3 classes \(id2label\), .* from 0 up; 2 has none, '3' is none of them",
        ),
        (
            {'id2label': {'0': 'a', '1': 'b', '2': 'a'}},
            r"calls both class 0 and class 2 'a' \(id2label\)",
        ),
        ({'id2label': {'0': 'a', '1': 1, '2': 'c'}}, 'calls class 1 1: expected a name'),
        (
            {'id2label': {'0': 'a', '1': 'b', '2': 'c'}, 'label2id': {'a': 1}},
            r"calls class 1 'a' \(label2id\) and 'b' \(id2label\)",
        ),
        ({'problem_type': 'regression'}, "has problem_type='regression': expected a classification"),
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


def test_the_authors_ast_is_read_as_published_under_its_name_alone(tmp_path, monkeypatch):
    tensors = golden.state_dict(golden.ast_shapes(1214, 3, width=768, depth=1))
    safetensors.numpy.save_file(tensors, tmp_path / 'audioset.safetensors')
    monkeypatch.setattr(checkpoint.fetch, 'fetch', lambda name: tmp_path / 'audioset.safetensors')
    monkeypatch.setattr(checkpoint.fetch, 'labels', lambda name: ['a', 'b', 'c'])
    converted, _ = checkpoint.convert_checkpoint('ast')
    keys = ('heads', 'frequency_stride', 'time_stride')
    assert [converted.settings[key] for key in keys] == [12, 10, 10]
    assert converted.picture == (1024, 128) and converted.labels == ['a', 'b', 'c']
    with pytest.raises(UserError, match='do not tell heads, frequency_stride, time_stride: heads may'):
        convert(tensors)


@pytest.mark.parametrize(
    ('told', 'frames'), [({}, 16 + 36 * 16), ({'frames': 600}, 600), ({'frames': 1200}, 1200)]
)
def test_an_ast_of_other_lengths_pads_to_its_own(told, frames):
    """Not to the 1024 frames of most that are published, for which it has other positions."""
    columns = 1 + (frames - 16) // 16
    tensors = golden.state_dict(golden.ast_shapes(8 * columns + 2, 3, width=192, depth=1))
    converted = convert(tensors, heads=3, frequency_stride=16, time_stride=16, **told)
    front_end = hearing.front_end_of(converted)
    window_s, rate_hz = hearing.heard_at(pathlib.Path('none'), converted, front_end)
    assert window_s * rate_hz == 400 + (frames - 1) * 160
    for seconds in (1, window_s):
        clip = np.zeros((1, round(seconds * rate_hz)), np.float32)
        assert front_end(clip).shape[1:] == converted.picture == (frames, 128)


# --- folders as transformers writes them ----------------------------------------------------------

LABELS = ['blues', 'São "João", \n', '古典']
NAMED = CONFIG | {
    'id2label': dict(zip('012', LABELS, strict=True)), 'problem_type': 'multi_label_classification',
}  # fmt: skip
EXTRACTOR = {
    'feature_extractor_type': 'ASTFeatureExtractor', 'num_mel_bins': 32, 'max_length': 60,
    'mean': -6.5, 'std': 5, 'sampling_rate': 22050, 'do_normalize': True,
}  # fmt: skip


def folder_of(place, config=NAMED, extractor=EXTRACTOR):
    transformers_ast(place, config)
    (place / 'preprocessor_config.json').write_text(json.dumps(extractor))
    return str(place)


def test_a_folder_is_read_as_published(tmp_path):
    """Front end, classes and what they are, through the conversion, in the report and in the tools."""
    found, source = checkpoint.convert_checkpoint(folder_of(tmp_path))
    report = store.save(found, tmp_path / 'kept', source)
    for each in (found, store.load(tmp_path / 'kept'), init_from.find(str(tmp_path))):
        assert each.labels == LABELS and each.tags is True and each.features == 'ast'
        front_end = hearing.front_end_of(each)
        told = {
            'sample_rate_hz': 22050, 'frame_length': 551, 'hop_length': 220, 'n_fft': 1024, 'n_mels': 32,
            'mean': -6.5, 'std': 5.0, 'target_frames': 60, 'subtract_mean': False,
        }  # fmt: skip
        assert {key: getattr(front_end, key) for key in told} == told
        assert hearing.labels_of('x', each) == LABELS
        window_s, rate_hz = hearing.heard_at(tmp_path, each, front_end)
        assert (round(window_s * rate_hz), rate_hz) == (59 * 220 + 551, 22050)
    lines = store.report_lines(report)
    assert 'classes, each of which is a yes or no: blues, São "João"' in lines and '古典' in lines
    assert 'front end: ast (sample_rate_hz=22050, frame_length=551' in lines


@pytest.mark.parametrize(
    ('card', 'config', 'expected'),
    [
        ('---\nlibrary_name: x\nlicense: cc-by-nc-sa-4.0\n---\nlicense: mit\n', {}, 'cc-by-nc-sa-4.0'),
        ('\ufeff---\r\nlicense: "mit"\r\ntags:\r\n- a\r\n---\r\n', {}, 'mit'),
        ('---\nlicense:\n- mit\n  - apache-2.0\ntags: [a]\n---\n', {}, 'mit apache-2.0'),
        ('---\nlicense: [mit, apache-2.0]\n---\n', {}, 'mit apache-2.0'),
        ('---\nlicense: other\nlicense_name: for-\x1b[2Jgood\n---\n', {}, 'other, for-\\x1b[2Jgood'),
        ('---\nlicense: mit\n---\n', {'license': 'bsd-3-clause'}, 'bsd-3-clause'),
        ('---\nlicense: mit\n---\n', {'license': 3}, 'mit'),
        ('# Title\nlicense: mit\n', {}, None),
        ('---\nlicense:\n---\n', {}, None),
        (None, {}, None),
    ],
)
def test_the_licence_of_a_folder(card, config, expected, tmp_path, caplog):
    folder = folder_of(tmp_path, NAMED | config)
    if card is not None:
        (tmp_path / 'README.md').write_bytes(card.encode() + b'\xff')
    found = init_from.find(folder)
    assert found.licence == expected
    lines = store.report_lines(store.save(found, tmp_path / 'kept', {'file': 'x', 'sha256': 'y'}))
    assert store.load(tmp_path / 'kept').licence == expected
    assert f'licence of the weights: {expected or "not told"}' in lines
    assert (f'{folder}: licence of the weights' in caplog.text) is bool(expected)
    assert ('not for commercial use' in lines) is ('nc' in (expected or ''))


def test_a_folder_completes_the_page(tmp_path):
    source = init_from.find(folder_of(tmp_path))
    config = keys.get_config()
    config.model.update(name='ast', heads=2, head_dropout=0.1)
    config.features.update(name='ast', mean=-1.0)
    config.lock()
    init_from.complete(config, source)
    assert config.model.to_dict() == {
        'name': 'ast', 'heads': 2, 'head_dropout': 0.1, 'width': 192, 'depth': 2, 'frequency_stride': 8,
        'time_stride': 4, 'head_norm_epsilon': 1e-6,
    }  # fmt: skip
    assert features.build(config.features) == dataclasses.replace(hearing.front_end_of(source), mean=-1.0)
    config.model = {'name': 'cnn14'}
    config.features = {'name': 'panns_32k'}
    init_from.complete(config, source)
    assert config.model.to_dict() == {'name': 'cnn14'} and config.features.to_dict() == {'name': 'panns_32k'}


@pytest.mark.parametrize('kind', ['single_label_classification', None])
def test_classes_that_exclude_each_other(kind, tmp_path):
    names = {str(i): f'LABEL_{i}' for i in range(3)}
    folder = folder_of(tmp_path, NAMED | {'problem_type': kind, 'id2label': names})
    found, _ = checkpoint.convert_checkpoint(folder)
    assert found.tags is (None if kind is None else False)
    assert found.labels is None  # numbers, which transformers writes where there are no names


def test_a_folder_of_maest(tmp_path):
    """96 bands in strides of 10, and its own front end: no Kaldi, no strides of 14."""
    extractor = {'feature_extractor_type': 'MAESTFeatureExtractor', 'max_length': -1, 'num_mel_bins': 32}
    found, _ = checkpoint.convert_checkpoint(folder_of(tmp_path, extractor=extractor))
    assert found.features == 'maest' and found.picture == (60, 32)
    assert hearing.front_end_of(found) == features.build({'name': 'maest', 'n_mels': 32})
    window_s, rate_hz = hearing.heard_at(tmp_path, found, hearing.front_end_of(found))
    assert window_s * rate_hz == 59 * 256


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'num_mel_bins': 128}, "has num_mel_bins=128, and the network's is 32"),
        ({'max_length': 1024}, "has max_length=1024, and the network's is 60"),
        ({'mean': float('nan')}, 'has mean=nan, expected as -4.2677393'),
        ({'mean': '-4'}, "has mean='-4', expected as"),
        ({'mean': 10**400}, 'expected as -4.2677393'),
        ({'std': 0}, 'has std=0, expected as 4.5689974'),
        ({'sampling_rate': True}, 'has sampling_rate=True, expected as 16000'),
        ({'sampling_rate': 16}, 'beside it: config.features'),
        ({'do_normalize': 'no'}, "has do_normalize='no', expected True or False"),
        (
            {'feature_extractor_type': 'MAESTFeatureExtractor', 'log_compression': 'log'},
            "has log_compression='log', expected 'logC'",
        ),
    ],
)
def test_a_front_end_that_cannot_be(change, said, tmp_path):
    with pytest.raises(UserError) as caught:
        checkpoint.convert_checkpoint(folder_of(tmp_path, extractor=EXTRACTOR | change))
    assert said in str(caught.value) and 'preprocessor_config.json beside it' in str(caught.value)
    assert str(caught.value).isprintable()


def test_front_ends_that_are_not_told(tmp_path):
    for extractor in ({'feature_extractor_type': 'WhisperFeatureExtractor'}, {'feature_extractor_type': []}):
        found, _ = checkpoint.convert_checkpoint(folder_of(tmp_path, extractor=extractor))
        assert found.features == '' and found.front_end is None
    found, _ = checkpoint.convert_checkpoint(
        folder_of(tmp_path, extractor=EXTRACTOR | {'do_normalize': False, 'sampling_rate': 16000})
    )
    assert (found.front_end['mean'], found.front_end['std']) == (0.0, 0.5)


@pytest.mark.parametrize('name', ['config.json', 'preprocessor_config.json'])
@pytest.mark.parametrize('content', ['', '{"heads": ', '[1]', '[' * 100_000, '\x00'])
def test_damaged_files_beside_the_weights(name, content, tmp_path):
    folder = folder_of(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match='get the file again') as caught:
        checkpoint.convert_checkpoint(folder)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_which_file_of_a_folder_is_read(tmp_path):
    """Weights of transformers before others; what it keeps of a training is none."""
    wanted = checkpoint.convert_checkpoint(folder_of(tmp_path))[0].sha256
    for name in ('training_args.bin', 'optimizer.pt', 'scheduler.pt', 'rng_state.pth', 'other.safetensors'):
        (tmp_path / name).write_bytes(b'no weights')
    assert checkpoint.convert_checkpoint(str(tmp_path))[0].sha256 == wanted
    (tmp_path / 'model.safetensors').rename(tmp_path / 'mine.safetensors')
    with pytest.raises(UserError, match='2 files of weights .mine.safetensors, other.safetensors, ...'):
        checkpoint.convert_checkpoint(str(tmp_path))
    (tmp_path / 'other.safetensors').unlink()
    assert checkpoint.convert_checkpoint(str(tmp_path))[0].sha256 == wanted
    (tmp_path / 'mine.safetensors').unlink()
    with pytest.raises(UserError, match='is a folder with 0 files of weights, expected a single one'):
        init_from.find(str(tmp_path))
