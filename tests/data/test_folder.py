"""Folders and track lists as users have them, with every mistake they can make in them."""

import csv
import errno
import os
import pathlib
import pickle
import shutil
import unicodedata

import librosa
import numpy as np
import pytest
import soundfile

from genre_jax.data import audio
from genre_jax.data.folder import Source
from genre_jax.errors import UserError
from tests.program import DATA


def write_tone(path: pathlib.Path, frequency_hz: float, rate_hz: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(rate_hz) / rate_hz
    samples = 0.5 * np.sin(2 * np.pi * frequency_hz * time_s)
    form = path.suffix[1:].upper().replace('AIF', 'AIFF')
    soundfile.write(path, samples, rate_hz, format=form)


def make(root: pathlib.Path, *names: str) -> pathlib.Path:
    for number, name in enumerate(names):
        write_tone(root / name, 200 + 10 * number)
    return root


def write_csv(root: pathlib.Path, text: str, name: str = 'tracks.csv') -> pathlib.Path:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def tracks(source: Source) -> list[str]:
    return [recording.track for recording in source.recordings()[0]]


def groups(source: Source) -> list[str]:
    return [recording.group for recording in source.recordings()[0]]


def refusal(root: pathlib.Path | str, **settings) -> str:
    with pytest.raises(UserError) as caught:
        Source(root=str(root), **settings).recordings()
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def six(tmp_path) -> pathlib.Path:
    """A folder with six files a.wav ... f.wav and no class folders, for a CSV to name."""
    return make(tmp_path / 'six', *(f'{name}.wav' for name in 'abcdef'))


# Folders


def test_folders_are_classes(tmp_path):
    make(tmp_path, 'Rock/b.WAV', 'Rock/disc 1/ä ö.Flac', 'जैज़/x.mp3', 'Rock/a.ogg', 'جاز/y.AIF')
    (tmp_path / 'Rock' / 'cover.jpg').write_bytes(b'\xff\xd8')
    (tmp_path / 'Rock' / 'notes.txt').write_text('remarks')
    recordings, quarantined = Source(root=str(tmp_path)).recordings()
    assert quarantined == []
    assert [(item.track, item.label) for item in recordings] == [
        ('Rock/a.ogg', 'Rock'),
        ('Rock/b.WAV', 'Rock'),
        ('Rock/disc 1/ä ö.Flac', 'Rock'),
        ('جاز/y.AIF', 'جاز'),
        ('जैज़/x.mp3', 'जैज़'),
    ]
    assert all(item.group == f'recording:{item.path}' for item in recordings)
    assert Source(root=str(tmp_path)).group_key() == 'recording'


def test_hidden_files_and_folders_are_skipped(tmp_path):
    make(
        tmp_path,
        'a/1.wav',
        'b/1.wav',
        'a/._1.wav',
        '.git/x.wav',
        '__MACOSX/a/1.wav',
        'b/.cache/2.wav',
        'a/__MACOSX/3.wav',
    )
    (tmp_path / 'a' / '.DS_Store').write_bytes(b'x')
    assert tracks(Source(root=str(tmp_path))) == ['a/1.wav', 'b/1.wav']


def test_symlinked_folders_are_followed_without_looping(tmp_path):
    make(tmp_path / 'store', 'x.wav', 'deep/y.wav')
    root = make(tmp_path / 'root', 'b/1.wav')
    (root / 'a').symlink_to(tmp_path / 'store')
    (tmp_path / 'store' / 'deep' / 'loop').symlink_to(tmp_path / 'store')
    (root / 'b' / 'up').symlink_to(root)
    assert tracks(Source(root=str(root))) == ['a/deep/y.wav', 'a/x.wav', 'b/1.wav']


def test_a_linked_class_is_a_class_whatever_stands_between(tmp_path):
    root = make(tmp_path / 'root', 'a/1.wav', 'c/2.wav')
    for name in ('b', 'd'):
        (root / name).symlink_to(root / 'a')
    source = Source(root=str(root))
    assert tracks(source) == ['a/1.wav', 'b/1.wav', 'c/2.wav', 'd/1.wav']
    assert 'different labels: a/1.wav (a) = b/1.wav (b) = d/1.wav (d)' in source.notes()[-1]


def test_files_outside_class_folders_and_unread_formats_are_quarantined(tmp_path):
    make(tmp_path, 'a/1.wav', 'b/1.wav', 'stray.wav')
    (tmp_path / 'a' / 'song.w64').write_bytes(b'x')
    recordings, quarantined = Source(root=str(tmp_path)).recordings()
    assert len(recordings) == 2
    assert {(item.path, item.reason) for item in quarantined} == {
        ('stray.wav', 'not inside a class folder'),
        ('a/song.w64', 'format .w64 is not read: convert it to WAV or FLAC'),
    }


def test_names_that_are_no_unicode_are_quarantined(tmp_path):
    make(tmp_path, 'a/1.wav', 'b/1.wav')
    shutil.copy(tmp_path / 'a' / '1.wav', os.fsencode(tmp_path) + b'/a/\xe9t\xe9.wav')
    _, quarantined = Source(root=str(tmp_path)).recordings()
    assert [item.path for item in quarantined] == ['a/\\xe9t\\xe9.wav']
    assert Source(root=str(tmp_path)).fingerprint


@pytest.mark.parametrize(
    'names, parts',
    [
        ((), ('no class',)),
        (('1.wav', '2.wav'), ('no class', '1.wav: not inside a class folder')),
        (('only/1.wav',), ("1 class ('only')", 'at least 2', 'path,label')),
        (('Rock/1.wav', 'rock/1.wav'), ("'Rock'", "'rock'", 'differ only')),
        (('Stra\u00dfe/1.wav', 'STRASSE/1.wav'), ('differ only',)),
        (('caf\u00e9/1.wav', 'cafe\u0301/1.wav'), ('differ only',)),
    ],
)
def test_too_few_or_ambiguous_classes(tmp_path, names, parts):
    make(tmp_path, *names)
    (tmp_path / 'empty').mkdir()
    message = refusal(tmp_path)
    assert all(part in message for part in (str(tmp_path), *parts)), message


def test_root_that_is_none(tmp_path):
    (tmp_path / 'a.txt').write_text('path,label\n')
    assert 'does not exist' in refusal(tmp_path / 'nowhere')
    assert 'no CSV' in refusal(tmp_path / 'a.txt')
    assert 'not set' in refusal('')
    assert 'does not exist' in refusal(tmp_path / 'tracks.csv')


def test_wrong_settings(tmp_path):
    make(tmp_path, 'a/1.wav', 'b/1.wav')
    assert "'artists'" in refusal(tmp_path, group='artists')
    assert "no column 'artist'" in refusal(tmp_path, group='artist')
    for rate_hz in (22, '16k', 22050.5):
        assert 'sample_rate_hz' in refusal(tmp_path, sample_rate_hz=rate_hz)


# CSV


def test_csv_with_all_columns(six, tmp_path):
    absolute = tmp_path / 'elsewhere' / 'g.wav'
    write_tone(absolute, 333)
    write_csv(
        six,
        ' Path ;LABEL;Artist;album;Group;split;start_s;END_S;title\n'
        'a.wav; Rock ;A;X;;train;;;"semi;colon"\n'
        'b.wav;Jazz;;Y;;Valid;0.25;0.5;\n'
        'b.wav;Jazz;;Y;;dev;0.5;;\n'
        './sub/../c.wav;Jazz;C;;g 1;TEST;;0.75;t\n'
        ';;;;;;;;\n\n'
        f'{absolute};Jazz\n'
        f'{six}/d.wav;Rock;;;;validation;;;\n',
    )
    recordings, quarantined = Source(root=str(six)).recordings()
    assert quarantined == []
    seen = [
        (r.track, r.label, r.artist, r.album, r.group, r.split, r.start_s, r.end_s, r.path)
        for r in recordings
    ]
    assert seen == [
        ('a.wav', 'Rock', 'A', 'X', 'artist:A', 'train', 0.0, None, 'a.wav'),
        ('b.wav#0.25-0.5', 'Jazz', '', 'Y', 'album:Y', 'val', 0.25, 0.5, 'b.wav'),
        ('b.wav#0.5-end', 'Jazz', '', 'Y', 'album:Y', 'val', 0.5, None, 'b.wav'),
        ('c.wav#0-0.75', 'Jazz', 'C', '', 'group:g 1', 'test', 0.0, 0.75, 'c.wav'),
        (str(absolute), 'Jazz', '', '', f'recording:{absolute}', '', 0.0, None, str(absolute)),
        ('d.wav', 'Rock', '', '', 'recording:d.wav', 'val', 0.0, None, 'd.wav'),
    ]
    assert [r.title for r in recordings] == ['semi;colon', '', '', 't', '', '']
    assert Source(root=str(six / 'tracks.csv')).recordings() == (recordings, [])


@pytest.mark.parametrize('column', ['tonic_hz', 'Tonic'])
def test_tonics_are_hertz_or_notes(six, column):
    hertz = {'146.8': 146.8, ' 97 ': 97.0, '2.2e2': 220.0, '20': 20.0, '': 0.0}
    # librosa counts the octaves of names likewise; here a name without one means the fourth.
    notes = {
        name: librosa.note_to_hz(name if name[-1].isdigit() else f'{name}4')
        for name in (
            'A',
            'C',
            'B',
            'C#',
            'Db',
            'Eb',
            'E#',
            'Cb',
            'A4',
            'D3',
            'G#2',
            'F\u266f5',
            'B\u266d1',
        )
    }
    notes |= {'d3': notes['D3'], 'eb': notes['Eb'], 'b': notes['B'], 'c#': notes['C#']}
    wanted = hertz | notes
    rows = [f'a.wav,{"xy"[i % 2]},{i / 100},{text}' for i, text in enumerate(wanted)]
    write_csv(six, '\n'.join([f'path,label,start_s,{column}', *rows]))
    recordings, _ = Source(root=str(six)).recordings()
    np.testing.assert_allclose([r.tonic_hz for r in recordings], list(wanted.values()), rtol=1e-9)


@pytest.mark.parametrize(
    'text',
    ['H', 'Sa', 'kali 1', 'C##', 'D9', 'D-1', 'C sharp', '146.8 Hz', '0', '-146.8', '19', '6000', 'nan',
     'inf', '"146,8"'],
)  # fmt: skip
def test_wrong_tonics(six, text):
    write_csv(six, f'path,label,tonic\na.wav,x,D\nb.wav,y,{text}\n')
    message = refusal(six)
    told = text.strip('"')
    assert f"tracks.csv, line 3: the tonic is '{told}'; expected hertz" in message


def test_durations_come_from_headers_and_spans(six):
    (six / 'bad.wav').write_text('text')
    write_csv(six, 'path,label,start_s,end_s\na.wav,x,,\nb.wav,y,0.25,0.5\nc.wav,x,0.4,\nbad.wav,y,,\n')
    source = Source(root=str(six))
    lengths_s = [source.duration_s(recording) for recording in source.recordings()[0]]
    np.testing.assert_allclose(lengths_s, [1.0, 0.25, 0.6, 0.0])


@pytest.mark.parametrize('delimiter', [',', ';', '\t'])
@pytest.mark.parametrize('newline', ['\n', '\r\n', '\r'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
def test_dialects(six, delimiter, newline, encoding):
    rows = [('label', 'path'), ('Größe', 'a.wav'), ('b', 'b.wav')]
    text = newline.join(delimiter.join(row) for row in rows)
    write_csv(six, text.encode(encoding))
    assert [r.label for r in Source(root=str(six)).recordings()[0]] == ['Größe', 'b']


def test_a_csv_wins_over_folders_and_others_are_named(tmp_path):
    make(tmp_path, 'a/1.wav', 'b/1.wav', 'a/2.wav')
    write_csv(tmp_path, 'artist,born\nX,1950\n', 'people.csv')
    folders = Source(root=str(tmp_path))
    assert len(tracks(folders)) == 3
    assert any('people.csv' in note for note in folders.notes())
    write_csv(tmp_path, 'path,label\na/1.wav,x\nb/1.wav,y\n', 'LIST.CSV')
    assert tracks(Source(root=str(tmp_path))) == ['a/1.wav', 'b/1.wav']
    write_csv(tmp_path, 'label;path\nx;a/2.wav\ny;b/1.wav\n', 'other.csv')
    assert 'LIST.CSV, other.csv' in refusal(tmp_path)
    assert tracks(Source(root=str(tmp_path / 'other.csv'))) == ['a/2.wav', 'b/1.wav']


@pytest.mark.parametrize(
    'text, parts',
    [
        ('', ('is empty',)),
        ('  \n\n', ('is empty',)),
        ('path,label\n', ('lists no recordings',)),
        ('path,lable\na.wav,x\n', ('line 1', "'label'", 'lable -> label')),
        ('file,label\na.wav,x\n', ('line 1', "'path'")),
        ('file;lable\na.wav;x\n', ('line 1', "'path' among file, lable")),
        ('path,label,path\na.wav,x,b.wav\n', ('line 1', "called 'path'")),
        ('path,label,tonic,tonic_hz\na.wav,x,D,146\n', ('line 1', "called 'tonic_hz'")),
        ('path,label\na.wav,x\n,y\n', ('line 3', 'path is empty')),
        ('path,label\na.wav,x\nb.wav, \n', ('line 3', 'label is empty')),
        ('path,label\na.wav,x\nb.wav\n', ('line 3', 'label is empty')),
        ('path,label\na.wav,x,y\n', ('line 2', '3 fields', '2 columns')),
        ('path,label,split\na.wav,x,train\nb.wav,y,tset\n', ('line 3', "'tset'", 'train, val')),
        ('path,label,start_s\na.wav,x,1:30\n', ('line 2', 'start_s', "'1:30'")),
        ('path;label;start_s\na.wav;x;1,5\n', ('line 2', 'start_s', "'1,5'")),
        ('path,label,start_s\na.wav,x,-1\n', ('line 2', 'start_s', "'-1'")),
        ('path,label,end_s\na.wav,x,nan\n', ('line 2', 'end_s', "'nan'")),
        ('path,label,end_s\na.wav,x,inf\n', ('line 2', 'end_s', "'inf'")),
        ('path,label,start_s,end_s\na.wav,x,2,2\n', ('line 2', 'end_s is 2')),
        ('path,label\na.wav,x\nb.wav,y\na.wav,x\n', ('line 4', 'line 2', 'a.wav')),
        ('path,label\na.wav,x\n./q/../a.wav,y\n', ('line 3', 'line 2')),
        ('path,label,start_s\na.wav,x,1\na.wav,x,1.0\n', ('line 3', 'line 2', '1 s')),
        ('path,label\na.wav,"x\nb.wav,y\n', ('not a valid CSV',)),
        ('path,label\na.wav,x\nb.wav,x\n', ("1 class ('x')", 'at least 2')),
        ('path,label\na.wav,x\nb.wav,y\nc.wav,X\n', ("'X'", "'x'", 'differ only')),
        ('path,label\nno/1.wav,x\nno/2.wav,y\n', ('none of its 2 files', 'six/no/1.wav')),
        ('path,label\na.wav,x\nno.wav,y\n', ("1 class ('x')", 'no.wav: no such file')),
    ],
)
def test_mistakes_in_a_csv(six, text, parts):
    write_csv(six, text)
    message = refusal(six / 'tracks.csv')
    assert all(part in message for part in ('tracks.csv', *parts)), message


@pytest.mark.parametrize('encoding, line', [('latin-1', 3), ('cp1252', 3)])
def test_other_encodings(six, encoding, line):
    write_csv(six, 'path,label\na.wav,x\nb.wav,\u00e9t\u00e9\n'.encode(encoding))
    message = refusal(six / 'tracks.csv')
    assert f'tracks.csv, line {line}: byte 0x' in message and 'as UTF-8' in message


def test_listed_but_missing_files_are_quarantined(six):
    write_csv(six, 'path,label\na.wav,x\nno.wav,y\nb.wav,y\n')
    recordings, quarantined = Source(root=str(six)).recordings()
    assert [r.track for r in recordings] == ['a.wav', 'b.wav']
    assert [(q.path, q.reason) for q in quarantined] == [('no.wav', 'no such file')]


def test_mistyped_optional_columns_are_pointed_out(six):
    write_csv(six, 'path,label,artists,title,seconds\na.wav,x,A,T,1\nb.wav,y,A,T,1\n')
    notes = Source(root=str(six / 'tracks.csv')).notes()
    assert len(notes) == 1 and "'artists'" in notes[0] and "'artist'" in notes[0]


@pytest.mark.parametrize(
    ('columns', 'meant'),
    [
        ('filename,genre', 'filename -> path, genre -> label'),
        ('ID,File_Path,Class', 'file_path -> path, class -> label'),
        ('path,category', 'category -> label'),
        ('artist,title', ''),
    ],
)
def test_columns_of_other_programs_are_proposed(six, columns, meant):
    write_csv(six, f'{columns}\na.wav,x,y\n' if columns[:2] == 'ID' else f'{columns}\na.wav,x\n')
    said = refusal(six / 'tracks.csv')
    assert said.partition('; ')[2] == (meant and f'columns that may be meant: {meant}')
    assert (meant or 'no column path') in refusal(six)


# Groups


def test_spellings_of_an_artist_are_one_group_across_classes(six):
    write_csv(
        six,
        'path,label,artist\na.wav,x,Ravi  Shankar\nb.wav,y,ravi shankar \nc.wav,x,Other\nd.wav,y,\n',
    )
    source = Source(root=str(six))
    assert groups(source) == ['artist:Ravi Shankar'] * 2 + ['artist:Other', 'recording:d.wav']
    assert source.group_key() == 'artist, else recording'


@pytest.mark.parametrize('other', ['Beyonce\u0301', 'BEYONC\u00c9', ' Beyonc\u00e9\u200b'])
def test_an_accent_that_is_stored_in_another_way_is_no_other_artist(six, other):
    write_csv(six, f'path,label,artist\na.wav,x,Beyonc\u00e9\nb.wav,y,{other}\nc.wav,x,Beyonce\n')
    assert groups(Source(root=str(six))) == ['artist:Beyonc\u00e9'] * 2 + ['artist:Beyonce']


def test_levels_can_be_forced(six):
    write_csv(six, 'path,label,artist,album,group\na.wav,x,A,X,1\nb.wav,y,A,Y,\nc.wav,y,,X,\nd.wav,y,,,\n')

    def outcome(level: str) -> tuple[list[str], str]:
        source = Source(root=str(six), group=level)
        return groups(source), source.group_key()

    assert outcome('auto') == (
        ['group:1', 'artist:A', 'album:X', 'recording:d.wav'],
        'group column, else artist, else album, else recording',
    )
    assert outcome('artist') == (
        ['artist:A', 'artist:A', 'recording:c.wav', 'recording:d.wav'],
        'artist, else recording',
    )
    assert outcome('album') == (
        ['album:X', 'album:Y', 'album:X', 'recording:d.wav'],
        'album, else recording',
    )
    assert outcome('recording') == ([f'recording:{n}.wav' for n in 'abcd'], 'recording')


def test_spans_of_one_file_share_a_group_even_under_two_artists(six):
    write_csv(
        six,
        'path,label,artist,start_s,end_s\na.wav,x,B,0,0.4\na.wav,y,A,0.4,\n'
        'b.wav,x,B,,\nc.wav,y,C,,\nd.wav,x,,0,0.5\nd.wav,x,,0.5,\n',
    )
    assert groups(Source(root=str(six))) == (['artist:A'] * 3 + ['artist:C'] + ['recording:d.wav'] * 2)


def test_copies_share_a_group_and_are_noted(tmp_path):
    make(tmp_path, 'a/1.wav', 'a/2.wav', 'b/1.wav')
    shutil.copy(tmp_path / 'a' / '1.wav', tmp_path / 'a' / 'copy.wav')
    shutil.copy(tmp_path / 'a' / '2.wav', tmp_path / 'b' / '3.wav')
    (tmp_path / 'a' / 'empty.wav').touch()
    (tmp_path / 'b' / 'empty.wav').touch()
    source = Source(root=str(tmp_path))
    by_track = dict(zip(tracks(source), groups(source), strict=True))
    assert by_track['a/1.wav'] == by_track['a/copy.wav'] == 'recording:a/1.wav'
    assert by_track['a/2.wav'] == by_track['b/3.wav'] == 'recording:a/2.wav'
    assert by_track['a/empty.wav'] != by_track['b/empty.wav']
    assert len(set(by_track.values())) == 5
    first, second = source.notes()
    assert first.startswith('4 files are byte-identical copies')
    assert 'different labels' in second and 'a/2.wav (a)' in second and 'b/3.wav (b)' in second


def test_a_class_that_is_a_copy_of_another_takes_a_few_lines(tmp_path):
    make(tmp_path, *(f'rock/{i}.wav' for i in range(25)), *(f'folk/{i}.wav' for i in range(2)))
    shutil.copytree(tmp_path / 'rock', tmp_path / 'pop')
    for i in range(20):
        shutil.copy(tmp_path / 'rock' / '0.wav', tmp_path / 'pop' / f'again{i}.wav')
    said = Source(root=str(tmp_path)).notes()
    assert any('70 files are byte-identical copies' in line for line in said)
    assert said[-1] == 'byte-identical copies carry different labels: 15 more sets of them'
    assert len(said) == 12 and all(len(line) < 500 for line in said)


def test_copies_join_artists(six):
    shutil.copy(six / 'a.wav', six / 'b.wav')
    write_csv(six, 'path,label,artist\na.wav,x,Z\nb.wav,y,A\nc.wav,y,Z\nd.wav,x,D\n')
    assert groups(Source(root=str(six))) == ['artist:A', 'artist:A', 'artist:A', 'artist:D']


# Rate, audio, fingerprint


def test_most_common_rate_wins_and_the_higher_of_equals(tmp_path):
    for name, rate_hz in (('a/1', 8000), ('a/2', 16000), ('b/1', 16000), ('b/2', 8000)):
        write_tone(tmp_path / f'{name}.wav', 300, rate_hz)
    (tmp_path / 'b' / 'broken.wav').write_bytes(b'no audio')
    assert Source(root=str(tmp_path)).sample_rate_hz() == 16000
    write_tone(tmp_path / 'b' / '3.wav', 300, 8000)
    assert Source(root=str(tmp_path)).sample_rate_hz() == 8000
    assert Source(root=str(tmp_path), sample_rate_hz=22050).sample_rate_hz() == 22050


def test_no_file_is_audio(tmp_path):
    for name in ('a/1.wav', 'b/1.wav'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text('text')
    with pytest.raises(UserError, match='none of the 2 files .* a/1.wav: not audio'):
        Source(root=str(tmp_path)).sample_rate_hz()


def test_load_decodes_the_span_at_the_common_rate(six):
    write_tone(six / 'g.wav', 440, 16000)
    write_csv(six, 'path,label,start_s,end_s\ng.wav,x,0.25,0.75\na.wav,y,,\nb.wav,y,,\n')
    source = Source(root=str(six))
    recordings, _ = source.recordings()
    loaded = pickle.loads(pickle.dumps(source)).load(recordings[0])
    assert loaded.dtype == np.int16 and len(loaded) == 4000
    np.testing.assert_array_equal(loaded, audio.decode(six / 'g.wav', 8000, 0.25, 0.75))
    (six / 'g.wav').write_bytes(b'')
    with pytest.raises(audio.BadAudio, match='empty file'):
        source.load(recordings[0])


def test_pickled_sources_are_complete_and_small(six):
    write_csv(
        six,
        'path,label,artist\n'
        + ''.join(f'{name}.wav,{"xy"[number % 2]},A\n' for number, name in enumerate('abcdef')),
    )
    source = Source(root=str(six))
    expected = source.recordings(), source.fingerprint, source.notes()
    content = pickle.dumps(source)
    assert b'a.wav' not in content
    again = pickle.loads(content)
    assert (again.recordings(), again.fingerprint, again.notes()) == expected


def test_fingerprint_follows_content_not_place_or_time(tmp_path):
    root = make(tmp_path / 'one', 'a/1.wav', 'a/2.wav', 'b/1.wav', 'b/2.wav')
    first = Source(root=str(root)).fingerprint
    assert first == Source(root=str(root)).fingerprint and len(first) == 64
    os.utime(root / 'a' / '1.wav', (1, 1))
    (root / 'a' / 'cover.jpg').write_bytes(b'x')
    assert Source(root=str(root)).fingerprint == first
    root = root.rename(tmp_path / 'two')
    assert Source(root=str(root)).fingerprint == first
    seen = {first}

    def changed(**settings) -> None:
        fingerprint = Source(root=str(root), **settings).fingerprint
        assert fingerprint not in seen
        seen.add(fingerprint)

    changed(sample_rate_hz=8000)
    changed(group='recording')
    write_tone(root / 'a' / '1.wav', 999)
    changed()
    (root / 'a' / '1.wav').rename(root / 'a' / '3.wav')
    changed()
    (root / 'a' / '3.wav').rename(root / 'b' / '3.wav')
    changed()
    (root / 'b' / '3.wav').unlink()
    changed()
    write_tone(root / 'stray.wav', 500)
    changed()
    text = 'path,label\na/2.wav,x\nb/1.wav,y\n'
    write_csv(root, text)
    changed()
    write_csv(root, text.replace('y', 'z'))
    changed()


def test_files_says_what_changed(tmp_path):
    make(tmp_path, 'a/1.wav', 'b/1.wav')
    before = Source(root=str(tmp_path)).files()
    write_tone(tmp_path / 'b' / '1.wav', 777)
    write_tone(tmp_path / 'b' / '2.wav', 778)
    after = Source(root=str(tmp_path)).files()
    assert before['a/1.wav'] == after['a/1.wav']
    assert before['b/1.wav'] != after['b/1.wav']
    assert set(after) - set(before) == {'b/2.wav'}


def test_unreadable_entries_do_not_stop_the_listing(tmp_path):
    make(tmp_path, 'a/1.wav', 'b/1.wav')
    (tmp_path / 'a' / 'dangling.wav').symlink_to(tmp_path / 'nowhere')
    (tmp_path / 'a' / 'folder.wav').mkdir()
    os.mkfifo(tmp_path / 'b' / 'pipe.wav')
    for ring in ('ring', 'a/loop.wav'):
        (tmp_path / ring).symlink_to(tmp_path / ring)
    source = Source(root=str(tmp_path))
    assert source.fingerprint and source.sample_rate_hz() == 8000
    bad = [r for r in source.recordings()[0] if r.path in ('a/dangling.wav', 'a/loop.wav', 'b/pipe.wav')]
    assert len(bad) == 3
    assert {item.path: item.reason for item in source.recordings()[1]} == {'ring': 'a link to nothing'}
    for recording in bad:
        with pytest.raises(audio.BadAudio, match='^cannot be read'):
            source.load(recording)


# Real data


@pytest.mark.parametrize(
    'name, count, classes',
    [('game_music', 149, 8), ('hindustani', 48, 6), ('gtzan/genres_original', 10, 10)],
)
def test_real_folders_are_used_whole(name, count, classes):
    if not (DATA / name).is_dir():
        pytest.skip(f'GENRE_JAX_DATA/{name} absent')
    source = Source(root=str(DATA / name))
    recordings, quarantined = source.recordings()
    assert (len(recordings), quarantined) == (count, [])
    assert len({recording.label for recording in recordings}) == classes
    assert source.sample_rate_hz() == 22050
    for recording in recordings[::5]:
        expected_s = soundfile.info(DATA / name / recording.path).duration
        loaded = source.load(recording)
        assert len(loaded) == round(expected_s * 22050) and loaded.any()


@pytest.mark.skipif(not (DATA / 'game_music').is_dir(), reason='GENRE_JAX_DATA/game_music absent')
def test_real_artists_are_groups():
    with open(DATA / 'game_music' / 'tracks.csv', encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    recordings, _ = Source(root=str(DATA / 'game_music')).recordings()
    by_artist: dict[str, set[str]] = {}
    for row, recording in zip(rows, recordings, strict=True):
        assert (recording.path, recording.label) == (row['path'], row['label'])
        if row['artist'].strip():
            by_artist.setdefault(row['artist'].strip().casefold(), set()).add(recording.group)
        else:
            assert recording.group == f'recording:{recording.path}'
    assert by_artist and all(len(found) == 1 for found in by_artist.values())


# --- what other programs write, and what is no class -----------------------------------------------


def notes(root) -> str:
    return '\n'.join(Source(root=str(root)).notes())


def test_folders_called_train_and_test_are_the_official_split(tmp_path):
    make(
        tmp_path,
        'train/rock/1.wav',
        'train/folk/2.wav',
        'Test/rock/3.wav',
        'valid/folk/4.wav',
        'train/5.wav',
    )
    recordings, quarantined = Source(root=str(tmp_path)).recordings()
    assert [(r.label, r.split) for r in recordings] == [
        ('rock', 'test'), ('folk', 'train'), ('rock', 'train'), ('folk', 'val'),
    ]  # fmt: skip
    assert [item.path for item in quarantined] == ['train/5.wav']
    assert 'Test, train, valid are taken as the official split' in notes(tmp_path)
    (tmp_path / 'train' / 'dub').mkdir()
    (tmp_path / 'train' / 'dub' / '1.mid').write_bytes(b'x')
    assert "class 'dub' is left out: 1 files, format .mid is not read" in notes(tmp_path)


@pytest.mark.parametrize(
    ('names', 'said'),
    [
        (('fold1', 'fold2', 'fold10'), 'are folds and no classes'),
        (('Fold_1', 'Fold_2'), 'are folds and no classes'),
        (('Fold 1', 'Fold 2', 'test'), 'Fold 1, Fold 2 are folds and no classes'),
        (('Disc 1', 'Disc 2'), 'Disc 1, Disc 2 are numbered pieces and no classes'),
        (('cd01', 'cd02', 'live'), 'cd01, cd02 are numbered pieces and no classes'),
        (('Side A', 'Side B'), 'are numbered pieces and no classes'),
        (('batch_1', 'batch_2', 'batch_3', 'batch_4'), 'batch_1, batch_2, batch_3, ... are numbered pieces'),
        (('000', '001', '155'), 'config.data.name=fma'),
        (('train', 'test', 'live'), 'test, train are parts of a split and no classes, beside live'),
        (('train', 'evaluation'), 'evaluation, train are parts of a split and no classes; expected'),
        (('genres_original',), 'if the folders in genres_original are the classes, give '),
    ],
)
def test_folders_that_are_no_classes(tmp_path, names, said):
    make(tmp_path, *(f'{name}/{inner}/{i}.wav' for name in names for inner in 'ab' for i in range(2)))
    (tmp_path / 'metadata').mkdir()  # holds no audio, and changes nothing
    (tmp_path / 'metadata' / 'tracks.txt').write_text('x')
    assert said in refusal(tmp_path)


@pytest.mark.parametrize(('train', 'test'), [('train_set', 'Test Set'), ('trainset', 'devset')])
def test_folders_that_are_called_sets(tmp_path, train, test):
    make(tmp_path, *(f'{part}/{label}/{part}.wav' for part in (train, test) for label in ('rock', 'folk')))
    recordings, _ = Source(root=str(tmp_path)).recordings()
    assert {r.label for r in recordings} == {'rock', 'folk'}
    assert {r.path.split('/')[0]: r.split for r in recordings} == {
        train: 'train', test: 'val' if test == 'devset' else 'test',
    }  # fmt: skip


def test_signs_that_the_classes_lie_deeper(tmp_path):
    make(tmp_path / 'kinds', 'mp3/rock/1.wav', 'mp3/folk/2.wav', 'wav/rock/3.wav', 'wav/folk/4.wav')
    said = 'the folders folk, rock are in each of the classes (mp3, wav): where those are the classes'
    assert said in notes(tmp_path / 'kinds')
    make(tmp_path / 'years', '1971/a.wav', '1972/b.wav', '2003/c.wav')
    assert 'the classes are called as years are (1971, 1972, 2003)' in notes(tmp_path / 'years')
    for name, files in {
        'decades': ('70s/a.wav', '80s/b.wav'), 'set': ('set/a.wav', 'data/b.wav'),
        'some': ('rock/live/1.wav', 'rock/studio/2.wav', 'folk/live/3.wav'),
    }.items():  # fmt: skip
        make(tmp_path / name, *files)
        assert 'the classes' not in notes(tmp_path / name)


SONGS = [f'song{i}_seg{j}.wav' for i in range(2) for j in range(2)]


@pytest.mark.parametrize(
    ('files', 'said'),
    [
        (SONGS, '8 files are called alike but for a number, 4 sets such as folk/song0: where'),
        (['one - part 1.wav', 'one - part 2.wav', 'two-1.wav', 'two-2.wav'], '4 sets such as folk/one'),
        (['A/x.wav', 'A/y.wav', 'B/x.wav', 'B/y.wav'], '8 files lie in folders below the classes, 4 sets'),
        (['train/x.wav', 'test/y.wav'], 'the folders test, train in the classes are not taken as a split'),
        (['Fold1/x.wav', 'Fold2/y.wav'], 'the folders fold1, fold2 in the classes are not taken as a split'),
        (['00000.wav', '00001.wav', 'x/1.wav', 'x/2.wav'], ''),
        (['folk.00000.wav', 'folk.00001.wav', 'folk.00002.wav'], ''),  # as GTZAN has them
        (
            ['a.wav', 'b.wav', 'c1.wav', 'c2.wav', 'd1.wav', 'd2.wav', 'e.wav', 'f.wav'],
            '',
        ),  # no more than half
    ],
)
def test_what_may_belong_together_is_said(tmp_path, files, said):
    make(tmp_path, *(f'{label}/{name}' for label in ('rock', 'folk') for name in files))
    if said:
        assert said in notes(tmp_path)
    else:
        assert 'column group' not in notes(tmp_path)


def test_folders_called_training_and_testing_beside_others(tmp_path):
    make(tmp_path, 'Training/rock/1.wav', 'Testing/rock/2.wav', 'Training/folk/3.wav', 'Testing/folk/4.wav')
    (tmp_path / 'docs').mkdir()
    recordings, _ = Source(root=str(tmp_path)).recordings()
    assert [(r.label, r.split) for r in recordings] == [
        ('folk', 'test'), ('rock', 'test'), ('folk', 'train'), ('rock', 'train'),
    ]  # fmt: skip
    assert 'Testing, Training are taken as the official split' in notes(tmp_path)


@pytest.mark.parametrize('names', [('1980', '1990'), ('808', '909')])
def test_numbers_that_are_classes(tmp_path, names):
    make(tmp_path, *(f'{name}/{i}.wav' for i, name in enumerate(names)))
    assert [r.label for r in Source(root=str(tmp_path)).recordings()[0]] == list(names)


def test_what_is_not_read_is_counted_and_lost_classes_are_named(tmp_path):
    make(tmp_path, 'rock/1.wav', 'folk/2.wav')
    (tmp_path / 'rock' / 'cover.JPG').write_bytes(b'x')
    (tmp_path / 'dub').mkdir()
    (tmp_path / 'ska').mkdir()
    for name in ('dub/1.mid', 'dub/2.mid', 'ska/notes.txt', 'ska/more.txt'):
        (tmp_path / name).write_bytes(b'x')
    said = notes(tmp_path)
    assert '3 files are no audio by their suffix, and are not read: 2 .txt, 1 .jpg' in said
    assert "class 'dub' is left out: 2 files, format .mid is not read" in said
    assert "class 'ska' is left out: no file in it is read" in said


def test_hidden_audio_links_to_nothing_and_every_other_suffix_are_named(tmp_path):
    make(tmp_path, 'rock/1.wav', 'folk/2.wav', '.dub/3.wav', 'rock/.4.flac', 'folk/._2.wav')
    make(
        tmp_path, '@eaDir/rock/1.wav', '$RECYCLE.BIN/1.wav', 'rock/@eaDir/1.wav'
    )  # of a network disk, of Windows
    (tmp_path / 'ska').symlink_to(tmp_path / 'gone')
    suffixes = [f'.x{i}' for i in range(9)]
    for suffix in suffixes:
        (tmp_path / 'rock' / f'a{suffix}').write_bytes(b'x')
    (tmp_path / 'rock' / 'film.avi').write_bytes(b'x')
    source = Source(root=str(tmp_path))
    recordings, quarantined = source.recordings()
    assert {recording.label for recording in recordings} == {'rock', 'folk'}
    assert {(item.path, item.reason) for item in quarantined} == {
        ('ska', 'a link to nothing'),
        ('rock/film.avi', 'format .avi is not read: convert it to WAV or FLAC'),
    }
    said = notes(tmp_path)
    assert '2 files of audio are hidden, and are not read: .dub/3.wav, rock/.4.flac' in said
    assert all(f'1 {suffix}' in said for suffix in suffixes)


def test_a_list_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    make(tmp_path, 'rock/1.wav', 'folk/2.wav')
    write_csv(tmp_path, 'path,label\nrock/1.wav,rock\nfolk/2.wav,folk\n', 'list.csv')

    def refuse(path, *arguments, **keywords):
        if str(path).endswith('list.csv'):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return open_file(path, *arguments, **keywords)

    open_file = open
    monkeypatch.setattr('builtins.open', refuse)
    assert 'list.csv cannot be read: Permission denied' in refusal(tmp_path)


def test_audio_that_the_list_leaves_out_is_counted(tmp_path):
    make(tmp_path, 'rock/1.wav', 'folk/2.wav', 'dub/3.wav', 'dub/4.flac')
    write_csv(tmp_path, 'path,label\nrock/1.wav,rock\nfolk/2.wav,folk\n', 'list.csv')
    said = '2 files of audio are not in list.csv, and are not read: dub/3.wav, dub/4.flac'
    assert said in notes(tmp_path)
    assert said not in notes(tmp_path / 'list.csv')  # may lie among anything


@pytest.mark.parametrize('way', ['../music/', './', '{root}/', '{other}/'])
def test_audio_that_the_list_names_in_another_way_is_counted_as_named(tmp_path, way):
    root = make(tmp_path / 'music', 'rock/1.wav', 'folk/2.wav')
    (tmp_path / 'other').symlink_to(root)
    way = way.format(root=root, other=tmp_path / 'other')
    write_csv(root, f'path,label\n{way}rock/1.wav,rock\n{way}folk/2.wav,folk\n', 'list.csv')
    assert 'are not in list.csv' not in notes(root)
    if 'other' not in way:
        assert tracks(Source(root=str(root))) == ['rock/1.wav', 'folk/2.wav']


def test_a_list_that_is_no_utf_8_is_named_as_such(tmp_path):
    make(tmp_path, 'rock/1.wav', 'folk/2.wav')
    write_csv(tmp_path, 'path,label\nrock/1.wav,x\n'.encode('utf-16-le'), 'list.csv')
    said = notes(tmp_path)
    assert 'list.csv is not used: it has no column path and no label; it holds bytes of zero' in said


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('list.csv', b'sep=|\r\npath|label\r\na.wav|x\r\nb.wav|y\r\n'),
        ('list.csv', b'path, label\n"a.wav", "x"\n"b.wav", y\n'),
        ('list.csv', b'"sep=;"\npath;label\na.wav;x\nb.wav;y\n'),
        ('list.csv', b'SEP=;\npath;label\na.wav;x\nb.wav;y\n'),
        (
            'list.csv',
            b','.join(b'column_%05d' % i for i in range(2000))
            + b',path,label\n'
            + 2000 * b','
            + b'a.wav,x\n'
            + 2000 * b','
            + b'b.wav,y\n',
        ),
        ('list.tsv', b'path\tlabel\na.wav\tx\nb.wav\ty\n'),
        ('list.csv', 'path,label\na.wav,x\nb.wav,y\n'.encode('utf-16')),
        ('list.csv', b'\xef\xbb\xbfsep=;\r\npath;label\r\na.wav;x\r\nb.wav;y\r\n'),
        ('list.csv', 'sep=\t\npath\tlabel\na.wav\tx\nb.wav\ty\n'.encode('utf-16')),
    ],
)
def test_lists_of_other_programs(six, name, content):
    write_csv(six, content, name)
    for root in (six, six / name):
        assert [(r.track, r.label) for r in Source(root=str(root)).recordings()[0]] == [
            ('a.wav', 'x'), ('b.wav', 'y'),
        ]  # fmt: skip


def test_a_blank_first_line_is_no_header(six):
    write_csv(six, '\npath,label\na.wav,x\nb.wav,y\n')
    assert 'line 1: blank; expected columns path,label' in refusal(six / 'tracks.csv')


def test_lines_are_counted_from_the_first(six):
    write_csv(six, 'sep=;\npath;label\na.wav;x\nb.wav;\n')
    assert 'tracks.csv, line 4: label is empty' in refusal(six / 'tracks.csv')


@pytest.mark.parametrize('encoding', ['utf-16-le', 'utf-16-be', 'utf-32'])
def test_encodings_without_their_mark(six, encoding):
    write_csv(six, 'path,label\na.wav,x\nb.wav,y\n'.encode(encoding))
    assert 'tracks.csv: holds bytes of zero' in refusal(six / 'tracks.csv')


@pytest.mark.parametrize('forms', [('NFC', 'NFD'), ('NFD', 'NFC'), ('NFD', 'NFD')])
def test_accents_that_folders_and_files_store_differently(tmp_path, forms):
    folder, file = (unicodedata.normalize(form, 'caf\u00e9') for form in forms)
    make(tmp_path, f'{folder}/{file}.wav', 'rock/2.wav')
    write_csv(tmp_path, 'path,label\ncaf\u00e9/caf\u00e9.wav,x\nrock/2.wav,rock\nno/caf\u00e9.wav,x\n')
    recordings, quarantined = Source(root=str(tmp_path)).recordings()
    assert [r.path for r in recordings] == [f'{folder}/{file}.wav', 'rock/2.wav']
    assert [(item.path, item.reason) for item in quarantined] == [('no/caf\u00e9.wav', 'no such file')]


def test_accents_of_a_list_and_of_a_mac(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, 'forr\u00f3') for form in ('NFC', 'NFD'))
    make(tmp_path, f'{decomposed}/1.wav', 'rock/2.wav')
    write_csv(tmp_path, f'path,label\n{composed}/1.wav,{composed}\nrock/2.wav,rock\n')
    recordings, quarantined = Source(root=str(tmp_path)).recordings()
    assert not quarantined
    assert [(r.path, r.label) for r in recordings] == [
        (f'{decomposed}/1.wav', composed), ('rock/2.wav', 'rock'),
    ]  # fmt: skip


def test_odd_labels_are_pointed_out(six):
    rows = [('a', 'x'), ('b', 'y'), ('c', 'x; y'), ('d', 'nan'), ('e', 'rock/pop'), ('no', 'lost')]
    write_csv(six, 'path,label\n' + ''.join(f'{name}.wav,{label}\n' for name, label in rows))
    said = notes(six)
    assert "1 rows have the label 'nan'" in said
    assert "1 rows have several labels in one cell, e.g. 'x; y'" in said  # 'rock' alone is no label
    assert "class 'lost' is left out: none of its files exists" in said


@pytest.mark.parametrize('label', ['<NA>', '#N/A', 'n. a.', '-', '?', 'Unknown', 'None', 'undefined'])
def test_labels_that_say_that_there_is_none(six, label):
    write_csv(six, f'path,label\na.wav,{label}\nb.wav,y\nc.wav,Nashville\n')
    assert f'1 rows have the label {label!r}, which is a class here; is it missing?' in notes(six)


def test_folders_that_say_no_label_or_several(tmp_path):
    make(tmp_path / 'music', 'None/1.wav', 'rock/2.wav', 'folk/3.wav', 'rock,folk/4.wav', 'R&B, Soul/5.wav')
    said = notes(tmp_path / 'music')
    assert "music: 1 files have the label 'None', which is a class here; is it missing?" in said
    assert "music: 1 files have several labels in a folder's name, e.g. 'rock,folk'" in said


@pytest.mark.parametrize('label', ['rock; pop', 'rock|pop', "['rock', 'pop']", '["rock"]', '{rock}'])
def test_several_labels_in_one_cell_that_never_stand_alone(six, label):
    quoted = label.replace('"', '""')
    write_csv(six, f'path;label\na.wav;"{quoted}"\nb.wav;y\n')
    assert '1 rows have several labels in one cell' in notes(six)


@pytest.mark.parametrize('label', ['R&B/Soul', 'Folk, World, & Country', 'Blues (Delta)', 'a[b]', 'rock;'])
def test_names_of_one_class_with_marks_in_them(six, label):
    write_csv(six, f'path,label\na.wav,"{label}"\nb.wav,y\n')
    assert 'several labels' not in notes(six)


@pytest.mark.parametrize(
    'pair', [('0', '0.0'), ('1', '01'), ('7', '7.'), ('hip hop', 'hip  hop'), ('rock', 'ro\u200bck')]
)
def test_names_that_are_written_in_two_ways(six, pair):
    write_csv(six, f'path,label\na.wav,{pair[0]}\nb.wav,{pair[1]}\nc.wav,10\n')
    assert 'differ only in spelling' in refusal(six)


@pytest.mark.parametrize(
    ('column', 'meant'),
    [
        ('performer', 'artist'),
        ('artist_name', 'artist'),
        ('subset', 'split'),
        ('song_id', 'group'),
        ('onset', 'start_s'),
    ],
)
def test_columns_of_another_name_that_would_be_used(six, column, meant):
    write_csv(six, f'path,label,{column}\na.wav,x,1\nb.wav,y,2\n')
    assert f'column {column!r} is not used; is {meant!r} meant?' in notes(six)
    write_csv(six, f'path,label,{column},{meant}\na.wav,x,1,\nb.wav,y,2,\n')
    assert 'meant?' not in notes(six)


def test_backslashes_are_named(six):
    write_csv(six, 'path,label\nx\\a.wav,0\nx\\b.wav,1\n')
    assert 'hold backslashes: write /' in refusal(six)
