"""Weights of other frameworks, read without these: files made byte by byte, and those of libraries."""

import io
import json
import os
import pathlib
import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy

from genre_jax.convert.read import read_checkpoint
from genre_jax.errors import UserError
from tests.convert import checkpoint_files as files
from tests.program import DATA

SIX = np.arange(6, dtype=np.float32) - 2
# The upper halves of the same numbers in float32.
SIX_BFLOAT16 = np.array([0xC000, 0xBF80, 0x0000, 0x3F80, 0x4000, 0x4040], np.uint16)
FORMATS = pytest.mark.parametrize('file_of', [files.legacy, files.zipped])


def assert_arrays(found, wanted):
    assert list(found) == list(wanted)
    for key, array in wanted.items():
        assert found[key].dtype == array.dtype and found[key].dtype.isnative
        np.testing.assert_array_equal(found[key], array, strict=True)


# --- PyTorch -------------------------------------------------------------------------------------


@FORMATS
@pytest.mark.parametrize('little', [True, False])
def test_tensors_of_pytorch(file_of, little, read):
    float_, brain, long = (
        files.storage('a', 'Float', 6),
        files.storage('b', 'BFloat16', 6),
        files.storage('c', 'Long', 2),
    )
    parameter = files.call('torch._utils._rebuild_parameter', files.tensor(float_, 0, [6], [1]))
    tree = files.mapping(
        epoch=files.number(3),
        model=files.mapping(
            **{'conv.weight': files.tensor(float_, 0, [2, 3], [3, 1])},
            turned=files.tensor(float_, 0, [3, 2], [1, 3]),
            every_second=files.tensor(float_, 1, [3], [2]),
            scalar=files.tensor(float_, 5, [], []),
            nothing=files.tensor(float_, 0, [0, 4], [4, 1]),
            half=files.tensor(brain, 0, [6], [1]),
            parameter=parameter,
        ),
        steps=files.group(files.text('no tensor'), files.tensor(long, 0, [2], [1])),
    )
    order = '<' if little else '>'
    steps = np.array([-(2**40), 7])
    raw = [SIX.astype(order + 'f4'), SIX_BFLOAT16.astype(order + 'u2'), steps.astype(order + 'i8')]
    storages = [(k, a.size, a.tobytes()) for k, a in zip('abc', raw, strict=True)]
    found = read(file_of(tree, storages, little))
    wanted = {
        'model.conv.weight': SIX.reshape(2, 3),
        'model.turned': SIX.reshape(2, 3).T,
        'model.every_second': SIX[1::2],
        'model.scalar': SIX[5],
        'model.nothing': np.zeros((0, 4), np.float32),
        'model.half': SIX,
        'model.parameter': SIX,
        'steps.1': steps,
    }
    assert_arrays(found, {key: np.asarray(array) for key, array in wanted.items()})


def test_parameters_and_views_of_the_first_versions(read):
    """As 0.1 to 0.3 wrote them: Parameter with a state, torch.Size, a storage within another."""
    view = files.group(files.text('v'), files.number(2), files.number(4))
    stored = files.storage('a', 'Float', 6, view)
    sides = [files.call('torch.Size', files.numbers(*n)) for n in ([2, 2], [2, 1])]
    bare = files.call('torch._utils._rebuild_tensor', stored, files.number(0), *sides)
    state = files.group(b'\x88', b'\x89', files.call('collections.OrderedDict'))
    tree = files.mapping(w=files.call('torch.nn.parameter.Parameter', bare) + state + b'b')
    found = read(files.legacy(tree, [('a', 6, SIX.tobytes())]))
    assert_arrays(found, {'w': SIX[2:].reshape(2, 2)})


def numpy_in_a_pickle():
    arrays = {'c': SIX.reshape(2, 3), 'f': np.asfortranarray(SIX.reshape(2, 3)), 'big': SIX}
    arrays['big'] = SIX.astype('>f8')
    return arrays | {'accuracy': np.float64(0.5)}


