"""Which files a folder of one's own holds, and what its CSV says about them."""

from __future__ import annotations

import csv
import difflib
import math
import os

from genre_jax.data import csv_file, labels
from genre_jax.data.audio import AUDIO_SUFFIXES
from genre_jax.data.files import Listing
from genre_jax.data.folder import tonic
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.errors import UserError

_REQUIRED = ('path', 'label')
_OPTIONAL = ('artist', 'album', 'title', 'group', 'split', 'start_s', 'end_s', 'tonic_hz')
_OTHER_NAMES = {'tonic': 'tonic_hz'}
_SPLITS = {
    '': '',
    'train': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'dev': 'val',
    'test': 'test',
}
_UNREAD_SUFFIXES = frozenset(('.aac', '.aifc', '.ape', '.caf', '.m4a', '.mp4', '.wma', '.wv'))
_LAYOUT = 'one folder per class, or a CSV with columns path,label'


def find(root: str) -> tuple[str, str | None]:
    """Finds out whether a CSV or the folders name the classes.

    Args:
        root: folder, or CSV.

    Returns:
        Absolute path of the folder, and of the CSV, None where the folders name the classes.

    Raises:
        UserError: there is no such folder or CSV, or the folder holds several track lists.
    """
    if not root:
        raise UserError(f'the root folder is not set; name a folder: {_LAYOUT}')
    path = os.path.abspath(os.path.expanduser(root))
    if os.path.isfile(path):
        if not path.lower().endswith('.csv'):
            raise UserError(f'{root} is a file but no CSV; expected a folder: {_LAYOUT}')
        return os.path.dirname(path), path
    if not os.path.isdir(path):
        raise UserError(f'{root} does not exist; expected a folder: {_LAYOUT}')
    lists = [name for name in _csv_names(path) if not _missing(os.path.join(path, name))]
    if len(lists) > 1:
        raise UserError(
            f'{root} holds several CSVs with columns path,label ({", ".join(lists)}); '
            'give the one to use as root'
        )
    return path, os.path.join(path, lists[0]) if lists else None


def scan_folders(root: str) -> Listing:
    """Lists the audio files below each first-level folder, whose name is their label.

    Args:
        root: absolute path of the folder.

    Returns:
        The files, sorted by class and path.

    Raises:
        UserError: fewer than two classes, labels that differ only by case, an unreadable folder.
    """
    recordings, quarantined = [], []
    for path in _walk(root):
        track = os.path.relpath(path, root).replace(os.sep, '/')
        suffix = os.path.splitext(path)[1].lower()
        if not _is_unicode(track):
            track = os.fsencode(track).decode(errors='backslashreplace')
            quarantined.append(Quarantined(track, 'its name is not valid UTF-8: rename it'))
        elif suffix in _UNREAD_SUFFIXES:
            reason = f'format {suffix} is not read: convert it to WAV or FLAC'
            quarantined.append(Quarantined(track, reason))
        elif '/' not in track:
            quarantined.append(Quarantined(track, 'not inside a class folder'))
        else:
            label = track.split('/')[0].strip()
            recordings.append(Recording(track, label, group='', path=track))
    notes = []
    for name in _csv_names(root):
        missing = ' and no '.join(_missing(os.path.join(root, name)))
        notes.append(f'{name} is not used: it has no column {missing}')
    _check_classes(root, recordings, quarantined, notes)
    return Listing(recordings, quarantined, notes=tuple(notes))


def read_csv(root: str, path: str) -> Listing:
    """Reads a track list.

    Args:
        root: folder that relative paths start from.
        path: the CSV.

    Returns:
        The recordings in the order of the CSV.

    Raises:
        UserError: the CSV is not as described in docs/datasets/folder.md, fewer than two classes, labels that
            differ only by case, or none of its files exists.
    """
    columns, rows = csv_file.read(path, _REQUIRED, _OTHER_NAMES)
    for name in csv_file.missing(columns, _REQUIRED):
        close = difflib.get_close_matches(name, columns, n=1)
        hint = f'; rename {close[0]!r}?' if close else ''
        raise UserError(f'{path}, line 1: no column {name!r} among {", ".join(columns)}{hint}')
    seen: dict[tuple[str, float], int] = {}
    recordings, quarantined = [], []
    for line, cells in rows:
        named = dict(zip(columns, cells, strict=False))
        recording = _recording(root, f'{path}, line {line}', named)
        key = recording.path, recording.start_s
        if key in seen:
            raise UserError(
                f'{path}, line {line}: {recording.path} from {recording.start_s:g} s '
                f'stands in line {seen[key]} already; remove one of the two'
            )
        seen[key] = line
        if os.path.exists(os.path.join(root, recording.path)):
            recordings.append(recording)
        else:
            quarantined.append(Quarantined(recording.path, 'no such file'))
    if quarantined and not recordings:
        tried = os.path.join(root, quarantined[0].path)
        raise UserError(
            f'{path}: none of its {len(quarantined)} files exists, e.g. {tried}; paths '
            'must be absolute or start from the folder of the CSV'
        )
    _check_classes(path, recordings, quarantined, [])
    notes = [
        f'{os.path.basename(path)}: column {column!r} is not used; is {close[0]!r} meant?'
        for column in columns
        if column not in _REQUIRED + _OPTIONAL
        and (close := difflib.get_close_matches(column, set(_OPTIONAL) - set(columns), 1, 0.75))
    ]
    return Listing(recordings, quarantined, tuple(columns), tuple(notes))


