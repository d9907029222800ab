"""Which files a folder of one's own holds, and what its CSV says about them."""

import collections
import csv
import dataclasses
import functools
import math
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from genre_jax.data import csv_file, files
from genre_jax.data.audio_file import AUDIO_SUFFIXES, FFMPEG_SUFFIXES
from genre_jax.data.files import Listing
from genre_jax.data.folder import remarks, tonic
from genre_jax.data.recordings import Quarantined, Recording, check_spelling
from genre_jax.errors import UserError

_REQUIRED = ('path', 'label')
_OPTIONAL = ('artist', 'album', 'title', 'group', 'split', 'start_s', 'end_s', 'tonic_hz')
_OTHER_NAMES = {'tonic': 'tonic_hz'}
_SPLITS = {'': '', 'train': 'train', 'test': 'test'}
_SPLITS |= {'training': 'train', 'testing': 'test'}
_SPLITS |= dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val')
_UNCLEAR_SPLITS = ('development', 'eval', 'evaluation', 'holdout')
# Folders that are so called hold some of everything, or one release.
_FOLD = r'(?i)folds?[ ._-]*\d+'
_PIECE = r'(?i)(?:dis[ck]|cd|vol(?:ume)?|side|part|split|batch|chunk|shard)[ ._-]*(?:\d+|[ab])'
_LISTS = ('.csv', '.tsv')
_LAYOUT = 'one folder per class, or a CSV with columns path,label'
_HEAD_BYTES = 1 << 20  # of a CSV, in which its first line ends
_NAMED = 20  # kinds of other files, in a note


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is looked for in class folders, by the suffixes of files."""

    name: str
    read: Collection[str]
    unread: Collection[str]  # of files of this kind that would have to be converted
    convert_to: str
    layout: str

    def includes(self, path: str) -> bool:
        """Tells whether a file is of this kind by its suffix, read or not."""
        return files.suffix(path) in {*self.read, *self.unread}


AUDIO = Kind(
    'audio',
    AUDIO_SUFFIXES | FFMPEG_SUFFIXES,
    (
        '.aa .aax .aifc .avi .dff .dsf .dts .eac3 .flv .kar .m4p .m4v .mid .midi .mod .mp1 .mpc .mpeg .mpg '
        '.nist .ogv .pcm .ra .raw .rm .shn .sph .spx .tak .tta .voc .vob .w64 .wmv .xm'
    ).split(),
    'WAV or FLAC',
    _LAYOUT,
)


def find(root: str) -> tuple[str, str | None]:
    """Returns absolute paths of folder and CSV (None: folders are classes); UserError: none, or several."""
    if not root:
        raise UserError(f'the root folder is not set; name a folder: {_LAYOUT}')
    path = os.path.abspath(os.path.expanduser(root))
    if os.path.isfile(path):
        if not path.lower().endswith(_LISTS):
            raise UserError(f'{root} is a file but no CSV or TSV; expected a folder: {_LAYOUT}')
        return os.path.dirname(path), path
    if not os.path.isdir(path):
        raise UserError(f'{root} does not exist; expected a folder: {_LAYOUT}')
    lists = [n for n in _csv_names(path) if set(_REQUIRED) <= set(_columns(path, n))]
    if len(lists) > 1:
        raise UserError(
            f'{root} holds several CSVs with columns path,label ({", ".join(lists)}); '
            'give the one to use as root'
        )
    return path, os.path.join(path, lists[0]) if lists else None


def scan_folders(root: str, kind: Kind = AUDIO) -> Listing:
    """Lists the files of a kind below each first-level folder, whose name is their label, sorted by path.

    Folders called train, val and test hold the class folders, and are the official split.
    """
    recordings, quarantined, others, notes = [], [], collections.Counter(), []
    paths, lists = files.walk(root), _csv_names(root) if kind is AUDIO else []
    top, in_parts = _folders(root), _are_parts(root, paths, kind)
    for path in paths:
        track, suffix = files.readable(path), files.suffix(path)
        *folders, _ = track.split('/')
        if not kind.includes(path):
            if os.path.islink(full := os.path.join(root, path)) and not os.path.exists(full):
                quarantined.append(Quarantined(track, 'a link to nothing'))
            elif track not in lists:
                others[suffix] += 1
        elif track != path:
            quarantined.append(Quarantined(track, 'its name is not valid UTF-8: rename it'))
        elif suffix in kind.unread:
            reason = f'format {suffix} is not read: convert it to {kind.convert_to}'
            quarantined.append(Quarantined(track, reason))
        elif len(folders) <= in_parts:
            quarantined.append(Quarantined(track, 'not inside a class folder'))
        else:
            split = _SPLITS[_part(folders[0])] if in_parts else ''
            label = folders[in_parts].strip()
            recordings.append(Recording(track, label, group='', path=track, split=split))
    if others:
        kinds = [f'{n} {suffix or "without a suffix"}' for suffix, n in others.most_common()]
        kinds[_NAMED:] = ['...'] if len(kinds) > _NAMED else []
        notes.append(
            f'{others.total()} files are no {kind.name} by their suffix, and are not read: '
            + ', '.join(kinds)
        )
    notes += files.passed_over('are hidden', files.hidden(root, {*kind.read, *kind.unread}), kind.name)
    if in_parts:
        parts = [name for name in top if _part(name) in _SPLITS]
        notes.append(f'{", ".join(parts)} are taken as the official split, the folders in them as classes')
        classes = dict.fromkeys(name for part in parts for name in _folders(os.path.join(root, part)))
    else:
        classes = top
    if kind is AUDIO:
        places = [tuple(r.path.split('/')[in_parts:]) for r in recordings]
        notes += remarks.on_classes(places) + remarks.on_groups(places)
    labels = [recording.label for recording in recordings]
    notes += remarks.on_labels(os.path.basename(root), labels, 'files', "a folder's name")
    left_out = [item for item in quarantined if item.path.count('/') > in_parts]
    reasons = [(item.path.split('/')[in_parts].strip(), item.reason) for item in left_out]
    notes += _lost(classes, recordings, reasons, 'no file in it is read')
    for name in lists:
        columns = _columns(root, name)
        lacks = ' and no '.join(csv_file.missing(columns, _REQUIRED))
        hint = csv_file.meant(columns, _REQUIRED)
        if any('\0' in column for column in columns):
            hint = '; it holds bytes of zero, as no text in UTF-8 does: save it as UTF-8'
        notes.append(f'{name} is not used: it has no column {lacks}{hint}')
    listed = Listing(recordings, quarantined, notes=tuple(notes))
    _check_classes(root, listed, kind)
    return listed


def read_csv(root: str, path: str) -> Listing:
    """Lists a CSV's recordings in order; UserError: not as in docs/datasets/folder.md, or no file exists."""
    columns, rows = csv_file.read(path, _REQUIRED, _OTHER_NAMES)
    seen: dict[tuple[str, float], int] = {}
    recordings, quarantined, names = [], [], {}
    for line, cells in rows:
        recording = _recording(root, f'{path}, line {line}', cells)
        key = recording.path, recording.start_s
        if key in seen:
            raise UserError(
                f'{path}, line {line}: {recording.path} from {recording.start_s:g} s '
                f'stands in line {seen[key]} already; remove one of the two'
            )
        seen[key] = line
        there = _spelled(root, recording.path, names)
        if there is not None:
            recordings.append(dataclasses.replace(recording, path=there))
        else:
            quarantined.append(Quarantined(recording.path, 'no such file'))
    if quarantined and not recordings:
        tried = os.path.join(root, quarantined[0].path)
        hint = 'must be absolute or start from the folder of the CSV'
        if '\\' in quarantined[0].path:
            hint = 'hold backslashes: write / between folders'
        raise UserError(f'{path}: none of its {len(quarantined)} files exists, e.g. {tried}; paths {hint}')
    _check_classes(path, Listing(recordings, quarantined))
    labels = [cells['label'] for _, cells in rows]
    notes = _lost(dict.fromkeys(labels), recordings, [], 'none of its files exists')
    notes += remarks.on_labels(os.path.basename(path), labels)
    notes += remarks.on_columns(os.path.basename(path), columns, {*_OPTIONAL} - {*columns})
    return Listing(recordings, quarantined, tuple(columns), tuple(notes))


