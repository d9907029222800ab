"""What lies in a folder of prepared datasets, and what of it nothing needs any more."""

import pathlib
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from genre_jax.config import keys
from genre_jax.data import manifest as manifest_lib
from genre_jax.errors import UserError, say


class Item(NamedTuple):
    """A preparation, a batch of records, or what an older version or a cut-off call left."""

    folder: pathlib.Path
    n_bytes: int
    what: str
    needed: bool  # by a preparation that was asked for last


def main(words: list[str]) -> None:
    """Lists what is prepared, and deletes, with --yes, what nothing that was asked for last needs."""
    root = pathlib.Path(keys.BY_NAME['data.prepared_dir'].default)
    for word in words:
        key, separator, value = word.partition('=')
        if key == '--prepared_dir' and separator:
            root = pathlib.Path(value)
        elif word != '--yes':
            raise UserError(f'{word!r}: with --prune expected --prepared_dir=DIR and --yes')
    if not root.is_dir():
        raise UserError(f'--prepared_dir={root} is no folder: there is nothing to prune')
    homes = [home for home in sorted(root.iterdir()) if home.is_dir()]
    items = [item for home in homes for item in _of_dataset(home)]
    for item in items:
        mark = '' if item.needed else 'prune'
        line = f'{item.n_bytes / 2**20:10.1f} MiB  {mark:5}  {item.folder}  ({item.what})'
        say(line)
    unneeded = [item for item in items if not item.needed]
    say(f'{sum(item.n_bytes for item in unneeded) / 2**20:10.1f} MiB  can be freed')
    if '--yes' in words:
        # Preparations first, so that none points to records that are gone.
        for item in sorted(unneeded, key=lambda item: item.folder.parent.name == 'records'):
            shutil.rmtree(item.folder)
    elif unneeded:
        say('the same with --yes deletes what is marked')


def _of_dataset(home: pathlib.Path) -> Iterator[Item]:
    asked = {file.read_text() for kind in ('request', 'root') for file in home.glob(f'*.{kind}')}
    batches = set()
    for folder in sorted(home.iterdir()):
        if not folder.is_dir() or folder.name == 'records':
            continue
        needed = folder.name in asked
        if folder.name.endswith('.partial'):
            what, needed = 'was cut off', True  # the next call goes on with it
        elif (folder / 'tfds').exists():
            what, needed = 'of an older version', False
        else:
            facts = manifest_lib.read(folder)
            what = f'{len(facts["tracks"])} recordings' + ('' if needed else ', superseded')
            batches |= set(facts['batches']) if needed else set()
        yield Item(folder, _size(folder), what, needed)
    for folder in sorted(home.glob('records/*')):
        cut_off, in_use = folder.name.endswith('.partial'), folder.name in batches
        what = 'cut off' if cut_off else 'in use' if in_use else 'of nothing that is left'
        yield Item(folder, _size(folder), f'records, {what}', cut_off or in_use)


def _size(folder: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob('*') if file.is_file())
