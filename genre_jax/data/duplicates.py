"""Finds recordings that are stored twice: the same content, or the same sound in some stretch.

Two recordings sound the same where enough of their peaks (`fingerprint`) lie on one line: time in the first =
speed x time in the second + offset, pitch in the first = pitch in the second + a constant. Candidates
come from an index of all landmarks, sorted; no recording is compared with all others. Each candidate is then
judged by all of its peaks: the best stretch is the segment of greatest score (S. Karlin and S. F. Altschul,
PNAS 87, 1990), where a peak that agrees counts for it and one that does not against it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from genre_jax.data import grouping
from genre_jax.data.fingerprint import LONGEST, UNIT_S, Print, landmarks
from genre_jax.data.recordings import Recording

IDENTICAL = 'identical'
NEAR = 'near-identical'

# Times are in units of the fingerprint, 4 ms; pitches in cents. How far apart peaks that agree may be:
_TIME_TOLERANCE = 6
_PITCH_TOLERANCE = 8
# Speeds that are tried, and pitches that landmarks are compared at, which is a semitone either way.
_SPEEDS, _MOST_SPEED = 1 + np.arange(-24, 25) / 400, 0.07
_MOST_CENTS = 100
# Of unrelated recordings fewer peaks than this share agree. In a stretch of n peaks, m of which agree, the
# evidence is m - _CHANCE n: at most 13 of unrelated recordings, rarely above 50 of tunes that one
# synthesiser plays at one tempo, often above 60 of copies (docs/data.md). Less than _MIN_S may be a jingle.
_CHANCE = 0.2
_MIN_EVIDENCE = 50.0
_MIN_S = 4.0
# A drone machine or a loop that two songs share agrees as well a period later; so may a copy of a loop, but
# in most of its peaks.
_PERIODIC = 0.45
_PERIODIC_SHARE = 0.7
_RECURS = 1248  # periods up to 5 s
_MOST_PEAKS = 2000  # of the stretch are enough to find a period

# Landmarks in common that make a candidate: of one pitch, and of one time between them but for two cells.
_MIN_VOTES = 4
_PITCH_CELL = 32
_OFFSET_CELL = 125
# So many places of a pair are looked at, so many of a recording and all later ones: those with most votes.
_PLACES, _LOOKS = 2, 100
# Of a landmark that a recording repeats only the first few count. One that very many recordings have, one in
# a hundred and at least so many, is compared with the next ones alone.
_REPEATS = 3
_NEIGHBOURS = 200
_KEYS_AT_ONCE = 2**25  # of 8 bytes
_PEAKS_AT_ONCE = 2**20
_TRACK_BITS, _PLACE_BITS = 20, 23  # a million recordings, of 72 hours
_PEAK_BITS, _PEAK = np.uint64(32), np.uint64(2**32 - 1)
MOST_RECORDINGS = 2**_TRACK_BITS


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two recordings that are the same, by their tracks; where and how those of `NEAR` are."""

    kind: str  # IDENTICAL (content) or NEAR (sound)
    first: str
    second: str  # listed later
    offset_s: float  # time in the first at which the second begins
    score: float  # share of the spectral peaks that agree, of those in the stretch
    begin_s: float = 0.0  # of the stretch, in the first
    end_s: float = 0.0
    speed: float = 1.0  # by which the second is faster
    pitch_cents: float = 0.0  # by which the second is higher


class Prints(NamedTuple):
    """Names of n recordings, digests of what is stored, and peaks (none of pictures and tables)."""

    tracks: list[str]
    digests: list[str]
    prints: list[Print]

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str, Print]]) -> Prints:
        """Makes them of the name, digest and peaks of each recording."""
        return cls(*map(list, zip(*rows, strict=True)))

    def save(self, file: pathlib.Path | BinaryIO) -> None:
        """Writes them, uncompressed, as one npz file."""
        np.savez(
            file,
            tracks=np.array(self.tracks),
            digests=np.array(self.digests),
            counts=np.array([len(item.times) for item in self.prints]),
            times=np.concatenate([item.times for item in self.prints]),
            pitches=np.concatenate([item.pitches for item in self.prints]),
        )

    @classmethod
    def load(cls, file: pathlib.Path | BinaryIO) -> Prints:
        """Reads what `save` wrote."""
        with np.load(file) as stored:
            ends = np.cumsum(stored['counts'])[:-1]
            columns = (np.split(stored[key], ends) for key in ('times', 'pitches'))
            prints = list(map(Print, *columns))
            return cls(stored['tracks'].tolist(), stored['digests'].tolist(), prints)


