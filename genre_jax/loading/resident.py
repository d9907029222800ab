"""The prepared records on the devices, once: windows are cut there, the input costs next to nothing.

Every dataset of the papers fits one accelerator as int16. With several devices each holds a part of the
tracks, cuts the windows of a batch that lie there, and hands them to the device whose examples they are.
The order of the data, and every window, is that of the streaming loader.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import tqdm
from jax.sharding import Mesh

from genre_jax import sharding
from genre_jax.loading import loader, prepared


class Resident:
    """A dataset on the devices, as `feed.Feed`; `records` are (records, samples) or (records, ...) of all."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        dataset: prepared.Dataset,
        stored: prepared.Stored,
        mesh: Mesh,
    ) -> None:
        """Places the records on the devices."""
        self._config, self._mesh, self._stored = config, mesh, stored
        self.most_steps = config.train.steps_per_dispatch
        self._chunk = dataset.manifest['chunk']
        self._n_samples = dataset.column('n_samples')
        # Whole tracks, in order, to one device after the other: about as many records to each.
        counts = -(-self._n_samples // self._chunk)
        first = np.cumsum(counts) - counts
        records = dataset.column('first_record') - first
        records = np.repeat(records, counts) + np.arange(counts.sum())
        parts = sharding.batch_parts(mesh)
        self._device = np.minimum(first * parts // counts.sum(), parts - 1)
        begins = np.array([first[self._device >= d].min(initial=counts.sum()) for d in range(parts)])
        self._row = first - begins[self._device]
        # A window that begins in the last record still reads so many: the rest is masked.
        self._reach, one = 1, stored.shape
        if stored.over_time:
            self._reach = -(-(self._chunk - 1 + stored.shape[0]) // self._chunk)
            one = (self._chunk,)
        ends = np.append(begins[1:], counts.sum())
        rows = int((ends - begins).max()) + self._reach - 1
        dtype = stored.batch(1).dtype

        def part(index: tuple[slice, ...]) -> np.ndarray:
            """Reads what one device holds."""
            device = (index[0].start or 0) // rows
            held = np.zeros((rows, *one), dtype)
            own = records[begins[device] : ends[device]].tolist()
            for row, record in enumerate(tqdm.tqdm(own, 'placing records', leave=False, disable=None)):
                array = dataset.record(record)
                held[row, : len(array)] = array
            return held

        self.records = jax.make_array_from_callback((rows * parts, *one), sharding.by_example(mesh), part)
        self._cut = jax.jit(self._cut_windows, out_shardings=sharding.by_example(mesh))

    def train(
        self, table: loader.WindowTable, first_step: int, last_step: int
    ) -> Callable[[int], tuple[int, Any]]:
        """See `feed.Feed.train`."""
        places = loader.train_batches(
            table,
            batch_size=self._config.train.batch_size,
            seed=self._config.seed,
            first_step=first_step,
            steps=last_step - first_step,
            places=True,
        )
        if self.most_steps == 1:
            return lambda most: (1, self._batch(next(places)))

        def take(most: int) -> tuple[int, Any]:
            block = list(itertools.islice(places, min(most, self.most_steps)))
            return len(block), self._block(block)

        return take

    def evaluate(self, table: loader.WindowTable) -> Iterator[dict[str, jax.Array]]:
        """See `feed.Feed.evaluate`."""
        batch_size = self._config.eval.batch_size
        for places in loader.eval_batches(table, batch_size=batch_size, places=True):
            batch = self._batch(places)
            yield {key: batch[key] for key in (self._stored.kind, 'tonic_hz')}

    def _where(self, places: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turns places of the global batch into positions on the devices, int32 arrays of the same shape.

        'device', 'row' (record on that device), 'offset' in it, and 'length' of the window inside its track.
        """
        track, start = places['track'], places['start']
        where = {
            'device': self._device[track],
            'row': self._row[track] + start // self._chunk,
            'offset': start % self._chunk,
            'length': np.minimum(self._n_samples[track] - start, places['length']),
        }
        return {key: value.astype(np.int32) for key, value in where.items()}

    def _batch(self, places: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Returns a batch as the stream has it: what is stored, and what is known of it."""
        where = sharding.put_replicated(self._where(places), self._mesh)
        rows = sharding.rows_here(len(places['label']), self._mesh)
        placed = sharding.put_batch({key: places[key][rows] for key in loader.KNOWN}, self._mesh)
        return {self._stored.kind: self._cut(self.records, where)} | placed

    def _block(self, places: Sequence[Mapping[str, np.ndarray]]) -> tuple[jax.Array, dict]:
        """Returns the records, and where several batches lie in them, filled up to `most_steps`."""
        filled = [*places, *places[-1:] * (self.most_steps - len(places))]
        kept = ('track', 'start', 'length', *loader.KNOWN)
        stacked = {key: np.stack([place[key] for place in filled]) for key in kept}
        arrays = self._where(stacked) | {key: stacked[key] for key in loader.KNOWN}
        return self.records, sharding.put_replicated(arrays, self._mesh)

    def batch_of_block(self, block: tuple[jax.Array, dict], i: jax.Array) -> dict[str, jax.Array]:
        """See `feed.Feed.batch_of_block`."""
        records, arrays = block
        where = {key: value[i] for key, value in arrays.items()}
        known = {key: where.pop(key) for key in loader.KNOWN}
        return {self._stored.kind: self._cut_windows(records, where)} | known

    def _cut_windows(self, records: jax.Array, where: Mapping[str, jax.Array]) -> jax.Array:
        """Cuts a batch out of the records, where `where` says, the same on every device; to be traced.

        Returns what is stored of each example, (batch, ...), split over the devices by example.
        """
        stored, reach = self._stored, self._reach

        def one(records: jax.Array, mine: jax.Array, row, offset, length) -> jax.Array:
            begin = (row, *[0] * (records.ndim - 1))
            taken = jax.lax.dynamic_slice(records, begin, (reach, *records.shape[1:]))
            if not stored.over_time:
                return jnp.where(mine, taken[0], 0)
            (window,) = stored.shape
            taken = jax.lax.dynamic_slice(taken.reshape(-1), (offset,), (window,))
            return jnp.where(mine & (jnp.arange(window) < length), taken, 0)

        def one_device(records: jax.Array, where: Mapping[str, jax.Array]) -> jax.Array:
            mine = where['device'] == jax.lax.axis_index(split[0])
            examples = jax.vmap(one, (None, 0, 0, 0, 0))(
                records, mine, where['row'], where['offset'], where['length']
            )
            if sharding.batch_parts(self._mesh) == 1:
                return examples
            return jax.lax.psum_scatter(examples, split[0], scatter_dimension=0, tiled=True)

        split, whole = sharding.by_example(self._mesh).spec, sharding.replicated(self._mesh).spec
        return jax.shard_map(one_device, mesh=self._mesh, in_specs=(split, whole), out_specs=split)(
            records, where
        )
