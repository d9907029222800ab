"""Weights read without their frameworks against PyTorch and LiteRT, and musicnn's checkpoints.

Run by `make parity`, which installs them; `make test` leaves this folder out.
"""

import argparse
import collections
import os
import pathlib
import random
import zipfile

import numpy as np
import pytest
import torch

from genre_jax import program
from genre_jax.convert import fetch
from genre_jax.convert.read import read_checkpoint
from genre_jax.errors import UserError
from tests.program import DATA

DTYPES = (
    'float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool '
    'complex64 complex128'
)
FORMATS = pytest.mark.parametrize('as_zip', [True, False])


def save(tree, path, as_zip, **options):
    torch.save(tree, path, _use_new_zipfile_serialization=as_zip, **options)
    return path


def flat(tree, name=''):
    """Yields the tensors and arrays of nested dicts and lists, with dotted names."""
    if isinstance(tree, torch.Tensor | np.ndarray):
        yield name.removeprefix('.'), tree
    elif isinstance(tree, dict | list | tuple):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from flat(value, f'{name}.{key}')


def assert_as_torch(path):
    """Compares with torch.load, bit for bit."""
    wanted = dict(flat(torch.load(path, 'cpu', weights_only=False)))
    found = read_checkpoint(path)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        if isinstance(value, torch.Tensor):
            value = value.detach()
            value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        np.testing.assert_array_equal(found[name], value, strict=True)
    return found


@FORMATS
@pytest.mark.parametrize('protocol', [2, 4])
def test_types_and_views(as_zip, protocol, tmp_path):
    generator = torch.Generator().manual_seed(0)
    tree = {}
    # PyTorch writes the wide unsigned types in its older format too, but cannot read them there.
    for kind in DTYPES.split() if as_zip else set(DTYPES.split()) - {'uint16', 'uint32', 'uint64'}:
        values = 100 * torch.randn(3, 4, 5, generator=generator)
        values = (values.abs() if 'u' in kind else values).to(getattr(torch, kind))
        tree[kind] = {
            'whole': values,
            'turned': values.permute(2, 0, 1),
            'part': values[1:, ::2, 3],
            'scalar': values[2, 3, 4],
            'nothing': values[:, :0],
        }
    image = torch.randn(2, 3, 4, 5, generator=generator)
    tree['channels_last'] = image.to(memory_format=torch.channels_last)
    assert_as_torch(save(tree, tmp_path / 'types.pth', as_zip, pickle_protocol=protocol))