@FORMATS
def test_arrays_and_numbers_of_numpy(file_of, read):
    tree = pickle.dumps(numpy_in_a_pickle(), 2)[2:-1]
    found = read(file_of(tree))
    wanted = {'c': SIX.reshape(2, 3), 'f': SIX.reshape(2, 3), 'big': SIX.astype(np.float64)}
    assert_arrays(found, wanted)


class Runs:
    """Whoever unpickles it runs a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(marker):
    """Pickles that create the file `marker` when Python's own pickle reads them, and what they run."""
    touch = f'touch {marker}'
    code = f'__import__("os").system({touch!r})'
    shell = files.text(touch)
    safe = files.call('collections.OrderedDict')
    yield 'system', pickle.dumps(Runs(os.system, touch), 2)[2:-1]
    yield 'eval', pickle.dumps({'model': [{'a': (1, Runs(eval, code))}]}, 2)[2:-1]
    yield 'exec', pickle.dumps(Runs(exec, code), 4)[2:-1]
    # By a path through the attributes of a module that is harmless itself, since protocol 4.
    path = b'\x80\x04\x8c\x08argparse\x8c\x0a_os.system\x93'
    yield 'argparse._os.system', path + files.group(shell) + b'R'
    # Without GLOBAL and REDUCE.
    yield 'INST', b'(' + shell + b'ios\nsystem\n'
    yield 'system', b'(' + files.name('os.system') + shell + b'o'
    # What is built first does not matter, nor that its result is thrown away.
    yield 'system', safe + b'0' + files.name('os.system') + files.group(shell) + b'R0' + safe


@FORMATS
def test_no_program_is_run(file_of, refused, tmp_path):
    marker = tmp_path / 'ran'
    for said, tree in hostile(marker):
        pickle.loads(b'\x80\x02' + tree + b'.')  # the control: they are dangerous indeed
        assert marker.exists(), said
        marker.unlink()
        refused(file_of(tree), said, 'not run')
        assert not marker.exists()
    plain = pickle.dumps(Runs(os.system, f'touch {marker}'))
    refused(plain, 'posix.system: a program, not only weights. It was not run')
    assert not marker.exists()


@FORMATS
@pytest.mark.parametrize(
    ('tree', 'said'),
    [
        (files.call('torch._utils.something_else'), 'run torch._utils.something_else:'),
        (files.call('torch.load', files.text('x')), 'run torch.load:'),
        (files.name('collections.OrderedDict.__init__') + b'.', 'OrderedDict.__init__'),
        (files.call('torch.FloatStorage'), 'run torch.FloatStorage'),  # a name, not a function
        (files.call('torch.nn.modules.conv.Conv2d'), 'save model.state_dict()'),
        (files.text('os.system') + files.group() + b'R', 'run a str'),
        # The state of a stand-in: setattr(function, '__code__', ...) with Python's pickle.
        (files.name('collections.OrderedDict') + b'N}\x86b', '__setstate__ of a _Global'),
        (b'\x82\x01', 'EXT1'),
        (files.text('x') + b'Q', 'a persistent object that is no storage'),
        (
            files.call('torch._tensor._rebuild_from_type_v2', files.name('_codecs.encode'), b'NNN'),
            'run _codecs.encode',
        ),
        (files.call('evil\x1b[2J.line'), 'run evil\\x1b[2J.line'),
    ],
)
def test_other_functions_are_refused(file_of, tree, said, refused):
    refused(file_of(tree), said, 'not run')


# A tuple of twice the one before, 60 times, in the memo: printing or hashing it takes 2**60 steps.
GROWN = b')q\x000' + b'h\x00h\x00\x86q\x000' * 60


def nested(depth):
    """A dict that holds the one before twice: 2**depth paths, few bytes."""
    tree = files.mapping(a=files.number(1))
    for level in range(depth):
        tree += (
            b'q'
            + bytes([level])
            + b'0}('
            + b''.join(files.text(k) + b'h' + bytes([level]) for k in 'ab')
            + b'u'
        )
    return tree


