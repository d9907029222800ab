"""Which recordings a model was made with, by content and sound, so that nobody tests it on them unawares."""

import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np

from genre_jax.data import duplicates, fingerprint, grouping
from genre_jax.errors import UserError
from genre_jax.loading import prepared, run_data

_FILE = 'heard.npz'
# Of more recordings content alone is kept: half a minute of sound is 4 kB here.
_BY_SOUND = 5000


def save(data: run_data.Data, folder: pathlib.Path) -> None:
    """Writes beside a model what tells copies of the recordings of its training and validation part."""
    tracks = np.concatenate([data.split.tracks[part] for part in ('train', 'val')])
    prints = data.dataset.prints(tracks.tolist())
    if len(tracks) > _BY_SOUND:
        prints = prints._replace(prints=[fingerprint.NOTHING] * len(tracks))
    prints.save(folder / _FILE)


def copies(folder: pathlib.Path, dataset: prepared.Dataset, tracks: Sequence[int]) -> dict[int, str] | None:
    """Returns which tracks of a dataset a model knows, with the name that it knew them by.

    None where the folder of the model does not say. A damaged file is a UserError.
    """
    if not (folder / _FILE).exists():
        return None
    try:
        heard = duplicates.Prints.load(folder / _FILE)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f'{folder / _FILE} is damaged ({type(error).__name__}): restore it') from None
    here = dataset.prints(tracks)
    # Both may call something else by one name.
    names = [('heard', track) for track in heard.tracks] + [('here', track) for track in here.tracks]
    both = duplicates.Prints(names, heard.digests + here.digests, heard.prints + here.prints)
    number = {name: i for i, name in enumerate(names)}
    pairs = [(number[pair.first], number[pair.second]) for pair in duplicates.find(both)]
    # Those that hang together begin with one that was heard, if there is any.
    leaders = grouping.leaders(len(names), pairs)[len(heard.tracks) :]
    return {
        track: heard.tracks[leader]
        for track, leader in zip(tracks, leaders, strict=True)
        if leader < len(heard.tracks)
    }
