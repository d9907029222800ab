"""The command that writes tables of handcrafted features."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from genre_jax.data.feature_table import Source
from genre_jax.features.handcrafted import COLUMNS
from tests.features.test_handcrafted import DATA
from tests.program import ROOT


def run(*flags):
    return subprocess.run(
        [sys.executable, '-m', 'genre_jax.feature_table', *flags],
        cwd=ROOT, env=os.environ | {'JAX_NUM_CPU_DEVICES': '1'}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def read(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_published_rows_come_out(tmp_path):
    published = DATA / 'gtzan/features_30_sec.csv'
    if not published.exists():
        pytest.skip(f'no {published}: set GENRE_JAX_DATA')
    for label in ('blues', 'classical'):  # of one length
        (tmp_path / 'songs' / label).mkdir(parents=True)
        name = f'{label}.00000.wav'
        (tmp_path / 'songs' / label / name).symlink_to(DATA / 'gtzan/genres_original' / label / name)
    (tmp_path / 'songs/blues/broken.wav').write_text('not audio')
    ended = run(f'--root={tmp_path / "songs"}', f'--out={tmp_path / "table.csv"}')
    assert ended.returncode == 0, ended.stderr
    assert 'broken.wav: not audio' in ended.stdout and '2 rows, 1 files left out' in ended.stdout
    rows = read(tmp_path / 'table.csv')
    theirs = {row['filename']: row for row in read(published)}
    assert tuple(rows[0]) == (*next(iter(theirs.values())), 'song', 'group')
    for row in rows:
        expected = theirs[row['filename']]
        assert (row['label'], row['length']) == (expected['label'], expected['length'])
        for column in COLUMNS:
            assert float(row[column]) == pytest.approx(float(expected[column]), rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_segments_and_mistakes(tmp_path):
    rng = np.random.default_rng(0)
    for label in ('a', 'b'):
        (tmp_path / 'songs' / label).mkdir(parents=True)
        audio = rng.uniform(-0.5, 0.5, 22050 * 2 + 5000)
        soundfile.write(tmp_path / 'songs' / label / 'x.wav', audio, 22050)
    soundfile.write(tmp_path / 'songs/b/short.wav', rng.uniform(-0.5, 0.5, 5000), 22050)
    (tmp_path / 'songs/c').mkdir()
    soundfile.write(tmp_path / 'songs/c/a\x1b[2J.wav', rng.uniform(-0.5, 0.5, 5000), 22050)
    (tmp_path / 'songs/d').mkdir()
    (tmp_path / 'songs/d/cover.jpg').write_bytes(b'x')
    out = tmp_path / 'table.csv'
    ended = run(f'--root={tmp_path / "songs"}', f'--out={out}', '--segment_s=1')
    assert ended.returncode == 0, ended.stderr
    assert 'short.wav: shorter than 1 s' in ended.stdout
    assert r'left out: c/a\x1b[2J.wav: shorter' in ended.stdout
    assert "class 'c' is left out: none of its recordings can be used" in ended.stdout
    assert "class 'd' is left out: no file in it is read" in ended.stdout and '1 .jpg' in ended.stdout
    rows = read(out)
    assert [(r['filename'], r['length'], r['label']) for r in rows] == [
        (f'x.{i}.wav', '22050', label) for label in ('a', 'b') for i in (0, 1)
    ]
    # What is read back: two songs of two rows, though their files are called alike.
    recordings, _ = Source(root=str(out)).recordings()
    assert [(r.track, r.label) for r in recordings] == [('a/x.wav', 'a'), ('b/x.wav', 'b')]
    assert len({r.group for r in recordings}) == 2
    assert Source(root=str(out)).load(recordings[0]).shape == (2, len(COLUMNS))
    for flags in (
        [f'--root={tmp_path / "nowhere"}'], [],
        *([f'--root={tmp_path}', f'--segment_s={value}'] for value in ('-1', 'nan', 'inf', '1e-6', '0.09')),
    ):  # fmt: skip
        ended = run(*flags, f'--out={tmp_path / "no.csv"}')
        assert ended.returncode == 2 and ended.stderr.splitlines()[-1].startswith('error: ')
        assert 'Traceback' not in ended.stderr and not (tmp_path / 'no.csv').exists()
    ended = run(f'--root={tmp_path / "songs"}', f'--out={out}', '--segment_s=9')
    assert ended.returncode == 2 and 'b/x.wav: shorter than 9 s' in ended.stdout
    assert 'no recording in it can be used' in ended.stderr and not read(out)
