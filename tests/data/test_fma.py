"""FMA small and medium from made-up clips and a tracks.csv with the three header lines of the real one."""

import collections
import csv
import hashlib
import pathlib
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import soundfile

from genre_jax.data import archive, command, prepare, request
from genre_jax.data.fma import Source, metadata
from genre_jax.errors import UserError

COLUMNS = [
    ('album', 'information'), ('album', 'title'),
    ('artist', 'bio'), ('artist', 'id'), ('artist', 'name'),
    ('set', 'split'), ('set', 'subset'),
    ('track', 'duration'), ('track', 'genre_top'), ('track', 'title'),
]  # fmt: skip


def write_clip(path: pathlib.Path, frequency_hz: float, rate_hz: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(rate_hz // 2) / rate_hz)
    soundfile.write(path, samples, rate_hz, format=path.suffix[1:].upper())


def row(number, genre='Rock', artist=1, split='training', subset='small', bio='') -> dict:
    return {
        'track_id': number,
        ('album', 'information'): '<p>a "long" text,\nover two lines</p>',
        ('album', 'title'): f'Album {artist}',
        ('artist', 'bio'): bio,
        ('artist', 'id'): artist,
        ('artist', 'name'): 'Ünal',
        ('set', 'split'): split,
        ('set', 'subset'): subset,
        ('track', 'duration'): 200,
        ('track', 'genre_top'): genre,
        ('track', 'title'): f'Title {number}',
    }


def write_csv(path: pathlib.Path, rows: list[dict], columns=COLUMNS, third: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['', *(column[0] for column in columns)])
        writer.writerow(['', *(column[1] for column in columns)])
        if third:
            writer.writerow(['track_id', *('' for _ in columns)])
        for cells in rows:
            writer.writerow([cells['track_id'], *(cells[column] for column in columns)])


ROWS = [
    row(2, 'Hip-Hop', artist=1),
    row(5, 'Hip-Hop', artist=1, split='validation'),
    row(140, 'Rock', artist=2, split='test'),
    row(1486, 'Rock', artist=3, split='training'),
    row(2000, 'Jazz', artist=4, split='test', subset='medium'),
    row(155066, '', artist=5, subset='large'),
]


def make(root: pathlib.Path, subset: str = 'small', suffix: str = '.mp3') -> pathlib.Path:
    write_csv(root / 'fma_metadata' / 'tracks.csv', ROWS)
    for cells in ROWS:
        number = f'{cells["track_id"]:06}'
        if cells['set', 'subset'] == 'small' or subset == 'medium' and cells['track', 'genre_top']:
            clip = root / f'fma_{subset}' / number[:3] / f'{number}{suffix}'
            write_clip(clip, 300 + cells['track_id'] % 997)
    (root / f'fma_{subset}' / 'checksums').write_text('x')
    (root / f'fma_{subset}' / 'README.txt').write_text('x')
    return root


def zip_folder(folder: pathlib.Path) -> pathlib.Path:
    path = folder.with_name(f'{folder.name}.zip')
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_BZIP2) as file:  # as the published ones
        for item in sorted(folder.rglob('*')):
            file.write(item, item.relative_to(folder.parent))
    shutil.rmtree(folder)
    return path


def source(root: pathlib.Path, **settings) -> Source:
    return Source(root=str(root), **{'sample_rate_hz': 8000} | settings)


def tracks(found: Source) -> list[str]:
    return [recording.track for recording in found.recordings()[0]]


def refusal(root: pathlib.Path | str, **settings) -> str:
    with pytest.raises(UserError) as caught:
        Source(root=str(root), **settings).recordings()
    assert '\n' not in str(caught.value)
    return str(caught.value)


# Layouts


def test_recordings(tmp_path):
    found = source(make(tmp_path))
    recordings, quarantined = found.recordings()
    assert quarantined == []
    assert [(r.track, r.path, r.label, r.split, r.group) for r in recordings] == [
        ('000002', '000/000002.mp3', 'Hip-Hop', 'train', 'group:artist 1'),
        ('000005', '000/000005.mp3', 'Hip-Hop', 'val', 'group:artist 1'),
        ('000140', '000/000140.mp3', 'Rock', 'test', 'group:artist 2'),
        ('001486', '001/001486.mp3', 'Rock', 'train', 'group:artist 3'),
    ]
    first = recordings[0]
    assert (first.artist, first.album, first.title) == ('Ünal', 'Album 1', 'Title 2')
    assert found.group_key() == 'artist (by number)'
    assert found.notes() == []
    assert len(found.load(first)) == pytest.approx(4000, abs=1200)
    assert Source(root=str(tmp_path)).sample_rate_hz() == 22050


def test_subsets(tmp_path):
    make(tmp_path, 'medium')
    assert len(tracks(source(tmp_path, subset='medium'))) == 5
    assert len(tracks(source(tmp_path))) == 4  # fma_medium holds the small ones as well
    fingerprints = {source(tmp_path, subset=name).fingerprint for name in ('small', 'medium')}
    assert len(fingerprints) == 2
    assert "'large'" in refusal(tmp_path, subset='large')
    (tmp_path / 'fma_medium').rename(tmp_path / 'fma_small')
    assert 'fma_medium/000/000002.mp3' in refusal(tmp_path, subset='medium')


def test_the_folder_of_clips_itself_with_metadata_beside_or_named(tmp_path):
    root = make(tmp_path)
    expected = tracks(source(root))
    assert tracks(source(root / 'fma_small')) == expected
    (root / 'fma_metadata').rename(tmp_path / 'elsewhere')
    assert 'no fma_metadata/tracks.csv' in refusal(root / 'fma_small')
    for given in (tmp_path / 'elsewhere', tmp_path / 'elsewhere' / 'tracks.csv'):
        assert tracks(source(root, metadata=str(given))) == expected
    message = refusal(root, metadata=str(tmp_path / 'nowhere'))
    assert 'no fma_metadata/tracks.csv' in message and 'nowhere' in message


@pytest.mark.parametrize('zipped', ['fma_small', 'fma_metadata', 'both'])
def test_archives(tmp_path, zipped):
    root = make(tmp_path / 'fma')
    expected = source(root).recordings()
    fingerprint = source(root).fingerprint
    for name in ('fma_small', 'fma_metadata'):
        if zipped in (name, 'both'):
            zip_folder(root / name)
    found = source(root)
    assert found.recordings() == expected and found.fingerprint == fingerprint
    assert found.notes() and all('is not the published archive' in n for n in found.notes())
    if zipped != 'fma_metadata':
        assert source(root / 'fma_small.zip').recordings() == expected
    if zipped != 'fma_small':
        again = source(root, metadata=str(root / 'fma_metadata.zip'))
        assert again.recordings() == expected


def test_published_archives_are_recognised(tmp_path, monkeypatch):
    root = make(tmp_path)
    path = zip_folder(root / 'fma_small')
    digest = hashlib.sha1(path.read_bytes()).hexdigest()
    monkeypatch.setattr('genre_jax.data.fma._PUBLISHED', {'fma_small.zip': f'sha1:{digest}'})
    assert source(root).notes() == [f'fma_small.zip is the published archive (sha1:{digest})']


def test_a_cut_archive(tmp_path):
    path = zip_folder(make(tmp_path) / 'fma_small')
    path.write_bytes(path.read_bytes()[:-1000])
    message = refusal(tmp_path)
    assert str(path) in message and 'cut off' in message
    assert not archive.is_archive(str(tmp_path)) and not (tmp_path / 'fma_small').exists()


def test_what_else_lies_there(tmp_path):
    root = make(tmp_path)
    write_clip(root / 'fma_small/000/000777.mp3', 500)  # in no row
    write_clip(root / 'fma_small/000/001777.mp3', 510)  # in the wrong folder
    write_clip(root / 'fma_small/000/song.wav', 520)
    write_clip(root / 'fma_small/002/002000.mp3', 530)  # of fma_medium: passed over
    write_clip(root / 'fma_small/more/1.mp3', 540)
    (root / 'fma_small/000/._000002.mp3').write_bytes(b'x')
    said = '1 files of audio are in no folder 000 to 155, and are not read: more/1.mp3'
    assert said in source(root).notes()
    recordings, quarantined = source(root).recordings()
    assert [r.track for r in recordings] == ['000002', '000005', '000140', '001486']
    assert [item.path for item in quarantined] == [
        '000/001777.mp3',
        '000/song.wav',
        '000/000777.mp3',
    ]
    assert 'no such track in' in quarantined[2].reason


def test_missing_clips_are_counted(tmp_path):
    root = make(tmp_path)
    (root / 'fma_small/000/000005.mp3').unlink()
    assert source(root).notes() == ["1 of the 4 clips of the subset 'small' are missing (000005)"]


def test_the_same_clip_twice(tmp_path):
    root = make(tmp_path)
    write_clip(root / 'fma_small/000/000002.wav', 400)
    message = refusal(root)
    assert '000002 twice' in message and '000/000002.wav' in message


def test_converted_clips(tmp_path):
    assert len(tracks(source(make(tmp_path, suffix='.flac')))) == 4


def test_roots_that_hold_nothing(tmp_path):
    assert 'not set' in refusal('')
    assert 'does not exist' in refusal(tmp_path / 'nowhere')
    assert 'holds no clips' in refusal(tmp_path)
    write_csv(tmp_path / 'fma_metadata' / 'tracks.csv', ROWS)
    (tmp_path / 'fma_small' / '000').mkdir(parents=True)
    message = refusal(tmp_path)
    assert 'no labelled clip' in message and '000/000002.mp3' in message
    write_clip(tmp_path / 'fma_small/000/000002.mp3', 300)
    assert "only clips of 'Hip-Hop'" in refusal(tmp_path)
    assert 'sample_rate_hz' in refusal(make(tmp_path), sample_rate_hz=22)


# tracks.csv


def test_two_header_lines_are_enough(tmp_path):
    root = make(tmp_path)
    expected = source(root).recordings()
    write_csv(root / 'fma_metadata' / 'tracks.csv', ROWS, third=False)
    assert source(root).recordings() == expected
    write_csv(root / 'fma_metadata' / 'tracks.csv', ROWS, columns=COLUMNS[::-1])
    assert source(root).recordings() == expected


def test_long_biographies(tmp_path):
    limit = csv.field_size_limit()
    write_csv(tmp_path / 't.csv', [row(2, bio='x' * 300_000)])
    found, known = metadata.read(str(tmp_path / 't.csv'), 'small')
    assert list(found) == ['000002'] and known == {'000002'}
    assert csv.field_size_limit() == limit


def test_clips_without_a_genre_are_quarantined(tmp_path):
    root = make(tmp_path)
    write_csv(root / 'fma_metadata' / 'tracks.csv', [*ROWS[:3], row(1486, genre='')])
    recordings, quarantined = source(root).recordings()
    assert len(recordings) == 3
    assert [(q.path, q.reason) for q in quarantined] == [('001/001486.mp3', 'tracks.csv gives no top genre')]
    write_csv(
        root / 'fma_metadata' / 'tracks.csv',
        [cells | {('track', 'genre_top'): ''} for cells in ROWS],
    )
    assert 'no labelled clip' in refusal(root) and 'gives no top genre' in refusal(root)


@pytest.mark.parametrize(
    'rows, parts',
    [
        ([], ('lists no track', "'small'")),
        ([row(2, subset='large')], ('lists no track', "'small'")),
        ([row(2), row(2)], ('track 2 stands in an earlier line',)),
        ([row('two')], ("'two' is no track number",)),
        ([row(12345678)], ('is no track number',)),
        ([row(2, split='dev')], ("split is 'dev'", 'training, validation or test')),
        ([row(2, split='')], ("split is ''",)),
    ],
)
def test_mistakes_in_the_rows(tmp_path, rows, parts):
    root = make(tmp_path)
    write_csv(root / 'fma_metadata' / 'tracks.csv', rows)
    message = refusal(root)
    assert all(part in message for part in ('tracks.csv', *parts)), message


@pytest.mark.parametrize('missing', [('set', 'split'), ('track', 'genre_top'), ('artist', 'id')])
def test_missing_columns(tmp_path, missing):
    root = make(tmp_path)
    columns = [column for column in COLUMNS if column != missing]
    write_csv(root / 'fma_metadata' / 'tracks.csv', ROWS, columns)
    assert f'no column {missing}' in refusal(root)


@pytest.mark.parametrize(
    'text, part',
    [
        (b'', 'no column'),
        (b'path,label\na.mp3,Rock\n', 'no column'),
        ('genre Ünal'.encode('utf-16'), 'is not UTF-8'),
        (b'\x00\x01\x02', 'no column'),
    ],
)
def test_files_that_are_no_tracks_csv(tmp_path, text, part):
    root = make(tmp_path)
    (root / 'fma_metadata' / 'tracks.csv').write_bytes(text)
    message = refusal(root)
    assert 'tracks.csv' in message and part in message


def test_other_encodings_and_cut_files(tmp_path):
    root = make(tmp_path)
    path = root / 'fma_metadata' / 'tracks.csv'
    whole = path.read_bytes()
    path.write_bytes(whole.decode().encode('latin-1'))
    assert 'byte 0xdc is not UTF-8' in refusal(root)
    path.write_bytes(whole[: whole.rindex(b'Title 155066') - 10])
    assert 'fields under 11 columns' in refusal(root)
    path.write_bytes(whole[: whole.rindex(b'over two')])  # inside of quotes
    assert 'not a valid CSV' in refusal(root)


# Protocols


def test_the_split_of_the_paper_is_stratified_and_depends_on_numbers_alone(tmp_path):
    """As Bu et al. say: 7:1:2 of each genre, whoever the artist is."""
    genres = ('Hip-Hop', 'Rock', 'Folk')
    rows = [row(n, genres[n % 3], artist=n // 10) for n in range(300)]
    write_csv(tmp_path / 'fma_metadata' / 'tracks.csv', rows)
    shelf = tmp_path / 'fma_small' / '000'
    shelf.mkdir(parents=True)
    for n in range(300):
        (shelf / f'{n:06}.mp3').write_text(str(n))
    found = source(tmp_path)
    parts = found.protocols()['paper']
    recordings = {recording.track: recording for recording in found.recordings()[0]}
    counts = collections.Counter((recordings[t].label, part) for t, part in parts.items())
    assert counts == {
        (genre, part): n for genre in genres for part, n in (('train', 70), ('val', 10), ('test', 20))
    }
    crossing = collections.defaultdict(set)
    for track, part in parts.items():
        crossing[recordings[track].group].add(part)
    assert sum(len(held) > 1 for held in crossing.values()) > 20
    for n in range(0, 300, 2):
        (shelf / f'{n:06}.mp3').unlink()
    write_csv(tmp_path / 'fma_metadata' / 'tracks.csv', rows[::-1])
    half = source(tmp_path).protocols()['paper']
    assert len(half) == 150 and half.items() <= parts.items()


def test_pickled_sources_are_complete_and_small(tmp_path):
    found = source(make(tmp_path))
    expected = found.recordings(), found.fingerprint, found.notes(), found.protocols()
    content = pickle.dumps(found)
    assert b'Title 2' not in content
    again = pickle.loads(content)
    assert (again.recordings(), again.fingerprint, again.notes(), again.protocols()) == expected


# Prepared


def test_prepare_with_clips_that_hold_no_audio(tmp_path):
    root = make(tmp_path / 'fma', 'medium')
    empty = root / 'fma_medium/001/001486.mp3'
    empty.write_bytes(b'ID3\x04\x00\x00\x00\x00\x00\x00' + bytes(1742))  # 1752 bytes as 133297
    settings = command.settings_from(['fma', f'--source={root}', '--subset=medium', '--sample_rate_hz=8000'])
    found = request.load_source(settings)
    manifest = prepare.read_manifest(prepare.prepare(found, tmp_path / 'out', 5.0))
    assert manifest['labels'] == ['Hip-Hop', 'Jazz', 'Rock']
    assert [t['track'] for t in manifest['tracks']] == ['000002', '000005', '000140', '002000']
    assert [t['split'] for t in manifest['tracks']] == ['train', 'val', 'test', 'test']
    (quarantined,) = manifest['quarantined']
    assert quarantined['path'] == '001/001486.mp3' and 'not audio' in quarantined['reason']
    assert set(manifest['protocols']) == {'paper'}
    assert 'groups: artist (by number)' in prepare.summary(manifest)
