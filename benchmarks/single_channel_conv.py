"""The shallow CNN's convolutions: the project's layout against `nn.Conv`, forward and backward.

python -m benchmarks.single_channel_conv [--json FILE] [--batch 64] [--repeats 9]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np

from genre_jax.models.layers import SingleChannelConv, he_normal


def time_interleaved(
    functions: dict[str, Callable[[], jax.Array]], repeats: int
) -> dict[str, float]:
    """Times functions in turn, so that what else the machine does hits all alike.

    Args:
        functions: by name; called once before for compilation.
        repeats: rounds.

    Returns:
        Median seconds of each.
    """
    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Prints a row for each of the two kernels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=pathlib.Path, help='also write the rows to this file')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--repeats', type=int, default=9)
    options = parser.parse_args()
    pictures = jax.numpy.asarray(
        np.random.default_rng(0).standard_normal((options.batch, 80, 80)), dtype='float32'
    )
    rows = []
    for kernel_size in ((23, 10), (20, 21)):
        ours = SingleChannelConv(16, kernel_size, he_normal(0.3))
        plain = nn.Conv(16, kernel_size)
        variables = ours.init(jax.random.key(0), pictures)

        def gradient(apply, variables=variables):
            step = jax.jit(jax.grad(lambda v, x: (apply(v, x) ** 2).mean()))
            return lambda: step(variables, pictures)

        seconds = time_interleaved(
            {
                'ours': gradient(lambda v, x, ours=ours: ours.apply(v, x)),
                'reference': gradient(lambda v, x, plain=plain: plain.apply(v, x[..., None])),
            },
            options.repeats,
        )
        rows.append(
            {
                'name': f'conv {kernel_size[0]} x {kernel_size[1]}, forward and backward',
                'ours_s': seconds['ours'],
                'reference': 'flax.linen.Conv',
                'reference_s': seconds['reference'],
                'ratio': seconds['reference'] / seconds['ours'],
            }
        )
        print(
            '{name}: {ours_s:.3f} s, {reference} {reference_s:.3f} s, ratio {ratio:.2f}'.format(
                **rows[-1]
            )
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == '__main__':
    main()
