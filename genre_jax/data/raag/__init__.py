"""Recordings of raags: one folder per raag, or a CSV that may give their tonics (docs/datasets)."""

import collections
import functools
from collections.abc import Collection, Mapping

import numpy as np

from genre_jax.data import digests, folder

# Share of the playing time of a raag for each part: Kirby and Bhateja, section 3.2.
_PAPER_SHARES = {'train': 0.8, 'val': 0.1, 'test': 0.1}
_DRAWS = 200


class Source(folder.SourceWithPaperList):
    """A folder, as data/folder reads it; its classes are raags."""

    name = 'raag'
    subject = 'recordings of raags'

    def notes(self) -> list[str]:
        """Returns one-line remarks that the user should see before training."""
        notes = super().notes()
        recordings = self._listing.recordings
        if without := [recording.track for recording in recordings if not recording.tonic_hz]:
            notes.append(
                f'the tonic of {len(without)} of {len(recordings)} recordings is unknown '
                f'({without[0]}{", ..." if len(without) > 1 else ""}); the CSV column tonic_hz gives it'
            )
        if few := [label for label, songs in self._lengths_s.items() if len(songs) < len(_PAPER_SHARES)]:
            notes.append(
                f'the list paper has no song for some part of {", ".join(sorted(few))}: '
                'fewer than three usable recordings'
            )
        return notes

    def draw(self, label: str, paths: Collection[str]) -> dict[str, str]:
        """Assigns about 80, 10 and 10 % of a raag's playing time, by whole files that are usable audio."""
        return assign_by_duration(self._lengths_s.get(label, {}), f'{self._paper_seed}/{label}')

    @functools.cached_property
    def _lengths_s(self) -> dict[str, dict[str, float]]:
        """Seconds in use of every usable file, by label and path."""
        lengths_s = collections.defaultdict(lambda: collections.defaultdict(float))
        for recording in self._listing.recordings:
            if duration_s := self.duration_s(recording):
                lengths_s[recording.label][recording.path] += duration_s
        return {label: dict(paths) for label, paths in lengths_s.items()}


def assign_by_duration(lengths_s: Mapping[str, float], seed: str) -> dict[str, str]:
    """Assigns whole files to parts at random, with a playing time close to 80, 10 and 10 %.

    The files are put in a random order, which is cut in three where the shares come closest, every part with
    one file at least; of `_DRAWS` orders the one that comes closest counts. One or two files, with which that
    cannot be, train and validate. The parts by path follow from the seconds by path and the seed alone.
    """
    paths, parts = sorted(lengths_s), list(_PAPER_SHARES)
    n_files = len(paths)
    if n_files < len(parts):
        return dict(zip(sorted(paths, key=lengths_s.get, reverse=True), parts, strict=False))
    train, val, _ = _PAPER_SHARES.values()
    seconds = np.array([lengths_s[path] for path in paths])
    rng = np.random.default_rng(int.from_bytes(digests.of_text(seed)))
    least = np.inf
    for _ in range(_DRAWS):
        order = rng.permutation(n_files)
        share = np.cumsum(seconds[order]) / seconds.sum()  # of the first file, the first two, ...
        first = 1 + np.abs(share[: n_files - 2] - train).argmin()
        second = first + 1 + np.abs(share[first : n_files - 1] - (train + val)).argmin()
        over, over_both = share[first - 1] - train, share[second - 1] - (train + val)
        error = abs(over) + abs(over_both - over) + abs(over_both)
        if error < least:
            least, best = error, np.split(order, [first, second])
    return {paths[i]: part for part, files in zip(parts, best, strict=True) for i in files}
