"""PyTorch's .pth files, the zip archive since 1.6 and the row of pickles before, without PyTorch.

Source: torch/serialization.py (_save, _legacy_save).
"""

from __future__ import annotations

import io
import math
import pathlib
import struct
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np

from genre_jax.convert import raw_numbers, torch_pickle, torch_stand_ins
from genre_jax.errors import UserError

# The first object of a file of the older format.
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
# Beyond these a file is made to fill the memory: dictionaries may hold each other many times.
_MAX_DEPTH = 50
_MAX_VALUES = 1_000_000
_MAX_NAME = 1000


def read_zip(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads what torch.save writes since PyTorch 1.6, a zip archive: arrays by dotted name, read-only.

    Raises a UserError, without the file's name, where it holds other things than weights; an exception of
    nearly any kind where it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: info for info in archive.infolist()}
        held = sum(info.compress_size for info in records.values())
        if held > path.stat().st_size:
            raise ValueError('its records overlap')
        pickles = [name for name in records if name.count('/') == 1 and name.endswith('/data.pkl')]
        if len(pickles) != 1:
            raise UserError(
                'is a zip archive, but none of torch.save, which holds one */data.pkl: '
                'unpack it, and give the file of weights within'
            )
        folder = pickles[0].removesuffix('data.pkl')
        if folder + 'constants.pkl' in records:
            raise UserError(
                'is a TorchScript program, not only weights: '
                'save torch.jit.load(...).state_dict() where you trust its author'
            )

        def record(name: str) -> bytes:
            info = records[folder + name]
            # torch.save never compresses, so no record can be larger than the file.
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise ValueError(f'{name} is compressed, which torch.save never does')
            return archive.read(info)

        order = '<'  # written down since PyTorch 2
        if folder + 'byteorder' in records:
            order = {b'little': '<', b'big': '>'}[record('byteorder')]
        storages: dict[str, torch_stand_ins.Storage] = {}
        tree = torch_pickle.load(io.BytesIO(record('data.pkl')), storages)
        return _arrays(tree, {key: record(f'data/{key}') for key in storages}, order)


def read_legacy(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads what torch.save wrote before PyTorch 1.6: five pickles, then the storages. Else as `read_zip`."""
    data = path.read_bytes()
    file = io.BytesIO(data)
    storages: dict[str, torch_stand_ins.Storage] = {}
    if torch_pickle.load(file, storages) != _MAGIC:
        raise UserError('is a pickle, but none of torch.save: save its arrays as .safetensors')
    version, system = (torch_pickle.load(file, storages) for _ in range(2))
    if version != _VERSION:
        raise UserError(f'has a version of the format of PyTorch that is unknown, not {_VERSION}')
    order = '<' if system['little_endian'] else '>'
    tree, keys = (torch_pickle.load(file, storages) for _ in range(2))
    position, raw = file.tell(), {}
    for key in keys:
        if type(key) is not str:
            raise ValueError('a storage whose key is no string')
        (count,) = struct.unpack_from(order + 'q', data, position)
        if count != storages[key].count:
            raise ValueError(f'storage {key} has not the size that was announced')
        start, position = position + 8, position + 8 + _size(storages[key])
        raw[key] = memoryview(data)[start:position]
    return _arrays(tree, raw, order)


def _size(storage: torch_stand_ins.Storage) -> int:
    return storage.count * raw_numbers.BYTES[storage.kind]


def _arrays(
    tree: object, raw: Mapping[str, bytes | memoryview], order: str
) -> dict[str, np.ndarray]:
    """Turns what a pickle held into arrays by name; those of one storage share memory.

    `raw` holds the bytes of each storage by key, in the order '<' or '>'.
    """
    arrays: dict[str, np.ndarray] = {}
    numbers: dict[tuple[str, str], np.ndarray] = {}
    for name, value in _named(tree):
        if isinstance(value, torch_stand_ins.NumpyArray):
            array = value.value
        else:
            storage = value.storage
            if len(raw[storage.key]) != _size(storage):
                raise ValueError(f'storage {storage.key} is cut off')
            kept = (storage.key, value.kind)
            if kept not in numbers:
                numbers[kept] = raw_numbers.decode(raw[storage.key], value.kind, order)
            array = _strided(name, value, numbers[kept])
        if name in arrays:
            raise UserError(
                f'has two tensors with the name {name!r}: save them under different names'
            )
        if array is not None:
            arrays[name] = array
    return arrays


def _strided(name: str, tensor: torch_stand_ins.Tensor, numbers: np.ndarray) -> np.ndarray:
    """Cuts a tensor out of its storage (count,), without a copy."""
    count = math.prod(tensor.shape)
    if len(tensor.strides) != len(tensor.shape):
        raise ValueError(f'{name} has not as many strides as sides')
    if count == 0:
        return np.zeros(tensor.shape, numbers.dtype)
    if tensor.kind == tensor.storage.kind:  # else the storage is untyped, and never a view
        first = tensor.storage.first
        numbers = numbers[first : first + tensor.storage.size]
    reach = [(n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True)]
    if tensor.offset + sum(reach) >= len(numbers):
        raise ValueError(f'{name} reaches beyond its storage')
    if count > len(numbers):
        # A few bytes with strides of 0 could announce more values than fit into any memory.
        raise UserError(f'repeats its values in tensor {name!r}: save tensor.contiguous() instead')
    step = numbers.itemsize
    strides = [stride * step for stride in tensor.strides]
    array = np.ndarray(tensor.shape, numbers.dtype, numbers, tensor.offset * step, strides)
    array.flags.writeable = False
    return array


def _named(
    tree: object,
) -> Iterator[tuple[str, torch_stand_ins.Tensor | torch_stand_ins.NumpyArray]]:
    """Yields the tensors of nested dicts and lists in order, with their dotted names."""
    pending: list[tuple[str, object, int]] = [('', tree, 0)]
    seen = 0
    while pending:
        name, value, depth = pending.pop()
        if isinstance(value, torch_stand_ins.Tensor | torch_stand_ins.NumpyArray):
            yield name, value
            continue
        items = list(value.items() if type(value) is dict else enumerate(value))
        seen += len(items)
        if seen > _MAX_VALUES or depth > _MAX_DEPTH or len(name) > _MAX_NAME:
            raise UserError('is nested too deep, or holds too much: save model.state_dict() alone')
        for key, inner in reversed(items):
            if isinstance(inner, dict | list | tuple | torch_stand_ins.NumpyArray):
                if not isinstance(inner, torch_stand_ins.Storage):
                    pending.append((f'{name}.{key}' if name else str(key), inner, depth + 1))
