"""What a model was made with is known again, under other names, at another rate, level and format."""

import types

import numpy as np
import pytest
import soundfile
import soxr

from genre_jax.config.keys import get_config
from genre_jax.data import prepare
from genre_jax.errors import UserError
from genre_jax.loading import prepared
from genre_jax.run import heard

RATE_HZ = 22050


def music(seed):
    """Eight seconds of random chords with a knock before each."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(RATE_HZ // 4) / RATE_HZ
    chords = []
    for _ in range(32):
        hz = 220 * 2 ** (rng.integers(0, 24, 3)[:, None] / 12)
        knock = rng.standard_normal(len(time_s)) * np.exp(-time_s / 0.01)
        chords.append((np.sin(2 * np.pi * hz * time_s).sum(0) * np.exp(-3 * time_s) + knock) / 8)
    return np.concatenate(chords)


def dataset(folder, files, rate_hz):
    for name, samples in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, samples, rate_hz)
    config = get_config()
    config.data.update(name='folder', root=str(folder), prepared_dir=str(folder.parent / 'prepared'))
    return prepared.Dataset(prepare.from_settings(config.data))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Six recordings: two trained on, two of the validation part, two of the test part."""
    home = tmp_path_factory.mktemp('heard')
    data = dataset(
        home / 'songs', {f'{c}/{i}.wav': music(10 * i + (c == 'b')) for c in 'ab' for i in range(3)}, RATE_HZ
    )
    tracks = {'train': np.array([0, 3]), 'val': np.array([1, 4]), 'test': np.array([2, 5])}
    (home / 'model').mkdir()
    heard.save(
        types.SimpleNamespace(dataset=data, split=types.SimpleNamespace(tracks=tracks)), home / 'model'
    )
    return home


def test_copies_are_known_and_others_are_not(trained, tmp_path):
    files = {
        'x/again.flac': 0.4 * soxr.resample(music(0), RATE_HZ, 16000),  # a/0, trained on
        'x/late.wav': soxr.resample(music(11), RATE_HZ, 16000)[16000:],  # b/1, of the validation part
        'y/tested.wav': soxr.resample(music(20), RATE_HZ, 16000),  # a/2, of the test part
        'y/0.wav': soxr.resample(music(99), RATE_HZ, 16000),
    }
    data = dataset(tmp_path / 'songs', files, 16000)
    everything = list(range(len(data.tracks)))
    found = heard.copies(trained / 'model', data, everything)
    assert {data.tracks[i]['track']: name for i, name in found.items()} == {
        'x/again.flac': 'a/0.wav',
        'x/late.wav': 'b/1.wav',
    }
    assert heard.copies(trained, data, everything) is None  # of a model that does not say


def test_damage_is_said(trained, tmp_path):
    (tmp_path / 'heard.npz').write_bytes((trained / 'model' / 'heard.npz').read_bytes()[:200])
    data = prepared.Dataset(next((trained / 'prepared' / 'folder').glob('*/manifest.json')).parent)
    with pytest.raises(UserError, match='heard.npz is damaged'):
        heard.copies(tmp_path, data, [0])
