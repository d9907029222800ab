"""Checkpoints of VGG16: of Keras and of torchvision."""

import re
from collections.abc import Mapping

import numpy as np

from genre_jax.convert.engine import Rule, Table
from genre_jax.convert.tables.lines import rules

_VGG_CONVS = [f'block{b}_conv{c}' for b, n in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, n + 1)]
_VGG_DENSE = ('fc1', 'fc2', 'predictions')
_VGG_TORCH = dict(zip((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), _VGG_CONVS, strict=True))


def _keras_names(name: str, kind: str, number: int) -> tuple[tuple[str, str], ...]:
    """Returns the patterns of kernel and bias in the three kinds of .h5 that Keras has written.

    Keras 1 (the published file), Keras 2 and 3 with whole models, and Keras 3's .weights.h5, which
    counts the layers of each kind.
    """
    counted = f'{kind}_{number}' if number else kind
    return tuple(
        (
            f'{name}/(?:{name}/)*(?:{name}_{letter}_1|{word})(?::0)?|{counted}/vars/{i}',
            f'params/{name}/{word}',
        )
        for i, (letter, word) in enumerate((('W', 'kernel'), ('b', 'bias')))
    )


_VGG_KERAS = {
    name: _keras_names(name, kind, number)
    for kind, names in (('conv2d', _VGG_CONVS), ('dense', _VGG_DENSE))
    for number, name in enumerate(names)
}


def _describe_vgg(widths: list[int], inputs: int, pixels: str) -> dict:
    """Describes a VGG16: widths of its dense layers, the output's last, and what the first reads."""
    places = inputs // 512
    side = round(places**0.5)
    rows, columns = (side, side) if side * side == places else (places, 1)
    return {
        'hidden_units': tuple(widths[:-1]),
        'pixels': pixels,
        'num_classes': widths[-1] if widths else 0,
        'features': '',
        'picture': (32 * rows, 32 * columns, 3),
    }


def _describe_vgg_keras(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    patterns = [_VGG_KERAS[name][0][0] for name in _VGG_DENSE]
    shapes = [tensors[k].shape for pattern in patterns for k in tensors if re.fullmatch(pattern, k)]
    inputs = shapes[0][0] if shapes else 512
    return _describe_vgg([shape[1] for shape in shapes], inputs, 'keras')


def _rows_channels_last(weight: np.ndarray) -> np.ndarray:
    """Orders the inputs of torchvision's first dense layer by row, column, channel."""
    return weight.reshape(-1, 512, 7, 7).transpose(2, 3, 1, 0).reshape(-1, len(weight))


def _from_bgr(kernel: np.ndarray) -> np.ndarray:
    """Reads the first kernel, which Keras applies to blue, green, red."""
    return kernel[:, :, ::-1]


VGG16_KERAS = Table(
    title='VGG16 of Keras (.h5)',
    model='vgg16',
    marks=tuple(_VGG_KERAS[name][0][0] for name in ('block1_conv1', 'block5_conv3')),
    rules=tuple(
        Rule(*names, _from_bgr if names[1] == 'params/block1_conv1/kernel' else 'same')
        for layer in _VGG_KERAS.values()
        for names in layer
    ),
    describe=_describe_vgg_keras,
    optional='params/predictions/.*',  # the file without the dense layers
)

_VGG_TORCH_RULES = r"""
    torch_layer  classifier\.0  fc1          channels_last
    torch_layer  classifier\.3  fc2          torch_linear
    torch_layer  classifier\.6  predictions  torch_linear
""" + '\n'.join(rf'torch_layer features\.{i} {name} torch_conv' for i, name in _VGG_TORCH.items())
VGG16_TORCHVISION = Table(
    title='VGG16 of torchvision (.pth)',
    model='vgg16',
    marks=(r'features\.0\.weight', r'features\.28\.weight', r'classifier\.6\.weight'),
    rules=rules(_VGG_TORCH_RULES, channels_last=_rows_channels_last),
    describe=lambda tensors, given: _describe_vgg(
        [len(tensors[f'classifier.{i}.weight']) for i in (0, 3, 6)],
        tensors['classifier.0.weight'].shape[1],
        'torchvision',
    ),
)
