"""Reading a checkpoint of some bytes, within the bounds that the readers promise."""

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
        tracemalloc.start()
        try:
            return read_checkpoint(path)
        finally:
            _, peak_bytes = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak_bytes < 32 * len(data) + 4e6

    return run


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
