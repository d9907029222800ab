"""SHA-256 of texts, and of files' contents, computed once for each state of a file."""

import concurrent.futures
import contextlib
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import tqdm

from genre_jax.data import tables
from genre_jax.data.storage import Path
from genre_jax.errors import machine_fault

# A file that was written so shortly before it was hashed may change again within one tick of its clock.
_SETTLED_NS = 2 * 10**9


def of_text(text: str) -> bytes:
    """Returns the SHA-256 of a text; lists are drawn in the order of it."""
    return hashlib.sha256(text.encode()).digest()


def for_each(function: Callable[[str], Any], folder: str, paths: Iterable[str], title: str) -> dict[str, Any]:
    """Returns what a function, run in threads, makes of each file by its path below a folder, sorted."""
    paths = sorted(set(paths))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = pool.map(function, (os.path.join(folder, path) for path in paths))
        bar = tqdm.tqdm(results, title, len(paths), leave=False, disable=None)
        return dict(zip(paths, bar, strict=True))


class Digests:
    """Digests by path, size and time of the last change: only where these differ is a file read again.

    A content that changes while both stay the same is not seen; `verify` reads every file.
    """

    def __init__(self, file: Path | None = None, *, verify: bool = False) -> None:
        """Reads what earlier programs left in a file of all known digests, if it is there yet."""
        self._file, self._new = file, False
        self._known: dict[str, tuple[int, int, str]] = {}
        if file is not None and not verify and file.exists():
            with contextlib.suppress(OSError, ValueError):  # else all are computed again
                for row in tables.read(file):
                    self._known[row['path']] = row['size'], row['changed_ns'], row['sha256']

    def __getstate__(self) -> dict:
        return {'_file': None, '_new': False, '_known': {}}  # worker processes hash nothing

    def of(self, folder: str, paths: Iterable[str]) -> dict[str, str]:
        """Returns {path below the folder: digest}, sorted; of empty or unreadable files an own word."""
        found = for_each(self._of, folder, paths, 'hashing files')
        return {path: digest or f'no content: {path}' for path, digest in found.items()}

    def _of(self, path: str) -> str:
        path = os.path.abspath(path)
        try:
            facts = os.stat(path)
            state = (facts.st_size, facts.st_mtime_ns)
            if not (stat.S_ISREG(facts.st_mode) and facts.st_size):
                return ''
            known = self._known.get(path)
            if known is not None and known[:2] == state:
                return known[2]
            now_ns = time.time_ns()
            with open(path, 'rb') as file:
                digest = hashlib.file_digest(file, 'sha256').hexdigest()
        except OSError as error:
            if machine_fault(error):
                raise
            return ''
        if now_ns - facts.st_mtime_ns > _SETTLED_NS:
            self._known[path], self._new = (*state, digest), True
        return digest

    def save(self) -> None:
        """Leaves what is known to later programs."""
        if self._file is None or not self._new:
            return
        rows = [
            {'path': path, 'size': size, 'changed_ns': changed_ns, 'sha256': sha256}
            for path, (size, changed_ns, sha256) in sorted(self._known.items())
        ]
        temporary = self._file.with_name(f'{self._file.name}.{uuid.uuid4().hex}.tmp')
        tables.write(temporary, rows)
        temporary.replace(self._file)
        self._new = False
