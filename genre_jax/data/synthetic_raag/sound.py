"""Plays a melody over a tanpura: musicians with their instruments, habits and rooms, and the rendering.

A musician is drawn once and plays all raags, so that nothing but the notes tells one raag from another.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from genre_jax.data import synthesis
from genre_jax.data.synthetic_raag import grammar
from genre_jax.data.synthetic_raag.melody import Note

# Sa of a recording: a musician's own, anywhere in this range, and up to a semitone from it on the day.
TONIC_HZ = (110.0, 300.0)
_TONIC_HABIT_SEMITONES = 1.0
_HARMONICS = 14
_RELEASE_S = 0.03
# A tanpura: harmonics, seconds between plucks, time constant, and how long a pluck is heard.
_DRONE_HARMONICS = 20
_DRONE_PLUCK_S = (0.8, 1.3)
_DRONE_DECAY_S = (1.2, 2.5)
_DRONE_RING_S = 5.0


@dataclasses.dataclass(frozen=True)
class Family:
    """Ranges (low, high) from which an instrument of a family is drawn.

    Attributes:
        tilt: harmonic k starts from the amplitude k ** -tilt.
        even: factor on the even harmonics.
        attack_s: time to full strength.
        decay_s: time constant of the fundamental; infinite for a held tone.
        damping: harmonic k decays by 1 + damping * (k - 1) times as fast.
        meend: share of the notes that are reached by a glide.
    """

    tilt: tuple[float, float]
    even: tuple[float, float]
    attack_s: tuple[float, float]
    decay_s: tuple[float, float]
    damping: tuple[float, float]
    meend: tuple[float, float]


FAMILIES = {
    'sitar': Family((0.6, 1.2), (0.6, 1.0), (0.002, 0.006), (0.6, 1.4), (0.1, 0.4), (0.2, 0.5)),
    'bansuri': Family((1.8, 2.8), (0.3, 0.8), (0.03, 0.07), (math.inf,) * 2, (0, 0), (0.2, 0.5)),
    'harmonium': Family((0.5, 1.1), (0.3, 1.0), (0.02, 0.04), (math.inf,) * 2, (0, 0), (0, 0)),
}


@dataclasses.dataclass(frozen=True)
class Performance:
    """How a raag is played: everything but the notes and the noise itself.

    Attributes:
        tonic_hz: frequency of Sa.
        notes_per_s: tempo of the short notes at the start.
        acceleration_per_s: by which share of that it grows every second.
        meend: share of the notes that are reached by a glide.
        amplitudes: of the harmonics of the melody.
        attack_s: time to full strength.
        decay_s: time constant of the fundamental.
        damping: how much faster the higher harmonics decay, see `Family`.
        drone_db: power of the drone over that of the melody; minus infinity for none.
        drone_tilt: harmonic k of a string of the tanpura starts from the amplitude k ** -tilt.
        drone_pluck_s: seconds between its plucks.
        drone_decay_s: time constant of its strings.
        room_db: power of the reverberation over that of the sound itself; minus infinity for none.
        room_s: time in which the reverberation falls by 60 dB.
        snr_db: power of everything over that of white noise; infinite for none.
        peak_dbfs: largest magnitude of the result, in dB below full scale.
    """

    tonic_hz: float
    notes_per_s: float = 4.0
    acceleration_per_s: float = 0.0
    meend: float = 0.0
    amplitudes: tuple[float, ...] = (1.0,)
    attack_s: float = 0.02
    decay_s: float = math.inf
    damping: float = 0.0
    drone_db: float = -math.inf
    drone_tilt: float = 1.0
    drone_pluck_s: float = 1.0
    drone_decay_s: float = 1.5
    room_db: float = -math.inf
    room_s: float = 0.5
    snr_db: float = math.inf
    peak_dbfs: float = -6.0


def draw_musician(rng: np.random.Generator) -> Performance:
    """Draws what a musician's recordings have in common: instrument, tuning, tempo, drone, room.

    Args:
        rng: of the musician.
    """
    family = FAMILIES[rng.choice(list(FAMILIES))]
    number = np.arange(1, _HARMONICS + 1)
    amplitudes = number ** -rng.uniform(*family.tilt) * 10 ** (rng.normal(0, 3, _HARMONICS) / 20)
    amplitudes[1::2] *= rng.uniform(*family.even)
    margin = 2 ** (_TONIC_HABIT_SEMITONES / 12)
    return Performance(
        tonic_hz=_log_uniform(rng, TONIC_HZ[0] * margin, TONIC_HZ[1] / margin),
        notes_per_s=_log_uniform(rng, 2.8, 5.0),
        acceleration_per_s=rng.uniform(0.0, 0.01),
        meend=rng.uniform(*family.meend),
        amplitudes=tuple(amplitudes.tolist()),
        attack_s=rng.uniform(*family.attack_s),
        decay_s=family.decay_s[0]
        if math.isinf(family.decay_s[0])
        else rng.uniform(*family.decay_s),
        damping=rng.uniform(*family.damping),
        drone_db=rng.uniform(-16.0, -7.0),
        drone_tilt=rng.uniform(0.5, 1.1),
        drone_pluck_s=rng.uniform(*_DRONE_PLUCK_S),
        drone_decay_s=rng.uniform(*_DRONE_DECAY_S),
        room_db=rng.uniform(-20.0, -9.0),
        room_s=_log_uniform(rng, 0.2, 1.0),
    )


def draw_recording(musician: Performance, rng: np.random.Generator) -> Performance:
    """Draws what differs from one recording of a musician to the next.

    Args:
        musician: what `draw_musician` returns.
        rng: of the recording.
    """
    semitones = rng.uniform(-_TONIC_HABIT_SEMITONES, _TONIC_HABIT_SEMITONES)
    return dataclasses.replace(
        musician,
        tonic_hz=musician.tonic_hz * 2 ** (semitones / 12),
        notes_per_s=musician.notes_per_s * rng.uniform(0.9, 1.1),
        snr_db=rng.uniform(20.0, 45.0),
        peak_dbfs=rng.uniform(-18.0, -3.0),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def contour(notes: Sequence[Note], duration_s: float, sample_rate_hz: int) -> np.ndarray:
    """Returns the melody's fundamental frequency.

    A glide is half a cosine on the scale of the logarithm.

    Args:
        notes: of one melody, in order.
        duration_s: length of the result.
        sample_rate_hz: of the result.

    Returns:
        float64 [round(duration_s * sample_rate_hz)], in Hz; 0 where no note sounds.
    """
    hz = np.zeros(round(duration_s * sample_rate_hz))
    before_hz = 0.0
    for note in notes:
        first, end = _samples(note, sample_rate_hz)
        hz[first:end] = note.frequency_hz
        glide = min(round(note.glide_s * sample_rate_hz), end - first)
        if glide:
            share = (1 + np.cos(np.pi * np.arange(glide) / glide)) / 2
            hz[first : first + glide] *= (before_hz / note.frequency_hz) ** share
        before_hz = note.frequency_hz
    return hz


def _samples(note: Note, sample_rate_hz: int) -> tuple[int, int]:
    """Returns the first sample of a note and the one after its last."""
    return tuple(round(s * sample_rate_hz) for s in (note.onset_s, note.onset_s + note.duration_s))


def render(
    notes: Sequence[Note],
    drone: str,
    performance: Performance,
    rng: np.random.Generator,
    *,
    duration_s: float,
    sample_rate_hz: int,
) -> np.ndarray:
    """Plays a melody.

    Args:
        notes: of the melody, in order.
        drone: note of the first string of the tanpura, as '.P'.
        performance: how to play it.
        rng: for the strength of the plucks, the room and the noise.
        duration_s: length of the result.
        sample_rate_hz: of the result.

    Returns:
        int16 [round(duration_s * sample_rate_hz)] mono, with its peak at `peak_dbfs`.
    """
    wave = _melody(notes, performance, duration_s, sample_rate_hz)
    if performance.drone_db > -math.inf:
        strings = _tanpura(drone, performance, rng, len(wave), sample_rate_hz)
        wave += strings * np.float32(_gain(wave, strings, performance.drone_db))
    if performance.room_db > -math.inf:
        echo = _reverberation(wave, performance.room_s, rng, sample_rate_hz)
        wave += echo * np.float32(_gain(wave, echo, performance.room_db))
    return synthesis.to_int16(wave, rng, snr_db=performance.snr_db, peak_dbfs=performance.peak_dbfs)


def _gain(reference: np.ndarray, wave: np.ndarray, level_db: float) -> float:
    """Returns the factor that brings the power of `wave` to `level_db` over that of `reference`."""
    power, own = (np.mean(np.square(x, dtype=np.float64)) for x in (reference, wave))
    return math.sqrt(power / own * 10 ** (level_db / 10))


def _melody(
    notes: Sequence[Note], performance: Performance, duration_s: float, sample_rate_hz: int
) -> np.ndarray:
    """Plays the notes alone, float32 [samples]: one string or pipe, struck or blown anew but for glides."""
    hz = contour(notes, duration_s, sample_rate_hz)
    since_s = np.zeros(len(hz), np.float32)
    left_s = np.zeros(len(hz), np.float32)
    highest_hz = np.zeros(len(hz), np.float32)
    strokes: list[list[int]] = []
    for note in notes:
        first, end = _samples(note, sample_rate_hz)
        if note.glide_s and strokes and strokes[-1][1] == first:
            strokes[-1][1] = end
        else:
            strokes.append([first, end])
    for first, end in strokes:
        time_s = np.arange(end - first, dtype=np.float32) / sample_rate_hz
        since_s[first:end] = time_s
        left_s[first:end] = time_s[::-1]
        highest_hz[first:end] = hz[first:end].max(initial=0.0)
    turns = np.cumsum(hz) / sample_rate_hz
    phase = (2 * math.pi * (turns % 1)).astype(np.float32)
    envelope = np.minimum(since_s / np.float32(performance.attack_s), 1)
    envelope *= np.minimum(left_s / np.float32(_RELEASE_S), 1)
    envelope *= np.exp(since_s * np.float32(-1 / performance.decay_s))
    faster = np.exp(since_s * np.float32(-performance.damping / performance.decay_s))
    wave = np.zeros(len(hz), np.float32)
    for number, amplitude in enumerate(performance.amplitudes, start=1):
        audible = highest_hz * number < synthesis.HIGHEST_HARMONIC * sample_rate_hz
        wave += np.float32(amplitude) * audible * envelope * np.sin(np.float32(number) * phase)
        envelope *= faster
    return wave


def _tanpura(
    drone: str,
    performance: Performance,
    rng: np.random.Generator,
    samples: int,
    sample_rate_hz: int,
) -> np.ndarray:
    """Plucks four strings in turn, `drone`, Sa, Sa and the Sa below, float32 [samples]."""
    ring = round(_DRONE_RING_S * sample_rate_hz)
    time_s = np.arange(ring, dtype=np.float32) / sample_rate_hz
    fade = np.exp(-time_s / np.float32(performance.drone_decay_s)) * (1 - time_s / _DRONE_RING_S)
    strings = []
    for note in (drone, 'S', 'S', '.S'):
        hz = grammar.frequency_hz(grammar.pitch(note), performance.tonic_hz)
        turns = np.arange(ring) * (hz / sample_rate_hz)
        phase = (2 * math.pi * (turns % 1)).astype(np.float32)
        string = np.zeros(ring, np.float32)
        for number in range(1, _DRONE_HARMONICS + 1):
            rate, start = np.float32(rng.uniform(2, 6)), np.float32(rng.uniform(0, 2 * math.pi))
            if number * hz < synthesis.HIGHEST_HARMONIC * sample_rate_hz:
                beat = 1 + np.sin(rate * time_s + start) / 2
                tone = np.sin(np.float32(number) * phase)
                string += np.float32(number**-performance.drone_tilt) * beat * tone
        strings.append(string * fade)
    # It has been sounding before the recording begins.
    wave = np.zeros(samples + 2 * ring, np.float32)
    now = rng.uniform(0, performance.drone_pluck_s) * sample_rate_hz
    turn = int(rng.integers(4))
    while now < samples + ring:
        wave[int(now) : int(now) + ring] += strings[turn % 4] * np.float32(rng.uniform(0.7, 1.0))
        now += performance.drone_pluck_s * sample_rate_hz * rng.uniform(0.97, 1.03)
        turn += 1
    return wave[ring : ring + samples]


def _reverberation(
    wave: np.ndarray, room_s: float, rng: np.random.Generator, sample_rate_hz: int
) -> np.ndarray:
    """Returns what a room adds: the wave convolved with decaying noise, float32 [samples]."""
    length = round(room_s * sample_rate_hz)
    response = rng.standard_normal(length, np.float32)
    response *= (10 ** (-3 * np.arange(length) / length)).astype(np.float32)
    response[: sample_rate_hz // 100] = 0  # the first wall is 1.7 m away
    size = 1 << (len(wave) + length).bit_length()
    spectrum = np.fft.rfft(wave, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(wave)].astype(np.float32)