def digest(stored: np.ndarray) -> str:
    """Returns the sha256 of an array: its type, its shape and its content."""
    header = f'{stored.dtype.str}{stored.shape}'.encode()
    return hashlib.sha256(header + np.ascontiguousarray(stored).tobytes()).hexdigest()


def find(content: Prints, by_sound: bool = True) -> list[Pair]:
    """Finds the recordings that are stored twice, by their content alone or by their sound as well.

    Returns of k recordings of identical content the k - 1 pairs with the first of them; and all
    near-identical pairs among recordings of different content, save that of many copies of one recording some
    pairs may be left out: all of them hang together by others.

    100,000 simulated recordings of half a minute take 13.6 GB and 575 s of a core; as many planted copies are
    found as without them (docs/data.md).
    """
    same = grouping.alike(content.digests)
    copies = {second for _, second in same}
    single = [i for i in range(len(content.tracks)) if i not in copies]
    pairs = [Pair(IDENTICAL, content.tracks[i], content.tracks[j], 0.0, 1.0) for i, j in same]
    prints = [content.prints[i] for i in single]
    last = None
    for i, j, pitch, offset in _candidates(prints).tolist() if by_sound else ():
        if (i, j) == last:
            continue
        if pair := compare(prints[i], prints[j], pitch, offset):
            names = {'first': content.tracks[single[i]], 'second': content.tracks[single[j]]}
            pairs.append(dataclasses.replace(pair, **names))
            last = i, j
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
    if notes := grouping.copy_notes(found, labels, what, 'copies by content or sound'):
        lost = len({each.group for each in recordings}) - len({each.group for each in joined})
        notes[0] += f': {lost} groups were joined to others'
    return joined, notes


