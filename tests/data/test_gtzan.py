"""GTZAN in every layout it is passed on in, with and without Sturm's index and the split lists."""

import collections
import os
import pathlib
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import soundfile

from genre_jax.data import command, prepare, request
from genre_jax.data.gtzan import Source
from genre_jax.errors import BadAudio, UserError

DATA = pathlib.Path(os.environ.get('GENRE_JAX_DATA', '../shared/data')) / 'gtzan'
GENRES = 'blues classical country disco hiphop jazz metal pop reggae rock'.split()
real = pytest.mark.skipif(not DATA.is_dir(), reason='GENRE_JAX_DATA/gtzan absent')


def write_tone(path: pathlib.Path, frequency_hz: float, rate_hz: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(rate_hz // 4) / rate_hz)
    soundfile.write(path, samples, rate_hz, format=path.suffix[1:].upper())


def make(root: pathlib.Path, pattern: str = '{genre}/{genre}.{n:05}.wav', each: int = 2):
    """Writes the first tracks of every genre, all with different content."""
    for row, genre in enumerate(GENRES):
        for n in range(each):
            write_tone(root / pattern.format(genre=genre, n=n), 200 + 50 * row + 7 * n)
    return root


def write_lists(folder: pathlib.Path, ending: str = 'filtered', **lines: str) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    default = {part: f'rock/rock.0000{n}.wav\n' for n, part in enumerate(('train', 'valid', 'test'))}
    for part, text in (default | lines).items():
        (folder / f'{part}_{ending}.txt').write_text(text)
    return folder


def source(root: pathlib.Path, **settings) -> Source:
    return Source(root=str(root), sample_rate_hz=8000, **settings)


def tracks(found: Source) -> list[str]:
    return [recording.track for recording in found.recordings()[0]]


def refusal(root: pathlib.Path | str, **settings) -> str:
    with pytest.raises(UserError) as caught:
        Source(root=str(root), **settings).recordings()
    assert '\n' not in str(caught.value)
    return str(caught.value)


# Layouts


@pytest.mark.parametrize(
    'pattern',
    [
        'genres/{genre}/{genre}.{n:05}.au',
        'Data/genres_original/{genre}/{genre}.{n:05}.wav',
        '{genre}/{genre}.{n:05}.wav',
        'x/y/{genre}/{genre}{n:05}.flac',
        '{genre}/{genre}.{n:05}.mp3',
        'all/{genre}.{n:05}.OGG',
    ],
)
def test_layouts(tmp_path, pattern):
    root = make(tmp_path, pattern, each=1)
    recordings, quarantined = source(root).recordings()
    assert quarantined == []
    assert [(r.track, r.label) for r in recordings] == [(f'{g}.00000', g) for g in GENRES]
    assert [r.path for r in recordings] == [pattern.format(genre=g, n=0) for g in GENRES]
    assert len(source(root).load(recordings[0])) > 1500


def test_other_things_in_root_do_not_matter(tmp_path):
    root = make(tmp_path, 'Data/genres_original/{genre}/{genre}.{n:05}.wav', each=1)
    for name in ('Data/images_original/blues/blues00000.png', 'Data/features_30_sec.csv'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'x')
    for name in ('._blues.00000.wav', 'cover.jpg'):
        (root / 'Data/genres_original/blues' / name).write_bytes(b'x')
    write_tone(root / '__MACOSX/blues/blues.00000.wav', 999)
    write_tone(root / '.git/blues.00000.wav', 999)
    write_tone(root / 'too/far/down/blues/blues.00000.wav', 999)
    write_tone(root / 'demo/podcast.wav', 999)
    recordings, quarantined = source(root).recordings()
    assert (len(recordings), quarantined) == (10, [])
    said = '1 files of audio are neither in a folder of a genre nor called like a track, and are not read: '
    assert said + 'demo/podcast.wav' in source(root).notes()


def test_files_in_genre_folders_that_are_no_tracks_are_quarantined(tmp_path):
    root = make(tmp_path, each=1)
    for name in ('blues/mine.wav', 'blues/blues.00100.wav', 'jazz/rock.00007.wav'):
        write_tone(root / name, 999)
    _, quarantined = source(root).recordings()
    assert {item.path: item.reason for item in quarantined} == {
        'blues/mine.wav': 'not named as a track of blues, such as blues.00000.wav',
        'blues/blues.00100.wav': 'not named as a track of blues, such as blues.00000.wav',
        'jazz/rock.00007.wav': 'not named as a track of jazz, such as jazz.00000.wav',
    }


@pytest.mark.parametrize('name', ['my_genres.tar.gz', 'archive.zip'])
def test_archives(tmp_path, name):
    make(tmp_path / 'a' / 'genres', each=2)
    path = tmp_path / name
    if name.endswith('.zip'):
        with zipfile.ZipFile(path, 'w') as file:
            for item in (tmp_path / 'a').rglob('*.wav'):
                file.write(item, item.relative_to(tmp_path / 'a'))
    else:
        with tarfile.open(path, 'w:gz') as file:
            file.add(tmp_path / 'a' / 'genres', 'genres')
    (tmp_path / 'sturm_index.txt').write_text('blues.00000.wav ::: A ::: T\n')
    write_lists(tmp_path / 'splits')
    from_archive = source(path)
    assert from_archive.root == str(path)
    shutil.copytree(tmp_path / 'splits', tmp_path / 'a' / 'splits')
    shutil.copy(tmp_path / 'sturm_index.txt', tmp_path / 'a')
    assert from_archive.recordings() == source(tmp_path / 'a').recordings()
    assert from_archive.fingerprint == source(tmp_path / 'a').fingerprint
    path.write_bytes(path.read_bytes()[:-40])
    assert name in refusal(path) and 'cut off' in refusal(path)


def test_the_published_archive_is_told_from_others(tmp_path):
    make(tmp_path / 'genres', each=1)
    with tarfile.open(tmp_path / 'genres.tar.gz', 'w:gz') as file:
        file.add(tmp_path / 'genres', 'genres')
    notes = source(tmp_path / 'genres.tar.gz').notes()
    assert any('genres.tar.gz is not the published archive' in note for note in notes)


@pytest.mark.parametrize('second', ['blues/blues.00000.au', 'more/blues00000.wav'])
def test_the_same_track_twice(tmp_path, second):
    write_tone(make(tmp_path, each=1) / second, 999)
    message = refusal(tmp_path)
    assert 'blues.00000 twice' in message and second in message
    assert 'blues/blues.00000.wav' in message


def test_root_that_holds_no_tracks(tmp_path):
    assert 'not set' in refusal('')
    assert 'does not exist' in refusal(tmp_path / 'nowhere')
    (tmp_path / 'notes.txt').write_text('x')
    assert 'neither a folder nor an archive' in refusal(tmp_path / 'notes.txt')
    assert 'no track of GTZAN' in refusal(tmp_path)
    (tmp_path / 'genres.tar.gz').write_bytes(b'x')
    assert 'is genres.tar.gz meant?' in refusal(tmp_path)
    make(tmp_path / 'genres')
    assert 'tracks of blues only' in refusal(tmp_path / 'genres' / 'blues')
    assert 'sample_rate_hz' in refusal(tmp_path / 'genres', sample_rate_hz=22)


def test_missing_tracks_are_counted(tmp_path):
    notes = source(make(tmp_path, each=3)).notes()
    assert any(note.startswith('970 of the 1000 tracks') for note in notes), notes


# Index


def test_artists_are_groups_with_the_index(tmp_path):
    root = make(tmp_path / 'root', each=3)
    lines = [
        '## a comment',
        'blues.00000.wav ::: John Lee Hooker ::: Sugar ::: Mama',
        'rock.00001.au ::: JOHN LEE  HOOKER :::',
        'jazz.00000.wav ::: ::: Body and Soul',
        'jazz.00002.wav ::: :::',
        'disco.00000.wav ::: Earth Wind and Fire ::: Fantasy',
        'disco.00001.wav ::: Earth, Wind & Fire ::: Sing a Song',
    ]
    (tmp_path / 'GTZANindex.txt').write_text('\n'.join(lines))
    found = source(root)
    by_track = {recording.track: recording for recording in found.recordings()[0]}
    assert by_track['blues.00000'].title == 'Sugar ::: Mama'
    assert by_track['rock.00001'].group == by_track['blues.00000'].group == 'artist:John Lee Hooker'
    assert by_track['jazz.00000'].title == 'Body and Soul'
    for track in ('jazz.00000', 'jazz.00001', 'jazz.00002'):  # no artist, not listed, nothing known
        assert by_track[track].group == f'recording:jazz/{track}.wav'
    assert by_track['disco.00001'].group == by_track['disco.00000'].group
    assert found.group_key() == 'artist, else recording'
    assert any('GTZANindex.txt; it leaves the artist of 26 of the 30' in n for n in found.notes())


def test_without_the_index_it_is_said(tmp_path):
    found = source(make(tmp_path / 'root'))
    assert found.group_key() == 'recording'
    assert any(note.startswith('no index of artists') for note in found.notes())
    before = found.fingerprint
    (tmp_path / 'elsewhere.txt').write_text('blues.00000.wav ::: A ::: T\n')
    with_index = source(tmp_path / 'root', index=str(tmp_path / 'elsewhere.txt'))
    assert not any(note.startswith('no index') for note in with_index.notes())
    assert with_index.fingerprint != before


@pytest.mark.parametrize(
    'text, parts',
    [
        (b'', ('lists no track',)),
        (b'## only comments\n', ('lists no track',)),
        (b'blues.00000.wav ::: A ::: T\nblues.00001.wav\tA\tT\n', ('line 2', ':::')),
        (b'blues.00000.wav ::: A\n', ('line 1', 'expected "blues.00000.wav')),
        (b'polka.00000.wav ::: A ::: T\n', ('line 1', 'polka')),
        (b'blues.00100.wav ::: A ::: T\n', ('line 1', 'blues.00100')),
        (b'blues.00000.wav ::: A ::: T\nblues.00000.au ::: B :::\n', ('line 2', 'earlier line')),
        (b'blues.00000.wav ::: A ::: T\nblues.00001.wav ::: Andr\xe9 ::: T\n', ('line 2', '0xe9')),
    ],
)
def test_mistakes_in_the_index(tmp_path, text, parts):
    make(tmp_path, each=1)
    (tmp_path / 'sturm_index.txt').write_bytes(text)
    message = refusal(tmp_path)
    assert all(part in message for part in ('sturm_index.txt', *parts)), message


def test_an_index_that_is_not_there(tmp_path):
    make(tmp_path, each=1)
    assert 'index' in refusal(tmp_path, index=str(tmp_path / 'no.txt'))


# Split lists


def published(found):
    """The lists that are files, without the one that is drawn."""
    return {name: parts for name, parts in found.protocols().items() if name != 'paper'}


def test_the_papers_list_is_a_quarter_of_each_genre_whatever_is_there(tmp_path):
    whole = source(make(tmp_path / 'whole', each=100)).protocols()['paper']
    counts = collections.Counter((track.split('.')[0], part) for track, part in whole.items())
    assert set(counts.values()) == {25, 75} and len(counts) == 20
    some = source(make(tmp_path / 'some', each=7)).protocols()['paper']
    assert some == {track: part for track, part in whole.items() if track in some}


@pytest.mark.parametrize('place', ['', 'splits', '..', '../splits'])
def test_lists_are_found_in_and_beside_root(tmp_path, place):
    root = make(tmp_path / 'root', 'genres/{genre}/{genre}{n:05}.au', each=3)
    assert published(source(root)) == {}
    write_lists(root / place)
    write_lists(root / place, 'stratified', train='jazz.00002\r\n\r\ngenres/pop/pop.00000.au\r\n')
    assert published(source(root)) == {
        'fault_filtered': {'rock.00000': 'train', 'rock.00001': 'val', 'rock.00002': 'test'},
        'stratified': {
            'jazz.00002': 'train',
            'pop.00000': 'train',
            'rock.00001': 'val',
            'rock.00002': 'test',
        },
    }


def test_absent_tracks_of_a_list_are_counted(tmp_path):
    root = make(tmp_path / 'root', each=1)
    write_lists(tmp_path / 'lists')
    found = source(root, splits=str(tmp_path / 'lists'))
    assert published(found) == {'fault_filtered': {'rock.00000': 'train'}}
    assert '2 of the 3 tracks of the list fault_filtered are missing' in found.notes()


@pytest.mark.parametrize(
    'text, parts',
    [
        ('blues/blues.00000.wav\nblues/blues.00100.wav\n', ('line 2', 'blues.00100')),
        ('polka/polka.00000.wav\n', ('line 1', 'polka')),
        ('blues,0,train\n', ('line 1', 'blues/blues.00029.wav')),
        ('blues/blues.00000.wav 0\n', ('line 1',)),
        ('rock/rock.00005.wav\nrock/rock.00005.wav\n', ('line 2', 'in train already')),
    ],
)
def test_mistakes_in_a_list(tmp_path, text, parts):
    make(tmp_path, each=1)
    write_lists(tmp_path / 'splits', train=text)
    message = refusal(tmp_path)
    assert all(part in message for part in ('train_filtered.txt', *parts)), message


def test_lists_that_overlap_or_lack_one(tmp_path):
    make(tmp_path, each=1)
    write_lists(tmp_path / 'splits', valid='rock/rock.00000.wav\n')
    message = refusal(tmp_path)
    assert 'valid_filtered.txt, line 1' in message and 'in train already' in message
    os.remove(tmp_path / 'splits' / 'valid_filtered.txt')
    assert 'lacks valid_filtered.txt' in refusal(tmp_path)
    assert 'is no folder' in refusal(tmp_path, splits=str(tmp_path / 'nowhere'))
    assert 'no split lists' in refusal(tmp_path, splits=str(tmp_path / 'rock'))


def test_pickled_sources_are_complete(tmp_path):
    root = make(tmp_path)
    write_lists(tmp_path / 'splits')
    found = source(root)
    expected = found.recordings(), found.fingerprint, found.notes(), found.protocols()
    again = pickle.loads(pickle.dumps(found))
    assert (again.recordings(), again.fingerprint, again.notes(), again.protocols()) == expected


# Prepared


def test_prepare_with_the_damaged_track_of_kaggle(tmp_path):
    root = make(tmp_path / 'root', 'Data/genres_original/{genre}/{genre}.{n:05}.wav')
    bad = root / 'Data/genres_original/jazz/jazz.00054.wav'
    write_tone(bad, 1234)
    whole = source(root)
    assert 'jazz.00054' in tracks(whole)
    jazz = next(r for r in whole.recordings()[0] if r.track == 'jazz.00054')
    assert whole.load(jazz).any()  # used where it is intact
    bad.write_bytes(np.random.default_rng(0).bytes(20_000))  # Kaggle's has no RIFF header
    write_lists(tmp_path / 'splits', test='jazz/jazz.00054.wav\n')
    settings = command.settings_from(
        ['gtzan', f'--source={root}', '--sample_rate_hz=8000', f'--out={tmp_path / "out"}']
    )
    folder = prepare.prepare(request.load_source(settings), tmp_path / 'out', 5.0)
    manifest = prepare.read_manifest(folder)
    assert manifest['labels'] == GENRES and len(manifest['tracks']) == 20
    (quarantined,) = manifest['quarantined']
    assert quarantined['path'].endswith('jazz/jazz.00054.wav')
    with pytest.raises(BadAudio) as caught:
        source(root).load(jazz)
    assert quarantined['reason'] == str(caught.value) and 'not audio' in quarantined['reason']
    assert manifest['protocols']['fault_filtered']['rock.00000'] == 'train'
    assert 'no index of artists' in prepare.summary(manifest)


@pytest.mark.parametrize(
    'argument, parts',
    [
        ('--sample_rate_hz=abc', ('--sample_rate_hz=abc', 'expected int')),
        ('--sample_rate_hz=22050.5', ('--sample_rate_hz=22050.5', 'expected int')),
        ('--index=5', ('index: 5 is no file',)),  # a name, though it looks like a number
        ('--indx=a.txt', ('--indx', "did you mean 'index'")),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, argument, parts):
    make(tmp_path, each=1)
    with pytest.raises(UserError) as caught:
        request.load_source(command.settings_from(['gtzan', f'--root={tmp_path}', argument])).recordings()
    assert all(part in str(caught.value) for part in parts), str(caught.value)


# Real data


@real
def test_real_tracks():
    found = Source(root=str(DATA))
    recordings, quarantined = found.recordings()
    assert quarantined == [] and [r.track for r in recordings] == [f'{g}.00000' for g in GENRES]
    assert found.sample_rate_hz() == 22050
    assert recordings[0].artist == 'John Lee Hooker'
    for recording in recordings[::4]:
        expected = soundfile.read(DATA / recording.path, dtype='int16')[0]
        loaded = found.load(recording)
        assert len(loaded) == len(expected) >= 29 * 22050
        assert np.abs(loaded.astype(int) - expected).max() <= 1


@real
def test_real_lists_and_index_on_all_thousand_names(tmp_path):
    """Published counts; and no artist crosses the fault-filtered lists, which is what they are for."""
    for genre in GENRES:
        (tmp_path / genre).mkdir()
        for n in range(100):
            (tmp_path / genre / f'{genre}.{n:05}.au').write_text(f'{genre} {n}')
    found = Source(root=str(tmp_path), index=str(DATA / 'sturm_index.txt'), splits=str(DATA / 'splits'))
    assert not any('missing' in note for note in found.notes())
    recordings = {recording.track: recording for recording in found.recordings()[0]}
    assert len(recordings) == 1000
    protocols = found.protocols()
    counts = {name: collections.Counter(parts.values()) for name, parts in protocols.items()}
    assert counts == {
        'paper': {'train': 750, 'test': 250},
        'fault_filtered': {'train': 443, 'val': 197, 'test': 290},
        'stratified': {'train': 500, 'val': 250, 'test': 250},
    }

    def crossing(name: str) -> int:
        parts = collections.defaultdict(set)
        for track, part in protocols[name].items():
            parts[recordings[track].group].add(part)
        return sum(len(found) > 1 for found in parts.values())

    assert crossing('fault_filtered') == 0 and crossing('stratified') > 50
    artists = collections.Counter(recording.artist for recording in recordings.values())
    # Sturm, An Analysis of the GTZAN Music Genre Dataset, 2012
    assert (artists['Bob Marley'], artists['Britney Spears']) == (35, 24)
