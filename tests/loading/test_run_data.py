"""What is said of data before anything is learned from them."""

import types

import numpy as np
import pytest

from genre_jax.configs import folder
from genre_jax.data import decode
from genre_jax.loading import run_data
from tests import program


def said(*songs):
    """songs: (label, artist, group)"""
    tracks = [{'label': label, 'artist': artist, 'group': group} for label, artist, group in songs]
    dataset = types.SimpleNamespace(
        tracks=tracks,
        labels=sorted({track['label'] for track in tracks}),
        column=lambda name: np.array([track[name] for track in tracks]),
    )
    return run_data._odd_groups(dataset)


@pytest.mark.parametrize(
    'name',
    [
        'V/A',
        'v.a.',
        ' various  artists',
        '[unknown]',
        'NaN',
        'N. A.',
        '???',
        '<Unknown Artist>',
        'Artisti Vari',
    ],
)
def test_names_of_nobody(name):
    assert said(('jig', name, 'x'), ('reel', 'B', 'y'))[0].startswith(f'1 songs have the artist {name!r}')


@pytest.mark.parametrize('group', ['album:Unknown Album', 'group:nan', 'album:-'])
def test_albums_and_groups_that_are_none(group):
    level, _, name = group.partition(':')
    (line,) = said(('jig', 'A', group), ('reel', 'B', group), ('reel', 'B', 'album:Planxty'))
    assert line.startswith(f'2 songs have the {level} {name!r}: where that is nobody')


@pytest.mark.parametrize('name', ['', 'Vader', 'Unknown Mortal Orchestra', 'The Nones', 'Ana'])
def test_names_of_somebody(name):
    assert said(('jig', name, 'x'), ('reel', 'B', 'y')) == []


@pytest.mark.parametrize(('protocol', 'noted'), [('stratified', True), ('kfold', True), ('official', False)])
def test_a_split_of_the_data_that_is_not_used(protocol, noted, tmp_path, monkeypatch):
    monkeypatch.setattr(
        decode, '_decode_here', lambda source, clips: [decode._decode_one(source, c) for c in clips]
    )
    songs = program.write_tones(tmp_path / 'tones', songs=5)
    parts = ['train', 'train', 'train', 'val', 'test']
    rows = [f'{c}/{i:02d}.wav,{c},{parts[i]}' for c in ('low', 'mid', 'high') for i in range(5)]
    (songs / 'list.csv').write_text('path,label,split\n' + '\n'.join(rows))
    config = folder.get_config()
    config.data.root, config.data.prepared_dir = str(songs), str(tmp_path / 'prepared')
    config.split.protocol, config.split.folds = protocol, 3
    warnings = run_data.describe(run_data.open_data(config))['warnings']
    assert any('split of their own' in warning for warning in warnings) == noted


@pytest.mark.parametrize(('keys', 'told'), [(('C', 'E', 'G#'), True), (('C', 'C', 'C'), False)])
def test_keys_that_tell_classes(keys, told, tmp_path, monkeypatch):
    monkeypatch.setattr(
        decode, '_decode_here', lambda source, clips: [decode._decode_one(source, c) for c in clips]
    )
    songs = program.write_tones(tmp_path / 'tones', songs=6)
    rows = [
        f'{c}/{i:02d}.wav,{c},{key}'
        for c, key in zip(('low', 'mid', 'high'), keys, strict=True)
        for i in range(6)
    ]
    (songs / 'list.csv').write_text('path,label,tonic\n' + '\n'.join(rows))
    config = folder.get_config()
    config.data.name, config.data.root = 'raag', str(songs / 'list.csv')
    config.data.prepared_dir, config.split.fractions = str(tmp_path / 'prepared'), (0.34, 0.33, 0.33)
    described = run_data.describe(run_data.open_data(config))
    # Six songs, two of a class: their own keys name all, one key for all names one class, the first.
    assert described['tonic_alone']['accuracy'] == pytest.approx(1 if told else 1 / 3)
    noted = [line for line in described['warnings'] if 'tonic alone' in line]
    assert len(noted) == told and all('100.0 % of the test songs' in line for line in noted)


def test_artists_that_are_none():
    songs = [('jig', 'Various Artists', 'v'), ('reel', 'Various Artists', 'v'), ('reel', 'A', 'a')]
    (line,) = said(*songs, ('jig', 'B', 'b'), ('reel', 'C', 'c'))
    assert line.startswith("2 songs have the artist 'Various Artists'")
    assert said(('jig', '', 'x'), ('reel', 'Unknown Mortal Orchestra', 'y')) == []


def test_a_group_that_holds_most_of_a_class():
    songs = [('jig', 'A', 'a')] * 3 + [('jig', 'B', 'b')] * 2 + [('reel', 'C', 'c')] * 2
    (line,) = said(*songs, ('reel', 'D', 'd'), ('reel', 'E', 'e'))
    assert line == "3 of 5 songs of class 'jig' are of one group (a)"


def test_excerpts_are_stretches_of_the_test_songs(tmp_path, monkeypatch):
    monkeypatch.setattr(
        decode, '_decode_here', lambda source, clips: [decode._decode_one(source, c) for c in clips]
    )
    songs = program.write_tones(tmp_path / 'tones', songs=6)
    config = folder.get_config()
    config.data.root, config.data.prepared_dir = str(songs), str(tmp_path / 'prepared')
    config.split.fractions, config.eval.excerpts_s = (0.34, 0.33, 0.33), (0.75, 100.0)
    data = run_data.open_data(config)
    tables = run_data.excerpt_tables(config, data.dataset, data.split)
    assert list(tables) == ['test_0.75s', 'test_100s']
    short, whole = tables.values()
    rate_hz = data.dataset.sample_rate_hz
    for table, length in ((short, round(0.75 * rate_hz)), (whole, 100 * rate_hz)):
        assert table.track.tolist() == data.split.tracks['test'].tolist()
        for audio, track, start in zip(table.read_all(), table.track, table.start, strict=True):
            n_samples = data.dataset.tracks[track]['n_samples']
            assert len(audio) == length and 0 <= start <= max(0, n_samples - length)
            song = data.dataset.read(track, 0, n_samples)
            np.testing.assert_array_equal(audio[: n_samples - start], song[start : start + length])
    assert len(set(short.start)) > 1 and not whole.start.any()
    again = run_data.excerpt_tables(config, data.dataset, data.split)['test_0.75s']
    assert (again.start == short.start).all()
    assert config.windows.window_s == folder.get_config().windows.window_s
    config.split.seed += 1
    other = run_data.excerpt_tables(config, data.dataset, data.split)['test_0.75s']
    assert (other.start != short.start).any()
