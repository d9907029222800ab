"""What was decoded, by content: a recording is stored once, whatever it is called and however it is labelled.

`<prepared_dir>/<dataset>/records/<batch>/` is what one preparation had to decode: TFDS's files with the
samples, `contents.arrow` (which records hold which content) and `fingerprints.npz` (what tells copies of
it). Batches are added, never changed; a prepared dataset is a table of tracks that points into them.
"""

import bisect
import io
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from genre_jax.data import decode, digests, duplicates, fingerprint, request, storage, tables
from genre_jax.data.pipeline import Pipeline
from genre_jax.data.recordings import Recording, Source
from genre_jax.data.storage import Path
from genre_jax.errors import UserError


class Stored(NamedTuple):
    """Where a content lies: a batch, the first record there, and the number of samples, rows or pictures."""

    batch: str
    first_record: int
    n_samples: int


def content_key(source: Source, recording: Recording, chunk_s: float) -> str:
    """Returns the name of a recording's content: the same for all that would be stored alike."""
    rate_hz = source.sample_rate_hz() if source.kind != 'table' else 1
    of = f'{request.FORMAT}/{source.kind}/{rate_hz}/{chunk_s}/{source.content(recording)}'
    return digests.of_text(of).hex()[:32]


def read(home: Path) -> dict[str, Stored]:
    """Returns all contents that are stored in the folder of a dataset."""
    found: dict[str, Stored] = {}
    folder = home / 'records'
    for batch in sorted(folder.iterdir(), key=lambda path: path.name) if folder.exists() else ():
        file = batch / 'contents.arrow'
        if batch.name.endswith('.partial') or not file.exists():
            continue
        try:
            found |= {
                row['content']: Stored(batch.name, row['first_record'], row['n_samples'])
                for row in tables.read(file)
            }
        except (KeyError, OSError, ValueError):
            raise UserError(f'{file} is damaged: delete {batch}, it is decoded again') from None
    return found


def add(
    home: Path, source: Source, contents: Mapping[str, Recording], chunk: int, pipeline: Pipeline | None
) -> dict[str, str]:
    """Decodes contents and stores them as a batch of their own; returns why some are unusable, by content.

    Cut off half way, the same call goes on. A record holds `chunk` samples of audio, or one picture or row.
    """
    # Imported here because only preparing and reading need it, and it takes a second.
    from genre_jax.data import builder

    name = digests.of_text(' '.join(contents)).hex()[:16]
    target = home / 'records' / name
    folder = target.with_name(f'{name}.partial') if storage.is_local(home) else target
    usable, reasons = decode.decode_all(source, contents, folder / 'decoded', pipeline)
    if not usable:
        storage.remove(folder)
        return reasons
    decode.write(folder / 'fingerprints.npz', decode.read_prints(usable.values()).save)
    storage.remove(folder / 'tfds')
    places = builder.write(folder / 'tfds', source, chunk, list(usable.values()), pipeline)
    rows = [
        {'content': content, 'first_record': first, 'n_samples': n_samples}
        for content, (first, n_samples) in zip(usable, places, strict=True)
    ]
    tables.write(folder / 'contents.arrow', rows)  # last: it makes the batch whole
    if folder != target:
        folder.rename(target)
    storage.remove(target / 'decoded')
    return reasons


def read_prints(home: Path, held: Sequence[tuple[Recording, str, Stored]]) -> duplicates.Prints:
    """Returns what tells copies of recordings, each with its content and where that lies."""
    known: dict[str, tuple[str, fingerprint.Print]] = {}
    for batch in dict.fromkeys(where.batch for _, _, where in held):
        known |= _prints_by_content(home / 'records' / batch)
    return duplicates.Prints.of((recording.track, *known[key]) for recording, key, _ in held)


def prints_of(folder: pathlib.Path, manifest: Mapping, tracks: Sequence[Mapping]) -> duplicates.Prints:
    """Returns what tells copies of some tracks of a prepared dataset."""
    known, before = {}, 0
    for name, count in manifest['batches'].items():
        batch = folder.parent / 'records' / name
        prints = _prints_by_content(batch)
        rows = tables.read(batch / 'contents.arrow')
        known |= {before + row['first_record']: prints[row['content']] for row in rows}
        before += count
    return duplicates.Prints.of((track['track'], *known[track['first_record']]) for track in tracks)


def _prints_by_content(batch: Path) -> dict[str, tuple[str, fingerprint.Print]]:
    """Reads what tells copies of the contents of a batch: digest and peaks, by content."""
    file = batch / 'fingerprints.npz'
    try:
        prints = duplicates.Prints.load(io.BytesIO(file.read_bytes()))
    except Exception as error:  # NumPy and zipfile raise many kinds on damaged files
        raise UserError(
            f'{file} is damaged ({type(error).__name__}): delete {file.parent}, it is decoded again'
        ) from None
    return {key: (digest, peaks) for key, digest, peaks in zip(*prints, strict=True)}


class Records(Sequence):
    """The records of a prepared dataset, of one batch after another, for random access: `records[i]`."""

    def __init__(self, folder: pathlib.Path, manifest: Mapping) -> None:
        """Opens the batches that a prepared dataset points to; a UserError names one that is not whole."""
        from genre_jax.data import builder

        self._kind: str = manifest['kind']
        self._folders = [folder.parent / 'records' / name for name in manifest['batches']]
        self._ends = list(itertools.accumulate(manifest['batches'].values()))
        self._batches = []
        for batch, count in zip(self._folders, manifest['batches'].values(), strict=True):
            try:
                opened = builder.open_records(batch / 'tfds')
                whole = len(opened[0]) == count
            except Exception:  # TFDS and ArrayRecord raise many kinds on damaged files
                whole = False
            if not whole:
                raise UserError(f'{batch} is damaged: delete it, it is decoded again')
            self._batches.append(opened)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, i: int) -> np.ndarray:
        batch = bisect.bisect_right(self._ends, i)
        i -= self._ends[batch - 1] if batch else 0
        try:
            records, features = self._batches[batch]
            return features.deserialize_example_np(records[i])[self._kind]
        except Exception as error:  # ArrayRecord and protobuf raise many kinds on damaged files
            raise UserError(
                f'{self._folders[batch]}: record {i} is damaged ({type(error).__name__}): delete that '
                'folder, it is decoded again'
            ) from None
