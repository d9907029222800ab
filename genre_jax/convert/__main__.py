"""Converts a published checkpoint into a folder that config.init.checkpoint can name.

    python -m genre_jax.convert --model=cnn14 --checkpoint=Cnn14_mAP=0.431.pth --out=converted/cnn14
    python -m genre_jax.convert --checkpoint=yamnet --out=converted/yamnet     # fetched by name

Prints and stores (conversion.json) a verification report. No pickle is executed.
"""

import pathlib

from absl import flags

from genre_jax import program
from genre_jax.errors import UserError, say

_MODEL = flags.DEFINE_string(
    'model', None, 'a module of genre_jax.models that the checkpoint is of; without: by its tensors'
)
_CHECKPOINT = flags.DEFINE_string(
    'checkpoint', None, 'file of the checkpoint, or the name of a published one', required=True
)
_OUT = flags.DEFINE_string('out', None, 'folder for the converted checkpoint', required=True)
_SET = flags.DEFINE_multi_string(
    'set', [], 'key=value: a setting of the model that the tensors do not tell (--set=heads=6)'
)


def main(argv: list[str]) -> None:
    """Converts; a mistake of the user is a UserError."""
    # Here, so that --help is quick.
    from genre_jax import config as config_lib
    from genre_jax.convert import checkpoint, store, tables

    program.refuse_words(argv)
    known = sorted({table.model for table in tables.TABLES})
    if _MODEL.value not in (None, *known):
        raise UserError(f'--model={_MODEL.value}{config_lib.nearest(_MODEL.value, known)}')
    overrides = {}
    for item in _SET.value:
        key, separator, value = item.partition('=')
        try:
            overrides[key] = int(value) if value.lstrip('-').isdigit() else float(value)
        except ValueError:
            raise UserError(f'--set={item}: expected key=value with a number') from None
    converted, source = checkpoint.convert_checkpoint(_CHECKPOINT.value, _MODEL.value, overrides)
    out = pathlib.Path(_OUT.value)
    try:
        report = store.save(converted, out, source)
    except OSError as error:
        raise UserError(f'--out={out}: {error.strerror}') from None
    say(*store.report_lines(report).split('\n'))
    say(f'written: {out} (config.init.checkpoint={out})')


if __name__ == '__main__':
    program.run(main, config=False)
