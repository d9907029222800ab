"""Constants of a LiteRT (TensorFlow Lite) model, without LiteRT.

A .tflite is a flatbuffer: tables that point to tables, relative to where the pointer stands. The
few fields that are read here have kept their numbers since 2017; each access is checked against
the file's length, which generated readers leave out.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from genre_jax.convert import raw_numbers
from genre_jax.errors import UserError

IDENTIFIER = b'TFL3'  # at byte 4
_KINDS = {
    0: 'float32', 1: 'float16', 2: 'int32', 3: 'uint8', 4: 'int64', 6: 'bool', 7: 'int16',
    8: 'complex64', 9: 'int8', 10: 'float64', 11: 'complex128', 12: 'uint64', 15: 'uint32',
    16: 'uint16', 18: 'bfloat16',
}  # fmt: skip
_STRING = 5
# Tensors may share a buffer, and 8 bits become 32: more than this was made to fill the memory.
_MAX_GROWTH = 32


def read(data: bytes) -> dict[str, np.ndarray]:
    """Reads the constants of all subgraphs of a file; 8-bit numbers and such in their true scale.

    Returns arrays by the tensors' names; a tensor without a name has ''. Quantised ones are float32,
    (q - zero_point) * scale, the others as they are. Tensors of strings are left out.

    Raises a UserError, without the file's name, where two different constants have one name, or one is of a
    kind that is not read; an exception of nearly any kind where the file is damaged.
    """
    model = _Table.root(data)
    buffers = model.tables(4)
    arrays: dict[str, np.ndarray] = {}
    room, visits = _MAX_GROWTH * len(data), len(data)
    for graph in model.tables(2):
        for tensor in graph.tables(0):
            visits -= 4
            index = tensor.number(2, 'I')
            if visits < 0 or index >= len(buffers):
                raise ValueError('a tensor is without buffer, or there are too many')
            if buffers[index].number(1, 'Q') > 1:
                raise UserError('keeps constants behind the model, as those over 2 GB: not read')
            raw = buffers[index].vector(0, 'B').tobytes()
            if not raw or tensor.number(1, 'b') == _STRING:
                continue
            name, values = _constant(tensor, raw)
            room -= values.nbytes
            if room < 0:
                raise ValueError('its constants are many times larger than the file')
            if name in arrays and not np.array_equal(arrays[name], values):
                raise UserError(
                    f'has two different constants with the name {name!r}: expected a name for each'
                )
            arrays[name] = values
    return arrays


def _constant(tensor: _Table, raw: bytes) -> tuple[str, np.ndarray]:
    """Returns name and values of a tensor."""
    name = tensor.vector(3, 'B').tobytes().decode()
    kind = tensor.number(1, 'b')
    if kind not in _KINDS or tensor.table(6) is not None:
        what = 'is sparse' if kind in _KINDS else f'has the type {kind} of LiteRT'
        raise UserError(f'has the constant {name}, which {what}: not read; use a model in floats')
    shape = tensor.vector(0, 'i').tolist()
    values = raw_numbers.shaped(raw, _KINDS[kind], shape, name)
    quantised = tensor.table(4)
    if quantised is None or values.dtype.kind not in 'iu':
        return name, values
    scale, zero = quantised.vector(2, 'f'), quantised.vector(3, 'q')
    if not scale.size:
        return name, values
    if zero.size not in (0, scale.size):
        raise ValueError(f'{name} has not as many zero points as scales')
    if scale.size > 1:
        sides = [1] * values.ndim
        sides[quantised.number(6, 'i')] = scale.size
        scale, zero = scale.reshape(sides), zero.reshape(sides) if zero.size else zero
    steps = values.astype(np.float64) - (zero if zero.size else 0)
    return name, (steps * scale).astype(np.float32)


class _Table:
    """A table of a flatbuffer."""

    def __init__(self, data: bytes, position: int) -> None:
        """Opens the table at a position, in bytes."""
        self._data = data
        self._position = position
        self._fields = position - self._read('i', position)  # the table of its fields' places
        self._size = self._read('H', self._fields)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        """Returns the outermost table."""
        return cls(data, struct.unpack_from('<I', data)[0])

    def _read(self, code: str, position: int) -> int:
        if position < 0:  # which Python would count from the end
            raise ValueError('a pointer leads out of the file')
        return struct.unpack_from('<' + code, self._data, position)[0]

    def _place(self, field: int) -> int | None:
        """Returns where a field lies, None where it has its default."""
        entry = 4 + 2 * field
        offset = self._read('H', self._fields + entry) if entry < self._size else 0
        return self._position + offset if offset else None

    def _target(self, place: int) -> int:
        return place + self._read('I', place)

    def number(self, field: int, code: str) -> int:
        """Returns a number, 0 if it is left out; `code` is that of struct."""
        place = self._place(field)
        return 0 if place is None else self._read(code, place)

    def table(self, field: int) -> _Table | None:
        """Returns the table that a field points to."""
        place = self._place(field)
        return None if place is None else _Table(self._data, self._target(place))

    def vector(self, field: int, code: str) -> np.ndarray:
        """Returns the numbers of a vector, (count,); none if it is left out."""
        place = self._place(field)
        dtype = np.dtype('<' + code)
        if place is None:
            return np.zeros(0, dtype)
        start = self._target(place)
        return np.frombuffer(self._data, dtype, self._read('I', start), start + 4)

    def tables(self, field: int) -> _Tables:
        """Returns the tables of a vector of pointers."""
        place = self._place(field)
        start = 0 if place is None else self._target(place)
        count = 0 if place is None else self._read('I', start)
        return _Tables(self._data, start + 4, count)


class _Tables:
    """A vector of tables, which are opened when they are asked for."""

    def __init__(self, data: bytes, start: int, count: int) -> None:
        if start + 4 * count > len(data):
            raise ValueError('a vector is longer than the file')
        self._data, self._start, self._count = data, start, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> _Table:
        place = self._start + 4 * index
        return _Table(self._data, place + struct.unpack_from('<I', self._data, place)[0])

    def __iter__(self) -> Iterator[_Table]:
        return (self[i] for i in range(self._count))
