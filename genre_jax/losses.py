"""Losses and penalties. All take a mask: padded examples count for nothing."""

from __future__ import annotations

from collections.abc import Mapping

import flax
import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the cross-entropy of every example, in nats: float32 [B].

    Args:
        logits: float32 [B, C].
        labels: int32 [B].
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the mean of the values [B] where the mask [B] is 1, and 0 if it is nowhere."""
    return (values * mask).sum() / jnp.maximum(mask.sum(), 1)


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
