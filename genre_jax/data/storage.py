"""Folders on this machine, and folders of object stores (gs://, s3://, az://), through one interface."""

from __future__ import annotations

import os
import pathlib
import shutil

from etils import epath

from genre_jax.errors import UserError

Path = pathlib.Path | epath.Path


def folder(name: str | os.PathLike) -> Path:
    """Returns a folder by its name.

    Args:
        name: path, or address in an object store.

    Raises:
        UserError: no such store is known.
    """
    scheme, separator, _ = os.fspath(name).partition('://')
    if not separator:
        return pathlib.Path(name)
    if scheme not in ('gs', 's3', 'az'):
        raise UserError(
            f'config.data.prepared_dir={os.fspath(name)!r}: expected a folder, gs://, s3:// or az://'
        )
    found = epath.Path(name)
    try:
        found.exists()
    except Exception as error:  # each store has its own
        raise UserError(
            f'config.data.prepared_dir={found}: {" ".join(str(error).split())[:300]} '
            f'({type(error).__name__}; gs:// needs pip install gcsfs, s3:// s3fs, az:// adlfs, and '
            'their credentials)'
        ) from None
    return found


def is_local(path: Path) -> bool:
    """Says whether a path lies in this machine's file system, where a rename is atomic."""
    return isinstance(path, pathlib.Path)


def remove(path: Path) -> None:
    """Deletes a folder with all that is in it, if it is there."""
    if is_local(path):
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.rmtree()
