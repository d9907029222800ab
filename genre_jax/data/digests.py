"""SHA-256 of files' contents, computed once for each state of a file."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import os
import time
import uuid
from collections.abc import Sequence

import tqdm

from genre_jax.data.storage import Path

# A file that was written so shortly before it was hashed may change again within one tick of its clock.
_SETTLED_NS = 2 * 10**9


class Digests:
    """Digests by path, size and time of the last change: only where these differ is a file read again.

    A content that changes while both stay the same is not seen; `verify` reads every file.
    """

    def __init__(self, file: Path | None = None, *, verify: bool = False) -> None:
        """Reads what earlier programs left.

        Args:
            file: of all digests that are known, None to keep none; need not be there yet.
            verify: whether every file is read, whatever is known.
        """
        self._file, self._new = file, False
        self._known: dict[str, tuple[int, int, str]] = {}
        if file is not None and not verify and file.exists():
            import pyarrow.parquet

            try:
                columns = pyarrow.parquet.read_table(io.BytesIO(file.read_bytes())).to_pydict()
            except (OSError, pyarrow.ArrowException):
                return  # all are computed again
            rows = zip(columns['size'], columns['changed_ns'], columns['sha256'], strict=True)
            self._known = dict(zip(columns['path'], rows, strict=True))

    def __getstate__(self) -> dict:
        return {'_file': None, '_new': False, '_known': {}}  # worker processes hash nothing

    def of(self, paths: Sequence[str]) -> list[str]:
        """Returns the digest of each file, '' where it is empty or cannot be read."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            found = pool.map(self._of, paths)
            return list(tqdm.tqdm(found, 'hashing files', len(paths), leave=False, disable=None))

    def _of(self, path: str) -> str:
        path = os.path.abspath(path)
        try:
            if not os.path.isfile(path):
                return ''
            facts = os.stat(path)
            state = (facts.st_size, facts.st_mtime_ns)
            if not facts.st_size:
                return ''
            known = self._known.get(path)
            if known is not None and known[:2] == state:
                return known[2]
            now_ns = time.time_ns()
            with open(path, 'rb') as file:
                digest = hashlib.file_digest(file, 'sha256').hexdigest()
        except OSError:
            return ''
        if now_ns - facts.st_mtime_ns > _SETTLED_NS:
            self._known[path], self._new = (*state, digest), True
        return digest

    def save(self) -> None:
        """Leaves what is known to later programs."""
        if self._file is None or not self._new:
            return
        import pyarrow
        import pyarrow.parquet

        paths = sorted(self._known)
        size, changed_ns, sha256 = zip(*(self._known[path] for path in paths), strict=True)
        table = pyarrow.table(
            {'path': paths, 'size': size, 'changed_ns': changed_ns, 'sha256': sha256}
        )
        content = io.BytesIO()
        pyarrow.parquet.write_table(table, content)
        temporary = self._file.with_name(f'{self._file.name}.{uuid.uuid4().hex}.tmp')
        temporary.write_bytes(content.getvalue())
        temporary.replace(self._file)
        self._new = False
