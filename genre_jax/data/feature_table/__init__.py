"""Tables of handcrafted features, one row per song or per piece of a song (docs/datasets)."""

import collections
import functools
import os
import re
from collections.abc import Sequence

import numpy as np

from genre_jax.data import csv_file, digests, recordings
from genre_jax.data.folder import remarks
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
    """A CSV with the columns filename, label and features; rows of one song are its segments."""

    name = 'feature_table'
    kind = 'table'

    def __init__(
        self, *, root: str, use_length: bool = False, max_per_class: int = 0, seed: int = 0, index: str = ''
    ):
        """Notes which table; a UserError where there is no such file, or another setting is wrong.

        `root` is the CSV, gzipped or not; `use_length` says whether the column `length` is a feature: Ma et
        al.'s 58 instead of 57. Of each class `max_per_class` songs at most are drawn at random by `seed`, 0
        for all. `index` is Sturm's file of GTZAN's artists and titles, for tables of GTZAN.
        """
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
        self._draw = max_per_class, seed
        self._artists = lists.read_index(lists.find_index(index, []))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the settings and the CSV."""
        settings = self._use_length, self._draw, sorted(self._artists.items())
        parts = (_VERSION, settings, self.files())
        return digests.of_text(repr(parts)).hex()

    def files(self) -> dict[str, str]:
        """Returns the SHA-256 of the CSV."""
        return self.digests.of(os.path.dirname(self.root), [os.path.basename(self.root)])

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the songs, in the order of their first rows; a UserError says where the CSV is wrong."""
        songs: dict[str, tuple[int, Recording]] = {}
        for line, recording, _ in self._rows:
            first, other = songs.setdefault(recording.track, (line, recording))
            if other != recording:
                raise UserError(
                    f'{self.root}, line {line}: the rows of song {recording.track!r} disagree about its '
                    f'label, artist, album, title, group or split (line {first})'
                )
        return self._drawn([recording for _, recording in songs.values()]), []

    def _drawn(self, recordings: list[Recording]) -> list[Recording]:
        most, seed = self._draw
        if not most:
            return recordings
        of_label = collections.defaultdict(list)
        for i in np.random.default_rng(seed).permutation(len(recordings)).tolist():
            of_label[recordings[i].label].append(i)
        kept = sorted(i for rows in of_label.values() for i in rows[:most])
        return [recordings[i] for i in kept]

    def load(self, recording: Recording) -> np.ndarray:
        """Returns the rows of a song, float32 [rows, columns], in the order of the CSV."""
        return self._values[self._rows_of[recording.track]]

    def group_key(self) -> str:
        """Returns what the groups are."""
        songs = [recording for _, recording, _ in self._rows]
        levels = {'song' if r.group == r.track else r.group.partition(':')[0] for r in songs}
        order = {'group': 'group column', 'artist': 'artist', 'song': 'song'}
        return ', else '.join(name for level, name in order.items() if level in levels)

    def notes(self) -> list[str]:
        """Returns which columns are the features, and which are not used."""
        notes = [
            f'{len(self.columns)} columns: {", ".join(self.columns[:3])}, ...',
            f'{len(self._rows)} rows of {len(self._rows_of)} songs',
        ]
        if self._table[2]:
            notes.append(f'{self._table[2]} columns without a name are not used: row numbers?')
        labels = [song.label for _, song, _ in self._rows]
        return notes + remarks.on_labels(os.path.basename(self.root), labels)

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, in the order of the CSV."""
        return self._table[0]

    @property
    def _rows(self) -> list[tuple[int, Recording, list[float]]]:
        return self._table[1]

    @functools.cached_property
    def _values(self) -> np.ndarray:
        return np.asarray([values for _, _, values in self._rows], np.float32)

    @functools.cached_property
    def _rows_of(self) -> dict[str, list[int]]:
        rows = collections.defaultdict(list)
        for position, (_, recording, _) in enumerate(self._rows):
            rows[recording.track].append(position)
        return rows

    @functools.cached_property
    def _table(self) -> tuple[tuple[str, ...], list[tuple[int, Recording, list[float]]], int]:
        """The features' names; line, song and values of each row; and how many columns have no name."""
        names, lines = csv_file.read(self.root, _REQUIRED)
        left_out = () if self._use_length else ('length',)
        named = [name for name in names if not _UNNAMED.fullmatch(name)]
        columns = tuple(name for name in named if name not in (*_FACTS, *left_out))
        if not columns:
            raise UserError(f'{self.root}, line 1: no column of features beside {", ".join(named)}')
        table, seen = [], {}
        for line, row in lines:
            song = self._song(line, row)
            piece = song.track, row['filename']
            if piece in seen:
                raise UserError(
                    f'{self.root}, line {line}: {row["filename"]} stands in line {seen[piece]} '
                    'already; remove one of the two'
                )
            seen[piece] = line
            table.append((line, song, [self._number(line, name, row[name]) for name in columns]))
        found = {song.label for _, song, _ in table}
        if len(found) < 2:
            raise UserError(f'{self.root} holds {len(found)} class; a classifier needs at least 2')
        recordings.check_spelling(self.root, found)
        if telling := _telling(columns, table):
            raise UserError(
                f'{self.root}: column {telling[0]!r} has one value in each class, as a number of the class '
                'has: it is no feature, remove it'
            )
        if counting := _counting(columns, table):
            raise UserError(
                f'{self.root}: column {counting[0]!r} numbers the rows, which may lie class by class: it is '
                'no feature, remove it'
            )
        return columns, table, len(names) - len(named)

    def _song(self, line: int, row: dict[str, str]) -> Recording:
        """Returns what a row says about its song."""
        facts = {name: row.get(name, '') for name in _FACTS}
        if facts['split'] not in ('', 'train', 'val', 'test'):
            raise UserError(
                f'{self.root}, line {line}: split is {facts["split"]!r}; expected train, val or test'
            )
        if 'genre' in row and not facts['genre']:
            raise UserError(
                f'{self.root}, line {line}: genre is empty; a column of that name has to name every class'
            )
        song = facts['song'] or song_of(row['filename'])
        artist, title = self._artists.get(lists.track_of(song), ('', ''))
        facts['artist'] = facts['artist'] or artist
        group = song
        for name in ('artist', 'group'):  # in whatever case and spacing
            if facts[name]:
                group = f'{name}:{recordings.folded(facts[name])}'
        return Recording(
            track=song,
            # Some tables number the classes, and name them in a column of its own.
            label=facts['genre'] or facts['label'],
            group=group,
            path=song,
            artist=facts['artist'],
            album=facts['album'],
            title=facts['title'] or title,
            split=facts['split'],
        )

    def _number(self, line: int, column: str, text: str) -> float:
        value = csv_file.number(text)
        if not abs(value) <= _LARGEST:
            raise UserError(
                f'{self.root}, line {line}: {column} is {text!r}; expected a number that float32 holds'
            )
        return value


