"""Which files a folder of one's own holds, and what its CSV says about them."""

from __future__ import annotations

import csv
import difflib
import math
import os

from genre_jax.data import csv_file, files
from genre_jax.data.audio import AUDIO_SUFFIXES
from genre_jax.data.files import Listing
from genre_jax.data.folder import tonic
from genre_jax.data.recordings import Quarantined, Recording, check_spelling
from genre_jax.errors import UserError

_REQUIRED = ('path', 'label')
_OPTIONAL = ('artist', 'album', 'title', 'group', 'split', 'start_s', 'end_s', 'tonic_hz')
_OTHER_NAMES = {'tonic': 'tonic_hz'}
_SPLITS = {'': '', 'train': 'train', 'test': 'test'}
_SPLITS |= dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val')
_UNREAD_SUFFIXES = frozenset(('.aac', '.aifc', '.ape', '.caf', '.m4a', '.mp4', '.wma', '.wv'))
_LAYOUT = 'one folder per class, or a CSV with columns path,label'


def find(root: str) -> tuple[str, str | None]:
    """Returns the absolute path of the folder, and of the CSV; None where the folders name the classes.

    A UserError where there is no such folder or CSV, or several track lists are in the folder.
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
    """Lists the audio files below each first-level folder, whose name is their label, sorted by path."""
    recordings, quarantined = [], []
    for path in files.walk(root, AUDIO_SUFFIXES | _UNREAD_SUFFIXES):
        track, suffix = files.readable(path), os.path.splitext(path)[1].lower()
        if track != path:
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
    """Lists the recordings of a CSV in its order; relative paths start from the folder `root`.

    A UserError where it is not as docs/datasets/folder.md says, or none of its files exists.
    """
    columns, rows = csv_file.read(path, _REQUIRED, _OTHER_NAMES)
    seen: dict[tuple[str, float], int] = {}
    recordings, quarantined = [], []
    for line, cells in rows:
        recording = _recording(root, f'{path}, line {line}', cells)
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


def _csv_names(root: str) -> list[str]:
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        raise UserError(f'{root} cannot be read: {error.strerror}') from error
    lists = [name for name in names if name.lower().endswith('.csv') and not files.is_hidden(name)]
    return [name for name in lists if os.path.isfile(os.path.join(root, name))]


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
        path=path,
        **{column: cells.get(column, '') for column in ('group', 'artist', 'album', 'title')},
        tonic_hz=tonic.frequency_hz(where, cells.get('tonic_hz', '')),
        split=_SPLITS[split],
        start_s=start_s,
        end_s=end_s,
    )


def _seconds(where: str, column: str, text: str) -> float:
    value = csv_file.number(text)
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
    check_spelling(where, found)