def unlisted(root: str, path: str, listed: Listing) -> list[str]:
    """Counts the audio below the folder of a CSV that the CSV does not name."""

    real_folder = functools.cache(os.path.realpath)  # of thousands of files each

    def real(path: str) -> str:  # whichever way its folder is written
        folder, name = os.path.split(os.path.join(root, path))
        return os.path.join(real_folder(folder), name)

    named = {real(recording.path) for recording in listed.recordings}
    left_out = [each for each in files.walk(root) if AUDIO.includes(each) and real(each) not in named]
    return files.passed_over(f'are not in {os.path.basename(path)}', left_out, AUDIO.name)


def _csv_names(root: str) -> list[str]:
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        raise UserError(f'{root} cannot be read: {error.strerror}') from error
    lists = [name for name in names if name.lower().endswith(_LISTS) and not files.is_hidden(name)]
    return [name for name in lists if os.path.isfile(os.path.join(root, name))]


def _columns(root: str, name: str) -> list[str]:
    """Returns the columns of a CSV, which may be anything."""
    path = os.path.join(root, name)
    try:
        with open(path, 'rb') as file:
            return csv_file.columns(csv_file.decoded(file.read(_HEAD_BYTES), 'replace'), _REQUIRED)[0]
    except OSError as error:
        raise UserError(
            f'{path} cannot be read: {error.strerror}; it may be the list of recordings'
        ) from error
    except csv.Error:
        return []


