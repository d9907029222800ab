"""Plays a melody over a tanpura: musicians with their instruments, habits and rooms, and the rendering.

What the hard recordings have besides is drawn in hard.py; without it all of that is off.

A musician is drawn once and plays all raags, so that nothing but the notes tells one raag from another.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.fft

from genre_jax.data import synthesis
from genre_jax.data.synthesis import Family
from genre_jax.data.synthetic_raag import grammar, tabla, voice

# Sa of a recording: a musician's own, anywhere in this range, and up to a semitone from it on the day.
TONIC_HZ = (110.0, 300.0)
_TONIC_HABIT_SEMITONES = 1.0
_HARMONICS = 14
_RELEASE_S = 0.03
# A tanpura: harmonics, and how long a pluck is heard.
_DRONE_HARMONICS = 20
_DRONE_RING_S = 5.0
# Notes a second in an alap and in a gat, over those between.
_ALAP, _GAT = 0.4, 1.4

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
    frequency_hz: float  # its pitch, which stays once it is reached, but for swings
    phrase: int  # number of its phrase; between phrases there is a breath
    glide_s: float = 0.0  # of a glide (meend) from the pitch of the note before, 0 for none
    from_hz: float = 0.0  # of a grace note (kan) that the glide begins on instead, 0 for none
    swing_cents: tuple[float, float] = (0.0, 0.0)  # how far below and above it swings: vibrato, gamak
    swing_hz: float = 0.0  # how often a second, 0 for a steady note
    vowel: str = ''  # of `voice.VOWELS`, '' where it is not sung


@dataclasses.dataclass(frozen=True)
class Performance:
    """How a raag is played: everything but the notes and the noise itself."""

    tonic_hz: float  # frequency of Sa
    notes_per_s: float = 4.0  # tempo of the short notes at the start
    acceleration_per_s: float = 0.0  # by which share of that it grows every second
    mood: float = 0.5  # how unevenly swaras are dwelt on: deviation of the logarithm of their lengths
    alap_s: float = 0.0  # until when the notes are slow
    gat_s: float = math.inf  # from when they are fast, and a tabla plays
    meend: float = 0.0  # share of the notes inside a phrase that are reached by a glide
    kan: float = 0.0  # share of the notes that begin with a grace note
    gamak: float = 0.0  # share of the long notes that swing to a neighbour of the raag
    vibrato: float = 0.0  # share of the others that waver
    intonation_cents: float = 0.0  # standard deviation of the pitch from note to note
    tract: float = 0.0  # formants of the singer over those of an average man, 0 for an instrument
    breath_db: float = -math.inf  # power of the singer's breath over that of the melody
    amplitudes: tuple[float, ...] = (1.0,)  # of the harmonics of the melody
    attack_s: float = 0.02  # time to full strength
    decay_s: float = math.inf  # time constant of the fundamental
    damping: float = 0.0  # how much faster the higher harmonics decay, see `Family`
    second: 'Performance | None' = None  # a second melody instrument
    second_db: float = 0.0  # power of it over that of the first
    second_lag_s: float = 0.0  # by how much it plays all notes later; 0: it plays every other phrase alone
    tabla_db: float = -math.inf  # power of the tabla over that of the melody
    drone: str = ''  # the first string of the tanpura, '' for the one that suits the raag
    drone_cents: float = 0.0  # by how much the tanpura is tuned above Sa, the tabla with it
    drone_db: float = -math.inf  # power of the drone over that of the melody
    drone_tilt: float = 1.0  # harmonic k of its strings starts from the amplitude k ** -tilt
    drone_pluck_s: float = 1.0  # time between its plucks
    drone_decay_s: float = 1.5  # time constant of its strings
    room_db: float = -math.inf  # power of the reverberation over that of the sound itself
    room_s: float = 0.5  # time in which the reverberation falls by 60 dB
    snr_db: float = math.inf  # power of everything over that of white noise
    band_hz: tuple[float, float] = (0.0, math.inf)  # what the recording keeps
    clip_db: float = math.inf  # magnitude that it cannot hold, over the root of the mean power
    peak_dbfs: float = -6.0  # largest magnitude of the result, in dB below full scale

    @property
    def drone_hz(self) -> float:
        """What the tanpura and the tabla take for Sa."""
        return self.tonic_hz * 2 ** (self.drone_cents / 1200)

    def tempo(self, now_s: float) -> float:
        """Returns the short notes a second."""
        section = _ALAP if now_s < self.alap_s else _GAT if now_s >= self.gat_s else 1.0
        return self.notes_per_s * (1 + self.acceleration_per_s * now_s) * section


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

    Float64 [round(duration_s * sample_rate_hz)], in Hz, 0 in rests. On the scale of the logarithm glides are
    half cosines and swings sines.
    """
    hz = np.zeros(round(duration_s * sample_rate_hz))
    before_hz = 0.0
    for note in notes:
        first, end = (min(each, len(hz)) for each in _samples(note, sample_rate_hz))
        if first == end:
            continue
        hz[first:end] = note.frequency_hz
        if glide := min(round(note.glide_s * sample_rate_hz), end - first):
            share = (1 + np.cos(np.pi * np.arange(glide) / glide)) / 2
            hz[first : first + glide] *= ((note.from_hz or before_hz) / note.frequency_hz) ** share
        if note.swing_hz:
            low, high = note.swing_cents
            middle, extent = (high + low) / 2, (high - low) / 2
            turns = np.arange(end - first - glide) * (note.swing_hz / sample_rate_hz)
            # It sets out from the pitch itself.
            angle = 2 * np.pi * turns + math.asin(-middle / extent)
            hz[first + glide : end] *= 2 ** ((middle + extent * np.sin(angle)) / 1200)
        before_hz = hz[end - 1]
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

    The performance may name another string. Strength of the plucks and strokes, breath, room and noise are
    drawn. Returns int16 [round(duration_s * sample_rate_hz)] mono, with its peak at `peak_dbfs`.
    """
    first, second = _parts(notes, performance, duration_s)
    melody = _melody(first, performance, duration_s, sample_rate_hz)
    wave = melody.copy()
    if second:
        other = _melody(second, performance.second, duration_s, sample_rate_hz)
        wave += other * np.float32(_gain(melody, other, performance.second_db))
    if performance.breath_db > -math.inf:
        hz = contour(first, duration_s, sample_rate_hz)
        breath = voice.breath(hz, performance.tract, rng, sample_rate_hz)
        wave += breath * np.float32(_gain(melody, breath, performance.breath_db))
    if performance.tabla_db > -math.inf and performance.gat_s < duration_s:
        beats = beats_s(performance, duration_s)
        strokes = tabla.play(beats, 2 * performance.drone_hz, rng, len(wave), sample_rate_hz)
        wave += strokes * np.float32(_gain(melody, strokes, performance.tabla_db))
    if performance.drone_db > -math.inf:
        strings = _tanpura(performance.drone or drone, performance, rng, len(wave), sample_rate_hz)
        wave += strings * np.float32(_gain(melody, strings, performance.drone_db))
    if performance.room_db > -math.inf:
        echo = _reverberation(wave, performance.room_s, rng, sample_rate_hz)
        wave += echo * np.float32(_gain(wave, echo, performance.room_db))
    wave = _worn(wave, performance, sample_rate_hz)
    return synthesis.to_int16(wave, rng, snr_db=performance.snr_db, peak_dbfs=performance.peak_dbfs)


def beats_s(performance: Performance, duration_s: float) -> np.ndarray:
    """Returns when the beats of the gat fall, float64 [n]: two short notes are a beat."""
    since = performance.gat_s
    share = performance.acceleration_per_s / (1 + performance.acceleration_per_s * since)
    return tabla.beats(since, performance.tempo(since) / 2, share, duration_s)


def _gain(reference: np.ndarray, wave: np.ndarray, level_db: float) -> float:
    """Returns the factor that brings the power of `wave` to `level_db` over that of `reference`."""
    power, own = (np.mean(np.square(x, dtype=np.float64)) for x in (reference, wave))
    return math.sqrt(power / own * 10 ** (level_db / 10))


def _parts(
    notes: Sequence[Note], performance: Performance, duration_s: float
) -> tuple[list[Note], list[Note]]:
    """Returns the notes of the first and of the second melody instrument, which sings no vowels."""
    if performance.second is None:
        return list(notes), []
    if not performance.second_lag_s:
        answers = [dataclasses.replace(note, vowel='') for note in notes if note.phrase % 2]
        return [note for note in notes if not note.phrase % 2], answers
    later = []
    for note in notes:
        onset_s = note.onset_s + performance.second_lag_s
        if onset_s < duration_s:
            length_s = min(note.duration_s, duration_s - onset_s)
            plain = Note(onset_s, length_s, note.swara, note.semitones, note.frequency_hz, note.phrase)
            later.append(dataclasses.replace(plain, glide_s=min(note.glide_s, length_s / 2)))
    return list(notes), later


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
    amplitudes = performance.amplitudes
    if performance.tract:
        amplitudes = voice.amplitudes(notes, hz, performance.tract, sample_rate_hz)
    for number, amplitude in enumerate(amplitudes, start=1):
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
        hz = grammar.frequency_hz(grammar.pitch(note), performance.drone_hz)
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


def _worn(wave: np.ndarray, performance: Performance, sample_rate_hz: int) -> np.ndarray:
    """Returns what an old recording keeps: magnitudes pressed below `clip_db`, and the band, float32."""
    if performance.clip_db < math.inf:
        most = math.sqrt(np.mean(np.square(wave, dtype=np.float64))) * 10 ** (performance.clip_db / 20)
        wave = np.float32(most) * np.tanh(wave / np.float32(most))
    low_hz, high_hz = performance.band_hz
    if low_hz > 0 or high_hz < math.inf:
        size = scipy.fft.next_fast_len(2 * len(wave), real=True)
        hz = np.maximum(np.fft.rfftfreq(size, 1 / sample_rate_hz), 1e-3).astype(np.float32)
        # Butterworth's magnitudes, of third order below and of sixth above.
        kept = 1 / np.sqrt((1 + (low_hz / hz) ** 6) * (1 + (hz / high_hz) ** 12))
        wave = scipy.fft.irfft(scipy.fft.rfft(wave, size) * kept, size)[: len(wave)]
    return wave
