"""Recordings of raags: one folder per raag, or a CSV that may give their tonics (see README.md)."""

from __future__ import annotations

import collections
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from data import folder
from genre_jax.errors import UserError

# Share of the playing time of a raag for each part: Kirby and Bhateja, section 3.2.
_PAPER_SHARES = {'train': 0.8, 'val': 0.1, 'test': 0.1}


class Source(folder.Source):
    """A folder, as data/folder reads it; its classes are raags.

    Attributes:
        name: 'raag'.
        description: what the recordings are.
        root: the folder, or the CSV.
    """

    name = 'raag'

    def __init__(
        self,
        *,
        root: str,
        sample_rate_hz: int | None = None,
        group: str = 'auto',
        paper_seed: int = 0,
    ):
        """Finds the layout of the folder.

        Args:
            root: folder with one folder per raag, folder with a CSV, or that CSV.
            sample_rate_hz: rate to prepare at, None for the most common one of the files.
            group: what may never cross a split, as in data/folder.
            paper_seed: of the draw behind the list `paper`.

        Raises:
            UserError: a setting is wrong, or there is nothing at `root`.
        """
        if isinstance(paper_seed, bool) or not isinstance(paper_seed, int) or paper_seed < 0:
            raise UserError(f'paper_seed is {paper_seed!r}; expected a whole number from 0 up')
        self._paper_seed = paper_seed
        super().__init__(root=root, sample_rate_hz=sample_rate_hz, group=group)
        self.description = f'recordings of raags: {self.description}'

    def notes(self) -> list[str]:
        """Returns one-line remarks that the user should see before training."""
        notes = super().notes()
        recordings = self._listing.recordings
        without = [recording.track for recording in recordings if not recording.tonic_hz]
        if without:
            notes.append(
                f'the tonic of {len(without)} of {len(recordings)} recordings is unknown '
                f'({without[0]}{", ..." if len(without) > 1 else ""}); the CSV column tonic_hz gives it'
            )
        few = [label for label, songs in self._lengths_s.items() if len(songs) < len(_PAPER_SHARES)]
        if few:
            notes.append(
                f'the list paper has no song for some part of {", ".join(sorted(few))}: '
                'fewer than three usable recordings'
            )
        return notes

    def protocols(self) -> dict[str, dict[str, str]]:
        """Returns the list `paper`: about 80, 10 and 10 % of the playing time of each raag.

        Files are never divided; those that are no usable audio are left out.
        """
        parts = {
            (label, path): part
            for label, lengths_s in self._lengths_s.items()
            for path, part in assign_by_duration(lengths_s, f'{self._paper_seed}/{label}').items()
        }
        return {
            'paper': {
                recording.track: parts[recording.label, recording.path]
                for recording in self._listing.recordings
                if (recording.label, recording.path) in parts
            }
        }

    @functools.cached_property
    def _lengths_s(self) -> dict[str, dict[str, float]]:
        """Seconds in use of every usable file, by label and path."""
        lengths_s = collections.defaultdict(lambda: collections.defaultdict(float))
        for recording in self._listing.recordings:
            if duration_s := self.duration_s(recording):
                lengths_s[recording.label][recording.path] += duration_s
        return {label: dict(paths) for label, paths in lengths_s.items()}

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop('_lengths_s', None)
        return state


def assign_by_duration(lengths_s: Mapping[str, float], seed: str) -> dict[str, str]:
    """Assigns whole files to parts so that their playing time comes close to 80, 10 and 10 %.

    The longest go first, each to a part drawn from those that have room for it, by how much they lack,
    so that long recordings do not all train. What fits nowhere goes where most is lacking. With three
    files or more, every part gets one.

    Args:
        lengths_s: seconds by path.
        seed: of the draw, and of the order of files of one length.

    Returns:
        'train', 'val' or 'test' by path: a function of the arguments alone.
    """
    total_s = sum(lengths_s.values())
    lacking_s = {part: share * total_s for part, share in _PAPER_SHARES.items()}
    rng = np.random.default_rng(int(_digest(seed), 16))
    order = sorted(lengths_s, key=lambda path: (-lengths_s[path], _digest(f'{seed}/{path}')))
    parts: dict[str, str] = {}
    for path in order:
        empty = [part for part in _PAPER_SHARES if part not in parts.values()]
        # The last files go to the parts that have none.
        candidates = empty if len(order) - len(parts) <= len(empty) else list(_PAPER_SHARES)
        room = [part for part in candidates if lacking_s[part] >= lengths_s[path]]
        if room:
            weights = np.array([lacking_s[part] for part in room])
            part = rng.choice(room, p=weights / weights.sum()).item()
        else:
            part = max(candidates, key=lacking_s.get)
        lacking_s[part] -= lengths_s[path]
        parts[path] = part
    return parts


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
