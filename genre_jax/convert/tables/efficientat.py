"""Checkpoints of EfficientAT (fschmid56/EfficientAT), the networks mn with their ordinary head."""

from collections.abc import Mapping

import numpy as np

from genre_jax.convert.engine import Table
from genre_jax.convert.tables.lines import rules

_HIDDEN = 1280  # at a width of 1


def _describe(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    return {
        'width': tensors['classifier.2.weight'].shape[0] / _HIDDEN,
        'num_classes': len(tensors['classifier.5.weight']),
        'features': 'efficientat',
        'picture': (1000, 128),
    }


_RULES = r"""
    torch_layer  features\.(\d+)\.0                           features_\1_0           torch_conv_mel_first
    torch_norm   features\.(\d+)\.1                           features_\1_1
    torch_layer  features\.(\d+)\.block\.(\d)\.0              features_\1/block_\2_0  torch_conv_mel_first
    torch_norm   features\.(\d+)\.block\.(\d)\.1              features_\1/block_\2_1
    torch_layer  features\.(\d+)\.block\.(\d)\.GATE(fc\d)     features_\1/block_\2_\3 torch_linear
    torch_layer  classifier\.(\d)                             classifier_\1           torch_linear
"""
EFFICIENTAT = Table(
    title='EfficientAT by its authors (.pt)',
    model='efficientat',
    tags=(527,),
    marks=(
        r'features\.0\.0\.weight',
        r'features\.4\.block\.[12]\.conc_se_layers\.0\.fc1\.weight',
        r'classifier\.5\.weight',
    ),
    # Pictures are mel x time there.
    rules=rules(_RULES.replace('GATE', r'conc_se_layers\.0\.')),
    describe=_describe,
)
