"""Convolutions in other forms against XLA's own, values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models.kernels import convolution


@pytest.mark.parametrize('channels', [3, 40])
def test_single_channel_on_tpus_is_products(channels, monkeypatch):
    """Their compiler takes minutes for each large convolution of one channel."""
    rng = np.random.default_rng(0)
    pictures = jnp.asarray(rng.standard_normal((2, 19, 23)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((7, 6, 1, channels)), jnp.float32)
    cotangent = jnp.asarray(rng.standard_normal((2, 19, 23, channels)), jnp.float32)
    pads = ((3, 3), (2, 3))

    def both(pictures, kernel):
        values, pull_back = jax.vjp(lambda *x: convolution.single_channel(*x, pads), pictures, kernel)
        return values, *pull_back(cotangent)

    def reference(pictures, kernel):
        return jax.lax.conv_general_dilated(
            pictures[..., None], kernel, (1, 1), pads, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )

    program = jax.jit(both).trace(pictures, kernel)
    assert 'stablehlo.convolution' in program.lower(lowering_platforms=('cuda',)).as_text()
    assert 'stablehlo.convolution' not in program.lower(lowering_platforms=('tpu',)).as_text()

    def chosen(*arguments, default=None, **ways):
        return ways.get('tpu', default)(*arguments)

    monkeypatch.setattr(jax.lax, 'platform_dependent', chosen)
    found = jax.jit(lambda *x: both(*x))(pictures, kernel)  # traced anew
    values, pull_back = jax.vjp(reference, pictures, kernel)
    for ours, theirs in zip(found, (values, *pull_back(cotangent)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * float(jnp.abs(theirs).max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kernel_size', 'shape'),
    [
        ((23, 10), (2, 80, 80)), ((20, 21), (1, 37, 53)), ((7, 38), (2, 19, 96)), ((1, 5), (3, 4, 9)),
        ((20, 3), (2, 170, 11)), ((128, 1), (2, 61, 7)), ((32, 1), (1, 200, 3)),
        ((3, 3), (2, 5, 5)), ((1, 1), (2, 3, 4)),
    ],
)  # fmt: skip
@pytest.mark.parametrize(('same_columns', 'channels'), [(True, 3), (False, 40)])
def test_single_channel_is_xlas(kernel_size, shape, channels, same_columns):
    rng = np.random.default_rng(0)
    pictures = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((*kernel_size, 1, channels)), jnp.float32)
    rows, columns = (((n - 1) // 2, n // 2) for n in kernel_size)
    pads = (rows, columns if same_columns else (0, 0))

    def reference(pictures, kernel):
        return jax.lax.conv_general_dilated(
            pictures[..., None], kernel, (1, 1), pads, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )

    ours = functools.partial(convolution.single_channel, pads=pads)
    theirs, their_gradients = jax.vjp(reference, pictures, kernel)
    values, gradients = jax.vjp(jax.jit(ours), pictures, kernel)
    scale = float(jnp.abs(theirs).max())
    np.testing.assert_allclose(jax.jit(ours)(pictures, kernel), theirs, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(values, theirs, rtol=0, atol=1e-5 * scale)
    cotangent = jnp.asarray(rng.standard_normal(theirs.shape), jnp.float32)
    for mine, other in zip(gradients(cotangent), their_gradients(cotangent), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-5 * float(jnp.abs(other).max()))
