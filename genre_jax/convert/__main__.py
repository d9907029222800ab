"""Converts a published checkpoint into a folder that config.init.checkpoint can name.

    python -m genre_jax.convert --model=cnn14 --checkpoint=Cnn14_mAP=0.431.pth --out=converted/cnn14
    python -m genre_jax.convert --checkpoint=yamnet --out=converted/yamnet     # fetched by name

Prints and stores (conversion.json) a verification report. No pickle is executed.
"""

from __future__ import annotations

import pathlib
import sys

from absl import app, flags

from genre_jax import convert
from genre_jax.convert import store, tables
from genre_jax.errors import UserError

_MODELS = sorted({table.model for table in tables.TABLES})
_MODEL = flags.DEFINE_enum(
    'model', None, _MODELS, 'model that the checkpoint is of; without: by its tensors'
)
_CHECKPOINT = flags.DEFINE_string(
    'checkpoint', None, 'file of the checkpoint, or the name of a published one', required=True
)
_OUT = flags.DEFINE_string('out', None, 'folder for the converted checkpoint', required=True)
_SET = flags.DEFINE_multi_string(
    'set',
    [],
    'key=value: a setting of the model that the tensors do not tell (--set=time_stride=16)',
)


def main(argv: list[str]) -> None:
    """Converts.

    Args:
        argv: words of the command line that are no flags.

    Raises:
        UserError: a mistake of the user.
    """
    if len(argv) > 1:
        raise UserError(f'unexpected argument {argv[1]!r}')
    overrides = {}
    for item in _SET.value:
        key, separator, value = item.partition('=')
        if not separator or not value.lstrip('-').isdigit():
            raise UserError(f'--set={item}: expected key=value with a whole number')
        overrides[key] = int(value)
    converted, source = convert.convert_checkpoint(_CHECKPOINT.value, _MODEL.value, overrides)
    out = pathlib.Path(_OUT.value)
    try:
        report = store.save(converted, out, source)
    except OSError as error:
        raise UserError(f'--out={out}: {error.strerror}') from None
    print(store.report_lines(report))
    print(f'written: {out} (config.init.checkpoint={out})')


def _main_or_one_line(argv: list[str]) -> None:
    try:
        main(argv)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)


if __name__ == '__main__':
    app.run(_main_or_one_line)