@FORMATS
@pytest.mark.parametrize(
    'tree',
    [
        # Beyond the storage, in every way.
        *(
            files.mapping(w=files.tensor(files.storage('a', 'Float', 6), *where))
            for where in [
                (0, [7], [1]),
                (1, [6], [1]),
                (0, [2, 2], [5, 1]),
                (0, [2**40], [2**40]),
                (-1, [2], [1]),
                (5, [2], [-1]),
                (0, [-2, -3], [1, 1]),
                (0, [10**9, 10**9], [0, 0]),
                (0, [7], [0]),
                (0, [2, 3], [1]),
                (2**62, [4], [2**62]),
                (0, [0, 2**62, 2**62], [1, 1, 1]),
            ]
        ),
        # A storage of another size, or of two types, or that is not there.
        files.mapping(w=files.tensor(files.storage('a', 'Float', 2**40), 0, [2], [1])),
        files.mapping(w=files.tensor(files.storage('a', 'Double', 6), 0, [6], [1])),
        files.mapping(w=files.tensor(files.storage('b', 'Float', 6), 0, [6], [1])),
        files.mapping(
            v=files.tensor(files.storage('a', 'Float', 6), 0, [6], [1]),
            w=files.tensor(files.storage('a', 'Int', 6), 0, [6], [1]),
        ),
        # Two tensors with one name.
        files.mapping(
            **{'v.w': files.tensor(files.storage('a', 'Float', 6), 0, [6], [1])},
            v=files.mapping(w=files.tensor(files.storage('a', 'Float', 6), 0, [5], [1])),
        ),
        # Two entries with one name.
        b'}(' + files.text('0') + b'NK\x00Nu',
        b'}(K\x00N' + files.text('0') + b'Nu',
        b'}(' + (files.text('w') + files.tensor(files.storage('a', 'Float', 6), 0, [6], [1])) * 2 + b'u',
        # Small files that want much memory or time.
        b'Nr\xf0\xff\xff\xff',
        b'\x8d' + struct.pack('<Q', 2**60),
        b'\x8e' + struct.pack('<Q', 2**40) + b'x',
        nested(60),
        b']' + b'q\x00h\x00a',
        b']' * 100_000 + b'a' * 99_999,
        GROWN + b'}h\x00Ns',
        GROWN + b'h\x00' + files.text('x') + b'\x93',
        GROWN + files.name('_codecs.encode') + files.text('x') + b'h\x00\x86R',
        GROWN + files.name('numpy.dtype') + b'h\x00\x85R',
        GROWN + b'h\x00Q',
        GROWN + b'h\x00h\x00R',
        # 200 000 letters, turned into bytes 10 000 times.
        files.text('x' * 200_000)
        + b'q\x000'
        + files.name('_codecs.encode')
        + b'q\x010'
        + files.text('latin1')
        + b'q\x020]('
        + b'h\x01h\x00h\x02\x86R' * 10_000
        + b'e',
        # Instructions without what they need.
        b'',
        b's',
        b'R',
        b'e',
        b'Nb}',
        b'h\x07',
        b'NN',
    ],
)
def test_impossible_pickles_are_refused(file_of, tree, refused):
    refused(file_of(tree, [('a', 6, SIX.tobytes())]))


def test_impossible_heads_of_the_older_format(refused):
    whole = files.legacy(b'}')
    version, keys = pickle.dumps(1001, 2), pickle.dumps([], 2)
    assert whole.count(version) == 1 and whole.endswith(keys)
    refused(whole.replace(version, b'\x80\x02' + GROWN + b'h\x00.'), 'version')
    refused(whole[: -len(keys)] + b'\x80\x02' + GROWN + b'h\x00.', 'key')
    refused(whole.replace(version, pickle.dumps(1002, 2)), 'version')


