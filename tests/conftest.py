"""What all tests share: 8 virtual CPU devices, and where the real recordings lie."""

import os
import pathlib

import pytest

# Before anything imports jax: the number of devices is read once. Tests of the whole program start
# processes of their own and choose for them.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_NUM_CPU_DEVICES'] = '8'

_DATA = pathlib.Path(
    os.environ.get('GENRE_JAX_DATA', pathlib.Path(__file__).parents[2] / 'shared' / 'data')
)


@pytest.fixture(scope='session')
def real_recordings() -> list[pathlib.Path]:
    """Returns one real recording of each class of the folders below, 22.05 kHz mono."""
    files = []
    for folder in ('gtzan/genres_original', 'game_music'):
        for label in sorted(path for path in (_DATA / folder).glob('*') if path.is_dir()):
            files += sorted([*label.glob('*.wav'), *label.glob('*.ogg')])[:1]
    if not files:
        pytest.skip(f'no recordings below {_DATA}: set GENRE_JAX_DATA')
    return files
