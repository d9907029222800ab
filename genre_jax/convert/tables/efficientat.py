"""Checkpoints of EfficientAT (fschmid56/EfficientAT), the networks mn with their ordinary head."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from absl import logging

from genre_jax import features
from genre_jax.convert.engine import Table
from genre_jax.convert.tables.lines import rules

_HIDDEN = 1280  # at a width of 1
_CLIP_S = 10  # that the published ones learnt from
_SIZES = ('hop_length', 'n_mels')


def _describe(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    front_end = features.find('efficientat')()
    open_ones = [key for key in _SIZES if key not in given]
    if open_ones:
        taken = ' and '.join(f'{key}={getattr(front_end, key)}' for key in open_ones)
        logging.warning(
            'the weights of an EfficientAT do not tell what they heard: %s is taken, as of most that are '
            'published; else name it: python -m genre_jax.convert --set=hop_length=480 --set=n_mels=64', taken
        )  # fmt: skip
    front_end = dataclasses.replace(front_end, **{key: given[key] for key in _SIZES if key in given})
    frames = round(_CLIP_S * front_end.sample_rate_hz / front_end.hop_length)
    return {
        'width': given.get('width', tensors['classifier.2.weight'].shape[0] / _HIDDEN),  # rounded
        'num_classes': len(tensors['classifier.5.weight']),
        'features': 'efficientat',
        'picture': (frames, front_end.n_mels),
        'front_end': dataclasses.asdict(front_end),
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
    sizes=_SIZES,
)