def test_zip_archives_that_are_no_weights(refused):
    kept = io.BytesIO()
    np.savez(kept, a=SIX)
    refused(kept.getvalue(), 'none of torch.save')
    refused(files.zipped(b'}', **{'constants.pkl': b''}), 'TorchScript')
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', b'N' * 50_000_000 + b'.')
    refused(packed.getvalue(), 'compressed')
    whole = files.zipped(files.mapping(w=files.tensor(files.storage('a', 'Float', 6), 0, [6], [1])))
    twice = io.BytesIO(whole)
    with zipfile.ZipFile(twice, 'a') as archive:
        archive.writestr('archive/data/a', SIX.tobytes())
        with pytest.warns(UserWarning, match='Duplicate name'):
            archive.writestr('archive/data/a', SIX[::-1].tobytes())
    refused(twice.getvalue(), 'two of its records have the same name')


# --- safetensors ---------------------------------------------------------------------------------


def test_safetensors_are_those_of_its_library(read):
    arrays = {
        kind: (SIX > 0 if kind == 'bool' else SIX.astype(kind)).reshape(2, 3)
        for kind in 'bool int8 int16 int32 int64 float16 float32 float64'.split()
    }
    arrays |= {kind: np.arange(3, dtype=kind) for kind in ('uint8', 'uint16', 'uint32', 'uint64')}
    arrays |= {'scalar': np.array(2.5), 'empty': np.zeros((0, 3), np.float32)}
    found = read(safetensors.numpy.save(arrays, {'format': 'pt'}))
    assert found.keys() == arrays.keys()
    assert_arrays(dict(sorted(found.items())), dict(sorted(arrays.items())))


def with_header(header, content=b''):
    return struct.pack('<Q', len(header)) + header.encode() + content


def test_safetensors_in_bfloat16(read):
    header = '{"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}'
    found = read(with_header(header, SIX_BFLOAT16.tobytes()))
    assert_arrays(found, {'w': SIX.reshape(2, 3)})


@pytest.mark.parametrize(
    ('header', 'said'),
    [
        ('{"w":{"dtype":"F32","shape":[6],"data_offsets":[0,28]}}', 'invalid shape'),
        ('{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,24]}}', 'invalid shape'),
        (
            '{"w":{"dtype":"F32","shape":[-2,-3],"data_offsets":[0,24]}}',
            'invalid value: integer `-2`',
        ),
        (
            '{"w":{"dtype":"F32","shape":[5],"data_offsets":[4,24]}}',
            'invalid offset for tensor `w`',
        ),
        ('{"w":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}}', 'not fully covered'),
        ('{"w":{"dtype":"F8_E4M3","shape":[24],"data_offsets":[0,24]}}', 'expected one of BOOL'),
        ('{"w":7}', 'damaged'),
        ('{"w":' + '[' * 100_000, 'damaged'),
    ],
)
def test_impossible_headers_of_safetensors(header, said, refused):
    refused(with_header(header, SIX.tobytes()), said)


# --- Keras ---------------------------------------------------------------------------------------


def test_hdf5_names_are_paths(tmp_path):
    path = tmp_path / 'weights.h5'
    with h5py.File(path, 'w') as file:
        file['layer1/conv/layer1/conv/kernel:0'] = SIX.reshape(2, 3)
        file['layer2/bias:0'] = SIX.astype('>f8')
        file['layer2/packed'] = h5py.SoftLink('/layer1')  # another name, not another array
        file.create_dataset('packed', data=np.zeros((99, 99)), compression='gzip', chunks=(9, 9))
        file['words'] = ['no', 'numbers']
        file['layer1/loop'] = file['/']
        file.attrs['layer_names'] = ['layer1', 'layer2']
    found = read_checkpoint(path)
    wanted = {
        'layer1/conv/layer1/conv/kernel:0': SIX.reshape(2, 3),
        'layer2/bias:0': SIX.astype(np.float64),
        'packed': np.zeros((99, 99)),
    }
    assert_arrays(dict(sorted(found.items())), wanted)


