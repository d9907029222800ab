"""Checkpoints of two course projects: Herbert's shallow CNN, and the networks of Bu et al.

Sources: github.com/georgeherbert/music-genre-classification, github.com/W-Bu-coder/music_classification.
"""

import functools
from collections.abc import Mapping

import numpy as np

from genre_jax.convert.engine import Table
from genre_jax.convert.tables.lines import rules


def _rows_time_first(weight: np.ndarray) -> np.ndarray:
    """Orders the inputs of fc_1, channel x mel x time after each pooling, by time, mel, channel."""
    left, right = np.split(weight, 2, axis=1)
    ordered = [
        part.reshape(-1, 16, mel, time).transpose(0, 3, 2, 1).reshape(len(weight), -1)
        for part, mel, time in ((left, 80, 4), (right, 4, 80))
    ]
    return np.concatenate(ordered, axis=1).T


SHALLOW_CNN = Table(
    title="Herbert's shallow CNN (.pth)",
    model='shallow_cnn',
    marks=(r'conv_left\.weight', r'conv_right\.weight', r'fc_2\.weight'),
    rules=rules(
        r"""
        torch_layer  conv_(left|right)     conv_\1     torch_conv_mel_first
        torch_norm   bn_conv_(left|right)  bn_conv_\1
        torch_layer  fc_1                  fc_1        time_first
        torch_layer  fc_2                  fc_2        torch_linear
        """,
        time_first=_rows_time_first,
    ),
    describe=lambda tensors, given: {
        'batch_norm': 'bn_conv_left.weight' in tensors,
        'hidden_units': len(tensors['fc_1.bias']),
        'num_classes': len(tensors['fc_2.bias']),
        'features': 'schindler',
        'picture': (80, 80),
    },
)

_TRUNK = r"""
    torch_layer  cnn_features\.0                    cnn_features_0                 torch_conv_mel_first
    torch_norm   cnn_features\.1                    cnn_features_1
    tensor       cnn_features\.([47])\.([03])\.weight  params/cnn_features_\1_\2/kernel  torch_conv_mel_first
    torch_norm   cnn_features\.([47])\.([14])         cnn_features_\1_\2
    torch_layer  classifier\.(\d)                    classifier_\1                  torch_linear
"""
_HYBRID = r"""
    tensor       KIND\.weight_ih_(l\d)  params/KIND_\1/input_kernel   torch_linear
    tensor       KIND\.weight_hh_(l\d)  params/KIND_\1/hidden_kernel  torch_linear
    tensor       KIND\.bias_ih_(l\d)    params/KIND_\1/input_bias
    tensor       KIND\.bias_hh_(l\d)    params/KIND_\1/hidden_bias
    torch_layer  residual_proj          residual_proj                torch_linear
    torch_layer  attention\.(\d)        attention_\1                 torch_linear
    left_out     gate\.0\.(weight|bias)  a gate that was built and never called
"""


def _describe(tensors: Mapping[str, np.ndarray], given: Mapping, head: str) -> dict:
    return {'num_classes': len(tensors[head]), 'features': 'fma_mel', 'picture': (1292, 128)}


EFFICIENT_CNN = Table(
    title='Efficient CNN of Bu et al. (.pth)',
    model='efficient_cnn',
    marks=(r'cnn_features\.0\.weight', r'classifier\.4\.weight'),
    rules=rules(_TRUNK),
    describe=functools.partial(_describe, head='classifier.4.bias'),
)


def _hybrid(model: str, kind: str) -> Table:
    return Table(
        title=f'{model} of Bu et al. (.pth)',
        model=model,
        marks=(r'cnn_features\.0\.weight', rf'{kind}\.weight_ih_l0', r'residual_proj\.weight'),
        rules=rules(_TRUNK + _HYBRID.replace('KIND', kind)),
        describe=functools.partial(_describe, head='classifier.1.bias'),
    )


CNN_GRU = _hybrid('cnn_gru', 'gru')
CNN_GRU_ATTENTION = _hybrid('cnn_gru_attention', 'gru')  # the same tensors
CNN_LSTM = _hybrid('cnn_lstm', 'lstm')
