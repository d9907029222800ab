"""What others wrote about GTZAN's tracks: Sturm's index of artists and titles, published split lists."""

import os
import re

from genre_jax.data import csv_file
from genre_jax.errors import UserError

GENRES = (
    'blues', 'classical', 'country', 'disco', 'hiphop', 'jazz', 'metal', 'pop', 'reggae', 'rock'
)  # fmt: skip
TRACKS = frozenset(f'{genre}.{number:05}' for genre in GENRES for number in range(100))

_INDEX_NAMES = ('sturm_index.txt', 'GTZANindex.txt')
_SEPARATOR = ':::'
# Protocol: the ending of its three files' names.
_ENDINGS = {'fault_filtered': 'filtered', 'stratified': 'stratified'}
_PARTS = {'train': 'train', 'valid': 'val', 'test': 'test'}
_TRACK = re.compile(rf'({"|".join(GENRES)})\.?(000\d\d)', re.IGNORECASE)
# The index spells this artist in two ways (disco.00016 against disco.00056 and disco.00059).
_SPELLINGS = {'Earth Wind and Fire': 'Earth, Wind & Fire'}


def track_of(stem: str) -> str | None:
    """Returns the track that a stem, 'blues.00000' or 'blues00000', stands for, None if it is none."""
    match = _TRACK.fullmatch(stem)
    return f'{match[1].lower()}.{match[2]}' if match else None


def find_index(given: str, folders: list[str]) -> str:
    """Returns the path of Sturm's index: the given one, else that in one of the folders, else ''."""
    if given:
        path = os.path.abspath(os.path.expanduser(given))
        if not os.path.isfile(path):
            raise UserError(
                f'index: {given} is no file; expected lines "blues.00000.wav ::: artist ::: title"'
            )
        return path
    candidates = (os.path.join(folder, name) for folder in folders for name in _INDEX_NAMES)
    return next(filter(os.path.isfile, candidates), '')


def read_index(path: str) -> dict[str, tuple[str, str]]:
    """Returns {track: (artist, title)}, {} without a path; a UserError names a line of another form.

    Lines are 'blues.00000.wav ::: artist ::: title', where both may be blank; '#' begins a comment.
    """
    if not path:
        return {}
    found: dict[str, tuple[str, str]] = {}
    for number, line in _lines(path):
        name, *rest = (part.strip() for part in line.split(_SEPARATOR, 2))
        track = track_of(os.path.splitext(name)[0])
        if track is None or len(rest) != 2:
            raise UserError(
                f'{path}, line {number}: {line[:60]!r}; expected "blues.00000.wav ::: artist ::: title"'
            )
        if track in found:
            raise UserError(f'{path}, line {number}: {track} stands in an earlier line already')
        found[track] = _SPELLINGS.get(rest[0], rest[0]), rest[1]
    if not found:
        raise UserError(f'{path} lists no track; expected "blues.00000.wav ::: artist ::: title"')
    return found


def find_splits(given: str, folders: list[str]) -> dict[str, dict[str, str]]:
    """Finds the published split lists: train_, valid_ and test_ with filtered.txt or stratified.txt.

    They lie in the given folder, else in one of the others or its folder `splits`. Returns {protocol: {part:
    path}} for those that are there.
    """
    if given:
        path = os.path.abspath(os.path.expanduser(given))
        if not os.path.isdir(path):
            raise UserError(f'splits: {given} is no folder; expected one with train_filtered.txt')
        places = [path]
    else:
        places = [place for folder in folders for place in (folder, os.path.join(folder, 'splits'))]
    found = {}
    for protocol, ending in _ENDINGS.items():
        names = {part: f'{prefix}_{ending}.txt' for prefix, part in _PARTS.items()}
        for place in places:
            paths = {part: os.path.join(place, name) for part, name in names.items()}
            here = {part for part, path in paths.items() if os.path.isfile(path)}
            if here and len(here) < len(paths):
                missing = next(names[part] for part in names if part not in here)
                raise UserError(f'{place} lacks {missing}, one of the three lists of {protocol}')
            if here:
                found[protocol] = paths
                break
    if given and not found:
        expected = ', '.join(f'{prefix}_filtered.txt' for prefix in _PARTS)
        raise UserError(f'splits: {given} holds no split lists; expected {expected}')
    return found


def read_split(paths: dict[str, str]) -> dict[str, str]:
    """Returns {track: part} by the lists of one protocol, whose lines are such as blues/blues.00029.wav."""
    parts: dict[str, str] = {}
    for part, path in paths.items():
        for number, line in _lines(path):
            name = line.replace('\\', '/').rsplit('/', 1)[-1]
            track = track_of(re.sub(r'\.[A-Za-z]\w*$', '', name))
            if track is None:
                raise UserError(
                    f'{path}, line {number}: {line[:60]!r} names no track of GTZAN; expected lines such '
                    'as blues/blues.00029.wav'
                )
            if track in parts:
                raise UserError(f'{path}, line {number}: {track} stands in {parts[track]} already')
            parts[track] = part
    return parts


def _lines(path: str) -> list[tuple[int, str]]:
    """Returns the lines that say something, with their numbers."""
    numbered = enumerate(map(str.strip, csv_file.text(path).splitlines()), 1)
    return [(number, line) for number, line in numbered if line and not line.startswith('#')]
