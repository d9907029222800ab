"""A pair of drums that keeps the cycle of sixteen beats, teental."""

import math

import numpy as np

# The strokes of the sixteen beats (theka), as they are spoken.
TEENTAL = 'dha dhin dhin dha dha dhin dhin dha dha tin tin ta ta dhin dhin dha'.split()
# Which drums sound: the right one, tuned to Sa, open (na) or damped at the rim (tin), and the left one (ge).
_DRUMS = {'dha': ('na', 'ge'), 'dhin': ('tin', 'ge'), 'ta': ('na',), 'tin': ('tin',)}
# Strengths of the harmonics of the right drum, which its loaded skin has (C. V. Raman, The Indian Musical
# Drums, 1934), and how fast they decay.
_RIGHT = {'na': ((0.2, 1.0, 0.6, 0.3, 0.15), 0.18), 'tin': ((1.0, 0.5, 0.15, 0.05, 0.0), 0.3)}
_LEFT_HZ, _LEFT_DECAY_S = 75.0, 0.22
_LEFT_BEND = 0.35  # the pitch of the left drum rises by this share under the hand
_CLICK_S = 0.004
_RING_S = 0.8


def beats(from_s: float, beats_per_s: float, acceleration_per_s: float, duration_s: float) -> np.ndarray:
    """Returns when the beats fall, float64 [n] in s, from `from_s` to the end.

    There are so many a second at the start; a second later a share `acceleration_per_s` more of that.
    """
    share = acceleration_per_s
    span_s = duration_s - from_s
    count = math.ceil(beats_per_s * span_s * (1 + share * span_s / 2))
    turns = np.arange(count) / beats_per_s
    # Beats until t are the integral of the tempo, t + share t^2 / 2, solved for t.
    since_s = 2 * turns / (1 + np.sqrt(1 + 2 * share * turns))
    return from_s + since_s[since_s < span_s]


def play(
    times_s: np.ndarray, sa_hz: float, rng: np.random.Generator, samples: int, sample_rate_hz: int
) -> np.ndarray:
    """Plays the cycle on beats at such times, its right drum tuned to `sa_hz`, float32 [samples]."""
    time_s = np.arange(round(_RING_S * sample_rate_hz), dtype=np.float32) / sample_rate_hz
    click = rng.standard_normal(len(time_s), np.float32) * np.exp(-time_s / np.float32(_CLICK_S))
    fade = 1 - time_s / np.float32(_RING_S)
    drums = {}
    for name, (strengths, decay_s) in _RIGHT.items():
        tone = sum(
            np.float32(strength) * np.sin(np.float32(2 * math.pi * number * sa_hz) * time_s)
            for number, strength in enumerate(strengths, 1)
            if number * sa_hz < sample_rate_hz / 2
        )
        drums[name] = (tone * np.exp(-time_s / np.float32(decay_s)) + click) * fade
    turns = _LEFT_HZ * (time_s + np.float32(_LEFT_BEND) * np.square(time_s))
    drums['ge'] = 1.5 * np.sin(np.float32(2 * math.pi) * turns) * np.exp(-time_s / np.float32(_LEFT_DECAY_S))
    drums['ge'] *= fade
    wave = np.zeros(samples + len(time_s), np.float32)
    first = int(rng.integers(len(TEENTAL)))
    for i, time in enumerate(times_s):
        start = int(time * sample_rate_hz)
        for drum in _DRUMS[TEENTAL[(first + i) % len(TEENTAL)]]:
            wave[start : start + len(time_s)] += drums[drum] * np.float32(rng.uniform(0.6, 1.0))
    return wave[:samples]
