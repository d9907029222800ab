"""FMA small and medium: 8,000 and 25,000 clips of 30 s from the Free Music Archive (docs/datasets/fma.md)."""

import collections
import dataclasses
import functools
import os
import re

from genre_jax.data import archive, digests, files
from genre_jax.data.audio_file import AUDIO_SUFFIXES, FFMPEG_SUFFIXES
from genre_jax.data.fma import metadata as metadata_lib
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.errors import UserError

# github.com/mdeff/fma, README, release of 2017-05-09
_PUBLISHED = {
    'fma_metadata.zip': 'sha1:f0df49ffe5f2a6008d7dc83c6915b31835dfe733',
    'fma_small.zip': 'sha1:ade154f733639d52e35e32f5593efe5be76c6d70',
    'fma_medium.zip': 'sha1:c67b69ea232021025fca9231fc1c7c1a063ab50b',
    'fma_large.zip': 'sha1:497109f4dd721066b5ce5e5f250ec604dc78939e',
}
# The clips of a subset are among those of the larger ones. fma_full holds whole songs instead.
_FOLDERS = {'small': ('fma_small', 'fma_medium', 'fma_large'), 'medium': ('fma_medium', 'fma_large')}
_SHELF = re.compile(r'\d{3}', re.ASCII)  # a folder of clips, by the start of their numbers
_TEST_SHARE, _VAL_SHARE = 0.2, 0.1  # Bu et al., section III C


