"""What glibc does with the memory that a step on CPUs has used."""

import ctypes
import importlib.util
import os
import platform

# Parameters of mallopt (malloc.h).
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_KEPT = 2**31 - 1


def keep() -> None:
    """Has memory that is freed kept for the next step, where steps are computed on CPUs.

    XLA asks for the memory of a step anew each time, and glibc gives large pieces back to the system at once,
    which hands them out again page by page, filled with zeros: up to a quarter of the processor time of a
    step. To be called before jax starts its threads. What the user says of glibc's malloc stays; elsewhere than
    on Linux with glibc, and with plugins for other devices, nothing changes.
    """
    said = any(name.startswith('MALLOC_') for name in os.environ) or 'GLIBC_TUNABLES' in os.environ
    elsewhere = any(importlib.util.find_spec(name) for name in ('libtpu', 'jax_plugins'))
    if said or elsewhere or platform.libc_ver()[0] != 'glibc':
        return
    glibc = ctypes.CDLL(None)
    glibc.mallopt(_MMAP_MAX, 0)
    glibc.mallopt(_TRIM_THRESHOLD, _KEPT)
    # Other arenas than the first hold no large pieces.
    glibc.mallopt(_ARENA_MAX, 1)
