"""Dropout whose rate may differ between runs that train together."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Dropout whose rate may be a traced number: a packed sweep trains members with several rates.

    The bits of `nn.Dropout` under the same key, which comes from the layer's place and name. A rate of 0 that
    is known drops nothing and draws nothing, as there; one that is traced draws, and keeps everything.

    Attributes:
        rate: share of the values that become zero, in [0, 1).
        broadcast_dims: axes along which values are dropped together.
    """

    rate: float | jax.Array
    broadcast_dims: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, values: jax.Array, train: bool) -> jax.Array:
        """Drops values, and divides the others by their share, where `train` is set."""
        known = not isinstance(self.rate, jax.core.Tracer)
        if not train or (known and self.rate == 0):
            return values
        keep = 1 - jnp.asarray(self.rate, jnp.float32)
        shape = [1 if i in self.broadcast_dims else n for i, n in enumerate(values.shape)]
        kept = jax.random.bernoulli(self.make_rng('dropout'), keep, shape)
        return jnp.where(kept, values / keep.astype(values.dtype), jnp.zeros_like(values))
