"""Records over several shards, object stores, and the mistakes one can make with --runner."""

import ast
import json
import pathlib
import sys
import threading

import fsspec.implementations.local
import numpy as np
import pytest
from etils.epath import backend
from tensorflow_datasets.core.utils import shard_utils

from genre_jax.configs import common
from genre_jax.data import duplicates, pipeline, prepare, recordings
from genre_jax.errors import UserError
from genre_jax.loading import prepared, run_data


class Ramps(recordings.Source):
    """Rows that count through the whole dataset."""

    name = 'ramps'
    kind = 'table'
    description = 'rows that count'
    fingerprint = 'ramps'
    lengths = (3, 1, 0, 7, 12, 2)

    def recordings(self):
        return [
            recordings.Recording(f't{i}', 'ab'[i % 2], f'g{i}')
            for i, length in enumerate(self.lengths)
            if length
        ], []

    def load(self, recording):
        i = int(recording.track[1:])
        first = sum(self.lengths[:i])
        return np.arange(first, first + self.lengths[i], dtype=np.float32)[:, None]

    def group_key(self):
        return 'song'


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of some 40 bytes of content in place of 64 MiB."""
    monkeypatch.setattr(shard_utils.ShardConfig, 'min_shard_size', 40)


class Bucket(fsspec.implementations.local.LocalFileSystem):
    """Stands in for an object store: gs:// addresses lie in a folder."""

    protocol = 'gcs'
    folder = ''

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).replace('gs:/', f'{cls.folder}/', 1))


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The folder behind gs:// addresses."""
    monkeypatch.setattr(Bucket, 'folder', str(tmp_path / 'store'))
    monkeypatch.setattr(type(backend.fsspec_backend), '_get_filesystem', lambda self, name: Bucket())
    return tmp_path / 'store'


def counted(folder: pathlib.Path) -> list[float]:
    dataset = prepared.Dataset(folder)
    return [
        float(dataset.read(track, row, 1)[0])
        for track, facts in enumerate(dataset.tracks)
        for row in range(facts['n_samples'])
    ]


def test_records_keep_their_order_over_shards(tmp_path, small_shards):
    folder = prepare.prepare(Ramps(), tmp_path, 5.0)
    shards = sorted(folder.parent.glob('records/*/tfds/**/*.array_record-*'))
    assert len(shards) == 8  # 25 records of 4 bytes, and 16 that TFDS counts for the record's frame
    assert counted(folder) == list(range(sum(Ramps.lengths)))


def test_an_object_store(tmp_path, bucket, small_shards):
    """What is prepared there and mounted is what is prepared here."""
    here = prepare.prepare(Ramps(), tmp_path / 'here', 5.0)
    there = prepare.prepare(Ramps(), 'gs://bucket/prepared', 5.0)
    assert str(there) == f'gs://bucket/prepared/ramps/{here.name}'
    mounted = bucket / 'bucket' / 'prepared'
    assert prepare.prepare(Ramps(), mounted, 5.0) == mounted / 'ramps' / here.name
    assert counted(mounted / 'ramps' / here.name) == counted(here)
    manifests = [json.loads((f / 'manifest.json').read_text()) for f in (here, there)]
    assert manifests[0] == manifests[1]
    assert {file.name for file in there.iterdir()} == {file.name for file in here.iterdir()}


def test_what_was_cut_off_in_a_store_is_made_again(tmp_path, bucket):
    there = prepare.prepare(Ramps(), 'gs://bucket/prepared', 5.0)
    folder = bucket / 'bucket' / 'prepared' / 'ramps' / there.name
    (batch,) = (folder.parent / 'records').iterdir()
    # Both are whole when their last file is there.
    (folder / 'manifest.json').unlink()
    (batch / 'contents.arrow').unlink()
    (record,) = batch.glob('tfds/**/*.array_record-*')
    record.write_bytes(b'half')
    prepare.prepare(Ramps(), 'gs://bucket/prepared', 5.0)
    assert counted(folder) == list(range(sum(Ramps.lengths)))


def test_training_wants_files():
    config = common.get_config()
    config.data.prepared_dir = 'gs://bucket/prepared'
    with pytest.raises(UserError, match=r'prepared_dir=gs://bucket/prepared: .*mount'):
        run_data.open_dataset(config)


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('ftp://host/x', r"prepared_dir='ftp://host/x': expected a folder, gs://, s3:// or az://"),
        ('s3://bucket/x', r'prepared_dir=s3://bucket/x: .*s3fs'),
    ],
)
def test_stores_that_cannot_be_used(name, said, monkeypatch):
    monkeypatch.setitem(sys.modules, 's3fs', None)
    with pytest.raises(UserError, match=said) as caught:
        prepare.prepare(Ramps(), name, 5.0)
    assert '\n' not in str(caught.value)


def test_beam_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'apache_beam', None)
    with pytest.raises(UserError) as caught:
        prepare.main(['folder', '--runner=DirectRunner'])
    assert 'pip install -r requirements-beam.txt' in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('argument', ['--beam_options=--x=1', '--runner', '--runner='])
def test_a_runner_must_be_named(argument):
    with pytest.raises(UserError, match='expected --runner=NAME'):
        prepare.main(['folder', argument])


def test_without_the_two_arguments_there_is_no_pipeline():
    assert pipeline.from_arguments(['folder', '--root=x']) == (None, ['folder', '--root=x'])


def test_more_recordings_than_can_be_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, 'MOST_RECORDINGS', 4)
    with pytest.raises(UserError, match='ramps holds 5 recordings; expected at most 4'):
        prepare.prepare(Ramps(), tmp_path, 5.0)


def test_headers_are_parsed_by_one_thread(tmp_path, monkeypatch):
    """NumPy parses them with `ast`, which fails in threads now and then (CPython's issue 106905)."""
    parse, threads = ast.literal_eval, set()

    def noted(text):
        threads.add(threading.current_thread())
        return parse(text)

    monkeypatch.setattr(ast, 'literal_eval', noted)
    prepare.prepare(Ramps(), tmp_path, 1.0)
    assert threads == {threading.main_thread()}
