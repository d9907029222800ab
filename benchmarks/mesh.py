"""What one device holds, and needs besides, in a training step on meshes of eight: nothing is computed.

JAX_NUM_CPU_DEVICES=8 python -m benchmarks.mesh [--only ast] [--meshes 8x1x1 1x8x1]

The step of configs/finetune.py with nothing frozen, compiled for virtual CPU devices; XLA says the rest.
"""

from __future__ import annotations

import argparse

import jax
import numpy as np

from genre_jax import sharding
from genre_jax.configs import finetune
from genre_jax.loading import prepared
from genre_jax.training import step as train
from genre_jax.training.job import make_job

_RATE_HZ = {'ast': 16000, 'cnn14': 32000}
_BATCH = 8


def memory_mib(model: str, shape: tuple[int, int, int]) -> tuple[float, float]:
    """Returns the MiB of a step's arguments, the state and the batch, and of what it needs besides."""
    config = finetune.get_config(f'model={model},pretrained=False')
    config.optim.freeze, config.optim.unfreeze_at = '', ''
    config.train.batch_size = _BATCH
    rate_hz = _RATE_HZ[model]
    stored = prepared.Stored('audio', (round(config.windows.window_s * rate_hz),), rate_hz, ('a', 'b'))
    mesh = sharding.make_mesh(sizes=dict(zip(('data', 'fsdp', 'model'), shape, strict=True)))
    job = make_job(config, stored, 1000, mesh)
    shapes = {stored.kind: stored.batch(_BATCH), 'label': jax.ShapeDtypeStruct((_BATCH,), np.int32)}
    step = train.train_program(job, job.plan.groups(0))
    state = jax.eval_shape(lambda: train.init_state(job))
    memory = step.lower(train.placed_numbers(job), state, shapes).compile().memory_analysis()
    return memory.argument_size_in_bytes / 2**20, memory.temp_size_in_bytes / 2**20


def main() -> None:
    """Prints a row for each network and mesh."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--only', nargs='+', choices=tuple(_RATE_HZ), default=tuple(_RATE_HZ))
    parser.add_argument('--meshes', nargs='+', default=('8x1x1', '1x8x1', '2x1x4', '2x2x2'))
    options = parser.parse_args()
    for model in options.only:
        for mesh in options.meshes:
            arguments, temporaries = memory_mib(model, tuple(map(int, mesh.split('x'))))
            print(f'{model:6} {mesh}  {arguments:7.0f} MiB  {temporaries:7.0f} MiB', flush=True)
            jax.clear_caches()


if __name__ == '__main__':
    main()
