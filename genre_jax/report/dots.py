"""Figures that are compared, row by row, as `dots` of charts.js draws them: dots with their intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from genre_jax.data.files import readable


def figure(value: float | None, ci95: Sequence[float] | None = None, leaky: bool = False) -> dict | None:
    """Returns a share with its interval, hollow if it is LEAKY; None where there is none."""
    if value is None or not math.isfinite(value):
        return None
    return {'value': float(value), 'ci95': ci95 and list(map(float, ci95)), 'mark': 'LEAKY' if leaky else ''}


def line(name: str, value: float, colour: str = 'muted') -> dict[str, Any]:
    """Returns a share that every row is compared with, such as chance, in a colour of the palette."""
    return {'name': readable(name), 'value': float(value), 'colour': colour}


def chart(
    caption: str,
    series: Sequence[Mapping[str, str]],
    rows: Sequence[tuple[str, Sequence[dict | None]]],
    label: str = 'accuracy, %',
    lines: Sequence[Mapping] = (),
    difference: bool = False,
) -> dict[str, Any]:
    """Returns a chart for `drawn.charts`, by the id of its place.

    Each row is a name and a `figure` for each of the series, {'name', maybe 'colour' of the palette and
    'symbol' of Plot}; `lines` cross all rows, as one at 0 does where figures are a `difference` of shares.
    """
    return {
        'caption': caption,
        'series': [dict(each) | {'name': readable(each['name'])} for each in series],
        'rows': [{'name': readable(name), 'figures': list(figures)} for name, figures in rows],
        'label': 'percentage points' if difference else label,
        'lines': list(lines),
        'difference': difference,
    }
