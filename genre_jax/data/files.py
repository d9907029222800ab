"""What datasets of audio files share: finding them, content, rates, groups, and files that are copies."""

import abc
import collections
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from genre_jax.data import audio, digests, grouping
from genre_jax.data.recordings import Quarantined, Recording, Source
from genre_jax.errors import UserError

# Folders that macOS, Windows, Linux and network disks make.
_SYSTEM = frozenset(
    ('__MACOSX', '$RECYCLE.BIN', 'System Volume Information', 'lost+found', '@eaDir', '#recycle', '#snapshot')
)


@dataclasses.dataclass(frozen=True)
class Listing:
    """Labelled files or spans, files left out without being opened, the CSV's columns if any, and remarks."""

    recordings: list[Recording]
    quarantined: list[Quarantined]
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class FileSource(Source):
    """Audio files below one folder, as `list_files` lists them; each is read when asked for, and once."""

    version = 1  # to be raised when the same files come to be prepared differently
    # Which properties of a recording group it, the first that is not blank; else the file.
    levels: tuple[str, ...] = ('group', 'artist', 'album')

    def __init__(self, folder: str, *, root: str, sample_rate_hz: int | None, settings: object = ()):
        """Notes the folder that paths start from, the root as the user named it, and the rate to prepare at.

        None is the most common rate of the files. `settings`: whatever else decides what is prepared.
        """
        if sample_rate_hz is not None and not (
            isinstance(sample_rate_hz, int) and 1_000 <= sample_rate_hz <= 768_000
        ):
            raise UserError(
                f'sample_rate_hz is {sample_rate_hz!r}; expected 1000 to 768000, or None '
                'for the most common rate of the files'
            )
        self.root = root
        self._folder = folder
        self._given_rate_hz = sample_rate_hz
        self._settings = settings

    @abc.abstractmethod
    def list_files(self) -> Listing:
        """Lists the recordings; their `group` is '' where another level shall group them."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the settings, what is known of each recording, and the content of all files."""
        items = (
            (self.name, self.version, self._given_rate_hz, self.levels, self._settings),
            [dataclasses.astuple(item) for item in self._listing.recordings],
            sorted(self.files().items()),
            sorted(dataclasses.astuple(item) for item in self._listing.quarantined),
            sorted((name, sorted(parts.items())) for name, parts in self.protocols().items()),
        )
        return digests.of_text(''.join(map(repr, items))).hex()

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the recordings as `list_files` does, with their groups; hashes the files to find copies."""
        return list(self._grouped), list(self._listing.quarantined)

    def sample_rate_hz(self) -> int:
        """Returns the given rate, else the most common rate of the files, the higher of equals."""
        return self._given_rate_hz or self._common_rate_hz

    def load(self, recording: Recording) -> np.ndarray:
        """Decodes one recording: int16 [n] mono at `sample_rate_hz()`; BadAudio if that cannot be."""
        path = os.path.join(self._folder, recording.path)
        return audio.decode(path, self.sample_rate_hz(), recording.start_s, recording.end_s)

    def duration_s(self, recording: Recording) -> float:
        """Returns how long a recording is by its file's header and its span; 0 if it is no usable audio."""
        info = self._headers[recording.path]
        if not isinstance(info, audio.AudioInfo):
            return 0.0
        end_s = info.duration_s if recording.end_s is None else recording.end_s
        return max(0.0, min(end_s, info.duration_s) - recording.start_s)

    def content(self, recording: Recording) -> str:
        """Returns the digest of the file, and the span of it: not its name, nor what is known of it."""
        span = f'{recording.start_s}-{recording.end_s}'
        return f'{self._digests[recording.path]}/{span}/{self.version}'

    def files(self) -> dict[str, str]:
        """Returns the sha256 of every file's content by path."""
        return dict(self._digests)

    def group_key(self) -> str:
        """Returns what the groups are: 'artist', 'recording', 'artist, else recording', ..."""
        levels = {self._level(recording)[0] for recording in self._listing.recordings}
        order = ('group', 'artist', 'album', 'recording')
        return ', else '.join(level for level in order if level in levels)

    def notes(self) -> list[str]:
        """Returns one-line remarks that the user should see before training."""
        return [*self._listing.notes, *copy_notes(self._listing.recordings, self._digests)]

    def __getstate__(self) -> dict[str, Any]:
        # A worker should not find out the rate anew.
        return super().__getstate__() | {'_common_rate_hz': self.sample_rate_hz()}

    @functools.cached_property
    def _listing(self) -> Listing:
        return self.list_files()

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        return self.digests.of(self._folder, (each.path for each in self._listing.recordings))

    @functools.cached_property
    def _headers(self) -> dict[str, audio.AudioInfo | str]:
        return self._read_headers(_info_or_reason)

    @functools.cached_property
    def _common_rate_hz(self) -> int:
        infos = [info for info in self._headers.values() if isinstance(info, audio.AudioInfo)]
        if not infos:
            path, reason = next(iter(self._headers.items()))
            raise UserError(
                f'none of the {len(self._headers)} files of {self.root} is '
                f'usable audio, e.g. {path}: {reason}'
            )
        return most_common(info.sample_rate_hz for info in infos)

    @functools.cached_property
    def _grouped(self) -> list[Recording]:
        recordings = self._listing.recordings
        spellings: dict[tuple[str, str], str] = {}
        wished = []
        for level, value in map(self._level, recordings):
            folded = value
            if level != 'recording':
                value = ' '.join(value.split())
                folded = value.casefold()
            wished.append(spellings.setdefault((level, folded), f'{level}:{value}'))
        contents = [self._digests[recording.path] for recording in recordings]
        return grouping.regrouped(recordings, wished, grouping.alike(contents))

    def _level(self, recording: Recording) -> tuple[str, str]:
        """Returns which column groups a recording, and its value there."""
        for level in self.levels:
            if value := getattr(recording, level):
                return level, value
        return 'recording', recording.path

    def _read_headers(self, function: Callable[[str], Any]) -> dict[str, Any]:
        """Returns function(absolute path) by path for all files."""
        paths = (each.path for each in self._listing.recordings)
        return digests.for_each(function, self._folder, paths, 'reading headers')


