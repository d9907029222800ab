"""Reads the OTMM makam recognition dataset: annotations, metadata, pitch tracks (as published or packed)."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import zipfile
from typing import Any

import numpy as np

from genre_jax.errors import BadAudio, UserError

ANNOTATIONS = 'annotations.json'
PITCH_FOLDER = 'data'
# An analysis frame every 128 samples of an mp3 at 44.1 kHz (docs/datasets/makam.md).
_SAMPLE_RATE_HZ = 44100
_PUBLISHED_HOP = 128
_PACKED = re.compile(r'.*_f0_x(\d+)_hop(\d+)\.npz')
_HIGHEST_HZ = 20_000.0


@dataclasses.dataclass(frozen=True)
class Annotation:
    """One entry of annotations.json.

    Attributes:
        mbid: MusicBrainz's identifier of the recording.
        makam: its class.
        tonic_hz: frequency of the tonic.
    """

    mbid: str
    makam: str
    tonic_hz: float


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What MusicBrainz knows of a recording.

    Attributes:
        title: of the recording.
        artist: names in its credit.
        album: title of its first release.
        works: identifiers of the pieces that are played.
        artists: identifiers of those credited.
    """

    title: str = ''
    artist: str = ''
    album: str = ''
    works: tuple[str, ...] = ()
    artists: tuple[str, ...] = ()


def read_annotations(path: str) -> list[Annotation]:
    """Reads annotations.json.

    Args:
        path: of the file.

    Returns:
        Its entries, in its order.

    Raises:
        UserError: the file is damaged or no such list.
    """
    entries = _read_json(path)
    if not isinstance(entries, list) or not entries:
        raise UserError(f'{path}: expected a list of recordings with mbid, makam and tonic')
    read, seen = [], set()
    for number, entry in enumerate(entries, 1):
        where = f'{path}, entry {number}'
        if not isinstance(entry, dict):
            raise UserError(f'{where}: expected mbid, makam and tonic, found {entry!r}')
        for key in ('mbid', 'makam'):
            if not isinstance(entry.get(key), str) or not entry[key].strip():
                raise UserError(f'{where}: {key} is {entry.get(key)!r}; expected a text')
        mbid, makam, tonic_hz = entry['mbid'].rsplit('/', 1)[-1], entry['makam'], entry.get('tonic')
        if not re.fullmatch(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', mbid):
            raise UserError(f'{where}: mbid is {entry["mbid"]!r}; expected one of MusicBrainz')
        if '/' in makam or makam.startswith('.'):
            raise UserError(f'{where}: makam is {makam!r}; expected the name of a folder')
        if (
            isinstance(tonic_hz, bool)
            or not isinstance(tonic_hz, int | float)
            or not (0 < tonic_hz < _HIGHEST_HZ)
        ):
            raise UserError(f'{where} ({mbid}): tonic is {tonic_hz!r}; expected hertz')
        if mbid in seen:
            raise UserError(f'{where}: {mbid} stands in it twice; remove one of the two')
        seen.add(mbid)
        read.append(Annotation(mbid, makam, float(tonic_hz)))
    return read


def read_metadata(path: str) -> Metadata | None:
    """Reads the metadata of a recording.

    Args:
        path: of the file.

    Returns:
        What is in it, None where there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    if not os.path.exists(path):
        return None
    entry = _read_json(path)
    try:
        credits, works = entry.get('artist_credits') or [], entry.get('works') or []
        releases = entry.get('releases') or []
        return Metadata(
            title=entry.get('title') or '',
            artist=' & '.join(artist['name'] for artist in credits),
            album=releases[0]['title'] if releases else '',
            works=tuple(work['mbid'] for work in works),
            artists=tuple(artist['mbid'] for artist in credits),
        )
    except (AttributeError, KeyError, TypeError, IndexError):
        raise UserError(
            f'{path}: not the metadata of a recording as published; fetch it again'
        ) from None


class Published:
    """The files as published: data/MAKAM/MBID.pitch, one frequency a line.

    Attributes:
        hop_s: seconds from frame to frame.
    """

    hop_s = _PUBLISHED_HOP / _SAMPLE_RATE_HZ

    def __init__(self, root: str) -> None:
        """Notes where they are; `root` is the folder of annotations.json."""
        self._root = root

    def path(self, annotation: Annotation) -> str:
        """Returns the path of a recording's file, relative to the root."""
        return f'{PITCH_FOLDER}/{annotation.makam}/{annotation.mbid}.pitch'

    def holds(self, annotation: Annotation) -> bool:
        """Tells whether there is a pitch track of a recording."""
        return os.path.exists(os.path.join(self._root, self.path(annotation)))

    def metadata(self, annotation: Annotation) -> Metadata | None:
        """Returns what is known of a recording, None if nothing is."""
        path = os.path.join(self._root, self.path(annotation))
        return read_metadata(path.removesuffix('.pitch') + '.json')

    def f0_hz(self, mbid: str, path: str) -> np.ndarray:
        """Reads a pitch track.

        Args:
            mbid: of the recording.
            path: relative to the root.

        Returns:
            float64 [frames], 0 where it is unvoiced.

        Raises:
            BadAudio: the file cannot be read, or a line is no frequency.
        """
        try:
            with open(os.path.join(self._root, path), encoding='ascii', errors='replace') as file:
                lines = file.read().split('\n')
        except OSError as error:
            raise BadAudio(f'cannot be read: {error.strerror}') from error
        values = []
        for number, line in enumerate(lines, 1):
            if text := line.strip():
                try:
                    values.append(float(text))
                except ValueError:
                    raise BadAudio(f'line {number} is no frequency: {text[:40]!r}') from None
        return _checked(np.array(values))


class Packed:
    """All pitch tracks in one archive NAME_f0_xSCALE_hopHOP.npz.

    It holds `f0`, integers [all frames], SCALE times the frequency in Hz; `offsets` [recordings + 1],
    where each recording begins in it; and `mbid` [recordings].

    Attributes:
        hop_s: seconds from frame to frame.
    """

    def __init__(self, root: str, name: str) -> None:
        """Notes where it is.

        Args:
            root: the folder of annotations.json.
            name: of the archive.
        """
        self._root, self._name = root, name
        scale, hop = _PACKED.fullmatch(name).groups()
        self._scale = int(scale)
        self.hop_s = int(hop) / _SAMPLE_RATE_HZ

    def path(self, annotation: Annotation) -> str:
        """Returns the name of the archive: all recordings are in one file."""
        del annotation
        return self._name

    def holds(self, annotation: Annotation) -> bool:
        """Tells whether there is a pitch track of a recording."""
        return annotation.mbid in self._arrays[2]

    def metadata(self, annotation: Annotation) -> None:
        """Returns None: the archive holds no metadata."""
        del annotation

    def f0_hz(self, mbid: str, path: str) -> np.ndarray:
        """Returns a pitch track, float64 [frames]; see `Published.f0_hz`."""
        del path
        f0, offsets, positions = self._arrays
        place = positions[mbid]
        return _checked(f0[offsets[place] : offsets[place + 1]] / self._scale)

    @property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        return _read_archive(os.path.join(self._root, self._name))


# Workers get a new `Packed` with every recording, and keep the archive.
@functools.lru_cache(maxsize=1)
def _read_archive(path: str) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Returns the melodies, where each begins, and its place by identifier."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            f0, offsets = archive['f0'], archive['offsets']
            mbids = [str(mbid) for mbid in archive['mbid']]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f'{path} cannot be read ({error}); expected an archive of the arrays f0, offsets and mbid'
        ) from None
    whole = (
        f0.ndim == offsets.ndim == 1
        and f0.dtype.kind in 'iu'
        and offsets.dtype.kind in 'iu'
        and len(offsets) == len(mbids) + 1
        and (np.diff(offsets) >= 0).all()
        and offsets[0] == 0
        and offsets[-1] == len(f0)
    )
    if not whole:
        raise UserError(
            f'{path}: f0, offsets and mbid do not fit together; expected integers f0 and, for every '
            'mbid, where it begins in f0, then the length of f0'
        )
    return f0, offsets, {mbid: place for place, mbid in enumerate(mbids)}


