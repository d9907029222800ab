"""Where packages are whose modules alone are read."""

import pytest

from benchmarks import published


@pytest.fixture(scope='module')
def parity_code():
    """Those of requirements-parity-code.txt."""
    with published.packages():
        yield
