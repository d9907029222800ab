"""Files of BEATs: what they say of themselves, what contradicts the tensors, and weight normalisation."""

import numpy as np
import pytest

from genre_jax.config import keys
from genre_jax.convert import checkpoint, engine, init_from, tables
from genre_jax.errors import UserError
from tests import golden
from tests.convert import checkpoint_files as files

CONFIG = {
    'encoder_layers': 2, 'encoder_embed_dim': 12, 'encoder_attention_heads': 3, 'encoder_ffn_embed_dim': 10,
    'embed_dim': 8, 'conv_pos': 6, 'conv_pos_groups': 4, 'num_buckets': 16, 'max_distance': 40,
    'deep_norm': True, 'gru_rel_pos': True, 'relative_position_embedding': True, 'layer_norm_first': False,
    'conv_bias': False, 'activation_fn': 'gelu', 'input_patch_size': 16, 'dropout': 0.1,
    'finetuned_model': True, 'predictor_class': 2,
}  # fmt: skip
LABELS = {'1': 'b', '0': 'z'}


def tensors(predictor=True):
    linear = golden.linear_shapes

    def norm(name, width):
        return {f'{name}.weight': (width,), f'{name}.bias': (width,)}

    shapes = {'patch_embedding.weight': (8, 1, 16, 16)} | norm('layer_norm', 8)
    shapes |= linear('post_extract_proj', 8, 12) | norm('encoder.layer_norm', 12)
    shapes |= {'encoder.pos_conv.0.bias': (12,), 'encoder.pos_conv.0.weight_v': (12, 3, 6)}
    shapes['encoder.pos_conv.0.weight_g'] = (1, 1, 6)
    for i in range(2):
        block = f'encoder.layers.{i}'
        for part in 'qkv':
            shapes |= linear(f'{block}.self_attn.{part}_proj', 12, 12)
        shapes |= linear(f'{block}.self_attn.out_proj', 12, 12)
        shapes |= linear(f'{block}.self_attn.grep_linear', 4, 8)
        shapes |= {f'{block}.self_attn.grep_a': (1, 3, 1, 1)}
        shapes |= {f'{block}.self_attn.relative_attention_bias.weight': (16, 3)}
        shapes |= linear(f'{block}.fc1', 12, 10) | linear(f'{block}.fc2', 10, 12)
        shapes |= norm(f'{block}.self_attn_layer_norm', 12) | norm(f'{block}.final_layer_norm', 12)
    shapes |= linear('predictor', 12, 2) if predictor else {}
    found = golden.state_dict(shapes)
    table = 'encoder.layers.{}.self_attn.relative_attention_bias.weight'
    return found | {table.format(1): found[table.format(0)]}


def convert(found, config=CONFIG, labels=LABELS, **told):
    table = engine.recognise(found, tables.TABLES, 'file')
    said = ({'cfg': config} if config else {}) | ({} if labels is None else {'label_dict': labels})
    return engine.convert(found, table, told, 'file', said)


def test_weight_normalisation_is_folded_tap_by_tap():
    found = tensors()
    kernel = convert(found).variables['params/pos_conv/kernel']
    direction, length = found['encoder.pos_conv.0.weight_v'], found['encoder.pos_conv.0.weight_g']
    for tap in range(6):
        # Each tap is as long as said, and points where it did.
        assert np.linalg.norm(kernel[tap]) == pytest.approx(abs(length[0, 0, tap]), rel=1e-6)
        cosine = (kernel[tap] * direction[:, :, tap].T).sum() / np.linalg.norm(direction[:, :, tap])
        assert cosine == pytest.approx(length[0, 0, tap], rel=1e-6)
    newer, plain = dict(found), dict(found)
    newer['encoder.pos_conv.0.parametrizations.weight.original0'] = newer.pop('encoder.pos_conv.0.weight_g')
    newer['encoder.pos_conv.0.parametrizations.weight.original1'] = newer.pop('encoder.pos_conv.0.weight_v')
    for part in 'gv':
        del plain[f'encoder.pos_conv.0.weight_{part}']
    plain['encoder.pos_conv.0.weight'] = kernel.transpose(2, 1, 0)
    assert convert(newer).sha256 == convert(plain).sha256 == convert(found).sha256


def pickle_of(**said):
    """The pickle of a file with something beside its tensors, and their storages."""
    weights, storages = {}, []
    for key, value in tensors().items():
        stored = files.storage(key, 'Float', value.size)
        strides = np.array(value.strides) // 4
        weights[key] = files.tensor(stored, 0, value.shape, strides.tolist())
        storages.append((key, value.size, np.ascontiguousarray(value).tobytes()))
    return files.mapping(model=files.mapping(**weights), **said), storages