def find(root: str) -> tuple[str, Published | Packed]:
    """Finds out which files there are.

    Args:
        root: folder with annotations.json.

    Returns:
        Absolute path of the folder, and its pitch tracks.

    Raises:
        UserError: there is no such folder, or not the files that are needed.
    """
    if not root:
        raise UserError('the root folder is not set; name the folder of the OTMM makam dataset')
    folder = os.path.abspath(os.path.expanduser(root))
    if not os.path.isdir(folder):
        raise UserError(f'{root} is no folder; expected that of the OTMM makam recognition dataset')
    if not os.path.isfile(os.path.join(folder, ANNOTATIONS)):
        raise UserError(
            f'{root} holds no {ANNOTATIONS}; expected the folder of the OTMM makam recognition dataset'
        )
    if os.path.isdir(os.path.join(folder, PITCH_FOLDER)):
        return folder, Published(folder)
    packed = sorted(name for name in os.listdir(folder) if _PACKED.fullmatch(name))
    if len(packed) != 1:
        found = f'several archives ({", ".join(packed)})' if packed else 'no pitch tracks'
        raise UserError(
            f'{root} holds {found}; expected {PITCH_FOLDER}/MAKAM/MBID.pitch, or one archive '
            'NAME_f0_xSCALE_hopHOP.npz'
        )
    return folder, Packed(folder, packed[0])


def _read_json(path: str) -> Any:
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise UserError(f'{path} is no JSON ({error}); fetch it again') from None


def _checked(f0_hz: np.ndarray) -> np.ndarray:
    """Refuses a pitch track that cannot be."""
    wrong = ~((f0_hz >= 0) & (f0_hz < _HIGHEST_HZ))
    if wrong.any():
        frame = int(wrong.argmax())
        raise BadAudio(f'frame {frame + 1} is no frequency: {f0_hz[frame]:g} Hz')
    if not len(f0_hz):
        raise BadAudio('no frames')
    if not f0_hz.any():
        raise BadAudio('no voiced frame')
    return f0_hz
