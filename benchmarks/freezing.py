"""A training step with frozen layers, or narrow kernels, beside one that trains all: time, and memory.

python -m benchmarks.freezing [--only yamnet ast] [--json FILE] [--device cpu] [--repeats 9]

Memory is what the step needs besides its arguments, and those: parameters, and what the optimiser keeps.
The whole step of `genre_jax.training.step` on configs/finetune.py: front end, network, gradients, Adam.
"""

from __future__ import annotations

import jax
import numpy as np

from benchmarks import timing
from genre_jax import sharding
from genre_jax.configs import finetune
from genre_jax.loading import prepared
from genre_jax.training import step as train
from genre_jax.training.job import make_job

# Settings of config.optim.freeze by network, those of AST and CNN14 are Kirby and Bhateja's; or lora_rank.
_FREEZE = {
    'yamnet': ('', 'first 8', 'all but head'),
    'musicnn': ('', 'first 1', 'all but head'),
    'cnn14': ('', 'all but last 3', 'all but last 2'),
    'ast': ('', 'first 8', 'first 10', 'lora_rank=8'),
}
_BATCH = {'yamnet': 16, 'musicnn': 8, 'cnn14': 2, 'ast': 1}
_CLASSES = 8


def make_step(model: str, freeze: str) -> tuple:
    """Returns a function that trains one step, and the MiB of the step besides its arguments, and of these.

    Args:
        model: an argument of configs/finetune.py.
        freeze: config.optim.freeze, or 'lora_rank=N'.
    """
    config = finetune.get_config(f'model={model},pretrained=False')
    key, _, rank = freeze.partition('lora_rank=')
    config.optim.update(freeze=key, lora_rank=int(rank or 0))
    config.train.batch_size = _BATCH[model]
    rate_hz = 16000 if model != 'cnn14' else 32000
    window = round(config.windows.window_s * rate_hz)
    labels = tuple(f'class {i}' for i in range(_CLASSES))
    stored = prepared.Stored('audio', (window,), rate_hz, labels)
    job = make_job(config, stored, 1000, sharding.make_mesh())
    rng = np.random.default_rng(0)
    audio = (3000 * rng.standard_normal((_BATCH[model], window))).astype(np.int16)
    labels = rng.integers(0, _CLASSES, _BATCH[model]).astype(np.int32)
    batch = sharding.put_batch({'audio': audio, 'label': labels}, job.mesh)
    held = [train.make_state(job)]
    numbers = train.placed_numbers(job)
    step = train.train_program(job, job.plan.groups(0)).lower(numbers, held[0], batch).compile()

    def run() -> jax.Array:
        held[0], facts = step(numbers, held[0], batch)
        return facts['loss']

    memory = step.memory_analysis()
    return run, memory.temp_size_in_bytes / 2**20, memory.argument_size_in_bytes / 2**20


def main() -> None:
    """Prints a row for each way of freezing."""
    parser = timing.parser(__doc__)
    parser.add_argument('--only', nargs='+', choices=tuple(_FREEZE), help='networks')
    options = parser.parse_args()
    timing.use_device(options.device)
    table = timing.Table()
    for model in options.only or _FREEZE:
        steps = {freeze: make_step(model, freeze) for freeze in _FREEZE[model]}
        seconds = timing.time_interleaved({f: run for f, (run, *_) in steps.items()}, options.repeats)
        for freeze in _FREEZE[model][1:]:
            table.add(f'{model} {freeze}', seconds[freeze], 'all layers train', seconds[''])
            for i, name in ((1, 'step'), (2, 'arguments')):
                own, reference = steps[freeze][i], steps[''][i]
                table.rows[-1] |= {f'{name}_mib': own, f'reference_{name}_mib': reference}
                print(f'{name:>34} {own:7.0f} MiB {"":26} {reference:7.0f} MiB')
        jax.clear_caches()
    table.write(options.json)


if __name__ == '__main__':
    main()
