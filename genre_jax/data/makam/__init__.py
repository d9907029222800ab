"""Ottoman-Turkish makams: the melodies of 1000 real recordings, as they are or rendered to audio."""

import dataclasses
import functools
import math
import numbers
import os

import numpy as np

from genre_jax.data import digests, grouping, pitch_track, recordings, synthesis
from genre_jax.data.makam import synth, tracks
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.errors import BadAudio, UserError

# Raised with every change of what is stored of the recordings.
_BUILDER_VERSION = 2
_KINDS = ('pitch', 'audio')
# Of the pitch that is stored, in samples at 44.1 kHz: 23 ms. Published tracks have eight times the frames.
_HOP = 1024
_GROUPS = ('work', 'artist', 'work+artist', 'recording')


class Source(recordings.Source):
    """The OTMM makam recognition dataset (Karakurt, Senturk and Serra 2016): its melodies."""

    name = 'makam'
    description = (
        'Melodies of recordings of Ottoman-Turkish makam music: the pitch tracks of the OTMM makam '
        'recognition dataset (Karakurt, Senturk and Serra 2016), or a synthesiser that plays them.'
    )

    def __init__(
        self,
        *,
        root: str,  # folder with annotations.json and the pitch tracks, as published or packed
        kind: str = 'pitch',  # what is stored: the melodies, or 'audio' that plays them
        sample_rate_hz: int = 16000,  # of audio
        max_s: float | None = 60.0,  # longest stretch of a recording as audio, None for all of it
        group: str = 'work',
        seed: int = 0,  # of where the stretches begin
    ):
        """Finds the pitch tracks; a UserError where a setting is wrong, or the dataset is not at `root`.

        What may never cross a split is `group`: 'work', 'artist', 'work+artist' (whatever shares one of
        them, also by way of others), or 'recording'; a recording without them stands alone.
        """
        if kind not in _KINDS:
            raise UserError(f'kind is {kind!r}; expected one of {", ".join(_KINDS)}')
        if group not in _GROUPS:
            raise UserError(f'group is {group!r}; expected one of {", ".join(_GROUPS)}')
        synthesis.check(
            self.name,
            ('sample_rate_hz', sample_rate_hz, numbers.Integral, 8000, 192_000),
            ('max_s', max_s, numbers.Real | None, 1, math.inf),
            ('seed', seed, numbers.Integral, 0, math.inf),
        )
        self.root, self._tracks = tracks.find(root)
        self.kind = kind
        self._thinned = max(1, _HOP // self._tracks.hop) if kind == 'pitch' else 1
        frame_rate_hz = pitch_track.SAMPLE_RATE_HZ / (self._thinned * self._tracks.hop)
        self._sample_rate_hz = sample_rate_hz if kind == 'audio' else frame_rate_hz
        self._max_s = max_s
        self._group = group
        self._seed = seed

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the builder, the settings, the annotations and the pitch tracks."""
        settings = (_BUILDER_VERSION, self.kind, self._sample_rate_hz, self._max_s, self._group, self._seed)
        listed = [dataclasses.astuple(item) for items in self._listing for item in items]
        parts = (settings, listed, sorted(self.files().items()))
        return digests.of_text(repr(parts)).hex()

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the recordings in the order of the annotations, and those without a pitch track.

        UserError: annotations or metadata are damaged, or there is no pitch track at all.
        """
        return list(self._listing[0]), list(self._listing[1])

    def load(self, recording: Recording) -> np.ndarray:
        """Returns a recording's melody, or plays it; BadAudio: its pitch track is damaged, or unvoiced."""
        f0_hz, hop_s = self._tracks.f0_hz(recording), self._tracks.hop_s
        if self.kind == 'pitch':
            f0_hz = f0_hz[:: self._thinned].astype(np.float32)
            if not f0_hz.any():
                raise BadAudio('no voiced frame')
            return f0_hz
        frames, samples = len(f0_hz), None
        if self._max_s is not None:
            frames = math.ceil(self._max_s / hop_s)
            samples = round(self._max_s * self._sample_rate_hz)
        if frames < len(f0_hz):
            number = int(tracks.mbid(recording).replace('-', ''), 16)
            chance = np.random.default_rng([self._seed, number])
            first = int(chance.integers(len(f0_hz) - frames, endpoint=True))
            f0_hz = f0_hz[first : first + frames]
            if not f0_hz.any():
                raise BadAudio(
                    f'no voiced frame in the {self._max_s:g} s from {first * hop_s:.1f} s: raise max_s'
                )
        return synth.render(f0_hz, hop_s, self._sample_rate_hz)[:samples]

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
        synthetic = ['every sound is synthetic: melodies of real recordings, all in one timbre']
        notes = synthetic if self.kind == 'audio' else []
        unknown = len(self._listing[0]) - self._known
        if unknown and self._group != 'recording':
            notes.append(
                f'the work and the artist of {unknown} of {len(self._listing[0])} recordings are unknown '
                '(no metadata beside the pitch tracks): performances of one piece may cross the split'
            )
        return notes

    @functools.cached_property
    def _listing(self) -> tuple[list[Recording], list[Quarantined]]:
        kinds = [kind for kind in ('work', 'artist') if kind in self._group]
        usable, shared, quarantined = [], [], []
        for recording in tracks.read_annotations(os.path.join(self.root, tracks.ANNOTATIONS)):
            found = self._tracks.look_up(recording)
            if found is None:
                reason = 'annotated, but there is no pitch track'
                quarantined.append(Quarantined(recording.track, reason))
                continue
            recording, known = found
            shared.append([f'{kind}:{mbid}' for kind in kinds for mbid in known.get(kind, ())])
            group = min(shared[-1], default=f'recording:{tracks.mbid(recording)}')
            usable.append(dataclasses.replace(recording, group=group))
        if not usable:
            raise UserError(
                f'{self.root}: none of the {len(quarantined)} recordings of {tracks.ANNOTATIONS} has a '
                f'pitch track, e.g. {quarantined[0].path}'
            )
        last = {key: i for i, keys in enumerate(shared) for key in keys}
        if 'artist' in self._group and not any(key.startswith('artist:') for key in last):
            raise UserError(
                f'group is {self._group!r}, but no artist is known: {self.root} holds no metadata beside '
                "its pitch tracks; fetch them, or choose group='recording'"
            )
        same = [(last[key], i) for i, keys in enumerate(shared) for key in keys]
        groups = [recording.group for recording in usable]
        return grouping.regrouped(usable, groups, same), quarantined

    @property
    def _known(self) -> int:
        """How many recordings have metadata."""
        return sum(bool(item.title) for item in self._listing[0])

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        return self.digests.of(self.root, (recording.path for recording in self._listing[0]))
