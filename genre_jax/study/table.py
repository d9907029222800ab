"""What a study came to, as text, Markdown and CSV."""

import pathlib
from collections.abc import Mapping, Sequence

from genre_jax.errors import printable
from genre_jax.logbook import write_rows


def nested(figures: Sequence[Mapping], outer: str, inner: str) -> dict[str, dict[str, Mapping]]:
    """Returns figures by what two of their keys hold."""
    rows: dict[str, dict[str, Mapping]] = {}
    for figure in figures:
        rows.setdefault(figure[outer], {})[figure[inner]] = figure
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table whose columns stand below each other; the last may be missing."""
    columns = max(map(len, rows))
    filled = [[*map(printable, row), *[''] * (columns - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    return [
        '  '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in filled
    ]


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table, its heading first."""
    heading, *body = ('| ' + ' | '.join(c.replace('|', '\\|') for c in row) + ' |' for row in rows)
    return [heading, '|---' * len(rows[0]) + '|', *body]


def write_csv(figures: Sequence[Mapping], file: pathlib.Path) -> None:
    """Writes a line for each of some figures; an interval NAME_ci95 becomes NAME_low and NAME_high."""
    lines = []
    for figure in figures:
        line: dict[str, object] = {}
        for key, value in figure.items():
            stem = key.removesuffix('_ci95')
            if stem == key:
                line[key] = value
            else:
                line[f'{stem}_low'], line[f'{stem}_high'] = value or (None, None)
        lines.append(line)
    write_rows(file, [*lines[:1], *(line.values() for line in lines)])
