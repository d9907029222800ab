"""The page of a study: what is compared, as dots with their intervals and as tables; the runs behind it."""

import dataclasses
import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from genre_jax.data.files import readable
from genre_jax.report import figures
from genre_jax.report import page as report_page

_TEMPLATE = pathlib.Path(report_page.__file__).with_name('study.html.j2')
_SECTIONS = (('charts', 'Compared'), ('tables', 'Figures'), ('runs', 'Runs'))


@dataclasses.dataclass(frozen=True)
class Study:
    """What the page of a study shows."""

    program: str  # its name, as in `python -m genre_jax.NAME`
    lead: Sequence[str]  # lines on top
    compared: str  # what the rows are, in one word
    charts: Mapping[str, Mapping]  # of `dots.chart`, by their places; tables show the same
    words: Sequence[str]  # lines below the tables
    run_columns: Sequence[str]  # titles
    runs: Sequence[tuple[str, Sequence[Sequence[str]]]]  # name of a row, folders of each column


def write(
    study: Study,
    workdir: pathlib.Path,
    template: pathlib.Path = _TEMPLATE,
    more: Sequence[tuple[str, str]] = (),
    **drawn: Any,
) -> None:
    """Writes index.html into the folder of a study, which its `runs` are below.

    A template that adds sections, whose ids and titles are `more`, has `drawn` besides.
    """
    contents = {field.name: getattr(study, field.name) for field in dataclasses.fields(study)} | {
        'name': readable(workdir.resolve().name),
        'more': more,
        'sections': [_SECTIONS[0], *more, *_SECTIONS[1:]],
        'runs': [
            {'name': name, 'links': [[_link(place, workdir) for place in places] for places in cells]}
            for name, cells in study.runs
        ],
        'leaky': any(
            figure and figure['mark']
            for chart in study.charts.values()
            for row in chart['rows']
            for figure in row['figures']
        ),
        'drawn': figures.as_script({'mark': '', 'charts': study.charts} | drawn),
    }
    report_page.render(template, workdir / 'index.html', contents)


def _link(place: str, home: pathlib.Path) -> dict[str, str]:
    name = 'report.html' if (home / place / 'report.html').exists() else 'result.json'
    fold = place.rpartition('/')[2]
    return {
        'text': fold.replace('_', ' ') if fold.startswith('fold_') else 'run',
        'href': urllib.parse.quote(os.fsencode(f'{place}/{name}')),
    }
