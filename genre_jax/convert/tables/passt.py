"""Checkpoints of PaSST (kkoutini/PaSST), and of MAEST by its authors (palonso/MAEST)."""

from collections.abc import Mapping

import numpy as np

from genre_jax.convert.engine import Table
from genre_jax.convert.tables.ast import SIZES, describe
from genre_jax.convert.tables.lines import rules

_FLAVOURS = {128: 'efficientat', 96: 'maest'}  # by the bins of the pictures


def _describe(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    told = {key: given.get(key) for key in ('heads', 'frequency_stride', 'time_stride', *SIZES)}
    places = ('freq_new_pos_embed', 'time_new_pos_embed')
    described = describe(tensors, told, places, 'head.1.weight', r'blocks\.(\d+)')
    return described | {'features': _FLAVOURS.get(described['picture'][1], '')}


def _channels_last(value: np.ndarray) -> np.ndarray:
    return value.transpose(0, 2, 3, 1)


PASST = Table(
    title='PaSST or MAEST by their authors (.pt, .ckpt)',
    model='passt',
    tags=(400, 519, 527),  # MAEST's of Discogs, AudioSet's
    marks=(r'freq_new_pos_embed', r'time_new_pos_embed', r'patch_embed\.proj\.weight'),
    rules=rules(
        r"""
        tensor            (cls_token|dist_token|new_pos_embed)  params/\1
        tensor            ((?:freq|time)_new_pos_embed)         params/\1          channels_last
        torch_layer       patch_embed\.proj                     patch_embed        torch_conv
        torch_layer_norm  blocks\.(\d+)\.(norm\d)              blocks_\1/\2
        torch_layer       blocks\.(\d+)\.attn\.(qkv|proj)      blocks_\1/attn_\2  torch_linear
        torch_layer       blocks\.(\d+)\.mlp\.(fc\d)           blocks_\1/mlp_\2   torch_linear
        torch_layer_norm  norm                                  norm
        torch_layer_norm  head\.0                               mlp_head_norm
        torch_layer       head\.1                               mlp_head           torch_linear
        left_out          head_dist\.(weight|bias)              a second head, which PaSST does not use
        """,
        channels_last=_channels_last,
    ),
    describe=_describe,
    sizes=SIZES,
)
