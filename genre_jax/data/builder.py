"""How TFDS stores the records of every dataset of the project: as ArrayRecord, shard by shard.

The shards are laid out beforehand and written one by one, by this process or by the workers of a
pipeline: the files are the same. TFDS's own generator-based builders gather all records first, in memory,
and beyond 1000 MiB in one file through TensorFlow.
"""

import functools
import io
import itertools
import math
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from array_record.python import array_record_module
from etils import epath
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core.utils import shard_utils

from genre_jax.data import decode
from genre_jax.data.pipeline import Pipeline
from genre_jax.data.recordings import OVER_TIME, STORED_AS, Kind, Source
from genre_jax.data.storage import Path

_HEADER_BYTES = 4096  # enough for the header of any .npy file that is written here
_NAME, _VERSION = 'recordings', '1.0.0'
# TFDS's own writer compresses with zstd, which saves 5 % of 16-bit audio and makes reading a record of a
# second three times as long.
_WRITER_OPTIONS = 'group_size:1,uncompressed'
_SPLIT = 'all_tracks'  # unsplit: which track trains and which tests is decided at run time


class _Clip(NamedTuple):
    """An npy file with what was decoded of one recording, and the shape of the array in it."""

    file: Path
    shape: tuple[int, ...]


# One file to write: the clips in it, each with its first record there and the one after its last.
_Shard = tuple[Path, list[tuple[_Clip, int, int]]]


class _Layout(NamedTuple):
    """How recordings of a kind become records, of `chunk` samples or frames, or one picture or row."""

    kind: Kind
    chunk: int

    def n_records(self, clip: _Clip) -> int:
        return -(-clip.shape[0] // self.chunk)

    def features(self, shape: tuple[int, ...]) -> tfds.features.FeaturesDict:
        one = (None,) if self.kind in OVER_TIME else shape[1:]
        # As bytes: TFDS stores integers as varints otherwise, larger and slower to read.
        tensor = tfds.features.Tensor(shape=one, dtype=STORED_AS[self.kind], encoding='bytes')
        return tfds.features.FeaturesDict({self.kind: tensor})

    def records(self, clip: _Clip, first: int, stop: int) -> Iterator[dict]:
        with clip.file.open('rb') as stream:
            stored = np.load(stream)
        for number in range(first, stop):
            start = number * self.chunk
            chunk = stored[start : start + self.chunk] if self.kind in OVER_TIME else stored[start]
            yield {self.kind: chunk}


def write(
    folder: Path, source: Source, chunk: int, files: Sequence[Path], pipeline: Pipeline | None
) -> list[tuple[int, int]]:
    """Writes npy files as records into an empty folder; returns the first record and length of each."""
    layout, clips = _Layout(source.kind, chunk), []
    for file, head in zip(files, decode.read_all(files, _HEADER_BYTES), strict=True):
        stream = io.BytesIO(head)
        np.lib.format.read_magic(stream)
        clips.append(_Clip(file, np.lib.format.read_array_header_1_0(stream)[0]))
    decoded, folder = folder.with_name('decoded'), folder / _NAME / _VERSION
    folder.mkdir(parents=True)
    shards = _shards(folder, layout, clips)
    write_shard = functools.partial(_write_shard, layout)
    if pipeline:
        sizes = pipeline.map(write_shard, shards, decoded, 'write')
    else:
        sizes = map(write_shard, tqdm.tqdm(shards, f'writing {source.name}', unit=' shards'))
    split = tfds.core.SplitInfo(
        name=_SPLIT,
        shard_lengths=[sum(stop - first for _, first, stop in parts) for _, parts in shards],
        num_bytes=sum(sizes),
        filename_template=_template(folder),
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=layout.features(clips[0].shape),
        split_infos=[split],
        version=_VERSION,
        filename_template=_template(folder),
        check_data=False,  # which needs TensorFlow
        description=source.description,
        disable_shuffling=True,
    )
    first = itertools.accumulate(map(layout.n_records, clips), initial=0)
    return [(record, clip.shape[0]) for record, clip in zip(first, clips, strict=False)]


def _template(directory: Path) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(directory), dataset_name=_NAME, split=_SPLIT, filetype_suffix='array_record'
    )


def _shards(directory: Path, layout: _Layout, clips: Sequence[_Clip]) -> list[_Shard]:
    """Lays out the shards: as many as TFDS would take, 64 MiB to 1 GiB each, of equal numbers of records."""
    counts = [layout.n_records(clip) for clip in clips]
    itemsize = np.dtype(STORED_AS[layout.kind]).itemsize
    n_bytes = itemsize * sum(math.prod(clip.shape) for clip in clips)
    n_shards = shard_utils.ShardConfig.calculate_number_shards(n_bytes, sum(counts))
    ends = shard_utils.get_shard_boundaries(sum(counts), n_shards)
    parts: list[list] = [[]]
    begin = 0
    for clip, count in zip(clips, counts, strict=True):
        first = 0
        while first < count:
            room = ends[len(parts) - 1] - begin - first
            if not room:
                parts.append([])
                continue
            stop = min(count, first + room)
            parts[-1].append((clip, first, stop))
            first = stop
        begin += count
    name = _template(directory).sharded_filepath
    return [(directory / name(shard_index=i, num_shards=n_shards).name, part) for i, part in enumerate(parts)]


def _write_shard(layout: _Layout, shard: _Shard) -> int:
    """Writes one file, whole under its name (several workers may be given it); returns its size in bytes."""
    path, parts = shard
    features = layout.features(parts[0][0].shape)
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    records = (record for part in parts for record in layout.records(*part))
    on_this_machine = isinstance(path, pathlib.Path)
    # ArrayRecord writes files of this machine alone: for an object store they are copied there.
    folder = path.parents[2] if on_this_machine else None
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        file = pathlib.Path(scratch) / path.name
        writer = array_record_module.ArrayRecordWriter(str(file), _WRITER_OPTIONS)
        for record in records:
            writer.write(serializer.serialize_example(features.encode_example(record)))
        writer.close()
        n_bytes = file.stat().st_size
        if on_this_machine:
            file.rename(path)
        else:
            with file.open('rb') as source, path.open('wb') as target:
                shutil.copyfileobj(source, target, 2**24)
    return n_bytes


def open_records(folder: Path) -> tuple[Sequence[bytes], tfds.features.FeaturesDict]:
    """Returns the records that `write` wrote into a folder, and what takes one apart."""
    builder = tfds.builder_from_directory(folder / _NAME / _VERSION)
    records = builder.as_data_source(split=_SPLIT, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    return records, tfds.features.FeaturesDict(builder.info.features)
