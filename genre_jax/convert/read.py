"""Reads published weights of other frameworks, none of which is needed for it.

The kind is found from the content. Files come from anywhere, so nothing in them is run, sizes are
checked before memory is taken, and whatever is wrong with a file is one line.
"""

import codecs
import collections
import contextlib
import difflib
import hashlib
import json
import math
import pathlib
import re
from collections.abc import Iterator

import h5py
import numpy as np
import safetensors

from genre_jax.convert import raw_numbers, tensorflow_bundle, tflite_file, torch_file
from genre_jax.convert.raw_numbers import Room
from genre_jax.errors import UserError

_EXPECTED = (
    'expected a .pth of PyTorch, .safetensors, .h5 of Keras, a checkpoint of TensorFlow '
    '(.index and .data-00000-of-00001) or .tflite'
)
# What is often downloaded in place of weights: its first bytes, and what to do.
_OTHERS = {
    b'version https://git-lfs': 'is a pointer of Git LFS, not the weights: run `git lfs pull`',
    b'\x1f\x8b': 'is a gzip archive: unpack it, and give the file of weights within',
    b'BZh': 'is a bzip2 archive: unpack it, and give the file of weights within',
    b'\xfd7zXZ': 'is an xz archive: unpack it, and give the file of weights within',
    b'\x93NUMPY': 'is a single array of NumPy, without the names of the weights',
}
_OF_FOLDERS = ('.index', '.safetensors', '.bin', '.pt', '.pth', '.ckpt', '.h5', '.tflite')
# Those of transformers, in the order in which it looks for them; an index names several files.
_INDEX = '.index.json'
_OF_TRANSFORMERS = tuple(
    name + end for name in ('model.safetensors', 'pytorch_model.bin') for end in ('', _INDEX)
)
_MAX_INDEX_BYTES = 1 << 24
# What transformers keeps of a training beside the weights.
_OF_TRAINING = ('training_args.bin', 'optimizer.pt', 'optimizer.bin', 'scheduler.pt', 'rng_state.pth')
_HEAD = 512
_MAX_NAME = 1000
_SAFETENSORS = 'BOOL U8 I8 U16 I16 U32 I32 U64 I64 F16 BF16 F32 F64 C64'.split()


