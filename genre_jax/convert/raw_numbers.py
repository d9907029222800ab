"""Numbers as checkpoints store them: raw bytes, a name for their type, a shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from genre_jax.errors import UserError

_PLAIN = {
    np.dtype(name).name: np.dtype(name)
    for name in 'i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16'.split()
}
BYTES = {name: dtype.itemsize for name, dtype in _PLAIN.items()} | {'bool': 1, 'bfloat16': 2}


def decode(raw: bytes | memoryview, kind: str, order: str = '<') -> np.ndarray:
    """Reads a whole number of elements (count,) of one of BYTES that lie one behind the other.

    '<' is little-endian, '>' big-endian; the result has the machine's byte order, without a copy where
    possible, then read-only. NumPy has no bfloat16; it becomes float32, which holds each of its values
    exactly.
    """
    if kind == 'bool':
        return np.frombuffer(raw, np.uint8) != 0
    if kind == 'bfloat16':
        upper = np.frombuffer(raw, order + 'u2').astype(np.uint32)
        return (upper << 16).view(np.float32)
    dtype = _PLAIN[kind]
    return np.frombuffer(raw, dtype.newbyteorder(order)).astype(dtype, copy=False)


def shaped(
    raw: bytes | memoryview, kind: str, shape: Sequence[int], name: str, order: str = '<'
) -> np.ndarray:
    """Reads a tensor as `decode` does; nothing is allocated before its shape was checked.

    Raises a UserError where shape and bytes differ; without the file's name.
    """
    if min(shape, default=0) < 0 or math.prod(shape) * BYTES[kind] != len(raw):
        raise UserError(
            f'damaged: tensor {name} has {len(raw)} bytes for the shape {list(shape)} in {kind}: '
            'get the file again'
        )
    return decode(raw, kind, order).reshape(shape)
