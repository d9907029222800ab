"""Tables of features: which song a row belongs to, every mistake in a CSV, the real tables, a run."""

import collections
import csv
import gzip

import numpy as np
import pytest

from genre_jax.config import load_page
from genre_jax.data import prepare
from genre_jax.data.feature_table import Source, song_of
from genre_jax.errors import UserError
from genre_jax.features.stored import Table
from genre_jax.loading import prepared, run_data
from tests import program
from tests.program import DATA

PAGE = program.ROOT / 'configs/mlp_features.py'


def write(path, text):
    path.write_text(text)
    return str(path)


def refusal(path, **settings):
    with pytest.raises(UserError) as caught:
        Source(root=str(path), **settings).recordings()
    assert '\n' not in str(caught.value)
    return str(caught.value)


SMALL = """filename,length,loud,label,bright
blues.00000.0.wav,66150,1.5,blues,-2
blues.00000.1.wav,66150,2.5,blues,4e-3
rock.00007.0.wav,66149,3.5,rock,0
"""


# --- what a table says ---------------------------------------------------------------------------


def test_rows_of_a_song_are_its_segments(tmp_path):
    source = Source(root=write(tmp_path / 't.csv', SMALL))
    assert source.kind == 'table' and source.columns == ('loud', 'bright')
    recordings, quarantined = source.recordings()
    assert [(r.track, r.label, r.group) for r in recordings] == [
        ('blues.00000', 'blues', 'blues.00000'),
        ('rock.00007', 'rock', 'rock.00007'),
    ]
    assert quarantined == [] and source.group_key() == 'song'
    rows = source.load(recordings[0])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.float32([[1.5, -2], [2.5, 4e-3]]))
    assert '3 rows of 2 songs' in source.notes()


def test_length_is_a_feature_where_wanted(tmp_path):
    source = Source(root=write(tmp_path / 't.csv', SMALL), use_length=True)
    assert source.columns == ('length', 'loud', 'bright')
    assert source.load(source.recordings()[0][1]).tolist() == [[66149, 3.5, 0]]


@pytest.mark.parametrize(
    ('filename', 'song'),
    [
        ('blues.00000.wav', 'blues.00000'),
        ('blues.00000.3.wav', 'blues.00000'),
        ('blues.00000.12.wav', 'blues.00000'),
        ('bluse.00100.0.wav', 'bluse.00100'),
        ('rock.01.3.WAV', 'rock.01'),
        ('x.3.wav', 'x'),
        ('x.au', 'x'),
        ('My song 2.flac', 'My song 2'),
        ('Symphony No. 5.mp3', 'Symphony No. 5'),
        ('blues.00000', 'blues.00000'),
        ('a.b.aiff', 'a.b'),
    ],
)
def test_the_song_behind_a_file_name(filename, song):
    assert song_of(filename) == song


def test_what_may_stand_beside_the_features(tmp_path):
    text = (
        '\ufeffFilename;LABEL;Genre;song;artist;group;album;title;split;x\r\n'
        'p;0;jazz;s1;Ella  F;;A;T;train;1\r\n'
        'q;0;jazz;s1;Ella  F;;A;T;train;2\r\n'
        'r;1;rock;s2;ella f;;;;test;3\r\n'
        's;1;rock;s3;ella f;box 7;;;val;4\r\n'
        't;1;rock;s4;;;;;val;5\r\n\r\n'
    )
    source = Source(root=write(tmp_path / 't.csv', text))
    recordings, _ = source.recordings()
    assert [(r.track, r.label, r.split) for r in recordings] == [
        ('s1', 'jazz', 'train'), ('s2', 'rock', 'test'), ('s3', 'rock', 'val'), ('s4', 'rock', 'val'),
    ]  # fmt: skip
    assert (recordings[0].artist, recordings[0].album, recordings[0].title) == ('Ella  F', 'A', 'T')
    groups = [r.group for r in recordings]
    assert groups[0] == groups[1] and len(set(groups)) == 3  # one artist, whatever the case
    assert groups[2] == 'group:box 7'
    assert source.group_key() == 'group column, else artist, else song'
    assert source.columns == ('x',)
    assert len(source.load(recordings[0])) == 2


def test_row_numbers_are_no_feature(tmp_path):
    text = ',filename,label,Unnamed: 0,x,\n0,a,p,7,1,\n1,b,q,8,2,\n'
    source = Source(root=write(tmp_path / 't.csv', text))
    assert source.columns == ('x',)
    assert '3 columns without a name are not used: row numbers?' in source.notes()


