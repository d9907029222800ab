"""The shallow CNN's convolutions: the project's layout against `nn.Conv`, forward and backward.

python -m benchmarks.single_channel_conv [--json FILE] [--batch 64] [--repeats 9]
"""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np

from benchmarks import timing
from genre_jax.models.kernels.convolution import SingleChannelConv
from genre_jax.models.shallow_cnn import he_normal


def main() -> None:
    """Prints a row for each of the two kernels."""
    parser = timing.parser(__doc__)
    parser.add_argument('--batch', type=int, default=64)
    options = parser.parse_args()
    timing.use_device(options.device)
    pictures = jax.numpy.asarray(
        np.random.default_rng(0).standard_normal((options.batch, 80, 80)), dtype='float32'
    )
    table = timing.Table()
    for kernel_size in ((23, 10), (20, 21)):
        ours = SingleChannelConv(16, kernel_size, he_normal(0.3))
        plain = nn.Conv(16, kernel_size)
        variables = ours.init(jax.random.key(0), pictures)

        def gradient(apply, variables=variables):
            step = jax.jit(jax.grad(lambda v, x: (apply(v, x) ** 2).mean()))
            return lambda: step(variables, pictures)

        seconds = timing.time_interleaved(
            {
                'ours': gradient(lambda v, x, ours=ours: ours.apply(v, x)),
                'reference': gradient(lambda v, x, plain=plain: plain.apply(v, x[..., None])),
            },
            options.repeats,
        )
        table.add(
            f'conv {kernel_size[0]} x {kernel_size[1]}, forward and backward',
            seconds['ours'],
            'flax.linen.Conv',
            seconds['reference'],
        )
    table.write(options.json)


if __name__ == '__main__':
    main()
