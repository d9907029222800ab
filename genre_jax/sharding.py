"""The mesh of all devices, how arrays lie on it, and what its hosts share."""

import functools
import pathlib
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from genre_jax.errors import UserError

_PATIENCE_S = 15


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh, by default of all devices of all processes; its one axis, `data`, splits batches."""
    n_devices = jax.device_count() if devices is None else len(devices)
    # Auto: under the default, Explicit, dropout and gathers of sharded arrays do not trace.
    return jax.make_mesh((n_devices,), ('data',), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole: the training state."""
    return NamedSharding(mesh, PartitionSpec())


def by_example(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of batches: the first axis over all devices."""
    return NamedSharding(mesh, PartitionSpec('data'))


def check_batch_size(batch_size: int, key: str, mesh: Mesh) -> None:
    """Refuses a global batch, set by a config key, that cannot be divided among the devices: a UserError."""
    if batch_size % mesh.size:
        raise UserError(f'config.{key}={batch_size} cannot be divided among {mesh.size} devices')


@functools.lru_cache
def rows_here(batch_size: int, mesh: Mesh) -> np.ndarray:
    """Returns which rows of a global batch the devices of this process hold, ascending.

    They follow from the mesh, which may alternate between the hosts, not from the process's number.
    """
    held = by_example(mesh).addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[index] for index in held]))


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Places this process's rows of a batch, `rows_here`, on its devices: global arrays, split by example."""
    rows_of_one = len(next(iter(batch.values()))) // len(mesh.local_devices)
    rows = rows_here(rows_of_one * mesh.size, mesh)

    def put(array: np.ndarray) -> jax.Array:
        def of_device(index: tuple[slice, ...]) -> np.ndarray:
            first = np.searchsorted(rows, index[0].start or 0)
            return array[first : first + rows_of_one]

        shape = (rows_of_one * mesh.size, *array.shape[1:])
        return jax.make_array_from_callback(shape, by_example(mesh), of_device)

    with jax.transfer_guard_host_to_device('allow'):  # the one transfer into the training loop
        return {key: put(array) for key, array in batch.items()}


def put_replicated(arrays: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Places arrays, the same in every process, whole on every device."""
    with jax.transfer_guard_host_to_device('allow'):
        return {
            key: jax.make_array_from_process_local_data(replicated(mesh), array, array.shape)
            for key, array in arrays.items()
        }


def check_all_see(file: pathlib.Path, key: str) -> None:
    """Refuses a file that some process does not see, a UserError; all processes call this, and all raise."""
    seen = False
    for _ in range(_PATIENCE_S):
        if seen := file.exists():
            break
        time.sleep(1)  # network file systems show what is new after a while
    everywhere = multihost_utils.process_allgather(np.array(seen)).ravel()
    if not everywhere.all():
        raise UserError(
            f'{key}: process {everywhere.argmin()} of {len(everywhere)} does not see {file}: expected a '
            'folder that all hosts share'
        )


def check_shared(folder: pathlib.Path, key: str) -> None:
    """Refuses a folder to write to that hosts have on disks of their own, as `check_all_see` does."""
    if jax.process_count() == 1:
        return
    token = multihost_utils.broadcast_one_to_all(np.uint32(time.time_ns() % 2**32))
    marker = folder / f'.seen_by_all_{token}'
    if jax.process_index() == 0:
        marker.touch()
    try:
        check_all_see(marker, key)
    finally:
        if jax.process_index() == 0:
            marker.unlink()
