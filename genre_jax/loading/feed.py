"""How windows reach the devices: one interface for training and evaluation, several ways behind it.

`Streamed` reads records ahead and copies each batch over; `resident.Resident` has all records on the devices
and cuts the windows there. Order and content of the batches are the same. `Featured` has the features
computed once, and hands these on instead.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from genre_jax import sharding
from genre_jax.loading import loader, prepared
from genre_jax.loading.resident import Resident


class Feed(Protocol):
    """Yields what is on the devices already.

    Training takes blocks: a batch, or, where `most_steps` of a block is above 1, what `batch_of_block` cuts
    the batches of several steps from, inside the program that trains them.
    """

    most_steps: int

    def train(
        self, table: loader.WindowTable, first_step: int, last_step: int
    ) -> Callable[[int], tuple[int, Any]]:
        """Returns what takes the next block, of at most so many steps: their number, and the block.

        The training has done `first_step` steps before, and `last_step` after the last block.
        """

    def evaluate(self, table: loader.WindowTable) -> Iterator[dict[str, jax.Array]]:
        """Yields batches of all windows in order, of config.eval.batch_size, the last repeated.

        A batch holds what is stored under its kind, and 'tonic_hz'; or 'features'.
        """

    def batch_of_block(self, block: Any, i: jax.Array) -> dict[str, jax.Array]:
        """Returns the batch of a step of a block; to be traced."""


def open_feed(
    config: ml_collections.ConfigDict, dataset: prepared.Dataset, stored: prepared.Stored, mesh: Mesh
) -> Feed:
    """Returns the feed that config.train asks for."""
    if config.train.device_resident:
        return Resident(config, dataset, stored, mesh)
    return Streamed(config, mesh)


class Streamed:
    """Batches that are read, and copied one by one; each process reads the rows that its devices hold."""

    most_steps = 1

    def __init__(self, config: ml_collections.ConfigDict, mesh: Mesh) -> None:
        """Notes how to read: `config` is the whole config."""
        self._config, self._mesh = config, mesh

    def _reading(self, batch_size: int) -> dict[str, Any]:
        return {
            'batch_size': batch_size,
            'rows': sharding.rows_here(batch_size, self._mesh),
            'workers': self._config.train.loader_workers,
        }

    def train(
        self, table: loader.WindowTable, first_step: int, last_step: int
    ) -> Callable[[int], tuple[int, Any]]:
        """See `Feed.train`."""
        batches = loader.train_batches(
            table,
            seed=self._config.seed,
            first_step=first_step,
            steps=last_step - first_step,
            **self._reading(self._config.train.batch_size),
        )
        return lambda most: (1, sharding.put_batch(next(batches), self._mesh))

    def evaluate(self, table: loader.WindowTable) -> Iterator[dict[str, jax.Array]]:
        """See `Feed.evaluate`."""
        for batch in loader.eval_batches(table, **self._reading(self._config.eval.batch_size)):
            heard = {key: batch[key] for key in (table.stored.kind, 'tonic_hz')}
            yield sharding.put_batch(heard, self._mesh)


class Featured:
    """Batches of features, key 'features', computed of all windows of a table when it is first read.

    For windows that stay the same; evaluation yields features, too.
    """

    most_steps = 1

    def __init__(
        self, config: ml_collections.ConfigDict, mesh: Mesh, inner: Feed, featurize: Callable
    ) -> None:
        """Notes how to compute them: `inner` yields what is stored, `featurize` makes features of a batch."""
        self._config, self._mesh, self._inner = config, mesh, inner
        self._featurize = jax.jit(featurize, out_shardings=sharding.replicated(mesh))
        self._computed: dict[loader.WindowTable, np.ndarray] = {}

    def _features(self, table: loader.WindowTable) -> np.ndarray:
        if table not in self._computed:
            batches = [np.asarray(self._featurize(batch)) for batch in self._inner.evaluate(table)]
            self._computed[table] = np.concatenate(batches)[: len(table)]
        return self._computed[table]

    def train(
        self, table: loader.WindowTable, first_step: int, last_step: int
    ) -> Callable[[int], tuple[int, Any]]:
        """See `Feed.train`."""
        features, batch_size = self._features(table), self._config.train.batch_size
        batches = loader.train_batches(
            table,
            batch_size=batch_size,
            seed=self._config.seed,
            first_step=first_step,
            steps=last_step - first_step,
            rows=sharding.rows_here(batch_size, self._mesh),
            places=True,
        )

        def take(most: int) -> tuple[int, Any]:
            places = next(batches)
            known = {key: places[key] for key in loader.KNOWN}
            return 1, sharding.put_batch({'features': features[places['row']]} | known, self._mesh)

        return take

    def evaluate(self, table: loader.WindowTable) -> Iterator[dict[str, jax.Array]]:
        """See `Feed.evaluate`."""
        features, batch_size = self._features(table), self._config.eval.batch_size
        for first in range(0, len(table), batch_size):
            rows = first + sharding.rows_here(batch_size, self._mesh)
            rows = np.minimum(rows, len(table) - 1)
            yield sharding.put_batch({'features': features[rows]}, self._mesh)
