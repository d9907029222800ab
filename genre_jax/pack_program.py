"""The programs of a packed sweep: one step, and prediction, for many runs that differ only in numbers.

Every run, a member, keeps its numbers as traced values in a config of its own, and goes through the very
step of a separate run (`train.step_function`). Members lie on the devices in chunks, each device has its
share of each chunk; what all have in common, the batch and mostly the features, is there once.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from genre_jax import augment, loader, models, sharding, train
from genre_jax.job import Job

_OVER_MEMBERS, _WHOLE = PartitionSpec('data'), PartitionSpec()
# Where a device does not tell its memory: so much for what a chunk of members needs on it.
_CPU_BYTES = 2 * 2**30
_SHARE = 0.7  # of a device's memory


def with_values(
    config: ml_collections.ConfigDict, values: Mapping[str, Any]
) -> ml_collections.ConfigDict:
    """Returns a copy of a config with other values, which may be traced.

    Args:
        config: the whole config.
        values: config key to value; the keys exist.
    """
    changed = copy.deepcopy(config)
    with changed.ignore_type():
        for key, value in values.items():
            *sections, name = key.split('.')
            functools.reduce(lambda inner, section: inner[section], sections, changed)[name] = value
    return changed


def members_per_device(job: Job, members: int, bytes_each: Callable[[], int]) -> int:
    """Chooses how many members one device computes at once.

    On CPUs a network of convolutions goes one member at a time: its maps, several tens of MB, are what
    takes the time, so that there is nothing to gain, and the kernels of several members side by side lose
    (benchmarks/sweep.py, `--members_at_once`). Dense layers and recurrences are too small to keep a device
    busy: as many members as its memory holds.

    Args:
        job: what the members have in common.
        members: in all.
        bytes_each: returns the memory that one takes in a step.
    """
    device = job.mesh.devices.flat[0]
    kernels = jax.eval_shape(job.init, jax.random.key(0))['params']
    convolutions = any(
        path[-1] == 'kernel' and leaf.ndim == 4
        for path, leaf in flax.traverse_util.flatten_dict(kernels).items()
    )
    if device.platform == 'cpu' and convolutions:
        return 1
    memory = device.memory_stats() or {}
    fitting = int(_SHARE * memory.get('bytes_limit', _CPU_BYTES / _SHARE) / bytes_each())
    return max(1, min(fitting, -(-members // job.mesh.size)))


class Program:
    """Compiled programs for some members; states are lists of chunks.

    Attributes:
        size: members in one chunk; behind the last member it is filled up with copies of that one.
        shares_batch: whether all members see the same batches.
    """

    def __init__(
        self, job: Job, values: Sequence[Mapping[str, float]], at_once: int | None = None
    ) -> None:
        """Lays the members out.

        Args:
            job: of a separate run with the numbers that the members share.
            values: of the others for each member: config key to number, the same keys for all.
            at_once: members on one device at once; None: chosen by `members_per_device`.
        """
        self.job = job
        self._values = values
        self._members = len(values)
        self._alone = dataclasses.replace(job, mesh=None)
        self.shares_batch = 'seed' not in values[0]
        # Parts of a batch are cut out in the step, so nothing can come before it.
        self._shares_pictures = (
            self.shares_batch
            and not any(key.startswith('augment.') for key in values[0])
            and job.config.train.accumulate == 1
        )
        self._steps: dict[tuple[str, ...], Callable] = {}
        devices = job.mesh.size
        if at_once is None:
            at_once = members_per_device(job, self._members, self._bytes_each)
        chunks = -(-self._members // (at_once * devices))
        self.size = -(-self._members // (chunks * devices)) * devices
        self.chunks = [
            range(start, min(start + self.size, self._members))
            for start in range(0, self._members, self.size)
        ]
        self._numbers = [
            {
                key: self._put(key, [values[i][key] for i in self._filled(chunk)])
                for key in values[0]
            }
            for chunk in self.chunks
        ]
        self._examples = train.make_examples(job)
        self._featurize = jax.jit(
            job.featurize,
            in_shardings=sharding.by_example(job.mesh),
            out_shardings=sharding.replicated(job.mesh),
        )
        self._predict = self._over_members(self._probabilities, (0, None))
        self._keep = jax.jit(
            lambda better, new, best: jax.tree.map(
                lambda a, b: jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, best
            ),
            donate_argnums=2,
        )

    def _bytes_each(self) -> int:
        """Estimates the memory of one member in a step: its state, twice, and what XLA adds."""
        state = jax.eval_shape(lambda: train.init_state(self._alone))
        batch = self.job.stored.batch(self.job.config.train.batch_size)
        labels = jax.ShapeDtypeStruct(batch.shape[:1], np.int32)
        step = train.step_function(self._alone, self.job.plan.all_groups)
        compiled = jax.jit(step).lower(state, {self.job.stored.kind: batch, 'label': labels})
        own = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        return 2 * own + compiled.compile().memory_analysis().temp_size_in_bytes

    def _filled(self, chunk: range) -> list[int]:
        return [*chunk, *[chunk[-1]] * (self.size - len(chunk))]

    def _put(self, key: str, rows: Sequence[float]) -> jax.Array:
        """Places a number of each member of a chunk on its device."""
        numbers = np.asarray(rows, np.uint32 if key == 'seed' else np.float32)
        return jax.device_put(numbers, NamedSharding(self.job.mesh, _OVER_MEMBERS))

    def _member(self, values: Mapping[str, jax.Array]) -> Job:
        """Returns the job of a member whose numbers are traced."""
        config = with_values(self.job.config, values)
        labels = self.job.stored.labels
        return dataclasses.replace(
            self._alone,
            config=config,
            model=models.build(config.model, len(labels)),
            augmentation=augment.Augmentation(config.augment, labels),
        )

    def _over_members(self, function: Callable, axes: tuple, donated: tuple = ()) -> Callable:
        """Compiles a function of one member for the chunks, each device its own members.

        Args:
            function: of trees of arrays; returns one.
            axes: for each argument 0, where every leaf has a first axis of members, or None.
            donated: positions of arguments whose memory is given back.
        """

        def one_device(*arguments: Any) -> Any:
            if self.size > self.job.mesh.size:
                return jax.vmap(function, axes)(*arguments)
            # One member: an axis of length 1 would cost half as much again on a CPU.
            only = [
                jax.tree.map(lambda x: x[0], argument) if axis == 0 else argument
                for argument, axis in zip(arguments, axes, strict=True)
            ]
            return jax.tree.map(lambda x: x[None], function(*only))

        specs = tuple(_OVER_MEMBERS if axis == 0 else _WHOLE for axis in axes)
        sharded = jax.shard_map(
            one_device,
            mesh=self.job.mesh,
            in_specs=specs,
            out_specs=_OVER_MEMBERS,
            check_vma=False,
        )
        return jax.jit(sharded, donate_argnums=donated)

    def make_states(self) -> list[train.TrainState]:
        """Initialises all members, each as a separate run is; `step` has an axis of members, too."""
        by_seed = {}
        for values in self._values:
            seed = values.get('seed', self.job.config.seed)
            if seed not in by_seed:
                job = dataclasses.replace(
                    self.job, config=with_values(self.job.config, {'seed': seed})
                )
                by_seed[seed] = jax.device_get(train.make_state(job))
        seeds = [values.get('seed', self.job.config.seed) for values in self._values]
        split = NamedSharding(self.job.mesh, _OVER_MEMBERS)
        return [
            jax.device_put(
                jax.tree.map(
                    lambda *rows: np.stack(rows), *(by_seed[seeds[i]] for i in self._filled(chunk))
                ),
                split,
            )
            for chunk in self.chunks
        ]

    def batches(
        self, tables: Mapping[int, loader.WindowTable], first_step: int, steps: int, resident: Any
    ) -> Iterator[tuple[jax.Array, Callable[[int], dict]]]:
        """Yields for each step its number, and a function from the number of a chunk to its batch.

        All on the devices; the number counts the steps done before.

        Args:
            tables: training windows by seed.
            first_step: steps done before.
            steps: how many batches.
            resident: the records, where they lie on the devices.
        """
        job, kind = self.job, self.job.stored.kind
        loaders = {
            seed: loader.train_batches(
                table,
                batch_size=job.config.train.batch_size,
                seed=seed,
                first_step=first_step,
                steps=steps,
                **train.reading(job, resident),
            )
            for seed, table in tables.items()
        }
        whole = sharding.replicated(job.mesh)
        split = NamedSharding(job.mesh, _OVER_MEMBERS)
        for step in range(first_step, first_step + steps):
            number = jax.device_put(np.int32(step), whole)
            rows = {seed: next(batches) for seed, batches in loaders.items()}
            if self.shares_batch:
                placed = train.put(rows.popitem()[1], job, resident)
                if self._shares_pictures:
                    placed = self._examples(number, placed)
                else:
                    placed = jax.device_put(placed, whole)
                yield number, lambda chunk, placed=placed: placed
                continue

            def of_chunk(chunk: int, rows: Mapping = rows) -> dict:
                seeds = [self._values[i]['seed'] for i in self._filled(self.chunks[chunk])]
                stacked = {
                    key: np.stack([rows[seed][key] for seed in seeds]) for key in (kind, 'label')
                }
                return jax.device_put(stacked, split)

            yield number, of_chunk

    def step(
        self,
        chunk: int,
        state: train.TrainState,
        number: jax.Array,
        batch: dict,
        groups: Mapping[str, frozenset[str]],
    ) -> tuple[train.TrainState, dict[str, jax.Array]]:
        """Trains the members of one chunk a step.

        Args:
            chunk: its number.
            state: of its members; its memory is given back.
            number: of the step, and
            batch: of `batches`.
            groups: the groups of parameters that train.

        Returns:
            The new state, and 'loss' and 'learning_rate' (size,).
        """
        if tuple(groups) not in self._steps:

            def one(values: dict, state: train.TrainState, number: jax.Array, batch: dict) -> tuple:
                # All are at the same step: with one number for all, what depends on it is shared.
                member = train.step_function(self._member(values), groups)
                return member(state.replace(step=number), batch)

            axes = (0, 0, None, None if self.shares_batch else 0)
            self._steps[tuple(groups)] = self._over_members(one, axes, donated=(1,))
        return self._steps[tuple(groups)](self._numbers[chunk], state, number, batch)

    def _probabilities(self, variables: dict, pictures: jax.Array) -> jax.Array:
        logits, _ = self.job.model.apply(variables, pictures, train=False)
        return jax.nn.softmax(logits)

    def predict(
        self, variables: Mapping[int, Any], table: loader.WindowTable, resident: Any
    ) -> dict[int, np.ndarray]:
        """Predicts with the members of some chunks; the features are computed once for all.

        Args:
            variables: of the members, by number of the chunk.
            table: windows.
            resident: the records, where they lie on the devices.

        Returns:
            Probabilities by number of the chunk, float32 [size, windows, classes].
        """
        outputs: dict[int, list[np.ndarray]] = {chunk: [] for chunk in variables}
        size = self.job.config.eval.batch_size
        for batch in loader.eval_batches(
            table, batch_size=size, **train.reading(self.job, resident)
        ):
            examples = train.put(batch, self.job, resident)[self.job.stored.kind]
            pictures = self._featurize(examples)
            for chunk in variables:
                outputs[chunk].append(jax.device_get(self._predict(variables[chunk], pictures)))
        return {
            chunk: np.concatenate(rows, axis=1)[:, : len(table)] for chunk, rows in outputs.items()
        }

    def keep(self, better: np.ndarray, new: Any, best: Any) -> Any:
        """Returns for each member of a chunk the new tree where it is better, else the best so far.

        Args:
            better: bool (size,).
            new: arrays (size, ...).
            best: the same; its memory is given back.
        """
        return self._keep(
            jax.device_put(better, NamedSharding(self.job.mesh, _OVER_MEMBERS)), new, best
        )
