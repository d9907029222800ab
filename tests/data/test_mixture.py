"""Several datasets as one: names, labels, lists, rates, copies across parts, and every mistake."""

import json
import pickle
import shutil
import sys

import ml_collections
import numpy as np
import pytest
import soundfile

from genre_jax import config as config_lib
from genre_jax.config import overrides
from genre_jax.data import prepare
from genre_jax.data.folder import Source as Folder
from genre_jax.data.mixture import Source
from genre_jax.data.western import Source as Western
from genre_jax.errors import UserError
from genre_jax.loading import run_data
from tests import program

RATE_HZ = 8000


def write(root, *names, rate_hz=RATE_HZ):
    """Writes 2 s of noise of its own under every name, a melody of noise bursts that is no copy."""
    for name in names:
        rng = np.random.default_rng(list(f'{root.name}/{name}'.encode()))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, rng.uniform(-0.5, 0.5, 2 * rate_hz), rate_hz)
    return root


@pytest.fixture
def roots(tmp_path):
    """Two folders that share the class folk; one names artists."""
    one = write(tmp_path / 'one', 'folk/a.wav', 'folk/b.wav', 'rock/c.wav')
    two = write(tmp_path / 'two', 'd.wav', 'e.wav', 'f.wav')
    (two / 'tracks.csv').write_text('path,label,artist\nd.wav,folk,X\ne.wav,jazz,X\nf.wav,jazz,\n')
    (two / 'empty.wav').touch()
    return one, two


def parts_of(one, two, **keys):
    return {
        'one': {'name': 'folder', 'root': str(one)},
        'two': {'name': 'folder', 'root': str(two)} | keys,
    }


def refusal(parts, **settings):
    with pytest.raises(UserError) as caught:
        source = Source(parts=parts, **settings)
        source.sample_rate_hz()
        source.recordings()
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_names_of_the_part_and_the_union_of_labels(roots):
    source = Source(parts=parts_of(*roots))
    recordings, quarantined = source.recordings()
    assert quarantined == []
    assert [(r.track, r.label, r.group) for r in recordings] == [
        ('one/folk/a.wav', 'folk', 'one/recording:folk/a.wav'),
        ('one/folk/b.wav', 'folk', 'one/recording:folk/b.wav'),
        ('one/rock/c.wav', 'rock', 'one/recording:rock/c.wav'),
        ('two/d.wav', 'folk', 'two/artist:X'),
        ('two/e.wav', 'jazz', 'two/artist:X'),
        ('two/f.wav', 'jazz', 'two/recording:f.wav'),
    ]
    assert [r.artist for r in recordings] == ['', '', '', 'X', 'X', '']
    assert source.group_key() == 'one: recording; two: artist, else recording'
    assert 'classes with recordings of several parts: folk (one, two)' in source.notes()
    assert source.kind == 'audio' and source.root == ''


def test_an_artist_in_two_parts_is_one_group(roots):
    one, two = roots
    (one / 'tracks.csv').write_text(
        'path,label,artist\nfolk/a.wav,folk,x\nfolk/b.wav,folk,Y\nrock/c.wav,rock,\n'
    )
    groups = [r.group for r in Source(parts=parts_of(one, two)).recordings()[0]]
    assert groups[0] == groups[3] == groups[4] == 'one/artist:x'
    assert len(set(groups)) == 4
    apart = Source(parts=parts_of(one, two, group='recording')).recordings()[0]
    assert len({r.group for r in apart}) == 6


def test_recordings_are_those_of_the_parts(roots):
    source = Source(parts=parts_of(*roots), sample_rate_hz=4000)
    assert source.sample_rate_hz() == 4000
    recordings, _ = source.recordings()
    own = [
        (part, recording)
        for root in roots
        for part in [Folder(root=str(root), sample_rate_hz=4000)]
        for recording in part.recordings()[0]
    ]
    sent = pickle.loads(pickle.dumps(source))
    for recording, (part, theirs) in zip(recordings, own, strict=True):
        np.testing.assert_array_equal(sent.load(recording), part.load(theirs))
    digests = {name: Folder(root=part['root']).files() for name, part in parts_of(*roots).items()}
    assert source.files() == {f'{n}/{p}': d for n, ds in digests.items() for p, d in ds.items()}


