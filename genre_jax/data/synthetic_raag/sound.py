"""Plays a melody over a tanpura: musicians with their instruments, habits and rooms, and the rendering.

A musician is drawn once and plays all raags, so that nothing but the notes tells one raag from another.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from genre_jax.data import synthesis
from genre_jax.data.synthesis import Family
from genre_jax.data.synthetic_raag import grammar

# Sa of a recording: a musician's own, anywhere in this range, and up to a semitone from it on the day.
TONIC_HZ = (110.0, 300.0)
_TONIC_HABIT_SEMITONES = 1.0
_HARMONICS = 14
_RELEASE_S = 0.03
# A tanpura: harmonics, and how long a pluck is heard.
_DRONE_HARMONICS = 20
_DRONE_RING_S = 5.0

_HELD = (math.inf, math.inf)
FAMILIES = {
    'sitar': Family((0.6, 1.2), (0.6, 1.0), (0.002, 0.006), (0.6, 1.4), damping=(0.1, 0.4), meend=(0.2, 0.5)),
    'bansuri': Family((1.8, 2.8), (0.3, 0.8), (0.03, 0.07), _HELD, meend=(0.2, 0.5)),
    'harmonium': Family((0.5, 1.1), (0.3, 1.0), (0.02, 0.04), _HELD),
}


@dataclasses.dataclass(frozen=True)
class Note:
    """A note as it is played."""

    onset_s: float  # from the start of the recording
    duration_s: float  # how long it sounds
    swara: str  # its letter, the same in every octave
    semitones: int  # its place above Sa
    frequency_hz: float  # its pitch, which stays once it is reached
    phrase: int  # number of its phrase; between phrases there is a breath
    glide_s: float = 0.0  # of a glide (meend) from the pitch of the note before, 0 for none


@dataclasses.dataclass(frozen=True)
class Performance:
    """How a raag is played: everything but the notes and the noise itself."""

    tonic_hz: float  # frequency of Sa
    notes_per_s: float = 4.0  # tempo of the short notes at the start
    acceleration_per_s: float = 0.0  # by which share of that it grows every second
    meend: float = 0.0  # share of the notes inside a phrase that are reached by a glide
    amplitudes: tuple[float, ...] = (1.0,)  # of the harmonics of the melody
    attack_s: float = 0.02  # time to full strength
    decay_s: float = math.inf  # time constant of the fundamental
    damping: float = 0.0  # how much faster the higher harmonics decay, see `Family`
    drone_db: float = -math.inf  # power of the drone over that of the melody
    drone_tilt: float = 1.0  # harmonic k of its strings starts from the amplitude k ** -tilt
    drone_pluck_s: float = 1.0  # time between its plucks
    drone_decay_s: float = 1.5  # time constant of its strings
    room_db: float = -math.inf  # power of the reverberation over that of the sound itself
    room_s: float = 0.5  # time in which the reverberation falls by 60 dB
    snr_db: float = math.inf  # power of everything over that of white noise
    peak_dbfs: float = -6.0  # largest magnitude of the result, in dB below full scale


def draw_musician(rng: np.random.Generator) -> Performance:
    """Draws what a musician's recordings have in common: instrument, tuning, tempo, drone, room."""
    family = FAMILIES[rng.choice(list(FAMILIES))]
    amplitudes = synthesis.draw_amplitudes(family, rng, _HARMONICS, spread_db=3)
    margin = 2 ** (_TONIC_HABIT_SEMITONES / 12)
    return Performance(
        tonic_hz=synthesis.log_uniform(rng, TONIC_HZ[0] * margin, TONIC_HZ[1] / margin),
        notes_per_s=synthesis.log_uniform(rng, 2.8, 5.0),
        acceleration_per_s=rng.uniform(0.0, 0.01),
        meend=rng.uniform(*family.meend),
        amplitudes=amplitudes,
        attack_s=rng.uniform(*family.attack_s),
        decay_s=math.inf if family.decay_s == _HELD else rng.uniform(*family.decay_s),
        damping=rng.uniform(*family.damping),
        drone_db=rng.uniform(-16.0, -7.0),
        drone_tilt=rng.uniform(0.5, 1.1),
        drone_pluck_s=rng.uniform(0.8, 1.3),
        drone_decay_s=rng.uniform(1.2, 2.5),
        room_db=rng.uniform(-20.0, -9.0),
        room_s=synthesis.log_uniform(rng, 0.2, 1.0),
    )


def draw_recording(musician: Performance, rng: np.random.Generator) -> Performance:
    """Draws what differs from one recording of a musician to the next."""
    semitones = rng.uniform(-_TONIC_HABIT_SEMITONES, _TONIC_HABIT_SEMITONES)
    return dataclasses.replace(
        musician,
        tonic_hz=musician.tonic_hz * 2 ** (semitones / 12),
        notes_per_s=musician.notes_per_s * rng.uniform(0.9, 1.1),
        snr_db=rng.uniform(20.0, 45.0),
        peak_dbfs=rng.uniform(-18.0, -3.0),
    )


def contour(notes: Sequence[Note], duration_s: float, sample_rate_hz: int) -> np.ndarray:
    """Returns the fundamental frequency of a melody's notes, in order, of every sample.

    Float64 [round(duration_s * sample_rate_hz)], in Hz, 0 in rests; glides are half cosines of the logarithm.
    """
    hz = np.zeros(round(duration_s * sample_rate_hz))
    before_hz = 0.0
    for note in notes:
        first, end = _samples(note, sample_rate_hz)
        hz[first:end] = note.frequency_hz
        if glide := min(round(note.glide_s * sample_rate_hz), end - first):
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
    """Plays a melody's notes, in order, over a tanpura whose first string is `drone`, as '.P'.

    Strength of the plucks, room and noise are drawn. Returns int16 [round(duration_s * sample_rate_hz)]
    mono, with its peak at `peak_dbfs`.
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
    since_s, left_s, highest_hz = np.zeros((3, len(hz)), np.float32)
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
    drone: str, performance: Performance, rng: np.random.Generator, samples: int, sample_rate_hz: int
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
