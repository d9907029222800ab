"""Numbers as checkpoints store them, and how much memory those of a file may take."""

import math
import zipfile
from collections.abc import Sequence

import ml_dtypes  # with which NumPy knows bfloat16
import numpy as np

from genre_jax.errors import UserError, printable

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_NAMES = 'bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128'
DTYPES = {name: np.dtype(name) for name in _NAMES.split()} | {'bfloat16': BFLOAT16}


class Room:
    """Memory that the content of a file may take: 16 times its size and 1 MiB.

    Numbers of 8 bits become float32, and weights may have some names each; more than that was made to fill
    the memory. Readers ask before they allocate.
    """

    # Estimates of what Python takes for an array beside its numbers, and for a small object.
    ARRAY, OBJECT = 256, 64

    def __init__(self, file_bytes: int) -> None:
        """Makes room for a file's content."""
        self._left = 1 << 20
        self.add(file_bytes)

    def add(self, file_bytes: int) -> None:
        """Makes room for the content of a further file."""
        self._left += 16 * file_bytes

    def take(self, n_bytes: int) -> None:
        """Takes some; a UserError, without the file's name, where it is not there."""
        self._left -= n_bytes
        if self._left < 0:
            raise UserError(
                'unfolds to many times its size: expected weights alone, each of them stored once'
            )


def decode(raw: bytes | memoryview, kind: str, order: str = '<') -> np.ndarray:
    """Reads a whole number of elements (count,) of one of DTYPES that lie one behind the other.

    '<' is little-endian, '>' big-endian; the result has the machine's byte order, without a copy where
    possible, then read-only.
    """
    if kind == 'bool':
        return np.frombuffer(raw, np.uint8) != 0
    numbers = np.frombuffer(raw, DTYPES[kind])
    return numbers if np.dtype(f'{order}u2').isnative else numbers.byteswap()


def shaped(
    raw: bytes | memoryview, kind: str, shape: Sequence[int], name: str, room: Room, order: str = '<'
) -> np.ndarray:
    """Reads a tensor as `decode` does; nothing is allocated before its shape was checked.

    Raises a UserError where shape and bytes differ, or there is no room; without the file's name.
    """
    room.take(Room.ARRAY + len(name) + len(raw))
    # NumPy knows 64 axes; the product of very many takes very long.
    if len(shape) > 64 or min(shape, default=0) < 0:
        raise ValueError(f'tensor {name} has no possible shape')
    if math.prod(shape) * DTYPES[kind].itemsize != len(raw):
        raise UserError(
            f'damaged: tensor {name} has {len(raw)} bytes for the shape {list(shape)} in {kind}: '
            'get the file again'
        )
    return decode(raw, kind, order).reshape(shape)


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Raises a ValueError where records of a zip archive of this size may become more than it is, or are two.

    Which of two records of one name is read depends on the program.
    """
    records = archive.infolist()
    if len(archive.NameToInfo) < len(records):
        raise ValueError('two of its records have the same name')
    # Of the few bytes of a record a decompressor may also take a dictionary of gigabytes.
    if any(info.compress_type for info in records) or sum(info.file_size for info in records) > size:
        raise ValueError('its records overlap or are compressed, as those of weights never are')


def one_line(text: str, limit: int = 500) -> str:
    """Makes one line of a message that may hold names from a hostile file."""
    return printable(' '.join(text[: 2 * limit].split()))[:limit]
