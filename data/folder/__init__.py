"""A folder of one's own: one folder per class, or a CSV with columns path,label (see README.md)."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tqdm

from data import recordings
from data.folder import listing
from data.recordings import Quarantined, Recording
from genre_jax import audio
from genre_jax.errors import UserError

_VERSION = 'folder-1'  # to be raised when the same files come to be prepared differently
_LEVELS = {
    'auto': ('group', 'artist', 'album'),
    'artist': ('artist',),
    'album': ('album',),
    'recording': (),
}


class Source(recordings.Source):
    """Labelled audio files below one folder. Nothing is read before it is asked for, or twice.

    Attributes:
        name: 'folder'.
        description: what the recordings are.
        fingerprint: sha256 over the settings, the CSV, and the names and content of all files.
        root: the folder, or the CSV.
    """

    name = 'folder'

    def __init__(self, *, root: str, sample_rate_hz: int | None = None, group: str = 'auto'):
        """Finds the layout of the folder.

        Args:
            root: folder with one folder per class, folder with a CSV, or that CSV.
            sample_rate_hz: rate to prepare at, None for the most common one of the files.
            group: what may never cross a split: 'artist', 'album' (the file where that is blank),
                'recording' (the file), or 'auto': group column, else artist, else album, else file.

        Raises:
            UserError: a setting is wrong, or there is nothing at `root`.
        """
        if group not in _LEVELS:
            raise UserError(f'group is {group!r}; expected one of {", ".join(_LEVELS)}')
        if sample_rate_hz is not None and not 1_000 <= sample_rate_hz <= 768_000:
            raise UserError(
                f'sample_rate_hz is {sample_rate_hz}; expected 1000 to 768000, or None '
                'for the most common rate of the files'
            )
        self._root, self._csv = listing.find(root)
        self._given_rate_hz = sample_rate_hz
        self._group = group
        self.root = self._csv or self._root
        layout = 'labelled by that CSV' if self._csv else 'one folder per class'
        self.description = f'audio files of {os.path.basename(self._csv or self._root)}, {layout}'

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the settings, the CSV, and the names and content of all files."""
        digest = hashlib.sha256()
        for item in (
            (_VERSION, self._given_rate_hz, self._group),
            self._csv and _digest(self._csv),
            sorted(self.files().items()),
            sorted(dataclasses.astuple(item) for item in self._listing.quarantined),
        ):
            digest.update(repr(item).encode())
        return digest.hexdigest()

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the recordings with their groups; hashes the files to find copies.

        Returns:
            The recordings, in the order of the CSV or sorted by path, and the files that are left
            out without being opened.

        Raises:
            UserError: the folder or its CSV cannot be used as it is.
        """
        return list(self._grouped), list(self._listing.quarantined)

    def sample_rate_hz(self) -> int:
        """Returns the given rate, else the most common rate of the files, the higher of equals.

        Raises:
            UserError: no rate is given, and none of the files is audio.
        """
        return self._given_rate_hz or self._common_rate_hz

    def load(self, recording: Recording) -> np.ndarray:
        """Decodes one recording.

        Args:
            recording: one of `recordings()`.

        Returns:
            int16 [n] mono at `sample_rate_hz()`.

        Raises:
            BadAudio: the file or its span cannot be used.
        """
        path = os.path.join(self._root, recording.path)
        return audio.decode(path, self.sample_rate_hz(), recording.start_s, recording.end_s)

    def files(self) -> dict[str, str]:
        """Returns the sha256 of every file's content by path."""
        return dict(self._digests)

    def group_key(self) -> str:
        """Returns what the groups are: 'artist', 'recording', 'artist, else recording', ..."""
        levels = {self._level(recording)[0] for recording in self._listing.recordings}
        order = ('group', 'artist', 'album', 'recording')
        names = [level for level in order if level in levels]
        return ', else '.join(names).replace('group', 'group column')

    def notes(self) -> list[str]:
        """Returns one-line remarks that the user should see before training."""
        labels = collections.defaultdict(set)
        for recording in self._listing.recordings:
            labels[recording.path].add(recording.label)
        by_content = collections.defaultdict(list)
        for path, digest in self._digests.items():
            by_content[digest].append(path)
        copies = [paths for paths in by_content.values() if len(paths) > 1]
        notes = list(self._listing.notes)
        if copies:
            count = sum(map(len, copies))
            notes.append(
                f'{count} files are byte-identical copies ({" = ".join(copies[0][:2])}'
                f'{", ..." if count > 2 else ""}); copies share a group'
            )
        for paths in copies:
            if len(set.union(*(labels[path] for path in paths))) > 1:
                named = ' = '.join(f'{path} ({", ".join(sorted(labels[path]))})' for path in paths)
                notes.append(f'byte-identical copies carry different labels: {named}')
        return notes

    def __getstate__(self) -> dict[str, Any]:
        # A worker needs the rate, which it should not find out anew, but not the long lists.
        self.sample_rate_hz()
        lists = ('_listing', '_digests', '_grouped')
        return {key: value for key, value in self.__dict__.items() if key not in lists}

    @functools.cached_property
    def _listing(self) -> listing.Listing:
        if self._csv:
            listed = listing.read_csv(self._root, self._csv)
        else:
            listed = listing.scan_folders(self._root)
        if self._group in ('artist', 'album') and self._group not in listed.columns:
            where = self._csv or f'{self._root} (no CSV)'
            raise UserError(
                f'group is {self._group!r}, but {where} has no column '
                f"{self._group!r}; add one, or choose group='auto'"
            )
        return listed

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        digests = self._for_each_file(_digest, 'hashing files')
        return {path: digest or f'no content: {path}' for path, digest in digests.items()}

    @functools.cached_property
    def _common_rate_hz(self) -> int:
        probed = self._for_each_file(_rate_or_reason, 'reading headers')
        counts = collections.Counter(rate for rate in probed.values() if isinstance(rate, int))
        if not counts:
            path, reason = next(iter(probed.items()))
            raise UserError(
                f'none of the {len(probed)} files of {self._csv or self._root} is '
                f'usable audio, e.g. {path}: {reason}'
            )
        return max(counts, key=lambda rate: (counts[rate], rate))

    @functools.cached_property
    def _grouped(self) -> list[Recording]:
        spellings: dict[tuple[str, str], str] = {}
        wished = []
        for recording in self._listing.recordings:
            level, value = self._level(recording)
            folded = value
            if level != 'recording':
                value = ' '.join(value.split())
                folded = value.casefold()
            wished.append(spellings.setdefault((level, folded), f'{level}:{value}'))
        contents = [self._digests[recording.path] for recording in self._listing.recordings]
        groups = _merge(wished, contents)
        return [
            dataclasses.replace(recording, group=group)
            for recording, group in zip(self._listing.recordings, groups, strict=True)
        ]

    def _level(self, recording: Recording) -> tuple[str, str]:
        """Returns which column groups a recording, and its value there."""
        for level in _LEVELS[self._group]:
            if value := getattr(recording, level):
                return level, value
        return 'recording', recording.path

    def _for_each_file(self, function: Callable[[str], Any], title: str) -> dict[str, Any]:
        """Returns function(absolute path) by path for all files, computed in threads."""
        paths = sorted({recording.path for recording in self._listing.recordings})
        with concurrent.futures.ThreadPoolExecutor() as pool:
            results = pool.map(function, (os.path.join(self._root, path) for path in paths))
            bar = tqdm.tqdm(results, title, len(paths), leave=False, disable=None)
            return dict(zip(paths, bar, strict=True))


def _merge(groups: list[str], contents: list[str]) -> list[str]:
    """Joins groups that hold the same content, as spans of one file do, and copies of it.

    Args:
        groups: wished group of each recording.
        contents: digest of each recording's file.

    Returns:
        The group of each recording, named after the first of those that it joins.
    """
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for group, content in zip(groups, contents, strict=True):
        # The tilde sorts behind every group, so that the name of a set is that of a group.
        first, second = sorted((find(group), find('~' + content)))
        parent[second] = first
    return [find(group) for group in groups]


def _digest(path: str) -> str:
    """Returns the sha256 of a file, '' if it is empty or unreadable: `load` will say why."""
    try:
        if os.path.isfile(path) and os.path.getsize(path):
            with open(path, 'rb') as file:
                return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError:
        pass
    return ''


def _rate_or_reason(path: str) -> int | str:
    try:
        return audio.probe(path).sample_rate_hz
    except audio.BadAudio as error:
        return str(error)
