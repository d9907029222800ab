"""Reads the OTMM makam recognition dataset: annotations, metadata, pitch tracks (as published or packed)."""

import dataclasses
import functools
import json
import os
import pathlib
import re
import zipfile
from typing import Any

import numpy as np

from genre_jax.data import pitch_track
from genre_jax.data.recordings import Recording
from genre_jax.errors import UserError

ANNOTATIONS = 'annotations.json'
PITCH_FOLDER = 'data'
_PACKED = re.compile(r'.*_f0_x(\d+)_hop(\d+)\.npz')

# A recording, and MusicBrainz's identifiers of its works and artists: {'work': [...], 'artist': [...]}.
Found = tuple[Recording, dict[str, list[str]]]


def read_annotations(path: str) -> list[Recording]:
    """Reads annotations.json: MAKAM/MBID with label and tonic, groups ''; UserError: it is damaged."""
    entries = _read_json(path)
    if not isinstance(entries, list) or not entries:
        raise UserError(f'{path}: expected a list of recordings with mbid, makam and tonic')
    read = {}
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
        is_number = isinstance(tonic_hz, int | float) and not isinstance(tonic_hz, bool)
        if not (is_number and 0 < tonic_hz < pitch_track.HIGHEST_HZ):
            raise UserError(f'{where} ({mbid}): tonic is {tonic_hz!r}; expected hertz')
        if mbid in read:
            raise UserError(f'{where}: {mbid} stands in it twice; remove one of the two')
        read[mbid] = Recording(f'{makam}/{mbid}', makam, group='', tonic_hz=float(tonic_hz))
    return list(read.values())


def mbid(recording: Recording) -> str:
    """Returns MusicBrainz's identifier of a recording."""
    return recording.track.rsplit('/', 1)[-1]


class Published:
    """The files as published: data/MAKAM/MBID.pitch, one frequency a line, and MBID.json."""

    hop = pitch_track.HOP
    hop_s = hop / pitch_track.SAMPLE_RATE_HZ

    def __init__(self, root: str) -> None:
        """Notes where they are; `root` is the folder of annotations.json."""
        self._root = root

    def look_up(self, recording: Recording) -> Found | None:
        """Returns a recording with path, names, identifiers; None: no pitch track; UserError: metadata."""
        recording = dataclasses.replace(recording, path=f'{PITCH_FOLDER}/{recording.track}.pitch')
        pitch_track = os.path.join(self._root, recording.path)
        if not os.path.exists(pitch_track):
            return None
        path = pitch_track.removesuffix('.pitch') + '.json'
        if not os.path.exists(path):
            return recording, {}
        entry = _read_json(path)
        try:
            credits, works = entry.get('artist_credits') or [], entry.get('works') or []
            releases = entry.get('releases') or []
            recording = dataclasses.replace(
                recording,
                artist=' & '.join(artist['name'] for artist in credits),
                album=releases[0]['title'] if releases else '',
                title=entry.get('title') or '',
            )
            identifiers = {'work': works, 'artist': credits}
            return recording, {k: [each['mbid'] for each in v] for k, v in identifiers.items()}
        except (AttributeError, KeyError, TypeError, IndexError):
            raise UserError(f'{path}: not the metadata of a recording as published; fetch it again') from None

    def f0_hz(self, recording: Recording) -> np.ndarray:
        """Reads a pitch track, float64 [frames] every `hop_s`, 0 where unvoiced; BadAudio: it is damaged."""
        return pitch_track.read(os.path.join(self._root, recording.path))


class Packed:
    """All pitch tracks in one archive NAME_f0_xSCALE_hopHOP.npz, without metadata.

    Arrays: `f0`, integers [all frames], SCALE times Hz; `offsets` [recordings + 1], their begins; `mbid`.
    """

    def __init__(self, root: str, name: str) -> None:
        """Notes where it is: the archive `name` in the folder of annotations.json."""
        self._root, self._name = root, name
        scale, hop = _PACKED.fullmatch(name).groups()
        self._scale, self.hop = int(scale), int(hop)
        self.hop_s = self.hop / pitch_track.SAMPLE_RATE_HZ

    def look_up(self, recording: Recording) -> Found | None:
        """Returns a recording with its path, None where it is not in the archive."""
        if mbid(recording) in self._arrays[2]:
            return dataclasses.replace(recording, path=self._name), {}
        return None

    def f0_hz(self, recording: Recording) -> np.ndarray:
        """Returns a pitch track, float64 [frames]; see `Published.f0_hz`."""
        f0, offsets, positions = self._arrays
        place = positions[mbid(recording)]
        return pitch_track.checked(f0[offsets[place] : offsets[place + 1]] / self._scale)

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
            mbids = list(map(str, archive['mbid']))
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
    return f0, offsets, {name: place for place, name in enumerate(mbids)}


def find(root: str) -> tuple[str, Published | Packed]:
    """Finds the folder's absolute path and its pitch tracks; a UserError where they are not there."""
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
        return json.loads(pathlib.Path(path).read_text('utf-8'))
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise UserError(f'{path} is no JSON ({error}); fetch it again') from None
