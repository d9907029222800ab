"""The page of a reproduction: tables, drawn comparisons, what is missing, differences, commands."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import markupsafe

from genre_jax.report import charts as report_charts
from genre_jax.report import page as report_page
from genre_jax.report.charts import LIGHT
from genre_jax.reproduce import collect

_ROW_PX = 46
_TITLES = {'paper': "ours, the paper's protocol", 'grouped': 'ours, a protocol that cannot leak'}
_LEAKY_TITLES = {
    'paper': "ours, the paper's protocol (LEAKY)",
    'grouped': 'ours, songs kept apart, fitted to the test part (LEAKY)',
}


def write_page(result: Mapping[str, Any], file: pathlib.Path) -> None:
    """Writes the page of what `collect.collect` returns; it loads nothing from outside."""
    with report_charts.chart_style():
        charts = [comparison_chart(table, i) for i, table in enumerate(result['tables'])]
    contents = {'result': result, 'charts': charts, 'side_titles': _TITLES, 'ours': collect.ours}
    template = pathlib.Path(__file__).with_name('page.html.j2')
    report_page.render(template, file, contents, code=_code)


def _code(text: str) -> markupsafe.Markup:
    """Returns a text, what stands between backticks as code."""
    escaped = str(markupsafe.escape(text))
    return markupsafe.Markup(re.sub(r'`([^`]+)`', r'<code>\1</code>', escaped))


def comparison_chart(table: Mapping[str, Any], number: int) -> markupsafe.Markup | None:
    """Draws the first share of each row, with its interval, against the paper's; None without any of ours."""
    rows = []
    for row in table['rows']:
        shares = [figure for figure in row['figures'] if figure['share']]
        if shares and any(not side['why_not'] for side in row['ours'].values()):
            rows.append((row, shares[0]))
    if not rows:
        return None
    figure, axes = report_charts.new_figure(520, _ROW_PX * len(rows))
    report_charts.share_rows(axes, len(rows), f'{rows[0][1]["name"]}, % (hollow: LEAKY)')
    seen: dict[str, Any] = {}
    said = []
    for y, (row, printed) in enumerate(rows):
        axes.text(0, y - 0.34, report_charts.label(row['name'], 60))
        if printed['value'] is not None:
            title, colour = 'paper', 'ink'
            if row['other_data']:
                title, colour = 'paper (other data: not comparable)', 'muted'
            (seen[title],) = axes.plot(100 * printed['value'], y, 'D', color=LIGHT[colour], markersize=7)
        for side, content in row['ours'].items():
            found = None if content['why_not'] else content['figures'][printed['path']]
            if found is None:
                continue
            colour, shift = {'paper': ('second', -0.11), 'grouped': ('accent', 0.11)}[side]
            title = (_LEAKY_TITLES if content['leaky'] else _TITLES)[side]
            mark = report_charts.share(
                axes, y + shift, found['mean'], found['ci95'], colour, hollow=content['leaky']
            )
            seen.setdefault(title, mark)
            said.append(f'{row["name"]}, {title} {100 * found["mean"]:.1f}')
    axes.set_ylim(len(rows) - 0.4, -0.7)
    axes.legend(seen.values(), seen.keys(), bbox_to_anchor=(0, 1), ncols=2)
    summary = f'{table["title"]}, percent: {"; ".join(said)}'
    return report_charts.svg(figure, f'table{number}', summary, leaky=False)
