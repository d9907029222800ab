"""PyTorch's .pth files, the zip archive since 1.6 and the row of pickles before, without PyTorch.

Source: torch/serialization.py (_save, _legacy_save).
"""

import io
import math
import os
import pathlib
import struct
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np

from genre_jax.convert import raw_numbers, torch_pickle
from genre_jax.convert.raw_numbers import Room
from genre_jax.convert.torch_stand_ins import NumpyArray, Storage, Tensor
from genre_jax.errors import UserError

# The first object of a file of the older format.
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_WORDS = (str, bytes, bool, int, float)
_FEW = 4


class _File(io.BufferedReader):
    """Reads no more than there is: Python allocates first what zipfile finds announced, up to 4 GB."""

    def read(self, size: int = -1) -> bytes:
        """Reads some bytes, all that follow for a negative number."""
        return super().read(min(size, os.fstat(self.fileno()).st_size))


def read_zip(path: pathlib.Path, room: Room) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """Reads what torch.save writes since PyTorch 1.6, a zip archive.

    Returns arrays by dotted name, read-only, and what stands beside them: of each dictionary or list at the
    top the strings and numbers, and lists of a few of them, by name or number. Raises a UserError, without
    the file's name, where it holds other things than weights; an exception of nearly any kind where it is
    damaged.
    """
    with _File(path.open('rb', buffering=0)) as file, zipfile.ZipFile(file) as archive:
        records = archive.namelist()
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
        raw_numbers.check_stored(archive, path.stat().st_size)
        order = '<'  # written down since PyTorch 2
        if folder + 'byteorder' in records:
            order = {b'little': '<', b'big': '>'}[archive.read(folder + 'byteorder')]
        storages: dict[str, Storage] = {}
        tree = torch_pickle.load(io.BytesIO(archive.read(folder + 'data.pkl')), storages, room)
        raw = {key: archive.read(f'{folder}data/{key}') for key in storages}
    return _arrays(tree, raw, order, room), _words(tree, room)


def read_legacy(path: pathlib.Path, room: Room) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """Reads what torch.save wrote before PyTorch 1.6: five pickles, then the storages. Else as `read_zip`."""
    data = path.read_bytes()
    file = io.BytesIO(data)
    storages: dict[str, Storage] = {}

    def load() -> object:
        return torch_pickle.load(file, storages, room)

    if load() != _MAGIC:
        raise UserError('is a pickle, but none of torch.save: save its arrays as .safetensors')
    if load() != _VERSION:
        raise UserError(f'has a version of the format of PyTorch that is unknown, not {_VERSION}')
    order = '<' if load()['little_endian'] else '>'
    tree, keys = load(), load()
    position, raw = file.tell(), {}
    for key in keys:
        if type(key) is not str:
            raise ValueError('a storage whose key is no string')
        (count,) = struct.unpack_from(order + 'q', data, position)
        if count != storages[key].count:
            raise ValueError(f'storage {key} has not the size that was announced')
        start, position = position + 8, position + 8 + _size(storages[key])
        raw[key] = memoryview(data)[start:position]
    return _arrays(tree, raw, order, room), _words(tree, room)


def _words(tree: object, room: Room) -> dict[str, dict]:
    found = {}
    for name, entry in tree.items() if type(tree) is dict else ():
        if type(entry) in (list, tuple):
            room.take(Room.OBJECT * len(entry))
            entry = {str(i): each for i, each in enumerate(entry)}
        if type(entry) is dict:
            room.take(Room.OBJECT + 8 * len(entry))
            found[name] = {k: v for k, v in entry.items() if type(v) in _WORDS}
            found[name] |= {k: list(v) for k, v in entry.items() if _is_short(v)}
        if type(entry) is NumpyArray and entry.value is None:  # names are not read from one
            found[name] = {}
    return found


def _is_short(value: object) -> bool:
    """Says whether a value is a few words or numbers in a row, as the sides of a patch."""
    return type(value) in (list, tuple) and len(value) <= _FEW and all(type(v) in _WORDS for v in value)


def _size(storage: Storage) -> int:
    return storage.count * raw_numbers.DTYPES[storage.kind].itemsize


def _arrays(
    tree: object, raw: Mapping[str, bytes | memoryview], order: str, room: Room
) -> dict[str, np.ndarray]:
    """Returns a pickle's arrays by name, those of one storage in shared memory; `raw`: its bytes by key."""
    arrays: dict[str, np.ndarray] = {}
    numbers: dict[tuple[str, str], np.ndarray] = {}
    for name, value in _named(tree, room):
        if isinstance(value, NumpyArray):
            array = value.value
        else:
            storage = value.storage
            if len(raw[storage.key]) != _size(storage):
                raise ValueError(f'storage {storage.key} is cut off')
            kept = (storage.key, value.kind)
            if kept not in numbers:
                numbers[kept] = raw_numbers.decode(raw[storage.key], value.kind, order)
            array = _strided(name, value, numbers[kept])
            # Also where memory is shared: it will not be when they are laid out as parameters.
            room.take(Room.ARRAY + array.nbytes)
        if name in arrays:
            raise UserError(f'has two tensors with the name {name!r}: save them under different names')
        if array is not None:
            arrays[name] = array
    return arrays


def _strided(name: str, tensor: Tensor, numbers: np.ndarray) -> np.ndarray:
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


def _named(tree: object, room: Room) -> Iterator[tuple[str, Tensor | NumpyArray]]:
    """Yields tensors of nested dicts and lists with dotted names, as long as there is room for names."""
    pending: list[tuple[str, object]] = [('', tree)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, Tensor | NumpyArray):
            yield name, value
            continue
        room.take(8 * len(value))
        for key in reversed(value if type(value) is dict else range(len(value))):
            inner = value[key]
            if isinstance(inner, dict | list | tuple | NumpyArray) and type(inner) is not Storage:
                pending.append((f'{name}.{key}' if name else str(key), inner))
                room.take(Room.OBJECT + len(pending[-1][0]))