class Source(files.FileSource):
    """The clips of a subset that are there, labelled by their top genre."""

    name = 'fma'

    def __init__(self, *, root: str, subset: str = 'small', sample_rate_hz: int = 22050, metadata: str = ''):
        """Unpacks the archives, if any, and finds tracks.csv; a UserError where it or clips are not there.

        `root` holds fma_small or fma_small.zip, or is that; `subset` is 'small' or 'medium'; the rate is to
        prepare at: most files have 44.1 kHz, and Bu et al. load them at 22.05; `metadata` is tracks.csv, or
        the folder or archive that it lies in, '' for fma_metadata or fma_metadata.zip in or beside root.
        """
        if subset not in _FOLDERS:
            raise UserError(f'subset is {subset!r}; expected one of {", ".join(_FOLDERS)}')
        wanted = f'a folder with {_FOLDERS[subset][0]} and fma_metadata, or their archives'
        named = os.path.abspath(os.path.expanduser(root)) if root else ''
        folder, self._archive_notes = archive.find_folder(root, wanted, _PUBLISHED)
        clips = self._find_clips(folder, subset, wanted)
        self._csv = self._find_csv(metadata, [folder, os.path.dirname(named)])
        self._subset = subset
        self.description = f'FMA {subset}: clips of 30 s with one top genre each (Defferrard et al. 2017)'
        super().__init__(clips, root=named, sample_rate_hz=sample_rate_hz, settings=subset)

    def list_files(self) -> files.Listing:
        """Lists the clips by number; a track's name is its number, '000002'."""
        tracks, known = self._metadata
        paths, quarantined, elsewhere = self._find_tracks()
        recordings = []
        for number, path in sorted(paths.items()):
            track = tracks.get(number)
            if number not in known:
                quarantined.append(Quarantined(path, f'no such track in {self._csv}'))
            elif track and not track.label:
                quarantined.append(Quarantined(path, 'tracks.csv gives no top genre'))
            elif track:
                recordings.append(dataclasses.replace(track, path=path))
        labels = sorted({recording.label for recording in recordings})
        if len(labels) < 2:
            held = f'only clips of {labels[0]!r}' if labels else 'no labelled clip'
            first = f' ({quarantined[0].path}: {quarantined[0].reason})' if quarantined else ''
            raise UserError(
                f'{self._folder} holds {held} of the subset {self._subset!r}; expected files such as '
                f'000/000002.mp3 with their genres in {self._csv}{first}'
            )
        notes = list(self._archive_notes)
        if missing := sorted(tracks.keys() - paths.keys()):
            notes.append(
                f'{len(missing)} of the {len(tracks)} clips of the subset {self._subset!r} are missing '
                f'({", ".join(missing[:3])}{", ..." if len(missing) > 3 else ""})'
            )
        notes += files.passed_over('are in no folder 000 to 155', elsewhere)
        return files.Listing(recordings, quarantined, notes=tuple(notes))

    def group_key(self) -> str:
        """Returns what the groups are: 'artist (by number)', as artists of one name may be several."""
        return super().group_key().replace('group', 'artist (by number)')

    def protocols(self) -> dict[str, dict[str, str]]:
        """Returns 'paper': 70, 10 and 20 % of the tracks of each genre, at random as Bu et al. did.

        They publish no list. Parts depend on tracks.csv alone, not on which clips are there; artists cross.
        """
        by_genre = collections.defaultdict(list)
        for number, track in self._metadata[0].items():
            by_genre[track.label].append(number)
        parts = {}
        for numbers in by_genre.values():
            numbers.sort(key=digests.of_text)
            tests = round(_TEST_SHARE * len(numbers))
            vals = round(_VAL_SHARE * len(numbers))
            names = ['test'] * tests + ['val'] * vals + ['train'] * len(numbers)
            parts |= dict(zip(numbers, names, strict=False))
        here = [recording.track for recording in self._listing.recordings]
        return {'paper': {track: parts[track] for track in here}}

    @functools.cached_property
    def _metadata(self) -> tuple[dict[str, Recording], frozenset[str]]:
        return metadata_lib.read(self._csv, self._subset)

    def _unpacked(self, path: str) -> str:
        folder, notes = archive.find_folder(path, '', _PUBLISHED)
        self._archive_notes += notes
        return folder

    def _find_clips(self, folder: str, subset: str, wanted: str) -> str:
        """Returns the folder that holds 000, 001, ..."""
        places = [folder, *(os.path.join(folder, name) for name in _FOLDERS[subset])]
        for place in places:
            if os.path.isdir(place) and any(map(_SHELF.fullmatch, os.listdir(place))):
                return place
        for place in places[1:]:
            if os.path.isfile(f'{place}.zip'):
                return self._find_clips(self._unpacked(f'{place}.zip'), subset, wanted)
        raise UserError(
            f'{folder} holds no clips such as {_FOLDERS[subset][0]}/000/000002.mp3; expected {wanted}'
        )

    def _find_csv(self, given: str, folders: list[str]) -> str:
        """Returns the path of tracks.csv."""
        if given:
            path = os.path.abspath(os.path.expanduser(given))
            if os.path.isfile(path) and not archive.is_archive(path):
                return path
            folders = [self._unpacked(path) if os.path.isfile(path) else path]
        names = ('fma_metadata/tracks.csv', 'tracks.csv')
        for folder in folders:
            for name in names:
                if os.path.isfile(os.path.join(folder, name)):
                    return os.path.join(folder, name)
            if os.path.isfile(os.path.join(folder, 'fma_metadata.zip')):
                return self._find_csv(os.path.join(folder, 'fma_metadata.zip'), [])
        raise UserError(
            f'no fma_metadata/tracks.csv and no fma_metadata.zip in {" or ".join(folders)}; put one '
            'there, or name it as metadata'
        )

    def _find_tracks(self) -> tuple[dict[str, str], list[Quarantined], list[str]]:
        """Returns path by six-digit number, audio files whose names are none, and those in other folders."""
        paths: dict[str, str] = {}
        quarantined, elsewhere = [], []
        for path in files.walk(self._folder, AUDIO_SUFFIXES | FFMPEG_SUFFIXES, 1):
            shelf, _, name = path.rpartition('/')
            number = os.path.splitext(name)[0]
            if not _SHELF.fullmatch(shelf):
                elsewhere.append(path)
                continue
            if not re.fullmatch(rf'{shelf}\d\d\d', number, re.ASCII):
                reason = f'not named as a track of {shelf}, such as {shelf}002.mp3'
                quarantined.append(Quarantined(files.readable(path), reason))
            elif number in paths:
                raise UserError(
                    f'{self._folder} holds track {number} twice, as {paths[number]} and {path}: keep one'
                )
            else:
                paths[number] = path
        return paths, quarantined, elsewhere