def _walk(root: str) -> list[str]:
    """Returns all files with an audio suffix, sorted; a class holds each real folder once."""

    def fail(error: OSError) -> None:
        raise UserError(f'{error.filename} cannot be read: {error.strerror}') from error

    found, seen = [], {os.path.realpath(root)}
    for folder, folders, names in os.walk(root, followlinks=True, onerror=fail):
        real = os.path.realpath(folder)
        if folder != root and real in seen:
            folders.clear()
            continue
        if os.path.dirname(folder) == root:
            seen = {os.path.realpath(root)}
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in AUDIO_SUFFIXES | _UNREAD_SUFFIXES and not _is_hidden(name):
                found.append(os.path.join(folder, name))
    return sorted(found)


def _is_hidden(name: str) -> bool:
    return name.startswith('.') or name == '__MACOSX'


def _is_unicode(text: str) -> bool:
    """Tells whether a name can be written down: names that are not UTF-8 hold surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv_names(root: str) -> list[str]:
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        raise UserError(f'{root} cannot be read: {error.strerror}') from error
    return [
        name
        for name in names
        if name.lower().endswith('.csv')
        and not _is_hidden(name)
        and os.path.isfile(os.path.join(root, name))
    ]


def _missing(path: str) -> list[str]:
    """Returns the required columns that a CSV, which may be anything, does not have."""
    try:
        with open(path, encoding='utf-8-sig', errors='replace') as file:
            columns, _ = csv_file.columns(file.readline(10_000), _REQUIRED)
    except (OSError, csv.Error):
        columns = []
    return csv_file.missing(columns, _REQUIRED)


def _recording(root: str, where: str, cells: dict[str, str]) -> Recording:
    """Checks one row of a CSV; `where` names file and line."""
    for column in _REQUIRED:
        if not cells.get(column):
            raise UserError(f'{where}: {column} is empty')
    split = cells.get('split', '').lower()
    if split not in _SPLITS:
        raise UserError(f'{where}: split is {cells["split"]!r}; expected train, val or test')
    start_s = _seconds(where, 'start_s', cells.get('start_s') or '0')
    end_s = _seconds(where, 'end_s', cells['end_s']) if cells.get('end_s') else None
    if end_s is not None and end_s <= start_s:
        raise UserError(f'{where}: end_s is {end_s:g}, not after start_s, {start_s:g}')
    path = os.path.normpath(cells['path'])
    if os.path.isabs(path) and path.startswith(os.path.join(root, '')):
        path = os.path.relpath(path, root)
    path = path.replace(os.sep, '/')
    span = ''
    if start_s or end_s is not None:
        span = f'#{start_s:.12g}-{"end" if end_s is None else format(end_s, ".12g")}'
    return Recording(
        track=path + span,
        label=cells['label'],
        group=cells.get('group', ''),
        path=path,
        artist=cells.get('artist', ''),
        album=cells.get('album', ''),
        title=cells.get('title', ''),
        tonic_hz=tonic.frequency_hz(where, cells.get('tonic_hz', '')),
        split=_SPLITS[split],
        start_s=start_s,
        end_s=end_s,
    )


def _seconds(where: str, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f'{where}: {column} is {text!r}; expected seconds, a number from 0 up')
    return value


def _check_classes(
    where: str, recordings: list[Recording], quarantined: list[Quarantined], notes: list[str]
) -> None:
    """Refuses fewer than two classes, and two that differ only by case."""
    found = sorted({recording.label for recording in recordings})
    if len(found) < 2:
        held = f'1 class ({found[0]!r})' if found else 'no class with an audio file'
        left_out = [f'{item.path}: {item.reason}' for item in quarantined[:1]]
        more = f' ({"; ".join(left_out + notes)})' if left_out or notes else ''
        raise UserError(f'{where} holds {held}; a classifier needs at least 2: {_LAYOUT}{more}')
    labels.check_spelling(where, found)
