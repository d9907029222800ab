"""What in a list or a folder may be meant otherwise: unused columns, odd labels, pieces of songs."""

import collections
import difflib
import os
import re
from collections.abc import Collection, Sequence

# What other programs call the columns, or a word of it.
_MEANT = dict.fromkeys(('subset', 'set', 'partition'), 'split') | {'fold': 'group', 'song': 'group'}
_MEANT |= dict.fromkeys(('band', 'composer', 'musician', 'performer', 'singer', 'speaker'), 'artist')
_MEANT |= {'record': 'album', 'release': 'album', 'begin': 'start_s', 'start': 'start_s', 'onset': 'start_s'}
_MEANT |= {'end': 'end_s', 'stop': 'end_s', 'offset': 'end_s'}
# Labels for want of one, of their letters and digits alone: of '?' and '-' there are none.
_NO_LABEL = ('', 'missing', 'na', 'nan', 'none', 'null', 'undefined', 'unknown', 'unlabeled', 'unlabelled')
# What numbers pieces of a song, or the songs of an album, at the end of a name.
_NUMBERED = re.compile(r'[\W_]*(?:part|pt|seg(?:ment)?|clip|chunk|slice|piece|split)?[\W_]*\d+\Z', re.I)


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


def on_labels(name: str, labels: Sequence[str], what: str = 'rows', where: str = 'one cell') -> list[str]:
    """Names labels that most likely mean something else than a class of their own.

    `name` is that of the list or folder, `what` has a label each, and `where` a label stands.
    """
    notes, known = [], collections.Counter(labels)
    missing = sorted(label for label in known if re.sub(r'[\W_]', '', label).lower() in _NO_LABEL)
    if missing:
        count = sum(map(known.get, missing))
        notes.append(
            f'{name}: {count} {what} have the label {missing[0]!r}, which is a class here; is it missing?'
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
            f'{name}: {count} {what} have several labels in {where}, e.g. {min(several)!r}: each '
            'combination is a class of its own here'
        )
    return notes


def on_classes(places: Collection[tuple[str, ...]]) -> list[str]:
    """Names signs that the first folders are not the classes; `places` as in `on_groups`."""
    folders = collections.defaultdict(set)
    for parts in places:
        folders[parts[0]].update(parts[1:-1][:1])
    if len(folders) < 2:
        return []
    shown = ', '.join(sorted(folders)[:3])
    if all(re.fullmatch(r'(?:19|20)\d\d', name) for name in folders):
        return [f'the classes are called as years are ({shown}): where they are none, have a CSV path,label']
    first, *others = folders.values()
    alike = all(names == first for names in others)
    if alike and len(first) > 1 and not _all_parts(first):
        return [
            f'the folders {", ".join(sorted(first)[:3])} are in each of the classes ({shown}): where those '
            'are the classes, have a CSV path,label'
        ]
    return []


def _all_parts(names: Collection[str]) -> bool:
    return all(re.fullmatch(r'(?i)train|val|valid|test|folds?[ _-]?\d+', name) for name in names)


def on_groups(places: Collection[tuple[str, ...]]) -> list[str]:
    """Names what may belong together in class folders; `places`: folders and name of each file, class first.

    Nothing else says what a group is there, so that each file is one.
    """
    inner = {parts[1].lower() for parts in places if len(parts) > 2}
    if inner and _all_parts(inner):
        return [
            f'the folders {", ".join(sorted(inner)[:3])} in the classes are not taken as a split: have a CSV '
            'with a column split or group, or folders train, val and test above the classes'
        ]
    names = [(*parts[:-1], _NUMBERED.sub('', os.path.splitext(parts[-1])[0])) for parts in places]
    kinds = {
        'lie in folders below the classes': [parts[:-1] for parts in places if len(parts) > 2],
        'are called alike but for a number': [name for name in names if name[-1]],
    }
    for what, of in kinds.items():
        several = {key: count for key, count in collections.Counter(of).items() if count > 1}
        # A class whose files are simply numbered is one such set.
        sets_of_class = collections.Counter(key[0] for key in several)
        found = {key: count for key, count in several.items() if sets_of_class[key[0]] > 1}
        if sum(found.values()) > len(places) / 2:
            return [
                f'{sum(found.values())} files {what}, {len(found)} sets such as {"/".join(min(found))}: '
                'where such a set is one song, album or artist, say so in a CSV with a column group, or its '
                'files train and test'
            ]
    return []
