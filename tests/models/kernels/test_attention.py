"""Attention against JAX's own."""

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.sharding import NamedSharding

from genre_jax import sharding
from genre_jax.models.kernels import attention


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
    np.testing.assert_allclose(jax.jit(attention.attend)(*qkv), jaxs(*qkv), rtol=1e-5, atol=1e-5)
    pairs = zip(gradients(attention.attend)(*qkv, weights), gradients(jaxs)(*qkv, weights), strict=True)
    for ours, reference in pairs:
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)


def test_a_gated_bias():
    """As jax's own bias, which is of each example, and in all gradients."""
    *qkv, weights = inputs(tokens=7)
    rng = np.random.default_rng(0)
    gate, bias = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((2, 3, 7), (3, 7, 7)))

    def theirs(queries, keys, values, gate, bias):
        by_token = (x.swapaxes(1, 2) for x in (queries, keys, values))
        return jax.nn.dot_product_attention(*by_token, bias=gate[..., None] * bias).swapaxes(1, 2)

    def of(attend):
        return jax.jit(jax.value_and_grad(lambda *x: (weights * attend(*x)).sum(), range(5)))

    pairs = zip(
        *(jax.tree.leaves(of(f)(*qkv, gate, bias)) for f in (attention.attend_with_bias, theirs)), strict=True
    )
    for ours, reference in pairs:
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)


def test_large_scores_stay_finite():
    """Scores of some thousands: exponentials without the subtraction would overflow."""
    *qkv, _ = inputs()
    queries, keys, values = qkv[0] * 100, qkv[1] * 100, qkv[2]
    ours = attention.attend(queries, keys, values)
    np.testing.assert_allclose(ours, jaxs(queries, keys, values), rtol=1e-5, atol=1e-5)


def test_several_runs_at_once():
    runs = jax.tree.map(lambda *x: jnp.stack(x), inputs(), [-x for x in inputs()])
    packed = jax.vmap(gradients(attention.attend))(*runs)
    for i in range(2):
        reference = gradients(jaxs)(*(x[i] for x in runs))
        for ours, one in zip(packed, reference, strict=True):
            np.testing.assert_allclose(ours[i], one, rtol=1e-4, atol=1e-4)


def test_bfloat16():
    *qkv, _ = inputs(dtype='bfloat16')
    ours = jax.jit(attention.attend)(*qkv)
    assert ours.dtype == jnp.bfloat16
    reference = jaxs(*(jnp.float32(x) for x in qkv))
    assert jnp.abs(jnp.float32(ours) - reference).max() < 0.02 * jnp.abs(reference).max()


def test_no_gradient_holds_the_weights_of_all_heads():
    tokens, heads = 2048, 8
    *qkv, weights = inputs(batch=1, heads=heads, tokens=tokens, width=16)
    memory = gradients(attention.attend).lower(*qkv, weights).compile().memory_analysis()
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

    def of_jax(queries, keys, values, implementation, **settings):
        called.append(implementation)
        return queries

    gpus = [types.SimpleNamespace(compute_capability=capability)] if capability else []
    monkeypatch.setattr(jax, 'local_devices', lambda: gpus)
    monkeypatch.setattr(attention, 'cuda_versions', gpus or None)
    monkeypatch.setattr(jax.nn, 'dot_product_attention', of_jax)
    *qkv, _ = inputs(width=width, dtype=dtype)
    jax.jit(attention.attend).trace(*qkv)
    assert called == ([kernel] if kernel else [])


def test_odd_tokens_on_gpus(monkeypatch):
    """jax refuses gradients of the kernel for them; its other way gets the same padding and lengths here."""
    even, of_jax = [], jax.nn.dot_product_attention

    def elsewhere(queries, *others, implementation, **settings):
        even.append(queries.shape[1] % 2 == 0)
        return of_jax(queries, *others, implementation='xla', **settings)

    monkeypatch.setattr(attention, 'cuda_versions', 'there')
    monkeypatch.setattr(jax.nn, 'dot_product_attention', elsewhere)
    monkeypatch.setattr(jax.lax, 'platform_dependent', lambda *x, cuda, **others: cuda(*x))
    *qkv, weights = inputs(tokens=7, width=8, dtype='bfloat16')
    ours = [attention.attend(*qkv), *gradients(attention.attend)(*qkv, weights)]
    monkeypatch.undo()
    assert even and all(even)
    wide = [jnp.float32(x) for x in (*qkv, weights)]
    for mine, reference in zip(ours, [jaxs(*wide[:3]), *gradients(jaxs)(*wide)], strict=True):
        np.testing.assert_allclose(jnp.float32(mine), reference, rtol=0, atol=0.02 * jnp.abs(reference).max())