@pytest.mark.parametrize('way', ['link', 'virtual', 'external'])
def test_hdf5_opens_no_other_file(way, tmp_path):
    secret, path = tmp_path / 'secret.h5', tmp_path / 'weights.h5'
    with h5py.File(secret, 'w') as file:
        file['w'] = SIX
    with h5py.File(path, 'w') as file:
        file['bias'] = SIX
        if way == 'link':
            file['w'] = h5py.ExternalLink(str(secret), 'w')
        elif way == 'virtual':
            layout = h5py.VirtualLayout((6,), 'f4')
            layout[:] = h5py.VirtualSource(str(secret), 'w', (6,))
            file.create_virtual_dataset('w', layout)
        else:
            file.create_dataset('w', (6,), 'f4', external=[(str(secret), 0, 24)])
    with h5py.File(path) as file:
        assert len(file['w']) == 6  # the control: h5py follows it
    with pytest.raises(UserError, match='weights.h5: has (dataset )?w in another file, which is n'):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({}, 'larger than what is stored'),
        ({'chunks': (1024,), 'compression': 'gzip'}, 'many times its size'),
    ],
)
def test_hdf5_announces_no_more_than_it_holds(options, said, tmp_path):
    path = tmp_path / 'weights.h5'
    with h5py.File(path, 'w') as file:
        dataset = file.create_dataset('w', (2**40,), 'f4', **options)
        if options:  # one chunk of many; without chunks, nothing would be written at all
            dataset[:8] = 1
    with pytest.raises(UserError, match=said):
        read_checkpoint(path)


# --- TensorFlow ----------------------------------------------------------------------------------

CODES = {'conv/bias': 1, 'conv/kernel': 1, 'conv/kernel/Adam': 14, 'step': 9}
BUNDLE = {
    'conv/bias': SIX,
    'conv/kernel': SIX.reshape(1, 2, 3),
    'conv/kernel/Adam': SIX_BFLOAT16,
    'step': np.array(7),
}


def write_bundle(prefix, *, shards=1, **options):
    index, data = files.bundle(BUNDLE, CODES, **options)
    pathlib.Path(prefix).parent.mkdir(exist_ok=True)
    pathlib.Path(f'{prefix}.index').write_bytes(index)
    for number in range(shards):
        name = f'{prefix}.data-{number:05d}-of-{shards:05d}'
        pathlib.Path(name).write_bytes(data[number])


@pytest.mark.parametrize('given', ['', 'model.ckpt-7', 'model.ckpt-7.index'])
@pytest.mark.parametrize('shards', [1, 2])
def test_bundles_of_tensorflow(given, shards, tmp_path):
    folder = tmp_path / 'checkpoint'
    odd = {'shard_of': lambda key: key == 'conv/bias'} if shards == 2 else {}
    write_bundle(folder / 'model.ckpt-7', shards=shards, **odd)
    assert_arrays(read_checkpoint(folder / given), BUNDLE | {'conv/kernel/Adam': SIX})


def test_a_bundle_without_a_name(tmp_path):
    """As in the package of musicnn: `.index`."""
    write_bundle(f'{tmp_path}/')
    assert_arrays(read_checkpoint(tmp_path), BUNDLE | {'conv/kernel/Adam': SIX})


def test_bundles_that_are_refused(tmp_path):
    def refused(match):
        with pytest.raises(UserError, match=match) as caught:
            read_checkpoint(tmp_path / 'w')
        assert 'w.index: ' in str(caught.value)

    data = tmp_path / 'w.data-00000-of-00001'
    write_bundle(tmp_path / 'w')
    raw = bytearray(data.read_bytes())
    data.write_bytes(raw[:-1])
    refused('cut off')
    raw[3] ^= 1
    data.write_bytes(raw)
    refused('damaged')
    data.unlink()
    refused('w.data-00000-of-00001, which is missing')
    write_bundle(tmp_path / 'w', extra=[(7, b'')])
    refused('slices')
    index = tmp_path / 'w.index'
    index.write_bytes(files.table([[(b'', b'\x0a\x00'), (b'a', b'')]]))
    refused('version 1')
    index.write_bytes(files.table([[(b'', b'\x08\x01')]], compression=1))
    refused('compressed')
    index.write_bytes(files.table([[(b'', b'\x08\x01'), (b'b', b''), (b'a', b'')]]))
    refused('not in order|type 0')
    index.write_bytes(files.bundle(BUNDLE, CODES)[0][:-1])
    refused('cut off')
    write_bundle(tmp_path / 'v')
    with pytest.raises(UserError, match='2 files'):
        read_checkpoint(tmp_path)


