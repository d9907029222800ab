"""Which recordings are meant by the paths that a user names."""

import os
from collections.abc import Sequence

from genre_jax.data import csv_file
from genre_jax.data.audio_file import AUDIO_SUFFIXES, FFMPEG_SUFFIXES
from genre_jax.data.files import suffix, walk
from genre_jax.errors import UserError

_PITCH = '.pitch'
_TABLES = ('.csv', '.tsv', '.csv.gz')
_NAMED = 5  # of the files that are passed over


def find(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the files that are meant, each once, in the order of their paths, and remarks, a line each.

    A path is a file, whatever its suffix; a folder, of which all files are meant that have a suffix of
    audio, or where there are none of pitch tracks; or a CSV with a column `path`, from its own folder.
    UserError: there is nothing at a path, or nothing to label.
    """
    found, notes = [], []
    for path in map(os.path.expanduser, paths):
        if os.path.isdir(path):
            inside = walk(path)
            audio = [each for each in inside if suffix(each) in AUDIO_SUFFIXES | FFMPEG_SUFFIXES]
            audio = audio or [each for each in inside if suffix(each) == _PITCH]
            others = sorted(set(inside) - set(audio))
            if others:
                some = ', '.join(others[:_NAMED]) + (', ...' if len(others) > _NAMED else '')
                notes.append(f'{path}: {len(others)} files without a suffix of audio are passed over: {some}')
            found += [os.path.join(path, each) for each in audio]
        elif path.lower().endswith(_TABLES):
            names, rows = csv_file.read(path, ('path',))
            if {'start_s', 'end_s'} & set(names):
                notes.append(f'{path}: start_s and end_s are not used: recordings are labelled whole')
            found += [os.path.join(os.path.dirname(path), os.path.expanduser(row['path'])) for _, row in rows]
        elif os.path.lexists(path):
            found.append(path)
        else:
            raise UserError(f'{path}: there is no such file or folder')
    if not found:
        raise UserError(f'{", ".join(paths)}: no audio files; look at the suffixes, or name files one by one')
    return sorted(dict.fromkeys(map(os.path.normpath, found))), notes
