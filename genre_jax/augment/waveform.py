"""Augmentations of one waveform: `fn(key, waveform (time,), **amounts) -> (time,)`."""

import jax
import jax.numpy as jnp


def gain(key: jax.Array, waveform: jax.Array, *, max_db: float) -> jax.Array:
    """Changes the level by up to +-`max_db` dB, uniform in dB."""
    return waveform * 10 ** (jax.random.uniform(key, minval=-1) * max_db / 20)


def gaussian_noise(key: jax.Array, waveform: jax.Array, *, sigma: float) -> jax.Array:
    """Adds white noise of standard deviation `sigma`, full scale 1."""
    return waveform + sigma * jax.random.normal(key, waveform.shape)


def time_shift(key: jax.Array, waveform: jax.Array, *, max_share: float, wrap: bool = False) -> jax.Array:
    """Moves the waveform by up to +-`max_share` of its length.

    What leaves at one end comes in at the other with `wrap`; else silence comes in.
    """
    n_samples = waveform.shape[0]
    shift = jnp.round(jax.random.uniform(key, minval=-1) * max_share * n_samples).astype(jnp.int32)
    moved = jnp.roll(waveform, shift)
    if wrap:
        return moved
    origin = jnp.arange(n_samples) - shift
    return jnp.where((origin >= 0) & (origin < n_samples), moved, 0)
