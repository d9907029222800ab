"""What every dataset hands to `data.prepare`: a list of recordings, and how to load each of them."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np


@dataclasses.dataclass(frozen=True)
class Recording:
    """One labelled stretch of audio: the unit that segments are pooled over ("song").

    Attributes:
        track: unique name within the dataset (for files: the path relative to its root).
        label: class name.
        group: what may never cross a split (artist, else album, else the recording itself).
        path: file the audio comes from, relative to the dataset's root; '' where there is none.
        artist: performer, '' if unknown.
        album: release, '' if unknown.
        split: 'train', 'val' or 'test' where the dataset fixes it, else ''.
        start_s: first second to use of the file.
        end_s: second to stop at, None for the end of the file.
    """

    track: str
    label: str
    group: str
    path: str = ''
    artist: str = ''
    album: str = ''
    split: str = ''
    start_s: float = 0.0
    end_s: float | None = None


@dataclasses.dataclass(frozen=True)
class Quarantined:
    """A file that is left out, and why: it is counted in the log, the result and the report."""

    path: str
    reason: str


class Source(Protocol):
    """A dataset before preparation. Instances are pickled to worker processes.

    Attributes:
        name: short name for folders and messages, a valid Python identifier ('folder', 'tunes').
        description: one sentence for people: what the recordings are and where they came from.
        fingerprint: hex digest of everything that decides the prepared bytes.
        root: folder or file the audio lies in, '' for a dataset without one.
    """

    name: str
    description: str
    fingerprint: str
    root: str

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the recordings, in a fixed order, and the files known to be unusable beforehand."""

    def sample_rate_hz(self) -> int:
        """Returns the rate, in Hz, that every recording is prepared at."""

    def load(self, recording: Recording) -> np.ndarray:
        """Returns the audio: int16 [n] mono at `sample_rate_hz()`.

        Raises:
            genre_jax.audio.BadAudio: the file cannot be used; it goes to the quarantine list.
        """

    def files(self) -> dict[str, str]:
        """Returns {path relative to root: SHA-256 of its content}, {} without files."""

    def group_key(self) -> str:
        """Says what the groups are ('artist, else recording')."""

    def notes(self) -> list[str]:
        """Returns what a reader of the results should know about these recordings, a line each."""
