"""What every dataset of audio files shares: content, rates, groups, and files that are copies."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from genre_jax.data import audio, grouping
from genre_jax.data.recordings import Quarantined, Recording, Source
from genre_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Listing:
    """What was found.

    Attributes:
        recordings: labelled files or spans.
        quarantined: files that are left out without being opened.
        columns: columns of the CSV, empty without one.
        notes: one-line remarks for the user.
    """

    recordings: list[Recording]
    quarantined: list[Quarantined]
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class FileSource(Source):
    """Labelled audio files below one folder. Nothing is read before it is asked for, or twice.

    A dataset of files lists them (`list_files`) and names its class, its description and its lists.

    Attributes:
        version: to be raised when the same files come to be prepared differently.
        levels: which properties of a recording group it, the first that is not blank; else the file.
        root: what the user named: folder, or file.
    """

    version = 1
    levels: tuple[str, ...] = ('group', 'artist', 'album')

    def __init__(
        self, folder: str, *, root: str, sample_rate_hz: int | None, settings: object = ()
    ):
        """Notes where the files are.

        Args:
            folder: that the paths start from.
            root: what the user named: folder, or file.
            sample_rate_hz: rate to prepare at, None for the most common one of the files.
            settings: whatever else decides what is prepared, for the fingerprint.

        Raises:
            UserError: an impossible rate.
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

    def list_files(self) -> Listing:
        """Lists the recordings; their `group` is '' where another level shall group them.

        Raises:
            UserError: what the user named cannot be used as it is.
        """
        raise NotImplementedError

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the settings, what is known of each recording, and the content of all files."""
        digest = hashlib.sha256()
        for item in (
            (self.name, self.version, self._given_rate_hz, self.levels, self._settings),
            [dataclasses.astuple(item) for item in self._listing.recordings],
            sorted(self.files().items()),
            sorted(dataclasses.astuple(item) for item in self._listing.quarantined),
            sorted((name, sorted(parts.items())) for name, parts in self.protocols().items()),
        ):
            digest.update(repr(item).encode())
        return digest.hexdigest()

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the recordings with their groups; hashes the files to find copies.

        Returns:
            The recordings, in the order of `list_files`, and the files that are left out without being
            opened.

        Raises:
            UserError: what the user named cannot be used as it is.
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
        path = os.path.join(self._folder, recording.path)
        return audio.decode(path, self.sample_rate_hz(), recording.start_s, recording.end_s)

    def duration_s(self, recording: Recording) -> float:
        """Returns how long a recording is by its file's header and its span.

        Args:
            recording: one of `recordings()`.

        Returns:
            Seconds; 0 for a file that is no usable audio.
        """
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
        names = [level for level in order if level in levels]
        return ', else '.join(names)

    def notes(self) -> list[str]:
        """Returns one-line remarks that the user should see before training."""
        labels = collections.defaultdict(set)
        for recording in self._listing.recordings:
            labels[recording.path].add(recording.label)
        by_content = collections.defaultdict(list)
        for path, digest in self._digests.items():
            by_content[digest].append(path)
        copies = [paths for paths in by_content.values() if len(paths) > 1]
        return [*self._listing.notes, *copy_notes(copies, labels)]

    def __getstate__(self) -> dict[str, Any]:
        # A worker needs the rate, which it should not find out anew, but not the long lists.
        self.sample_rate_hz()
        lists = ('_listing', '_digests', '_grouped', '_headers')
        return {key: value for key, value in self.__dict__.items() if key not in lists}

    @functools.cached_property
    def _listing(self) -> Listing:
        return self.list_files()

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        paths = self._paths()
        digests = self.digests.of([os.path.join(self._folder, path) for path in paths])
        # `load` will say why there is none.
        return {path: d or f'no content: {path}' for path, d in zip(paths, digests, strict=True)}

    @functools.cached_property
    def _headers(self) -> dict[str, audio.AudioInfo | str]:
        return self._for_each_file(_info_or_reason, 'reading headers')

    @functools.cached_property
    def _common_rate_hz(self) -> int:
        infos = [info for info in self._headers.values() if isinstance(info, audio.AudioInfo)]
        counts = collections.Counter(info.sample_rate_hz for info in infos)
        if not counts:
            path, reason = next(iter(self._headers.items()))
            raise UserError(
                f'none of the {len(self._headers)} files of {self.root} is '
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
        groups = grouping.join(wished, grouping.alike(contents))
        return [
            dataclasses.replace(recording, group=group)
            for recording, group in zip(self._listing.recordings, groups, strict=True)
        ]

    def _level(self, recording: Recording) -> tuple[str, str]:
        """Returns which column groups a recording, and its value there."""
        for level in self.levels:
            if value := getattr(recording, level):
                return level, value
        return 'recording', recording.path

    def _paths(self) -> list[str]:
        return sorted({recording.path for recording in self._listing.recordings})

    def _for_each_file(self, function: Callable[[str], Any], title: str) -> dict[str, Any]:
        """Returns function(absolute path) by path for all files, computed in threads."""
        paths = self._paths()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            results = pool.map(function, (os.path.join(self._folder, path) for path in paths))
            bar = tqdm.tqdm(results, title, len(paths), leave=False, disable=None)
            return dict(zip(paths, bar, strict=True))


def copy_notes(copies: Sequence[Sequence[str]], labels: Mapping[str, Iterable[str]]) -> list[str]:
    """Says which files are the same.

    Args:
        copies: sets of paths with the same content.
        labels: what each path is labelled.

    Returns:
        One-line remarks.
    """
    notes = []
    if copies:
        count = sum(map(len, copies))
        notes.append(
            f'{count} files are byte-identical copies ({" = ".join(copies[0][:2])}'
            f'{", ..." if count > 2 else ""}); copies share a group'
        )
    for paths in copies:
        if len({label for path in paths for label in labels[path]}) > 1:
            named = ' = '.join(f'{path} ({", ".join(sorted(labels[path]))})' for path in paths)
            notes.append(f'byte-identical copies carry different labels: {named}')
    return notes


def _info_or_reason(path: str) -> audio.AudioInfo | str:
    try:
        return audio.probe(path)
    except audio.BadAudio as error:
        return str(error)
