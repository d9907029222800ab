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
    first, turn, second = _matrices(n, x.dtype)
    # Sample i * columns + j becomes bin k + rows * l.
    x = x.reshape(*x.shape[:-1], *_sides(n))
    real, imag = _product('...ij,ik->...kj', x, first[0]), _product('...ij,ik->...kj', x, first[1])
    real, imag = real * turn[0] - imag * turn[1], real * turn[1] + imag * turn[0]
    real, imag = (
        _product('...kj,jl->...lk', real, second[0]) - _product('...kj,jl->...lk', imag, second[1]),
        _product('...kj,jl->...lk', real, second[1]) + _product('...kj,jl->...lk', imag, second[0]),
    )
    return jax.lax.complex(real, imag).reshape(*x.shape[:-2], -1)[..., : n // 2 + 1]


def irfft_by_products(spectrum: jax.Array, n: int) -> jax.Array:
    """Computes `irfft` likewise: but for weights, the steps of `rfft` transposed, the last one first."""
    (rows, columns), (first, turn, second) = _sides(n), _matrices(n, np.float32)
    weights = np.full(n // 2 + 1, 2 / n, np.float32)
    weights[[0, -1] if n % 2 == 0 else [0]] = 1 / n  # these stand for themselves alone
    kept = min(len(weights), spectrum.shape[-1])
    spectrum = spectrum[..., :kept] * weights[:kept]
    lacking = [(0, 0)] * (spectrum.ndim - 1) + [(0, rows * (columns // 2 + 1) - kept)]
    spectrum = jnp.pad(spectrum, lacking).reshape(*spectrum.shape[:-1], -1, rows)
    real, imag = spectrum.real, spectrum.imag
    real, imag = (
        _product('...lk,jl->...kj', real, second[0]) + _product('...lk,jl->...kj', imag, second[1]),
        _product('...lk,jl->...kj', imag, second[0]) - _product('...lk,jl->...kj', real, second[1]),
    )
    real, imag = real * turn[0] + imag * turn[1], imag * turn[0] - real * turn[1]
    x = _product('...kj,ik->...ij', real, first[0]) + _product('...kj,ik->...ij', imag, first[1])
    return x.reshape(*x.shape[:-2], n)


_product = functools.partial(jnp.einsum, precision='highest')


def _sides(n: int) -> tuple[int, int]:
    rows = max(i for i in range(1, math.isqrt(n) + 1) if n % i == 0)
    return rows, n // rows


@functools.cache
def _matrices(n: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns real and imaginary parts: (2, rows, rows), (2, rows, columns), (2, columns, half of them)."""
    rows, columns = _sides(n)

    def turns(along: np.ndarray, across: np.ndarray, period: int) -> np.ndarray:
        angle = -2 * np.pi * (np.outer(along, across) % period) / period
        return np.stack([np.cos(angle), np.sin(angle)]).astype(dtype)

    i, j = np.arange(rows), np.arange(columns)
    return turns(i, i, rows), turns(i, j, n), turns(j, j[: columns // 2 + 1], columns)
