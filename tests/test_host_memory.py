"""What glibc keeps of the memory that a step leaves."""

import os
import platform
import sys

import pytest

from tests import program

STEPS = """
import concurrent.futures, ctypes, resource
from genre_jax import host_memory
host_memory.keep()
glibc = ctypes.CDLL(None)
glibc.malloc.restype = ctypes.c_void_p
def step():
    piece = ctypes.c_void_p(glibc.malloc(ctypes.c_size_t(2**27)))
    ctypes.memset(piece, 1, 2**27)
    glibc.free(piece)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
with concurrent.futures.ThreadPoolExecutor(1) as pool:  # as XLA, which computes in threads
    print([pool.submit(step).result() for _ in range(4)])
"""
PAGES = 2**27 // 4096


def faults(**environment):
    """Returns how many pages the system gave out in each step after the first."""
    done = program.run([sys.executable, '-c', STEPS], env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    counts = eval(done.stdout)
    return [later - earlier for earlier, later in zip(counts, counts[1:], strict=False)]


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='memory of another library than glibc')
@pytest.mark.parametrize(
    ('environment', 'kept'), [({}, True), ({'MALLOC_TRIM_THRESHOLD_': '131072'}, False)], ids=['kept', 'as said']
)
def test_a_step_finds_the_memory_of_the_one_before(environment, kept):
    for count in faults(**environment):
        assert count < PAGES / 20 if kept else count > PAGES / 2
