"""PaSST: an AST whose positions are sums of those of a row and of a column."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import models

SETTINGS = {'width': 12, 'depth': 2, 'heads': 3, 'frequency_stride': 16, 'time_stride': 10}
SHAPE = (3, 57, 48)  # 3 rows of patches, 5 columns


def drawn(**settings):
    model = models.build({'name': 'passt', **SETTINGS, **settings}, 4)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(SHAPE), train=False))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32) / 3, shapes['params'])
    return model, params


@pytest.mark.parametrize('patchout', [{}, {'patchout_time': 2, 'patchout_frequency': 1, 'patchout': 3}])
def test_it_is_an_ast_with_these_sums(patchout):
    model, params = drawn(**patchout)
    tokens, rows, columns = (params[f'{name}new_pos_embed'] for name in ('', 'freq_', 'time_'))
    assert (rows.shape, columns.shape) == ((1, 3, 1, 12), (1, 1, 5, 12))
    sums = [rows[0, row, 0] + columns[0, 0, column] for row in range(3) for column in range(5)]
    whole = {key: value for key, value in params.items() if 'new_pos_embed' not in key}
    whole['pos_embed'] = np.concatenate([tokens, np.stack(sums)[None]], axis=1)
    ast = models.build({'name': 'ast', **SETTINGS, **patchout}, 4)
    pictures = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)

    def outputs(model, params):
        key = jax.random.key(2)
        return jax.jit(lambda: model.apply({'params': params}, pictures, train=True, rngs={'dropout': key}))()

    for ours, theirs in zip(outputs(model, params), outputs(ast, whole), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_every_parameter_belongs_to_one_block():
    model, params = drawn()
    named = [name for block in model.blocks for name in block]
    assert sorted(named) == sorted(params)


@pytest.mark.parametrize(
    ('num_classes', 'picture', 'count'),
    # As counted in hear21passt and in maest-infer, without their second head.
    [(527, (1000, 128), 86_153_758 - 527 * 769), (519, (1876, 96), 86_206_734 - 519 * 769)],
)
def test_parameters_of_the_published(num_classes, picture, count):
    model = models.build({'name': 'passt'}, num_classes)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *picture)), train=False))
    assert sum(leaf.size for leaf in flax.traverse_util.flatten_dict(shapes).values()) == count
