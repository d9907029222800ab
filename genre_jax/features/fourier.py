"""Transforms of real signals; on TPUs by products, since their compiler takes minutes for an FFT."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np


def rfft(x: jax.Array) -> jax.Array:
    """Transforms real (..., n) to complex (..., n // 2 + 1)."""
    return jax.lax.platform_dependent(x, tpu=rfft_by_products, default=jnp.fft.rfft)


def irfft(spectrum: jax.Array, n: int) -> jax.Array:
    """Transforms complex (..., bins) back to real (..., n); of n // 2 + 1 bins those that lack are 0."""
    by_products, by_fft = (functools.partial(f, n=n) for f in (irfft_by_products, jnp.fft.irfft))
    return jax.lax.platform_dependent(spectrum, tpu=by_products, default=by_fft)


def rfft_by_products(x: jax.Array) -> jax.Array:
    """Computes `rfft` by two products with matrices of about sqrt(n) rows (Cooley and Tukey, 1965)."""
    n = x.shape[-1]
    rows, columns = _sides(n)
    first, cosine, sine, second = _matrices(n, x.dtype)
    # Sample i * columns + j becomes bin k + rows * l; real and imaginary parts stand side by side, since the
    # compiler takes long for products beside each other.
    x = _product('...ij,ik->...kj', x.reshape(*x.shape[:-1], rows, columns), first)
    real, imag = x[..., :rows, :], x[..., rows:, :]
    x = jnp.concatenate([real * cosine - imag * sine, real * sine + imag * cosine], -1)
    real, imag = jnp.split(_product('...kj,jl->...kl', x, second), 2, -1)
    spectrum = jax.lax.complex(real, imag).swapaxes(-1, -2)
    return spectrum.reshape(*spectrum.shape[:-2], -1)[..., : n // 2 + 1]


def irfft_by_products(spectrum: jax.Array, n: int) -> jax.Array:
    """Computes `irfft` likewise: but for weights, the steps of `rfft` transposed, the last one first."""
    rows, columns = _sides(n)
    first, cosine, sine, second = _matrices(n, np.float32)
    weights = np.full(n // 2 + 1, 2 / n, np.float32)
    weights[[0, -1] if n % 2 == 0 else [0]] = 1 / n  # these stand for themselves alone
    kept = min(len(weights), spectrum.shape[-1])
    spectrum = spectrum[..., :kept] * weights[:kept]
    lacking = [(0, 0)] * (spectrum.ndim - 1) + [(0, rows * (columns // 2 + 1) - kept)]
    spectrum = jnp.pad(spectrum, lacking).reshape(*spectrum.shape[:-1], -1, rows).swapaxes(-1, -2)
    x = _product('...kl,jl->...kj', jnp.concatenate([spectrum.real, spectrum.imag], -1), second)
    real, imag = x[..., :columns], x[..., columns:]
    x = jnp.concatenate([real * cosine + imag * sine, imag * cosine - real * sine], -2)
    x = _product('...kj,ik->...ij', x, first)
    return x.reshape(*x.shape[:-2], n)


_product = functools.partial(jnp.einsum, precision='highest')


def _sides(n: int) -> tuple[int, int]:
    rows = max(i for i in range(1, math.isqrt(n) + 1) if n % i == 0)
    return rows, n // rows


@functools.cache
def _matrices(n: int, dtype: np.dtype) -> list[np.ndarray]:
    """Returns the first (rows, 2 rows), cosine and sine of what is between, the second (2 columns, bins)."""
    rows, columns = _sides(n)
    i, j = np.arange(rows), np.arange(columns)

    def turns(along: np.ndarray, across: np.ndarray, period: int) -> list[np.ndarray]:
        angle = -2 * np.pi * (np.outer(along, across) % period) / period
        return [np.cos(angle), np.sin(angle)]

    cosine, sine = turns(j, j[: columns // 2 + 1], columns)
    second = np.block([[cosine, sine], [-sine, cosine]])
    return [x.astype(dtype) for x in (np.concatenate(turns(i, i, rows), 1), *turns(i, j, n), second)]