def read_checkpoint(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads all arrays of numbers of a checkpoint.

    `path` is a .pth of PyTorch (both formats), .safetensors, .h5 of Keras, .tflite, or a checkpoint of
    TensorFlow: its .index, or that without the suffix. A folder with a single one of them will do, and that
    of a model of transformers, of weights in several files with the index of these, too.

    Returns arrays by name, many of them read-only, and with shared memory where the file shares it.
    bfloat16 becomes float32, which holds it exactly; all else keeps its type. Names are
    - PyTorch: dicts and lists within each other have dotted names, 'model.conv1.weight',
      'optimizer.state.0.exp_avg'; a single tensor has ''. What is no array is left out.
    - Keras: the path of the dataset, 'conv/conv/kernel:0'.
    - LiteRT: the constants by their tensors' names, quantised ones as float32.

    Raises a UserError, one line that names the file, where it is missing, cut off, damaged, of another kind,
    asks to run a program, unfolds to many times its size, or holds no array; of a folder, where two files of
    transformers hold other weights.
    """
    return read_with_words(path)[0]


def read_with_words(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """Reads a checkpoint as `read_checkpoint`; returns what a .pth says beside its arrays, too.

    That is, of each dictionary or list at its top, by its name, the strings and numbers, by name or number.
    """
    try:
        folder = path if path.is_dir() else None
        path = _find(path)
        arrays, words = _read_all(path)
        if folder and path.name in _OF_TRANSFORMERS:
            _check_others(folder, path, arrays)
        # Expressions are matched with names; the time for one grows with its length squared.
        if any(len(name) > _MAX_NAME for name in arrays):
            raise UserError(f'has a tensor with a name of more than {_MAX_NAME} letters')
    except UserError as error:
        raise UserError(f'{path}: {raw_numbers.one_line(str(error))}') from error
    except PermissionError as error:
        raise UserError(f'{path}: cannot be read: ask its owner for the right to') from error
    # Damaged content makes pickletools, zipfile, struct, json, numpy and h5py raise nearly anything.
    except Exception as error:
        what = raw_numbers.one_line(f'{type(error).__name__}: {error}')
        raise UserError(f'{path}: damaged or cut off ({what}): get the file again') from error
    if not arrays:
        raise UserError(f'{path}: holds no arrays; expected the weights of a model')
    arrays = {
        name: array.astype(np.float32) if array.dtype == raw_numbers.BFLOAT16 else array
        for name, array in arrays.items()
    }
    return arrays, words


def weights_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files of weights in a folder; of those that transformers writes the one it reads."""
    for name in _OF_TRANSFORMERS:
        if (folder / name).is_file():
            return [folder / name]
    return sorted(
        file for file in folder.iterdir() if file.name.endswith(_OF_FOLDERS) and file.name not in _OF_TRAINING
    )


def near(path: pathlib.Path) -> str:
    """Returns '; did you mean X?' for what lies beside a path that is not there, most like it, or ''."""
    names: list[str] = []
    with contextlib.suppress(OSError):  # no such folder either, or none that may be looked into
        names = [each.name for each in path.parent.iterdir()]
    close = difflib.get_close_matches(path.name, names, 1)
    return f'; did you mean {str(path.with_name(close[0]))!r}?' if close else ''


def _find(path: pathlib.Path) -> pathlib.Path:
    """Returns the file to read: of a folder its only one, of a checkpoint of TensorFlow the index."""
    if path.is_dir():
        found = weights_in(path)
        if len(found) != 1:
            names = f' ({", ".join(file.name for file in found[:3])}, ...)' if found else ''
            pieces = found and all(re.search(r'-\d{5}-of-\d{5}\.', file.name) for file in found)
            remedy = f'get their index, *{_INDEX}, too' if pieces else 'give the file to read'
            raise UserError(
                f'is a folder with {len(found)} files of weights{names}, expected a single one '
                f'({" ".join(_OF_FOLDERS)}): {remedy}'
            )
        return found[0]
    index = path.with_name(path.name + '.index')
    if not path.exists() and index.is_file():
        return index
    if not path.exists():
        hint = near(path) or '; give the file of weights that you downloaded'
        raise UserError(f'no such file{hint}')
    if not path.is_file():
        raise UserError(f'is no ordinary file; {_EXPECTED}')
    return path


def _read_all(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """Reads a file of weights, or all that an index of transformers names."""
    if not path.name.endswith(_INDEX):
        return _read(path)
    with path.open('rb') as file:
        index = json.loads(file.read(_MAX_INDEX_BYTES))
    places = index.get('weight_map') if isinstance(index, dict) else None
    if not (isinstance(places, dict) and all(isinstance(name, str) for name in places.values())):
        raise UserError('has no weight_map from tensors to names of files: get it again')
    if outside := [name for name in places.values() if pathlib.Path(name).name != name]:
        raise UserError(f'names {outside[0]!r}, which is no file beside it: it is not opened')
    arrays, keys_of = {}, collections.defaultdict(set)
    for key, name in places.items():
        keys_of[name].add(key)
    for name, own in sorted(keys_of.items()):
        file = path.with_name(name)
        if not file.is_file():
            raise UserError(f'names the file {name}, which is not beside it: get that, too')
        try:
            found, _ = _read(file)
        except UserError as error:
            raise UserError(f'names {name}, which {error}') from None
        if odd := sorted(own ^ found.keys()):
            there = 'lacks it' if odd[0] in own else 'holds it all the same'
            told = 'says' if odd[0] in own else 'does not say'
            raise UserError(
                f'{told} that tensor {odd[0]} is in {name}, which {there}: they are of two models'
            )
        arrays |= found
    return arrays, {}


def _check_others(folder: pathlib.Path, read: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Refuses a folder with weights in transformers' other format, too, that are not those that were read."""
    own = read.name.removesuffix(_INDEX)
    for other in (folder / name for name in _OF_TRANSFORMERS if name.removesuffix(_INDEX) != own):
        if not other.is_file():
            continue
        try:
            there, _ = _read_all(other)
        # What is damaged, or a pointer of Git LFS, says nothing, and nothing is taken of it.
        except Exception:
            continue
        # By their values: versions of transformers call them differently.
        if _values(there) != _values(arrays):
            raise UserError(
                f'{other.name} beside it holds other weights: delete one of both, or give the file to read'
            )


def _values(arrays: dict[str, np.ndarray]) -> set[tuple[tuple[int, ...], bytes]]:
    """Returns shapes and digests of the floats among arrays; of what they share one."""
    floats = [value.astype(np.float32) for value in arrays.values() if value.dtype.kind in 'fV']
    return {(value.shape, hashlib.sha256(np.ascontiguousarray(value)).digest()) for value in floats}


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """Finds the kind of a file from its content, and reads it."""
    size = path.stat().st_size
    if not size:
        raise UserError(f'is empty: get it again; {_EXPECTED}')
    with path.open('rb') as file:
        head = file.read(_HEAD)
        file.seek(max(0, size - len(tensorflow_bundle.MAGIC)))
        end = file.read()
    room = Room(size)
    if head.startswith(b'PK\x03\x04'):
        return torch_file.read_zip(path, room)
    if head.startswith(b'\x89HDF\r\n\x1a\n'):
        return _hdf5(path, room), {}
    if head[4:8] == tflite_file.IDENTIFIER:
        return tflite_file.read(path.read_bytes(), room), {}
    if head[:1] == b'\x80' and head[1:2] in b'\x02\x03\x04\x05':
        return torch_file.read_legacy(path, room)
    if end == tensorflow_bundle.MAGIC:
        return tensorflow_bundle.read(path, room), {}
    # The length of the header, less than 4 GB, and the header, which is JSON.
    if head[4:9] == b'\0\0\0\0{':
        return _safetensors(path, room), {}
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            raise UserError(what)
    if head[257:262] == b'ustar':
        raise UserError('is a tar archive: unpack it, and give the file of weights within')
    if _is_text(head):
        kind = 'a web page' if head.lstrip(b'\xef\xbb\xbf \t\r\n')[:1] == b'<' else 'text'
        raise UserError(
            f'is {kind}, not weights; it begins with {head[:40]!r}: the download failed, get it again'
        )
    if path.name.endswith('.index'):
        raise UserError('is no whole index of a TensorFlow checkpoint: cut off; get it again')
    if '.data-0' in path.name:
        raise UserError('looks like the data of a TensorFlow checkpoint: give its .index instead')
    raise UserError(f'is of an unknown kind; it begins with {head[:8].hex(" ")}; {_EXPECTED}')


def _is_text(head: bytes) -> bool:
    try:  # the end of the piece may cut a character in two
        text = codecs.getincrementaldecoder('utf-8')().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(c.isprintable() or c.isspace() or c == '\ufeff' for c in text)


def _safetensors(path: pathlib.Path, room: Room) -> dict[str, np.ndarray]:
    """Reads a .safetensors; its library checks that the tensors lie side by side, and fill the file."""
    arrays = {}
    with safetensors.safe_open(path, 'numpy') as file:
        for name in file.keys():
            room.take(Room.ARRAY + len(name))
            kind = file.get_slice(name).get_dtype()
            if kind not in _SAFETENSORS:
                known = ', '.join(_SAFETENSORS)
                raise UserError(f'has tensor {name} of type {kind}; expected one of {known}')
            arrays[name] = file.get_tensor(name)
    return arrays


def _hdf5(path: pathlib.Path, room: Room) -> dict[str, np.ndarray]:
    """Reads the datasets of numbers of an HDF5 file, and of no other file."""
    arrays = {}
    with h5py.File(path) as file:
        for name, dataset in _datasets(file, room):
            if dataset.shape is None or dataset.dtype.kind not in 'biufc':
                continue
            if dataset.is_virtual or dataset.external:
                raise UserError(f'has dataset {name} in another file, which is never opened')
            # Where nothing is stored HDF5 fills in zeros.
            count = math.prod(dataset.shape)
            if count and not dataset.id.get_storage_size():
                raise ValueError(f'dataset {name} is larger than what is stored of it')
            # One chunk is unpacked as a whole, also where the dataset is smaller.
            room.take(max(count, math.prod(dataset.chunks or ())) * dataset.dtype.itemsize)
            arrays[name] = np.asarray(dataset[()], dataset.dtype.newbyteorder('='))
    return arrays


def _datasets(file: h5py.File, room: Room) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields each dataset once, with its path; links within the file are other names for one.

    (`visititems` of h5py names no links, and goes from group to group on C's small stack.)
    """
    pending: list[tuple[str, h5py.Group]] = [('', file)]
    seen = {h5py.h5o.get_info(file.id).addr}
    while pending:
        prefix, group = pending.pop()
        for key in group:
            room.take(Room.ARRAY + len(prefix) + len(key))
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise UserError(f'has {prefix}{key} in another file, which is never opened')
            if not isinstance(link, h5py.HardLink):
                continue
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append((f'{prefix}{key}/', item))
            elif isinstance(item, h5py.Dataset):
                yield f'{prefix}{key}', item