@pytest.mark.parametrize(('numbers', 'refused'), [((0, 1, 2), True), ((3, 3, 4), True), ((5, 5, 5), False)])
def test_a_number_of_the_class_is_no_feature(numbers, refused, tmp_path):
    rows = [f'{c}{i},{c},{i * 7 % 5},{n}' for c, n in zip('abc', numbers, strict=True) for i in range(5)]
    root = write(tmp_path / 't.csv', 'filename,label,loud,target\n' + '\n'.join(rows))
    if refused:
        assert "column 'target' has one value in each class" in refusal(root)
        root = write(tmp_path / 't.csv', (tmp_path / 't.csv').read_text() + '\na9,a,1,9\n')
    assert Source(root=root).columns == ('loud', 'target')


def test_artists_from_the_index(tmp_path):
    index = tmp_path / 'index.txt'
    index.write_text('blues.00000.wav ::: John Lee Hooker ::: One Bourbon\nrock.00007.wav :::  ::: \n')
    source = Source(root=write(tmp_path / 't.csv', SMALL), index=str(index))
    (blues, rock), _ = source.recordings()
    assert (blues.artist, blues.title) == ('John Lee Hooker', 'One Bourbon')
    assert blues.group == 'artist:john lee hooker' and rock.group == 'rock.00007'
    assert source.group_key() == 'artist, else song'
    plain = Source(root=str(tmp_path / 't.csv'))
    assert source.fingerprint != plain.fingerprint
    assert str(tmp_path / 'none.txt') in refusal(tmp_path / 't.csv', index=f'{tmp_path}/none.txt')


def many(tmp_path):
    rows = [f'{label}{i}.wav,{label},{i}' for label in 'abc' for i in range(9)]
    return write(tmp_path / 'many.csv', '\n'.join(['filename,label,x', *rows]))


def test_some_songs_and_some_classes(tmp_path):
    root = many(tmp_path)

    def tracks(**settings):
        return [r.track for r in Source(root=root, **settings).recordings()[0]]

    everything = tracks()
    few = tracks(max_per_class=4)
    assert collections.Counter(track[0] for track in few) == {'a': 4, 'b': 4, 'c': 4}
    assert few == [track for track in everything if track in few]  # in the order of the CSV
    assert few == tracks(max_per_class=4) != tracks(max_per_class=4, seed=1)
    assert tracks(max_per_class=100) == everything
    prints = {
        Source(root=root, **settings).fingerprint
        for settings in (
            {}, {'max_per_class': 4}, {'max_per_class': 4, 'seed': 1}, {'use_length': True},
        )
    }  # fmt: skip
    assert len(prints) == 4


def test_gzipped_is_the_same(tmp_path):
    plain = Source(root=write(tmp_path / 't.csv', SMALL))
    (tmp_path / 't.csv.gz').write_bytes(gzip.compress(SMALL.encode()))
    zipped = Source(root=str(tmp_path / 't.csv.gz'))
    assert zipped.recordings() == plain.recordings()
    assert zipped.files().keys() == {'t.csv.gz'}


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('', ('is empty',)),
        ('file name,label,x\na,p,1\n', ('line 1', "no column 'filename'", 'file name -> filename')),
        ('filename,x\na,1\n', ('line 1', "no column 'label'")),
        ('filename,label\na,p\nb,q\n', ('line 1', 'no column of features')),
        ('filename,label,length\na,p,3\nb,q,3\n', ('line 1', 'no column of features')),
        ('filename,label,x\n', ('lists no recordings',)),
        ('filename,label,x\na,p,1\nb,q,loud\n', ('line 3', "x is 'loud'")),
        ('filename,label,x\na,p,1\nb,q,\n', ('line 3', "x is ''")),
        ('filename,label,x\na,p,1\nb,q\n', ('line 3', "x is ''")),
        ('filename,label,x\na,p,nan\nb,q,1\n', ('line 2', "x is 'nan'")),
        ('filename,label,x\na,p,inf\nb,q,1\n', ('line 2', "x is 'inf'")),
        ('filename,label,x\na,p,1e39\nb,q,1\n', ('line 2', "x is '1e39'", 'float32')),
        ('filename,label,x\na,p,1\nb,q,1\na,p,2\n', ('line 4', 'a stands in line 2 already')),
        ('filename,label,x\n,p,1\nb,q,1\n', ('line 2', 'filename is empty')),
        ('filename,label,x\na,,1\nb,q,1\n', ('line 2', 'label is empty')),
        ('filename,label,x\na,p,1,5\nb,q,1\n', ('line 2', '4 fields under 3 columns')),
        ('filename,label,x,x\na,p,1,2\nb,q,1,2\n', ("two columns are called 'x'",)),
        ('filename,label,x\na,p,1\nb,p,1\n', ('holds 1 class', 'at least 2')),
        ('filename,label,x\na,Rock,1\nb,rock,1\n', ("'Rock' and 'rock' differ only",)),
        (
            'filename,label,x\ns.00001.0.wav,p,1\ns.00001.1.wav,q,1\n',
            ('line 3', "song 's.00001' disagree", '(line 2)'),
        ),
        (
            'filename,label,artist,x\ns.00001.0.wav,p,A,1\nt,q,,1\ns.00001.1.wav,p,B,1\n',
            ('line 4', "song 's.00001' disagree", '(line 2)'),
        ),
        ('filename,label,genre,x\na,0,p,1\nb,1,,1\nc,1,q,1\n', ('line 3', 'genre is empty')),
        (
            'id,filename,label,x\n' + ''.join(f'{i},{i},{"pq"[i > 5]},{i % 2}\n' for i in range(10)),
            ("column 'id' numbers the rows", 'remove it'),
        ),
        ('filename,label,split,x\na,p,dev,1\nb,q,,1\n', ('line 2', "split is 'dev'")),
        ('filename,label,x\n"a,p,1\nb,q,1\n', ('not a valid CSV',)),
    ],
)  # fmt: skip
def test_mistakes_in_a_table(tmp_path, text, parts):
    message = refusal(write(tmp_path / 't.csv', text))
    assert all(part in message for part in (*parts, 't.csv')), message


