"""Products whose factors have the dtype of the computation, in gradients too; the sums are float32."""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 3))
def product(form: str, left: jax.Array, right: jax.Array, dtype: str) -> jax.Array:
    """Multiplies as `jnp.einsum(form, left, right)`, whose own gradient would multiply float32 by `dtype`."""
    return _einsum(form, left, right, dtype, jnp.float32)


@product.defjvp
def _product_jvp(form, dtype, factors, tangents):
    # Results of `dtype`: so are the gradients that the transpose multiplies.
    tangent = sum(
        _einsum(form, *both, dtype, dtype).astype(jnp.float32)
        for both in ((tangents[0], factors[1]), (factors[0], tangents[1]))
    )
    return product(form, *factors, dtype), tangent


def _einsum(form, left, right, dtype, of_result):
    return jnp.einsum(form, left.astype(dtype), right.astype(dtype), preferred_element_type=of_result)
