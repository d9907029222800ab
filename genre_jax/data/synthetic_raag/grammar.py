"""Sixteen raags as data: ascent, descent, vadi, samvadi, pakad and register, and the notes' tuning.

Notation: S r R g G m M P d D n N, of which the small letters are the lower variant (komal; of Ma, m is the
natural and M the raised one); a dot before a note is the octave below, an apostrophe behind it that above.

The grammars are Bhatkhande's (Hindustani Sangeet Paddhati: Kramik Pustak Malika, 1920 to 1937), as they are
taught today. docs/datasets/synthetic_raag.md says what they were compared with, and where there is a choice.
"""

import dataclasses
import functools
from typing import Literal

SWARAS = tuple('SrRgGmMPdDnN')

# Just intonation over Sa, each ratio one of the 22 shrutis as usually tabulated (H. Bakshi, The twenty-two
# Shruti-s of Indian Music, 2003, after S. Ramanathan and E. Wilson). Where the table gives two for a note,
# this is the one that is consonant with Sa and with G, 5/4, or with g, 6/5.
RATIOS = (1, 16 / 15, 9 / 8, 6 / 5, 5 / 4, 4 / 3, 45 / 32, 3 / 2, 8 / 5, 5 / 3, 9 / 5, 15 / 8)

# The span of a melody in semitones from Sa: raags of the lower half of the octave (purvang) go down to
# the Ma below and up to the Sa above, those of the upper half (uttarang) from Sa to the Ma above.
_SPANS = {'lower': (-7, 12), 'middle': (-5, 15), 'upper': (0, 17)}


def pitch(note: str) -> int:
    """Returns the semitones of a note from Sa: pitch('.N') is -1, pitch("r'") is 13."""
    return SWARAS.index(note.strip(".'")) + 12 * (note.count("'") - note.count('.'))


def pitches(notes: str) -> tuple[int, ...]:
    """Returns the semitones from Sa of notes that are separated by spaces."""
    return tuple(pitch(note) for note in notes.split())


def swara(semitones: int) -> str:
    """Returns the letter of a note, given in semitones from Sa, the same in every octave."""
    return SWARAS[semitones % 12]


def frequency_hz(semitones: int, tonic_hz: float) -> float:
    """Returns the frequency of a note, given in semitones from Sa, in just intonation."""
    octave, step = divmod(semitones, 12)
    return tonic_hz * RATIOS[step] * 2.0**octave


@dataclasses.dataclass(frozen=True)
class Raag:
    """The grammar of a raag."""

    arohana: str  # the ascending line, from Sa to the Sa above
    avarohana: str  # the descending line, from there to Sa
    vadi: str  # the swara that is dwelt upon most
    samvadi: str  # the one that answers it
    pakad: tuple[str, ...]  # phrases by which the raag is known
    register: Literal['lower', 'middle', 'upper'] = 'middle'  # where in the range it lives

    @functools.cached_property
    def scale(self) -> frozenset[str]:
        """All swaras of the raag."""
        return frozenset(swara(p) for p in pitches(f'{self.arohana} {self.avarohana}'))

    @property
    def span(self) -> tuple[int, int]:
        """Lowest and highest note of a melody, in semitones from Sa."""
        return _SPANS[self.register]

    @functools.cached_property
    def lines(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ascending and the descending line through three octaves, in semitones from Sa."""
        up, down = pitches(self.arohana), pitches(self.avarohana)
        rising = tuple(p + 12 * octave for octave in (-1, 0, 1) for p in up[:-1]) + (24,)
        falling = tuple(p + 12 * octave for octave in (1, 0, -1) for p in down[:-1]) + (-12,)
        return rising, falling

    @property
    def drone(self) -> str:
        """The first string of the tanpura: Pa; Ma where there is no Pa; Ni where there is neither."""
        return next(note for note in ('.P', '.m', '.N') if note.strip('.') in self.scale)


RAAGS = {
    # One pentatonic scale.
    'bhoopali': Raag("S R G P D S'", "S' D P G R S", 'G', 'D',
                     ('G R S .D S R G', 'P G D P G R S'), 'lower'),
    'deshkar': Raag("S R G P D S'", "S' D P G R S", 'D', 'G',
                    ('D P G P G R S', "P D S' D P"), 'upper'),
    # One scale without Pa.
    'marwa': Raag("S r G M D N D S'", "S' N D M G r S", 'r', 'D',
                  ('D M G r', 'G M G r S', '.N .D r S')),
    'puriya': Raag("S G M D N r' S'", "S' N D M G r S", 'G', 'N',
                   ('.N r G r S', 'G M D G M G', 'N M G'), 'lower'),
    'sohni': Raag("S G M D N S'", "S' r' S' N D G M D M G r S", 'D', 'G',
                  ("S' N D N D G", "M D N S'"), 'upper'),
    # One scale, the natural minor one.
    'darbari_kanada': Raag("S R g m P d n S'", "S' d n P m P g m R S", 'R', 'P',
                           ('g m R S', 'S .d .n .P', '.d .n S R'), 'lower'),
    'adana': Raag("S R m P d n S'", "S' d n P m P g m R S", 'S', 'P',
                  ("S' d n S'", 'd n P m P', 'g m R S'), 'upper'),
    'jaunpuri': Raag("S R m P d n S'", "S' n d P m g R S", 'd', 'g',
                     ('m P n d P', 'd m P g R m P'), 'upper'),
    # One scale, that of the thaat Todi.
    'todi': Raag("S r g M d N S'", "S' N d P M g r S", 'd', 'g', ('.d .N S r g', 'M g r g r S')),
    'multani': Raag("S g M P N S'", "S' N d P M g r S", 'P', 'S', ('.N S M g M P', 'M g M g r S')),
    # One scale with both forms of Ni.
    'desh': Raag("S R m P N S'", "S' n D P m G R S", 'R', 'P', ('R m P n D P', 'P D P m G R G S')),
    'khamaj': Raag("S G m P D N S'", "S' n D P m G R S", 'G', 'N', ('n D m P D m G',)),
    # Scales of their own.
    'bhimpalasi': Raag("S g m P n S'", "S' n D P m g R S", 'm', 'S', ('.n S m', 'm g P m g R S')),
    'yaman': Raag("S R G M P D N S'", "S' N D P M G R S", 'G', 'N', ('.N R G R S', 'P M G R S')),
    'bhairav': Raag("S r G m P d N S'", "S' N d P m G r S", 'd', 'r', ('S G m P d P', 'G m r S')),
    'malkauns': Raag("S g m d n S'", "S' n d m g S", 'm', 'S', ('m g m d n d m g S',)),
}  # fmt: skip
