"""TensorFlow's checkpoints (`X.index` with `X.data-00000-of-00001`), which no library but TensorFlow reads.

The index is a sorted table as LevelDB writes it: blocks of keys and values, each key without what it shares
with the one before. Its values are protocol buffers, which say where each tensor lies in the data.

Source: tensorflow/core/lib/io/table_format.txt, tensorflow/core/protobuf/tensor_bundle.proto.
"""

import pathlib
import struct
from collections.abc import Iterator

import google_crc32c
import numpy as np
from google.protobuf import empty_pb2, unknown_fields

from genre_jax.convert import raw_numbers
from genre_jax.convert.raw_numbers import Room
from genre_jax.errors import UserError

MAGIC = 0xDB4775248B80FB57.to_bytes(8, 'little')
_FOOTER = 48
_MAX_NAME = 1000
_STRING = 7
_KINDS = {
    1: 'float32', 2: 'float64', 3: 'int32', 4: 'uint8', 5: 'int16', 6: 'int8', 8: 'complex64',
    9: 'int64', 10: 'bool', 14: 'bfloat16', 17: 'uint16', 18: 'complex128', 19: 'float16',
    22: 'uint32', 23: 'uint64',
}  # fmt: skip
_INSTEAD = 'read it there with tf.train.load_checkpoint and save its arrays as .safetensors'


def read(path: pathlib.Path, room: Room) -> dict[str, np.ndarray]:
    """Reads all tensors of numbers of a checkpoint, and checks their sums; the data lie beside the index.

    Returns arrays by name, read-only. Tensors of strings, such as the graph of a Keras model, are left out. A
    UserError, without the file's name, where a file is missing or cut off, or of a kind that is not read; an
    exception of nearly any kind where it is damaged.
    """
    entries = _table(path.read_bytes())
    header = dict(_fields(next(entries, (b'', b''))[1]))
    if isinstance(header.get(1), bytes):
        raise UserError(f'is a TensorFlow checkpoint of version 1: {_INSTEAD}')
    order = '>' if header.get(2, 0) else '<'
    shards, prefix = header.get(1, 0), path.name.removesuffix('.index')
    data: dict[int, memoryview] = {}
    arrays = {}
    for key, value in entries:
        name, entry = key.decode(), dict(_fields(value))
        kind = entry.get(1, 0)
        if kind == _STRING:
            continue
        if kind not in _KINDS or 7 in entry:
            what = 'is kept in slices' if 7 in entry else f'has the type {kind} of TensorFlow'
            raise UserError(
                f'has the tensor {name}, which {what}: expected whole tensors of numbers; {_INSTEAD}'
            )
        shard = entry.get(3, 0)
        if shard not in data:
            file = path.with_name(f'{prefix}.data-{shard:05d}-of-{shards:05d}')
            if not file.is_file():
                raise UserError(f'has its tensors in {file.name}, which is missing: put it beside')
            data[shard] = memoryview(file.read_bytes())
            room.add(len(data[shard]))
        start, size = entry.get(4, 0), entry.get(5, 0)
        raw = data[shard][start : start + size]
        if len(raw) != size or _masked_sum(raw) != entry.get(6, 0):
            state = 'cut off' if len(raw) != size else 'damaged'
            raise UserError(f'has its tensors in a data file that is {state}: get it again')
        sides = [side for number, side in _fields(entry.get(2, b'')) if number == 2]
        shape = [dict(_fields(side)).get(1, 0) for side in sides]
        arrays[name] = raw_numbers.shaped(raw, _KINDS[kind], shape, name, room, order)
    return arrays


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a sorted table."""
    footer = data[-_FOOTER:]
    position = 0
    for _ in range(2):  # the block of properties, which is empty, then that of blocks
        offset, position = _varint(footer, position)
        size, position = _varint(footer, position)
    last, end = None, 0
    for _, handle in _block(data, offset, size):
        inner, position = _varint(handle, 0)
        inner_size, _ = _varint(handle, position)
        if inner < end:
            raise ValueError('its blocks overlap')
        end = inner + inner_size
        for key, value in _block(data, inner, inner_size):
            if last is not None and key <= last:
                raise ValueError('its keys are not in order')
            last = key
            yield key, value


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of one block: entries, then the starts of some, and their count."""
    block = data[offset : offset + size]
    compression, total = struct.unpack_from('<BI', data, offset + size)
    if _masked_sum(data[offset : offset + size + 1]) != total:
        raise ValueError('the checksum of a block is wrong')
    if compression:
        raise UserError(f'is a compressed table, which TensorFlow writes only in version 1: {_INSTEAD}')
    (restarts,) = struct.unpack_from('<I', block, size - 4)
    end, position, key = size - 4 - 4 * restarts, 0, b''
    while position < end:
        shared, position = _varint(block, position)
        own, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or shared + own > _MAX_NAME or position + own + length > end:
            raise ValueError('an entry of a block is longer than the block')
        key = key[:shared] + block[position : position + own]
        position += own + length
        yield key, block[position - length : position]


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads a number of 7 bits a byte, the lowest first; returns it and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError('a number has no end')


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yields the fields of a protocol buffer of any kind: number, and a number or bytes."""
    parsed = empty_pb2.Empty.FromString(message)
    return ((field.field_number, field.data) for field in unknown_fields.UnknownFieldSet(parsed))


def _masked_sum(data: bytes | memoryview) -> int:
    """Computes the CRC-32C as LevelDB stores it: rotated, with a constant added."""
    total = google_crc32c.value(bytes(data))
    return ((total >> 15 | total << 17) + 0xA282EAD8) & 0xFFFFFFFF
