"""Checkpoints of AST: by its authors (YuanGongND/ast) and of transformers."""

import math
import re
from collections.abc import Mapping

import numpy as np

from genre_jax.convert.engine import Table
from genre_jax.convert.tables.lines import rules
from genre_jax.errors import UserError

_PATCH = 16
# What the positions tell of the authors' files: the same stride along both axes, and the lengths of AudioSet,
# ESC-50 and Speech Commands give a number each.
_PUBLISHED_STRIDES = {
    ((128 - _PATCH) // stride + 1) * ((frames - _PATCH) // stride + 1): stride
    for stride in (10, 12, 14, 16)
    for frames in (1024, 512, 128)
}
_PUBLISHED_HEADS = {192: 3, 384: 6, 768: 12}
# What transformers calls settings of the model in config.json, and its default, which may be left out there.
_TRANSFORMERS = {
    'heads': ('num_attention_heads', 12),
    'frequency_stride': ('frequency_stride', 10),
    'time_stride': ('time_stride', 10),
    'layer_norm_epsilon': ('layer_norm_eps', 1e-12),
    'bins': ('num_mel_bins', 128),
    'frames': ('max_length', 1024),
}


def _describe(tensors: Mapping[str, np.ndarray], told: dict, place: str, head: str, blocks: str) -> dict:
    """Describes an AST from its tensors, and from `told`, what they do not tell; None is unknown."""
    n_tokens, width = tensors[place].shape[1:]
    n_patches = n_tokens - 2
    bins, frames = told.pop('bins', None) or 128, told.pop('frames', None)

    def rows(stride: int) -> int:
        return (bins - _PATCH) // stride + 1

    if unknown := [key for key, value in told.items() if value is None]:
        heads = [n for n in range(1, width + 1) if width % n == 0]
        strides = [n for n in range(1, _PATCH + 1) if n_patches % rows(n) == 0]
        names = ' '.join(f'--set={key}=NUMBER' for key in unknown)
        raise UserError(
            f'the tensors do not tell {", ".join(unknown)}: heads may be {heads}, frequency_stride '
            f'{strides}: put the config.json of transformers beside them, or name each: python -m '
            f'genre_jax.convert {names}'
        )
    columns = max(1, n_patches // rows(told['frequency_stride']))
    return told | {
        'width': width,
        'depth': len({match[1] for key in tensors if (match := re.match(blocks, key))}),
        'num_classes': len(tensors[head]),
        'features': 'ast' if bins == 128 else '',
        'picture': (frames or (columns - 1) * told['time_stride'] + _PATCH, bins),
    }


def _describe_authors(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    n_tokens, width = tensors['v.pos_embed'].shape[1:]
    stride = _PUBLISHED_STRIDES.get(n_tokens - 2)
    told = {
        'heads': given.get('heads', _PUBLISHED_HEADS.get(width)),
        'frequency_stride': given.get('frequency_stride', stride),
        'time_stride': given.get('time_stride', stride),
    }
    return _describe(tensors, told, 'v.pos_embed', 'mlp_head.1.weight', r'v\.blocks\.(\d+)')


AST = Table(
    title='AST by its authors (.pth)',
    model='ast',
    tags=(527,),
    marks=(r'v\.pos_embed', r'v\.patch_embed\.proj\.weight', r'mlp_head\.1\.weight'),
    rules=rules(r"""
        tensor            v\.(cls_token|dist_token|pos_embed)  params/\1
        torch_layer       v\.patch_embed\.proj                 patch_embed        torch_conv
        torch_layer_norm  v\.blocks\.(\d+)\.(norm\d)           blocks_\1/\2
        torch_layer       v\.blocks\.(\d+)\.attn\.(qkv|proj)   blocks_\1/attn_\2  torch_linear
        torch_layer       v\.blocks\.(\d+)\.mlp\.(fc\d)        blocks_\1/mlp_\2   torch_linear
        torch_layer_norm  v\.norm                              norm
        torch_layer_norm  mlp_head\.0                          mlp_head_norm
        torch_layer       mlp_head\.1                          mlp_head           torch_linear
        left_out          v\.head(_dist)?\.(weight|bias)       heads for ImageNet, which AST does not use
    """),
    describe=_describe_authors,
)


def _describe_transformers(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    told = {key: given.get(key) for key in _TRANSFORMERS}
    config = given['config.json']
    if config.get('model_type') == 'audio-spectrogram-transformer':
        for key, (name, default) in _TRANSFORMERS.items():
            value = config.get(name, default)
            if type(value) is not type(default) or not 0 < value < math.inf:
                raise UserError(f'config.json beside it has {name}={value!r}, expected as {default}')
            told[key] = given.get(key, value)
        for name, only in (('patch_size', _PATCH), ('hidden_act', 'gelu')):
            if config.get(name, only) != only:
                raise UserError(f'config.json beside it has {name}={config[name]!r}, not {only!r}')
    place = 'audio_spectrogram_transformer.embeddings.position_embeddings'
    described = _describe(tensors, told, place, 'classifier.dense.weight', _BLOCK)
    if config.get('model_type') == 'audio-spectrogram-transformer':
        for key, name, default in (('width', 'hidden_size', 768), ('depth', 'num_hidden_layers', 12)):
            if (value := config.get(name, default)) != described[key]:
                raise UserError(
                    f'config.json beside it has {name}={value!r}, the tensors {described[key]}: it is that '
                    'of another model'
                )
    return described | {'head_norm_epsilon': described['layer_norm_epsilon']}


# transformers 4 and 5 have different names.
_BLOCK = r'audio_spectrogram_transformer\.(?:encoder\.layer|encoder\.layers|layers)\.(\d+)'
_TRANSFORMERS_RULES = r"""
    tensor            ALL\.embeddings\.cls_token                     params/cls_token
    tensor            ALL\.embeddings\.distillation_token            params/dist_token
    tensor            ALL\.embeddings\.position_embeddings           params/pos_embed
    torch_layer       ALL\.embeddings\.patch_embeddings\.projection  patch_embed          torch_conv
    torch_layer_norm  BLOCK\.layernorm_before                        blocks_\1/norm1
    torch_layer_norm  BLOCK\.layernorm_after                         blocks_\1/norm2
    torch_layer       BLOCK\.attention\.(?:attention\.query|q_proj)  blocks_\1/attn_qkv   torch_linear  0/3
    torch_layer       BLOCK\.attention\.(?:attention\.key|k_proj)    blocks_\1/attn_qkv   torch_linear  1/3
    torch_layer       BLOCK\.attention\.(?:attention\.value|v_proj)  blocks_\1/attn_qkv   torch_linear  2/3
    torch_layer       BLOCK\.attention\.(?:output\.dense|o_proj)     blocks_\1/attn_proj  torch_linear
    torch_layer       BLOCK\.(?:intermediate\.dense|mlp\.fc1)        blocks_\1/mlp_fc1    torch_linear
    torch_layer       BLOCK\.(?:output\.dense|mlp\.fc2)              blocks_\1/mlp_fc2    torch_linear
    torch_layer_norm  ALL\.layernorm                                 norm
    torch_layer_norm  classifier\.layernorm                          mlp_head_norm
    torch_layer       classifier\.dense                              mlp_head             torch_linear
"""
AST_HUGGING_FACE = Table(
    title='AST of transformers 4 or 5 (.safetensors, .bin)',
    model='ast',
    tags=(527,),
    marks=(r'classifier\.dense\.weight', r'audio_spectrogram_transformer\.embeddings\.cls_token'),
    rules=rules(_TRANSFORMERS_RULES.replace('BLOCK', _BLOCK).replace('ALL', 'audio_spectrogram_transformer')),
    describe=_describe_transformers,
)
