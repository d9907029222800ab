"""What in a list may be meant otherwise: columns that are not used, labels that are none."""

import collections
import difflib
import re
from collections.abc import Collection, Sequence

# What other programs call the columns, or a word of it.
_MEANT = dict.fromkeys(('subset', 'set', 'partition'), 'split') | {'fold': 'group', 'song': 'group'}
_MEANT |= dict.fromkeys(('band', 'composer', 'musician', 'performer', 'singer', 'speaker'), 'artist')
_MEANT |= {'record': 'album', 'release': 'album', 'begin': 'start_s', 'start': 'start_s', 'onset': 'start_s'}
_MEANT |= {'end': 'end_s', 'stop': 'end_s', 'offset': 'end_s'}


def on_columns(name: str, columns: Sequence[str], free: Collection[str]) -> list[str]:
    """Names columns of a CSV called `name` that are near to the `free` ones, which it lacks."""
    notes, free = [], set(free)
    for column in columns:
        words = [_MEANT.get(word, word) for word in (column, *re.split(r'[\W_]+', column))]
        close = [word for word in words if word in free] or difflib.get_close_matches(column, free, 1, 0.75)
        if close:
            notes.append(f'{name}: column {column!r} is not used; is {close[0]!r} meant?')
            free.remove(close[0])
    return notes


def on_labels(name: str, labels: Sequence[str]) -> list[str]:
    """Names labels that most likely mean something else than a class of their own."""
    notes, known = [], collections.Counter(labels)
    missing = sorted(label for label in known if label.lower() in ('nan', 'none', 'null', 'n/a', 'na'))
    if missing:
        count = sum(map(known.get, missing))
        notes.append(
            f'{name}: {count} rows have the label {missing[0]!r}, which is a class here; is it missing?'
        )
    several = [
        label
        for label in known
        # A comma or a slash may stand in the name of one class.
        if re.search(r'[^;|]\s*[;|]\s*[^;|]|\A[\[{(].*[\]})]\Z', label)
        or (len(parts := re.split(r'\s*[,/]\s*', label)) > 1 and known.keys() >= set(parts))
    ]
    if several:
        count = sum(map(known.get, several))
        notes.append(
            f'{name}: {count} rows have several labels in one cell, e.g. {min(several)!r}: each '
            'combination is a class of its own here'
        )
    return notes