def test_the_order_of_the_parts_does_not_matter(roots):
    parts = parts_of(*roots)
    reverse = dict(reversed(parts.items()))
    one, other = Source(parts=parts), Source(parts=ml_collections.ConfigDict(reverse))
    assert one.fingerprint == other.fingerprint
    assert one.recordings() == other.recordings()


def test_the_fingerprint_follows_every_part(roots):
    prints = {Source(parts=parts_of(*roots)).fingerprint}
    prints.add(Source(parts=parts_of(*roots), sample_rate_hz=4000).fingerprint)
    prints.add(Source(parts=parts_of(*roots, group='recording')).fingerprint)
    renamed = {'one': parts_of(*roots)['one'], 'three': parts_of(*roots)['two']}
    prints.add(Source(parts=renamed).fingerprint)
    write(roots[0], 'rock/d.wav')
    prints.add(Source(parts=parts_of(*roots)).fingerprint)
    assert len(prints) == 5


def test_lists_that_all_parts_bring_are_joined(tmp_path):
    for name, songs in (('west', 7), ('more', 9)):
        write(tmp_path / name, *(f'{g}/{i}.wav' for g in ('folk', 'country') for i in range(songs)))
        write(tmp_path / name, *(f'bluegrass/{i}.wav' for i in range(4)))
    parts = {
        'west': {'name': 'western', 'root': str(tmp_path / 'west')},
        'more': {'name': 'western', 'root': str(tmp_path / 'more'), 'paper_seed': 3},
    }
    expected = {
        f'{name}/{track}': part
        for name, seed in (('west', 0), ('more', 3))
        for track, part in Western(root=str(tmp_path / name), paper_seed=seed).protocols()['paper'].items()
    }
    source = Source(parts=parts)
    assert source.protocols() == {'paper': expected}
    assert not any('list' in note for note in source.notes())
    parts['more'] = {'name': 'folder', 'root': str(tmp_path / 'more')}
    source = Source(parts=parts)
    assert source.protocols() == {}
    assert 'the list paper is not offered: there is none for more' in source.notes()


def test_copies_across_parts_share_a_group(roots, tmp_path):
    shutil.copy(roots[0] / 'rock' / 'c.wav', roots[1] / 'f.wav')
    (roots[1] / 'e.wav').write_bytes(b'RIFF')
    source = Source(parts=parts_of(*roots))
    notes = source.notes()
    assert '2 files are byte-identical copies (one/rock/c.wav = two/f.wav); copies share a group' in notes
    assert 'byte-identical copies carry different labels: one/rock/c.wav (rock) = two/f.wav (jazz)' in notes
    manifest = prepare.read_manifest(prepare.prepare(source, tmp_path / 'prepared', 1.0))
    groups = {track['track']: track['group'] for track in manifest['tracks']}
    assert groups['one/rock/c.wav'] == groups['two/f.wav']
    assert len(set(groups.values())) == len(groups) - 1 == 4
    assert [item['path'] for item in manifest['quarantined']] == ['two/e.wav']
    assert manifest['labels'] == ['folk', 'jazz', 'rock']
    assert sum('copies' in note for note in manifest['notes']) == 2  # told once


def test_parts_with_different_rates(tmp_path):
    one = write(tmp_path / 'one', 'a/1.wav', 'b/1.wav')
    two = write(tmp_path / 'two', 'a/1.wav', 'b/1.wav', rate_hz=16000)
    message = refusal(parts_of(one, two))
    assert 'config.data.sample_rate_hz=None' in message
    assert 'one 8000 Hz, two 16000 Hz' in message
    assert Source(parts=parts_of(one, two), sample_rate_hz=16000).sample_rate_hz() == 16000
    message = refusal(parts_of(one, two, sample_rate_hz=11025), sample_rate_hz=16000)
    assert 'config.data.sample_rate_hz=16000' in message and 'two 11025 Hz' in message


