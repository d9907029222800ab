"""Checkpoints: the whole training state and its metrics in one atomic save, by orbax.

The data iterator is not saved: the order of the data is a function of the step (see loader.py), so a
run may even continue on another number of processes.
"""

import hashlib
import json
import os
import pathlib
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from genre_jax import sharding
from genre_jax.errors import UserError


def digest(tree: Any) -> str:
    """Returns the SHA-256 of all leaves of a tree: paths, types, shapes and bytes; all processes call it."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(sharding.fetch(tree)):
        leaf = np.asarray(leaf)
        sha.update(f'{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n'.encode())
        sha.update(np.ascontiguousarray(leaf))
    return sha.hexdigest()


def _rank(metrics: dict) -> list[float]:
    return metrics['rank']


def _file_digests(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob('*'))
        if file.is_file()
    }


class Checkpoints:
    """The checkpoints of one run: the latest few, and the best.

    A checkpoint counts once `checkpoints_sha256/<step>.json` holds the digests of its files and they
    agree. So damage is found before orbax meets it, whatever the damage is.
    """

    def __init__(self, folder: pathlib.Path, keep_latest: int) -> None:
        """Opens or creates the folder; sets damaged and unfinished checkpoints aside.

        The newest `keep_latest` are kept besides the best: at least 2, since the newest may be unfinished.
        """
        self._folder = folder.absolute()
        self._digests = self._folder.with_name(f'{folder.name}_sha256')
        if jax.process_index() == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._digests.mkdir(exist_ok=True)
            self._set_damaged_aside()
        multihost_utils.sync_global_devices('checkpoints verified')
        policies = ocp.training.preservation_policies
        best = policies.BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False)
        self._checkpointer = ocp.training.Checkpointer(
            self._folder,
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep_latest), best]),
            cleanup_tmp_directories=True,
        )

    def _set_damaged_aside(self) -> None:
        """Moves what is not whole to `checkpoints_damaged/`, with a warning; deletes nothing."""
        for checkpoint in sorted(self._folder.iterdir()):
            if not checkpoint.name.isdigit():
                continue  # orbax's own leftovers of a save that was cut off; it removes them
            try:
                digests = json.loads((self._digests / f'{checkpoint.name}.json').read_text())
                if digests == _file_digests(checkpoint):
                    continue
                reason = 'is damaged'
            except FileNotFoundError:
                reason = 'was not finished'
            except ValueError:
                reason = 'has damaged checksums'
            logging.warning(
                'the checkpoint of step %s %s: falling back to the newest whole one (moved to %s)',
                checkpoint.name, reason, self._set_aside(checkpoint),
            )  # fmt: skip

    def _set_aside(self, checkpoint: pathlib.Path) -> pathlib.Path:
        target = self._folder.with_name(f'{self._folder.name}_damaged') / checkpoint.name
        target.parent.mkdir(exist_ok=True)
        while target.exists():
            target = target.with_name(f'{target.name}_again')
        return checkpoint.rename(target)

    def save(self, step: int, state: Any, rank: list[float] | None) -> None:
        """Saves the state after `step` steps; returns when it is on disk whole.

        Ranks are compared element by element, larger is better; None if nothing was evaluated here.
        """
        metrics = None if rank is None else {'rank': rank}
        self._checkpointer.save_checkpointables(step, {'state': state}, force=True, metrics=metrics)
        if jax.process_index() == 0:
            digests = self._digests / f'{step}.json'
            temporary = digests.with_suffix('.tmp')
            temporary.write_text(json.dumps(_file_digests(self._folder / str(step))))
            os.replace(temporary, digests)
            for file in self._digests.iterdir():
                if not (self._folder / file.stem).exists():
                    file.unlink()

    def newest_before(self, step: int) -> int | None:
        """Returns the newest checkpoint of fewer steps, and sets those aside that are not."""
        for checkpoint in self._checkpointer.checkpoints:
            if checkpoint.step >= step and jax.process_index() == 0:
                self._set_aside(self._folder / str(checkpoint.step))
        return max((c.step for c in self._checkpointer.checkpoints if c.step < step), default=None)

    def restore_latest(self, abstract_state: Any) -> tuple[int, Any] | None:
        """Returns the newest checkpoint's step and state, or None where there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else self._restore(latest.step, abstract_state)

    def restore_best(self, abstract_state: Any) -> tuple[int, Any]:
        """Returns the best checkpoint's step and state; UserError: none was evaluated."""
        evaluated = [each for each in self._checkpointer.checkpoints if each.metrics]
        if not evaluated:
            raise UserError(f'{self._folder} holds no evaluated checkpoint: train again in a new --workdir')
        best = max(evaluated, key=lambda checkpoint: _rank(checkpoint.metrics))
        return self._restore(best.step, abstract_state)

    def _restore(self, step: int, abstract_state: Any) -> tuple[int, Any]:
        loaded = self._checkpointer.load_checkpointables(step, {'state': abstract_state})
        return step, loaded['state']

    def close(self) -> None:
        """Waits for everything to be on disk."""
        self._checkpointer.close()
