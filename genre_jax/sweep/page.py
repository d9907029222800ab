"""The page of a sweep: the best trial, all of them over their hyperparameters, what each of these does."""

import math
import numbers
import pathlib
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from genre_jax.data.files import readable
from genre_jax.report import figures
from genre_jax.report import page as report_page
from genre_jax.sweep.space import Choice, IntUniform, LogUniform, Uniform, label
from genre_jax.sweep.study import SharedStudy

_TEMPLATE = pathlib.Path(__file__).with_name('page.html.j2')


def write(
    study: SharedStudy,
    rows: Sequence[Any],
    shares: Mapping[str, float],
    lines: Sequence[str],
    file: pathlib.Path,
) -> None:
    """Writes the page of trials as `table.rows` sorts them, with `table.importances`.

    `lines` are said at the end: what was chosen, and its test figures.
    """
    sweep, best = study.sweep, rows[0] if rows[0].status == 'finished' else None
    mark = 'LEAKY' if any(row.figures.get('leaky') for row in rows) else ''
    loss = sweep.metric.endswith('loss')
    drawn = {
        'mark': mark,
        'metric': sweep.metric,
        'scale': 1 if loss else 100,
        'lower': sweep.lower_is_better,
        'space': [_axis(key, each) for key, each in sweep.space.items()],
        'trials': [
            {
                'number': row.number,
                'status': row.status,
                'point': [_place(each, row.point[key]) for key, each in sweep.space.items()],
                'value': _finite(row.value),
                'values': [value for value in row.values if math.isfinite(value)],
            }
            for row in rows
        ],
    }
    contents = {
        'name': readable(study.workdir.resolve().name),
        'sweep': sweep,
        'seeds': study.seeds,
        'leaky': bool(mark),
        'best': best,
        'rows': [_shown(row, study) for row in rows],
        'ended': sum(row.status in ('finished', 'pruned', 'failed') for row in rows),
        'effects': any(_finite(row.value) is not None for row in rows),
        'shares': shares,
        'statuses': list(dict.fromkeys(row.status for row in rows)),
        'scale': drawn['scale'],
        'digits': 3 if loss else 1,
        'space': drawn['space'],
        'lines': lines,
        'drawn': figures.as_script(drawn),
    }
    report_page.render(_TEMPLATE, file, contents)


def _axis(key: str, each: Choice | Uniform) -> dict[str, Any]:
    """Returns what an axis shows: the values of a choice in order, or the ends of a range, ticks of logs."""
    if isinstance(each, Choice):
        return {'key': key, 'kind': 'choice', 'values': [readable(str(value)) for value in _in_order(each)]}
    axis = {'key': key, 'kind': 'linear', 'low': each.low, 'high': each.high}
    axis['whole'] = isinstance(each, IntUniform)
    if isinstance(each, LogUniform):
        axis |= {'kind': 'log', 'ticks': list(zip(*log_ticks(each.low, each.high), strict=True))}
    return axis


def _finite(value: float | None) -> float | None:
    """Returns a figure that can be drawn: a loss may have become infinite."""
    return value if value is not None and math.isfinite(value) else None


def _in_order(choice: Choice) -> list:
    return sorted(choice.values, key=lambda v: v if isinstance(v, numbers.Real) else math.inf)


def _place(each: Choice | Uniform, value: object) -> float | None:
    """Returns where a value lies on its axis: the number of a choice, from 0; None of no value yet."""
    if value is None or not isinstance(each, Choice):
        return value
    return [label(one) for one in _in_order(each)].index(label(value))


def _shown(row: Any, study: SharedStudy) -> dict[str, Any]:
    """Returns a trial as the table shows it, with links to the pages of its runs that there are."""
    folders = study.run_folders(row.number)
    pages = [folder / 'report.html' for folder in folders]
    return {
        'number': row.number,
        'pages': [
            {'text': page.parent.name.replace('_', ' '), 'href': page.relative_to(study.workdir).as_posix()}
            for page in pages
            if page.exists()
        ],
        'status': row.status,
        'reason': readable(row.reason),
        'point': [
            {
                'text': f'{v:.3g}' if isinstance(v, float) else readable(str(v)),
                'place': _place(study.sweep.space[key], v),
            }
            for key, v in row.point.items()
        ],
        'value': row.value,
        'ci95': row.figures.get('ci95'),
        'deviation': statistics.stdev(row.values) if len(row.values) > 1 else None,
        'epochs': row.epochs,
        'seconds': row.seconds,
    }


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Returns up to five round numbers for a logarithmic axis from low to high, and them as text."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in (1,), (1, 3):
        ticks = [float(f'{digit}e{decade}') for decade in decades for digit in digits]
        if len(ticks := [tick for tick in ticks if low <= tick <= high]) > 2:
            ticks = ticks[:: -(-len(ticks) // 5)]
            break
    else:
        places = max(1, math.ceil(-math.log10(math.log10(high / low))))
        even = [low * (high / low) ** (i / 3) for i in range(4)]
        ticks = list(dict.fromkeys(float(f'{tick:.{places}e}') for tick in even))
    # 1e-4, not 1e-04 or 0.0001.
    return ticks, [re.sub(r'\.?0*e([+-])0*(?=\d)', r'e\1', f'{tick:.6e}').replace('+', '') for tick in ticks]