def compare(first: Print, second: Print, pitch: float, offset: int) -> Pair | None:
    """Finds the stretch in which most peaks of two recordings lie on one line.

    The first is `pitch` cents higher, to within half of `_PITCH_CELL`, and somewhere in the stretch its times
    are `offset` units greater, or up to two `_OFFSET_CELL` more. Returns the pair, without names; None if
    too little agrees.
    """
    ours, theirs = first.times.astype(float), second.times.astype(float)
    reach, wide = (offset, offset + 2 * _OFFSET_CELL), _PITCH_CELL / 2 + _PITCH_TOLERANCE
    i, j, higher = _close(first, second, theirs, reach, pitch, wide)
    if len(i) < _MIN_VOTES:
        return None
    middle = theirs[j].mean()
    begins = ours[i] - _SPEEDS[:, None] * (theirs[j] - middle)
    cells = np.rint((begins - begins.min()) / _TIME_TOLERANCE).astype(int)
    width = int(cells.max()) + 2
    rows = width * np.arange(len(_SPEEDS))[:, None]
    votes = np.bincount((rows + cells).ravel(), minlength=rows.size * width).reshape(-1, width)
    # Two neighbours together, and more than by chance: of long recordings all lie in few cells at one speed.
    chance = 2 * len(i) / (1 + np.ptp(cells, axis=1, keepdims=True))
    votes = votes[:, :-1] + votes[:, 1:] - chance
    row, cell = map(int, np.unravel_index(np.argmax(votes), votes.shape))
    speed = float(_SPEEDS[row])
    begin = begins.min() + (cell + 0.5) * _TIME_TOLERANCE - speed * middle
    pitch = np.median(higher[np.abs(cells[row] - cell - 0.5) < 1])
    reach, n_inside = (-_TIME_TOLERANCE, _TIME_TOLERANCE), _MIN_VOTES
    while True:  # the line is fitted anew as long as its stretch grows
        moved = speed * theirs + begin
        i, j, higher = _close(first, second, moved, reach, pitch)
        times = np.concatenate([ours, moved])
        agree = np.zeros(len(times), bool)
        agree[i] = agree[len(ours) + j] = True
        order = np.argsort(times, kind='stable')
        times, agree = times[order], agree[order]
        evidence = np.append(0.0, np.cumsum(agree - _CHANCE))
        gain = evidence - np.minimum.accumulate(evidence)
        end = int(np.argmax(gain))
        start = int(np.argmin(evidence[: end + 1]))
        inside = (ours[i] >= times[start]) & (ours[i] <= times[end - 1])
        if inside.sum() <= n_inside or np.ptp(theirs[j[inside]]) < _OFFSET_CELL:
            break
        n_inside = inside.sum()
        pitch = np.median(higher[inside])
        speed, begin = np.polyfit(theirs[j[inside]], ours[i[inside]], 1)
    n_s = (times[end - 1] - times[start]) * UNIT_S
    if gain[end] < _MIN_EVIDENCE or n_s < _MIN_S or abs(speed - 1) > _MOST_SPEED:
        return None
    share = float(np.mean(agree[start:end]))
    if share < _PERIODIC_SHARE:
        some = np.flatnonzero((ours >= times[start]) & (ours < times[end - 1]))[:_MOST_PEAKS]
        stretch = Print(first.times[some], first.pitches[some])
        i, j, _ = _close(stretch, second, moved, (-_RECURS, _RECURS), pitch)
        lags = np.rint((ours[some[i]] - moved[j] + _RECURS) / _TIME_TOLERANCE).astype(int)
        here = _RECURS // _TIME_TOLERANCE
        votes = np.convolve(np.bincount(lags, minlength=2 * here + 1), [1, 1, 1], 'same')
        if max(votes[: here - 8].max(), votes[here + 9 :].max()) > _PERIODIC * votes[here]:
            return None
    seconds = (UNIT_S * float(t) for t in (begin, times[start], times[end - 1]))
    offset_s, begin_s, end_s = (round(t, 2) + 0.0 for t in seconds)  # none is -0.0
    how = begin_s, end_s, round(float(speed), 4), round(float(-pitch), 1) + 0.0
    return Pair(NEAR, '', '', offset_s, round(share, 3), *how)


