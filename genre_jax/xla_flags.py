"""Which of XLA's kernels compute on CPUs."""

import importlib.util
import os

# XLA hands products, sums and convolutions to the library YNNPACK. Its convolutions, the gradient of the
# kernel above all, take up to four times as long as XLA's own; its sums are the faster ones. Measured by
# `python -m benchmarks.models` with jaxlib 0.10; 0.12 knows the flag as well. One that does not would stop
# at the start and name it: requirements.txt keeps later ones out until they are tried.
_NAME = '--xla_cpu_experimental_ynn_fusion_type'
_KINDS = 'individual_dot,reduce'


def set_flags() -> None:
    """Adds to the environment what XLA reads when the first array is made; what is there already stays.

    A TPU's library has a list of flags of its own, which may lack this one, and nothing large is computed
    on the CPU beside it.
    """
    flags = os.environ.get('XLA_FLAGS', '')
    if _NAME not in flags and not importlib.util.find_spec('libtpu'):
        os.environ['XLA_FLAGS'] = f'{flags} {_NAME}={_KINDS}'.strip()