@pytest.fixture
def as_on_tpus(monkeypatch):
    """Takes the branch for TPUs, and Pallas' interpreter for the kernel; returns the shapes that it gets."""
    shapes, make = [], splash.make_splash_mha

    def made(mask, **settings):
        shapes.append(mask.shape)
        return make(mask, interpret=True, **settings)

    monkeypatch.setattr(splash, 'make_splash_mha', made)
    monkeypatch.setattr(jax.lax, 'platform_dependent', lambda *x, tpu, **others: tpu(*x))
    return shapes


def on(mesh, function):
    def traced(*arguments):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return traced


@pytest.mark.parametrize(
    ('tokens', 'padded', 'dtype', 'tolerance'),
    [
        (1, 128, 'float32', 1e-5), (391, 512, 'bfloat16', 0.02),
        pytest.param(128, 128, 'float32', 1e-5, marks=pytest.mark.slow),
        pytest.param(1214, 1280, 'float32', 1e-5, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_kernel_of_tpus(tokens, padded, dtype, tolerance, as_on_tpus):
    """Of the largest number; what is added to whole blocks gets no weight, or odd lengths would differ."""
    one = sharding.make_mesh(jax.devices()[:1])
    *qkv, weights = inputs(batch=1, heads=2, tokens=tokens, width=64, dtype=dtype)
    wide = [jnp.float32(x) for x in (*qkv, weights)]
    ours = [jax.jit(on(one, attention.attend))(*qkv), *gradients(on(one, attention.attend))(*qkv, weights)]
    assert set(as_on_tpus) == {(2, padded, padded)}
    for mine, reference in zip(ours, [jaxs(*wide[:3]), *gradients(jaxs)(*wide)], strict=True):
        assert mine.dtype == dtype
        most = jnp.abs(reference).max()
        np.testing.assert_allclose(jnp.float32(mine), reference, rtol=0, atol=tolerance * max(most, 1))


@pytest.mark.parametrize(
    ('sizes', 'heads', 'of_one'),
    [
        ((2, 2, 2), 4, 4),
        ((2, 1, 4), 3, None),
        pytest.param((8, 1, 1), 3, 3, marks=pytest.mark.slow),
        pytest.param((1, 2, 4), 4, 4, marks=pytest.mark.slow),
    ],  # fmt: skip
)
def test_kernel_of_tpus_on_a_mesh(sizes, heads, of_one, as_on_tpus):
    """Every device has its examples' and its heads' part, and none is sent; else it goes head by head."""
    mesh = sharding.make_mesh(sizes=dict(zip(('data', 'fsdp', 'model'), sizes, strict=True)))
    qkv = inputs(batch=8, heads=heads, tokens=50, width=16)
    spec = jax.P(('data', 'fsdp'), 'model' if heads % sizes[2] == 0 else None)
    placed = jax.device_put(qkv, NamedSharding(mesh, spec))
    program = gradients(on(mesh, attention.attend))
    for mine, reference in zip(program(*placed), gradients(jaxs)(*qkv), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-4)
    assert set(as_on_tpus) == ({(of_one, 128, 128)} if of_one else set())
    compiled = program.lower(*placed).compile().as_text()
    assert not re.search('all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter', compiled)


def test_kernel_of_tpus_in_packed_runs(as_on_tpus):
    """As sweeps do it: members beside each other on every device, each of which is one's own already."""
    mesh, spec = sharding.make_mesh(), jax.P('data')
    runs = inputs(batch=16, heads=2, tokens=20)
    runs = [x.reshape(16, 1, *x.shape[1:]) for x in runs]
    together = jax.vmap(gradients(attention.attend))
    packed = jax.shard_map(together, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    for mine, reference in zip(jax.jit(packed)(*runs), jax.vmap(gradients(jaxs))(*runs), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-4)
    assert as_on_tpus


def test_no_kernel_of_tpus_where_nothing_says_how_arrays_lie(as_on_tpus):
    *qkv, _ = inputs()
    np.testing.assert_allclose(attention.attend(*qkv), jaxs(*qkv), rtol=1e-5, atol=1e-5)
    assert not as_on_tpus
