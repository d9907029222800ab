"""The effect of each hyperparameter of a sweep, drawn."""

from __future__ import annotations

import math
import numbers
import pathlib
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.figure
import optuna

from genre_jax.study import draw as study_draw
from genre_jax.sweep.space import Choice, LogUniform, label

if TYPE_CHECKING:
    from genre_jax.sweep.study import SharedStudy
    from genre_jax.sweep.table import Row

_COLUMNS = 4
# Of fewer trials an importance says more about chance than about the hyperparameter.
_LEAST_FOR_IMPORTANCE = 10
_INK, _PALE, _MARK = '#2f5f98', '#9db8d9', '#bf4a0b'


def importances(study: SharedStudy) -> dict[str, float]:
    """Returns the share of the metric's variance that each hyperparameter explains by itself.

    The functional analysis of variance of Hutter, Hoos and Leyton-Brown (2014), by Optuna: config key to
    share, the largest first; {} where there are too few trials, or all are alike.
    """
    complete = [trial for trial in study.trials() if trial.state.name == 'COMPLETE']
    if len(complete) < _LEAST_FOR_IMPORTANCE or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study.study, evaluator=evaluator)


def draw(found: Sequence[Row], study: SharedStudy, title: str, file: pathlib.Path) -> None:
    """Draws a panel for each hyperparameter, its value against the metric, of trials sorted by `rows`."""
    space, metric = study.sweep.space, study.sweep.metric
    columns = min(_COLUMNS, len(space))
    height = math.ceil(len(space) / columns)
    figure = matplotlib.figure.Figure(
        figsize=(max(5, 3.4 * columns), 3.1 * height), layout='constrained'
    )
    panels = figure.subplots(height, columns, sharey=True, squeeze=False).flatten()
    shares = importances(study)
    scale = 1 if study.sweep.lower_is_better else 100
    points = [(row, scale * row.value) for row in found if row.value is not None]
    for axes, (key, each) in zip(panels, space.items(), strict=False):
        if isinstance(each, Choice):
            _choices(axes, points, key, each)
        else:
            for row, value in points:
                _mark(axes, row.point[key], value, row, row is found[0])
            axes.set_xscale('log' if isinstance(each, LogUniform) else 'linear')
        share = f'\nimportance {100 * shares[key]:.0f} %' if key in shares else ''
        axes.set_xlabel(key + share, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(axis='y', color='#e3e7eb')
    for axes in panels[len(space) :]:
        axes.set_axis_off()
    for axes in panels[::columns]:
        axes.set_ylabel(metric if scale == 1 else f'{metric}, %', fontsize=8)
    many = ', hollow: pruned' if any(row.status == 'pruned' for row in found) else ''
    figure.suptitle(f'{title}; orange: the best{many}', fontsize=10)
    study_draw.save(figure, file)


def _mark(axes, x: float, y: float, row: Row, best: bool) -> None:
    colour = _MARK if best else _INK
    face = 'none' if row.status == 'pruned' else colour
    axes.plot(x, y, 'o', markersize=5, color=colour, markerfacecolor=face, zorder=3 if best else 2)


def _choices(axes, points: Sequence[tuple[Row, float]], key: str, choice: Choice) -> None:
    """Draws the trials above the values they have, and the median of each value."""
    values = sorted(choice.values, key=lambda v: v if isinstance(v, numbers.Real) else math.inf)
    position = {label(value): x for x, value in enumerate(values)}
    columns = [[] for _ in values]
    for row, value in points:
        x = position[label(row.point[key])]
        _mark(axes, x, value, row, row is points[0][0])
        if row.status == 'finished':
            columns[x].append(value)
    for x, column in enumerate(columns):
        if column:
            axes.hlines(statistics.median(column), x - 0.3, x + 0.3, color=_PALE, linewidth=3)
    names = [str(value) for value in values]
    slanted = sum(map(len, names)) > 24
    axes.set_xticks(
        range(len(values)), names, rotation=30 * slanted, ha='right' if slanted else 'center'
    )
    axes.set_xlim(-0.5, len(values) - 0.5)
