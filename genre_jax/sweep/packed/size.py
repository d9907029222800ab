"""How many runs of a packed sweep one device computes at once."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from genre_jax.training import step as train
from genre_jax.training import step_numbers
from genre_jax.training.job import Job

# Where a device does not tell its memory: so much for the members that lie on it.
_UNTOLD_BYTES = 2 * 2**30
_SHARE = 0.7  # of a device's memory


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
    labels = jax.ShapeDtypeStruct(examples.shape[:1], np.int32)
    step = jax.jit(train.numbered_step(alone, job.plan.all_groups)).lower(
        step_numbers.of_config(job.config), state, {job.stored.kind: examples, 'label': labels}
    )
    own = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    of_member = 2 * own + step.compile().memory_analysis().temp_size_in_bytes
    return max(1, min(int(_SHARE * memory / of_member), -(-members // job.mesh.size)))
