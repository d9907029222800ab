"""Which of XLA's kernels compute on CPUs, and how much memory a TPU's may use."""

import importlib.util
import os

# XLA hands products, sums and convolutions to the library YNNPACK. Its convolutions, the gradient of the
# kernel above all, take up to four times as long as XLA's own; its sums are the faster ones. Measured by
# `python -m benchmarks.models` with jaxlib 0.10; 0.12 knows the flag as well. One that does not would stop
# at the start and name it: requirements.txt keeps later ones out until they are tried.
_NAME = '--xla_cpu_experimental_ynn_fusion_type'
_KINDS = 'individual_dot,reduce'
# The fast memory that one operation may use, in KiB. With as much as there is TPUs' compiler takes twice to
# ten times as long, for products above all; by its own estimate they then take a tenth to a fifth less time.
_TPU_NAME, _TPU_KIB = '--xla_tpu_scoped_vmem_limit_kib', 8192


def set_flags() -> None:
    """Adds to the environment what XLA reads when the first array is made; what is there already stays.

    A TPU's library has a list of XLA's flags of its own, which may lack this one, and nothing large is
    computed on the CPU beside it.
    """
    if importlib.util.find_spec('libtpu'):
        name, variable, value = _TPU_NAME, 'LIBTPU_INIT_ARGS', _TPU_KIB
    else:
        name, variable, value = _NAME, 'XLA_FLAGS', _KINDS
    flags = os.environ.get(variable, '')
    if name not in flags:
        os.environ[variable] = f'{flags} {name}={value}'.strip()
