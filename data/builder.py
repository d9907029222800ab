"""The one TFDS builder behind every dataset of the project: what it stores, as ArrayRecord."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source, array_record_module

from data.recordings import Kind

_STORED = {'audio': np.int16, 'image': np.uint8, 'table': np.float32}
_SPLIT = 'all_tracks'  # unsplit: which track trains and which tests is decided at run time


class Recordings(tfds.core.GeneratorBasedBuilder):
    """Records with the stored array under the name of its kind, 'label', 'track', 'group', 'start_s', ..."""

    VERSION = tfds.core.Version('1.0.0')

    def __init__(
        self,
        *,
        description: str,
        labels: list[str],
        kind: Kind,
        shape: tuple[int | None, ...],
        records: Callable[[], Iterable[dict]],
        **kwargs,
    ):
        """Notes what to write.

        Args:
            description: one sentence about the dataset.
            labels: class names.
            kind: what is stored.
            shape: of one record's array.
            records: returns the records, in order.
            **kwargs: of TFDS.
        """
        self._description = description
        self._labels = labels
        self._kind = kind
        self._shape = shape
        self._records = records
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            # As bytes: TFDS stores integers as varints otherwise, larger and slower to read.
            self._kind: tfds.features.Tensor(
                shape=self._shape, dtype=_STORED[self._kind], encoding='bytes'
            ),
            'label': tfds.features.ClassLabel(names=self._labels),
            'track': tfds.features.Text(),
            'group': tfds.features.Text(),
            'start_s': np.float32,
            'artist': tfds.features.Text(),
            'album': tfds.features.Text(),
            'tonic_hz': np.float32,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._description,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        del dl_manager
        return {_SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        yield from enumerate(self._records())


def write(
    folder: pathlib.Path,
    description: str,
    labels: list[str],
    kind: Kind,
    shape: tuple[int | None, ...],
    records: Callable[[], Iterable[dict]],
) -> None:
    """Writes records below a folder.

    Args:
        folder: where; it must not hold records yet.
        description: one sentence about the dataset.
        labels: class names.
        kind: what is stored.
        shape: of one record's array.
        records: returns the records, in order.
    """
    tfds.disable_progress_bar()
    builder = Recordings(
        description=description,
        labels=labels,
        kind=kind,
        shape=shape,
        records=records,
        data_dir=folder,
        file_format='array_record',
    )
    no_statistics = tfds.download.ComputeStatsMode.SKIP
    with contextlib.redirect_stdout(io.StringIO()):  # it announces downloads; there are none
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(compute_stats=no_statistics)
        )
    for file in builder.info.splits[_SPLIT].filepaths:
        _store_uncompressed(file)


def _store_uncompressed(file: os.PathLike) -> None:
    """Writes a file of records again without compression.

    TFDS compresses with zstd and leaves no choice. It saves 5 % of 16-bit audio and makes reading a record
    of a second three times as long.
    """
    whole, partial = os.fspath(file), f'{os.fspath(file)}.partial'
    writer = array_record_module.ArrayRecordWriter(partial, 'group_size:1,uncompressed')
    for record in array_record_data_source.ArrayRecordDataSource([whole]):
        writer.write(record)
    writer.close()
    os.replace(partial, whole)


class Column(Sequence):
    """One feature of the records that `write` wrote, for random access: `column[i]`.

    The other features are passed over: decoding them all takes twice as long.
    """

    def __init__(self, folder: pathlib.Path, feature: str) -> None:
        """Opens the records.

        Args:
            folder: as given to `write`.
            feature: its name.
        """
        builder = tfds.builder_from_directory(folder / Recordings.name / str(Recordings.VERSION))
        self._records = builder.as_data_source(
            split=_SPLIT, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        self._feature = feature
        self._parser = tfds.features.FeaturesDict({feature: builder.info.features[feature]})

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> np.ndarray:
        return self._parser.deserialize_example_np(self._records[i])[self._feature]
