"""CSV files as people and spreadsheets write them, with one line for every mistake."""

import codecs
import csv
import difflib
import gzip
import io
import itertools
import math
import re
import types
import zlib
from collections.abc import Mapping, Sequence

from genre_jax.errors import UserError

_DELIMITERS = ',;\t|'
_EXCEL = ('sep=', '"sep=')  # the line that tells Excel the delimiter
_NAMED = 8  # of the columns, in the message about a missing one
# What other programs call the columns, without spaces and the like.
_FILE = ('path', 'file', 'filename', 'filepath', 'audio', 'audiofile', 'wav', 'location')
_CLASS = ('class', 'genre', 'subgenre', 'category', 'target', 'tag', 'style', 'raag', 'makam')
_ALIASES = {'path': _FILE, 'filename': _FILE, 'label': _CLASS}


def read(
    path: str, required: Sequence[str], other_names: Mapping[str, str] = types.MappingProxyType({})
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Reads a CSV, gzipped or not, whose `required` columns are filled; `other_names` are {other name: name}.

    The delimiter that makes most of the required columns is taken. Returns the columns in lower case, by
    their proper names, and of each row that is not blank the number of its line and its cells by column, ''
    where it is shorter than the first line. UserError: it cannot be read, is not UTF-8, no valid CSV, has a
    column twice or lacks one.
    """
    content = text(path)
    if not content.strip():
        raise UserError(
            f'{path} is empty; expected a line with columns {",".join(required)}, then a line per recording'
        )
    rows, reader = [], None
    try:
        names, delimiter = columns(content, required)
        if not any(names):
            raise UserError(f'{path}, line 1: blank; expected columns {",".join(required)}')
        names = [other_names.get(name, name) for name in names]
        if twice := [name for name in names if name and names.count(name) > 1]:
            raise UserError(f'{path}, line 1: two columns are called {twice[0]!r}')
        for name in missing(names, required):
            there = ', '.join(names[:_NAMED]) + (', ...' if len(names) > _NAMED else '')
            raise UserError(f'{path}, line 1: no column {name!r} among {there}{meant(names, required)}')
        lines = io.StringIO(content, newline='')
        reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
        if content.lower().startswith(_EXCEL):
            next(reader)
        next(reader)
        for cells in reader:
            if len(cells) > len(names):
                raise UserError(
                    f'{path}, line {reader.line_num}: {len(cells)} fields under '
                    f'{len(names)} columns; put quotes around a field that holds '
                    f'the delimiter {delimiter!r}'
                )
            # Spreadsheets leave out delimiters behind the last filled cell, and all in blank rows.
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, cells + [''] * (len(names) - len(cells))))
    except csv.Error as error:
        line = reader.line_num if reader else 1
        raise UserError(f'{path}, line {line}: not a valid CSV ({error})') from error
    if not rows:
        raise UserError(f'{path} lists no recordings; expected a line for each below the first')
    named = [(n, dict(zip(names, map(str.strip, cells), strict=True))) for n, cells in rows]
    for line, row in named:
        for name in required:
            if not row[name]:
                raise UserError(f'{path}, line {line}: {name} is empty')
    return names, named


def text(path: str) -> str:
    """Returns what is in a text file, gzipped or not; a UserError where it cannot be read as UTF-8."""
    try:
        with open(path, 'rb') as file:
            raw = file.read()
        if raw[:2] == b'\x1f\x8b':
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'{path} cannot be read: {reason}') from error
    try:
        content = decoded(raw)
    except UnicodeDecodeError as error:
        line = raw.count(b'\n', 0, error.start) + 1
        raise UserError(
            f'{path}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8'
        ) from error
    if '\0' in content:  # UTF-16 without its mark, UTF-32, or no text at all
        raise UserError(f'{path}: holds bytes of zero, as no text in UTF-8 does; save the file as UTF-8')
    return content


def decoded(raw: bytes, errors: str = 'strict') -> str:
    """Returns what is written in UTF-8, or in UTF-16 where a mark at the beginning says so."""
    utf_16 = raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return raw.decode('utf-16' if utf_16 else 'utf-8-sig', errors)


def number(cell: str) -> float:
    """Returns the number in a cell, NaN where it is none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def columns(content: str, required: Sequence[str]) -> tuple[list[str], str]:
    """Returns the names in the first line, and the delimiter that makes most of `required`, or csv.Error."""
    lines = [line for line in content.splitlines()[:2] if not line.lower().startswith(_EXCEL)]
    line = lines[0] if lines else ''
    splits = []
    for mark in _DELIMITERS:
        cells = next(csv.reader([line], delimiter=mark, skipinitialspace=True), [])
        splits.append(([cell.strip().lower() for cell in cells], mark))
    return max(splits, key=lambda split: (-len(missing(split[0], required)), len(split[0])))


def missing(names: Sequence[str], required: Sequence[str]) -> list[str]:
    """Returns the required columns that are not among the names."""
    return [name for name in required if name not in names]


def meant(names: Sequence[str], required: Sequence[str]) -> str:
    """Names the columns that may be meant by missing ones, for the end of a message; '' for none."""
    free = {re.sub(r'[\W_]', '', name): name for name in names if name not in required}
    found = []
    for name in missing(names, required):
        aliases = (name, *_ALIASES.get(name, ()))
        near = (difflib.get_close_matches(alias, free, 1, 0.75) for alias in aliases)
        holding = ([key for key in free if alias in re.split('[_-]', free[key])] for alias in aliases)
        if close := next(filter(None, itertools.chain(near, holding)), None):
            found.append(f'{free.pop(close[0])} -> {name}')
    return f'; columns that may be meant: {", ".join(found)}' if found else ''
