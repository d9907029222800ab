"""What makes recordings hard: singers, ornaments, a second instrument, a tabla, wrong drones, old recordings.

It is drawn on top of what the plain recordings have, by generators of its own, and leaves out nothing of the
grammar: grace notes and swings go to neighbours in the raag's own scale.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from genre_jax.data import synthesis
from genre_jax.data.synthetic_raag import grammar, sound, voice
from genre_jax.data.synthetic_raag.grammar import Raag
from genre_jax.data.synthetic_raag.sound import Note, Performance

# Raised with every change of how hard recordings are listed or sound.
VERSION = 1

_SINGERS = 0.5
_ACCOMPANIED = 0.75  # of the musicians, by a second melody instrument
_ANSWERED = 1 / 3  # of these, phrase by phrase; the others are followed note by note
# Of the recordings: the tanpura is right, its first string is any, its Sa is no Sa, there is none.
_DRONES = {'right': 0.3, 'string': 0.3, 'elsewhere': 0.2, 'none': 0.2}
_OFF_CENTS = 20.0  # of every tanpura, at most

_LONG_S = 0.3  # notes that swing
_KAN_S = (0.04, 0.09)
_GAMAK_HZ = (3.0, 5.5)
_VIBRATO_HZ = (4.5, 6.5)
_VIBRATO_CENTS = (15.0, 45.0)
_NEW_VOWEL = 0.4  # share of the notes that are sung to another vowel than the one before


def draw_musician(musician: Performance, rng: np.random.Generator) -> Performance:
    """Draws what a musician's hard recordings have in common besides."""
    changed = {}
    if rng.random() < _SINGERS:
        changed |= {'tract': rng.uniform(0.95, 1.2), 'breath_db': rng.uniform(-30.0, -18.0)}
        changed |= {'attack_s': rng.uniform(0.04, 0.08), 'decay_s': math.inf, 'damping': 0.0}
        changed |= {'meend': rng.uniform(0.6, 0.9)}
    if rng.random() < _ACCOMPANIED:
        answers = rng.random() < _ANSWERED
        changed['second'] = sound.draw_musician(rng)
        changed['second_lag_s'] = 0.0 if answers else rng.uniform(0.12, 0.8)
        changed['second_db'] = rng.uniform(-3.0, 3.0) if answers else rng.uniform(-7.0, 2.0)
    return dataclasses.replace(
        musician,
        **changed,
        mood=0.8,
        kan=rng.uniform(0.1, 0.4),
        gamak=rng.uniform(0.2, 0.6),
        vibrato=rng.uniform(0.2, 0.8),
        intonation_cents=rng.uniform(5.0, 20.0),
        acceleration_per_s=rng.uniform(0.0, 0.03),
        tabla_db=rng.uniform(-10.0, 0.0),
        drone_db=rng.uniform(-10.0, 3.0),
        room_db=rng.uniform(-14.0, -4.0),
        room_s=synthesis.log_uniform(rng, 0.4, 2.0),
    )


def draw_recording(performance: Performance, rng: np.random.Generator) -> Performance:
    """Draws what differs besides from one hard recording of a musician to the next."""
    alap_s = rng.uniform(0.0, 20.0)
    changed = {}
    drone = rng.choice(list(_DRONES), p=list(_DRONES.values()))
    cents = rng.uniform(-_OFF_CENTS, _OFF_CENTS)
    if drone == 'string':
        changed['drone'] = str(rng.choice(['.P', '.m', '.N']))
    elif drone == 'elsewhere':
        cents += 100 * int(rng.integers(1, 12))
        cents -= 1200 * (cents > 600)
    elif drone == 'none':
        changed['drone_db'] = -math.inf
    return dataclasses.replace(
        performance,
        **changed,
        alap_s=alap_s,
        gat_s=alap_s + rng.uniform(3.0, 15.0),
        drone_cents=cents,
        snr_db=rng.uniform(0.0, 20.0),
        band_hz=(synthesis.log_uniform(rng, 60.0, 250.0), synthesis.log_uniform(rng, 2000.0, 7000.0)),
        clip_db=rng.uniform(-3.0, 12.0),
    )


def ornament(
    notes: Sequence[Note], raag: Raag, performance: Performance, rng: np.random.Generator
) -> list[Note]:
    """Returns the notes with grace notes, swings and vowels, each a little off its pitch."""
    done, vowels = [], list(voice.VOWELS)
    vowel = vowels[rng.integers(len(vowels))]
    for note in notes:
        # All is drawn for every note, so that a longer melody begins like a shorter one.
        chance = rng.random(5)
        above = chance[3] < 0.5
        beside = _neighbour(note.semitones, raag, 1 if above else -1)
        cents, kan_s = rng.normal(0, performance.intonation_cents), rng.uniform(*_KAN_S)
        gamak_hz, vibrato_hz = rng.uniform(*_GAMAK_HZ), rng.uniform(*_VIBRATO_HZ)
        extent, other = rng.uniform(*_VIBRATO_CENTS), vowels[rng.integers(len(vowels))]
        vowel = other if chance[4] < _NEW_VOWEL else vowel
        hz = note.frequency_hz * 2 ** (cents / 1200)
        changed = {'frequency_hz': hz, 'vowel': vowel if performance.tract else ''}
        if chance[0] < performance.kan:
            changed['from_hz'] = grammar.frequency_hz(beside, performance.tonic_hz)
            changed['glide_s'] = min(kan_s, note.duration_s / 2)
        if note.duration_s >= _LONG_S:
            if chance[1] < performance.gamak:
                to_cents = 1200 * math.log2(grammar.frequency_hz(beside, performance.tonic_hz) / hz)
                changed |= {'swing_cents': (min(to_cents, 0.0), max(to_cents, 0.0)), 'swing_hz': gamak_hz}
            elif chance[2] < performance.vibrato:
                changed |= {'swing_cents': (-extent, extent), 'swing_hz': vibrato_hz}
        done.append(dataclasses.replace(note, **changed))
    return done


def _neighbour(semitones: int, raag: Raag, step: int) -> int:
    """Returns the next note of the scale above (1) or below (-1) one of them, in semitones from Sa."""
    found = semitones + step
    while grammar.swara(found) not in raag.scale:
        found += step
    return found
