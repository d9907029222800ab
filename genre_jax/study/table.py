"""What a study came to, as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence

from genre_jax.logbook import write_text


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table whose columns stand below each other; the last may be missing."""
    columns = max(map(len, rows))
    filled = [[*row, *[''] * (columns - len(row))] for row in rows]
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    for i, figure in enumerate(figures):
        line: dict[str, object] = {}
        for key, value in figure.items():
            stem = key.removesuffix('_ci95')
            if stem == key:
                line[key] = value
            else:
                line[f'{stem}_low'], line[f'{stem}_high'] = value or (None, None)
        if not i:
            writer.writerow(line)
        writer.writerow(line.values())
    write_text(file, text.getvalue())
