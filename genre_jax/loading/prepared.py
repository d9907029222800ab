"""A prepared dataset: what it holds, and random access to any stretch of any track."""

import dataclasses
import math
import pathlib
import unicodedata
from collections.abc import Sequence

import jax
import numpy as np

from genre_jax import config as config_lib
from genre_jax.data import duplicates, prepare, store
from genre_jax.data.recordings import OVER_TIME, STORED_AS, Kind
from genre_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Stored:
    """What one example is on its way to the device.

    Its kind is also its key in a batch; its shape is (samples,), (height, width, 3) or (columns,).
    """

    kind: Kind
    shape: tuple[int, ...]
    sample_rate_hz: float
    labels: tuple[str, ...]

    @property
    def over_time(self) -> bool:
        """Says whether it is a window, in samples or frames."""
        return self.kind in OVER_TIME

    def batch(self, size: int) -> jax.ShapeDtypeStruct:
        """Returns shape and type of so many of them."""
        return jax.ShapeDtypeStruct((size, *self.shape), STORED_AS[self.kind])

    def heard(self, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns shapes and types of what features are computed of: so many of them, and their tonics."""
        return {self.kind: self.batch(size), 'tonic_hz': jax.ShapeDtypeStruct((size,), np.float32)}


# Held, a record is read ten times as fast. GTZAN is 1.3 GB; what is larger is read from files in part.
_HELD_BYTES = 2 * 2**30


class Dataset:
    """A prepared dataset: its manifest, and random access to any stretch of any track.

    The manifest is what `data.prepare` wrote; its tracks are dicts with 'track', 'label', 'group',
    'n_samples', ... A label id is a position in `labels`.
    """

    def __init__(self, folder: pathlib.Path, classes: Sequence[str] = ()) -> None:
        """Opens the folder that `data.prepare.prepare` returned, with the classes named; none named: all."""
        self.manifest = prepare.read_manifest(folder)
        self.labels: list[str] = self.manifest['labels']
        composed = {unicodedata.normalize('NFC', label): label for label in self.labels}
        names = map(str, classes)  # on the command line 1,2 are numbers
        classes = [composed.get(unicodedata.normalize('NFC', name), name) for name in names]
        for name in classes:
            if name not in self.labels:
                hint = config_lib.nearest(name, self.labels)
                raise UserError(f'config.data.classes: there is no class {name!r}{hint}')
        kept = set(classes or self.labels)
        self.labels = sorted(kept)
        self.tracks: list[dict] = [track for track in self.manifest['tracks'] if track['label'] in kept]
        self.sample_rate_hz: float = self.manifest['sample_rate_hz']
        self.kind: Kind = self.manifest['kind']
        self._chunk: int = self.manifest['chunk']
        self.folder = folder
        self._records = store.Records(folder, self.manifest)
        self._held: dict[int, np.ndarray] = {}
        self._held_bytes = 0

    def __getstate__(self) -> dict:
        # Every worker process has a copy: each would come to hold all records.
        return self.__dict__ | {'_held': {}, '_held_bytes': _HELD_BYTES}

    def label_ids(self) -> np.ndarray:
        """Returns the label of every track, int32."""
        index = {label: i for i, label in enumerate(self.labels)}
        return np.asarray([index[track['label']] for track in self.tracks], np.int32)

    def column(self, key: str) -> np.ndarray:
        """Returns what the manifest says of every track under a key."""
        return np.asarray([track[key] for track in self.tracks])

    def prints(self, tracks: Sequence[int]) -> duplicates.Prints:
        """Returns what tells copies of some tracks."""
        return store.prints_of(self.folder, self.manifest, [self.tracks[i] for i in tracks])

    def stored(self, window_s: float) -> Stored:
        """Returns what one example is: a window of so many seconds, a picture, or a row.

        A window of 0 s is as long as the longest track.
        """
        if self.kind not in OVER_TIME:
            shape = self.record(0).shape
        elif window_s:
            shape = (math.ceil(window_s * self.sample_rate_hz),)
        else:
            shape = (max(track['n_samples'] for track in self.tracks),)
        return Stored(self.kind, shape, self.sample_rate_hz, tuple(self.labels))

    def read(self, track: int, start: int, length: int) -> np.ndarray:
        """Reads a stretch of a track, [length], zeros beyond its end; or the picture or the row."""
        row = self.tracks[track]
        if self.kind not in OVER_TIME:
            return self._hold(row['first_record'] + start)
        stop = min(start + length, row['n_samples'])
        window = np.zeros(length, STORED_AS[self.kind])
        for chunk in range(start // self._chunk, -(-stop // self._chunk)):
            record = self._hold(row['first_record'] + chunk)
            begin = chunk * self._chunk
            lo, hi = max(start, begin), min(stop, begin + len(record))
            window[lo - start : hi - start] = record[lo - begin : hi - begin]
        return window

    def _hold(self, record: int) -> np.ndarray:
        """Returns what one record holds, from memory the second time."""
        array = self._held.get(record)
        if array is None:
            array = self.record(record)
            if self._held_bytes + array.nbytes <= _HELD_BYTES:
                self._held[record] = array
                self._held_bytes += array.nbytes
        return array

    def record(self, record: int) -> np.ndarray:
        """Reads one record, up to a chunk of samples, a picture or a row; UserError: it is damaged."""
        return self._records[record]
