"""GTZAN: 1000 excerpts of 30 s in ten genres, in any layout it is passed on in (docs/datasets/gtzan.md)."""

import os

from genre_jax.data import archive, digests, files
from genre_jax.data.audio_file import AUDIO_SUFFIXES, FFMPEG_SUFFIXES
from genre_jax.data.gtzan import lists
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.errors import UserError

# Of the archive at opihi.cs.uvic.ca/sound, as torchaudio and mirdata check it.
_PUBLISHED = {'genres.tar.gz': 'md5:5b3d6dddb579ab49814ab86dba69e7c7'}
_WANTED = 'a folder that holds blues/blues.00000.wav and so on, or genres.tar.gz'
_PAPER_TEST_SHARE = 0.25
_DEPTH = 3  # of the genre folders below root: Kaggle's are Data/genres_original/blues


class Source(files.FileSource):
    """The tracks that are there, with artists and split lists where their files are there too."""

    name = 'gtzan'
    levels = ('artist',)
    description = 'GTZAN: excerpts of 30 s in ten genres (Tzanetakis and Cook 2002)'

    def __init__(self, *, root: str, sample_rate_hz: int = 22050, index: str = '', splits: str = ''):
        """Unpacks the archive, if it is one, and finds the lists; a UserError where they are not there.

        `root` is a folder or archive with the genre folders at most three levels down; `sample_rate_hz` is to
        prepare at; `index` is Sturm's file of artists and titles, `splits` the folder with the split lists,
        '' for those in or beside root, if any.
        """
        folder, self._archive_notes = archive.find_folder(root, _WANTED, _PUBLISHED)
        named = os.path.abspath(os.path.expanduser(root))
        nearby = [folder, os.path.dirname(named)]
        self._index = lists.find_index(index, nearby)
        self._lists = lists.find_splits(splits, nearby)
        super().__init__(folder, root=named, sample_rate_hz=sample_rate_hz)

    def list_files(self) -> files.Listing:
        """Lists the tracks, by genre and number; a track's name is its number's, 'blues.00000'."""
        paths, quarantined, elsewhere = self._find_tracks()
        artists = lists.read_index(self._index)
        recordings = []
        for track, path in sorted(paths.items()):
            artist, title = artists.get(track, ('', ''))
            recordings.append(Recording(track, track.split('.')[0], '', path, artist=artist, title=title))
        notes = [*self._archive_notes, self._index_note(recordings)]
        notes += files.passed_over('are neither in a folder of a genre nor called like a track', elsewhere)
        if missing := sorted(lists.TRACKS - paths.keys()):
            notes.append(
                f'{len(missing)} of the 1000 tracks of GTZAN are missing ({", ".join(missing[:3])}'
                f'{", ..." if len(missing) > 3 else ""})'
            )
        for name, parts in self._read_splits().items():
            if absent := len(parts.keys() - paths.keys()):
                notes.append(f'{absent} of the {len(parts)} tracks of the list {name} are missing')
        return files.Listing(recordings, quarantined, notes=tuple(notes))

    def protocols(self) -> dict[str, dict[str, str]]:
        """Returns 'paper', and if found 'fault_filtered' (443/197/290) and 'stratified' (500/250/250).

        Sources: Herbert, who draws 25 % of the tracks for testing and publishes no list, so here they are
        those whose names have the lowest SHA-256 in their genre; Kereliuk, Sturm and Larsen, Deep Learning
        and Music Adversaries, 2015 (their lists).
        """
        by_hash = sorted(lists.TRACKS, key=digests.of_text)
        drawn = {'paper': {}}
        for genre in lists.GENRES:
            tracks = [track for track in by_hash if track.startswith(f'{genre}.')]
            tests = round(_PAPER_TEST_SHARE * len(tracks))
            drawn['paper'] |= {t: 'test' if i < tests else 'train' for i, t in enumerate(tracks)}
        here = {recording.track for recording in self._listing.recordings}
        return {
            name: {track: part for track, part in parts.items() if track in here}
            for name, parts in (drawn | self._read_splits()).items()
        }

    def _read_splits(self) -> dict[str, dict[str, str]]:
        return {name: lists.read_split(paths) for name, paths in self._lists.items()}

    def _index_note(self, recordings: list[Recording]) -> str:
        if not self._index:
            return (
                'no index of artists: every track is a group of its own, so tracks of one artist will '
                "stand on both sides of a split by group; put Sturm's index beside root, or name it "
                'as index'
            )
        unknown = sum(not recording.artist for recording in recordings)
        return (
            f'artists and titles are from {os.path.basename(self._index)}; it leaves the artist of '
            f'{unknown} of the {len(recordings)} tracks open'
        )

    def _find_tracks(self) -> tuple[dict[str, str], list[Quarantined], list[str]]:
        """Returns path by track, and audio files that are none of them, in genre folders and elsewhere."""
        paths: dict[str, str] = {}
        quarantined, elsewhere = [], []
        for path in files.walk(self._folder, AUDIO_SUFFIXES | FFMPEG_SUFFIXES, _DEPTH):
            stem, suffix = os.path.splitext(os.path.basename(path))
            genre = os.path.basename(os.path.dirname(path))
            track = lists.track_of(stem)
            if track is None or (genre in lists.GENRES and not track.startswith(f'{genre}.')):
                if genre in lists.GENRES:
                    reason = f'not named as a track of {genre}, such as {genre}.00000{suffix}'
                    quarantined.append(Quarantined(files.readable(path), reason))
                else:
                    elsewhere.append(path)
                continue
            if track in paths:
                raise UserError(
                    f'{self.root} holds {track} twice, as {paths[track]} and {path}: keep one, or '
                    'name the folder of one set as root'
                )
            paths[track] = path
        labels = sorted({track.split('.')[0] for track in paths})
        if len(labels) < 2:
            held = f'tracks of {labels[0]} only' if labels else 'no track of GTZAN'
            archives = [name for name in os.listdir(self._folder) if archive.is_archive(name)]
            hint = f'; is {sorted(archives)[0]} meant?' if archives and not labels else ''
            raise UserError(f'{self.root} holds {held}; expected {_WANTED}{hint}')
        return paths, quarantined, elsewhere