def _close(
    first: Print, second: Print, moved: np.ndarray, reach: tuple[float, float], pitch: float,
    tolerance: float = _PITCH_TOLERANCE,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Returns pairs of peaks, i and j, of pitches and moved times in reach, and i's cents above j."""
    start = np.searchsorted(first.times, moved + reach[0], 'left')
    counts = np.searchsorted(first.times, moved + reach[1], 'right') - start
    i, j = _ranges(start, counts), np.repeat(np.arange(len(counts)), counts)
    higher = first.pitches[i].astype(float) - second.pitches[j]
    close = np.abs(higher - pitch) <= tolerance
    return i[close], j[close], higher[close]


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns, one range after the other, so many whole numbers from each start on."""
    return np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)


def _index(prints: Sequence[Print]) -> np.ndarray:
    """Returns all landmarks, sorted: what each is known by, then the number of its first peak."""
    ends = np.cumsum([len(item.times) for item in prints])
    found, number = [np.empty(0, np.uint64)], np.uint64(0)
    cuts = np.flatnonzero(np.diff(ends // _PEAKS_AT_ONCE)) + 1
    for part in np.split(np.arange(len(prints)), cuts):
        some = [prints[k] for k in part]
        begins = np.cumsum([0] + [int(each.times.max(initial=0)) + LONGEST + 1 for each in some])
        times = [each.times + begin for each, begin in zip(some, begins, strict=False)]
        pitches = np.concatenate([each.pitches for each in some]).astype(np.int64)
        hashes, peaks = landmarks(np.concatenate(times), pitches)
        found.append(hashes.astype(np.uint64) << _PEAK_BITS | peaks.astype(np.uint64) + number)
        number += np.uint64(len(pitches))
    index = np.concatenate(found)
    index.sort()
    return index


def _candidates(prints: Sequence[Print]) -> np.ndarray:
    """Returns i, j, pitch and offset of pairs, i < j, with several landmarks in common, int64 [n, 4].

    Pitch and offset are those that `compare` takes; the places of a pair stand together, the best first.
    """
    index = _index(prints)
    counts = [len(item.times) for item in prints]
    tracks = np.repeat(np.arange(len(prints), dtype=np.uint32), counts)[index & _PEAK]
    # The same landmarks of a recording stand together.
    fresh = _first_few(index >> _PEAK_BITS << _TRACK_BITS | tracks, _REPEATS)
    index, tracks = index[fresh], tracks[fresh]
    times = np.concatenate([item.times for item in prints])[index & _PEAK]
    pitches = np.concatenate([item.pitches for item in prints])[index & _PEAK].astype(np.int16)
    ends = np.flatnonzero(np.diff(index >> _PEAK_BITS, append=np.uint64(2**32))) + 1
    del index
    sizes = np.diff(ends, prepend=0)
    later = np.repeat(ends, sizes) - np.arange(len(tracks)) - 1
    later = np.minimum(later, max(_NEIGHBOURS, len(prints) // 100)).astype(np.int32)
    passes = -(-int(later.sum(dtype=int)) // _KEYS_AT_ONCE)
    found = []
    for number in range(passes):
        rows = np.flatnonzero((tracks % passes == number) & (later > 0))
        parts = np.cumsum(later[rows]) // (_KEYS_AT_ONCE // 8)
        keys = []
        for some in np.split(rows, np.flatnonzero(np.diff(parts)) + 1):
            one, other = np.repeat(some, later[some]), _ranges(some + 1, later[some])
            higher = pitches[one] - pitches[other]
            fits = (np.abs(higher) <= _MOST_CENTS) & (tracks[one] != tracks[other])
            one, other, higher = one[fits], other[fits], higher[fits].astype(np.int64)
            offset = (times[one].astype(np.int64) - times[other]) // _OFFSET_CELL
            place = (higher + _PITCH_CELL // 2) // _PITCH_CELL + 3 << 20 | offset + (1 << 19)
            pair = tracks[one].astype(np.int64) << _TRACK_BITS | tracks[other]
            keys.append(pair << _PLACE_BITS | place)
        found.append(_frequent(np.concatenate(keys)))
    keys = np.concatenate([*found, np.empty(0, np.int64)])
    keys = keys[np.argsort(keys >> _PLACE_BITS, kind='stable')]
    pairs, places = np.divmod(keys, 1 << _PLACE_BITS)
    pitch, offset = np.divmod(places, 1 << 20)
    offset = (offset - (1 << 19)) * _OFFSET_CELL
    return np.stack([*np.divmod(pairs, 1 << _TRACK_BITS), (pitch - 3) * _PITCH_CELL, offset], 1)


def _frequent(keys: np.ndarray) -> np.ndarray:
    """Returns keys that come up often, with the next one together: the best of each pair and first track."""
    keys.sort()
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    votes = np.diff(starts, append=len(keys))
    keys = keys[starts]
    votes[:-1] += votes[1:] * (np.diff(keys) == 1)
    keys, votes = keys[votes >= _MIN_VOTES], votes[votes >= _MIN_VOTES]
    for bits, few in ((_PLACE_BITS, _PLACES), (_PLACE_BITS + _TRACK_BITS, _LOOKS)):
        order = np.lexsort((-votes, keys >> bits))
        order = order[_first_few(keys[order] >> bits, few)]
        keys, votes = keys[order], votes[order]
    return keys


def _first_few(values: np.ndarray, few: int) -> np.ndarray:
    """Tells which of equal values, which stand together, are the first few, bool [n]."""
    return np.append(np.ones(min(few, len(values)), bool), values[few:] != values[:-few])
