"""Checkpoints of YAMNet: by its authors (tensorflow/models), for LiteRT, and its port to PyTorch."""

import functools
import re
from collections.abc import Mapping

import numpy as np

from genre_jax.convert.engine import Table
from genre_jax.convert.tables.lines import rules
from genre_jax.errors import UserError


def _describe(tensors: Mapping[str, np.ndarray], given: Mapping, head: str, axis: int) -> dict:
    # Variables in the file are named by their scope and by themselves: the key may be a pattern.
    (key,) = (key for key in tensors if re.fullmatch(head, key))
    return {'num_classes': tensors[key].shape[axis], 'features': 'yamnet', 'picture': (96, 64)}


def _describe_torch(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    if scaled := [k for k in tensors if k.endswith('.bn.weight') and not np.all(tensors[k] == 1)]:
        raise UserError(f'{scaled[0]} is not 1 everywhere: YAMNet has no scales')
    return _describe(tensors, given, r'classifier\.weight', 0)


# ~ is the scope, which may stand before the last name once more; that may end in :0.
_KERAS = r"""
    tensor  layer1/conv/(?!bn/)~kernel                   params/layer1/conv/kernel
    tensor  layer1/conv/bn/~beta                         params/layer1/bn/bias
    tensor  layer1/conv/bn/~moving_mean                  batch_stats/layer1/bn/mean
    tensor  layer1/conv/bn/~moving_variance              batch_stats/layer1/bn/var
    tensor  (layer\d+)/depthwise_conv/~depthwise_kernel  params/\1/depthwise_conv/kernel  keras_depthwise
    tensor  (layer\d+)/pointwise_conv/~kernel            params/\1/pointwise_conv/kernel
    tensor  (layer\d+)/(depthwise|pointwise)_conv/bn/~beta             params/\1/\2_bn/bias
    tensor  (layer\d+)/(depthwise|pointwise)_conv/bn/~moving_mean      batch_stats/\1/\2_bn/mean
    tensor  (layer\d+)/(depthwise|pointwise)_conv/bn/~moving_variance  batch_stats/\1/\2_bn/var
    tensor  logits/~(kernel|bias)                        params/logits/\1
"""
YAMNET_KERAS = Table(
    title='YAMNet by its authors (.h5)',
    model='yamnet',
    tags=(521,),
    marks=(
        'layer1/conv/(?:.*/)?kernel(?::0)?',
        'layer14/depthwise_conv/(?:.*/)?depthwise_kernel(?::0)?',
        'logits/(?:.*/)?kernel(?::0)?',
    ),
    rules=rules(re.sub(r'~(\S+)', r'(?:.*/)?\1(?::0)?', _KERAS)),
    describe=functools.partial(_describe, head='logits/(?:.*/)?kernel(?::0)?', axis=1),
)

_LITERT = r"""
    tensor    layer1/conv/Conv2D                params/layer1/conv/kernel        litert_conv
    tensor    layer1/conv/bn/FusedBatchNormV3   params/layer1/bn/bias
    tensor    (layer\d+)/depthwise_conv/bn/FusedBatchNormV3;.*  params/\1/depthwise_conv/kernel  DEPTHWISE
    tensor    (layer\d+)/(depthwise|pointwise)_conv/bn/FusedBatchNormV3  params/\1/\2_bn/bias
    tensor    (layer\d+)/pointwise_conv/Conv2D  params/\1/pointwise_conv/kernel  litert_conv
    tensor    dense/MatMul                      params/logits/kernel             torch_linear
    tensor    dense/BiasAdd/ReadVariableOp/resource  params/logits/bias
    left_out  (?!layer|dense).*                 the front end, which is genre_jax.features here
""".replace('DEPTHWISE', 'litert_depthwise')
YAMNET_LITERT = Table(
    title='YAMNet for LiteRT (.tflite)',
    model='yamnet',
    tags=(521,),
    marks=('layer1/conv/Conv2D', 'layer14/pointwise_conv/Conv2D', 'dense/MatMul'),
    rules=rules(_LITERT),
    describe=functools.partial(_describe, head='dense/MatMul', axis=0),
    # LiteRT has folded each normalisation into the kernel before it and a bias.
    constants=(('batch_stats/.*/mean', 0.0), ('batch_stats/.*/var', 1 - 1e-4)),
)

YAMNET_TORCH = Table(
    title='YAMNet of torch-vggish-yamnet (.pth)',
    model='yamnet',
    tags=(521,),
    marks=(r'layer1\.fused\.conv\.weight', r'classifier\.weight'),
    rules=rules(r"""
        tensor       layer1\.fused\.conv\.weight      params/layer1/conv/kernel  torch_conv
        tensor       layer1\.fused\.bn\.bias          params/layer1/bn/bias
        tensor       layer1\.fused\.bn\.running_mean  batch_stats/layer1/bn/mean
        tensor       layer1\.fused\.bn\.running_var   batch_stats/layer1/bn/var
        tensor      (layer\d+)\.(depthwise|pointwise)_conv\.conv\.weight  params/\1/\2_conv/kernel  torch_conv
        tensor       (layer\d+)\.(depthwise|pointwise)_conv\.bn\.bias          params/\1/\2_bn/bias
        tensor       (layer\d+)\.(depthwise|pointwise)_conv\.bn\.running_mean  batch_stats/\1/\2_bn/mean
        tensor       (layer\d+)\.(depthwise|pointwise)_conv\.bn\.running_var   batch_stats/\1/\2_bn/var
        torch_layer  classifier                       logits                     torch_linear
        left_out     layer.*\.bn\.weight              scales, which YAMNet does not have: all are 1
        left_out     layer.*\.bn\.num_batches_tracked a counter of PyTorch, not used
    """),
    describe=_describe_torch,
)
