"""Where packages are whose modules alone are read."""

import pathlib
import sys

import pytest

FOLDER = pathlib.Path(sys.prefix, 'parity_code')


@pytest.fixture(scope='module')
def parity_code():
    """Those of requirements-parity-code.txt; nothing else in this process is to find them (transformers)."""
    known = {path.name for path in FOLDER.iterdir()}
    sys.path.append(str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
    for name in [name for name in sys.modules if name.partition('.')[0] in known]:
        del sys.modules[name]
