"""Compiles a page's training and evaluation step for devices that are not there.

    python -m genre_jax.compile --config=configs/cnn14_western.py --target=h100x1,h200x8 [--classes=10] \
        [--json=FILE]

Targets: h100xN, h200xN (eight to a host), v5e-N, v6e-N (N chips), v5p-N (N cores, as its maker counts). The
compilers, not the devices, have to be there: pip install -r requirements-accelerators.txt, in an environment
of its own.

Says for each target, per device: how much of its memory the state (parameters, optimiser), the batch and what
is computed in between take, and the largest batch that fits (both grow with the batch as from this one to
twice its size); operations, bytes and collectives of a step; and the roofline: the least time that these take
at the rates of the data sheet, and which of them bounds it. All of it is computed, nothing measured.

Neither data nor a checkpoint is read: the number of classes is --classes. Operations are those of products
and convolutions, counted from the program as it is written; bytes those of the compiled one, where a loop
counts once.
"""

import os
from collections.abc import Mapping

from absl import flags

from genre_jax import program
from genre_jax.errors import say

# Heavy imports are inside the functions: the environment has to be set before.

_TARGET = flags.DEFINE_list('target', [], 'devices to compile for: h100x1, h200x8, v5e-4, v6e-16, v5p-8, ...')
_CLASSES = flags.DEFINE_integer('classes', 10, 'classes of the output layer', lower_bound=2)
_JSON = flags.DEFINE_string('json', '', 'file for the figures')


def cells(target: str, name: str, found: Mapping) -> dict[str, str]:
    """Returns a line of the table, by the heads of its columns."""
    sent = sorted(found['collectives'].items())
    return {
        '': f'{target} {name}',
        'batch': f'{found["batch_size"]}',
        'state and batch': f'{found["arguments_bytes"] / 2**20:.0f} MiB',
        'in between': f'{found["temporary_bytes"] / 2**20:.0f} MiB',
        'of the memory': f'{100 * found["total_bytes"] / found["memory_bytes"]:.1f} %',
        'largest batch': str(found['largest_batch_size'] or 'not known'),
        'operations': f'{found["operations"] / 1e9:.1f} G',
        'bytes': f'{found["accessed_bytes"] / 1e9:.2f} GB',
        'collectives': ', '.join(f'{x["calls"]} {kind} of {x["bytes"] / 2**20:.1f} MiB' for kind, x in sent)
        or 'none',
        'at least': f'{1e3 * found["roofline_s"]:.2f} ms, {found["bound_by"]}',
        'compiled in': f'{found["compile_s"]:.0f} s',
    }


def main(argv: list[str]) -> None:
    """Compiles what the flags say, and prints a table."""
    from genre_jax import config as config_lib
    from genre_jax.compile.steps import measure, open_job
    from genre_jax.errors import UserError
    from genre_jax.logbook import write_json
    from genre_jax.study.table import aligned

    program.refuse_words(argv)
    config = flags.FLAGS['config'].value
    if config is None or not _TARGET.value:
        raise UserError('--config=PAGE and --target=DEVICES are needed, as in --target=h100x8,v6e-16')
    config.init.checkpoint = ''
    config_lib.validate(config)
    file = program.file_to_write('json', _JSON.value) if _JSON.value else None
    jobs = {target: open_job(config, target, _CLASSES.value) for target in _TARGET.value}
    found = {target: measure(*opened) for target, opened in jobs.items()}
    rows = [cells(target, name, each) for target, both in found.items() for name, each in both.items()]
    say(*aligned([list(rows[0]), *(list(row.values()) for row in rows)]))
    if file:
        write_json(file, found)


if __name__ == '__main__':
    # Before jax is imported: it would look for the devices, and TPUs' library for a cloud to ask.
    os.environ |= {'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}
    program.run(main)
