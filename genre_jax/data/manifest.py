"""What was prepared from what: facts as JSON; tables of tracks, files and split lists as Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from genre_jax.data.storage import Path
from genre_jax.errors import UserError

_TABLES = ('tracks', 'files', 'protocols')


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes a manifest, its facts last: they make the folder whole.

    Args:
        folder: of the prepared dataset.
        manifest: what `read` returns.
    """
    import pyarrow
    import pyarrow.parquet

    tables = {
        'tracks': pyarrow.Table.from_pylist(manifest['tracks']),
        'files': pyarrow.table(
            {'path': list(manifest['files']), 'sha256': list(manifest['files'].values())}
        ),
        'protocols': pyarrow.Table.from_pylist(
            [
                {'protocol': protocol, 'track': track, 'part': part}
                for protocol, parts in manifest['protocols'].items()
                for track, part in parts.items()
            ]
        ),
    }
    for name, table in tables.items():
        content = io.BytesIO()
        pyarrow.parquet.write_table(table, content)
        (folder / f'{name}.parquet').write_bytes(content.getvalue())
    facts = {key: value for key, value in manifest.items() if key not in _TABLES}
    facts['protocols'] = list(manifest['protocols'])
    (folder / 'manifest.json').write_text(json.dumps(facts, indent=1, sort_keys=True))


def read(folder: Path) -> dict[str, Any]:
    """Returns what says what was prepared from what.

    Args:
        folder: of the prepared dataset.

    Returns:
        The facts, 'tracks' as a list of dicts, 'files' {path: sha256} and 'protocols' {name: {track: part}}.

    Raises:
        UserError: it is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    def rows(name: str) -> list[dict]:
        content = (folder / f'{name}.parquet').read_bytes()
        return pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()

    try:
        manifest = json.loads((folder / 'manifest.json').read_bytes())
        protocols = {name: {} for name in manifest['protocols']}
        for row in rows('protocols'):
            protocols[row['protocol']][row['track']] = row['part']
        files = {row['path']: row['sha256'] for row in rows('files')}
        return manifest | {'tracks': rows('tracks'), 'files': files, 'protocols': protocols}
    except (KeyError, OSError, TypeError, ValueError, pyarrow.ArrowException):
        raise UserError(
            f'{folder / "manifest.json"}, or a table beside it, is damaged: delete {folder}, it is prepared '
            'again'
        ) from None
