"""BEATs against what can be computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import models
from genre_jax.errors import UserError
from genre_jax.models import beats


def test_buckets_by_hand():
    """Of 32: half for each side, distances below 8 one by one, 8 more with a factor of 2 for each two."""
    distances = [0, -1, -7, -8, -11, -12, -22, -23, -90, -91, -5000, 1, 7, 8, 16, 5000]
    expected = [0, 1, 7, 8, 8, 9, 10, 11, 14, 15, 15, 17, 23, 24, 26, 31]
    np.testing.assert_array_equal(beats.bucket(np.array(distances), 32, 128), expected)
    np.testing.assert_array_equal(beats.bucket(np.arange(3) - 1, 4, 2), [1, 0, 3])


def test_where_scores_are_equal_the_distance_decides():
    """Without queries gates are 0.5 * (0.5 a - 1) + 2, and weights the softmax of that times the biases."""
    rng = np.random.default_rng(0)
    heads, n_tokens, width = 2, 9, 6
    tokens = jnp.asarray(rng.standard_normal((1, n_tokens, width)), jnp.float32)
    table = rng.standard_normal((8, heads)).astype(np.float32)
    block = beats.Block(heads, 5, 1.0, 'float32')
    bias = beats.by_distance(jnp.asarray(table), n_tokens, 4)
    params = block.init(jax.random.key(0), tokens, bias)['params']
    params = jax.tree.map(jnp.zeros_like, params)
    eye = np.eye(width, dtype=np.float32)
    params['self_attn_qkv']['kernel'] = jnp.asarray(np.concatenate([0 * eye, 0 * eye, eye], 1))
    params['self_attn_out_proj']['kernel'] = jnp.asarray(eye)
    params['self_attn_grep']['a'] = jnp.asarray([1.0, -2.0]).reshape(1, 2, 1, 1)
    for norm in ('self_attn_layer_norm', 'final_layer_norm'):
        params[norm]['scale'] = jnp.ones(width)
    ours = block.apply({'params': params}, tokens, bias)
    attended = np.zeros((n_tokens, width))
    # 2 exact distances of 4 on a side, and all of at least 4 in the last; between them a factor of 1.41.
    side = {0: 0, 1: 1, 2: 2}
    for head, gate in enumerate((1.75, 1.0)):
        for query in range(n_tokens):
            places = [side.get(abs(k - query), 3) + 4 * (k > query) for k in range(n_tokens)]
            weights = np.exp(gate * table[places, head])
            own = np.s_[3 * head : 3 * head + 3]
            attended[query, own] = weights / weights.sum() @ np.asarray(tokens)[0, :, own]

    def normed(x):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)

    np.testing.assert_allclose(ours[0], normed(normed(np.asarray(tokens[0]) + attended)), atol=1e-4)


SMALL = {'width': 8, 'depth': 2, 'heads': 2, 'hidden_units': 8, 'patch_width': 8, 'position_groups': 2}


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'heads': 3}, r'width=8 cannot be divided by heads=3'),
        ({'position_groups': 5}, r'width=8 cannot be divided by position_groups=5'),
        ({'buckets': 3}, r'buckets=3 with max_distance=800: expected at least 4 buckets'),
        ({'max_distance': 80}, r'buckets=320 with max_distance=80: expected .* above a quarter'),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(UserError, match=message):
        models.build({'name': 'beats', **SMALL, **settings}, 3)


def test_a_token_is_told_where_it_is():
    """All patches alike: what tells them apart are taps beyond the ends, 3 before and 2 behind of 6."""
    model = models.build({'name': 'beats', **SMALL, 'position_taps': 6}, 3)
    pictures = jnp.ones((1, 16 * 12, 16))
    variables = model.init(jax.random.key(0), pictures, train=False)
    variables['params']['patch_embedding']['kernel'] += jnp.arange(8.0)  # else the norm leaves nothing
    _, taken = model.apply(
        variables, pictures, train=False,
        capture_intermediates=lambda module, _: module.name == 'encoder_layer_norm',
    )  # fmt: skip
    tokens = np.asarray(taken['intermediates']['encoder_layer_norm']['__call__'][0])[0]
    same = [np.abs(token - tokens[6]).max() < 1e-5 for token in tokens]
    assert same == [False] * 3 + [True] * 7 + [False] * 2
