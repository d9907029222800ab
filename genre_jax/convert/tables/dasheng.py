"""Checkpoints of Dasheng (package dasheng), with what they say of themselves."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from genre_jax import features
from genre_jax.convert.engine import Table
from genre_jax.convert.tables.lines import rules
from genre_jax.errors import UserError

_CONFIG = 'config'
_PATCH = 4
# What the authors' code can do otherwise, too.
_ONLY = {
    'pooling': 'mean', 'qkv_bias': True, 'mlp_ratio': 4, 'init_values': None, 'center': True,
    'block_type': 'Block', 'attention_type': 'Attention',
}  # fmt: skip
_FRONT_END = {
    'n_fft': 'n_fft', 'win_length': 'win_size', 'hop_length': 'hop_size', 'f_min_hz': 'f_min',
    'f_max_hz': 'f_max', 'top_db': 'top_db',
}  # fmt: skip


def _describe(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    config = given.get(_CONFIG, {})
    _, width, _, pieces = tensors['time_pos_embed'].shape
    frames, bins = pieces * _PATCH, len(tensors['init_bn.1.weight'])
    depth = len({match[1] for key in tensors if (match := re.match(r'blocks\.(\d+)\.', key))})
    here = {'embed_dim': width, 'depth': depth, 'target_length': frames, 'n_mels': bins}
    here |= dict.fromkeys(('patch_size', 'patch_stride'), [bins, _PATCH])
    for name, value in here.items():
        if config.get(name, value) != value:
            raise UserError(f'its {_CONFIG} has {name}={config[name]!r}, and the tensors {value!r}')
    for name, only in _ONLY.items():
        if config.get(name, only) != only:
            raise UserError(f'its {_CONFIG} has {name}={config[name]!r}: only {only!r} is known here')
    heads = config.get('num_heads', given.get('heads'))
    if heads is None:
        raise UserError(
            f'neither the tensors nor a {_CONFIG} in the file tell how many heads there are, one of '
            f'{[n for n in range(1, width + 1) if width % n == 0]} (published: 12 of 768, 16 of 1280, 24 of '
            '1536): name them: python -m genre_jax.convert --set=heads=NUMBER'
        )
    if type(heads) is not int or heads < 1:
        raise UserError(f'its {_CONFIG} has num_heads={heads!r}: expected a whole number from 1 up')
    return {
        'width': width,
        'depth': depth,
        'heads': heads,
        'target_frames': frames,
        'num_classes': 0,
        'features': 'dasheng',
        'picture': (frames, bins),
        'front_end': _front_end(config, bins),
    }


def _front_end(config: Mapping, bins: int) -> dict:
    """Returns the fields of the front end; what the file does not say is as the package has it."""
    published = features.find('dasheng')()
    fields = {'n_mels': bins}
    for field, name in _FRONT_END.items():
        default = getattr(published, field)
        value = config.get(name, default)
        if type(value) not in (int, float):
            raise UserError(f'its {_CONFIG} has {name}={value!r}: expected a number')
        fields[field] = type(default)(value)
    try:
        return dataclasses.asdict(dataclasses.replace(published, **fields))
    except UserError as error:
        raise UserError(f'its {_CONFIG}: {error}') from None


def _along_time(positions: np.ndarray) -> np.ndarray:
    """Lays positions (1, width, 1, places) out as (1, places, width)."""
    return positions[:, :, 0].transpose(0, 2, 1)


DASHENG = Table(
    title='Dasheng by its authors (.pt)',
    model='dasheng',
    marks=(r'time_pos_embed', r'freq_pos_embed', r'patch_embed\.proj\.weight', r'init_bn\.1\.weight'),
    rules=rules(
        r"""
        torch_norm        init_bn\.1                         init_bn
        torch_layer       patch_embed\.proj                  patch_embed         torch_conv_mel_first
        tensor            (time_pos_embed|freq_pos_embed)    params/\1           along_time
        torch_layer_norm  blocks\.(\d+)\.(norm\d)            blocks_\1/\2
        torch_layer       blocks\.(\d+)\.attn\.(qkv|proj)    blocks_\1/attn_\2   torch_linear
        torch_layer       blocks\.(\d+)\.mlp\.(fc\d)         blocks_\1/mlp_\2    torch_linear
        torch_layer_norm  norm                               norm
        left_out          front_end\..*                      constants of the front end
        """,
        along_time=_along_time,
    ),
    describe=_describe,
    optional=r'params/outputlayer/(kernel|bias)',
    within=(_CONFIG,),
)
