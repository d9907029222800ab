"""The page of a reproduction: tables, drawn comparisons, what is missing, differences, commands."""

from __future__ import annotations

import json
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
# Of each side of a row: its colour, and how far it stands from the row's middle.
_SIDES = {'paper': ('second', -0.11), 'grouped': ('accent', 0.11)}
SIDE_TITLES = {
    'paper': "ours, the paper's protocol",
    'grouped': 'ours, a protocol that cannot leak',
}
_LEAKY_TITLES = {
    'paper': "ours, the paper's protocol (LEAKY)",
    'grouped': 'ours, songs kept apart, fitted to the test part (LEAKY)',
}


def write_page(result: Mapping[str, Any], file: pathlib.Path) -> None:
    """Writes the page of what `collect.collect` returns; it loads nothing from outside."""
    with report_charts.chart_style():
        charts = [comparison_chart(table, i) for i, table in enumerate(result['tables'])]
    contents = {
        'result': result,
        'charts': charts,
        'side_titles': SIDE_TITLES,
        'palette': report_charts.PALETTE,
        'environment_text': json.dumps(result['environment'], indent=2, ensure_ascii=False),
        'shown': collect.shown,
        'ours': collect.ours,
    }
    template = pathlib.Path(__file__).with_name('page.html.j2')
    report_page.render(template, file, contents, signed=_signed, code=_code)


def _signed(fraction: float) -> str:
    return f'{100 * fraction:+.1f}'


def _code(text: str) -> markupsafe.Markup:
    """Returns a text, what stands between backticks as code."""
    escaped = str(markupsafe.escape(text))
    return markupsafe.Markup(re.sub(r'`([^`]+)`', r'<code>\1</code>', escaped))


def comparison_chart(table: Mapping[str, Any], number: int) -> markupsafe.Markup | None:
    """Draws our figures with their intervals against those of the paper; None without any of ours.

    Of each row the first figure that is a share is drawn; `number` is the table's.
    """
    rows = [
        (row, next(figure for figure in row['figures'] if figure['share']))
        for row in table['rows']
        if any(not side['why_not'] for side in row['ours'].values())
        and any(figure['share'] for figure in row['figures'])
    ]
    if not rows:
        return None
    figure, axes = report_charts.new_figure(520, _ROW_PX * len(rows))
    seen: dict[str, Any] = {}
    said = []
    for y, (row, printed) in enumerate(rows):
        axes.text(0, y - 0.34, report_charts.label(row['name'], 60))
        axes.plot([0, 100], [y, y], color=LIGHT['rule'], linewidth=1, zorder=0)
        if printed['value'] is not None:
            colour = LIGHT['muted' if row['other_data'] else 'ink']
            (mark,) = axes.plot(
                100 * printed['value'], y, 'D', color=colour, markersize=7, linestyle=''
            )
            seen['paper (other data: not comparable)' if row['other_data'] else 'paper'] = mark
        for side, content in row['ours'].items():
            found = None if content['why_not'] else content['figures'][printed['path']]
            if found is None:
                continue
            colour, shift = _SIDES[side]
            title = _LEAKY_TITLES[side] if content['leaky'] else SIDE_TITLES[side]
            if found['ci95'] is not None:
                low, high = found['ci95']
                axes.plot(
                    [100 * low, 100 * high], [y + shift] * 2, color=LIGHT[colour], linewidth=5,
                    alpha=0.45, solid_capstyle='round',
                )  # fmt: skip
            (mark,) = axes.plot(
                100 * found['mean'], y + shift, 'o', color=LIGHT[colour], markersize=8,
                markerfacecolor=LIGHT['paper'] if content['leaky'] else LIGHT[colour],
                markeredgewidth=2, linestyle='',
            )  # fmt: skip
            seen.setdefault(title, mark)
            said.append(f'{row["name"]}, {title} {100 * found["mean"]:.1f}')
    axes.set(
        xlim=(-2, 102),
        ylim=(len(rows) - 0.4, -0.7),
        yticks=[],
        xlabel=f'{rows[0][1]["name"]}, % (hollow: LEAKY)',
    )
    axes.spines[['left', 'bottom']].set_visible(False)
    axes.tick_params(length=0)
    axes.legend(
        seen.values(),
        seen.keys(),
        loc='lower left',
        bbox_to_anchor=(0, 1),
        ncols=2,
        borderaxespad=0,
    )
    summary = f'{table["title"]}, percent: {"; ".join(said)}'
    return report_charts.svg(figure, f'table{number}', summary, leaky=False)
