"""Whole training steps, from int16 samples to Adam, beside PyTorch's, with their share of the peak.

python -m benchmarks.train [--only ast cnn14] [--batch 32] [--tiny] [--json FILE] [--device gpu] [--repeats 9]

AST on 10 s in bfloat16 beside transformers' (SDPA attention, autocast, torch.compile), CNN14 on 10 s beside
the same in PyTorch; theirs begins with features that are there already. The peak is the data sheet's (see
genre_jax.compile); on a CPU there is none, and --tiny shows that all of it runs.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from benchmarks import timing
from genre_jax import sharding
from genre_jax.compile.steps import KINDS
from genre_jax.configs import finetune
from genre_jax.loading import prepared
from genre_jax.training import step as train
from genre_jax.training.job import Job, make_job

_CLASSES = 10
_RATES_HZ = {'ast': 16000, 'cnn14': 32000}
_TINY_AST = {'width': 48, 'depth': 2, 'heads': 2}


def make_ours(name: str, batch: int, tiny: bool) -> tuple[Job, Callable, Callable, float]:
    """Returns the job, what trains a step, what computes its features alone, and operations of a step.

    Args:
        name: of _RATES_HZ.
        batch: examples.
        tiny: a small AST, short windows.
    """
    config = finetune.get_config(f'model={name},pretrained=False')
    config.optim.freeze = ''
    config.windows.window_s = 2.0 if tiny else 10.0
    config.train.batch_size = batch
    if name == 'ast':
        config.features.target_frames = 0
        config.model.update(dtype='bfloat16', **(_TINY_AST if tiny else {}))
    rate_hz = _RATES_HZ[name]
    window = round(config.windows.window_s * rate_hz)
    names = tuple(f'class {i}' for i in range(_CLASSES))
    job = make_job(config, prepared.Stored('audio', (window,), rate_hz, names), 1000, sharding.make_mesh())
    rng = np.random.default_rng(0)
    audio = (3000 * rng.standard_normal((batch, window))).astype(np.int16)
    labels = rng.integers(0, _CLASSES, batch).astype(np.int32)
    placed = sharding.put_batch({'audio': audio, 'label': labels}, job.mesh)
    held, numbers = [train.make_state(job)], train.placed_numbers(job)
    step = train.train_program(job, job.plan.groups(0)).lower(numbers, held[0], placed).compile()
    featurize = jax.jit(job.featurize)

    def run() -> jax.Array:
        held[0], facts = step(numbers, held[0], placed)
        return facts['loss']

    return job, run, lambda: featurize(placed), step.cost_analysis()['flops']


def make_theirs(name: str, job: Job, batch: int) -> Callable:
    """Returns a training step of the same network in PyTorch, from features.

    Args:
        name: of _RATES_HZ.
        job: ours, for the shapes.
        batch: examples.
    """
    import torch

    from benchmarks import torch_models

    gpu = torch.cuda.is_available()
    frames, bins = job.picture
    if name == 'ast':
        import transformers

        config = transformers.ASTConfig(
            hidden_size=job.config.model.width, num_hidden_layers=job.config.model.depth,
            num_attention_heads=job.config.model.heads, intermediate_size=4 * job.config.model.width,
            num_labels=_CLASSES, max_length=frames, num_mel_bins=bins, attn_implementation='sdpa',
        )  # fmt: skip
        network = transformers.ASTForAudioClassification(config)
        shape = (batch, frames, bins)
    else:
        network = torch_models.PannsCnn((64, 128, 256, 512, 1024, 2048), 3, 2, _CLASSES)
        shape = (batch, 1, frames, bins)
    place = torch.device('cuda' if gpu else 'cpu')
    network = network.to(place).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-5)
    pictures = torch.randn(shape, device=place)
    labels = torch.randint(0, _CLASSES, (batch,), device=place)
    forward = torch.compile(network) if gpu else network

    def run() -> float:
        with torch.autocast(place.type, torch.bfloat16, enabled=name == 'ast'):
            logits = forward(pictures)
            logits = logits.logits if name == 'ast' else logits
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()  # waits for the device

    return run


def main() -> None:
    """Prints a row for each network, then shares."""
    parser = timing.parser(__doc__)
    parser.add_argument('--only', nargs='+', choices=tuple(_RATES_HZ), help='networks')
    parser.add_argument('--batch', type=int, default=32, help='examples of a step')
    parser.add_argument('--tiny', action='store_true', help='small sizes, to see it run')
    options = parser.parse_args()
    timing.use_device(options.device)
    table, told = timing.Table(), []
    kind = next((k for k in KINDS.values() if k.name == jax.devices()[0].device_kind), None)
    for name in options.only or _RATES_HZ:
        job, ours, featurize, operations = make_ours(name, options.batch, options.tiny)
        jobs = {'ours': ours, 'features': featurize, 'theirs': make_theirs(name, job, options.batch)}
        seconds = timing.time_interleaved(jobs, options.repeats)
        reference = 'transformers, SDPA' if name == 'ast' else 'PyTorch'
        table.add(f'{name}, batch {options.batch}', seconds['ours'], reference, seconds['theirs'])
        share = seconds['features'] / seconds['ours']
        peak = ''
        if kind:
            rate = kind.bfloat16 if name == 'ast' else kind.float32[0]
            peak = f', {100 * operations / seconds["ours"] / rate / jax.device_count():.1f} % of the peak'
        told.append(
            f'{name}: {options.batch / seconds["ours"]:.1f} examples/s, features {100 * share:.1f} %{peak}'
        )
        table.rows[-1] |= {'features_s': seconds['features'], 'operations': operations}
    print('\n'.join(told))
    table.write(options.json)


if __name__ == '__main__':
    main()
