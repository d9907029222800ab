"""A folder of one's own: one folder per class, or a CSV with columns path,label (docs/datasets)."""

import abc
import collections
import dataclasses
import os
from collections.abc import Collection

from genre_jax.data import files
from genre_jax.data.folder import listing
from genre_jax.errors import UserError

_LEVELS = {
    'auto': ('group', 'artist', 'album'), 'artist': ('artist',), 'album': ('album',), 'recording': (),
}  # fmt: skip


class Source(files.FileSource):
    """Labelled audio files below one folder; `root` is that folder, or the CSV."""

    name = 'folder'

    def __init__(self, *, root: str, sample_rate_hz: int | None = None, group: str = 'auto'):
        """Finds the layout of the folder; a UserError where a setting is wrong or nothing at `root`.

        `root` has one folder per class, or a CSV, or is that; `sample_rate_hz` is to prepare at, None for the
        most common one of the files; `group` may never cross a split: 'artist', 'album' (the file where that
        is blank), 'recording' (the file), or 'auto': group column, else artist, else album, else file.
        """
        if group not in _LEVELS:
            raise UserError(f'group is {group!r}; expected one of {", ".join(_LEVELS)}')
        folder, self._csv = listing.find(root)
        self._found_csv = self._csv is not None and os.path.isdir(os.path.expanduser(root))
        self._group = group
        self.levels = _LEVELS[group]
        super().__init__(folder, root=self._csv or folder, sample_rate_hz=sample_rate_hz)
        layout = 'labelled by that CSV' if self._csv else 'one folder per class'
        self.description = f'audio files of {os.path.basename(self.root)}, {layout}'

    def list_files(self) -> files.Listing:
        """Lists what the CSV or the folders name."""
        if self._csv:
            listed = listing.read_csv(self._folder, self._csv)
            if self._found_csv:
                notes = listing.unlisted(self._folder, self._csv, listed)
                listed = dataclasses.replace(listed, notes=(*listed.notes, *notes))
        else:
            listed = listing.scan_folders(self._folder)
        if self._group in ('artist', 'album') and self._group not in listed.columns:
            where = self._csv or f'{self._folder} (no CSV)'
            raise UserError(
                f'group is {self._group!r}, but {where} has no column '
                f"{self._group!r}; add one, or choose group='auto'"
            )
        return listed

    def group_key(self) -> str:
        """Returns what the groups are: 'artist', 'recording', 'artist, else recording', ..."""
        return super().group_key().replace('group', 'group column')


class SourceWithPaperList(Source):
    """A folder for an experiment of a paper that publishes no split: its list `paper` is drawn here."""

    subject = ''  # what the recordings are, the first words of their description

    def __init__(
        self, *, root: str, sample_rate_hz: int | None = None, group: str = 'auto', paper_seed: int = 0
    ):
        """Finds the layout as `Source` does; `paper_seed` is of the draw behind the list `paper`."""
        if not (isinstance(paper_seed, int) and paper_seed >= 0):
            raise UserError(f'paper_seed is {paper_seed!r}; expected a whole number from 0 up')
        self._paper_seed = paper_seed
        super().__init__(root=root, sample_rate_hz=sample_rate_hz, group=group)
        self.description = f'{self.subject}: {self.description}'

    @abc.abstractmethod
    def draw(self, label: str, paths: Collection[str]) -> dict[str, str]:
        """Returns 'train', 'val' or 'test' by path, for the usable files of a class."""

    def protocols(self) -> dict[str, dict[str, str]]:
        """Returns the list `paper`, which `draw` makes class by class."""
        recordings = self._listing.recordings
        songs = collections.defaultdict(set)
        for recording in recordings:
            songs[recording.label].add(recording.path)
        parts = {label: self.draw(label, paths) for label, paths in songs.items()}
        found = {r.track: parts[r.label].get(r.path) for r in recordings}
        return {'paper': {track: part for track, part in found.items() if part}}