def test_mistakes_in_the_parts(roots, tmp_path):
    both = parts_of(*roots)
    one = both['one']
    table = tmp_path / 'table.csv'
    table.write_text('filename,label,x\na,p,1\nb,q,2\n')
    for parts, *expected in (
        (
            both | {'two': one | {'name': 'foldr'}},
            "config.data.parts.two.name='foldr'; did you mean",
        ),
        (
            both | {'two': one | {'rot': 'x'}},
            "part 'two': unknown key config.data.parts.two.rot; did you mean",
        ),
        (both | {'two': one | {'chunk_s': 1.0}}, 'unknown key config.data.parts.two.chunk_s'),
        (both | {'two': {'name': 'folder'}}, "part 'two': config.data.parts.two.root is missing"),
        (both | {'two': {'root': 'x'}}, "config.data.parts.two.name='two'"),
        (both | {'two': one | {'root': 5}}, 'config.data.parts.two.root=5: expected str'),
        (both | {'two': one | {'root': ''}}, "part 'two': the root folder is not set"),
        (both | {'two': 'folder'}, "config.data.parts.two='folder': expected a section"),
        (both | {'a/b': one}, 'config.data.parts.a/b: a part is named by letters'),
        ({'one': one}, 'expected a section for each of two'),
        ([one, one], 'expected a section for each of two'),
        (
            both | {'two': {'name': 'feature_table', 'root': str(table)}},
            "part 'two': feature_table holds data of kind 'table'; a mixture is of audio",
        ),
    ):
        message = refusal(parts)
        assert all(text in message for text in expected), message


def test_labels_that_differ_only_in_spelling(roots):
    write(roots[0], 'Jazz/x.wav')
    assert "config.data.parts: the labels 'Jazz' and 'jazz' differ only" in refusal(parts_of(*roots))


def test_the_page_takes_its_roots_and_balances_its_classes(tmp_path):
    west, raag = tmp_path / 'west', tmp_path / 'raag'
    for root, labels in ((west, ('bluegrass', 'country', 'folk')), (raag, ('yaman', 'bhoopali'))):
        songs = 4 if root is west else 6
        write(root, *(f'{label}/{i}.wav' for label in labels for i in range(songs)))
    roots = [('data.parts.western.root', str(west)), ('data.parts.raag.root', str(raag))]
    config, _ = overrides.load('mixture', roots)
    with pytest.raises(UserError, match=r"mean 'config\.data\.parts\.western\.root'"):
        overrides.load('mixture', [('data.parts.western.rot', 'x')])
    config.data.prepared_dir = str(tmp_path / 'prepared')
    config_lib.validate(config)
    dataset = run_data.open_dataset(config)
    split = run_data.make_split(config, dataset)
    tables = run_data.make_tables(config, dataset, split)
    facts = run_data.describe(run_data.Data(dataset, split, tables))
    assert facts['classes'] == ['bhoopali', 'bluegrass', 'country', 'folk', 'yaman']
    songs = [parts['train'] for parts in facts['songs_per_class'].values()]
    assert max(songs) > min(songs)
    assert np.bincount(tables['train'].labels).tolist() == [8 * max(songs)] * 5
    assert len(tables['test']) == 10 * facts['n_songs']['test']


def test_prepare_takes_the_parts_as_json(roots, tmp_path):
    words = [sys.executable, '-m', 'data.prepare', 'mixture', f'--out={tmp_path / "prepared"}']
    done = program.run([*words, f'--parts={json.dumps(parts_of(*roots))}'])
    assert done.returncode == 0, done.stderr
    assert 'one/' not in done.stdout and 'jazz' in done.stdout
    for given, expected in (
        ('{"a.b": {}}', 'dots'),
        ('{"one": ', 'config.data.parts=\'{"one": \''),
    ):
        done = program.run([*words, f'--parts={given}'])
        assert done.returncode == 2
        assert expected in done.stderr and len(done.stderr.splitlines()) == 1