def walk(root: str, suffixes: Collection[str] | None = None, depth: float = float('inf')) -> list[str]:
    """Returns the files, or those with certain suffixes, below a folder, relative to it, sorted.

    Links are followed; each folder right below `root`, of depth 1, holds each real folder once. What is
    hidden is passed over, and what lies in folders beyond a depth.
    """

    def fail(error: OSError) -> None:
        raise UserError(f'{error.filename} cannot be read: {error.strerror}') from error

    found, seen = [], set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=fail):
        below = [] if folder == root else os.path.relpath(folder, root).split(os.sep)
        if len(below) == 1:
            seen = {os.path.realpath(root)}
        real = os.path.realpath(folder)
        deeper = real not in seen and len(below) < depth
        folders[:] = sorted(name for name in folders if deeper and not is_hidden(name))
        if real not in seen:
            found += [
                '/'.join([*below, name])
                for name in names
                if not is_hidden(name) and (suffixes is None or suffix(name) in suffixes)
            ]
        seen.add(real)
    return sorted(found)


def hidden(root: str, suffixes: Collection[str]) -> list[str]:
    """Returns what a user may have hidden: files below a folder with a dot in front of one of their names."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SYSTEM]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), root).replace(os.sep, '/')
            if re.search(r'(\A|/)\.', path) and not name.startswith('._') and suffix(name) in suffixes:
                found.append(path)
    return sorted(found)


def suffix(path: str) -> str:
    """Returns the suffix of a file's name in lower case, with its dot; '' for none."""
    return os.path.splitext(path)[1].lower()


def is_hidden(name: str) -> bool:
    """Tells whether a file or folder is none of the user's own."""
    return name.startswith('.') or name in _SYSTEM


def readable(path: str) -> str:
    """Returns a path as it can be written down: names that are not UTF-8 hold surrogates."""
    return os.fsencode(path).decode(errors='backslashreplace')


def most_common(values: Iterable) -> Any:
    """Returns the value that comes up most often, the greatest of equals."""
    counts = collections.Counter(values)
    return max(counts, key=lambda value: (counts[value], value))


def copy_notes(
    recordings: Iterable[Recording], digest_of: Mapping[str, str], place: Callable[[str], str] = str
) -> list[str]:
    """Says which files of recordings are the same, by their digests; those all in one place do not count."""
    labels, by_content = collections.defaultdict(set), collections.defaultdict(list)
    for recording in recordings:
        labels[recording.path].add(recording.label)
    for path, digest in digest_of.items():
        by_content[digest].append(path)
    copies = [paths for paths in by_content.values() if len(set(map(place, paths))) > 1]
    kind = 'byte-identical copies'
    return grouping.copy_notes(copies, labels, f'files are {kind}', kind)


def _info_or_reason(path: str) -> audio.AudioInfo | str:
    try:
        return audio.probe(path)
    except audio.BadAudio as error:
        return str(error)
