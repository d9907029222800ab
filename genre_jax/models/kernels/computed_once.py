"""Where XLA may not compute a value anew."""

import jax


def computed_once(values: jax.Array) -> jax.Array:
    """Returns the same values, of which all that reads them sees the same bits.

    XLA joins the operations that make a value with each that reads it: as much work again, which CPUs feel,
    and another rounding. The gradient of a maximum looks for it among the values: where none of them equals
    it any more the gradient is lost, while the loss is right.
    """
    return jax.lax.optimization_barrier(values)
