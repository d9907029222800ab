"""Recurrent layers as one loop whose kernel's gradient is a single product."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from genre_jax.models.kernels.computed_once import computed_once
from genre_jax.models.kernels.product import product

States = tuple[jax.Array, ...]
Cell = Callable[[jax.Array, jax.Array, States], States]
TIMES = '...i,io->...o'  # (..., inputs) times a kernel (inputs, outputs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 4, 5))
def states(
    cell: Cell,
    projected: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    n_states: int = 1,
    dtype: str = 'float32',
) -> jax.Array:
    """Applies a cell step by step, from states of zeros.

    The gradient of `jax.lax.scan` adds a step's gradient of the kernel to those of the steps before, which
    reads and writes as much as the kernel holds, at each step. Here the loop backwards keeps the gradients
    of the products, and the kernel's is computed of all at once after it.

    The cell maps a step of `projected`, float32 (steps, batch, width), the hidden state times the kernel
    (units, width) plus bias, and its `n_states` states (batch, units), the hidden one first, to the new
    states. Returns the hidden states, float32 (steps, batch, units).
    """
    return _forward(cell, projected, kernel, bias, n_states, dtype)[0]


def _forward(cell, projected, kernel, bias, n_states, dtype):
    def step(old, projected):
        recurrent = product(TIMES, old[0], kernel, dtype) + bias
        new = cell(projected, recurrent, old)
        return new, (recurrent, old, new[0])

    zeros = jnp.zeros((projected.shape[1], len(kernel)))
    _, (recurrent, before, hidden) = jax.lax.scan(step, (zeros,) * n_states, projected)
    return hidden, (projected, recurrent, before, kernel)


def _backward(cell, n_states, dtype, saved, gradient):
    projected, recurrent, before, kernel = saved
    # One copy before the loop: products that read the kernel across its rows pack it anew at each step.
    transposed = computed_once(kernel.T)

    def step(ahead, at_step):
        gradient, *inputs = at_step
        _, pull_back = jax.vjp(cell, *inputs)
        of_projected, of_recurrent, of_states = pull_back((ahead[0] + gradient, *ahead[1:]))
        of_hidden = of_states[0] + product(TIMES, of_recurrent, transposed, dtype)
        return (of_hidden, *of_states[1:]), (of_projected, of_recurrent)

    zeros = (jnp.zeros_like(gradient[0]),) * n_states
    _, (of_projected, of_recurrent) = jax.lax.scan(
        step, zeros, (gradient, projected, recurrent, before), reverse=True
    )
    # Not flattened: on several devices batches would be gathered for it.
    of_kernel = product('tbi,tbj->ij', before[0], of_recurrent, dtype)
    return of_projected, of_kernel, of_recurrent.sum((0, 1))


states.defvjp(_forward, _backward)
