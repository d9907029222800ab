"""Checkpoints of musicnn (the package of that name)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genre_jax.convert.engine import Rule, Table

_CONVS = 'timbral_1 timbral_2 temporal_1 temporal_2 temporal_3 midend_1 midend_2 midend_3'.split()
_NORMS = ('bn_input', *(f'{name}/bn' for name in _CONVS), 'bn_pool', 'bn_dense')


def _counted(kind: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the names of TensorFlow beside ours: the first layer of a kind has no number."""
    return [(f'{kind}_{i}' if i else kind, name) for i, name in enumerate(names)]


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
                f'{old}/{part}',
                f'params/{new}/conv/{part}',
                _without_height if new.startswith('midend') and part == 'kernel' else 'same',
            )
            for old, new in _counted('conv2d', _CONVS)
            for part in ('kernel', 'bias')
        ),
        *(
            Rule(f'{old}/{theirs}', ours.format(new))
            for old, new in _counted('batch_normalization', _NORMS)
            for theirs, ours in (
                ('gamma', 'params/{}/scale'),
                ('beta', 'params/{}/bias'),
                ('moving_mean', 'batch_stats/{}/mean'),
                ('moving_variance', 'batch_stats/{}/var'),
            )
        ),
        *(
            Rule(f'{old}/{part}', f'params/{new}/{part}')
            for old, new in _counted('dense', ('dense', 'logits'))
            for part in ('kernel', 'bias')
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
