"""Plays a tune: additive synthesis with a random instrument, key, tempo, level and noise.

Everything random is drawn from ranges that are the same for every tune, whatever it is called, so
a dance can be heard in its rhythm and its melody and in nothing else.
"""

import dataclasses
import math

import numpy as np

from genre_jax.data import synthesis
from genre_jax.data.synthesis import Family
from genre_jax.data.tunes.corpus import Tune

# One range for all dances, in the beats of `Tune`. Dancers take a reel or a jig at 105 to 120 of
# them a minute, a strathspey at about half of that; with a range for each, a classifier need only
# count notes per second.
BEATS_PER_MINUTE = (92.0, 108.0)
# MIDI number that the middle note of a tune is moved to.
MIDDLE_MIDI = (64, 76)
PEAK_DBFS = (-18.0, -3.0)
SNR_DB = (15.0, 40.0)
HARMONICS = 12
RELEASE_S = 0.012

# The order is that of `Family`, up to the vibrato.
FAMILIES = {
    'plucked': Family((0.9, 1.7), (0.6, 1.0), (0.002, 0.006), (0.2, 0.9), (1e-5, 3e-4), (0, 0)),
    'bowed': Family((0.7, 1.3), (0.7, 1.0), (0.015, 0.045), (5, 20), (1e-7, 1e-6), (2, 18)),
    'blown': Family((1.7, 3.0), (0.4, 1.0), (0.010, 0.035), (5, 20), (1e-7, 1e-6), (0, 14)),
    'reed': Family((0.4, 1.0), (0.1, 1.0), (0.005, 0.020), (5, 20), (1e-7, 1e-6), (0, 5)),
}


@dataclasses.dataclass(frozen=True)
class Performance:
    """How a tune is played: everything but the notes and the noise itself."""

    beats_per_minute: float  # in the beats of `Tune`
    transpose_semitones: int = 0  # added to every note
    peak_dbfs: float = -6.0  # largest magnitude of the result, in dB below full scale
    snr_db: float = math.inf  # power of the whole tune over that of the white noise
    amplitudes: tuple[float, ...] = (1.0,)  # of the harmonics
    inharmonicity: float = 0.0  # B of `Family`
    attack_s: float = 0.005  # time to full strength
    decay_s: float = math.inf  # time constant of the decay
    vibrato_hz: float = 5.0
    vibrato_cents: float = 0.0  # peak deviation
    legato: float = 1.0  # share of its length that a note sounds
    timing_s: float = 0.0  # standard deviation of the onsets
    velocity_db: float = 0.0  # standard deviation of the strength of the notes
    accent_db: float = 0.0  # added on the first beat of a bar, half of it on the others


def draw(tune: Tune, rng: np.random.Generator) -> Performance:
    """Draws how to play a tune; of the tune itself only the middle of its range is looked at."""
    family = FAMILIES[rng.choice(list(FAMILIES))]
    amplitudes = synthesis.draw_amplitudes(family, rng, HARMONICS, spread_db=4)
    order = np.argsort(tune.midi)
    spent = np.cumsum(tune.duration_beats[order])
    middle = tune.midi[order][np.searchsorted(spent, spent[-1] / 2)]
    return Performance(
        beats_per_minute=rng.uniform(*BEATS_PER_MINUTE),
        transpose_semitones=int(rng.integers(*MIDDLE_MIDI, endpoint=True) - middle),
        peak_dbfs=rng.uniform(*PEAK_DBFS),
        snr_db=rng.uniform(*SNR_DB),
        amplitudes=amplitudes,
        inharmonicity=synthesis.log_uniform(rng, *family.inharmonicity),
        attack_s=rng.uniform(*family.attack_s),
        decay_s=rng.uniform(*family.decay_s),
        vibrato_hz=rng.uniform(4.5, 6.5),
        vibrato_cents=rng.uniform(*family.vibrato_cents),
        legato=rng.uniform(0.6, 0.9),
        timing_s=rng.uniform(0.002, 0.008),
        velocity_db=rng.uniform(0.5, 2.0),
        accent_db=rng.uniform(3.0, 6.0),
    )


