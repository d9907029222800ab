"""Augmentation on the device: `fn(key, batch) -> batch`, drawn anew for every example."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def spec_augment(
    key: jax.Array,
    features: jax.Array,
    *,
    time_stripes: int,
    time_width_frames: int,
    mel_stripes: int,
    mel_width_bins: int,
) -> jax.Array:
    """Masks stripes of time and of frequency with the example's mean.

    Source: Park et al., SpecAugment (2019), with a number of stripes as in PANNs: of each stripe the
    width is uniform over 0 ... width - 1 and the start over 0 ... total - width.

    Args:
        key: random key.
        features: float32 (batch, frames, bins).
        time_stripes: stripes of frames to mask, 0 for none.
        time_width_frames: upper bound of a stripe's width, in frames; at most the frames there are.
        mel_stripes: stripes of bins to mask, 0 for none.
        mel_width_bins: upper bound of a stripe's width, in bins.

    Returns:
        float32 (batch, frames, bins).
    """
    time_key, mel_key = jax.random.split(key)
    batch, frames, bins = features.shape
    masked = _stripes(time_key, batch, frames, time_stripes, time_width_frames)[:, :, None]
    masked |= _stripes(mel_key, batch, bins, mel_stripes, mel_width_bins)[:, None, :]
    return jnp.where(masked, features.mean((1, 2), keepdims=True), features)


def _stripes(key: jax.Array, batch: int, total: int, stripes: int, width: int) -> jax.Array:
    """Draws stripes; returns bool (batch, total), True where masked."""
    width_key, start_key = jax.random.split(key)
    widths = jax.random.randint(width_key, (batch, stripes, 1), 0, min(width, total))
    # Uniform over the integers 0 ... total - width, whose upper end differs from stripe to stripe.
    starts = jnp.floor(jax.random.uniform(start_key, widths.shape) * (total - widths + 1))
    position = jnp.arange(total)
    return ((position >= starts) & (position < starts + widths)).any(1)
