"""Preparation as an Apache Beam pipeline against preparation by this machine's own processes."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import shard_utils

from genre_jax.data import feature_table, folder, pipeline, prepare
from genre_jax.errors import UserError
from tests.program import ROOT

RATE_HZ = 8000
OPTIONS = {
    'one': '',
    'threads': '--direct_num_workers=3 --direct_running_mode=multi_threading',
    'processes': '--direct_num_workers=2 --direct_running_mode=multi_processing',
}


@pytest.fixture(scope='module')
def tones(tmp_path_factory) -> pathlib.Path:
    """Eight tones of 3 to 12 s in two classes, a copy under the other label, and a broken file."""
    root = tmp_path_factory.mktemp('tones')
    rng = np.random.default_rng(0)
    for i in range(8):
        path = root / 'ab'[i % 2] / f'{i}.wav'
        path.parent.mkdir(exist_ok=True)
        time_s = np.arange(int(RATE_HZ * rng.uniform(3, 12))) / RATE_HZ
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * (200 + 50 * i) * time_s), RATE_HZ)
    (root / 'b' / 'copy.wav').write_bytes((root / 'a' / '0.wav').read_bytes())
    (root / 'a' / 'broken.wav').write_bytes(b'RIFF and nothing else')
    return root


@pytest.fixture
def small_shards(monkeypatch):
    """Many shards: the process that starts the pipeline lays them out."""
    monkeypatch.setattr(shard_utils.ShardConfig, 'min_shard_size', 40_000)


def only_batch(prepared):
    """Returns the folder of the records that a prepared dataset points to."""
    (name,) = prepare.read_manifest(prepared)['batches']
    return prepared.parent / 'records' / name


def assert_equal(first: pathlib.Path, second: pathlib.Path) -> None:
    """All that is in two prepared folders; ArrayRecord's bytes differ from call to call, records not."""
    for one, other in ((first, second), (only_batch(first), only_batch(second))):
        names = [sorted(str(f.relative_to(d)) for f in d.rglob('*')) for d in (one, other)]
        assert names[0] == names[1]
        for name in names[0]:
            written = '.array_record-' in name or 'dataset_info' in name
            if (one / name).is_file() and not written:
                assert (one / name).read_bytes() == (other / name).read_bytes(), name
    # By TFDS itself, with all their features.
    records = [
        tfds.builder_from_directory(batch / 'tfds' / 'recordings' / '1.0.0').as_data_source('all_tracks')
        for batch in map(only_batch, (first, second))
    ]
    assert len(records[0]) == len(records[1]) > 0
    for i in range(len(records[0])):
        one, other = records[0][i], records[1][i]
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize('workers', OPTIONS)
def test_a_folder(tones, tmp_path, small_shards, workers):
    here = prepare.prepare(folder.Source(root=str(tones)), tmp_path / 'here', 5.0)
    beam = pipeline.Pipeline('DirectRunner', OPTIONS[workers])
    there = prepare.prepare(folder.Source(root=str(tones)), tmp_path / 'there', 5.0, beam)
    assert len(list(only_batch(here).glob('tfds/**/*.array_record-*'))) > 4
    assert_equal(here, there)
    manifest = prepare.read_manifest(there)
    assert [item['path'] for item in manifest['quarantined']] == ['a/broken.wav']
    assert len(manifest['tracks']) == 9 and len(manifest['duplicates']) == 1


def test_a_table(tmp_path):
    table = tmp_path / 'features.csv'
    lines = [f'{"ab"[i % 2]}.{i:05d}.wav,{i % 7},{i * i},{"ab"[i % 2]}' for i in range(20)]
    table.write_text('\n'.join(['filename,x,y,label', *lines]) + '\n')
    sources = [feature_table.Source(root=str(table)) for _ in range(2)]
    here = prepare.prepare(sources[0], tmp_path / 'here', 5.0)
    beam = pipeline.Pipeline('DirectRunner', OPTIONS['processes'])
    assert_equal(here, prepare.prepare(sources[1], tmp_path / 'there', 5.0, beam))


class Stumbling(folder.Source):
    """Fails at one recording, for a reason that is not the recording's; notes what it decodes."""

    log: pathlib.Path
    stumbles = True

    def load(self, recording):
        if self.stumbles and recording.path == 'b/7.wav':
            raise OSError(28, 'No space left on device')
        with self.log.open('a') as file:
            print(recording.path, file=file)
        return super().load(recording)


def test_what_a_failed_pipeline_decoded_is_kept(tones, tmp_path):
    source = Stumbling(root=str(tones))
    source.log = tmp_path / 'log'
    beam = pipeline.Pipeline('DirectRunner')
    with pytest.raises(UserError, match='No space left on device') as caught:
        prepare.prepare(source, tmp_path / 'there', 5.0, beam)
    assert '\n' not in str(caught.value)
    assert not list(tmp_path.glob('there/**/manifest.json'))
    source.stumbles = False
    there = prepare.prepare(source, tmp_path / 'there', 5.0, beam)
    decoded = source.log.read_text().split()
    assert decoded.count('b/7.wav') == 1
    assert len(set(decoded)) == 8 + 1  # two of the nine are copies of each other
    assert all(decoded.count(path) == 1 for path in decoded if path != 'a/broken.wav')
    assert_equal(prepare.prepare(folder.Source(root=str(tones)), tmp_path / 'here', 5.0), there)


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--runner=NoRunner'], 'NoRunner'),
        (['--runner=nowhere.Runner'], 'nowhere'),
        (['--runner=data.Runner'], 'Runner'),
        (['--runner=DirectRunner', '--beam_options=--direct_num_wrkers=3'], '--direct_num_wrkers'),
        (['--runner=DirectRunner', '--beam_options=--direct_num_workers=x'], "'x'"),
        (['--runner=DirectRunner', '--beam_options=three'], "'three'"),
        (['--runner=DirectRunner', "--beam_options='--x"], 'quotation'),
    ],
)
def test_mistakes(tones, tmp_path, arguments, said):
    with pytest.raises(UserError) as caught:
        prepare.main(['folder', f'--source={tones}', f'--out={tmp_path}', *arguments])
    assert said in str(caught.value) and '\n' not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_command(tones, tmp_path):
    command = [sys.executable, '-m', 'data.prepare', 'folder', f'--source={tones}']
    command += [f'--out={tmp_path}', '--runner=DirectRunner']
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert 'quarantined: 1' in ran.stdout
