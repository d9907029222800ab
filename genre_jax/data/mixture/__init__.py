"""Several datasets of audio as one (docs/datasets)."""

import collections
import dataclasses
import functools
import inspect
import re
from collections.abc import Mapping

import numpy as np

from genre_jax.data import digests, files, grouping, recordings, request
from genre_jax.data.digests import Digests
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.errors import UserError

_VERSION = 1
# What begins with the name of the part.
_PREFIXED = ('track', 'group', 'path')


class Source(recordings.Source):
    """All recordings of several datasets; tracks, groups and paths begin with the name of their part."""

    name = 'mixture'

    def __init__(self, *, parts: Mapping, sample_rate_hz: int | None = None):
        """Builds the parts; a UserError for fewer than two, or one that is wrong or holds no audio.

        Each of `parts`, under a name of its own, is the section config.data of a dataset: its keys, and
        'name' where the part is not called like it. `sample_rate_hz` is that of all; None if they have one
        anyway.
        """
        if not hasattr(parts, 'items') or len(parts) < 2:
            raise UserError(
                f'config.data.parts={parts!r}: expected a section for each of two datasets or more, '
                "{'western': {'root': DIR}, 'raag': {'root': DIR}}"
            )
        self._given_rate_hz = sample_rate_hz
        self._parts = {name: _build(name, parts[name], sample_rate_hz) for name in sorted(parts)}
        self.description = '; '.join(f'{n}: {part.description}' for n, part in self._parts.items())

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the rate and the parts' fingerprints."""
        parts = [(name, part.fingerprint) for name, part in self._parts.items()]
        settings = (_VERSION, self.sample_rate_hz(), parts)
        return digests.of_text(repr(settings)).hex()

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the recordings part by part; a UserError where two labels differ only in spelling."""
        return list(self._listing[0]), list(self._listing[1])

    def sample_rate_hz(self) -> int:
        """Returns the rate of all parts; a UserError where they have different ones."""
        rates_hz = {name: part.sample_rate_hz() for name, part in self._parts.items()}
        rate_hz, *others = {*rates_hz.values(), self._given_rate_hz or max(rates_hz.values())}
        if others:
            found = ', '.join(f'{name} {rate_hz} Hz' for name, rate_hz in rates_hz.items())
            raise UserError(
                f'config.data.sample_rate_hz={self._given_rate_hz}: the parts would have different rates '
                f'({found}); set it, to a rate that every part takes, and in no part another one'
            )
        return rate_hz

    def load(self, recording: Recording) -> np.ndarray:
        """Has its part load one recording: int16 [n] mono at `sample_rate_hz()`."""
        name, own = self._own(recording)
        return self._parts[name].load(own)

    def _own(self, recording: Recording) -> tuple[str, Recording]:
        """Returns the part that a recording is of, and the recording as that part knows it."""
        name = _part(recording.track)
        own = {key: getattr(recording, key).removeprefix(f'{name}/') for key in _PREFIXED}
        return name, dataclasses.replace(recording, **own)

    @property
    def digests(self) -> Digests:
        """Digests of the files of all parts."""
        return next(iter(self._parts.values())).digests

    @digests.setter
    def digests(self, digests: Digests) -> None:
        for part in self._parts.values():
            part.digests = digests

    def content(self, recording: Recording) -> str:
        """Has its part say what decides what is loaded."""
        name, own = self._own(recording)
        return self._parts[name].content(own)

    def files(self) -> dict[str, str]:
        """Returns the SHA-256 of every file of every part by its path, which begins with the part."""
        return {
            f'{name}/{path}': digest
            for name, part in self._parts.items()
            for path, digest in part.files().items()
        }

    def group_key(self) -> str:
        """Returns what the groups of each part are."""
        keys = {name: part.group_key() for name, part in self._parts.items()}
        if len(set(keys.values())) == 1:
            return next(iter(keys.values()))
        return '; '.join(f'{name}: {key}' for name, key in keys.items())

    def notes(self) -> list[str]:
        """Returns the parts' notes, and what the parts have in common."""
        notes = [f'{name}: {note}' for name, part in self._parts.items() for note in part.notes()]
        parts_of = collections.defaultdict(set)
        for recording in self._listing[0]:
            parts_of[recording.label].add(_part(recording.track))
        if shared := {label: sorted(names) for label, names in parts_of.items() if len(names) > 1}:
            named = ', '.join(f'{label} ({", ".join(shared[label])})' for label in sorted(shared))
            notes.append(f'classes with recordings of several parts: {named}')
        notes += files.copy_notes(self._listing[0], self.files(), _part)
        lists = self._lists
        for protocol in sorted(set.union(*map(set, lists.values()))):
            if lacking := [name for name in lists if protocol not in lists[name]]:
                notes.append(f'the list {protocol} is not offered: there is none for {", ".join(lacking)}')
        return notes

    def protocols(self) -> dict[str, dict[str, str]]:
        """Returns the lists whose name every part brings, joined."""
        lists = self._lists
        return {
            protocol: {
                f'{name}/{track}': where
                for name, of_part in lists.items()
                for track, where in of_part[protocol].items()
            }
            for protocol in sorted(set.intersection(*map(set, lists.values())))
        }

    @property
    def _lists(self) -> dict[str, dict[str, dict[str, str]]]:
        return {name: part.protocols() for name, part in self._parts.items()}

    @functools.cached_property
    def _listing(self) -> tuple[list[Recording], list[Quarantined]]:
        usable, quarantined, artists = [], [], []
        for name, part in self._parts.items():
            listed, left_out = part.recordings()
            for recording in listed:
                by_artist = recording.group.startswith('artist:')
                group = recordings.folded(recording.group)
                artists.append(group if by_artist else f'{name}/{recording.track}')
                values = {key: getattr(recording, key) for key in _PREFIXED}
                named = {key: f'{name}/{value}' for key, value in values.items() if value}
                usable.append(dataclasses.replace(recording, **named))
            quarantined += [Quarantined(f'{name}/{item.path}', item.reason) for item in left_out]
        recordings.check_spelling('config.data.parts', [recording.label for recording in usable])
        # An artist in several parts is one group.
        groups = [recording.group for recording in usable]
        return grouping.regrouped(usable, groups, grouping.alike(artists)), quarantined


def _part(path: str) -> str:
    return path.partition('/')[0]


def _build(name: str, section: Mapping, sample_rate_hz: int | None) -> recordings.Source:
    """Builds one part at the wanted rate, if it takes one."""
    where = f'data.parts.{name}'
    if not re.fullmatch(r'\w[\w-]*', name):
        raise UserError(f'config.{where}: a part is named by letters, digits, _ and -')
    if not hasattr(section, 'items'):
        raise UserError(
            f'config.{where}={section!r}: expected a section, such as {{"name": "folder", "root": DIR}}'
        )
    settings = {'name': name} | dict(section.items())
    takes = inspect.signature(request.source_class(settings['name'], where).__init__).parameters
    if 'sample_rate_hz' in takes and settings.get('sample_rate_hz') is None:
        if sample_rate_hz is not None:
            settings['sample_rate_hz'] = sample_rate_hz
        else:
            settings.pop('sample_rate_hz', None)
    try:
        part = request.load_source(settings, where)
    except UserError as error:
        raise UserError(f'part {name!r}: {error}') from None
    if part.kind != 'audio':
        raise UserError(
            f'part {name!r}: {settings["name"]} holds data of kind {part.kind!r}; a mixture is of audio'
        )
    return part
