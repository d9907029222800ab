"""Sounds that are no music, in the place of some examples, so that a network is not sure of such.

Outlier exposure (Hendrycks, Mazeika and Dietterich 2019): their targets are all classes alike.
"""

import jax
import jax.numpy as jnp
import numpy as np

_OCTAVES = 11
_LEAST = 1e-9  # of a peak: in a very short clip there may be no click


def outliers(key: jax.Array, waveform: jax.Array, *, max_db: float = 40.0) -> jax.Array:
    """Returns noise of some colour, a tone or clicks, steady or pulsating, as long as a waveform (time,).

    The peak lies up to `max_db` below full scale, half of them within an eighth of that.
    """
    n = waveform.shape[0]
    kind_key, noise_key, tone_key, pulse_key, level_key = jax.random.split(key, 5)
    sounds = (
        lambda: coloured_noise(noise_key, n, jax.random.uniform(kind_key, minval=-4, maxval=2)),
        lambda: _tone(tone_key, n),
        lambda: _clicks(noise_key, n),
    )
    kind = jax.random.choice(kind_key, len(sounds), p=jnp.array([0.6, 0.25, 0.15]))
    sound = jax.lax.switch(kind, sounds) * _pulses(pulse_key, n)
    sound = sound / jnp.maximum(jnp.abs(sound).max(), _LEAST)
    return sound * 10 ** (-max_db * jax.random.uniform(level_key) ** 3 / 20)


def coloured_noise(key: jax.Array, n: int, slope: jax.Array | float) -> jax.Array:
    """Returns noise (n,) whose power falls with frequency to the power of `slope`, 1 (pink) to 2 (brown).

    A sum over octaves of noise that is held for 1, 2, 4, ... samples (Voss and Clarke 1978, for pink): no
    Fourier transform, which TPUs do not have. Below 1 it is flatter, from about -1 on white.
    """
    counts = [-(-n // 2**octave) for octave in range(_OCTAVES)]
    # Drawn at once: a generator for each octave would take seconds to compile.
    noise = jnp.split(jax.random.uniform(key, (sum(counts),), minval=-1), np.cumsum(counts)[:-1])
    return sum(
        2 ** (octave * (slope - 1) / 2) * jnp.repeat(each, 2**octave)[:n] for octave, each in enumerate(noise)
    )


def _tone(key: jax.Array, n: int) -> jax.Array:
    """Returns a tone of 1/400 to 1/8 of the sampling rate, between a sine and a square in sound."""
    pitch_key, drive_key = jax.random.split(key)
    pitch = jnp.exp(jax.random.uniform(pitch_key, minval=jnp.log(1 / 400), maxval=jnp.log(1 / 8)))
    # The phase by its fraction of a turn: in float32 a long angle has few digits left.
    turns = jnp.mod(jnp.arange(n) * pitch, 1.0)
    return jnp.tanh(10 ** jax.random.uniform(drive_key, minval=-1) * 10 * jnp.sin(2 * jnp.pi * turns))


def _clicks(key: jax.Array, n: int) -> jax.Array:
    """Returns single samples of either sign, one in 500 to one in 10,000."""
    rate_key, noise_key = jax.random.split(key)
    share = 10 ** jax.random.uniform(rate_key, minval=-4, maxval=-2.7)
    noise = jax.random.uniform(noise_key, (n,), minval=-1)
    return jnp.where(jnp.abs(noise) > 1 - share, noise, 0)


def _pulses(key: jax.Array, n: int) -> jax.Array:
    """Returns a loudness (n,): steady in half of the cases, else with a period of 2000 to 20,000 samples."""
    steady_key, period_key = jax.random.split(key)
    period = 10 ** jax.random.uniform(period_key, minval=3.3, maxval=4.3)
    pulsating = jnp.abs(jnp.sin(jnp.pi * jnp.mod(jnp.arange(n) / period, 1.0)))
    return jnp.where(jax.random.bernoulli(steady_key), 1.0, pulsating)
