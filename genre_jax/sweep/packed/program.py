"""The programs of a packed sweep: one step, and prediction, for many runs that differ only in numbers.

Every run, a member, goes through the very step of a separate run (`train.numbered_step`), whose numbers are
arguments. What the members have in common, the batch and mostly the features, is computed once.

Members lie on the devices in chunks: either several side by side on each device, as one program over all
devices, or one member on one device, in the program of a separate run, the devices at the same time.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from genre_jax import sharding
from genre_jax.loading import loader
from genre_jax.loading.feed import Feed
from genre_jax.training import step as train
from genre_jax.training import step_numbers
from genre_jax.training.job import Job
from genre_jax.training.predict import Outputs, joined, prediction

_OVER_MEMBERS, _WHOLE = PartitionSpec('data'), PartitionSpec()
# Where a device does not tell its memory: so much for the members that lie on it.
_UNTOLD_BYTES = 2 * 2**30
_SHARE = 0.7  # of a device's memory


class Program:
    """Compiled programs for some members.

    The state of a chunk, and whatever else it has, is a tree: with an axis of members in front of every
    leaf, or without where a chunk is one member on one device.

    Attributes:
        job: of a separate run, with the numbers that the members share.
        chunks: positions of the members of each.
    """

    def __init__(self, job: Job, values: Sequence[Mapping[str, float]], at_once: int | None = None) -> None:
        """Lays the members out.

        `values` are the numbers of each member that are not shared, by the same config keys for all;
        `at_once` of them are on one device at once, None: chosen by `members_at_once`.
        """
        self.job, self._values = job, values
        self._devices = list(job.mesh.devices.flat)
        self._shares_batch = 'seed' not in values[0]
        # Parts of a batch are cut out in the step, so nothing can come before it.
        self._shares_pictures = (
            self._shares_batch
            and not any(key.startswith('augment.') for key in values[0])
            and job.config.train.accumulate == 1
        )
        members, devices = len(values), job.mesh.size
        at_once = at_once or members_at_once(job, members)
        self._one_by_one = at_once == 1
        n_chunks = -(-members // (at_once * devices))
        self._size = 1 if self._one_by_one else -(-members // (n_chunks * devices)) * devices
        starts = range(0, members, self._size)
        self.chunks = [range(start, min(start + self._size, members)) for start in starts]
        shared = step_numbers.of_config(job.config)
        self._axes = {key: 0 if key in values[0] else None for key in shared | values[0]}
        self._numbers = [self._chunk_numbers(chunk, shared) for chunk in range(len(self.chunks))]
        self._steps: dict[tuple, Callable] = {}
        self._examples = train.make_examples(job)
        whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)
        self._featurize = jax.jit(job.featurize, in_shardings=split, out_shardings=whole)
        alone = dataclasses.replace(job, mesh=None)
        self._predict, self._outputs = (
            self._compile(prediction(alone, detailed), (0, None)) for detailed in (False, True)
        )
        self._keep = self._compile(
            lambda better, new, best: jax.tree.map(functools.partial(jnp.where, better), new, best), (0, 0, 0)
        )

    def _place(self, chunk: int, spec: PartitionSpec) -> jax.sharding.Sharding:
        """Returns where something of a chunk lies."""
        if self._one_by_one:
            return SingleDeviceSharding(self._devices[chunk % len(self._devices)])
        return NamedSharding(self.job.mesh, spec)

    def _off(self, chunk: int) -> frozenset[str]:
        """Returns the keys whose numbers are 0 and constants of the program, as in a separate run.

        Members side by side have one program: there they are arguments as long as one has another number.
        """
        values = self._values[self.chunks[chunk][0]]
        return frozenset(k for k, v in values.items() if self._one_by_one and v == 0)

    def _chunk_numbers(self, chunk: int, shared: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        off = self._off(chunk)
        own = [
            {k: step_numbers.array(k, v) for k, v in self._values[i].items() if k not in off}
            for i in self.chunks[chunk]
        ]
        rest = {key: value for key, value in shared.items() if key not in self._values[0]}
        return self.join(chunk, own) | jax.device_put(rest, self._place(chunk, _WHOLE))

    def join(self, chunk: int, trees: Sequence[Any]) -> Any:
        """Places trees of the host, one for each member of a chunk, on its devices.

        Behind the last one the chunk is filled up with copies of that one.
        """
        trees = [*trees, *[trees[-1]] * (self._size - len(trees))]
        whole = trees[0] if self._one_by_one else jax.tree.map(lambda *rows: np.stack(rows), *trees)
        return jax.device_put(whole, self._place(chunk, _OVER_MEMBERS))

    def split(self, chunk: int, tree: Any) -> list[Any]:
        """Returns a tree of a chunk on the host, one for each of its members."""
        tree = jax.device_get(tree)
        if self._one_by_one:
            return [tree]
        return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(len(self.chunks[chunk]))]

    def _compile(self, function: Callable, axes: tuple, donated: tuple = ()) -> Callable:
        """Compiles a function of one member for chunks.

        Axes are, for each argument, 0 where it is a chunk's, None where it is the same for all, or a dict of
        these. The memory of the arguments at the positions `donated` is given back.
        """
        if self._one_by_one:
            return jax.jit(function, donate_argnums=donated)
        specs = jax.tree.map({None: _WHOLE, 0: _OVER_MEMBERS}.get, axes, is_leaf=lambda x: x is None)
        whole = {'mesh': self.job.mesh, 'in_specs': specs, 'out_specs': _OVER_MEMBERS}
        sharded = jax.shard_map(jax.vmap(function, axes), check_vma=False, **whole)
        return jax.jit(sharded, donate_argnums=donated)

    def make_states(self) -> list[train.TrainState]:
        """Initialises all members, each as a separate run is; returns the state of each chunk."""

        @functools.cache
        def fresh(seed: int, off: frozenset[str]) -> train.TrainState:
            values = {'seed': seed} | dict.fromkeys(off, 0)
            config = step_numbers.with_values(self.job.config, values)
            return jax.device_get(train.make_state(dataclasses.replace(self.job, config=config)))

        seeds = [values.get('seed', self.job.config.seed) for values in self._values]
        return [
            self.join(chunk, [fresh(seeds[i], self._off(chunk)) for i in members])
            for chunk, members in enumerate(self.chunks)
        ]

    def batches(
        self, tables: Mapping[int, loader.WindowTable], first_step: int, steps: int, feed: Feed
    ) -> Iterator[tuple[jax.Array, Callable[[int], dict]]]:
        """Yields for each step its number, and a function from the number of a chunk to its batch.

        The number, on all devices, counts the steps done before; `tables` are training windows by seed.
        Where all members see the same batches, they come from the feed.
        """
        if self._shares_batch:
            (table,) = tables.values()
            take = feed.train(table, first_step, first_step + steps)
        else:
            reading = {
                'batch_size': self.job.config.train.batch_size,
                'first_step': first_step,
                'steps': steps,
                'workers': self.job.config.train.loader_workers,
            }
            by_seed = {
                seed: loader.train_batches(table, seed=seed, **reading) for seed, table in tables.items()
            }
        for step in range(first_step, first_step + steps):
            number = sharding.put_replicated({'step': np.int32(step)}, self.job.mesh)['step']
            if not self._shares_batch:
                rows = {seed: next(own) for seed, own in by_seed.items()}
                yield (
                    number,
                    lambda chunk, rows=rows: self.join(
                        chunk, [rows[self._values[i]['seed']] for i in self.chunks[chunk]]
                    ),
                )
                continue
            _, placed = take(1)
            if self._shares_pictures:
                placed = self._examples(number, placed)
            else:
                placed = jax.device_put(placed, sharding.replicated(self.job.mesh))
            yield number, functools.partial(self._on_devices_of, placed)

    def _on_devices_of(self, tree: Any, chunk: int) -> Any:
        """Returns what is whole on every device as a chunk takes it."""
        if not self._one_by_one:
            return tree
        device = chunk % len(self._devices)
        return jax.tree.map(lambda x: x.addressable_shards[device].data, tree)

    def step(
        self, chunk: int, state: train.TrainState, number: jax.Array, batch: dict, groups: Mapping
    ) -> tuple[train.TrainState, dict[str, jax.Array]]:
        """Trains the members of one chunk a step; the memory of their state is given back.

        Number and batch are those of `batches`, `groups` the groups of parameters that train. Returns the new
        state, and 'loss' and 'learning_rate'.
        """
        off = self._off(chunk)
        if (tuple(groups), off) not in self._steps:
            config = step_numbers.with_values(self.job.config, dict.fromkeys(off, 0))
            alone = dataclasses.replace(self.job, config=config, mesh=None)
            step = train.numbered_step(alone, groups)

            def one(numbers, state, number, batch):
                # All are at the same step: with one number for all, what depends on it is shared.
                return step(numbers, state.replace(step=number), batch)

            axes = (self._axes, 0, None, None if self._shares_batch else 0)
            self._steps[tuple(groups), off] = self._compile(one, axes, (1,))
        number = self._on_devices_of(number, chunk)
        return self._steps[tuple(groups), off](self._numbers[chunk], state, number, batch)

    def predict(
        self, variables: Mapping[int, Any], table: loader.WindowTable, feed: Feed
    ) -> dict[int, list[np.ndarray]]:
        """Predicts with the members of some chunks; the features are computed once for all.

        Of variables by number of the chunk; returns by number of the chunk, for each of its members,
        probabilities, float32 [windows, classes].
        """
        return {
            chunk: [np.concatenate(rows)[: len(table)] for rows in of_members]
            for chunk, of_members in self._over(self._predict, variables, feed.evaluate(table)).items()
        }

    def outputs(
        self, variables: Mapping[int, Any], batches: Iterable[Mapping], n_windows: int
    ) -> dict[int, list[Outputs]]:
        """Returns likewise all outputs of batches that hold so many windows and padding."""
        return {
            chunk: [joined(rows, n_windows) for rows in of_members]
            for chunk, of_members in self._over(self._outputs, variables, batches).items()
        }

    def _over(
        self, function: Callable, variables: Mapping[int, Any], batches: Iterable[Mapping]
    ) -> dict[int, list[tuple]]:
        """Computes batches with the members of some chunks; returns the results of each member in order."""
        found = {chunk: [] for chunk in variables}
        for examples in batches:
            batch = {'features': self._featurize(examples)}
            new = {
                chunk: function(own, self._on_devices_of(batch, chunk)) for chunk, own in variables.items()
            }
            for chunk, results in new.items():
                found[chunk].append(self.split(chunk, results))
        return {chunk: list(zip(*each, strict=True)) for chunk, each in found.items()}

    def keep(self, chunk: int, better: Sequence[bool], new: Any, best: Any) -> Any:
        """Returns for each member of a chunk the new tree where it is better, else the best so far."""
        return self._keep(self.join(chunk, [np.bool_(each) for each in better]), new, best)


def members_at_once(job: Job, members: int) -> int:
    """Chooses how many of some members one device computes at once; `job` is that of a separate run.

    On CPUs a network with convolutions goes one member at a time. It keeps the cores busy by itself; maps of
    several members side by side do not fit in the caches. An axis of members in front of every kernel took
    1.1 to 3 times as long, a loop over the members inside the program 4 to 6 times (XLA uses one core for
    much of what stands in loops). Dense layers and recurrences are too small to keep a device busy: of
    those, and on other devices, as many as the memory holds.
    """
    device = job.mesh.devices.flat[0]
    alone = dataclasses.replace(job, mesh=None)
    state = jax.eval_shape(lambda: train.init_state(alone))
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    convolutions = any(path[-1].key == 'kernel' and leaf.ndim == 4 for path, leaf in leaves)
    if device.platform == 'cpu' and convolutions:
        return 1
    memory = (device.memory_stats() or {}).get('bytes_limit', _UNTOLD_BYTES / _SHARE)
    # A member in a step: its state, twice, and what XLA adds.
    examples = job.stored.batch(job.config.train.batch_size)
    known = {'label': np.int32, 'tonic_hz': np.float32}
    batch = {key: jax.ShapeDtypeStruct(examples.shape[:1], dtype) for key, dtype in known.items()}
    step = jax.jit(train.numbered_step(alone, job.plan.all_groups)).lower(
        step_numbers.of_config(job.config), state, {job.stored.kind: examples} | batch
    )
    own = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    of_member = 2 * own + step.compile().memory_analysis().temp_size_in_bytes
    return max(1, min(int(_SHARE * memory / of_member), -(-members // job.mesh.size)))