def render(
    tune: Tune, performance: Performance, rng: np.random.Generator, *, duration_s: float, sample_rate_hz: int
) -> np.ndarray:
    """Plays a tune over and over until the time is up; timing, strength of the notes and noise are drawn.

    Returns int16 [round(duration_s * sample_rate_hz)] mono, with its peak at `peak_dbfs`.
    """
    samples = round(duration_s * sample_rate_hz)
    beat_s = 60.0 / performance.beats_per_minute
    rounds = math.ceil(duration_s / (tune.length_beats * beat_s))
    onset_s = np.add.outer(np.arange(rounds) * tune.length_beats, tune.onset_beats).ravel() * beat_s
    length_s = np.tile(tune.duration_beats, rounds) * beat_s
    # At most a quarter of the shorter neighbour, so that notes stay in order.
    slack_s = np.minimum(length_s, np.roll(length_s, 1)) / 4
    jitter_s = performance.timing_s * rng.standard_normal(len(onset_s))
    onset_s = np.maximum(onset_s + np.clip(jitter_s, -slack_s, slack_s), 0.0)
    on_beat = np.abs(tune.position_beats - np.round(tune.position_beats)) < 1e-3
    on_bar = on_beat & (tune.bar >= 0) & (tune.position_beats < 0.5)
    accents_db = performance.accent_db * (0.5 * on_beat + 0.5 * on_bar)
    strength = 10 ** (np.tile(accents_db, rounds) / 20)
    strength *= 10 ** (performance.velocity_db * rng.standard_normal(len(onset_s)) / 20)
    midi = np.tile(tune.midi, rounds) + performance.transpose_semitones
    pitch_hz = 440.0 * 2 ** ((midi - 69) / 12)
    first = np.minimum(np.round(onset_s * sample_rate_hz).astype(int), samples)
    counts = np.diff(first, append=samples)
    sounding_s = np.minimum(length_s * performance.legato, counts / sample_rate_hz)
    wave = np.zeros(samples, np.float32)
    wave[first[0] :] = _notes(performance, pitch_hz, strength, sounding_s, counts, sample_rate_hz)
    return synthesis.to_int16(wave, rng, snr_db=performance.snr_db, peak_dbfs=performance.peak_dbfs)


def _notes(
    performance: Performance,
    pitch_hz: np.ndarray,
    strength: np.ndarray,
    sounding_s: np.ndarray,
    counts: np.ndarray,
    sample_rate_hz: int,
) -> np.ndarray:
    """Plays notes one after the other, each for `counts` samples, float32 [sum(counts)]."""
    note = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    time_s = ((np.arange(len(note)) - starts[note]) / sample_rate_hz).astype(np.float32)
    # A note shorter than the attack still comes to full strength.
    rise_per_s = 1 / np.maximum(np.minimum(performance.attack_s, sounding_s / 2), 1e-6)
    left_s = sounding_s.astype(np.float32)[note] - time_s
    envelope = np.minimum(time_s * rise_per_s.astype(np.float32)[note], 1)
    envelope *= np.clip(left_s / np.float32(RELEASE_S), 0, 1)
    envelope *= np.exp(time_s * np.float32(-1 / performance.decay_s))
    envelope *= strength.astype(np.float32)[note]
    turn = 2 * math.pi * performance.vibrato_hz
    if deviation := 2 ** (performance.vibrato_cents / 1200) - 1:
        time_s += np.float32(deviation / turn) * np.sin(np.float32(turn) * time_s)
    phase = np.float32(2 * math.pi) * pitch_hz.astype(np.float32)[note] * time_s
    wave = np.zeros(len(note), np.float32)
    stretch = performance.inharmonicity
    for number, amplitude in enumerate(performance.amplitudes, start=1):
        ratio = number * math.sqrt((1 + stretch * number**2) / (1 + stretch))
        audible = amplitude * (ratio * pitch_hz < synthesis.HIGHEST_HARMONIC * sample_rate_hz)
        wave += audible.astype(np.float32)[note] * np.sin(np.float32(ratio) * phase)
    return wave * envelope
