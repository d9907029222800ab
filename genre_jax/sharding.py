"""The mesh of all devices, how arrays lie on it, and what its hosts share.

Its axes: `data` and `fsdp` split batches, `fsdp` and `model` the large weights of networks that have rules
for them (`Network.sharding_rules`). The devices along `model` compute on the same examples.
"""

import functools
import math
import pathlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from genre_jax.errors import UserError

_PATIENCE_S = 15
_AXES = ('data', 'fsdp', 'model')
_DEFAULT = {'data': -1, 'fsdp': 1, 'model': 1}
# A rule: an expression that matches the end of a parameter's path, and the mesh axis of each dimension.
Rules = Sequence[tuple[str, tuple[str | None, ...]]]


def make_mesh(devices: Sequence[jax.Device] | None = None, sizes: Mapping[str, int] = _DEFAULT) -> Mesh:
    """Returns a mesh, by default of all devices of all processes, along `data`.

    `sizes` are those of the axes, config.mesh; one may be -1, for all devices that are left. Sizes that do
    not fit the devices are a UserError.
    """
    devices = jax.devices() if devices is None else devices
    shape = [sizes[axis] for axis in _AXES]
    known = math.prod(size for size in shape if size != -1)
    if shape.count(-1) > 1 or len(devices) % known or (known < len(devices) and -1 not in shape):
        raise UserError(
            f'config.mesh (data={shape[0]}, fsdp={shape[1]}, model={shape[2]}) does not fit {len(devices)} '
            f'devices: expected sizes whose product is {len(devices)}, -1 for all that are left'
        )
    shape = [len(devices) // known if size == -1 else size for size in shape]
    # Auto: under the default, Explicit, dropout and gathers of sharded arrays do not trace.
    return Mesh(_in_order(devices, shape), _AXES, axis_types=(AxisType.Auto,) * len(_AXES))


def _in_order(devices: Sequence[jax.Device], shape: Sequence[int]) -> np.ndarray:
    """Orders devices by their connections, so that `model` and, where it fits, `fsdp` stay inside a host."""
    (data, fsdp, model), splits = shape, {'allow_split_physical_axes': True}
    here = len(devices) // len({device.process_index for device in devices})
    fsdp_here = math.gcd(fsdp, here // model)
    inner = (here // (fsdp_here * model), fsdp_here, model)
    if here == len(devices) or fsdp * model == 1 or math.prod(inner) != here or data % inner[0]:
        return mesh_utils.create_device_mesh(shape, devices, **splits)
    outer = [size // inside for size, inside in zip(shape, inner, strict=True)]
    return mesh_utils.create_hybrid_device_mesh(inner, outer, devices, process_is_granule=True, **splits)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def by_example(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of batches: the first axis over the mesh's `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(tuple(axis for axis in mesh.axis_names if axis != 'model')))


def by_rules(tree: Any, rules: Rules, mesh: Mesh, along: Sequence[str] = ('fsdp', 'model')) -> Any:
    """Returns how a tree of parameters, or what is kept for each of them, lies on the mesh: a prefix of it.

    The leaves are arrays or shapes. Moments and averages have paths that end as their parameters' do. What no
    rule names stays whole, and so does a dimension that an axis does not divide, or is not `along`.
    """
    along = [axis for axis in along if mesh.shape.get(axis, 1) > 1]
    if not rules or not along:
        return replicated(mesh)

    def of_leaf(path: tuple, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        for expression, axes in rules:
            if re.search(f'(^|/)({expression})$', name) and len(axes) == len(leaf.shape):
                sizes = zip(axes, leaf.shape, strict=True)
                spec = (axis if axis in along and n % mesh.shape[axis] == 0 else None for axis, n in sizes)
                return NamedSharding(mesh, PartitionSpec(*spec))
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def on_own_device(function: Callable, mesh: Mesh | None, n_replicated: int = 0) -> Callable:
    """Lets each device compute its own examples, to be traced; the first arguments may be the same for all.

    Without a mesh the function is as it was.
    """
    if mesh is None:
        return function
    # shard_map: left to itself XLA gathers the whole batch on every device before an FFT.
    split, whole = by_example(mesh).spec, replicated(mesh).spec

    def sharded(*arguments: jax.Array) -> Any:
        specs = tuple(whole if i < n_replicated else split for i in range(len(arguments)))
        return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=split)(*arguments)

    return sharded


def fetch(tree: Any) -> Any:
    """Returns a tree of arrays whole on the host, wherever parts of them lie; all processes call it."""

    def whole(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            leaf = jax.device_put(leaf, replicated(leaf.sharding.mesh))
        return jax.device_get(leaf)  # one by one: whole, all may be more than a device holds

    return jax.tree.map(whole, tree)


def batch_parts(mesh: Mesh) -> int:
    """Returns into how many parts the mesh splits a batch."""
    return mesh.size // mesh.shape.get('model', 1)


def check_batch_size(batch_size: int, key: str, mesh: Mesh) -> None:
    """Refuses a global batch, set by a config key, that cannot be divided among the devices: a UserError."""
    if batch_size % batch_parts(mesh):
        raise UserError(
            f'config.{key}={batch_size} cannot be divided among {batch_parts(mesh)} devices '
            '(config.mesh.data * config.mesh.fsdp): expected a multiple'
        )


@functools.lru_cache
def rows_here(batch_size: int, mesh: Mesh) -> np.ndarray:
    """Returns which rows of a global batch the devices of this process hold, ascending.

    They follow from the mesh, which may alternate between the hosts, not from the process's number.
    """
    held = by_example(mesh).addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[index] for index in held]))


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Places this process's rows of a batch, `rows_here`, on its devices: global arrays, split by example."""
    parts = batch_parts(mesh)
    rows_of_one = len(next(iter(batch.values()))) // len(rows_here(parts, mesh))
    rows = rows_here(rows_of_one * parts, mesh)

    def put(array: np.ndarray) -> jax.Array:
        def of_device(index: tuple[slice, ...]) -> np.ndarray:
            first = np.searchsorted(rows, index[0].start or 0)
            return array[first : first + rows_of_one]

        shape = (rows_of_one * parts, *array.shape[1:])
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
