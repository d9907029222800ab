"""The tonic of a recording as a person writes it down: a frequency, or the name of a note."""

import re

from genre_jax.data import csv_file
from genre_jax.errors import UserError

_SEMITONES_ABOVE_C = {'C': 0, 'D': 2, 'E': 4, 'F': 5, 'G': 7, 'A': 9, 'B': 11}
_ACCIDENTALS = {'': 0, '#': 1, '\u266f': 1, 'b': -1, '\u266d': -1}
_NOTE = re.compile(r'([A-G])([#b\u266f\u266d]?)([0-8]?)', re.IGNORECASE)
_OCTAVE = '4'  # of a name without one: the octave is not used, only that it is some octave
_RANGE_HZ = (20.0, 5000.0)


def frequency_hz(where: str, text: str) -> float:
    """Returns the frequency of a tonic in Hz, 0 if unknown; `where` names file and line for a UserError.

    It is written as hertz ('146.8'), or as a note of the twelve-tone scale at A4 = 440 Hz, with or without
    its octave ('D3', 'C#', 'Eb', 'F\u266f4').
    """
    if not text:
        return 0.0
    if match := _NOTE.fullmatch(text):
        letter, accidental, octave = match.groups()
        semitones = _SEMITONES_ABOVE_C[letter.upper()] + _ACCIDENTALS[accidental.lower()]
        # A4 is nine semitones above C4.
        return 440.0 * 2 ** (int(octave or _OCTAVE) - 4 + (semitones - 9) / 12)
    value = csv_file.number(text)
    if not _RANGE_HZ[0] <= value <= _RANGE_HZ[1]:
        raise UserError(
            f'{where}: the tonic is {text!r}; expected hertz from {_RANGE_HZ[0]:g} to {_RANGE_HZ[1]:g} '
            'such as 146.8, a note such as D3, C# or Eb, or nothing where it is unknown'
        )
    return value