def _are_parts(root: str, paths: Iterable[str], kind: Kind) -> bool:
    """Tells whether the folders that hold files of a kind are parts of a split, and not the classes.

    Refuses folders that are neither, by their names. Others, with tables and the like, do not count.
    """
    top = sorted(
        {files.readable(path).split('/')[0] for path in paths if '/' in path and kind.includes(path)}
    )

    def called(pattern: str) -> list[str]:
        return [name for name in top if re.fullmatch(pattern, name)]

    def are(names: Sequence[str]) -> str:
        return f'{root}: {", ".join(names[:3])}{", ..." if len(names) > 3 else ""} are'

    for pattern, what in ((_FOLD, 'folds'), (_PIECE, 'numbered pieces')):
        if len(names := called(pattern)) > 1:
            grouped = ', and in its column group what shall stay together' * (kind is AUDIO)
            raise UserError(f'{are(names)} {what} and no classes; expected {kind.layout}{grouped}')
    if kind is AUDIO and len(top) > 1 and called(r'0\d\d|1[0-5]\d') == top:
        raise UserError(
            f'{are(top)} the folders of the Free Music Archive and no classes: config.data.name=fma reads '
            'them; or have a CSV with columns path,label'
        )
    parts = [name for name in top if _part(name) in (*_SPLITS, *_UNCLEAR_SPLITS)]
    if len(parts) > 1 and not all(_part(name) in _SPLITS for name in top):
        others = [name for name in top if name not in parts]
        beside = f', beside {", ".join(others[:3])}' if others else ''
        raise UserError(
            f'{root}: {", ".join(parts)} are parts of a split and no classes{beside}; expected '
            f'{kind.layout}, or folders train, val and test alone with one folder per class in each'
        )
    return len(parts) > 1


def _part(folder: str) -> str:
    """Returns which part of a split a folder is called after: 'train' of 'Train_set'."""
    return re.sub(r'(?<=\w)[ _-]*(?:set|data|split)\Z', '', folder.lower())


def _lost(
    classes: Iterable[str], recordings: Sequence[Recording], left_out: Iterable[tuple[str, str]], why: str
) -> list[str]:
    """Names the classes of which there is no recording; `left_out` are class and reason of other files."""
    there, reasons = {recording.label for recording in recordings}, collections.defaultdict(list)
    for label, reason in left_out:
        reasons[label].append(reason)
    return [
        f'class {label!r} is left out: {f"{len(own)} files, {own[0]}" if (own := reasons[label]) else why}'
        for label in map(str.strip, classes)
        if label not in there
    ]


def _folders(root: str) -> list[str]:
    """Returns the names of the folders right in a folder, but for hidden ones."""
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if os.path.isdir(entry.path)]
    return sorted(files.readable(name) for name in names if not files.is_hidden(name))


def _spelled(root: str, path: str, names: dict[str, dict[str, str]]) -> str | None:
    """Returns a file's path as its folders spell it: Macs store accents in two letters, whatever a list does.

    None where there is no such file; `names` keeps what folders hold.
    """
    if os.path.exists(os.path.join(root, path)):
        return path
    there = ''
    for part in path.split('/'):
        folder = os.path.join(root, there)
        if folder not in names:
            held = os.listdir(folder) if os.path.isdir(folder) else []
            names[folder] = {unicodedata.normalize('NFC', name): name for name in held}
        if part not in names[folder].values():
            part = names[folder].get(unicodedata.normalize('NFC', part))
            if part is None:
                return None
        there = f'{there}/{part}' if there else part
    return there


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
    full = os.path.normpath(os.path.join(root, path))
    if full.startswith(os.path.join(root, '')):
        path = os.path.relpath(full, root)
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


def _check_classes(where: str, listed: Listing, kind: Kind = AUDIO) -> None:
    """Refuses fewer than two classes, and two that differ only by case."""
    found = sorted({recording.label for recording in listed.recordings})
    if len(found) < 2:
        held = f'1 class ({found[0]!r})' if found else f'no class with {kind.name} in it'
        why = [f'{item.path}: {item.reason}' for item in listed.quarantined[:1]] + [*listed.notes]
        inside = os.path.join(where, *found)
        if found and os.path.isdir(inside) and len(_folders(inside)) > 1:
            why.insert(0, f'if the folders in {found[0]} are the classes, give {inside} as root')
        more = f' ({"; ".join(why)})' if why else ''
        raise UserError(f'{where} holds {held}; a classifier needs at least 2: {kind.layout}{more}')
    check_spelling(where, found)
