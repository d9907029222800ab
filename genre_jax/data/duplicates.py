"""Finds recordings that are stored twice: the same content, or the same sound.

Two recordings sound the same if enough of their landmarks (`fingerprint`) agree after one of them is
displaced in time. Candidates come from an index of all landmarks, sorted by hash, in which each is
compared with the next few of the same hash; no recording is compared with all others. Each candidate
is then judged by all of its landmarks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from genre_jax.data import grouping
from genre_jax.data.fingerprint import FRAME_S, Print
from genre_jax.data.recordings import Recording

IDENTICAL = 'identical'
NEAR = 'near-identical'

# Different real recordings agree in 0.19 of their peaks at most (one drone machine), pieces that one
# synthesiser plays at exactly one tempo in 0.28; of copies altered in one way half agree in 0.57 and more,
# but for Opus at 7 kbit/s (docs/data.md).
_MIN_SHARE = 0.3
# Of peaks in common. Those of unrelated recordings agree by chance about 0.01 times at any one
# displacement: 8 would happen once in 1e20 displacements.
_MIN_PEAKS = 8
# Landmarks in common at which a pair becomes a candidate.
_MIN_LANDMARKS = 8
# A landmark is compared with so many others of its hash ...
_NEIGHBOURS = 32
# ... of which a recording that repeats itself gives only the first few.
_REPEATS = 3
_KEYS_AT_ONCE = 2**25  # of 8 bytes
_TRACK_BITS, _OFFSET_BITS = 20, 22  # a million recordings, of 18 hours
MOST_RECORDINGS = 2**_TRACK_BITS


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two recordings that are the same, by their tracks."""

    kind: str  # IDENTICAL (content) or NEAR (sound)
    first: str
    second: str  # listed later
    offset_s: float  # time in the first at which the second begins
    score: float  # share of the spectral peaks that agree, of those in the stretch that both have


class Prints(NamedTuple):
    """Names of n recordings, digests of what is stored, and landmarks (none of pictures and tables)."""

    tracks: list[str]
    digests: list[str]
    prints: list[Print]

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str, Print]]) -> Prints:
        """Makes them of the name, digest and landmarks of each recording."""
        return cls(*map(list, zip(*rows, strict=True)))

    def save(self, file: pathlib.Path | BinaryIO) -> None:
        """Writes them, uncompressed, as one npz file."""
        np.savez(
            file,
            tracks=np.array(self.tracks),
            digests=np.array(self.digests),
            counts=np.array([len(item.frames) for item in self.prints]),
            hashes=np.concatenate([item.hashes for item in self.prints]),
            frames=np.concatenate([item.frames for item in self.prints]),
        )

    @classmethod
    def load(cls, file: pathlib.Path | BinaryIO) -> Prints:
        """Reads what `save` wrote."""
        with np.load(file) as stored:
            ends = np.cumsum(stored['counts'])[:-1]
            columns = (np.split(stored[key], ends) for key in ('hashes', 'frames'))
            prints = list(map(Print, *columns))
            return cls(stored['tracks'].tolist(), stored['digests'].tolist(), prints)


def digest(stored: np.ndarray) -> str:
    """Returns the sha256 of an array: its type, its shape and its content."""
    header = f'{stored.dtype.str}{stored.shape}'.encode()
    return hashlib.sha256(header + np.ascontiguousarray(stored).tobytes()).hexdigest()


def find(content: Prints) -> list[Pair]:
    """Finds the recordings that are stored twice.

    An index of n landmarks gives at most 32 n comparisons of 8 bytes, which are made and counted some
    34 million at a time: 24 million landmarks, of 50 hours of music, took 72 s of one core and 1.5 GB.

    Returns:
        Of k recordings of identical content the k - 1 pairs with the first of them; all near-identical
        pairs among recordings of different content, save that of many copies of one recording some pairs
        may be left out: all of them hang together by others.
    """
    same = grouping.alike(content.digests)
    copies = {second for _, second in same}
    single = [i for i in range(len(content.tracks)) if i not in copies]
    pairs = [Pair(IDENTICAL, content.tracks[i], content.tracks[j], 0.0, 1.0) for i, j in same]
    prints = [by_hash(content.prints[i]) for i in single]
    for i, j in _candidates([content.prints[i] for i in single]):
        first, second = single[i], single[j]
        peaks, share, offset_s = compare(prints[i], prints[j], _MIN_PEAKS)
        if peaks >= _MIN_PEAKS and share >= _MIN_SHARE:
            tracks = content.tracks[first], content.tracks[second]
            pairs.append(Pair(NEAR, *tracks, round(offset_s, 2), round(share, 3)))
    return pairs


