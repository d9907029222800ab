"""Losses and penalties."""

from __future__ import annotations

from collections.abc import Mapping

import flax
import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the cross-entropy of every example, in nats: float32 [B].

    Args:
        logits: float32 [B, C].
        targets: float32 [B, C], shares of the classes that sum to 1.
    """
    return optax.softmax_cross_entropy(logits, targets)


def l1_penalty(params: Mapping) -> jax.Array:
    """Sums the magnitudes of all weights: kernels and normalisation scales, no biases.

    Those are the parameters whose names end in 'weight' in Herbert's PyTorch code.

    Args:
        params: nested dict of parameters.
    """
    flat = flax.traverse_util.flatten_dict(params)
    return sum(
        jnp.abs(value).sum() for path, value in flat.items() if path[-1] in ('kernel', 'scale')
    )
