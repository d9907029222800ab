"""The mesh of all devices, and how arrays lie on it."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from genre_jax.errors import UserError


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh; its one axis, `data`, splits batches.

    Args:
        devices: of the mesh; None: all devices of all processes.
    """
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
    """Refuses a batch that cannot be divided among the devices.

    Args:
        batch_size: examples in a global batch.
        key: its config key.
        mesh: the mesh.

    Raises:
        UserError: it cannot.
    """
    if batch_size % mesh.size:
        raise UserError(f'config.{key}={batch_size} cannot be divided among {mesh.size} devices')


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Places this process's rows of a batch on its devices.

    Args:
        batch: arrays whose first axis is the process's share of the global batch.
        mesh: the mesh.

    Returns:
        Global arrays, split over the devices by example.
    """
    sharding = by_example(mesh)
    with jax.transfer_guard_host_to_device('allow'):  # the one transfer into the training loop
        return {
            key: jax.make_array_from_process_local_data(sharding, rows)
            for key, rows in batch.items()
        }


def put_replicated(arrays: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Places arrays, the same in every process, whole on every device.

    Args:
        arrays: on the host.
        mesh: the mesh.
    """
    with jax.transfer_guard_host_to_device('allow'):
        return {
            key: jax.make_array_from_process_local_data(replicated(mesh), array, array.shape)
            for key, array in arrays.items()
        }
