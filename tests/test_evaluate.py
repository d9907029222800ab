"""Finished models on other datasets: classes by name, figures against labels by hand, leaks."""

import json
import shutil
import sys

import numpy as np
import pytest

import genre_jax
from genre_jax.errors import UserError
from genre_jax.evaluate import match, read_mapping
from tests import program


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A run on tones, and other tones, of classes spelled otherwise and one that it has never heard."""
    home = program.train_on_tones(tmp_path_factory.mktemp('evaluate'))
    registers = (('LOW', 230), ('mid', 700), ('high', 1800), ('noise', 5000))
    program.write_tones(home / 'other', songs=5, classes=registers)
    (home / 'mapping.csv').write_text('label,class\nnoise,\nnois,low\n')
    return home


def evaluate(home, root, *words):
    """Runs the program."""
    flags = (
        '--config=folder',
        f'--config.data.root={root}',
        f'--config.data.prepared_dir={home / "prepared"}',
    )
    return program.run(
        [sys.executable, '-m', 'genre_jax.evaluate', str(home / 'run'), *flags, *map(str, words)]
    )


@pytest.mark.slow
def test_figures_are_those_of_its_labels(home):
    words = (f'--workdir={home / "elsewhere"}', f'--mapping={home / "mapping.csv"}')
    done = evaluate(home, home / 'other', *words)
    assert done.returncode == 0, done.stderr
    result = json.loads((home / 'elsewhere' / '1_run' / 'result.json').read_text())
    files = sorted(map(str, (home / 'other').rglob('*.wav')))
    songs = genre_jax.load(str(home / 'run')).label([file for file in files if '/noise/' not in file])
    right = [song.label == song.track.split('/')[-2].lower() for song in songs]
    test = result['parts']['test']
    assert test['song_max_probability']['accuracy'] == pytest.approx(np.mean(right))
    assert test['segment']['n'] == sum(len(song.start_s) for song in songs)
    assert result['n_songs']['test'] == 15 and not result['leaky']
    low, high = test['song_max_probability']['accuracy_ci95']
    assert low < np.mean(right) < high
    page = (home / 'elsewhere' / '1_run' / 'report.html').read_text()
    assert genre_jax.load(str(home / 'run')).sha256 in page and 'fitted to the training part' not in page
    assert 'left out by --mapping: noise' in done.stdout
    assert '--mapping names labels that the dataset does not have: nois\n' in done.stdout


@pytest.mark.slow
def test_a_class_that_it_does_not_know_is_refused_with_both_lists(home):
    done = evaluate(home, home / 'other', f'--workdir={home / "refused"}')
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert (
        'no class noise' in done.stderr
        and 'LOW, high, mid, noise' in done.stderr
        and '--mapping' in done.stderr
    )


@pytest.mark.slow
def test_on_its_own_recordings_its_own_test_part_is_tested(home):
    done = evaluate(home, home / 'tones', f'--workdir={home / "own"}')
    assert done.returncode == 0, done.stderr
    own, again = (json.loads((home / folder / 'result.json').read_text()) for folder in ('run', 'own/1_run'))
    assert again['n_songs']['test'] == own['n_songs']['test'] and not again['leaky']
    assert any('its own test part' in line for line in again['warnings'])
    # What the run keeps of its model is no stranger; a copy elsewhere knows what it was made with.
    shutil.copytree(home / 'run' / 'model', home / 'copy')
    models = (home / 'run' / 'model', home / 'copy')
    done = evaluate(home, f'{home}/../{home.name}/tones/', *models, f'--workdir={home / "both"}')
    assert done.returncode == 0, done.stderr
    counts = [
        json.loads((folder / 'result.json').read_text())['n_songs']['test']
        for folder in sorted((home / 'both').glob('[123]_*'))
    ]
    assert counts == [own['n_songs']['test']] * 3
    assert f'copy minus {home / "run"}, {counts[0]} songs:  +0.0' in done.stdout


@pytest.mark.slow
def test_copies_of_what_it_was_made_with_are_left_out(home, tmp_path):
    made_with = np.load(home / 'run' / 'model' / 'heard.npz')['tracks'].tolist()
    known = [name for name in made_with if name.startswith(('low', 'mid'))][:3]
    program.write_tones(tmp_path / 'songs', songs=2, classes=(('low', 300), ('mid', 800)))
    for i, name in enumerate(known):
        shutil.copy(
            home / 'tones' / name, tmp_path / 'songs' / name.split('/')[0] / f'called_otherwise_{i}.wav'
        )
    done = evaluate(home, tmp_path / 'songs', f'--workdir={tmp_path / "a"}')
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / 'a' / '1_run' / 'result.json').read_text())
    assert result['n_songs']['test'] == 4 and not result['leaky']
    assert any(line.startswith('left out: 3 recordings') for line in result['warnings'])
    done = evaluate(home, tmp_path / 'songs', f'--workdir={tmp_path / "b"}', '--config.split.allow_leak=True')
    result = json.loads((tmp_path / 'b' / '1_run' / 'result.json').read_text())
    assert result['n_songs']['test'] == 7 and result['leaky']


@pytest.mark.slow
def test_nothing_left_to_test_is_said(home, tmp_path):
    (tmp_path / 'none.csv').write_text('label,class\nlow,\nmid,\nhigh,\nnoise,\n')
    words = (f'--workdir={tmp_path / "x"}', f'--mapping={tmp_path / "none.csv"}')
    done = evaluate(home, home / 'other', *words)
    assert done.returncode == 2 and 'none of the 20 recordings is left' in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_recordings_that_were_changed_since_may_be_known(home, tmp_path):
    moved = home / 'kept'
    shutil.copytree(home / 'tones', moved)
    (home / 'tones' / 'low' / '00.wav').unlink()
    try:
        done = evaluate(home, home / 'tones', f'--workdir={tmp_path / "a"}')
        assert done.returncode == 2 and 'allow_leak' in done.stderr
        done = evaluate(home, home / 'tones', f'--workdir={tmp_path / "b"}', '--config.split.allow_leak=True')
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / 'b' / '1_run' / 'result.json').read_text())['leaky']
    finally:
        shutil.copy(moved / 'low' / '00.wav', home / 'tones' / 'low' / '00.wav')


def test_a_label_that_is_mapped_twice(tmp_path):
    file = tmp_path / 'mapping.csv'
    file.write_text('label,class\ntalk,\nMetal,rock\nmetal,rock\n')
    assert read_mapping(str(file)) == {'talk': '', 'Metal': 'rock', 'metal': 'rock'}
    file.write_text('label,class\nMetal,rock\ntalk,\nmetal,folk\n')
    with pytest.raises(UserError, match="line 4: metal is 'folk', and 'rock' in line 2: remove one"):
        read_mapping(str(file))


def test_classes_are_matched_by_name_or_by_a_mapping():
    classes = ['Hip-Hop', 'Café', 'rock']
    assert match(['hip-hop', 'cafe\u0301', 'Rock '], classes, {}) == {
        'hip-hop': 0,
        'cafe\u0301': 1,
        'Rock ': 2,
    }
    assert match(['metal', 'talk'], classes, {'Metal': 'rock', 'talk': ''}) == {'metal': 2, 'talk': None}
    with pytest.raises(UserError, match='talk, metal -> rok. Labels'):
        match(['talk', 'metal'], classes, {'metal': 'rok'})
