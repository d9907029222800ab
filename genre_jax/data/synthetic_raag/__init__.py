"""Raags played by a synthesiser from their grammars, with nothing to download and every note known."""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Sequence

import numpy as np

from genre_jax.config import nearest
from genre_jax.data import digests, recordings, synthesis
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.data.synthetic_raag import hard as hardships
from genre_jax.data.synthetic_raag import melody, sound
from genre_jax.data.synthetic_raag.grammar import RAAGS
from genre_jax.errors import UserError

# Raised with every change of what is listed or of how it sounds.
_BUILDER_VERSION = 1


class Source(recordings.Source):
    """Improvisations on sixteen raags, of which twelve share their scale with another one.

    The group of a recording is its musician, who plays every raag: an instrument, a tonic within two
    semitones, a tempo and a room. docs/datasets/synthetic_raag.md tells the rest.
    """

    name = 'synthetic_raag'
    description = (
        'Improvisations on Hindustani raags, generated from their grammars and played by a synthesiser '
        'over a tanpura.'
    )

    def __init__(
        self,
        *,
        per_class: int = 20,  # recordings of each raag
        duration_s: float = 30.0,  # of every recording
        sample_rate_hz: int = 16000,  # of every recording
        seed: int = 0,  # of everything that is drawn
        raags: Sequence[str] = (),  # which of `grammar.RAAGS`; none for all
        tonic_hz: float | None = None,  # Sa of all recordings; None for 110 to 300 Hz, each its own
        musicians: int = 20,  # how many there are; recording i of a raag is by musician i modulo this
        hard: bool = False,  # sung and played as on old recordings, by several, with ornaments
    ):
        """Notes what to make; a value out of its range is a UserError."""
        synthesis.check(
            self.name,
            ('per_class', per_class, numbers.Integral, 1, 10_000),
            ('duration_s', duration_s, numbers.Real, 1, 3600),
            ('sample_rate_hz', sample_rate_hz, numbers.Integral, 8000, 192_000),
            ('seed', seed, numbers.Integral, 0, math.inf),
            ('tonic_hz', tonic_hz, numbers.Real | None, 55, 600),
            ('musicians', musicians, numbers.Integral, 1, 10_000),
        )
        if not isinstance(hard, bool):
            raise UserError(f'data.{self.name}: hard is {hard!r}, expected True or False')
        self._per_class = per_class
        self._duration_s = float(duration_s)
        self._sample_rate_hz = sample_rate_hz
        self._seed = seed
        self._raags = _checked_raags(raags)
        self._tonic_hz = None if tonic_hz is None else float(tonic_hz)
        self._musicians = musicians
        self._hard = hard

    @property
    def fingerprint(self) -> str:
        """Hex digest of the builder and the arguments."""
        shared = (self._per_class, self._duration_s, self._sample_rate_hz, self._seed)
        parts = (_BUILDER_VERSION, *shared, self._raags, self._tonic_hz, self._musicians)
        if self._hard:
            parts += ('hard', hardships.VERSION)
        return digests.of_text(repr(parts)).hex()

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the recordings, sorted by track; none is ever left out."""
        listed = []
        for raag, number in itertools.product(self._raags, range(self._per_class)):
            track = f'{raag}/{number:04d}'
            artist, tonic_hz = self._musician(track), self.performance(track).tonic_hz
            group = f'artist:{artist}'
            listed.append(Recording(track, raag, group, artist=artist, tonic_hz=tonic_hz))
        return listed, []

    def load(self, recording: Recording) -> np.ndarray:
        """Improvises and plays one recording: int16 [n] mono."""
        return sound.render(
            self.melody(recording.track),
            RAAGS[recording.label].drone,
            self.performance(recording.track),
            synthesis.generator(self._seed, f'{recording.track} sound'),
            duration_s=self._duration_s,
            sample_rate_hz=self._sample_rate_hz,
        )

    def melody(self, track: str) -> list[sound.Note]:
        """Returns the notes of a recording, 'yaman/0007', listed or not; UserError: no such track."""
        performance = self.performance(track)
        raag = RAAGS[track.split('/')[0]]
        rng = synthesis.generator(self._seed, f'{track} melody')
        notes = melody.walk(raag, performance, rng, self._duration_s)
        if self._hard:
            rng = synthesis.generator(self._seed, f'{track} ornaments')
            notes = hardships.ornament(notes, raag, performance, rng)
        return notes

    def performance(self, track: str) -> sound.Performance:
        """Returns how a recording ('yaman/0007', listed or not) is played; a UserError: no such track."""
        name = self._musician(track)
        musician = sound.draw_musician(synthesis.generator(self._seed, name))
        if self._hard:
            musician = hardships.draw_musician(musician, synthesis.generator(self._seed, f'{name} hard'))
        drawn = sound.draw_recording(musician, synthesis.generator(self._seed, track))
        if self._hard:
            drawn = hardships.draw_recording(drawn, synthesis.generator(self._seed, f'{track} hard'))
        return dataclasses.replace(drawn, tonic_hz=self._tonic_hz or drawn.tonic_hz)

    def _musician(self, track: str) -> str:
        raag, _, number = track.partition('/')
        if raag not in RAAGS or not (number.isascii() and number.isdigit()):
            raise UserError(
                f"data.{self.name}: no track {track!r}; expected a raag and a number, as 'yaman/0007'"
            )
        return f'musician {int(number) % self._musicians:02d}'

    def group_key(self) -> str:
        """Returns what the groups are."""
        return 'musician'

    def notes(self) -> list[str]:
        """Returns what a reader of the results should know."""
        return ['every sound is synthetic: the figures say nothing about real recordings']


def _checked_raags(raags: Sequence[str]) -> tuple[str, ...]:
    """Returns the names in the order of the alphabet, all where none is given."""
    if isinstance(raags, str) or not isinstance(raags, Sequence):
        raise UserError(
            f"data.synthetic_raag: raags is {raags!r}, expected several names, as ('yaman', 'desh')"
        )
    for name in raags:
        if name not in RAAGS:
            raise UserError(f'data.synthetic_raag: raags holds {name!r}{nearest(str(name), RAAGS)}')
    if len(set(raags)) < len(raags):
        raise UserError(f'data.synthetic_raag: raags names one twice: {", ".join(raags)}')
    return tuple(sorted(raags or RAAGS))