@FORMATS
def test_checkpoints_of_training_scripts(as_zip, tmp_path):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.PReLU()
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    model(torch.randn(2, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    noted = torch.nn.Parameter(torch.ones(3))
    noted.decay = False
    bare = torch.ones(2)
    bare.decay = True
    tree = {
        'epoch': 7,
        'model': model.state_dict(),
        'tied': [layers[0].weight, layers[0].weight],
        'optimizer': optimizer.state_dict(),
        'schedule': schedule.state_dict(),
        'args': argparse.Namespace(lr=1e-3, out=pathlib.Path('runs')),
        'val_acc': np.float64(0.81),
        'iteration': np.int64(5),
        'mean': np.arange(4, dtype=np.float32),
        'steps': collections.defaultdict(list),
        'device': torch.device('cpu'),
        'shape': layers[0].weight.shape,
        'type': torch.float32,
        'version': torch.__version__,
        'classes': {'rock', 'pop'},
        'noted': noted,
        'bare': bare,
    }
    found = assert_as_torch(save(tree, tmp_path / 'last.pth', as_zip))
    assert {'model.0.weight', 'optimizer.state.0.exp_avg', 'noted', 'mean'} <= found.keys()


def test_a_single_tensor_has_no_name(tmp_path):
    assert list(assert_as_torch(save(torch.ones(2), tmp_path / 'one.pth', True))) == ['']


class Touch:
    """Whoever unpickles it runs a shell."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


class Dictionary(collections.OrderedDict):
    """A dictionary with a constructor of its own."""


@FORMATS
def test_programs_are_not_run(as_zip, tmp_path):
    marker, path = tmp_path / 'ran', tmp_path / 'evil.pth'
    evil = Touch(marker)
    hidden = torch.nn.Parameter(torch.ones(1))
    hidden.note = evil
    state = torch.nn.Linear(2, 2).state_dict()
    state._metadata = {'': evil}
    for tree in evil, {'model': {'layers': [{'w': evil}]}}, {'w': hidden}, state:
        save(tree, path, as_zip)
        torch.load(path, weights_only=False)  # the control: PyTorch would run it
        assert marker.exists()
        marker.unlink()
        with pytest.raises(UserError, match=r'evil.pth: asks to run posix.system: a program.*not run'):
            read_checkpoint(path)
        assert not marker.exists()


@FORMATS
@pytest.mark.parametrize(
    ('tree', 'said'),
    [
        (torch.nn.Linear(2, 2), 'run torch.nn.modules.linear.Linear: .* save model.state_dict'),
        (Dictionary(w=torch.ones(1)), 'run .*Dictionary'),
        ({'w': torch.eye(3).to_sparse()}, 'run torch._utils._rebuild_sparse_tensor'),
        ({'w': torch.ones(2).expand(9, 2)}, 'repeats its values'),
        ({'w': torch.ones(2, dtype=torch.complex64).conj()}, 'resolve_conj'),
        ({(1, 2): torch.ones(2)}, 'key is a tuple'),
    ],
)
def test_what_is_refused(as_zip, tree, said, tmp_path):
    with pytest.raises(UserError, match=said):
        read_checkpoint(save(tree, tmp_path / 'w.pth', as_zip))


def test_torchscript_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / 'w.pt')
    with pytest.raises(UserError, match='is a TorchScript program'):
        read_checkpoint(tmp_path / 'w.pt')


@FORMATS
def test_damage_is_one_line_at_most(as_zip, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(model.parameters())
    tree = {'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'acc': np.float64(1)}
    path = save(tree, tmp_path / 'w.pth', as_zip)
    whole, rng, refused = path.read_bytes(), random.Random(0), 0
    for trial in range(300):
        data = bytearray(whole)
        if trial % 3 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(trial % 3):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            read_checkpoint(path)
        except UserError as error:
            assert str(error).startswith(f'{path}: ') and str(error).isprintable()
            refused += 1
        else:
            assert trial % 3, 'read without its end'
    assert refused > 100


@pytest.mark.parametrize('name', ['MTT_musicnn', 'MSD_musicnn', 'MTT_vgg', 'MSD_vgg'])
def test_musicnns_checkpoints(name, tmp_path):
    """Files that TensorFlow wrote: their checksums hold, and all of their data has a name."""
    fetch.fetch('musicnn_msd')
    with zipfile.ZipFile(program.cache() / fetch.PUBLISHED['musicnn_msd'].file) as wheel:
        wheel.extractall(
            tmp_path, [entry for entry in wheel.namelist() if entry.startswith(f'musicnn/{name}/')]
        )
    folder = tmp_path / 'musicnn' / name
    found = read_checkpoint(folder)
    data = folder / '.data-00000-of-00001'
    assert sum(array.nbytes for array in found.values()) == data.stat().st_size
    assert {array.dtype.name for array in found.values()} == {'float32'}
    if name == 'MTT_vgg':  # the published network of five layers
        kernels = {key: array for key, array in found.items() if key.endswith('kernel')}
        assert kernels['1CNN/kernel'].shape == (3, 3, 1, 128)
    for key, array in found.items():
        assert np.isfinite(array).all()
        if key.endswith('moving_variance'):
            assert array.min() > 0


def test_yamnets_constants_are_those_that_litert_reads():
    from ai_edge_litert import schema_py_generated as schema

    path = DATA / 'weights/yamnet/yamnet.tflite'
    if not path.exists():
        pytest.skip(f'no {path}: set GENRE_JAX_DATA')
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    kinds = {getattr(schema.TensorType, k): k.lower() for k in ('INT8', 'INT32', 'FLOAT32')}
    wanted = {}
    for tensor in model.subgraphs[0].tensors:
        buffer = model.buffers[tensor.buffer].data
        if buffer is None:
            continue
        values = np.asarray(buffer, np.uint8).view(kinds[tensor.type]).reshape(tensor.shape)
        scale = tensor.quantization.scale if tensor.quantization else None
        if scale is not None and len(scale):
            sides = np.ones(values.ndim, int)
            sides[tensor.quantization.quantizedDimension] = len(scale)
            zero = np.asarray(tensor.quantization.zeroPoint).reshape(sides)
            values = (values - zero.astype(np.float64)) * np.reshape(scale, sides)
            values = values.astype(np.float32)
        wanted[tensor.name.decode()] = values
    found = read_checkpoint(path)
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, strict=True)
