"""Checkpoints of YAMNet: by its authors (tensorflow/models), for LiteRT, and its port to PyTorch."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

import numpy as np

from genre_jax.convert.engine import Rule, Table
from genre_jax.convert.tables.torch_layers import torch_layers, torch_norm
from genre_jax.errors import UserError


def _describe(tensors: Mapping[str, np.ndarray], given: Mapping, head: str, axis: int) -> dict:
    # Variables in the file are named by their scope and by themselves: the key may be a pattern.
    (key,) = (key for key in tensors if re.fullmatch(head, key))
    return {'num_classes': tensors[key].shape[axis], 'features': 'yamnet', 'picture': (96, 64)}


def _keras_yamnet_norm(pattern: str, target: str) -> tuple[Rule, ...]:
    names = {'beta': 'params/{}/bias', 'moving_mean': 'batch_stats/{}/mean'}
    names['moving_variance'] = 'batch_stats/{}/var'
    return tuple(
        Rule(rf'{pattern}/bn/(?:.*/)?{theirs}(?::0)?', ours.format(target))
        for theirs, ours in names.items()
    )


YAMNET_KERAS = Table(
    title='YAMNet by its authors (.h5)',
    model='yamnet',
    marks=(
        'layer1/conv/(?:.*/)?kernel(?::0)?',
        'layer14/depthwise_conv/(?:.*/)?depthwise_kernel(?::0)?',
        'logits/(?:.*/)?kernel(?::0)?',
    ),
    rules=(
        Rule(r'layer1/conv/(?!bn/)(?:.*/)?kernel(?::0)?', 'params/layer1/conv/kernel'),
        *_keras_yamnet_norm('layer1/conv', 'layer1/bn'),
        Rule(
            r'(layer\d+)/depthwise_conv/(?:.*/)?depthwise_kernel(?::0)?',
            r'params/\1/depthwise_conv/kernel',
            'keras_depthwise',
        ),
        *_keras_yamnet_norm(r'(layer\d+)/depthwise_conv', r'\1/depthwise_bn'),
        Rule(
            r'(layer\d+)/pointwise_conv/(?:.*/)?kernel(?::0)?', r'params/\1/pointwise_conv/kernel'
        ),
        *_keras_yamnet_norm(r'(layer\d+)/pointwise_conv', r'\1/pointwise_bn'),
        Rule('logits/(?:.*/)?kernel(?::0)?', 'params/logits/kernel'),
        Rule('logits/(?:.*/)?bias(?::0)?', 'params/logits/bias'),
    ),
    describe=functools.partial(_describe, head='logits/(?:.*/)?kernel(?::0)?', axis=1),
)

# LiteRT has folded each normalisation into the kernel before it and a bias.
_FOLDED = (('batch_stats/.*/mean', 0.0), ('batch_stats/.*/var', 1 - 1e-4))

YAMNET_LITERT = Table(
    title='YAMNet for LiteRT (.tflite)',
    model='yamnet',
    marks=('layer1/conv/Conv2D', 'layer14/pointwise_conv/Conv2D', 'dense/MatMul'),
    rules=(
        Rule('layer1/conv/Conv2D', 'params/layer1/conv/kernel', 'litert_conv'),
        Rule('layer1/conv/bn/FusedBatchNormV3', 'params/layer1/bn/bias'),
        Rule(
            r'(layer\d+)/depthwise_conv/bn/FusedBatchNormV3;.*',
            r'params/\1/depthwise_conv/kernel',
            'litert_depthwise',
        ),
        Rule(r'(layer\d+)/(depthwise|pointwise)_conv/bn/FusedBatchNormV3', r'params/\1/\2_bn/bias'),
        Rule(
            r'(layer\d+)/pointwise_conv/Conv2D', r'params/\1/pointwise_conv/kernel', 'litert_conv'
        ),
        Rule('dense/MatMul', 'params/logits/kernel', 'torch_linear'),
        Rule('dense/BiasAdd/ReadVariableOp/resource', 'params/logits/bias'),
        Rule('(?!layer|dense).*', reason='the front end, which is genre_jax.features here'),
    ),
    describe=functools.partial(_describe, head='dense/MatMul', axis=0),
    constants=_FOLDED,
)


def _describe_torch(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    scaled = [k for k in tensors if k.endswith('.bn.weight') and not np.all(tensors[k] == 1)]
    if scaled:
        raise UserError(f'{scaled[0]} is not 1 everywhere: YAMNet has no scales')
    return _describe(tensors, given, r'classifier\.weight', 0)


YAMNET_TORCH = Table(
    title='YAMNet of torch-vggish-yamnet (.pth)',
    model='yamnet',
    marks=(r'layer1\.fused\.conv\.weight', r'classifier\.weight'),
    rules=(
        Rule(r'layer1\.fused\.conv\.weight', 'params/layer1/conv/kernel', 'torch_conv'),
        *(
            rule
            for old, new in (
                (r'layer1\.fused', 'layer1/bn'),
                (r'(layer\d+)\.depthwise_conv', r'\1/depthwise_bn'),
                (r'(layer\d+)\.pointwise_conv', r'\1/pointwise_bn'),
            )
            for rule in torch_norm(rf'{old}\.bn', new)
            if not rule.pattern.endswith('weight')
        ),
        Rule(r'layer.*\.bn\.weight', reason='scales, which YAMNet does not have: all are 1'),
        Rule(
            r'(layer\d+)\.(depthwise|pointwise)_conv\.conv\.weight',
            r'params/\1/\2_conv/kernel',
            'torch_conv',
        ),
        *torch_layers('torch_linear', {'classifier': 'logits'}),
    ),
    describe=_describe_torch,
)
