"""Published checkpoints: reading, converting and fetching them."""

import hashlib
import json
import pathlib
from collections.abc import Mapping

from genre_jax.convert import engine, fetch, read, tables


def convert_checkpoint(
    checkpoint: str, model: str | None = None, overrides: Mapping | None = None
) -> tuple[engine.Converted, dict]:
    """Reads and converts a checkpoint, a file or the name of a published one.

    `model` is the module of genre_jax.models it is of, by default told by its tensors; `overrides` are
    settings of the model that the tensors do not tell. Returns the converted checkpoint, and facts about the
    file: its name and sha256. A UserError where it cannot be fetched, read or converted.
    """
    path = pathlib.Path(checkpoint)
    if not path.exists() and checkpoint in fetch.PUBLISHED:
        path = fetch.fetch(checkpoint)
        model = model or fetch.PUBLISHED[checkpoint].model
    candidates = tuple(table for table in tables.TABLES if model in (None, table.model))
    tensors = read.read_checkpoint(path)
    table = engine.recognise(tensors, candidates, str(path))
    converted = engine.convert(tensors, table, overrides or {}, str(path), _config_beside(path))
    return converted, {'file': str(path), 'sha256': _sha256(path)}


def _config_beside(path: pathlib.Path) -> dict:
    """Returns the config.json of transformers beside the weights; nothing where there is none."""
    try:
        folder = path if path.is_dir() else path.parent
        with (folder / 'config.json').open('rb') as file:
            config = json.loads(file.read(1 << 20))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _sha256(path: pathlib.Path) -> str:
    """Returns the digest of a file; of several, the digest of theirs in the order of the names."""
    if path.is_file():
        files = [path]
    else:
        # A TensorFlow bundle is named by its folder, or by what its files have in common.
        found = path.glob('*') if path.is_dir() else path.parent.glob(path.name + '.*')
        files = sorted(file for file in found if file.is_file())
    digests = []
    for file in files:
        with file.open('rb') as stream:
            digests.append(hashlib.file_digest(stream, 'sha256'))
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b''.join(digest.digest() for digest in digests)).hexdigest()
