"""What was decoded, by content: a recording is stored once, whatever it is called and however it is labelled.

`<prepared_dir>/<dataset>/records/<batch>/` is what one preparation had to decode: TFDS's files with the
samples, `contents.parquet` (which records hold which content) and `fingerprints.npz` (what tells copies of
it). Batches are added, never changed; a prepared dataset is a table of tracks that points into them.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import io
import itertools
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from genre_jax.data import decode, duplicates, storage
from genre_jax.data.pipeline import Pipeline
from genre_jax.data.recordings import Recording, Source
from genre_jax.data.storage import Path
from genre_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Stored:
    """Where a content lies.

    Attributes:
        batch: name of the batch.
        first_record: in that batch.
        n_samples: of it; rows or pictures.
    """

    batch: str
    first_record: int
    n_samples: int


def content_key(source: Source, recording: Recording, chunk_s: float, form: int) -> str:
    """Returns the name of a recording's content: the same for all that would be stored alike."""
    rate_hz = source.sample_rate_hz() if source.kind != 'table' else 1
    of = f'{form}/{source.kind}/{rate_hz}/{chunk_s}/{source.content(recording)}'
    return hashlib.sha256(of.encode()).hexdigest()[:32]


def read(home: Path) -> dict[str, Stored]:
    """Returns all contents that are stored.

    Args:
        home: folder of the dataset.
    """
    import pyarrow.parquet

    found: dict[str, Stored] = {}
    folder = home / 'records'
    for batch in sorted(folder.iterdir(), key=lambda path: path.name) if folder.exists() else ():
        file = batch / 'contents.parquet'
        if batch.name.endswith('.partial') or not file.exists():
            continue
        try:
            table = pyarrow.parquet.read_table(io.BytesIO(file.read_bytes())).to_pydict()
            rows = zip(table['content'], table['first_record'], table['n_samples'], strict=True)
        except (KeyError, OSError, pyarrow.ArrowException):
            raise UserError(f'{file} is damaged: delete {batch}, it is decoded again') from None
        found |= {key: Stored(batch.name, first, n_samples) for key, first, n_samples in rows}
    return found


def add(
    home: Path,
    source: Source,
    contents: Mapping[str, Recording],
    chunk: int,
    pipeline: Pipeline | None,
) -> dict[str, str]:
    """Decodes contents and stores them as a batch of their own; returns why some are unusable, by content.

    Cut off half way, the same call goes on with what it has decoded.

    Args:
        home: folder of the dataset.
        source: of the recordings.
        contents: what is not stored yet, with a recording that has it.
        chunk: samples in one record of audio; 1 for pictures and rows.
        pipeline: what decodes and writes; None for the cores of this machine.

    Raises:
        UserError: a process was killed.
    """
    # Imported here because only preparing and reading need it, and it takes a second.
    import pyarrow
    import pyarrow.parquet

    from genre_jax.data import builder

    name = hashlib.sha256(' '.join(contents).encode()).hexdigest()[:16]
    target = home / 'records' / name
    folder = target.with_name(f'{name}.partial') if storage.is_local(home) else target
    usable, reasons = decode.decode_all(source, contents, folder / 'decoded', pipeline)
    if usable:
        files = list(usable.values())
        (folder / 'fingerprints.npz').write_bytes(_saved(decode.read_prints(usable)))
        layout = builder.Layout(source.kind, chunk)
        heads = decode.read_all(files, builder.HEADER_BYTES)
        clips = [builder.Clip.open(*pair) for pair in zip(files, heads, strict=True)]

        def run(write_shard: Callable, shards: list) -> Iterable[int]:
            if pipeline:
                return pipeline.map(write_shard, shards, folder / 'decoded', 'write')
            return map(write_shard, tqdm.tqdm(shards, f'writing {source.name}', unit=' shards'))

        storage.remove(folder / 'tfds')
        builder.write(folder / 'tfds', source.description, layout, clips, run)
        counts = [layout.n_records(clip) for clip in clips]
        first = list(itertools.accumulate(counts, initial=0))[:-1]
        table = pyarrow.table(
            {
                'content': list(usable),
                'first_record': first,
                'n_samples': [clip.shape[0] for clip in clips],
            }
        )
        written = io.BytesIO()
        pyarrow.parquet.write_table(table, written)
        (folder / 'contents.parquet').write_bytes(
            written.getvalue()
        )  # last: it makes the batch whole
        if folder != target:
            folder.rename(target)
        storage.remove(target / 'decoded')
    else:
        storage.remove(folder)
    return reasons


def _saved(prints: duplicates.Prints) -> bytes:
    content = io.BytesIO()
    prints.save(content)
    return content.getvalue()


def read_prints(home: Path, stored: Sequence[tuple[str, str, Stored]]) -> duplicates.Prints:
    """Returns what tells copies of recordings.

    Args:
        home: folder of the dataset.
        stored: of each recording its track, its content and where that lies.
    """
    known: dict[str, tuple[str, Any]] = {}
    for batch in dict.fromkeys(where.batch for _, _, where in stored):
        file = home / 'records' / batch / 'fingerprints.npz'
        try:
            prints = duplicates.Prints.load(io.BytesIO(file.read_bytes()))
        except Exception as error:  # NumPy and zipfile raise many kinds on damaged files
            raise UserError(
                f'{file} is damaged ({type(error).__name__}): delete {file.parent}, it is decoded again'
            ) from None
        pairs = zip(prints.digests, prints.prints, strict=True)
        known |= dict(zip(prints.tracks, pairs, strict=True))
    return duplicates.Prints(
        [track for track, _, _ in stored],
        [known[content][0] for _, content, _ in stored],
        [known[content][1] for _, content, _ in stored],
    )


class Records(Sequence):
    """The records of several batches, one after another, for random access: `records[i]`."""

    def __init__(self, home: pathlib.Path, batches: Mapping[str, int], kind: str) -> None:
        """Opens the batches.

        Args:
            home: folder of the dataset.
            batches: how many records each holds.
            kind: what is stored.

        Raises:
            UserError: a batch is not whole.
        """
        from genre_jax.data import builder

        self._columns, self._names = [], [home / 'records' / name for name in batches]
        self._ends = list(itertools.accumulate(batches.values()))
        for folder, count in zip(self._names, batches.values(), strict=True):
            try:
                column = builder.Column(folder / 'tfds', kind)
                whole = len(column) == count
            except Exception:  # TFDS and ArrayRecord raise many kinds on damaged files
                whole = False
            if not whole:
                raise UserError(f'{folder} is damaged: delete it, it is decoded again')
            self._columns.append(column)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, i: int) -> np.ndarray:
        batch = bisect.bisect_right(self._ends, i)
        begin = self._ends[batch - 1] if batch else 0
        try:
            return self._columns[batch][i - begin]
        except Exception as error:  # ArrayRecord and protobuf raise many kinds on damaged files
            raise UserError(
                f'{self._names[batch]}: record {i - begin} is damaged ({type(error).__name__}): delete that '
                'folder, it is decoded again'
            ) from None
