"""Checkpoints of PANNs (qiuqiangkong/audioset_tagging_cnn): CNN14, CNN10, CNN6 and MobileNetV1."""

from collections.abc import Mapping

import numpy as np

from genre_jax.convert.engine import Table
from genre_jax.convert.tables.lines import rules

_PANNS = r"""
    torch_norm   bn0                  bn0
    torch_layer  (fc1|fc_audioset)    \1  torch_linear
    left_out     spectrogram_extractor\.stft\.conv_(real|imag)\.weight|logmel_extractor\.melW  CONSTANTS
""".replace('CONSTANTS', 'constants of the front end, which is genre_jax.features here')
_BANDS = 64  # of their front ends, by the length of their transforms:
_FLAVOURS = {513: 'panns_32k', 257: 'panns_16k', 129: 'panns_8k'}


def _describe(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    # The published files hold the constants of their front end; without them it is the one of most.
    names = ('logmel_extractor.melW', 'spectrogram_extractor.stft.conv_real.weight')
    fft_bins = {len(tensors[name]) for name in names if name in tensors} or {513}
    bands = tensors['bn0.weight'].shape[-1]
    known = len(fft_bins) == 1 and bands == _BANDS
    return {
        'num_classes': len(tensors['fc_audioset.weight']),
        'features': _FLAVOURS.get(fft_bins.pop(), '') if known else '',
        'picture': (1001, bands),  # of 10 s, on which they were trained
    }


def _describe_cnn(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    deep = 'cnn14' if 'conv_block6.conv1.weight' in tensors else 'cnn10'
    return {
        'variant': deep if 'conv_block1.conv2.weight' in tensors else 'cnn6',
        'embedding_units': len(tensors['fc1.weight']),
        **_describe(tensors, given),
    }


_CNN14 = r"""
    tensor      (conv_block\d)\.(conv\d)\.weight  params/\1/\2/kernel  torch_conv
    torch_norm  (conv_block\d)\.(bn\d)            \1/\2
"""
CNN14 = Table(
    title='CNN14, CNN10 or CNN6 of PANNs (.pth)',
    model='cnn14',
    tags=(527,),
    marks=(r'conv_block1\.conv1\.weight', r'fc_audioset\.weight', r'bn0\.weight'),
    rules=rules(_PANNS + _CNN14),
    describe=_describe_cnn,
)
_MOBILENET_V1 = r"""
    tensor      features\.0\.0\.weight           params/features_0/conv/kernel        torch_conv
    torch_norm  features\.0\.2                   features_0/bn
    tensor      features\.([1-9]\d*)\.0\.weight  params/features_\1/depthwise/kernel  torch_conv
    torch_norm  features\.([1-9]\d*)\.2          features_\1/bn_depthwise
    tensor      features\.([1-9]\d*)\.4\.weight  params/features_\1/pointwise/kernel  torch_conv
    torch_norm  features\.([1-9]\d*)\.5          features_\1/bn_pointwise
"""
MOBILENET_V1 = Table(
    title='MobileNetV1 of PANNs (.pth)',
    model='mobilenet_v1',
    tags=(527,),
    marks=(r'features\.0\.0\.weight', r'fc_audioset\.weight', r'bn0\.weight'),
    rules=rules(_PANNS + _MOBILENET_V1),
    describe=_describe,
)
