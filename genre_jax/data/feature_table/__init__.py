"""Tables of handcrafted features, one row per song or per piece of a song (docs/datasets)."""

from __future__ import annotations

import difflib
import functools
import hashlib
import math
import os
import re

import numpy as np

from genre_jax.data import csv_file, labels, recordings
from genre_jax.data.gtzan import lists
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.errors import UserError

_VERSION = 1
_REQUIRED = ('filename', 'label')
# What may stand beside the features.
_FACTS = (*_REQUIRED, 'genre', 'song', 'artist', 'album', 'title', 'group', 'split')
# Columns without a name, as a spreadsheet or pandas writes and reads them: row numbers, nothing.
_UNNAMED = re.compile(r'(unnamed: \d+)?')
_LARGEST = float(np.finfo(np.float32).max)


class Source(recordings.Source):
    """A CSV with the columns filename, label and features; rows of one song are its segments.

    Attributes:
        name: 'feature_table'.
        description: what the rows are.
        root: the CSV.
    """

    name = 'feature_table'
    kind = 'table'

    def __init__(
        self,
        *,
        root: str,
        use_length: bool = False,
        classes: tuple[str, ...] | list[str] = (),
        max_per_class: int = 0,
        seed: int = 0,
        index: str = '',
    ):
        """Notes which table.

        Args:
            root: the CSV, gzipped or not.
            use_length: whether the column `length` is a feature: Ma et al.'s 58 instead of 57.
            classes: labels to keep, empty for all.
            max_per_class: songs of each class, at most, drawn at random; 0 for all.
            seed: of that draw.
            index: Sturm's file of GTZAN's artists and titles, for tables of GTZAN.

        Raises:
            UserError: there is no such file, or another setting is wrong.
        """
        if isinstance(classes, str):
            raise UserError(f'config.data.classes={classes!r}: expected a list, ({classes!r},)')
        for key, value in (('max_per_class', max_per_class), ('seed', seed)):
            if value < 0:
                raise UserError(f'config.data.{key}={value}: expected a whole number from 0 up')
        if not os.path.isfile(root):
            raise UserError(
                f'{root or "config.data.root"} is no file; expected a CSV with columns '
                f'{",".join(_REQUIRED)} and features'
            )
        self.root = os.path.abspath(root)
        self.description = f'rows of handcrafted features in {os.path.basename(root)}'
        self._use_length = use_length
        self._classes = tuple(classes)
        self._draw = max_per_class, seed
        self._artists = lists.read_index(lists.find_index(index, [])) if index else {}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the settings and the CSV."""
        settings = self._use_length, self._classes, self._draw, sorted(self._artists.items())
        parts = (_VERSION, settings, self.files())
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def files(self) -> dict[str, str]:
        """Returns the SHA-256 of the CSV."""
        with open(self.root, 'rb') as file:
            return {os.path.basename(self.root): hashlib.file_digest(file, 'sha256').hexdigest()}

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the songs, in the order of their first rows.

        Raises:
            UserError: the CSV is not as described in docs/datasets/feature_table.md.
        """
        songs = {}
        for _, facts, _ in self._rows:
            song = facts['song']
            recording = Recording(
                track=song,
                label=facts['label'],
                group=_group(facts),
                path=song,
                artist=facts['artist'],
                album=facts['album'],
                title=facts['title'],
                split=facts['split'],
            )
            other = songs.setdefault(song, (facts['line'], recording))
            if other[1] != recording:
                raise UserError(
                    f'{self.root}, line {facts["line"]}: the rows of song {song!r} disagree about its '
                    f'label, artist, album, title, group or split (line {other[0]})'
                )
        return self._drawn([recording for _, recording in songs.values()]), []

    def _drawn(self, recordings: list[Recording]) -> list[Recording]:
        most, seed = self._draw
        if not most:
            return recordings
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(recordings)).tolist()
        kept = {
            i
            for label in {recording.label for recording in recordings}
            for i in [i for i in order if recordings[i].label == label][:most]
        }
        return [recording for i, recording in enumerate(recordings) if i in kept]

    def load(self, recording: Recording) -> np.ndarray:
        """Returns the rows of a song, float32 [rows, columns], in the order of the CSV."""
        return np.stack([self._values[i] for i in self._rows_of[recording.track]])

    def group_key(self) -> str:
        """Returns what the groups are."""
        facts = [facts for _, facts, _ in self._rows]
        levels = [
            name
            for name in ('group', 'artist')
            if any(row[name] and not (name == 'artist' and row['group']) for row in facts)
        ]
        if not all(row['group'] or row['artist'] for row in facts):
            levels.append('song')
        return ', else '.join(levels).replace('group', 'group column')

    def notes(self) -> list[str]:
        """Returns which columns are the features, and which are not used."""
        notes = [
            f'{len(self.columns)} columns: {", ".join(self.columns[:3])}, ...',
            f'{len(self._rows)} rows of {len(self._rows_of)} songs',
        ]
        if self._table[2]:
            notes.append(f'{self._table[2]} columns without a name are not used: row numbers?')
        return notes

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, in the order of the CSV."""
        return self._table[0]

    @property
    def _rows(self) -> list[tuple[int, dict, list[float]]]:
        return self._table[1]

    @functools.cached_property
    def _values(self) -> np.ndarray:
        return np.asarray([values for _, _, values in self._rows], np.float32)

    @functools.cached_property
    def _rows_of(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for position, (_, facts, _) in enumerate(self._rows):
            rows.setdefault(facts['song'], []).append(position)
        return rows

    @functools.cached_property
    def _table(self) -> tuple[tuple[str, ...], list[tuple[int, dict, list[float]]], int]:
        """The features' names, the rows with their lines, and how many columns have no name."""
        names, lines = csv_file.read(self.root, _REQUIRED)
        for name in csv_file.missing(names, _REQUIRED):
            close = difflib.get_close_matches(name, names, n=1)
            hint = f'; rename {close[0]!r}?' if close else ''
            raise UserError(
                f'{self.root}, line 1: no column {name!r} among {", ".join(names[:8])}, ...{hint}'
            )
        left_out = () if self._use_length else ('length',)
        named = [name for name in names if not _UNNAMED.fullmatch(name)]
        columns = tuple(name for name in named if name not in (*_FACTS, *left_out))
        if not columns:
            raise UserError(f'{self.root}, line 1: no column of features beside {", ".join(named)}')
        table, seen = [], {}
        for line, cells in lines:
            row = dict(zip(names, cells, strict=False))
            facts = self._facts(line, row)
            piece = facts['song'], row['filename']
            if piece in seen:
                raise UserError(
                    f'{self.root}, line {line}: {row["filename"]} stands in line {seen[piece]} '
                    'already; remove one of the two'
                )
            seen[piece] = line
            values = [self._number(line, name, row.get(name, '')) for name in columns]
            if not self._classes or facts['label'] in self._classes:
                table.append((line, facts, values))
        self._check_classes({facts['label'] for _, facts, _ in table})
        return columns, table, len(names) - len(named)

    def _facts(self, line: int, named: dict[str, str]) -> dict:
        """Returns what a row says about its song."""
        for name in _REQUIRED:
            if not named.get(name):
                raise UserError(f'{self.root}, line {line}: {name} is empty')
        facts = {name: named.get(name, '') for name in _FACTS}
        if facts['split'] not in ('', 'train', 'val', 'test'):
            raise UserError(
                f'{self.root}, line {line}: split is {facts["split"]!r}; expected train, val or test'
            )
        # Some tables number the classes, and name them in a column of its own.
        facts['label'] = facts['genre'] or facts['label']
        facts['song'] = facts['song'] or song_of(named['filename'])
        artist, title = self._artists.get(lists.track_of(facts['song']), ('', ''))
        facts |= {'artist': facts['artist'] or artist, 'title': facts['title'] or title}
        return facts | {'line': line}

    def _number(self, line: int, column: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not abs(value) <= _LARGEST:
            raise UserError(
                f'{self.root}, line {line}: {column} is {text!r}; expected a number that float32 holds'
            )
        return value

    def _check_classes(self, found: set[str]) -> None:
        unknown = sorted(set(self._classes) - found)
        if unknown:
            raise UserError(f'config.data.classes: {self.root} has no class {unknown[0]!r}')
        if len(found) < 2:
            raise UserError(f'{self.root} holds {len(found)} class; a classifier needs at least 2')
        labels.check_spelling(self.root, found)


def _group(facts: dict) -> str:
    """Returns the group column, else the artist, in whatever case and spacing, else the song."""
    for name in ('group', 'artist'):
        if facts[name]:
            return f'{name}:{" ".join(facts[name].split()).casefold()}'
    return facts['song']


def song_of(filename: str) -> str:
    """Returns the song that a row belongs to: its file name without suffix and number of the piece.

    'blues.00000.wav' and its third piece, 'blues.00000.3.wav', are 'blues.00000'; 'x.3.wav' is 'x'.

    Args:
        filename: of the row.
    """
    stem = re.sub(r'\.(wav|au|mp3|ogg|flac|aiff?)$', '', filename, flags=re.IGNORECASE)
    # Three digits and more number songs, unless a piece's number follows.
    return re.sub(r'^(.*\.\d{2,})\.\d+$|^(.+)\.\d{1,2}$', r'\1\2', stem)
