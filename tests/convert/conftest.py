"""Reading a checkpoint of some bytes, within the bounds that the readers promise."""

import contextlib
import tracemalloc

import pytest

from genre_jax.convert.read import read_checkpoint
from genre_jax.errors import UserError


@pytest.fixture
def read(tmp_path):
    """Reads a file of these bytes; no more memory is taken than a small file needs."""

    def run(data, name='weights.bin'):
        path = tmp_path / name
        path.write_bytes(data)
        # Threads that earlier tests left behind are counted too; what a file takes, it takes each time.
        assert any(peak_bytes(path) < 32 * len(data) + 4e6 for _ in range(3)), name
        return read_checkpoint(path)

    return run


def peak_bytes(path):
    tracemalloc.start()
    with contextlib.suppress(UserError):
        read_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.fixture
def refused(read):
    """Asserts that a file is refused in one line, with its path and all of the words."""

    def run(data, *words, name='weights.bin'):
        with pytest.raises(UserError) as caught:
            read(data, name)
        assert f'{name}: ' in str(caught.value) and str(caught.value).isprintable()
        for word in words:
            assert word in str(caught.value)

    return run