def test_a_file_says_what_it_is(tmp_path):
    """From the bytes: what is beside the tensors is read, and nothing else of it is needed."""
    values = {str: files.text, int: files.number, bool: lambda value: b'\x88' if value else b'\x89'}
    config = {**CONFIG, 'dropout': 0, 'note': 'as trained'}
    words = files.mapping(**{key: values[type(value)](value) for key, value in config.items()})
    labels = files.mapping(**{number: files.text(name) for number, name in LABELS.items()})
    for write in (files.zipped, files.legacy):
        (tmp_path / 'b.pt').write_bytes(write(*pickle_of(cfg=words, label_dict=labels)))
        converted, _ = checkpoint.convert_checkpoint(str(tmp_path / 'b.pt'))
        assert converted.sha256 == convert(tensors()).sha256
        assert converted.labels == ['z', 'b'] and converted.num_classes == 2
        assert converted.settings['heads'] == 3 and converted.settings['max_distance'] == 40
    # A page that names the network takes its sizes from there.
    page = keys.get_config()
    page.model.name, page.features.name = 'beats', 'beats'
    init_from.complete(page, converted)
    assert page.model.width == 12 and page.model.position_groups == 4


CODES = ['/m/04rlf', '/m/028sqc', '/t/dd00001']


@pytest.fixture
def audioset(tmp_path, monkeypatch):
    """A list of names of AudioSet's classes, as it would have been fetched."""
    monkeypatch.setenv('GENRE_JAX_CACHE', str(tmp_path))
    rows = ['index,mid,display_name', '0,/m/028sqc,"Music, of Asia"', '1,/m/04rlf,Music']
    (tmp_path / 'class_labels_indices.csv').write_text('\n'.join(rows) + '\n')


def test_codes_of_audioset_become_names(audioset, caplog):
    named = checkpoint.in_words(CODES, 'file')
    assert named == ['Music', 'Music, of Asia', '/t/dd00001']
    assert 'file: AudioSet has no names for /t/dd00001' in caplog.text
    assert checkpoint.in_words(['rock', 'm/04rlf'], 'file') == ['rock', 'm/04rlf']
    with pytest.raises(UserError, match="file: calls class 1 'rock' among codes of AudioSet"):
        checkpoint.in_words(['/m/04rlf', 'rock'], 'file')


