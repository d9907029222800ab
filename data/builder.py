"""The one TFDS builder behind every dataset of the project: what it stores, as ArrayRecord."""

from __future__ import annotations

import contextlib
import io
import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow_datasets as tfds

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


def read(folder: pathlib.Path) -> tfds.core.data_sources.base.BaseDataSource:
    """Returns the records that `write` wrote, for random access: `read(folder)[i]['audio']`.

    Args:
        folder: as given to `write`.
    """
    directory = folder / Recordings.name / str(Recordings.VERSION)
    return tfds.builder_from_directory(directory).as_data_source(split=_SPLIT)
