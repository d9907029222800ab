"""What a study came to, as text, Markdown and CSV, and its picture.

In the picture figures are dots with their intervals, in a row for each of what is compared.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib.figure

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


def save(figure: matplotlib.figure.Figure, file: pathlib.Path) -> None:
    """Writes a PNG, which is whole or as it was, with one legend for what all panels label."""
    labelled = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        labelled |= dict(zip(labels, handles, strict=True))
    if labelled:
        figure.legend(
            labelled.values(), labelled.keys(), loc='outside lower center', ncols=3, frameon=False,
            fontsize=8,
        )  # fmt: skip
    temporary = file.with_name(f'{file.stem}.partial.png')
    figure.savefig(temporary, dpi=150)
    os.replace(temporary, file)
