"""Checkpoints of AST: by its authors (YuanGongND/ast) and of transformers."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

import numpy as np

from genre_jax.convert.engine import Rule, Table
from genre_jax.convert.tables.torch_layers import torch_layer, torch_layer_norm

_BINS, _PATCH = 128, 16


def _rows(stride: int) -> int:
    """Returns the number of patches along frequency."""
    return (_BINS - _PATCH) // stride + 1


def _describe_ast(
    tensors: Mapping[str, np.ndarray], given: Mapping, place: str, head: str, blocks: str
) -> dict:
    """Describes an AST. The positions do not tell the strides: the published ones are tried in turn."""
    n_tokens, width = tensors[place].shape[1:]
    n_patches = n_tokens - 2
    fits = [stride for stride in (10, 12, 14, 16) if n_patches % _rows(stride) == 0]
    frequency_stride = given.get('frequency_stride', fits[0] if fits else 10)
    time_stride = given.get('time_stride', frequency_stride)
    columns = n_patches // _rows(frequency_stride)
    return {
        'width': width,
        'depth': len(_numbers(tensors, blocks)),
        'heads': width // 64,
        'frequency_stride': frequency_stride,
        'time_stride': time_stride,
        'num_classes': len(tensors[head]),
        'features': 'ast',
        'picture': ((max(1, columns) - 1) * time_stride + _PATCH, _BINS),
    }


def _numbers(tensors: Mapping[str, np.ndarray], pattern: str) -> set[str]:
    """Returns what the group of a pattern matches in the keys."""
    return {match[1] for key in tensors if (match := re.match(pattern, key))}


_AST_BLOCK = r'v\.blocks\.(\d+)'
AST = Table(
    title='AST by its authors (.pth)',
    model='ast',
    marks=(r'v\.pos_embed', r'v\.patch_embed\.proj\.weight', r'mlp_head\.1\.weight'),
    rules=(
        Rule(r'v\.(cls_token|dist_token|pos_embed)', r'params/\1'),
        *torch_layer(r'v\.patch_embed\.proj', 'patch_embed', 'torch_conv'),
        *torch_layer_norm(rf'{_AST_BLOCK}\.(norm\d)', r'blocks_\1/\2'),
        *torch_layer(rf'{_AST_BLOCK}\.attn\.(qkv|proj)', r'blocks_\1/attn_\2', 'torch_linear'),
        *torch_layer(rf'{_AST_BLOCK}\.mlp\.(fc\d)', r'blocks_\1/mlp_\2', 'torch_linear'),
        *torch_layer_norm(r'v\.norm', 'norm'),
        Rule(
            r'v\.head(_dist)?\.(weight|bias)', reason='heads for ImageNet, which AST does not use'
        ),
        *torch_layer_norm(r'mlp_head\.0', 'mlp_head_norm'),
        *torch_layer(r'mlp_head\.1', 'mlp_head', 'torch_linear'),
    ),
    describe=functools.partial(
        _describe_ast, place='v.pos_embed', head='mlp_head.1.weight', blocks=_AST_BLOCK
    ),
)

_HF = r'audio_spectrogram_transformer\.'
# transformers 4 and 5 have different names.
_HF_BLOCK = rf'{_HF}(?:encoder\.layer|encoder\.layers|layers)\.(\d+)'


def _describe_hf(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    described = _describe_ast(
        tensors,
        given,
        'audio_spectrogram_transformer.embeddings.position_embeddings',
        'classifier.dense.weight',
        _HF_BLOCK,
    )
    return described | {'layer_norm_epsilon': 1e-12, 'head_norm_epsilon': 1e-12}


AST_HUGGING_FACE = Table(
    title='AST of transformers 4 or 5 (.safetensors, .bin)',
    model='ast',
    marks=(r'classifier\.dense\.weight', r'audio_spectrogram_transformer\.embeddings\.cls_token'),
    rules=(
        Rule(rf'{_HF}embeddings\.cls_token', 'params/cls_token'),
        Rule(rf'{_HF}embeddings\.distillation_token', 'params/dist_token'),
        Rule(rf'{_HF}embeddings\.position_embeddings', 'params/pos_embed'),
        *torch_layer(
            rf'{_HF}embeddings\.patch_embeddings\.projection', 'patch_embed', 'torch_conv'
        ),
        *torch_layer_norm(rf'{_HF_BLOCK}\.layernorm_before', r'blocks_\1/norm1'),
        *torch_layer_norm(rf'{_HF_BLOCK}\.layernorm_after', r'blocks_\1/norm2'),
        *(
            rule
            for i, (old, new) in enumerate((('query', 'q'), ('key', 'k'), ('value', 'v')))
            for rule in torch_layer(
                rf'{_HF_BLOCK}\.attention\.(?:attention\.{old}|{new}_proj)',
                r'blocks_\1/attn_qkv',
                'torch_linear',
                part=(i, 3),
            )
        ),
        *torch_layer(
            rf'{_HF_BLOCK}\.attention\.(?:output\.dense|o_proj)',
            r'blocks_\1/attn_proj',
            'torch_linear',
        ),
        *torch_layer(
            rf'{_HF_BLOCK}\.(?:intermediate\.dense|mlp\.fc1)', r'blocks_\1/mlp_fc1', 'torch_linear'
        ),
        *torch_layer(
            rf'{_HF_BLOCK}\.(?:output\.dense|mlp\.fc2)', r'blocks_\1/mlp_fc2', 'torch_linear'
        ),
        *torch_layer_norm(rf'{_HF}layernorm', 'norm'),
        *torch_layer_norm(r'classifier\.layernorm', 'mlp_head_norm'),
        *torch_layer(r'classifier\.dense', 'mlp_head', 'torch_linear'),
    ),
    describe=_describe_hf,
)
