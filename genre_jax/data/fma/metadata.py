"""What FMA's tracks.csv says of each track."""

import csv

from genre_jax.data.recordings import Recording
from genre_jax.errors import UserError

SUBSETS = {'small': ('small',), 'medium': ('small', 'medium')}

_SPLITS = {'training': 'train', 'validation': 'val', 'test': 'test'}
_COLUMNS = {
    'subset': ('set', 'subset'),
    'split': ('set', 'split'),
    'genre': ('track', 'genre_top'),
    'title': ('track', 'title'),
    'artist_id': ('artist', 'id'),
    'artist': ('artist', 'name'),
    'album': ('album', 'title'),
}
_LONGEST_CELL = 2**24  # biographies of artists; the limit of csv is 2^17 characters


def read(path: str, subset: str) -> tuple[dict[str, Recording], frozenset[str]]:
    """Reads tracks.csv, whose header takes two lines (table and column) and a third with 'track_id'.

    Returns {six-digit number: track, without its path} of a subset (a key of `SUBSETS`), and the numbers of
    all tracks. UserError: the file is not as published: columns, encoding, numbers, splits.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    reader = None
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            reader = csv.reader(file, strict=True)
            return _read(path, reader, subset)
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path}, after line {reader.line_num}: byte 0x{error.object[error.start]:02x} is not UTF-8; '
            'use the file as published'
        ) from error
    except csv.Error as error:
        raise UserError(f'{path}, line {reader.line_num}: not a valid CSV ({error})') from error
    finally:
        csv.field_size_limit(limit)


def _read(path: str, reader, subset: str) -> tuple[dict[str, Recording], frozenset[str]]:
    header = list(zip(next(reader, []), next(reader, []), strict=False))
    if missing := [column for column in _COLUMNS.values() if column not in header]:
        names = ', '.join(map(str, missing))
        raise UserError(
            f'{path}: no column {names} in its two header lines; expected tracks.csv of '
            'fma_metadata.zip as published'
        )
    at = {field: header.index(column) for field, column in _COLUMNS.items()}
    tracks: dict[str, Recording] = {}
    known: set[str] = set()
    for cells in reader:
        if not cells or cells[0] == 'track_id':
            continue
        where = f'{path}, line {reader.line_num}'
        if len(cells) != len(header):
            raise UserError(f'{where}: {len(cells)} fields under {len(header)} columns')
        if not (cells[0].isascii() and cells[0].isdigit()) or len(cells[0]) > 6:
            raise UserError(f'{where}: {cells[0][:40]!r} is no track number; expected one such as 2')
        number = f'{int(cells[0]):06}'
        if number in known:
            raise UserError(f'{where}: track {cells[0]} stands in an earlier line already')
        known.add(number)
        row = {field: cells[column].strip() for field, column in at.items()}
        if row.pop('subset') not in SUBSETS[subset]:
            continue
        if row['split'] not in _SPLITS:
            raise UserError(f'{where}: split is {row["split"]!r}; expected training, validation or test')
        genre, artist_id = row.pop('genre'), row.pop('artist_id')  # names are not unique
        group = f'artist {artist_id}' if artist_id else ''
        tracks[number] = Recording(number, genre, group, **row | {'split': _SPLITS[row['split']]})
    if not tracks:
        raise UserError(f'{path} lists no track of the subset {subset!r}')
    return tracks, frozenset(known)
