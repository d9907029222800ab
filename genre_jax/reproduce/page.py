"""The page of a reproduction: tables, drawn comparisons, what is missing, differences, commands."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import markupsafe

from genre_jax.report import dots, figures
from genre_jax.report import page as report_page
from genre_jax.reproduce import collect

_TITLES = {'paper': "ours, the paper's protocol", 'grouped': 'ours, a protocol that cannot leak'}


def write_page(result: Mapping[str, Any], file: pathlib.Path) -> None:
    """Writes the page of what `collect.collect` returns; it loads nothing from outside."""
    charts = {f'table-{i}': comparison(result, table) for i, table in enumerate(result['tables'])}
    drawn = {'mark': '', 'charts': {place: chart for place, chart in charts.items() if chart}}
    contents = {
        'result': result,
        'charts': charts,
        'drawn': figures.as_script(drawn),
        'side_titles': _TITLES,
        'ours': collect.ours,
    }
    template = pathlib.Path(__file__).with_name('page.html.j2')
    report_page.render(template, file, contents, code=_code)


def _code(text: str) -> markupsafe.Markup:
    """Returns a text, what stands between backticks as code."""
    escaped = str(markupsafe.escape(text))
    return markupsafe.Markup(re.sub(r'`([^`]+)`', r'<code>\1</code>', escaped))


def comparison(result: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns a chart of each row's first share beside the paper's; None without any of ours."""
    sides, rows, name = list(result['protocols']), [], ''
    for row in table['rows']:
        shares = [figure for figure in row['figures'] if figure['share']]
        if not shares or all(side['why_not'] for side in row['ours'].values()):
            continue
        first = shares[0]
        name = name or first['name']
        comparable = not (row['other_data'] or result['settings'])
        printed = dots.figure(first['value'])
        own = []
        for side in sides:
            content = row['ours'][side]
            found = None if content['why_not'] else content['figures'][first['path']]
            own.append(found and dots.figure(found['mean'], found['ci95'], content['leaky']))
        rows.append((row['name'], [printed if comparable else None, None if comparable else printed, *own]))
    if not rows:
        return None
    series = [
        {'name': 'paper', 'colour': 'ink', 'symbol': 'diamond'},
        {'name': 'paper (not comparable)', 'colour': 'muted', 'symbol': 'diamond'},
        *(
            {'name': _TITLES[side], 'colour': {'paper': 'second', 'grouped': 'accent'}[side]}
            for side in sides
        ),
    ]
    caption = f'{name} in % with 95 % intervals, beside what the paper prints'
    return dots.chart(caption, series, rows, f'{name}, %')
