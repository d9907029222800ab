"""Checkpoints of BEATs (microsoft/unilm), pretrained and fine-tuned, with what they say of themselves."""

import re
from collections.abc import Mapping

import numpy as np

from genre_jax.convert import beside
from genre_jax.convert.engine import Table
from genre_jax.convert.tables.lines import rules
from genre_jax.errors import UserError

_CONFIG, _LABELS = 'cfg', 'label_dict'
_TABLE = r'encoder\.layers\.(\d+)\.self_attn\.relative_attention_bias\.weight'
_KERNEL = r'encoder\.pos_conv\.0\.(weight|weight_v|parametrizations\.weight\.original1)'
# What the authors' code can do otherwise, too.
_ONLY = {
    'activation_fn': 'gelu', 'layer_norm_first': False, 'conv_bias': False,
    'relative_position_embedding': True, 'gru_rel_pos': True, 'input_patch_size': 16,
}  # fmt: skip
_CALLED = {
    'width': 'encoder_embed_dim', 'depth': 'encoder_layers', 'heads': 'encoder_attention_heads',
    'hidden_units': 'encoder_ffn_embed_dim', 'patch_width': 'embed_dim', 'position_taps': 'conv_pos',
    'position_groups': 'conv_pos_groups', 'buckets': 'num_buckets',
}  # fmt: skip


def _describe(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    config, labels = given.get(_CONFIG, {}), given.get(_LABELS)
    of_positions = [key for key in tensors if re.fullmatch(_KERNEL, key)]
    kernel = of_positions[0] if of_positions else 'encoder.pos_conv.0.weight_v'
    width, inputs, taps = tensors[kernel].shape
    buckets, heads = tensors['encoder.layers.0.self_attn.relative_attention_bias.weight'].shape
    found = {
        'width': width,
        'depth': len({match[1] for key in tensors if (match := re.match(r'encoder\.layers\.(\d+)\.', key))}),
        'heads': heads,
        'hidden_units': len(tensors['encoder.layers.0.fc1.bias']),
        'patch_width': len(tensors['layer_norm.bias']),
        'position_taps': taps,
        'position_groups': width // inputs,
        'buckets': buckets,
    }
    num_classes = len(tensors['predictor.bias']) if 'predictor.bias' in tensors else 0
    _check(config, found, num_classes)
    first = tensors['encoder.layers.0.self_attn.relative_attention_bias.weight']
    for key in tensors:
        if re.fullmatch(_TABLE, key) and not np.array_equal(tensors[key], first):
            raise UserError(f'{key} is another one than that of the first layer: BEATs has one for all')
    told = {
        'deep_norm': config.get('deep_norm', given.get('deep_norm')),
        'max_distance': config.get('max_distance', given.get('max_distance')),
    }
    if unknown := [key for key, value in told.items() if value is None]:
        raise UserError(
            f'neither the tensors nor a {_CONFIG} in the file tell {", ".join(unknown)}: name each, '
            'deep_norm=1 for yes or 0 for no, max_distance of the relative positions (published BEATs: 1 and '
            f'800): python -m genre_jax.convert {" ".join(f"--set={key}=NUMBER" for key in unknown)}'
        )
    if type(told['deep_norm']) is not bool or type(told['max_distance']) is not int:
        raise UserError(f'its {_CONFIG} has {told}: expected True or False, and a whole number')
    return found | told | {
        'num_classes': num_classes,
        'features': 'beats',
        'picture': (998, 128),
        'labels': None if labels is None else beside.by_number(labels, num_classes, 'it', _LABELS),
    }  # fmt: skip


def _check(config: Mapping, found: Mapping, num_classes: int) -> None:
    """Refuses a cfg that contradicts the tensors, or is of a network that is not known here."""
    for name, only in _ONLY.items():
        if config.get(name, only) != only:
            raise UserError(f'its {_CONFIG} has {name}={config[name]!r}: only {only!r} is known here')
    here = {_CALLED[key]: value for key, value in found.items()} | {'finetuned_model': num_classes > 0}
    if num_classes:
        here['predictor_class'] = num_classes
    for name, value in here.items():
        if config.get(name, value) != value:
            raise UserError(f'its {_CONFIG} has {name}={config[name]!r}, and the tensors {value!r}')


def _folded(direction: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Makes a kernel (taps, inputs, outputs) of weight normalisation: each tap has a length (taps, 1, 1)."""
    norm = np.sqrt((direction.astype(np.float64) ** 2).sum((1, 2), keepdims=True))
    with np.errstate(divide='ignore', invalid='ignore'):  # what is not finite is told
        return (direction * (length / norm)).astype(np.float32)


_RULES = r"""
    tensor            patch_embedding\.weight            params/patch_embedding/kernel  torch_conv
    torch_layer_norm  layer_norm                         layer_norm
    torch_layer       post_extract_proj                  post_extract_proj              torch_linear
    tensor            POSITION\.weight                   params/pos_conv/kernel         torch_conv_1d
    tensor            POSITION\.(?:weight_v|NORMED1)     params/pos_conv/kernel         torch_conv_1d  0/2
    tensor            POSITION\.(?:weight_g|NORMED0)     params/pos_conv/kernel         torch_conv_1d  1/2
    tensor            POSITION\.bias                     params/pos_conv/bias
    torch_layer_norm  encoder\.layer_norm                encoder_layer_norm
    tensor            BLOCK0\.self_attn\.TABLE           params/relative_attention_bias
    left_out          BLOCK[1-9]\d*\.self_attn\.TABLE    the same as that of the first layer
    torch_layer       BLOCK(\d+)\.self_attn\.q_proj      layers_\1/self_attn_qkv        torch_linear  0/3
    torch_layer       BLOCK(\d+)\.self_attn\.k_proj      layers_\1/self_attn_qkv        torch_linear  1/3
    torch_layer       BLOCK(\d+)\.self_attn\.v_proj      layers_\1/self_attn_qkv        torch_linear  2/3
    torch_layer       BLOCK(\d+)\.self_attn\.out_proj    layers_\1/self_attn_out_proj   torch_linear
    torch_layer       BLOCK(\d+)\.self_attn\.grep_linear layers_\1/self_attn_grep       torch_linear
    tensor            BLOCK(\d+)\.self_attn\.grep_a      params/layers_\1/self_attn_grep/a
    torch_layer       BLOCK(\d+)\.(fc\d)                 layers_\1/\2                   torch_linear
    torch_layer_norm  BLOCK(\d+)\.(\w+_layer_norm)       layers_\1/\2
    torch_layer       predictor                          predictor                      torch_linear
"""
# Weight normalisation, before PyTorch 2.1 and since.
_RULES = _RULES.replace('POSITION', r'encoder\.pos_conv\.0').replace(
    'NORMED', r'parametrizations\.weight\.original'
)
_RULES = _RULES.replace('BLOCK', r'encoder\.layers\.').replace('TABLE', r'relative_attention_bias\.weight')
BEATS = Table(
    title='BEATs by its authors (.pt)',
    model='beats',
    tags=(527,),
    marks=(
        r'patch_embedding\.weight',
        r'encoder\.layers\.0\.self_attn\.q_proj\.weight',
        r'encoder\.pos_conv\.0\.bias',
    ),
    rules=rules(_RULES),
    describe=_describe,
    optional=r'params/predictor/(kernel|bias)',
    within=(_CONFIG, _LABELS),
    joins=(('params/pos_conv/kernel', _folded),),
)
