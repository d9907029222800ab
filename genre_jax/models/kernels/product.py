"""Products whose factors have the dtype of the computation, in gradients too; the sums are float32."""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def product(form: str, left: jax.Array, right: jax.Array, dtype: str) -> jax.Array:
    """Multiplies as `jnp.einsum(form, left, right)`, whose own gradient would multiply float32 by `dtype`."""
    return jnp.einsum(form, left.astype(dtype), right.astype(dtype), preferred_element_type=jnp.float32)


def _backward(form, dtype, factors, gradient):
    _, pull_back = jax.vjp(lambda *both: jnp.einsum(form, *(x.astype(dtype) for x in both)), *factors)
    return pull_back(gradient.astype(dtype))


product.defvjp(lambda form, left, right, dtype: (product(form, left, right, dtype), (left, right)), _backward)
