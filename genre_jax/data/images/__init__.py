"""Pictures of spectrograms in one folder per class (docs/datasets)."""

import collections
import dataclasses
import functools
import os

import numpy as np
from PIL import Image, UnidentifiedImageError

from genre_jax.data import files
from genre_jax.data.folder import listing
from genre_jax.data.gtzan import lists
from genre_jax.data.recordings import Recording
from genre_jax.errors import BadAudio, UserError

_PICTURES = listing.Kind(
    'pictures',
    ('.png', '.webp', '.jpg', '.jpeg', '.jfif', '.bmp', '.gif', '.tif', '.tiff'),
    ('.avif', '.eps', '.heic', '.heif', '.jp2', '.jxl', '.pdf', '.ppm', '.psd', '.svg', '.tga'),
    'PNG',
    'one folder of pictures per class',
)


class Source(files.FileSource):
    """Pictures, one folder per class; every picture is a song of one segment."""

    name = 'images'
    kind = 'image'

    levels = ('artist',)

    def __init__(self, *, root: str, index: str = ''):
        """Finds the folder of class folders, and Sturm's index of artists and titles for GTZAN's pictures."""
        folder = os.path.abspath(os.path.expanduser(root))
        if not (root and os.path.isdir(folder)):
            raise UserError(
                f'{root or "config.data.root"} is no folder; expected one with a folder of pictures per class'
            )
        super().__init__(folder, root=folder, sample_rate_hz=None)
        self._artists = lists.read_index(lists.find_index(index, []))
        self.description = f'pictures of {os.path.basename(folder)}, one folder per class'

    def list_files(self) -> files.Listing:
        """Lists the pictures below each first-level folder, whose name is their label."""
        found, recordings = listing.scan_folders(self._folder, _PICTURES), []
        for each in found.recordings:
            track = os.path.splitext(each.path)[0]
            artist, title = self._artists.get(lists.track_of(os.path.basename(track)), ('', ''))
            facts = {'track': track, 'artist': artist, 'title': title}
            recordings.append(dataclasses.replace(each, **facts))
        ((track, count),) = collections.Counter(each.track for each in recordings).most_common(1)
        if count > 1:
            raise UserError(
                f'{self._folder}: {count} pictures are called {track} but for their suffix; keep one'
            )
        return dataclasses.replace(found, recordings=recordings)

    def sample_rate_hz(self) -> int:
        """Returns 1: a picture has no rate."""
        return 1

    def load(self, recording: Recording) -> np.ndarray:
        """Decodes one picture: uint8 [1, height, width, 3]; transparency is dropped."""
        height, width = self._size
        picture = _read(os.path.join(self._folder, recording.path))
        if picture.shape != (height, width, 3):
            raise BadAudio(
                f'{picture.shape[1]} x {picture.shape[0]} pixels, where most have {width} x {height}'
            )
        return picture[None]

    def content(self, recording: Recording) -> str:
        """Returns the digest of the file, and the size that pictures must have."""
        return f'{super().content(recording)}/{self._size}'

    def __getstate__(self) -> dict:
        # Found once, not in every worker.
        return super().__getstate__() | {'_size': self._size}

    @functools.cached_property
    def _size(self) -> tuple[int, int]:
        """Height and width of most pictures."""
        sizes = self._read_headers(_size_or_none)
        if not any(sizes.values()):
            raise UserError(f'none of the {len(sizes)} files of {self._folder} is a picture')
        return files.most_common(filter(None, sizes.values()))


def _read(path: str) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            if picture.mode[0] in 'IF':  # Pillow would cut values above 255 off
                raise BadAudio('grey values of more than 8 bits are not read: save it with 8')
            return np.asarray(picture.convert('RGB'))
    except UnidentifiedImageError:
        raise BadAudio('not a picture, or a format that is not read') from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise BadAudio(f'damaged or unreadable: {reason}') from None


def _size_or_none(path: str) -> tuple[int, int] | None:
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
