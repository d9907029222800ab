"""Ottoman-Turkish makams: the melodies of 1000 real recordings, rendered to audio (docs/datasets)."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Sequence

import numpy as np

from genre_jax.data import grouping, recordings
from genre_jax.data.makam import synth, tracks
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.errors import BadAudio, UserError

# Raised with every change of how the recordings sound.
_BUILDER_VERSION = 1
_GROUPS = ('work', 'artist', 'work+artist', 'recording')
_SHORTEST_S = 1.0


class Source(recordings.Source):
    """The OTMM makam recognition dataset (Karakurt, Senturk and Serra 2016), rendered.

    Attributes:
        name: 'makam'.
        description: what the recordings are.
        root: the folder.
    """

    name = 'makam'
    description = (
        'Melodies of recordings of Ottoman-Turkish makam music, played by a synthesiser from the pitch '
        'tracks of the OTMM makam recognition dataset (Karakurt, Senturk and Serra 2016).'
    )

    def __init__(
        self,
        *,
        root: str,
        sample_rate_hz: int = 16000,
        max_s: float | None = 60.0,
        group: str = 'work',
        seed: int = 0,
    ):
        """Finds the pitch tracks.

        Args:
            root: folder with annotations.json and the pitch tracks, as published or packed.
            sample_rate_hz: of every recording.
            max_s: longest stretch of a recording, None for all of it.
            group: what may never cross a split: 'work', 'artist', 'work+artist' (whatever shares one of
                them, also by way of others), or 'recording'; a recording without them stands alone.
            seed: of where the stretches begin.

        Raises:
            UserError: a setting is wrong, or the dataset is not at `root`.
        """
        if group not in _GROUPS:
            raise UserError(f'group is {group!r}; expected one of {", ".join(_GROUPS)}')
        if not (isinstance(sample_rate_hz, int) and 8_000 <= sample_rate_hz <= 192_000):
            raise UserError(f'sample_rate_hz is {sample_rate_hz!r}; expected 8000 to 192000')
        if max_s is not None and not (
            isinstance(max_s, int | float) and _SHORTEST_S <= max_s < math.inf
        ):
            raise UserError(
                f'max_s is {max_s!r}; expected seconds from {_SHORTEST_S:g} up, or None'
            )
        if not (isinstance(seed, int) and seed >= 0):
            raise UserError(f'seed is {seed!r}; expected a whole number from 0 up')
        self.root, self._tracks = tracks.find(root)
        self._sample_rate_hz = sample_rate_hz
        self._max_s = max_s
        self._group = group
        self._seed = seed

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the builder, the settings, the annotations and the pitch tracks."""
        settings = (_BUILDER_VERSION, self._sample_rate_hz, self._max_s, self._group, self._seed)
        listed = [dataclasses.astuple(item) for items in self._listing for item in items]
        parts = (settings, listed, sorted(self.files().items()))
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the recordings in the order of the annotations, and those without a pitch track.

        Raises:
            UserError: annotations or metadata are damaged, or there is no pitch track at all.
        """
        return list(self._listing[0]), list(self._listing[1])

    def sample_rate_hz(self) -> int:
        """Returns the rate, in Hz, that every recording is made at."""
        return self._sample_rate_hz

    def load(self, recording: Recording) -> np.ndarray:
        """Plays the melody of one recording.

        Args:
            recording: one of `recordings()`.

        Returns:
            int16 [n] mono at `sample_rate_hz()`.

        Raises:
            BadAudio: its pitch track is damaged, or has no voiced frame.
        """
        mbid = recording.track.rsplit('/', 1)[-1]
        f0_hz = self._tracks.f0_hz(mbid, recording.path)
        frames = len(f0_hz)
        if self._max_s is not None:
            frames = math.ceil(self._max_s / self._tracks.hop_s)
        if frames < len(f0_hz):
            chance = np.random.default_rng([self._seed, int(mbid.replace('-', ''), 16)])
            first = int(chance.integers(len(f0_hz) - frames, endpoint=True))
            f0_hz = f0_hz[first : first + frames]
            if not f0_hz.any():
                start_s = first * self._tracks.hop_s
                raise BadAudio(
                    f'no voiced frame in the {self._max_s:g} s from {start_s:.1f} s: raise max_s'
                )
        audio = synth.render(f0_hz, self._tracks.hop_s, self._sample_rate_hz)
        return audio if self._max_s is None else audio[: round(self._max_s * self._sample_rate_hz)]

    def files(self) -> dict[str, str]:
        """Returns the sha256 of every file with pitch tracks by path."""
        return dict(self._digests)

    def group_key(self) -> str:
        """Returns what the groups are: 'work, else recording', 'recording', ..."""
        if self._group == 'recording' or not self._known:
            return 'recording'
        return f'{self._group.replace("+", " or ")}, else recording'

    def notes(self) -> list[str]:
        """Returns what a reader of the results should know."""
        notes = ['every sound is synthetic: melodies of real recordings, all in one timbre']
        unknown = len(self._listing[0]) - self._known
        if unknown and self._group != 'recording':
            notes.append(
                f'the work and the artist of {unknown} of {len(self._listing[0])} recordings are unknown '
                '(no metadata beside the pitch tracks): performances of one piece may cross the split'
            )
        return notes

    @functools.cached_property
    def _listing(self) -> tuple[list[Recording], list[Quarantined]]:
        path = os.path.join(self.root, tracks.ANNOTATIONS)
        usable, quarantined = [], []
        for annotation in tracks.read_annotations(path):
            if self._tracks.holds(annotation):
                usable.append((annotation, self._tracks.metadata(annotation) or tracks.Metadata()))
            else:
                name = f'{annotation.makam}/{annotation.mbid}'
                quarantined.append(Quarantined(name, 'annotated, but there is no pitch track'))
        if not usable:
            raise UserError(
                f'{self.root}: none of the {len(quarantined)} recordings of {tracks.ANNOTATIONS} has a '
                f'pitch track, e.g. {quarantined[0].path}'
            )
        if 'artist' in self._group and not any(metadata.artists for _, metadata in usable):
            raise UserError(
                f'group is {self._group!r}, but no artist is known: {self.root} holds no metadata beside '
                "its pitch tracks; fetch them, or choose group='recording'"
            )
        groups = _join([self._shared(metadata) for _, metadata in usable])
        listed = [
            Recording(
                track=f'{annotation.makam}/{annotation.mbid}',
                label=annotation.makam,
                group=group or f'recording:{annotation.mbid}',
                path=self._tracks.path(annotation),
                artist=metadata.artist,
                album=metadata.album,
                title=metadata.title,
                tonic_hz=annotation.tonic_hz,
            )
            for (annotation, metadata), group in zip(usable, groups, strict=True)
        ]
        return listed, quarantined

    def _shared(self, metadata: tracks.Metadata) -> list[str]:
        """Returns what groups a recording with others."""
        shared = []
        if 'work' in self._group:
            shared += [f'work:{mbid}' for mbid in metadata.works]
        if 'artist' in self._group:
            shared += [f'artist:{mbid}' for mbid in metadata.artists]
        return shared

    @property
    def _known(self) -> int:
        """How many recordings have metadata."""
        return sum(bool(item.title) for item in self._listing[0])

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        return self.digests.of(self.root, (recording.path for recording in self._listing[0]))


def _join(shared: Sequence[Sequence[str]]) -> list[str]:
    """Groups recordings that share a key, also by way of others; '' where there are no keys."""
    keys = list(dict.fromkeys(key for each in shared for key in each))
    at = {key: i for i, key in enumerate(keys)}
    same = [(at[each[0]], at[key]) for each in shared for key in each[1:]]
    groups = grouping.join(keys, same)
    return [groups[at[each[0]]] if each else '' for each in shared]