def join_copies(
    recordings: Sequence[Recording], copies: Iterable[Pair], files: Mapping[str, str]
) -> tuple[list[Recording], list[str]]:
    """Puts copies of a recording into one group; returns the recordings and one-line remarks for the user.

    Copies whose files are the same, by their digests, are noted where those are listed, and not again.
    """
    position = {recording.track: i for i, recording in enumerate(recordings)}
    same = [(position[pair.first], position[pair.second]) for pair in copies]
    joined = grouping.regrouped(recordings, [recording.group for recording in recordings], same)
    bytes_of = [files.get(recording.path, recording.track) for recording in recordings]
    heard = [(i, j) for i, j in same if bytes_of[i] != bytes_of[j]]
    sets: dict[int, list[str]] = {}
    for track, first in zip(position, grouping.leaders(len(recordings), heard), strict=True):
        sets.setdefault(first, []).append(track)
    found = [tracks for tracks in sets.values() if len(tracks) > 1]
    labels = {recording.track: [recording.label] for recording in recordings}
    what = 'recordings are copies of each other by content or sound'
    notes = grouping.copy_notes(found, labels, what, 'copies by content or sound')
    if notes:
        lost = len({each.group for each in recordings}) - len({each.group for each in joined})
        notes[0] += f': {lost} groups were joined to others'
    return joined, notes


def by_hash(item: Print) -> Print:
    """Sorts the landmarks, so that those of two recordings are found in each other without jumping about."""
    order = np.argsort(item.hashes, kind='stable')
    return Print(item.hashes[order], item.frames[order])


def compare(first: Print, second: Print, least_peaks: int = 0) -> tuple[int, float, float]:
    """Displaces one recording against the other, both sorted by hash, until most landmarks agree.

    Returns:
        How many of the peaks that landmarks start from agree; their share of the peaks in the stretch
        that both recordings have; the time in the first, in s, at which the second begins. With fewer peaks
        than asked for the last two are 0.
    """
    start = np.searchsorted(first.hashes, second.hashes, 'left')
    counts = np.searchsorted(first.hashes, second.hashes, 'right') - start
    if not counts.any():
        return 0, 0.0, 0.0
    j = np.repeat(np.arange(len(counts)), counts)
    i = np.arange(len(j)) + np.repeat(start - np.cumsum(counts) + counts, counts)
    offsets = first.frames[i].astype(np.int64) - second.frames[j]
    lowest = offsets.min()
    votes = np.append(np.bincount(offsets - lowest), 0)
    # Two neighbours together: the frames of a copy may lie between those of the other.
    offset = lowest + int(np.argmax(votes[:-1] + votes[1:]))
    agree = (offsets == offset) | (offsets == offset + 1)
    peaks = min(len(np.unique(first.anchors[i[agree]])), len(np.unique(second.anchors[j[agree]])))
    if peaks < least_peaks:
        return peaks, 0.0, 0.0
    begin = max(0, offset)
    end = min(int(first.frames.max()), int(second.frames.max()) + offset)
    in_both = min(
        _peaks_within(first, begin, end), _peaks_within(second, begin - offset, end - offset)
    )
    return peaks, min(1.0, peaks / max(1, in_both)), float(offsets[agree].mean()) * FRAME_S


def _peaks_within(item: Print, begin: int, end: int) -> int:
    within = (item.frames >= begin) & (item.frames <= end)
    return len(np.unique(item.anchors[within]))


def _candidates(prints: Sequence[Print]) -> list[tuple[int, int]]:
    """Returns the pairs (i, j), i < j, with several landmarks in common at one displacement."""
    counts = [len(item.frames) for item in prints]
    if not sum(counts):
        return []
    hashes = np.concatenate([item.hashes for item in prints])
    frames = np.concatenate([item.frames for item in prints])
    tracks = np.repeat(np.arange(len(prints), dtype=np.uint32), counts)
    # The landmarks of a recording come together already, and stay so.
    order = np.argsort(hashes, kind='stable')
    hashes, frames, tracks = hashes[order], frames[order], tracks[order]
    fresh = np.ones(len(order), bool)
    fresh[_REPEATS:] = (hashes[_REPEATS:] != hashes[:-_REPEATS]) | (
        tracks[_REPEATS:] != tracks[:-_REPEATS]
    )
    hashes, frames, tracks = hashes[fresh], frames[fresh], tracks[fresh]
    passes = -(-len(hashes) * _NEIGHBOURS // _KEYS_AT_ONCE)
    found = []
    for number in range(passes):
        rows = np.flatnonzero(tracks % passes == number)
        keys = []
        for lag in range(1, _NEIGHBOURS + 1):
            rows = rows[rows < len(hashes) - lag]
            rows = rows[hashes[rows + lag] == hashes[rows]]
            one = rows[tracks[rows + lag] != tracks[rows]]
            other = one + lag
            offset = frames[one].astype(np.int64) - frames[other] + (1 << _OFFSET_BITS - 1)
            pair = tracks[one].astype(np.int64) << _TRACK_BITS | tracks[other]
            keys.append(pair << _OFFSET_BITS | offset)
        found.append(_frequent(np.concatenate(keys)))
    pairs = np.unique(np.concatenate(found))
    first, second = pairs >> _TRACK_BITS, pairs % (1 << _TRACK_BITS)
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _frequent(keys: np.ndarray) -> np.ndarray:
    """Returns the pairs whose keys come up often enough at two neighbouring displacements."""
    keys.sort()
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(starts, append=len(keys))
    keys = keys[starts]
    both = counts.copy()
    both[:-1] += counts[1:] * (np.diff(keys) == 1)
    return np.unique(keys[both >= _MIN_LANDMARKS] >> _OFFSET_BITS)