def test_codes_stay_where_the_list_cannot_be_had(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv('GENRE_JAX_CACHE', str(tmp_path))

    def cut(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(checkpoint.fetch.urllib.request, 'urlopen', cut)
    assert checkpoint.in_words(CODES, 'file') == CODES
    assert (
        'called by their codes' in caplog.text and str(tmp_path / 'class_labels_indices.csv') in caplog.text
    )


def test_a_file_without_an_output_layer():
    config = {
        key: value for key, value in CONFIG.items() if key not in ('finetuned_model', 'predictor_class')
    }
    for labels in (None, {}):
        converted = convert(tensors(predictor=False), config, labels)
        assert converted.num_classes == 0 and not converted.labels
    assert not [path for path in converted.variables if 'predictor' in path]


@pytest.mark.parametrize('named', [{'deep_norm': 0}, {'max_distance': 41}, {'heads': 4}, {'width': 16}])
def test_what_is_named_otherwise_than_the_file_says_is_refused(named):
    ((key, value),) = named.items()
    told = convert(tensors()).settings
    with pytest.raises(UserError, match=f'^file: as BEATs.* it has {key}={told[key]}, and {key}=.* is named'):
        convert(tensors(), **named)
    assert convert(tensors(), **{key: int(told[key])}).settings == told


def numpys(code, raw):
    """A single number or text of NumPy, as it is pickled since NumPy 2."""
    kind = files.call('numpy.dtype', files.text(code), b'\x89', b'\x88')
    kind += files.group(files.number(3), files.text('<'), b'NNN', *map(files.number, (-1, -1, 0))) + b'b'
    encoded = files.call('_codecs.encode', files.text(raw.decode('latin1')), files.text('latin1'))
    return files.call('numpy._core.multiarray.scalar', kind, encoded)


def pickled(tmp_path, **said):
    """The network's file with something beside its tensors, as it is read."""
    said.setdefault('cfg', files.mapping(deep_norm=b'\x88', max_distance=files.number(40)))
    (tmp_path / 'b.pt').write_bytes(files.zipped(*pickle_of(**said)))
    return checkpoint.convert_checkpoint(str(tmp_path / 'b.pt'))[0]


NAMES = files.text('a'), files.text('b')
KEYS = [numpys('i8', np.int64(i).tobytes()) for i in (1, 0)]


@pytest.mark.parametrize(
    'labels',
    [
        b'}(' + KEYS[0] + NAMES[1] + KEYS[1] + NAMES[0] + b'u',
        b'}(' + KEYS[0] + numpys('U1', b'b\0\0\0') + KEYS[1] + numpys('U2', b'a' + bytes(7)) + b'u',
        b'}(K\x01' + NAMES[1] + files.text('0') + NAMES[0] + b'u',
        b'](' + b''.join(NAMES) + b'e',
        files.group(*NAMES),
    ],
    ids=['whole numbers of NumPy', 'texts of NumPy', 'digits', 'list', 'tuple'],
)
def test_classes_are_named_in_several_ways(labels, tmp_path):
    assert pickled(tmp_path, label_dict=labels).labels == ['a', 'b']


@pytest.mark.parametrize(
    ('labels', 'said'),
    [
        (b'}(' + KEYS[0] + NAMES[1] + b'K\x01' + NAMES[0] + b'u', "two entries with the name '1'"),
        (b'}(C\x010' + NAMES[1] + b'C\x011' + NAMES[0] + b'u', '0 has none, "b\'0\'" is none of them'),
        (b'](C\x01aC\x01be', "it calls class 0 b'a': expected a name"),
        (b'}(' + NAMES[0] + b'K\x00' + NAMES[1] + b'K\x01u', "0 has none, 'a' is none of them"),
        (files.call('numpy._core.multiarray._reconstruct'), r'it has 0 classes \(label_dict\)'),
    ],
)
def test_classes_that_are_not_understood_are_one_line(labels, said, tmp_path):
    with pytest.raises(UserError, match=said) as caught:
        pickled(tmp_path, label_dict=labels)
    assert '\n' not in str(caught.value)


def test_numbers_of_numpy_in_what_a_file_says_count(tmp_path):
    far = numpys('i4', np.int32(40).tobytes())
    said = {'max_distance': far, 'deep_norm': numpys('b1', b'\x01'), 'dropout': numpys('f8', bytes(8))}
    told = pickled(tmp_path, cfg=files.mapping(**said)).settings
    assert told == convert(tensors()).settings and type(told['max_distance']) is int
    with pytest.raises(UserError, match='encoder_layers=40, and the tensors 2'):
        pickled(tmp_path, cfg=files.mapping(**said, encoder_layers=far))


def without(key):
    return lambda found: {name: value for name, value in found.items() if name != key}


@pytest.mark.parametrize(
    ('change', 'config', 'labels', 'said'),
    [
        (dict, {'encoder_attention_heads': 4}, LABELS, r'encoder_attention_heads=4, and the tensors 3'),
        (dict, {'conv_pos_groups': 2}, LABELS, r'conv_pos_groups=2, and the tensors 4'),
        (dict, {'encoder_layers': 3}, LABELS, r'encoder_layers=3, and the tensors 2'),
        (dict, {'predictor_class': 3}, LABELS, r'predictor_class=3, and the tensors 2'),
        (dict, {'finetuned_model': False}, LABELS, r'finetuned_model=False, and the tensors True'),
        (dict, {'layer_norm_first': True}, LABELS, r'layer_norm_first=True: only False is known'),
        (dict, {'activation_fn': 'relu'}, LABELS, r"activation_fn='relu': only 'gelu' is known"),
        (dict, {'max_distance': 'far'}, LABELS, r"'max_distance': 'far'.*expected .* a whole number"),
        (dict, {'deep_norm': None}, LABELS, r'tell deep_norm: .*--set=deep_norm=NUMBER'),
        (dict, {}, {'0': 'a'}, r'it has 1 classes \(label_dict\), the tensors have 2'),
        (dict, {}, {'0': 'a', '1': ' '}, r"it calls class 1 ' ': expected a name"),
        (dict, {}, {}, r'it has 0 classes \(label_dict\), the tensors have 2'),
        (dict, {}, {'0': 'a', '2': 'b'}, r"number from 0 up; 1 has none, '2' is none of them"),
        (dict, {}, {'0': 'a', '1': 'a'}, r"it calls both class 0 and class 1 'a' \(label_dict\)"),
        (without('encoder.layers.1.fc2.bias'), {}, LABELS, r'params/layers_1/fc2/bias stays empty'),
        (without('encoder.pos_conv.0.weight_g'), {}, LABELS, r'pos_conv/kernel needs 2 tensors, 1 are there'),
        (without('predictor.bias'), {}, LABELS, r'finetuned_model=True, and the tensors False'),
        (lambda t: t | {'quant.weight': t['predictor.bias']}, {}, LABELS, r'quant.weight matches no rule'),
        (without('encoder.layers.0.self_attn.grep_a'), {'gru_rel_pos': 0}, LABELS, r'gru_rel_pos=0: only'),
        (
            lambda t: t | {'encoder.layers.1.self_attn.relative_attention_bias.weight': np.zeros((16, 3))},
            {}, LABELS, r'encoder.layers.1.* is another one than that of the first layer',
        ),
        (
            lambda t: t | {'encoder.pos_conv.0.weight_v': np.zeros((12, 3, 6), np.float32)},
            {}, LABELS, r'params/pos_conv/kernel .* not finite',
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(change, config, labels, said):
    config = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    with pytest.raises(UserError, match=said) as caught:
        convert(change(tensors()), config, labels)
    assert '\n' not in str(caught.value) and str(caught.value).startswith('file: as BEATs')


def test_weights_alone_leave_two_questions():
    with pytest.raises(
        UserError, match=r'deep_norm, max_distance: .*--set=deep_norm=NUMBER --set=max_distance='
    ):
        convert(tensors(), None, None)
    with pytest.raises(UserError, match=r'deep_norm=2: expected 1 for yes'):
        convert(tensors(), None, None, deep_norm=2, max_distance=40)
    converted = convert(tensors(), None, None, deep_norm=1, max_distance=40)
    assert converted.settings == convert(tensors()).settings and converted.settings['deep_norm'] is True