def _telling(columns: Sequence[str], table: Sequence[tuple[int, Recording, list[float]]]) -> list[str]:
    """Returns the columns that have one value in each class, of five rows at least, not the same in all."""
    of_label = collections.defaultdict(list)
    for _, song, values in table:
        of_label[song.label].append(values)
    if min(map(len, of_label.values())) < 5:  # as they may by chance
        return []
    classes = [np.asarray(rows) for rows in of_label.values()]
    alike = np.all([(rows == rows[0]).all(axis=0) for rows in classes], axis=0)
    differ = (np.stack([rows[0] for rows in classes]) != classes[0][0]).any(axis=0)
    return [name for name, tells in zip(columns, alike & differ, strict=True) if tells]


def _counting(columns: Sequence[str], table: Sequence[tuple[int, Recording, list[float]]]) -> list[str]:
    """Returns the columns that count up by one from row to row, of ten rows at least."""
    if len(table) < 10:  # as some may by chance
        return []
    counts = (np.diff([values for *_, values in table], axis=0) == 1).all(axis=0)
    return [name for name, counts_up in zip(columns, counts, strict=True) if counts_up]


def song_of(filename: str) -> str:
    """Returns the song of a row, 'blues.00000' of 'blues.00000.wav' and of its piece 'blues.00000.3.wav'."""
    stem = re.sub(r'\.(wav|au|mp3|ogg|flac|aiff?)$', '', filename, flags=re.IGNORECASE)
    # Three digits and more number songs, unless a piece's number follows.
    return re.sub(r'^(.*\.\d{2,})\.\d+$|^(.+)\.\d{1,2}$', r'\1\2', stem)
