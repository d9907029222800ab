"""What was prepared from what: facts as JSON; tables of tracks, files and split lists."""

import json
from collections.abc import Mapping
from typing import Any

from genre_jax.data import tables
from genre_jax.data.storage import Path
from genre_jax.errors import UserError

_TABLES = ('tracks', 'files', 'protocols')


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes a manifest as `read` returns it, its facts last: they make the folder whole."""
    files, protocols = manifest['files'], manifest['protocols']
    tables.write(folder / 'tracks.arrow', manifest['tracks'])
    hashed = [{'path': path, 'sha256': digest} for path, digest in files.items()]
    tables.write(folder / 'files.arrow', hashed)
    lists = [
        {'protocol': name, 'track': track, 'part': part}
        for name, parts in protocols.items()
        for track, part in parts.items()
    ]
    tables.write(folder / 'protocols.arrow', lists)
    facts = {key: value for key, value in manifest.items() if key not in _TABLES}
    facts['protocols'] = list(protocols)
    (folder / 'manifest.json').write_text(json.dumps(facts, indent=1, sort_keys=True))


def read(folder: Path) -> dict[str, Any]:
    """Returns what says what the prepared dataset in a folder was made from.

    These are the facts, 'tracks' as a list of dicts, 'files' {path: sha256} and 'protocols' {name: {track:
    part}}; a UserError where they are damaged.
    """
    try:
        manifest = json.loads((folder / 'manifest.json').read_bytes())
        protocols = {name: {} for name in manifest['protocols']}
        for row in tables.read(folder / 'protocols.arrow'):
            protocols[row['protocol']][row['track']] = row['part']
        files = {row['path']: row['sha256'] for row in tables.read(folder / 'files.arrow')}
        return manifest | {
            'tracks': tables.read(folder / 'tracks.arrow'),
            'files': files,
            'protocols': protocols,
        }
    except (KeyError, OSError, TypeError, ValueError):
        raise UserError(
            f'{folder / "manifest.json"}, or a table beside it, is damaged: delete {folder}, it is prepared '
            'again'
        ) from None
