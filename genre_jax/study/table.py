"""What a study came to, as text, Markdown and CSV, and its picture.

In the picture figures are dots with their intervals, in a row for each of what is compared.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib.axes
import matplotlib.figure
import numpy as np

from genre_jax.errors import printable
from genre_jax.logbook import write_rows

COLOURS = ('#2f5f98', '#e0a030', '#5f8f4f', '#c0504d', '#7f5f9f', '#777777')


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


def panels(
    names: Sequence[str], series: int, widths: Sequence[float], title: str
) -> tuple[matplotlib.figure.Figure, Sequence[matplotlib.axes.Axes]]:
    """Returns a figure and its panels side by side, which share a row for each name, from above.

    `series` are the dots in a row, `widths` those of the panels, as shares.
    """
    height = 2 + 0.2 * len(names) * (series + 1)
    figure = matplotlib.figure.Figure(figsize=(10, height), layout='constrained')
    axes = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    axes[0].set_yticks(np.arange(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    for each in axes:
        each.grid(axis='x', linewidth=0.4)
        each.set_axisbelow(True)
        each.margins(x=0.14)  # for the numbers behind the dots
    figure.suptitle(title, fontsize=10)
    return figure, axes


def dots(
    axes: matplotlib.axes.Axes,
    series: Mapping[str, Sequence[Mapping | None]],
    key: str = 'accuracy',
    ends: str = 'accuracy_ci95',
    **settings: object,
) -> None:
    """Draws figures in percent with their intervals, the number behind each; a line at 0 for differences.

    `series` has, by label, for each row of `panels` figures that hold `key` and `ends`; None is not drawn.
    The settings are those of the axes.
    """
    if key != 'accuracy':
        axes.axvline(0, color='#999999', linewidth=1)
    axes.set(**settings)
    for i, (label, figures) in enumerate(series.items()):
        shift = 0.6 * ((i + 0.5) / len(series) - 0.5)
        rows = np.flatnonzero([figure is not None for figure in figures])
        values = 100 * np.array([figures[row][key] for row in rows])
        low, high = 100 * np.array([figures[row][ends] for row in rows]).reshape(-1, 2).T
        axes.errorbar(
            values, rows + shift,
            xerr=np.maximum(0, [values - low, high - values]),
            fmt='o', markersize=4, capsize=2, color=COLOURS[i % len(COLOURS)], label=label,
        )  # fmt: skip
        for row, value, end in zip(rows, values, high, strict=True):
            place = {'xytext': (3, 0), 'textcoords': 'offset points', 'va': 'center'}
            axes.annotate(f'{value:.1f}', (end, row + shift), fontsize=7, **place)


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
