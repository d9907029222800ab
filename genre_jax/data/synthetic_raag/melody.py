"""Walks through a raag's grammar: phrases rise by the arohana, fall by the avarohana, quote the pakad."""

import functools
from collections.abc import Mapping

import numpy as np

from genre_jax.data.synthetic_raag import grammar
from genre_jax.data.synthetic_raag.grammar import Raag
from genre_jax.data.synthetic_raag.sound import Note, Performance

# Share of the phrases that are quotations.
_PAKAD_SHARE = 0.3
# Most steps of a phrase before it turns, and after.
_LONGEST_LEG = 7
# How much more often a phrase ends on the vadi, the samvadi and Sa; how much longer a note of it is, in
# passing and at the end of a phrase.
_REST_WEIGHT = {'vadi': 4.0, 'samvadi': 2.0, 'sa': 2.0}
_PASSING = {'vadi': 1.5, 'samvadi': 1.25}
_RESTING = {'vadi': 5.0, 'samvadi': 4.0}
_RESTING_ELSEWHERE = 3.0
_BREATH = (0.8, 2.0)
_GLIDE_S = (0.06, 0.16)
_SHORTEST_S = 0.08


def walk(raag: Raag, performance: Performance, rng: np.random.Generator, duration_s: float) -> list[Note]:
    """Improvises until the time is up; a longer melody begins like a shorter one.

    It opens with the pakad. A phrase begins where the last one ended, or is a quotation; it ends on the
    vadi, the samvadi or Sa. The last note is cut. Of the performance only tonic, tempo, meend
    and mood count.
    """
    # An improvisation dwells on some notes more than the rule says, on others less.
    factors = np.exp(performance.mood * rng.standard_normal(12)).tolist()
    mood = dict(zip(grammar.SWARAS, factors, strict=True))
    notes, now_s, last, phrase = [], 0.0, 0, 0
    while now_s < duration_s:
        if phrase == 0 or rng.random() < _PAKAD_SHARE:
            steps = grammar.pitches(raag.pakad[rng.integers(len(raag.pakad))])
        else:
            steps = _draw_run(raag, last, mood, rng)
        unit_s = 1 / performance.tempo(now_s)
        unit_s *= (1.0, 1.0, 0.6)[rng.integers(3)]  # some phrases are fast
        for i, semitones in enumerate(steps):
            length_s = unit_s * _length(raag, semitones, i == len(steps) - 1)
            length_s *= mood[grammar.swara(semitones)] * rng.uniform(0.9, 1.1)
            length_s = max(length_s, _SHORTEST_S)
            glide_s = rng.uniform(*_GLIDE_S)
            glides = rng.random() < performance.meend and i > 0
            note = Note(
                onset_s=now_s,
                duration_s=min(length_s, duration_s - now_s),
                swara=grammar.swara(semitones),
                semitones=semitones,
                frequency_hz=grammar.frequency_hz(semitones, performance.tonic_hz),
                phrase=phrase,
                glide_s=min(glide_s, length_s / 2) if glides else 0.0,
            )
            notes.append(note)
            now_s += length_s
        now_s += unit_s * rng.uniform(*_BREATH)
        last, phrase = steps[-1], phrase + 1
    return [note for note in notes if note.onset_s < duration_s]


def _role(raag: Raag, semitones: int) -> str:
    """Returns 'vadi', 'samvadi', 'sa' or ''."""
    roles = {'S': 'sa', raag.samvadi: 'samvadi', raag.vadi: 'vadi'}
    return roles.get(grammar.swara(semitones), '')


def _length(raag: Raag, semitones: int, ends: bool) -> float:
    """Returns the length of a note in units of the shortest."""
    role = _role(raag, semitones)
    return _RESTING.get(role, _RESTING_ELSEWHERE) if ends else _PASSING.get(role, 1.0)


def _draw_run(raag: Raag, start: int, mood: Mapping[str, float], rng: np.random.Generator) -> tuple[int, ...]:
    """Draws a phrase that begins at `start`: first the note that it ends on, then a way there."""
    runs = _runs(raag, start)
    ends = sorted({run[-1] for run in runs})
    weights = np.array([_REST_WEIGHT[_role(raag, end)] * mood[grammar.swara(end)] for end in ends])
    end = ends[rng.choice(len(ends), p=weights / weights.sum())]
    ways = [run for run in runs if run[-1] == end]
    return ways[rng.integers(len(ways))]


@functools.cache
def _runs(raag: Raag, start: int) -> list[tuple[int, ...]]:
    """Lists the phrases that follow one line from `start`, turn once, and follow the other to a rest."""
    return [
        first + second[1:]
        for there, back in (raag.lines, raag.lines[::-1])
        for first in _legs(there, start, raag.span)
        for second in _legs(back, first[-1], raag.span)
        if _role(raag, second[-1])
    ]


def _legs(line: tuple[int, ...], start: int, span: tuple[int, int]) -> list[tuple[int, ...]]:
    """Lists the stretches of a line that begin at `start` and stay inside the span."""
    legs = []
    for begin in (i for i, semitones in enumerate(line) if semitones == start):
        for end in range(begin + 1, min(begin + _LONGEST_LEG, len(line) - 1) + 1):
            if not span[0] <= line[end] <= span[1]:
                break
            legs.append(line[begin : end + 1])
    return legs
