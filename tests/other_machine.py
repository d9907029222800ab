"""`python -m genre_jax.main` as on a machine that this one is not; MACHINE names what is emulated.

guarded: copies from the devices to the host obey the transfer guard, as on GPUs and TPUs. CPUs let them
through, whatever the guard says.
interleaved: the mesh alternates between the hosts, as those of TPU pods do.
apart: relative paths of each process lie on a disk of its own, a folder of DISKS.
flat: folders cannot be renamed, as in a mounted bucket without hierarchical names.
mac: Python has none of the functions that it has on Linux alone.
"""

import errno
import os
import signal

MACHINES = os.environ.get('MACHINE', '').split(',')
# Of Python 3.11's documentation, 'Availability: Linux' or 'not macOS'.
LINUX_ALONE = (
    'sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler '
    'sched_setscheduler sched_rr_get_interval posix_fadvise posix_fallocate memfd_create eventfd '
    'eventfd_read eventfd_write splice copy_file_range pidfd_open getrandom getresuid getresgid '
    'setresuid setresgid fdatasync getxattr setxattr listxattr removexattr pipe2 sigtimedwait '
    'sigwaitinfo'
).split()
# Before anything is imported, in worker processes too.
if 'mac' in MACHINES:
    for module in (os, signal):
        for name in LINUX_ALONE:
            vars(module).pop(name, None)

import jax
import numpy as np
from jax._src.array import ArrayImpl
from jax._src.lib import guard_lib

from genre_jax import main, program, sharding


def guard_transfers():
    """Lets the guard see what reads an array's value."""
    value, copy = ArrayImpl._value, ArrayImpl.copy_to_host_async

    def check():
        state = guard_lib.thread_local_state()
        if state.device_to_host == guard_lib.TransferGuardLevel.DISALLOW and not state.explicit_device_get:
            raise RuntimeError('a copy from the devices to the host that the guard disallows')

    def guarded_value(self):
        check()
        return value.fget(self)

    def guarded_copy(self):
        check()
        return copy(self)

    ArrayImpl._value = property(guarded_value)
    ArrayImpl.copy_to_host_async = guarded_copy


def interleave_mesh():
    """Orders the devices p0d0 p1d0 p0d1 p1d1 ..."""
    make_mesh = sharding.make_mesh

    def made(devices=None, **sizes):
        devices = devices or sorted(jax.devices(), key=lambda d: (d.id % 1000, d.process_index))
        mesh = make_mesh(devices, **sizes)
        return jax.sharding.Mesh(np.reshape(devices, mesh.devices.shape), mesh.axis_names)

    sharding.make_mesh = made


def stand_apart():
    """Changes to a folder of the process's own, below DISKS, which no other sees."""
    disk = os.path.join(os.environ['DISKS'], os.environ['JAX_PROCESS_ID'])
    os.makedirs(disk, exist_ok=True)
    os.chdir(disk)


def flatten():
    """Refuses to rename folders."""

    def of_files(rename):
        def renamed(source, *arguments, **keywords):
            if os.path.isdir(source):
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            return rename(source, *arguments, **keywords)

        return renamed

    os.rename, os.replace = of_files(os.rename), of_files(os.replace)


if __name__ == '__main__':
    emulations = {
        'apart': stand_apart, 'flat': flatten, 'guarded': guard_transfers,
        'interleaved': interleave_mesh, 'mac': lambda: None,
    }  # fmt: skip
    for machine in MACHINES:
        emulations[machine]()
    program.run(main.main)
