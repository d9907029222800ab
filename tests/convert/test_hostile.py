"""Files made to fill the memory or to take forever, and damaged ones: one line at most, within the bounds."""

import dataclasses
import functools
import io
import json
import pickle
import random
import re
import struct
import sys
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy

import genre_jax
from genre_jax import features
from genre_jax.convert import engine, store, tables
from genre_jax.convert.read import read_checkpoint
from genre_jax.errors import UserError
from tests import golden, program
from tests.convert import checkpoint_files as files

SIX = np.arange(6, dtype=np.float32) - 2
STORED = [('a', 6, SIX.tobytes())]
TENSOR = files.tensor(files.storage('a', 'Float', 6), 0, [6], [1])
MANY = 'many times its size'


# --- small files that unfold ---------------------------------------------------------------------
# Each is written with about n bytes.


def zipped(tree, stored=STORED):
    return files.zipped(tree, stored)


def shared(n, inner, outer):
    """A list of the same tensor, which a list of `inner` holds; `outer` opens what holds that one often."""
    return TENSOR + b'q\x010' + b'](' + b'h\x01' * (n // 8) + b'e' + b'q\x020' + outer(inner)


def same_list_often(n):
    return zipped(shared(n, n // 4, lambda count: b'](' + b'h\x02' * count + b'e'))


def same_list_under_long_names(n):
    def named(count):
        keys = (files.text(f'{i:08d}' + 'k' * 980) + b'h\x02' for i in range(count))
        return b'}(' + b''.join(keys) + b'u'

    return zipped(shared(n, n // 1000, named))


def same_booleans_often(n):
    array = files.name('numpy.core.multiarray._reconstruct')
    array += files.group(files.name('numpy.ndarray'), files.numbers(0), files.text('b')) + b'R'
    state = files.group(files.number(1), files.numbers(n // 2), b'h\x02', b'\x89', b'h\x01') + b'b'
    raw = files.call('_codecs.encode', files.text('\x01' * (n // 2)), files.text('latin1'))
    kind = files.call('numpy.dtype', files.text('b1'))
    tree = raw + b'q\x010' + kind + b'q\x020' + b'](' + (array + state) * (n // 300) + b'e'
    return zipped(tree)


def same_pairs_often(n):
    make = files.name('collections.OrderedDict') + b'q\x010'
    pairs = b'](' + b''.join(files.text(f'{i:06d}') + b'N\x86' for i in range(n // 26)) + b'eq\x020'
    return zipped(make + pairs + b'](' + b'h\x01h\x02\x85R' * (n // 16) + b'e')


def long_dimensions(n):
    """A product of many long numbers."""
    number = b'\x8b' + struct.pack('<i', n // 2) + b'\x7f' * (n // 2) + b'q\x010'
    sides = b'(' + b'h\x01' * (n // 32) + b't'
    where = files.storage('a', 'Float', 6), files.number(0), sides, sides, b'\x89', b'N'
    return zipped(number + files.call('torch._utils._rebuild_tensor_v2', *where))


def same_storage_often(n):
    """Each of a thousand tensors is the whole storage, and becomes parameters of its own."""
    stored = [('a', n // 8, bytes(n // 2))]
    tensor = files.tensor(files.storage('a', 'Float', n // 8), 0, [n // 8], [1])
    return zipped(files.mapping(**{f'w{i}': tensor for i in range(1000)}), stored)


def records_that_overlap(n):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('archive/data.pkl', b'\x80\x02}.')
        archive.writestr('archive/data/0', bytes(n))
        archive.filelist += [archive.filelist[-1]] * 30
    return file.getvalue()


def deflated_hdf5(n):
    file = io.BytesIO()
    with h5py.File(file, 'w') as out:
        chunks = {'chunks': (n,), 'compression': 'gzip', 'compression_opts': 9}
        dataset = out.create_dataset('w', (200 * n,), 'f4', **chunks)
        for start in range(0, 200 * n, n):
            dataset[start : start + n] = 0
    return file.getvalue()


def same_buffer_often(n, kind=0):
    one = {0: np.int32([n // 8]), 1: np.int8(kind), 2: np.uint32(1)}
    graph = {0: [one | {3: b'%d' % i} for i in range(n // 100)]}
    return bytes(files.Flatbuffer({2: [graph], 4: [{}, {0: bytes(n // 2)}]}).data)


def scales_of_no_side(n):
    """Numbers (1, n) with n scales along the first side would become (n, n)."""
    scales = {2: np.ones(n // 13, np.float32), 3: np.zeros(n // 13, np.int64), 6: np.int32(0)}
    return files.tflite([('w', 9, np.zeros((1, n // 13), np.int8), scales)])


def keys_in_one_place(n):
    """Multiples of 2**61 - 1, the hash of all of which is 0: each is compared with all before."""
    keys = (b'\x8a\x0a' + (i * (2**61 - 1)).to_bytes(10, 'little') + b'N' for i in range(n // 13))
    return zipped(b'}(' + b''.join(keys) + b'u')


def many(opcode):
    return lambda n: zipped(b'N' + opcode * n)


ATTACKS = {
    'shared list.pth': (same_list_often, MANY),
    'shared names.pth': (same_list_under_long_names, MANY),
    'shared booleans.pth': (same_booleans_often, MANY),
    'shared pairs.pth': (same_pairs_often, MANY),
    'shared storage.pth': (same_storage_often, MANY),
    'dimensions.pth': (long_dimensions, 'a shape that is none'),
    'keys.pth': (keys_in_one_place, 'holds no arrays'),
    'dicts.pth': (many(b'}'), MANY),
    'lists.pth': (many(b']'), MANY),
    'tuples.pth': (many(b'\x85'), MANY),
    'marks.pth': (many(b'('), 'nested too deep'),
    'memo.pth': (many(b'\x94'), 'damaged'),
    'memo far away.pth': (lambda n: zipped(b'Nr' + struct.pack('<I', 20 * n) + b'N' * n), MANY),
    'overlap.pth': (records_that_overlap, 'overlap'),
    'deflated.h5': (deflated_hdf5, MANY),
    'buffer.tflite': (same_buffer_often, MANY),
    'scales.tflite': (scales_of_no_side, 'has not a scale for each of its channels'),
    'strings.tflite': (functools.partial(same_buffer_often, kind=5), 'holds no arrays'),
}


@pytest.mark.parametrize('name', ATTACKS)
def test_small_files_stay_small(name, refused):
    make, said = ATTACKS[name]
    refused(make(300_000), said, name=name)


def overlapping_bundle(folder, n, name=lambda i: b'%06d' % i):
    """Writes a bundle whose entries are all the same numbers; returns its index."""
    raw = bytes(n // 2)
    place = (2, files.message((2, files.message((1, n // 2))))), (5, n // 2)
    entry = files.message((1, 6), *place, (6, ('fixed32', files.masked(raw))))
    header = b'', files.message((1, 1), (3, files.message((1, 1))))
    pairs = [(name(i), entry) for i in range(n // 60)]
    (folder / 'x.index').write_bytes(files.table([[header, *pairs]]))
    (folder / 'x.data-00000-of-00001').write_bytes(raw)
    return folder / 'x.index'


@pytest.mark.parametrize('name', [lambda i: b'%06d' % i, lambda i: b'k' * 990 + b'%06d' % i])
def test_entries_of_a_bundle_that_overlap(name, tmp_path):
    with pytest.raises(UserError, match=f'x.index: .*{MANY}'):
        read_checkpoint(overlapping_bundle(tmp_path, 300_000, name))


def huge_header(path):
    with path.open('wb') as file:
        file.write(struct.pack('<Q', 2**32 - 16) + b'{"a":')
        file.truncate(2**32)
    return path


def test_a_header_of_four_gigabytes(tmp_path):
    with pytest.raises(UserError, match='header too large'):
        read_checkpoint(huge_header(tmp_path / 'x.safetensors'))


def test_a_converted_folder_that_is_compressed(tmp_path):
    with zipfile.ZipFile(tmp_path / 'parameters.npz', 'w', zipfile.ZIP_DEFLATED) as archive:
        with archive.open('params/w.npy', 'w') as file:
            np.lib.format.write_array(file, np.zeros(10_000_000, np.float32))
    (tmp_path / 'conversion.json').write_text(json.dumps({'title': 'x'}))
    tracemalloc.start()
    with pytest.raises(UserError, match='compressed.*: convert it again'):
        store.load(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


@pytest.mark.parametrize('change', [lambda w: w.astype(np.complex64), lambda w: w * np.nan, lambda w: w > 0])
def test_a_converted_folder_of_other_numbers(change, tmp_path):
    """Its digest is right: whoever made it computed it."""
    converted = convert(small('ast'))
    path = 'params/norm/scale'
    variables = converted.variables | {path: change(converted.variables[path])}
    store.save(dataclasses.replace(converted, variables=variables), tmp_path, {'file': 'x', 'sha256': ''})
    with pytest.raises(UserError, match=f'{path} holds .*: convert it again'):
        store.load(tmp_path)


def test_a_converted_folder_that_is_damaged(tmp_path):
    """What is loaded holds the same arrays, under settings that are some."""
    converted = convert(small('ast'))
    store.save(converted, tmp_path, {'file': 'x', 'sha256': ''})
    whole_report = (tmp_path / 'conversion.json').read_text()
    rng, refused = random.Random(0), 0
    for name in ('conversion.json', 'parameters.npz'):
        file = tmp_path / name
        whole = file.read_bytes()
        for trial in range(60):
            data = bytearray(whole)
            if trial % 3 == 0:
                del data[rng.randrange(len(data)) :]
            else:
                data[rng.randrange(len(data) if trial % 2 else 300)] = rng.randrange(256)
            file.write_bytes(data)
            try:
                loaded = store.load(tmp_path)
                assert loaded.sha256 == converted.sha256 and isinstance(loaded.settings, dict)
            except UserError as error:
                assert str(error).startswith(str(tmp_path)) and '\n' not in str(error)
                refused += 1
        file.write_bytes(whole)
    assert refused > 40
    report = json.loads(whole_report)
    for key, value in (
        ('labels', 7), ('labels', [['a'], 1]), ('front_end', 'x'), ('front_end', [1]), ('picture', ['a', 64]),
        ('picture', []), ('picture', [-4, 64]), ('num_classes', -1), ('num_classes', True),
        ('window_s', float('nan')), ('window_s', -1.0), ('sample_rate_hz', 0),
        ('sample_rate_hz', float('inf')),
    ):  # fmt: skip
        (tmp_path / 'conversion.json').write_text(json.dumps(report | {key: value}))
        with pytest.raises(UserError, match=f'conversion.json has no such {key}'):
            store.load(tmp_path)
    for text in ('[]', '7', '{}', '[' * 100_000, '{"title": 1}'):
        (tmp_path / 'conversion.json').write_text(text)
        with pytest.raises(UserError, match='cannot be read'):
            store.load(tmp_path)


@pytest.mark.slow
def test_a_converted_folder_whose_settings_are_not_those_of_its_parameters(tmp_path):
    """Each is one line where it is opened, or where it first hears; none waits for a million blocks."""
    store.save(convert(small('ast')), tmp_path, {'file': 'x', 'sha256': ''})
    report = json.loads((tmp_path / 'conversion.json').read_text())
    front_end = dataclasses.asdict(features.find('ast')())
    for section, change, said in (
        ('settings', {'depth': 10**6}, 'not those of the network ast.*blocks_1'),
        ('settings', {'width': 3 * 10**9}, 'not those of the network ast'),
        ('settings', {'depth': 'x'}, 'config.model.depth'),
        ('settings', {'time_stride': float('nan')}, 'config.model.time_stride'),
        ('settings', {'layer_norm_epsilon': float('nan')}, 'config.model.layer_norm_epsilon=nan'),
        ('front_end', {'n_fft': 2**25, 'frame_length': 2**25, 'sample_rate_hz': 10**9}, 'n_fft=33554432 and'),
        ('front_end', {'n_mels': 10**9}, 'n_mels=1000000000'),
        ('front_end', {'n_fft': '512'}, "config.features.n_fft='512'"),
        ('front_end', {'mean': float('nan')}, 'config.features.mean=nan'),
        ('front_end', {'boo': 1}, 'unknown key config.features.boo'),
        ('picture', None, 'hears 1000000000 frames at once'),
    ):
        own = {'settings': report['settings'], 'front_end': front_end}.get(section, {})
        value = own | change if change else [10**9, 128]
        (tmp_path / 'conversion.json').write_text(json.dumps(report | {section: value}))
        with pytest.raises(UserError, match=said) as caught:
            genre_jax.load(str(tmp_path), 'abc').label(np.ones(16000, np.float32) / 2, 16000)
        assert str(caught.value).isprintable()


# The address space of this process grows by 32 times the file at most, and 64 MB.
LIMITED = """
import pathlib, resource, sys
import tflite  # before the measure
from genre_jax.convert.read import read_checkpoint
from genre_jax.errors import UserError
path = pathlib.Path(sys.argv[1])
pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])
room = pages * resource.getpagesize() + 32 * int(sys.argv[2]) + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    read_checkpoint(path)
except UserError as error:
    print(error)
"""


def said_within_limits(path, size):
    words = [sys.executable, '-c', LIMITED, str(path), str(size)]
    ended = program.run(words, timeout=240)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize('name', ATTACKS)
def test_files_of_megabytes_stay_small(name, tmp_path):
    make, said = ATTACKS[name]
    data = make(4_000_000)
    (tmp_path / name).write_bytes(data)
    assert said in said_within_limits(tmp_path / name, len(data))


@pytest.mark.slow
def test_a_bundle_of_megabytes_stays_small(tmp_path):
    assert MANY in said_within_limits(overlapping_bundle(tmp_path, 4_000_000), 4_000_000)


def test_names_that_take_expressions_forever(refused):
    tensors = {'layer1/conv/' * 5000: SIX}
    refused(safetensors.numpy.save(tensors), 'a name of more than 1000 letters')


# --- many keys -----------------------------------------------------------------------------------


def convert(tensors):
    table = engine.recognise(tensors, tables.TABLES, 'x')
    told = {'heads': 3, 'frequency_stride': 16, 'time_stride': 16} if table.model == 'ast' else {}
    return engine.convert(tensors, table, told, 'x')


@pytest.mark.slow
@pytest.mark.parametrize(
    'key', ['layer{}.weight', 'b{}.conv_block1.conv1.weight', '{}.' + 'v.' * 300 + 'pos_embed']
)
def test_keys_are_looked_at_once(key):
    """Squared, a hundred thousand took half an hour."""
    one = np.ones(1, np.float32)
    tensors = {key.format(i): one for i in range(100_000 if len(key) < 99 else 5_000)}
    with pytest.raises(UserError, match='fits none'):
        convert(tensors)


def test_more_blocks_than_any_network_has():
    tensors = {f'v.blocks.{i}.norm1.weight': np.ones(1, np.float32) for i in range(4000)}
    marks = ('v.pos_embed', 'v.patch_embed.proj.weight', 'mlp_head.1.weight')
    with pytest.raises(UserError, match='has 4003 tensors, expected at most 4000'):
        convert(tensors | dict.fromkeys(marks, np.ones((1, 3, 64), np.float32)))


def test_blocks_of_a_single_tensor():
    """Tracing a thousand of them took a minute."""
    blocks = {f'v.blocks.{i}.norm1.weight': np.ones(192, np.float32) for i in range(1, 300)}
    with pytest.raises(UserError, match='has 300 blocks, expected at most 200'):
        convert(small('ast') | blocks)


@pytest.mark.parametrize('key', ['v.pos_embed', 'mlp_head.1.weight'])
def test_empty_tensors_announce_nothing(key):
    """They take no room in a file, and their sides may be of any length."""
    tensors, shape = small('ast'), {'v.pos_embed': (1, 0, 10**12), 'mlp_head.1.weight': (10**12, 0)}[key]
    tensors[key] = np.zeros(shape, np.float32)
    table = engine.recognise(tensors, tables.TABLES, 'x')
    named = {'config.json': {'id2label': {'0': 'a'}}}  # heads are not told: they divide the width
    with pytest.raises(UserError, match=rf'{key} has the shape .*1000000000000.*, which is empty'):
        engine.convert(tensors, table, {}, 'x', named)


# --- what is no weight of the network -------------------------------------------------------------


def small(name):
    """The tensors of a small network."""
    shapes = {
        'ast': lambda: golden.ast_shapes(64 + 2, 3, width=192, depth=1),
        'cnn6': lambda: golden.cnn_shapes((64, 128, 256, 512), 5, 1, num_classes=3),
        'mobilenet_v1': golden.mobilenet_shapes,
        'yamnet': golden.yamnet_shapes,
    }
    tensors = golden.state_dict(shapes[name]())
    if name == 'yamnet':  # which has no scales
        tensors |= {k: np.ones_like(v) for k, v in tensors.items() if k.endswith('bn.weight')}
    return tensors


KINDS = {
    'int8': lambda value: value.astype(np.int8),
    'bool': lambda value: value > 0,
    'complex64': lambda value: value.astype(np.complex64),
}


@pytest.mark.slow(but='ast')
@pytest.mark.parametrize('name', ['ast', 'cnn6', 'mobilenet_v1', 'yamnet'])
def test_each_tensor_must_be_there_and_of_its_kind(name):
    tensors = small(name)
    assert convert(tensors).model in ('ast', 'cnn14', 'mobilenet_v1', 'yamnet')
    # One of each kind: with another block's the same happens.
    for key in {re.sub(r'\d+', '', key): key for key in tensors}.values():
        value = tensors[key]
        if name == 'yamnet' and key.endswith('bn.weight'):  # left out: all are 1
            continue
        for said, change in KINDS.items():
            with pytest.raises(UserError, match=f'x: as .*: {key} holds {said}, expected floats'):
                convert(tensors | {key: change(value)})
        with pytest.raises(UserError, match='is missing|stays empty|fits none') as caught:
            convert({k: v for k, v in tensors.items() if k != key})
        assert '\n' not in str(caught.value)
        for other in (value[None], value.ravel()[0]):
            with pytest.raises(UserError, match='shape') as caught:
                convert(tensors | {key: other})
            assert '\n' not in str(caught.value)


# --- damage --------------------------------------------------------------------------------------


def whole_files(folder):
    """Yields a small file of each kind, and whether it has checksums of everything that matters."""
    numbers = np.arange(600, dtype=np.float32).reshape(20, 30)
    stored = [('a', 600, numbers.tobytes())]
    w = files.tensor(files.storage('a', 'Float', 600), 0, [20, 30], [30, 1])
    tree = files.mapping(w=w, model=files.mapping(turned=w))
    yield 'zip.pth', files.zipped(tree, stored), True
    yield 'old.pth', files.legacy(tree, stored), False
    arrays = {'c': numbers, 'f': np.asfortranarray(numbers), 'big': numbers.astype('>f8')}
    yield 'numpy.pth', files.legacy(pickle.dumps(arrays, 2)[2:-1]), False
    yield 'x.safetensors', safetensors.numpy.save({'a': SIX, 'b': numbers}), False
    with h5py.File(folder / 'whole.h5', 'w') as file:
        file['conv/kernel:0'] = SIX
        file.create_dataset('packed', data=numbers, compression='gzip')
    yield 'x.h5', (folder / 'whole.h5').read_bytes(), False
    index, (data, _) = files.bundle({'a': SIX, 'b/c': numbers}, {'a': 1, 'b/c': 1})
    (folder / 'x.data-00000-of-00001').write_bytes(data)
    yield 'x.index', index, True
    scales = {2: np.float32([1, 2]), 3: np.int64([0, 0]), 6: np.int32(0)}
    quantised = ('b', 9, np.zeros((2, 3), np.int8), scales)
    yield 'x.tflite', files.tflite([('a', 0, SIX, None), quantised]), False


@pytest.mark.slow(but='seed0')
@pytest.mark.parametrize('seed', range(6), ids='seed{}'.format)
def test_damage_is_one_line_at_most(seed, read, tmp_path):
    """Whatever is cut off or changed, the file is read or refused, and takes no more memory."""
    rng = random.Random(seed)
    for name, whole, has_sums in whole_files(tmp_path):
        path, refused = tmp_path / name, 0
        path.write_bytes(whole)
        wanted = read_checkpoint(path)
        for trial in range(150 if seed == 0 else 600):
            data = bytearray(whole)
            if trial % 3 == 0:
                del data[rng.randrange(len(data)) :]
            else:
                for _ in range(trial % 3 * 3 - 2):
                    data[rng.randrange(len(data))] = rng.randrange(256)
            try:
                found = read(data, name)
            except UserError as error:
                assert str(error).startswith(f'{path}: ') and str(error).isprintable()
                refused += 1
            else:
                assert len(data) == len(whole), f'{name} without its end was read'
                if has_sums:
                    assert list(found) == list(wanted)
                    assert all(np.array_equal(found[key], wanted[key]) for key in wanted)
        assert refused >= 50
