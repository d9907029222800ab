"""Labels as files: tables, lines of JSON, tracks for editors of audio, and a page."""

import json
import os
import pathlib
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from genre_jax.data.files import readable
from genre_jax.errors import BadAudio
from genre_jax.label.song import Song, Stretch
from genre_jax.logbook import write_rows, write_text

TOP = 5  # classes of a song that are written down
_SONG = ('track', 'duration_s', 'windows', 'label', 'probability', 'agreement')
_TONIC = ('tonic_hz', 'tonic_probability')
_SEGMENT = ('track', 'start_s', 'end_s', 'label', 'probability')


class Labelled(NamedTuple):
    """A song, what it is called, and its classes over time."""

    song: Song
    label: str
    stretches: Sequence[Stretch]


def write(
    songs: Sequence[Labelled],
    bad: Sequence[tuple[str, BadAudio]],
    formats: Sequence[str],
    out: pathlib.Path,
    model: str,
) -> list[pathlib.Path]:
    """Writes songs with their stretches in some of FORMATS, and bad.csv; returns the files and folders.

    They are the same bytes for the same songs. The page tells what `model` says of who named them.
    """
    files = [out / 'bad.csv']
    write_rows(files[0], [('track', 'reason'), *((readable(path), str(error)) for path, error in bad)])
    for each in formats:
        files += FORMATS[each](songs, out, model)
    return files


def song_rows(songs: Sequence[Labelled]) -> list[dict[str, Any]]:
    """Returns a row for each song, with its most probable classes."""
    rows = []
    for song, label, _ in songs:
        probability = song.probability.max() if label == song.label else None
        facts = (song.duration_s, len(song.start_s), label, probability, song.agreement)
        row = dict(zip(_SONG, (readable(song.track), *facts), strict=True))
        if song.tonic is not None:
            row |= {key: getattr(song, key) for key in _TONIC}
        for k, (label, probability) in enumerate(song.top(TOP), 1):
            row |= {f'label_{k}': label, f'probability_{k}': probability}
        rows.append(_rounded(row))
    return rows


def segment_rows(songs: Sequence[Labelled]) -> list[dict[str, Any]]:
    """Returns a row for each stretch of each song."""
    return [
        _rounded({'track': readable(song.track), **each._asdict()})
        for song, _, found in songs
        for each in found
    ]


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row with times in milliseconds and probabilities in millionths."""
    return {k: round(v, 3 if k.endswith('_s') else 6) if isinstance(v, float) else v for k, v in row.items()}


def _csv(songs: Sequence[Labelled], out: pathlib.Path, _: str) -> list[pathlib.Path]:
    tables = {'songs': (song_rows(songs), _SONG), 'segments': (segment_rows(songs), _SEGMENT)}
    for name, (rows, columns) in tables.items():
        columns = list(rows[0]) if rows else columns
        write_rows(out / f'{name}.csv', [columns, *(row.values() for row in rows)])
    return [out / 'songs.csv', out / 'segments.csv']


def _jsonl(songs: Sequence[Labelled], out: pathlib.Path, _: str) -> list[pathlib.Path]:
    lines = []
    for (song, _, stretches), row in zip(songs, song_rows(songs), strict=True):
        kept = {key: row[key] for key in (*_SONG, *_TONIC) if key in row}
        top = [_rounded({'label': label, 'probability': p}) for label, p in song.top(TOP)]
        timeline = [_rounded(each._asdict()) for each in stretches]
        lines.append(json.dumps({**kept, 'top': top, 'timeline': timeline}, ensure_ascii=False) + '\n')
    write_text(out / 'songs.jsonl', ''.join(lines))
    return [out / 'songs.jsonl']


def _parquet(songs: Sequence[Labelled], out: pathlib.Path, _: str) -> list[pathlib.Path]:
    import pyarrow
    import pyarrow.parquet

    files = {'songs': song_rows(songs), 'segments': segment_rows(songs)}
    for name, rows in files.items():
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out / f'{name}.parquet')
    return [out / f'{name}.parquet' for name in files]


def _tracks(songs: Sequence[Labelled], out: pathlib.Path, _: str) -> list[pathlib.Path]:
    """Writes a label track a song: start, end and label, a line each, with tabs between."""
    folder, taken = out / 'tracks', set()
    folder.mkdir(exist_ok=True)
    for number, (song, _, stretches) in enumerate(songs, 1):
        name = pathlib.PurePath(readable(song.track)).name
        while name in taken:
            name = f'{name} {number}'
        taken.add(name)
        lines = [f'{each.start_s:.6f}\t{each.end_s:.6f}\t{each.label}\n' for each in stretches]
        write_text(folder / f'{name}.txt', ''.join(lines))
    return [folder]


def _html(songs: Sequence[Labelled], out: pathlib.Path, model: str) -> list[pathlib.Path]:
    from genre_jax.report import page  # which takes a second to import

    classes = sorted({each.label for _, _, stretches in songs for each in stretches})
    rows = [
        {
            'track': readable(song.track),
            'source': urllib.parse.quote(os.fsencode(pathlib.Path(song.track).absolute())),
            'song': song,
            'label': label,
            'top': song.top(TOP),
            'stretches': stretches,
        }
        for song, label, stretches in songs
    ]
    template = pathlib.Path(__file__).with_name('page.html.j2')
    page.render(template, out / 'label.html', {'rows': rows, 'classes': classes, 'model': model})
    return [out / 'label.html']


FORMATS: dict[str, Callable[[Sequence[Labelled], pathlib.Path, str], list[pathlib.Path]]] = {
    'csv': _csv, 'jsonl': _jsonl, 'parquet': _parquet, 'tracks': _tracks, 'html': _html,
}  # fmt: skip
