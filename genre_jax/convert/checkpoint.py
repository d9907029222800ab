"""Published checkpoints: reading, converting and fetching them."""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Mapping

from absl import logging

from genre_jax.convert import beside, engine, fetch, read, tables
from genre_jax.convert.raw_numbers import one_line
from genre_jax.errors import UserError

_AUDIOSET_CODE = re.compile(r'/[a-z]/[a-z0-9_]+')  # of a class


def convert_checkpoint(
    checkpoint: str, model: str | None = None, overrides: Mapping | None = None
) -> tuple[engine.Converted, dict]:
    """Reads and converts a checkpoint, a file or the name of a published one.

    `model` is the module of genre_jax.models it is of, by default told by its tensors; `overrides` are
    settings of the model that the tensors do not tell. Returns the converted checkpoint, and facts about the
    file: its name and sha256. A UserError where it cannot be fetched, read or converted.
    """
    path = pathlib.Path(checkpoint)
    settings = dict(overrides or {})
    if published := not path.exists() and fetch.PUBLISHED.get(checkpoint):
        for key, value in settings.items():
            engine.check_named(key, value, published.settings.get(key, value), checkpoint)
        path, model = fetch.fetch(checkpoint), model or published.model
        settings = {**published.settings, **settings}
    candidates = tuple(table for table in tables.TABLES if model in (None, table.model))
    tensors, words = read.read_with_words(path)
    table = engine.recognise(tensors, candidates, str(path))
    folder = path if path.is_dir() else path.parent
    found = beside.read(folder) if table.beside else {}
    within = {name: words[name] for name in table.within if name in words}
    converted = engine.convert(tensors, table, settings, str(path), found | within)
    if published:
        converted = dataclasses.replace(converted, labels=_labels(checkpoint), licence=published.licence)
    else:
        if converted.labels:
            named = in_words(converted.labels, str(path))
            # AudioSet's classes do not exclude each other, few or all of them.
            of_audioset = _AUDIOSET_CODE.fullmatch(converted.labels[0]) is not None
            tags = True if of_audioset and converted.tags is None else converted.tags
            converted = dataclasses.replace(converted, labels=named, tags=tags)
        if table.beside or path.is_dir():
            converted = dataclasses.replace(converted, licence=beside.licence(folder, found))
    return converted, {'file': str(path), 'sha256': _sha256(path)}


def _labels(published: str) -> list[str] | None:
    """Returns the names of a published checkpoint's classes; None where a list cannot be fetched now."""
    try:
        return fetch.labels(published)
    except UserError as error:
        logging.warning('the names of the classes of %s are not known: %s', published, error)
        return None


def in_words(labels: list[str], where: str) -> list[str]:
    """Returns the names of classes that are called by AudioSet's codes; others as they are.

    Codes stay where the list of names has none for them, or cannot be fetched now. A UserError where they are
    mixed with names.
    """
    coded = [_AUDIOSET_CODE.fullmatch(label) is not None for label in labels]
    if not any(coded):
        return labels
    if not all(coded):
        odd, code = coded.index(False), coded.index(True)
        raise UserError(
            f'{where}: calls class {odd} {one_line(repr(labels[odd]), 60)} among codes of AudioSet '
            f'({labels[code]!r} is class {code}): expected all codes, or all names'
        )
    try:
        names = fetch.audioset_names()
    except UserError as error:
        logging.warning('the classes of %s are called by their codes: %s', where, error)
        return labels
    if unknown := [label for label in labels if label not in names]:
        logging.warning('%s: AudioSet has no names for %s', where, engine.some(unknown))
    return [names.get(label, label) for label in labels]


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