def test_labels_that_are_none_or_several_are_pointed_out(tmp_path):
    source = Source(root=write(tmp_path / 't.csv', 'filename,label,x\na,p,1\nb,q,1\nc,nan,1\nd,p;q,1\n'))
    said = '\n'.join(source.notes())
    assert "1 rows have the label 'nan'" in said and "several labels in one cell, e.g. 'p;q'" in said


def test_other_mistakes(tmp_path):
    (tmp_path / 'latin.csv').write_bytes('filename,label,x\na,caf\xe9,1\nb,q,1\n'.encode('latin-1'))
    message = refusal(tmp_path / 'latin.csv')
    assert 'line 2: byte 0xe9 is not UTF-8' in message
    whole = gzip.compress(many(tmp_path).encode() * 100)
    (tmp_path / 'cut.csv.gz').write_bytes(whole[: len(whole) // 2])
    assert 'cut.csv.gz cannot be read: Compressed file ended' in refusal(tmp_path / 'cut.csv.gz')
    assert 'config.data.root is no file' in refusal('')
    assert 'nowhere.csv is no file' in refusal(tmp_path / 'nowhere.csv')
    assert f'{tmp_path} is no file' in refusal(tmp_path)
    root = many(tmp_path)
    assert 'config.data.max_per_class=-1' in refusal(root, max_per_class=-1)
    assert 'config.data.seed=-1' in refusal(root, max_per_class=2, seed=-1)


# --- the real tables -----------------------------------------------------------------------------


def real(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f'no {path}: set GENRE_JAX_DATA')
    return str(path)


@pytest.mark.parametrize(('seconds', 'rows'), [(30, 1000), (10, 2991)])
def test_the_tables_of_gtzan(seconds, rows):
    index = real('gtzan/sturm_index.txt')
    source = Source(root=real(f'gtzan/features_{seconds}_sec.csv'), index=index)
    recordings, quarantined = source.recordings()
    assert quarantined == [] and len(source.columns) == 57
    assert collections.Counter(collections.Counter(r.label for r in recordings).values()) == {100: 10}
    assert sum(len(source.load(recording)) for recording in recordings) == rows
    artists = collections.Counter(r.artist for r in recordings)
    assert artists['Bob Marley'] == 35 and artists['Britney Spears'] == 24
    assert artists[''] == 81
    assert len(Source(root=source.root, use_length=True).columns) == 58


def test_the_stock_table():
    source = Source(root=real('stock_features/features_3_sec.csv.gz'))
    recordings, _ = source.recordings()
    assert len(recordings) == 2205
    assert len({r.label for r in recordings}) == 11 and 'soul' in {r.label for r in recordings}
    assert sum(len(source.load(recording)) for recording in recordings) == 22050
    assert len(source.columns) == 57


# --- training ------------------------------------------------------------------------------------


def clusters(path, songs=12, labels='abc'):
    """Three rows a song; the label moves one column by much, and a second one has another scale."""
    rng = np.random.default_rng(0)
    with path.open('w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['filename', 'label', 'x', 'y', 'same'])
        for number, label in enumerate(labels):
            for song in range(songs):
                for piece in range(3):
                    x, y = rng.normal(number, 0.1), rng.normal(5e4, 1e4)
                    table.writerow([f'{label}.{song:05}.{piece}.wav', label, x, y, 7])
    return path


def test_a_run(tmp_path):
    words = program.command(
        tmp_path / 'run', clusters(tmp_path / 't.csv'), tmp_path / 'prepared',
        '--config.model.hidden_units=(8,)', '--config.train.batch_size=8',
        '--config.train.length=25 epochs', '--config.eval.every=25 epochs',
        '--config.optim.learning_rate=0.01', '--config.model.dropout=0.0',
        '--config.checkpoint.every=25 epochs', '--config.tracking.wandb=off', page=PAGE,
    )  # fmt: skip
    done = program.run(words)
    assert done.returncode == 0, done.stderr
    result = program.result(tmp_path / 'run')
    songs, rows = result['n_songs'], result['n_segments']
    assert rows == {part: 3 * count for part, count in songs.items()}
    assert sum(songs.values()) == 36 and result['classes'] == ['a', 'b', 'c']
    # Ten deviations lie between the classes; unless y is standardised, it drowns x.
    assert result['parts']['test']['segment']['accuracy'] > 0.85


def part_tables(root, prepared, **data):
    config = load_page(str(PAGE))
    config.data.update(root=str(root), prepared_dir=str(prepared), **data)
    dataset = run_data.open_dataset(config)
    return run_data.make_tables(config, dataset, run_data.make_split(config, dataset))


def rows_of(table):
    return table.read(table.places(np.arange(len(table))))['table']


def test_standardised_by_the_training_part_alone(tmp_path):
    path = clusters(tmp_path / 't.csv')
    tables = part_tables(path, tmp_path / 'prepared')
    fitted = Table().fitted([rows_of(tables['train'])])
    rows = {f'{r["filename"]}': r for r in csv.DictReader(path.open())}
    in_train = {tables['train'].dataset.tracks[t]['track'] for t in tables['train'].track}
    theirs = np.float32(
        [[row['x'], row['y'], row['same']] for n, row in rows.items() if n[:7] in in_train]
    ).astype(np.float64)
    assert len(theirs) < len(rows)
    np.testing.assert_allclose(fitted.mean, theirs.mean(0), rtol=1e-9)
    np.testing.assert_allclose(fitted.std[:2], theirs.std(0)[:2], rtol=1e-9)
    standard = np.asarray(fitted(theirs.astype(np.float32)))
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std(0), [1, 1, 0], atol=1e-4)

    # Other test rows change nothing; another training row does.
    def with_y(part, value):
        some = tables[part].dataset.tracks[tables[part].track[0]]['track']
        changed = tmp_path / f'{part}.csv'
        with changed.open('w', newline='') as file:
            table = csv.DictWriter(file, rows['a.00000.0.wav'])
            table.writeheader()
            for name, row in rows.items():
                table.writerow(row | ({'y': value} if name.startswith(some) else {}))
        others = part_tables(changed, tmp_path / 'prepared')
        assert [t['track'] for t in others['test'].dataset.tracks] == [
            t['track'] for t in tables['test'].dataset.tracks
        ]
        return Table().fitted([rows_of(others['train'])])

    assert with_y('test', 1e9) == with_y('val', 1e9) == fitted
    assert with_y('train', 1e9) != fitted


def test_a_column_that_never_changes_stays_finite():
    fitted = Table().fitted([np.full((5, 1), 3, np.float32)])
    np.testing.assert_array_equal(fitted(np.full((2, 1), 3, np.float32)), np.zeros((2, 1)))
    assert Table()(np.ones((2, 1), np.float32)).tolist() == [[1], [1]]


def test_identical_rows_share_a_group(tmp_path):
    text = 'filename,label,x,y\na,p,1,2\nb,p,1,2\nc,q,1,2\nd,q,1,3\n'
    source = Source(root=write(tmp_path / 't.csv', text))
    dataset = prepared.Dataset(prepare.prepare(source, tmp_path / 'prepared', 5.0))
    groups = {track['track']: track['group'] for track in dataset.tracks}
    assert groups['a'] == groups['b'] == groups['c'] != groups['d']
    assert any('a (p) = b (p) = c (q)' in note for note in dataset.manifest['notes'])
    assert dataset.stored(1.0).shape == (2,)
