"""What lies in a folder of prepared datasets, and what of it nothing needs any more."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator

from genre_jax.data import manifest as manifest_lib
from genre_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Item:
    """A folder: a preparation, a batch of records, or what an older version or a cut-off call left.

    Attributes:
        folder: it.
        n_bytes: of all its files.
        what: in words.
        needed: whether a preparation that was asked for last needs it.
    """

    folder: pathlib.Path
    n_bytes: int
    what: str
    needed: bool


def find(prepared_dir: str) -> list[Item]:
    """Lists what lies there, dataset by dataset.

    What was asked for last, with each setting of each root, is needed, and the records that it points to.

    Args:
        prepared_dir: config.data.prepared_dir, on this machine.

    Raises:
        UserError: there is no such folder.
    """
    root = pathlib.Path(prepared_dir)
    if not root.is_dir():
        raise UserError(f'--prepared_dir={prepared_dir} is no folder: there is nothing to prune')
    return [item for home in sorted(root.iterdir()) if home.is_dir() for item in _of_dataset(home)]


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
    records = home / 'records'
    for folder in sorted(records.iterdir()) if records.exists() else ():
        cut_off = folder.name.endswith('.partial')
        needed = cut_off or folder.name in batches
        what = 'records, ' + (
            'cut off' if cut_off else 'in use' if needed else 'of nothing that is left'
        )
        yield Item(folder, _size(folder), what, needed)


def _size(folder: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob('*') if file.is_file())


def table(items: list[Item]) -> str:
    """Returns the list as text, with what would be freed."""
    lines = [
        f'{item.n_bytes / 2**20:10.1f} MiB  {"" if item.needed else "prune":5}  {item.folder}  ({item.what})'
        for item in items
    ]
    freed = sum(item.n_bytes for item in items if not item.needed)
    return '\n'.join([*lines, f'{freed / 2**20:10.1f} MiB  can be freed'])


def remove(items: list[Item]) -> None:
    """Deletes what is not needed: preparations first, so that none points to records that are gone."""
    for item in sorted(items, key=lambda item: item.folder.parent.name == 'records'):
        if not item.needed:
            shutil.rmtree(item.folder)
