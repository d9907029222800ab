"""Folders on this machine, and folders of object stores (gs://, s3://, az://), through one interface."""

import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO

from absl import logging
from etils import epath

from genre_jax.errors import UserError

Path = pathlib.Path | epath.Path
# What file systems that have no locks say; macOS and Linux differ.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


def folder(name: str | os.PathLike) -> Path:
    """Returns a folder by its path, or its address in an object store; a UserError for an unknown store."""
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


@contextlib.contextmanager
def only_one(lock: Path, refusal: str, advice: str) -> Iterator[None]:
    """Holds a lock file alone (object stores have none); a UserError says: refusal (reason): advice."""
    if not is_local(lock):
        yield
        return
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open('w')
    except OSError as error:
        raise UserError(f'{refusal} ({error.strerror}): {advice}') from None
    with file:
        take_lock(file)
        yield


def take_lock(lock: IO, *, wait: bool = True) -> bool:
    """Locks an open file; False if another has it and this does not wait; warns where there are no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logging.warning('%s: %s: see to it that no other program writes there', lock.name, error.strerror)
    return True


def check_renames(folder: pathlib.Path, key: str) -> None:
    """Refuses a folder where no folder can be renamed, as in a mounted bucket without them: a UserError."""
    probe = pathlib.Path(tempfile.mkdtemp(prefix='.rename_', dir=folder))
    try:
        probe = probe.rename(probe.with_suffix('.renamed'))
    except OSError as error:
        raise UserError(
            f'{key}={folder}: folders cannot be renamed there ({error.strerror}), as what is written '
            'whole must be: name a folder of another file system, or a bucket with hierarchical names'
        ) from None
    finally:
        probe.rmdir()


def remove(path: Path) -> None:
    """Deletes a folder with all that is in it, if it is there."""
    if is_local(path):
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.rmtree()
