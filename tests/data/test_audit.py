"""The audit of small prepared datasets with planted copies, artists, albums, titles and tonics."""

import itertools
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from genre_jax.data import audit, prepare
from genre_jax.data.duplicates import IDENTICAL, NEAR, Prints
from genre_jax.data.recordings import Recording, Source
from genre_jax.errors import UserError

RATE_HZ = 8000


def song(seed, seconds=12):
    """Notes of random pitch and loudness in two voices."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(seconds * RATE_HZ) / RATE_HZ
    mix = np.zeros(len(time_s))
    for _ in range(2):
        ends = np.cumsum(rng.uniform(0.15, 0.6, 8 * seconds))
        note = np.minimum(np.searchsorted(ends, time_s), len(ends) - 1)
        pitch_hz = 150 * 2 ** (rng.integers(0, 36, len(ends)) / 12)
        phase = 2 * np.pi * np.cumsum(pitch_hz[note]) / RATE_HZ
        fade = np.exp(-3 * (time_s - np.insert(ends, 0, 0.0)[note]))
        mix += fade * sum(np.sin(k * phase) / k for k in range(1, 6))
    return np.rint(8000 * mix / np.abs(mix).max()).astype(np.int16)


class Songs(Source):
    """Eleven songs; 1 is 0 louder, 2 is 0 from the third second on, 4 is 3 itself in another class."""

    name = 'songs'
    description = 'Songs.'
    fingerprint = 'songs'
    rows = (
        # artist, album, title, tonic in Hz, split
        ('Ann', 'One', 'Rain', 100.0, 'train'),
        ('ann ', '', 'Sun', 200.5, 'test'),
        ('', '', 'rain', 0.0, 'train'),
        ('Bob', 'Two', 'Snow', 150.0, 'train'),
        ('Cid', 'Two', 'Snow', 150.0, 'val'),
        ('Ann', 'Three', '  RAIN', 130.0, 'train'),
        ('', '', 'Snow', 0.0, 'train'),
        ('', '', '', 0.0, 'test'),
        ('', '', '', 0.0, 'test'),
        ('', '', '', 0.0, 'val'),
        ('', '', '', 0.0, 'val'),
    )

    def recordings(self):
        return [
            Recording(
                track=f't{i}', label='yx'[i % 2], group=f'g{i}', artist=artist, album=album,
                title=title, tonic_hz=tonic_hz, split=split,
            )
            for i, (artist, album, title, tonic_hz, split) in enumerate(self.rows)
        ], []  # fmt: skip

    def sample_rate_hz(self):
        return RATE_HZ

    def load(self, recording):
        number = int(recording.track[1:])
        if number == 1:
            return 2 * song(0)
        if number == 2:
            return song(0)[3 * RATE_HZ :]
        return song(3 if number == 4 else number)

    def group_key(self):
        return 'recording'

    def protocols(self):
        parts = {'t0': 'train', 't2': 'test', 't3': 'train', 't5': 'train', 't6': 'test'}
        return {'paper': parts, 'clean': {'t0': 'train', 't1': 'train', 't6': 'test'}}


class Pictures(Songs):
    """Of ten pictures 3 is 0, in another class; 5 has one pixel other than 0."""

    name = 'pictures'
    kind = 'image'
    fingerprint = 'pictures'

    def load(self, recording):
        number = int(recording.track[1:])
        rng = np.random.default_rng(0 if number in (3, 5) else number)
        pixels = rng.integers(0, 256, (1, 8, 12, 3)).astype(np.uint8)
        pixels[0, 0, 0, 0] ^= number == 5
        return pixels


class Table(Songs):
    """Rows of features; 7 is 2."""

    name = 'table'
    kind = 'table'
    fingerprint = 'table'

    def load(self, recording):
        number = int(recording.track[1:])
        rng = np.random.default_rng(2 if number == 7 else number)
        return rng.standard_normal((3, 5)).astype(np.float32)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return prepare.prepare(Songs(), tmp_path_factory.mktemp('prepared'), 5.0)


@pytest.fixture(scope='module')
def findings(folder):
    return audit.find(folder)


def sets(findings, kind):
    return {frozenset(item.tracks) for item in findings.related if item.kind == kind}


def test_copies_are_found(findings):
    pairs = {(pair.kind, pair.first, pair.second): pair for pair in findings.copies}
    assert set(pairs) == {
        (IDENTICAL, 't3', 't4'), (NEAR, 't0', 't1'), (NEAR, 't0', 't2'), (NEAR, 't1', 't2'),
    }  # fmt: skip
    assert pairs[NEAR, 't0', 't2'].offset_s == pytest.approx(3.0, abs=0.05)
    assert pairs[NEAR, 't0', 't1'].offset_s == 0.0
    stretch = pairs[NEAR, 't0', 't2'].begin_s, pairs[NEAR, 't0', 't2'].end_s
    assert stretch == pytest.approx((3, 12), abs=0.5)
    assert sets(findings, 'copies') == {frozenset(('t0', 't1', 't2')), frozenset(('t3', 't4'))}


def test_what_belongs_together(findings):
    assert sets(findings, 'artist') == {frozenset(('t0', 't1', 't5'))}
    assert sets(findings, 'album') == {frozenset(('t3', 't4'))}
    assert sets(findings, 'title') == {frozenset(('t0', 't5'))}  # blank artists are not the same
    assert sets(findings, 'tonic') == {frozenset(('t0', 't1'))}  # an octave and 4 cents apart
    labels = {item.kind: item.labels for item in findings.related if 't4' in item.tracks}
    assert labels == {'copies': ('x', 'y'), 'group': ('x', 'y'), 'album': ('x', 'y')}


def test_groups_of_copies_are_one_in_the_manifest(folder, findings):
    manifest = prepare.read_manifest(folder)
    groups = {track['track']: track['group'] for track in manifest['tracks']}
    assert groups['t0'] == groups['t1'] == groups['t2'] == 'g0'
    assert groups['t3'] == groups['t4'] == 'g3'
    assert len(set(groups.values())) == 8
    assert sets(findings, 'group') == sets(findings, 'copies')
    first, *others = manifest['notes']
    assert first.startswith('5 recordings are copies') and '3 groups were joined' in first
    assert len(others) == 2
    assert any('t3 (x) = t4 (y)' in note for note in others)


def test_crossings_of_given_lists(folder, findings):
    splits = audit.splits(prepare.read_manifest(folder))
    assert list(splits) == ['clean', 'official', 'paper']
    assert audit.crossing(findings, splits['clean']) == []
    crossings = {
        (item.related.kind, *item.related.tracks): item.parts
        for item in audit.crossing(findings, splits['paper'])
    }
    # t1 takes no part, and t0, t2 are still the same recording.
    assert crossings == {
        ('copies', 't0', 't1', 't2'): {'train': ('t0',), 'test': ('t2',)},
        ('group', 't0', 't1', 't2'): {'train': ('t0',), 'test': ('t2',)},
    }
    official = {item.related.kind for item in audit.crossing(findings, splits['official'])}
    assert official == {'copies', 'group', 'album', 'artist', 'tonic'}


def test_copies_of_copies_cross_even_where_the_one_between_takes_no_part(findings):
    parts = dict.fromkeys(('t1', 't5'), 'train') | {'t2': 'test'}
    kinds = [item.related.kind for item in audit.crossing(findings, parts)]
    assert kinds == ['copies', 'group']
    assert audit.crossing(findings, {}) == []


def test_tonics_chain_within_an_artist_and_across_the_octave():
    """As comparing all with all, and the links among what is found, gives."""
    rng = np.random.default_rng(0)
    artists = [('', 'Ann', 'Bob', 'Cem')[i] for i in rng.integers(0, 4, 120)]
    tonics_hz = np.where(rng.uniform(size=120) < 0.1, 0, 100 * 2 ** rng.uniform(-1, 2, 120))
    tracks = [{'tonic_hz': float(tonic_hz)} for tonic_hz in tonics_hz]
    names = audit._tonics(tracks, artists)
    known = [i for i in range(120) if artists[i] and tonics_hz[i]]
    assert all(bool(names[i]) == (i in known) for i in range(120))
    sets = {i: {i} for i in known}
    for i, j in itertools.combinations(known, 2):
        apart = 1200 * np.log2(tonics_hz[i] / tonics_hz[j])
        if artists[i] == artists[j] and abs((apart + 600) % 1200 - 600) <= 20:
            both = sets[i] | sets[j]
            sets |= dict.fromkeys(both, both)
    assert 40 < len(set(map(frozenset, sets.values()))) < len(known)
    for i, j in itertools.combinations(known, 2):
        assert (names[i] == names[j]) == (j in sets[i])


def test_the_search_by_sound_can_be_left_out(folder):
    """What is the same is found; nothing is decoded again, and both preparations stay."""
    other = prepare.prepare(Songs(), folder.parent.parent, 5.0, find_copies=False)
    assert other != folder and other.parent == folder.parent
    assert len(list((folder.parent / 'records').iterdir())) == 1
    (pair,) = audit.find(other).copies
    assert (pair.kind, pair.first, pair.second) == (IDENTICAL, 't3', 't4')
    said = 'copies were not looked for by sound (config.data.find_copies=False)'
    assert said in prepare.read_manifest(other)['notes']
    assert said not in prepare.read_manifest(folder)['notes']


def test_fingerprints_are_kept(folder):
    (batch,) = (folder.parent / 'records').iterdir()
    content = Prints.load(batch / 'fingerprints.npz')
    assert len(set(content.tracks)) == 11  # contents by name, in the order of the tracks
    assert content.digests[3] == content.digests[4]
    assert all(len(item.times) > 100 for item in content.prints)


@pytest.mark.parametrize(
    'source, first, second',
    ((Pictures(), 't0', 't3'), (Table(), 't2', 't7')),
    ids=('pictures', 'table'),
)
def test_identical_pictures_and_rows_across_classes(tmp_path, source, first, second):
    folder = prepare.prepare(source, tmp_path, 5.0)
    (pair,) = audit.find(folder).copies
    assert (pair.kind, pair.first, pair.second) == (IDENTICAL, first, second)
    notes = prepare.read_manifest(folder)['notes']
    assert any(f'{first} (y) = {second} (x)' in note for note in notes)


# The command


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    """A folder of files: a/1.ogg is a/1.wav, and so is b/louder.wav; artists in a CSV."""
    root = tmp_path_factory.mktemp('files')
    for i, name in enumerate(('a/1', 'a/2', 'b/1', 'b/2')):
        (root / name).parent.mkdir(exist_ok=True)
        soundfile.write(root / f'{name}.wav', song(20 + i), RATE_HZ)
    soundfile.write(root / 'a/1.ogg', song(20), RATE_HZ)
    soundfile.write(root / 'b/louder.wav', 2 * song(20), RATE_HZ)
    shutil.copy(root / 'b/2.wav', root / 'b/again.wav')
    rows = ['path,label,artist,split']
    for i, name in enumerate(('a/1.wav', 'a/2.wav', 'b/1.wav', 'b/2.wav', 'a/1.ogg')):
        rows.append(f'{name},{name[0]},{"Ann" if i in (1, 2) else ""},{"train" if i % 2 else "val"}')
    rows += ['b/louder.wav,b,,test', 'b/again.wav,b,,train']
    (root / 'tracks.csv').write_text('\n'.join(rows))
    return root


def test_the_command_prints_a_table_and_writes_json(recorded, tmp_path, capsys):
    file = tmp_path / 'audit.json'
    arguments = ['folder', f'--source={recorded}', f'--out={tmp_path}']
    audit.main([*arguments, '--json', str(file)])
    text = capsys.readouterr().out
    assert 'folder: 7 recordings' in text and 'copies: 4 pairs' in text
    assert 'quarantined: 0\n' in text and 'note: 3 recordings are copies' in text
    assert 'b/louder.wav' in text and 'DIFFERENT LABELS' in text and 'score ' in text
    assert ' s (score 1.00, offset +0.00 s, speed 1.000, +0.0 cents)' in text
    assert "split 'official' (3/3/1 recordings): in more than one part stand" in text
    given = json.loads(file.read_text())
    kinds = {(pair['first'], pair['second']): pair['kind'] for pair in given['copies']}
    assert len(kinds) == 4
    assert kinds['b/2.wav', 'b/again.wav'] == IDENTICAL
    assert kinds['a/1.wav', 'a/1.ogg'] == NEAR
    (copies,) = (item for item in given['crossings']['official'] if item['related']['kind'] == 'copies')
    assert copies['parts'] == {'val': ['a/1.wav', 'a/1.ogg'], 'test': ['b/louder.wav']}
    assert [item['name'] for item in given['related'] if item['kind'] == 'artist'] == ['Ann']
    notes = prepare.read_manifest(next(tmp_path.glob('folder/*/manifest.json')).parent)['notes']
    # The bytes of b/again.wav are those of b/2.wav, which the listing says.
    assert sum('b/again.wav' in note for note in notes) == 1
    assert any(note.startswith('3 recordings are copies') for note in notes)
    audit.main([*arguments, f'--json={file}'])
    assert json.loads(file.read_text()) == given
    audit.main([*arguments, '--find_copies=False'])
    assert 'copies: 1 pairs' in capsys.readouterr().out.rpartition('recordings; groups')[2]


@pytest.mark.parametrize(
    'arguments, said',
    (
        ('', 'usage: python -m genre_jax.data.audit NAME --root=DIR'),
        ('--json=x.json', 'usage: python -m genre_jax.data.audit NAME --root=DIR'),
        ('nonesuch', "config.data.name='nonesuch'"),
        ('folder --json', '--json: expected the name of a file'),
        ('folder --source', "'--source': expected --key=value"),
        ('folder --source=nowhere', 'nowhere'),
        ('folder --source=. --json=no/such/a.json', 'there is no folder'),
    ),
)
def test_mistakes_of_the_command(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        audit.main(arguments.split())
    assert said in str(caught.value) and '\n' not in str(caught.value)


def test_a_mistake_ends_with_one_line_and_status_2():
    done = subprocess.run([sys.executable, '-m', 'data.audit'], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith('error: usage') and done.stderr.count('\n') == 1