# --- transformers --------------------------------------------------------------------------------

INDEX, SECOND = 'model.safetensors.index.json', 'model-00002-of-00002.safetensors'
PIECES = {'model-00001-of-00002.safetensors': ['a', 'c'], SECOND: ['b']}
WHOLE = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': np.ones(4, np.float32), 'c': np.zeros(1)}


def write_pieces(folder, **changes):
    for name, keys in PIECES.items():
        safetensors.numpy.save_file({key: WHOLE[key] for key in keys}, folder / name)
    places = {key: name for name, keys in PIECES.items() for key in keys}
    index = {'metadata': {'total_size': 48}, 'weight_map': places | changes}
    (folder / INDEX).write_text(json.dumps(index))


def test_weights_in_several_files(tmp_path):
    write_pieces(tmp_path)
    for path in (tmp_path, tmp_path / INDEX):
        assert_arrays(dict(sorted(read_checkpoint(path).items())), WHOLE)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda f: (f / SECOND).unlink(), 'names .*2-of-00002.* not beside it'),
        (lambda f: (f / SECOND).write_bytes(b'no'), 'names .*2-of.* is text'),
        (lambda f: write_pieces(f, a='../w.safetensors'), "names '../w.safetensors', which is no file"),
        (lambda f: write_pieces(f, d=SECOND), 'says that tensor d .* lacks it'),
        (lambda f: write_pieces(f, a=SECOND), 'does not say that tensor a is in .*1'),
        (lambda f: (f / INDEX).write_text('[1]'), 'has no weight_map'),
        (lambda f: (f / INDEX).write_text('{"weight_map": {"a": 1}}'), 'has no weight'),
        (lambda f: (f / INDEX).write_text('{"weigh'), 'damaged or cut off'),
        (lambda f: (f / INDEX).unlink(), 'with 2 files .* get their index'),
    ],
)  # fmt: skip
def test_pieces_that_do_not_fit(change, said, tmp_path):
    write_pieces(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=said) as caught:
        read_checkpoint(tmp_path)
    assert '\n' not in str(caught.value)


def test_a_folder_with_other_weights_of_another_format_is_refused(tmp_path):
    """By values: versions of transformers write other names. What cannot be read is none."""
    safetensors.numpy.save_file(WHOLE, tmp_path / 'model.safetensors')
    beside = tmp_path / 'pytorch_model.bin'
    safetensors.numpy.save_file({f'old.{key}': value for key, value in WHOLE.items()}, beside)
    assert_arrays(read_checkpoint(tmp_path), WHOLE)
    beside.write_bytes(b'version https://git-lfs.github.com/spec/v1')
    assert_arrays(read_checkpoint(tmp_path), WHOLE)
    safetensors.numpy.save_file(WHOLE | {'b': WHOLE['b'] + 1e-6}, beside)
    with pytest.raises(
        UserError, match=r'model.safetensors: pytorch_model.bin beside it holds other weights'
    ):
        read_checkpoint(tmp_path)
    assert_arrays(read_checkpoint(tmp_path / 'model.safetensors'), WHOLE)


# --- LiteRT --------------------------------------------------------------------------------------


def scales(scale, zero, axis=0):
    return {2: np.float32(scale), 3: np.int64(zero), 6: np.int32(axis)}


