"""The prepared records on the devices, once: windows are cut there, the input costs next to nothing.

Every dataset of the papers fits one accelerator as int16. With several devices each holds a part of the
tracks, cuts the windows of a batch that lie there, and hands them to the device whose examples they are.
The order of the data, and every window, is that of the streaming loader.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax.sharding import Mesh

from genre_jax import sharding
from genre_jax.loading import prepared


class Resident:
    """A dataset on the devices.

    Attributes:
        records: the stored arrays, all devices' together: (records, samples) or (records, ...).
    """

    def __init__(self, dataset: prepared.Dataset, stored: prepared.Stored, mesh: Mesh) -> None:
        """Places the records.

        Args:
            dataset: the prepared dataset.
            stored: what one example is.
            mesh: the mesh.
        """
        self._mesh, self._stored = mesh, stored
        self._chunk = dataset.manifest['chunk']
        self._n_samples = np.array([track['n_samples'] for track in dataset.tracks])
        first = np.array([track['first_record'] for track in dataset.tracks])
        # Whole tracks, in order, to one device after the other: about as many records to each.
        counts = -(-self._n_samples // self._chunk)
        self._device = np.minimum(first * mesh.size // counts.sum(), mesh.size - 1)
        begins = np.array(
            [first[self._device >= d].min(initial=counts.sum()) for d in range(mesh.size)]
        )
        self._row = first - begins[self._device]
        # A window that begins in the last record still reads so many: the rest is masked.
        self._reach = 1
        if stored.kind == 'audio':
            self._reach = -(-(self._chunk - 1 + stored.shape[0]) // self._chunk)
        ends = np.append(begins[1:], counts.sum())
        rows = int((ends - begins).max()) + self._reach - 1
        one = (self._chunk,) if stored.kind == 'audio' else stored.shape
        dtype = stored.batch(1).dtype

        def part(index: tuple[slice, ...]) -> np.ndarray:
            """Reads what one device holds."""
            device = (index[0].start or 0) // rows
            held = np.zeros((rows, *one), dtype)
            span = range(begins[device], ends[device])
            for row, record in enumerate(
                tqdm.tqdm(span, 'placing records', leave=False, disable=None)
            ):
                array = dataset.record(record)
                held[row, : len(array)] = array
            return held

        self.records = jax.make_array_from_callback(
            (rows * mesh.size, *one), sharding.by_example(mesh), part
        )
        self._cut = jax.jit(self.cut, out_shardings=sharding.by_example(mesh))

    def where(self, places: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turns places into positions on the devices, int32 arrays of the same shape.

        Args:
            places: 'track' and 'start', of the global batch.

        Returns:
            'device', 'row' (record on that device), 'offset' in it, and 'length' of the window inside its
            track.
        """
        track, start = places['track'], places['start']
        where = {
            'device': self._device[track],
            'row': self._row[track] + start // self._chunk,
            'offset': start % self._chunk,
            'length': self._n_samples[track] - start,
        }
        return {key: value.astype(np.int32) for key, value in where.items()}

    def cut(self, records: jax.Array, where: Mapping[str, jax.Array]) -> jax.Array:
        """Cuts a batch out of the records, on the devices; to be traced.

        Args:
            records: of this object.
            where: of the global batch, each (batch,), the same on every device.

        Returns:
            What is stored of each example, (batch, ...), split over the devices by example.
        """
        stored, reach = self._stored, self._reach

        def one(records: jax.Array, mine: jax.Array, row, offset, length) -> jax.Array:
            begin = (row, *[0] * (records.ndim - 1))
            taken = jax.lax.dynamic_slice(records, begin, (reach, *records.shape[1:]))
            if stored.kind != 'audio':
                return jnp.where(mine, taken[0], 0)
            (window,) = stored.shape
            taken = jax.lax.dynamic_slice(taken.reshape(-1), (offset,), (window,))
            return jnp.where(mine & (jnp.arange(window) < length), taken, 0)

        def one_device(records: jax.Array, where: Mapping[str, jax.Array]) -> jax.Array:
            mine = where['device'] == jax.lax.axis_index('data')
            examples = jax.vmap(one, (None, 0, 0, 0, 0))(
                records, mine, where['row'], where['offset'], where['length']
            )
            if self._mesh.size == 1:
                return examples
            return jax.lax.psum_scatter(examples, 'data', scatter_dimension=0, tiled=True)

        split, whole = sharding.by_example(self._mesh).spec, sharding.replicated(self._mesh).spec
        return jax.shard_map(one_device, mesh=self._mesh, in_specs=(split, whole), out_specs=split)(
            records, where
        )

    def batch(self, places: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Returns a batch as `sharding.put_batch` does: what is stored, and the labels.

        Args:
            places: of the global batch.
        """
        where = sharding.put_replicated(self.where(places), self._mesh)
        labels = places['label']
        with jax.transfer_guard_host_to_device('allow'):
            placed = jax.make_array_from_callback(
                labels.shape, sharding.by_example(self._mesh), labels.__getitem__
            )
        return {self._stored.kind: self._cut(self.records, where), 'label': placed}
