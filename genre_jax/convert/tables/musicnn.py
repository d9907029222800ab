"""Checkpoints of the package musicnn: the network of that name, and its sister VGG."""

from collections.abc import Sequence

import numpy as np

from genre_jax.convert.engine import Table
from genre_jax.convert.tables.lines import rules

_CONVS = 'timbral_1 timbral_2 temporal_1 temporal_2 temporal_3 midend_1 midend_2 midend_3'.split()
_KERNELS = [f'{name}/conv {"without_height" * name.startswith("midend")}' for name in _CONVS]
_NORMS = ('bn_input', *(f'{name}/bn' for name in _CONVS), 'bn_pool', 'bn_dense')


def _lines(kind: str, layer: str, targets: Sequence[str]) -> str:
    """Returns lines of rules by TensorFlow's names: the first layer of a kind has no number."""
    names = [f'{layer}_{i}' if i else layer for i in range(len(targets))]
    return ''.join(f'{kind} {name} {target}\n' for name, target in zip(names, targets, strict=True))


def _without_height(kernel: np.ndarray) -> np.ndarray:
    """Reads a convolution over time whose kernel is as high as its only channel has rows."""
    return kernel[:, :, 0]


_OPTIMISER = 'left_out .*/Adam(_1)?|beta[12]_power(_1)?|.*global_step state of the optimiser'
MUSICNN = Table(
    title='musicnn by its authors (TensorFlow bundle)',
    model='musicnn',
    tags=(50,),
    marks=('conv2d/kernel', 'conv2d_7/kernel', 'batch_normalization_10/gamma', 'dense_1/kernel'),
    rules=rules(
        _lines('tf_layer', 'conv2d', _KERNELS)
        + _lines('tf_norm', 'batch_normalization', _NORMS)
        + _lines('tf_layer', 'dense', ('dense', 'logits'))
        + _OPTIMISER,
        without_height=_without_height,
    ),
    describe=lambda tensors, given: {
        'midend_filters': tensors['conv2d_5/kernel'].shape[3],
        'hidden_units': len(tensors['dense/bias']),
        'num_classes': len(tensors['dense_1/bias']),
        'features': 'musicnn',
        'picture': (187, round(tensors['conv2d_1/kernel'].shape[1] / 0.7)),
    },
)

VGG = Table(
    title='VGG by the authors of musicnn (TensorFlow bundle)',
    model='vgg',
    tags=(50,),
    marks=('1CNN/kernel', '5CNN/kernel', 'batch_normalization_5/gamma', 'dense/kernel'),
    rules=rules(
        r'tf_layer ([1-5])CNN conv\1'
        + '\n'
        + _lines('tf_norm', 'batch_normalization', ('bn_input', *(f'bn{i}' for i in range(1, 6))))
        + _lines('tf_layer', 'dense', ('logits',))
        + _OPTIMISER
    ),
    describe=lambda tensors, given: {
        'filters': tensors['1CNN/kernel'].shape[3],
        'num_classes': len(tensors['dense/bias']),
        'features': 'musicnn',
        'picture': (187, 96),
    },
)
