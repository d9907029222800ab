"""Files of Dasheng: what they say of themselves, and what contradicts the tensors."""

import numpy as np
import pytest

from genre_jax.config import keys
from genre_jax.convert import engine, init_from, tables
from genre_jax.errors import UserError
from tests import golden

CONFIG = {'embed_dim': 12, 'depth': 2, 'num_heads': 3, 'target_length': 20, 'n_mels': 8, 'pooling': 'mean'}


def tensors():
    linear, shapes = golden.linear_shapes, golden.norm_shapes('init_bn.1', 8)
    shapes |= {'patch_embed.proj.weight': (12, 1, 8, 4), 'patch_embed.proj.bias': (12,)}
    shapes |= {'time_pos_embed': (1, 12, 1, 5), 'freq_pos_embed': (1, 12, 1, 1)}
    for i in range(2):
        block = f'blocks.{i}'
        shapes |= linear(f'{block}.attn.qkv', 12, 36) | linear(f'{block}.attn.proj', 12, 12)
        shapes |= linear(f'{block}.mlp.fc1', 12, 48) | linear(f'{block}.mlp.fc2', 48, 12)
        shapes |= {f'{block}.norm{n}.{leaf}': (12,) for n in (1, 2) for leaf in ('weight', 'bias')}
    shapes |= {'norm.weight': (12,), 'norm.bias': (12,), 'front_end.0.mel_scale.fb': (257, 8)}
    return golden.state_dict(shapes)


def convert(found, config=CONFIG, **told):
    table = engine.recognise(found, tables.TABLES, 'file')
    return engine.convert(found, table, told, 'file', {'config': config} if config else {})


def test_sizes_and_front_end_are_told():
    found = tensors()
    converted = convert(found, CONFIG | {'hop_size': 80, 'f_min': 20})
    assert converted.settings == {'width': 12, 'depth': 2, 'heads': 3, 'target_frames': 20}
    assert converted.num_classes == 0 and converted.picture == (20, 8)
    places = converted.variables['params/time_pos_embed']
    assert places[0, 3, 7] == found['time_pos_embed'][0, 7, 0, 3]
    kernel = converted.variables['params/patch_embed/kernel']
    assert kernel[1, 5, 0, 7] == found['patch_embed.proj.weight'][7, 0, 5, 1]
    page = keys.get_config()
    page.model.name, page.features.name = 'dasheng', 'dasheng'
    init_from.complete(page, converted)
    assert page.model.heads == 3 and page.model.target_frames == 20
    assert page.features.hop_length == 80 and page.features.f_min_hz == 20.0 and page.features.n_mels == 8
    # Heads are all that tensors alone leave open.
    assert convert(found, None, heads=3).sha256 == converted.sha256
    with pytest.raises(UserError, match='it has heads=3, and heads=4 is named'):
        convert(found, heads=4)


def without(key):
    return lambda found: {name: value for name, value in found.items() if name != key}


@pytest.mark.parametrize(
    ('change', 'config', 'said'),
    [
        (dict, {'num_heads': None}, r'how many heads .*\[1, 2, 3, 4, 6, 12\].*--set=heads=NUMBER'),
        (dict, {'num_heads': 5}, r'width=12 cannot be divided among 5 heads'),
        (dict, {'num_heads': 'many'}, r"num_heads='many': expected a whole number"),
        (dict, {'depth': 3}, r'depth=3, and the tensors 2'),
        (dict, {'target_length': 1008}, r'target_length=1008, and the tensors 20'),
        (dict, {'pooling': 'token'}, r"pooling='token': only 'mean' is known"),
        (dict, {'hop_size': -1}, r'hop_length=-1'),
        (dict, {'patch_stride': [8, 2]}, r'patch_stride=\[8, 2\], and the tensors \[8, 4\]'),
        (without('norm.bias'), {}, r'params/norm/bias stays empty'),
        (lambda t: t | {'outputlayer.weight': t['norm.bias']}, {}, r'outputlayer.weight matches no rule'),
        (
            lambda t: t | {'patch_embed.proj.weight': np.zeros((12, 1, 4, 4), np.float32)}, {},
            r'params/patch_embed/kernel has the shape \(4, 4, 1, 12\), expected \(4, 8, 1, 12\)',
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(change, config, said):
    config = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    with pytest.raises(UserError, match=said) as caught:
        convert(change(tensors()), config)
    assert '\n' not in str(caught.value) and str(caught.value).startswith('file: as Dasheng')
