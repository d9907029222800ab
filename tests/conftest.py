"""What all tests share: 8 virtual CPU devices, and where the real recordings lie."""

import os
import pathlib
import sys
import tempfile

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.program import DATA, ROOT

# Before anything imports jax: the number of devices is read once. Tests of the whole program start
# processes of their own and choose for them.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_NUM_CPU_DEVICES'] = '8'
# librosa keeps what numba compiled beside its own files: two processes that write there at once leave
# files behind with which the next test run crashes.
os.environ['NUMBA_CACHE_DIR'] = tempfile.mkdtemp(prefix='numba-')


# The files that take longest come first: at the end one process would be busy alone.
_LONG = (
    'test_handcrafted test_bad_input test_packed test_reproduce test_sweep test_survival test_main '
    'test_embeddings test_transfer test_classical test_bu_models test_models'
).split()


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items):
    """Of a slow family `but` one stays quick: `@pytest.mark.slow(but='mlp')`, by a part of its name."""
    items.sort(key=lambda item: _LONG.index(item.path.stem) if item.path.stem in _LONG else len(_LONG))
    for item in items:
        for mark in item.iter_markers('slow'):
            if mark.kwargs.get('but', '\n') in item.name.partition('[')[2]:
                item.own_markers.remove(mark)


class Scheduling(LoadFileScheduling):
    """A file to a process; those that use librosa to one: numba compiles for half a minute for it."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return 'librosa' if 'librosa.' in (ROOT / file).read_text() else file


def pytest_xdist_make_scheduler(config, log):
    return Scheduling(config, log) if config.getvalue('dist') == 'loadfile' else None


@pytest.fixture(scope='module', autouse=True)
def forget_what_was_compiled():
    """Frees what XLA compiled for a file of tests: together it would be gigabytes."""
    yield
    if 'jax' in sys.modules:
        sys.modules['jax'].clear_caches()


@pytest.fixture(scope='session')
def real_recordings() -> list[pathlib.Path]:
    """Returns one real recording of each class of the folders below, 22.05 kHz mono."""
    files = []
    for folder in ('gtzan/genres_original', 'game_music'):
        for label in sorted(path for path in (DATA / folder).glob('*') if path.is_dir()):
            files += sorted([*label.glob('*.wav'), *label.glob('*.ogg')])[:1]
    if not files:
        pytest.skip(f'no recordings below {DATA}: set GENRE_JAX_DATA')
    return files
