"""What every dataset hands to `data.prepare`: a list of recordings, and how to load each of them."""

import abc
import dataclasses
import functools
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from genre_jax.data.digests import Digests
from genre_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Recording:
    """One labelled song: the unit that segments, or rows of a table, are pooled over; '' if unknown."""

    track: str  # unique name within the dataset (for files: the path relative to its root)
    label: str
    group: str  # what may never cross a split (artist, else album, else the recording itself)
    path: str = ''  # of the file it comes from, relative to the dataset's root
    artist: str = ''
    album: str = ''
    title: str = ''
    tonic_hz: float = 0.0  # in some octave, 0 if unknown
    split: str = ''  # 'train', 'val' or 'test' where the dataset fixes it
    start_s: float = 0.0  # first second to use of the file
    end_s: float | None = None  # second to stop at, None for the end of the file


@dataclasses.dataclass(frozen=True)
class Quarantined:
    """A file that is left out, and why: it is counted in the log, the result and the report."""

    path: str
    reason: str


Kind = Literal['audio', 'pitch', 'image', 'table']
STORED_AS = {'audio': np.int16, 'pitch': np.float32, 'image': np.uint8, 'table': np.float32}
# Kinds that windows of any length are cut from; of the others a song has whole pictures or rows.
OVER_TIME = ('audio', 'pitch')


def folded(name: str) -> str:
    """Returns what all spellings of a name share: without case, further spaces, ways to store accents."""
    plain = unicodedata.normalize('NFC', ' '.join(name.split())).casefold()
    return ''.join(c for c in plain if unicodedata.category(c) != 'Cf')  # of no width


def check_spelling(where: str, labels: Iterable[str]) -> None:
    """Refuses two names that differ by case, spaces, how an accent is stored, or as 1, 01 and 1.0 do."""
    spellings: dict[str, str] = {}
    for label in sorted(set(labels)):
        plain = re.sub(r'\A0*(\d+)(\.0*)?\Z', r'\1', folded(label))
        if plain in spellings:
            raise UserError(
                f'{where}: the labels {spellings[plain]!r} and {label!r} differ only '
                'in spelling; write them alike'
            )
        spellings[plain] = label


class Source(abc.ABC):
    """A dataset before preparation. Instances are pickled to worker processes, without cached properties."""

    name: str  # short, for folders and messages, a valid Python identifier ('folder', 'tunes')
    kind: Kind = 'audio'  # what `load` returns: a stretch of audio or pitch, pictures, rows of a table
    description: str  # one sentence for people: what the recordings are and where they came from
    fingerprint: str  # hex digest of everything that decides the prepared bytes
    root: str = ''  # folder or file that it lies in, if any
    _sample_rate_hz: float = 1  # of every recording
    digests: Digests = Digests()  # of files; set before anything is asked of the dataset

    def __getstate__(self) -> dict[str, Any]:
        # Long lists, most of them, that a worker has no use for; it can find them again.
        cached = functools.cached_property
        return {
            key: value
            for key, value in self.__dict__.items()
            if not isinstance(getattr(type(self), key, None), cached)
        }

    @abc.abstractmethod
    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the recordings, in a fixed order, and the files known to be unusable beforehand."""

    def sample_rate_hz(self) -> float:
        """Returns the rate, in Hz, that every recording is prepared at; 1 where it is not cut into windows.

        Whole numbers of audio; of pitch frames in a second.
        """
        return self._sample_rate_hz

    @abc.abstractmethod
    def load(self, recording: Recording) -> np.ndarray:
        """Returns what is stored of a recording; BadAudio: the file goes to the quarantine list.

        Audio: int16 [n] mono at `sample_rate_hz()`. Pitch: float32 [n], the fundamental frequency of each
        frame in Hz, 0 where it is unvoiced. Pictures: uint8 [rows, height, width, 3]. Table: float32 [rows,
        columns]; one row is one segment of the song.
        """

    def content(self, recording: Recording) -> str:
        """Returns what decides what `load` returns for a recording: those with the same are stored once."""
        return f'{self.fingerprint}/{recording.track}'

    def files(self) -> dict[str, str]:
        """Returns {path relative to root: SHA-256 of its content}, {} without files."""
        return {}

    @abc.abstractmethod
    def group_key(self) -> str:
        """Says what the groups are ('artist, else recording')."""

    def notes(self) -> list[str]:
        """Returns what a reader of the results should know about these recordings, a line each."""
        return []

    def protocols(self) -> dict[str, dict[str, str]]:
        """Returns published split lists, {protocol: {track: 'train', 'val' or 'test'}}.

        A track that a list leaves out takes no part under that protocol. The split that is a property of
        the dataset as a whole stands in `Recording.split` and is called 'official'.
        """
        return {}
