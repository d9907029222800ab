"""Augmentations of one spectrogram: `fn(key, picture (frames, bins), **amounts) -> (frames, bins)`."""

from typing import Literal

import jax
import jax.numpy as jnp

# What is written into a mask: the picture's mean, or a number in its own unit.
Fill = Literal['mean'] | float


def spec_augment(
    key: jax.Array,
    picture: jax.Array,
    *,
    time_stripes: int = 2,
    time_width_frames: int = 64,
    mel_stripes: int = 2,
    mel_width_bins: int = 8,
    fill: Fill = 'mean',
) -> jax.Array:
    """Masks stripes of time and of frequency, each as wide as drawn, with the picture's mean or a number.

    Source: Park et al. (2019), drawn as in PANNs and AST: the width of a stripe is uniform over
    0 ... width - 1, its start over 0 ... total - width - 1. The defaults are those of PANNs, whose
    pictures are normalised: its fill, 0, is their mean.
    """
    time_key, mel_key = jax.random.split(key)
    frames, bins = picture.shape
    masked = _stripes(time_key, frames, time_stripes, time_width_frames)[:, None]
    masked |= _stripes(mel_key, bins, mel_stripes, mel_width_bins)[None, :]
    return _filled(picture, masked, fill)


def spectral_masking(
    key: jax.Array, picture: jax.Array, *, min_share: float, max_share: float, fill: Fill = 'mean'
) -> jax.Array:
    """Masks one band of frequencies, of `min_share` ... `max_share` of all bins.

    Source: Bu et al., Table VII.
    """
    width_key, start_key = jax.random.split(key)
    bins = picture.shape[1]
    share = min_share + (max_share - min_share) * jax.random.uniform(width_key)
    width = jnp.round(share * bins)
    start = jnp.floor(jax.random.uniform(start_key) * (bins - width + 1))
    position = jnp.arange(bins)
    return _filled(picture, ((position >= start) & (position < start + width))[None, :], fill)


def picture_noise(key: jax.Array, picture: jax.Array, *, sigma: float) -> jax.Array:
    """Adds white noise to the picture itself, as the code of Bu et al. does; `sigma` is in its unit."""
    return picture + sigma * jax.random.normal(key, picture.shape)


def _stripes(key: jax.Array, total: int, stripes: int, width: int) -> jax.Array:
    """Draws stripes; returns bool (total,), True where masked."""
    width_key, start_key = jax.random.split(key)
    widths = jax.random.randint(width_key, (stripes, 1), 0, width)
    starts = jnp.floor(jax.random.uniform(start_key, widths.shape) * (total - widths))
    position = jnp.arange(total)
    return ((position >= starts) & (position < starts + widths)).any(0)


def _filled(picture: jax.Array, masked: jax.Array, fill: Fill) -> jax.Array:
    return jnp.where(masked, picture.mean() if fill == 'mean' else fill, picture)