def test_constants_of_litert(read):
    steps = np.array([[-128, 0, 127], [1, 2, 3]], np.int8)
    model = files.tflite(
        [
            ('float', 0, SIX.reshape(2, 3), None),
            ('plain', 2, np.array([3, 4], np.int32), None),
            ('whole', 9, steps, scales([0.5], [-3])),
            ('rows', 9, steps, scales([0.5, 2], [1, -1])),
            ('columns', 9, steps, scales([1, 2, 4], [0, 0, 0], 1)),
            ('no_zero', 3, np.array([255], np.uint8), scales([2], [])),
            ('bias', 2, np.array([2**24 + 1], np.int32), scales([0.25], [0])),
            ('float', 0, SIX.reshape(2, 3), None),
            ('', 18, SIX_BFLOAT16, {}),
        ]
    )
    wanted = {
        'float': SIX.reshape(2, 3),
        'plain': np.array([3, 4], np.int32),
        'whole': np.float32([[-62.5, 1.5, 65], [2, 2.5, 3]]),
        'rows': np.float32([[-64.5, -0.5, 63], [4, 6, 8]]),
        'columns': np.float32([[-128, 0, 508], [1, 4, 12]]),
        'no_zero': np.float32([510]),
        'bias': np.float32([(2**24 + 1) / 4]),
        '': SIX,
    }
    assert_arrays(read(model), wanted)


def test_constants_of_litert_that_are_refused(refused):
    refused(files.tflite([('a', 0, SIX, None), ('a', 0, SIX + 1, None)]), "name 'a'")
    refused(files.tflite([('a', 17, SIX, None)]), 'type 17')
    refused(files.tflite([('a', 1, SIX, None)]), 'the shape [6] in float16')
    refused(files.tflite([('a', 9, np.zeros(6, np.int8), scales([1, 2, 3], [0]))]), 'zero points')
    for axis, shape in ((0, (1, 6)), (2, (3, 3)), (-1, (3, 3)), (0, (6,))):
        channels = scales([1, 2, 3], [0, 0, 0], axis)
        refused(files.tflite([('a', 9, np.zeros(shape, np.int8), channels)]), 'a scale for each')


def test_yamnet_of_litert():
    """The published file: a network of 27 convolutions, then 521 classes."""
    path = DATA / 'weights/yamnet/yamnet.tflite'
    if not path.exists():
        pytest.skip(f'no {path}: set GENRE_JAX_DATA')
    found = read_checkpoint(path)
    kernels = [array for array in found.values() if array.ndim == 4]
    assert len(kernels) == 27
    assert [a.shape for a in found.values() if a.ndim == 2 and 521 in a.shape] == [(521, 1024)]
    assert {kernel.dtype for kernel in kernels} == {np.dtype(np.float32)}
    assert 3.1e6 < sum(kernel.size for kernel in kernels) < 3.3e6


# --- other files, and all kinds damaged ----------------------------------------------------------


@pytest.mark.parametrize(
    ('data', 'said'),
    [
        (b'', 'is empty'),
        (b'<!DOCTYPE html>\n<html><body>Not found', 'is a web page'),
        (b'\xef\xbb\xbf\n  <html lang="de">\xc3', 'is a web page'),
        (b'Access denied\n' * 99, "text, not weights; it begins with b'Access denied"),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:1', 'git lfs pull'),
        (b'\x1f\x8b\x08\0' + bytes(99), 'gzip archive: unpack it'),
        (bytes(257) + b'ustar\0' + bytes(300), 'tar archive: unpack it'),
        (bytes(range(255, 0, -1)), 'unknown kind; it begins with ff fe fd'),
        (pickle.dumps({'a': 1}), 'a pickle, but none of torch.save'),
        (files.legacy(files.mapping(a=files.number(1))), 'holds no arrays'),
    ],
)
def test_files_that_hold_no_weights(data, said, refused):
    refused(data, said)


def test_paths_without_a_file(tmp_path):
    for path, said in [
        (tmp_path / 'none.pth', 'none.pth: no such file'),
        (tmp_path, 'is a folder with 0 files'),
        (pathlib.Path(os.devnull), 'no ordinary file'),
    ]:
        with pytest.raises(UserError, match=said):
            read_checkpoint(path)
