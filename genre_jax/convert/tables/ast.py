"""Checkpoints of AST: by its authors (YuanGongND/ast) and of transformers."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax import features
from genre_jax.convert import beside
from genre_jax.convert.engine import Table, check_named
from genre_jax.convert.tables.lines import rules
from genre_jax.errors import UserError

_PATCH, _TOKENS = 16, 2
_LISTED = 6  # readings of a grid
SIZES = ('bins', 'frames')  # that a user may name: of the pictures
# What transformers calls settings of the model in config.json, and its default, which may be left out there.
_TRANSFORMERS = {
    'heads': ('num_attention_heads', 12),
    'frequency_stride': ('frequency_stride', 10),
    'time_stride': ('time_stride', 10),
    'layer_norm_epsilon': ('layer_norm_eps', 1e-12),
    'bins': ('num_mel_bins', 128),
    'frames': ('max_length', 1024),
}


def describe(
    tensors: Mapping[str, np.ndarray],
    told: dict,
    places: Sequence[str],
    head: str,
    blocks: str,
    tell: str = '',
) -> dict:
    """Describes an AST from its tensors, and from `told`, what they do not tell; None is unknown.

    `places` are the keys of the positions, of tokens and patches together, or of rows and of columns. `tell`
    is another way to tell what is unknown than to name it.
    """
    if len(places) == 1:
        n_positions, width = tensors[places[0]].shape[1:]
        n_patches, n_rows = n_positions - _TOKENS, None
    else:
        (width, n_rows, _), (*_, n_columns) = (tensors[key].shape[1:] for key in places)
        n_patches = n_rows * n_columns
    bins, frames = told.pop('bins'), told.pop('frames')
    if unknown := [key for key, value in (told | {'bins': bins}).items() if value is None]:
        raise UserError(_open_questions(unknown, n_patches, n_rows, width, told | {'bins': bins}, tell))
    frequency_stride, time_stride = told['frequency_stride'], told['time_stride']
    rows = _count(bins, frequency_stride)
    columns = _count(frames, time_stride) if frames else n_patches // max(1, rows)
    if rows < 1 or columns < 1 or rows * columns != n_patches or rows != (n_rows or rows):
        of_time = f', and {frames} frames with time_stride={time_stride} of {columns} columns' * bool(frames)
        there = f'{n_rows} x {n_columns}' if n_rows else n_patches
        raise UserError(
            f'{bins} bins with frequency_stride={frequency_stride} are pictures of {rows} rows of patches'
            f'{of_time}: the tensors have {there} positions of patches: they are of another grid'
        )
    return told | {
        'width': width,
        'depth': len({match[1] for key in tensors if (match := re.match(blocks, key))}),
        'num_classes': len(tensors[head]),
        'picture': (frames or (columns - 1) * time_stride + _PATCH, bins),
    }


def _count(pixels: int, stride: int) -> int:
    """Returns how many patches there are along an axis."""
    return (pixels - _PATCH) // stride + 1


def _open_questions(
    unknown: list[str], n_patches: int, n_rows: int | None, width: int, told: Mapping, tell: str
) -> str:
    """Says what the tensors leave open, what they allow, and how to name it."""
    allowed = []
    if 'heads' in unknown:
        allowed.append(f'heads may be {[n for n in range(1, width + 1) if width % n == 0]}')
    if 'bins' in unknown or 'frequency_stride' in unknown:
        strides = [told['frequency_stride']] if told['frequency_stride'] else range(1, _PATCH + 1)
        readings = [
            f'{stride} of {bins} bins ({rows} x {n_patches // rows})'
            for bins in ([told['bins']] if told['bins'] else (128, 96, 64))
            for stride in strides
            if (rows := _count(bins, stride)) > 0 and n_patches % rows == 0 and rows == (n_rows or rows)
        ]
        more = [f'{len(readings) - _LISTED} more'] * (len(readings) > _LISTED)
        either = ' or '.join([*readings[:_LISTED], *more])
        allowed.append(f'the frequency_stride of {n_patches} patches {either or "none that is known"}')
    names = ' '.join(f'--set={key}=NUMBER' for key in unknown)
    return (
        f'the tensors do not tell {", ".join(unknown)}: {"; ".join([*allowed, tell])}name each: '
        f'python -m genre_jax.convert {names}'
    )


def _describe_authors(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    told = {key: given.get(key) for key in ('heads', 'frequency_stride', 'time_stride', 'frames')}
    told['bins'] = given.get('bins', 128)  # all that they train on
    described = describe(tensors, told, ['v.pos_embed'], 'mlp_head.1.weight', r'v\.blocks\.(\d+)')
    (frames, bins), hears = described['picture'], features.find('ast')()
    if bins != hears.n_mels:
        return described | {'features': ''}
    stride = described['time_stride']
    if 'frames' not in given and _count(frames, stride) == _count(hears.target_frames, stride):
        return described | {'features': 'ast'}
    front_end = dataclasses.asdict(dataclasses.replace(hears, target_frames=frames))
    return described | {'features': 'ast', 'front_end': front_end}


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
    sizes=SIZES,
)


def _describe_transformers(tensors: Mapping[str, np.ndarray], given: Mapping) -> dict:
    config, preprocessor = given.get(beside.CONFIG, {}), given.get(beside.PREPROCESSOR, {})
    if config.get('model_type') != 'audio-spectrogram-transformer':
        config = {}  # that of something else, which happens to lie there
    told = {
        key: beside.number(config, beside.CONFIG, *default) if config else given.get(key)
        for key, default in _TRANSFORMERS.items()
    }
    for key in SIZES:
        check_named(key, given.get(key, told[key]), told[key], f'{beside.CONFIG} beside it')
    place = 'audio_spectrogram_transformer.embeddings.position_embeddings'
    if config:
        _check_sizes(config, tensors, place)
    tell = 'put the config.json of transformers beside them, or '
    described = describe(tensors, told, [place], 'classifier.dense.weight', _BLOCK, tell)
    frames, bins = described['picture']
    flavour, front_end = beside.front_end(preprocessor, bins, frames)
    return described | {
        'head_norm_epsilon': described['layer_norm_epsilon'],
        'features': flavour,
        'front_end': front_end,
        'labels': beside.classes(config, described['num_classes']),
        'tags': beside.says_yes_or_no(config),
    }


def _check_sizes(config: Mapping, tensors: Mapping[str, np.ndarray], place: str) -> None:
    """Refuses a config that is of another network than the tensors, or of one that is not known here."""
    for name, only in (
        ('patch_size', [_PATCH, [_PATCH] * 2]),
        ('hidden_act', ['gelu']),
        ('qkv_bias', [True]),
    ):
        if config.get(name, only[0]) not in only:
            raise UserError(f'config.json beside it has {name}={config[name]!r}, not {only[0]!r}')
    width = tensors[place].shape[2]
    depth = len({match[1] for key in tensors if (match := re.match(_BLOCK, key))})
    # Blocks whose hidden layer is not 4 times as wide are refused by their shape.
    sizes = {'hidden_size': (768, width), 'num_hidden_layers': (12, depth)}
    sizes['intermediate_size'] = (4 * width, 4 * width)
    for name, (default, here) in sizes.items():
        if (value := config.get(name, default)) != here:
            raise UserError(
                f'config.json beside it has {name}={value!r}, the tensors {here}: it is that of another model'
            )


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
    tags=(400, 519, 527),  # MAEST's of Discogs, AudioSet's
    marks=(r'classifier\.dense\.weight', r'audio_spectrogram_transformer\.embeddings\.cls_token'),
    rules=rules(_TRANSFORMERS_RULES.replace('BLOCK', _BLOCK).replace('ALL', 'audio_spectrogram_transformer')),
    describe=_describe_transformers,
    sizes=SIZES,
    beside=True,
)
