"""Checkpoints of musicnn (the package of that name)."""

from __future__ import annotations

import numpy as np

from genre_jax.convert.engine import Rule, Table

_MUSICNN_CONVS = (
    *('timbral_1', 'timbral_2', 'temporal_1', 'temporal_2', 'temporal_3'),
    *('midend_1', 'midend_2', 'midend_3'),
)
_MUSICNN_NORMS = ('bn_input', *(f'{name}/bn' for name in _MUSICNN_CONVS), 'bn_pool', 'bn_dense')


def _counted(name: str, number: int) -> str:
    """Returns the name that TensorFlow gives to a layer of a kind: the first has no number."""
    return f'{name}_{number}' if number else name


def _without_height(kernel: np.ndarray) -> np.ndarray:
    """Reads a convolution over time whose kernel is as high as its only channel has rows."""
    return kernel[:, :, 0]


MUSICNN = Table(
    title='musicnn by its authors (TensorFlow bundle)',
    model='musicnn',
    marks=('conv2d/kernel', 'conv2d_7/kernel', 'batch_normalization_10/gamma', 'dense_1/kernel'),
    rules=(
        *(
            Rule(
                f'{_counted("conv2d", i)}/{part}',
                f'params/{name}/conv/{part}',
                _without_height if name.startswith('midend') and part == 'kernel' else 'same',
            )
            for i, name in enumerate(_MUSICNN_CONVS)
            for part in ('kernel', 'bias')
        ),
        *(
            Rule(f'{_counted("batch_normalization", i)}/{old}', f'{kind}/{name}/{new}')
            for i, name in enumerate(_MUSICNN_NORMS)
            for old, kind, new in (
                ('gamma', 'params', 'scale'),
                ('beta', 'params', 'bias'),
                ('moving_mean', 'batch_stats', 'mean'),
                ('moving_variance', 'batch_stats', 'var'),
            )
        ),
        *(
            Rule(f'{_counted("dense", i)}/{name}', f'params/{layer}/{name}')
            for i, layer in enumerate(('dense', 'logits'))
            for name in ('kernel', 'bias')
        ),
        Rule('.*/Adam(_1)?|beta[12]_power(_1)?|.*global_step', reason='state of the optimiser'),
    ),
    describe=lambda tensors, given: {
        'midend_filters': tensors['conv2d_5/kernel'].shape[3],
        'hidden_units': len(tensors['dense/bias']),
        'num_classes': len(tensors['dense_1/bias']),
        'features': 'musicnn',
        'picture': (187, round(tensors['conv2d_1/kernel'].shape[1] / 0.7)),
    },
)
