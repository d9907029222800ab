"""The attention of the Audio Spectrogram Transformer against JAX's own."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models import ast


def inputs(batch=2, heads=3, tokens=7, width=4, dtype='float32'):
    rng = np.random.default_rng(tokens)
    shape = (4, batch, heads, tokens, width)
    return list(jnp.asarray(3 * rng.standard_normal(shape), dtype))


def jaxs(*qkv):
    return jax.nn.dot_product_attention(*(x.swapaxes(1, 2) for x in qkv)).swapaxes(1, 2)


def gradients(attend):
    def objective(queries, keys, values, weights):
        return (weights * attend(queries, keys, values)).sum()

    return jax.jit(jax.grad(objective, (0, 1, 2)))


@pytest.mark.parametrize('tokens', [1, 7, 50])
def test_output_and_gradients(tokens):
    *qkv, weights = inputs(tokens=tokens)
    np.testing.assert_allclose(jax.jit(ast.attend)(*qkv), jaxs(*qkv), rtol=1e-5, atol=1e-5)
    pairs = zip(gradients(ast.attend)(*qkv, weights), gradients(jaxs)(*qkv, weights), strict=True)
    for ours, reference in pairs:
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)


def test_large_scores_stay_finite():
    """Scores of some thousands: exponentials without the subtraction would overflow."""
    *qkv, _ = inputs()
    queries, keys, values = qkv[0] * 100, qkv[1] * 100, qkv[2]
    ours = ast.attend(queries, keys, values)
    np.testing.assert_allclose(ours, jaxs(queries, keys, values), rtol=1e-5, atol=1e-5)


def test_several_runs_at_once():
    runs = jax.tree.map(lambda *x: jnp.stack(x), inputs(), [-x for x in inputs()])
    packed = jax.vmap(gradients(ast.attend))(*runs)
    for i in range(2):
        reference = gradients(jaxs)(*(x[i] for x in runs))
        for ours, one in zip(packed, reference, strict=True):
            np.testing.assert_allclose(ours[i], one, rtol=1e-4, atol=1e-4)


def test_bfloat16():
    *qkv, _ = inputs(dtype='bfloat16')
    ours = jax.jit(ast.attend)(*qkv)
    assert ours.dtype == jnp.bfloat16
    reference = jaxs(*(jnp.float32(x) for x in qkv))
    assert jnp.abs(jnp.float32(ours) - reference).max() < 0.02 * jnp.abs(reference).max()


def test_no_gradient_holds_the_weights_of_all_heads():
    tokens, heads = 512, 8
    *qkv, weights = inputs(batch=1, heads=heads, tokens=tokens, width=16)
    memory = gradients(ast.attend).lower(*qkv, weights).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.6 * heads * tokens**2 * 4
    plain = gradients(jaxs).lower(*qkv, weights).compile().memory_analysis()
    assert plain.temp_size_in_bytes > heads * tokens**2 * 4


@pytest.mark.parametrize(
    ('capability', 'dtype', 'width', 'kernel'),
    [
        ('9.0', 'bfloat16', 64, 'cudnn'), ('8.0', 'float16', 128, 'cudnn'), ('12.0', 'bfloat16', 8, 'cudnn'),
        ('7.5', 'bfloat16', 64, None), ('9.0', 'float32', 64, None), ('9.0', 'bfloat16', 60, None),
        ('9.0', 'bfloat16', 136, None), (None, 'bfloat16', 64, None),
    ],
)  # fmt: skip
def test_where_gpus_have_a_kernel_of_cudnn(capability, dtype, width, kernel, monkeypatch):
    """By jax's documentation and NVIDIA's table of support; None is a machine without the plugin."""
    called = []

    def attention(queries, keys, values, implementation):
        called.append(implementation)
        return queries

    gpus = [types.SimpleNamespace(compute_capability=capability)] if capability else []
    monkeypatch.setattr(jax, 'local_devices', lambda: gpus)
    monkeypatch.setattr(ast, 'cuda_versions', gpus or None)
    monkeypatch.setattr(jax.nn, 'dot_product_attention', attention)
    *qkv, _ = inputs(width=width, dtype=dtype)
    jax.jit(ast.attend).trace(*qkv)
    assert called == ([kernel] if kernel else [])
