"""PyTorch's default initialisation, and its GELU, for networks whose authors used them."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


def uniform_fan_in(fan_in: int) -> Callable:
    """Initialises convolutions, linear layers and biases, uniform in +-1/sqrt(fan_in).

    `fan_in` is the number of inputs of one unit, in recurrent layers that of the units.
    `torch.nn.init.kaiming_uniform_(a=sqrt(5))` for kernels.
    """

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return init


def dense(inputs: jax.Array, units: int, *, name: str, dtype: str = 'float32') -> jax.Array:
    """Applies a linear layer, (..., inputs) to (..., units), inside the calling module."""
    init = uniform_fan_in(inputs.shape[-1])
    return nn.Dense(units, kernel_init=init, bias_init=init, dtype=dtype, name=name)(inputs)


def gelu(inputs: jax.Array) -> jax.Array:
    """Computes x times the normal distribution's share below x, in float32; erf is cheaper than erfc."""
    exact = inputs.astype(jnp.float32)
    return (exact * (0.5 + 0.5 * jax.lax.erf(exact * 0.5**0.5))).astype(inputs.dtype)
