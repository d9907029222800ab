"""What a sweep came to: its table, the effect of each hyperparameter, and the trial that was chosen."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence

import ml_collections

from genre_jax import config as config_lib
from genre_jax.errors import UserError
from genre_jax.logbook import read_json, summary_lines, write_json, write_text
from genre_jax.sweep import commands as sweep_commands
from genre_jax.sweep import draw as sweep_draw
from genre_jax.sweep import space as search_space
from genre_jax.sweep.study import SharedStudy, State

_STATUS = {
    State.COMPLETE: 'finished',
    State.PRUNED: 'pruned',
    State.FAIL: 'failed',
    State.RUNNING: 'running',
    State.WAITING: 'waiting',
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One trial as the tables show it.

    Attributes:
        number: of the trial.
        point: config key to value.
        status: in one word.
        value: the metric, of a pruned trial the best there was; None without.
        ci95: its 95 % interval, None without.
        values: the metric of each training, where there are several.
        epochs: best epoch and epochs of each training.
        seconds: that were worked on it.
        reason: why it failed.
        figures: the rest of what the study knows.
    """

    number: int
    point: Mapping[str, object]
    status: str
    value: float | None
    ci95: Sequence[float] | None
    values: Sequence[float]
    epochs: str
    seconds: float
    reason: str
    figures: Mapping


def rows(study: SharedStudy) -> list[Row]:
    """Returns the trials, the best first; those that did not finish follow."""
    lower = study.sweep.metric.endswith('loss')
    found = []
    for trial in study.trials():
        figures = trial.user_attrs.get('figures', {})
        value = trial.value
        if trial.state == State.PRUNED:
            value = (min if lower else max)(trial.intermediate_values.values())
            epochs = f'{max(trial.intermediate_values)} validations'
        else:
            pairs = zip(figures.get('best_epoch', ()), figures.get('epochs', ()), strict=True)
            epochs = ', '.join(f'{best:g} of {all_:g}' for best, all_ in pairs)
        found.append(
            Row(
                number=trial.number,
                point=study.point(trial),
                status=_STATUS[trial.state],
                value=value,
                ci95=figures.get('ci95'),
                values=figures.get('values', ()),
                epochs=epochs,
                # Of a trial that was trained together with others the runs themselves know it.
                seconds=max(trial.user_attrs.get('seconds', 0.0), figures.get('run_s', 0.0)),
                reason=trial.user_attrs.get('reason', ''),
                figures=figures,
            )
        )

    def rank(row: Row) -> tuple:
        value = 0.0 if row.value is None else row.value if lower else -row.value
        return list(_STATUS.values()).index(row.status), value, row.number

    return sorted(found, key=rank)


def ended(study: SharedStudy) -> int:
    """Returns how many trials have ended, well or not."""
    return sum(trial.state.is_finished() for trial in study.trials())


def progress(study: SharedStudy, seconds: float, ended_before: int) -> str:
    """Returns a line: what is done, the best, and how long the rest will take.

    `ended_before` trials had ended when this program began, `seconds` ago.
    """
    done, size = ended(study), study.sweep.size
    remaining_s = round(seconds / max(1, done - ended_before) * (size - done))
    best, metric = rows(study)[0], study.sweep.metric
    line = f'{done} of {size} trials'
    if best.status == 'finished':
        line += f', best {metric} {show(best.value, metric)} (trial {best.number})'
    return line + f', {datetime.timedelta(seconds=remaining_s)} left'


def show(value: float | None, metric: str, ci95: Sequence[float] | None = None) -> str:
    """Returns a figure as text: losses as they are, the others in percent, a dash for None."""
    if value is None:
        return '-'

    def one(number: float) -> str:
        return f'{number:.3f}' if metric.endswith('loss') else f'{100 * number:.1f}'

    text = one(value) if metric.endswith('loss') else f'{one(value)} %'
    return text + (f' [{one(ci95[0])}, {one(ci95[1])}]' if ci95 else '')


def table(found: Sequence[Row], metric: str) -> list[list[str]]:
    """Returns the cells of the table, its heading first."""
    several = any(len(row.values) > 1 for row in found)
    heading = f'{metric}, mean (sd) over seeds' if several else f'{metric} [95 % interval]'
    cells = [['trial', *found[0].point, heading, 'best epoch', 'seconds', 'status']]
    for row in found:
        figure = show(row.value, metric, row.ci95)
        if len(row.values) > 1:
            figure += f' ({show(statistics.stdev(row.values), metric)})'
        point = [f'{v:.3g}' if isinstance(v, float) else str(v) for v in row.point.values()]
        status = row.status + (f': {row.reason}' if row.reason else '')
        cells.append([str(row.number), *point, figure, row.epochs, f'{row.seconds:.0f}', status])
    return cells


def report(
    study: SharedStudy, page: str, config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> None:
    """Prints and writes what the sweep came to; the test figures only once all trials have ended.

    A UserError where all trials failed.
    """
    found, metric = rows(study), study.sweep.metric
    running = sum(not trial.state.is_finished() for trial in study.trials())
    best = found[0]
    if best.status == 'failed' and not running:
        raise UserError(
            f'all {len(found)} trials failed; the first: '
            f'{next(row.reason for row in sorted(found, key=lambda row: row.number))}'
        )
    lines = []
    if best.status == 'finished':
        mark = ' LEAKY' if best.figures['leaky'] else ''
        lines.append(
            f'validation, protocol {best.figures["protocol"]}: {best.figures["protocol_detail"]}{mark}'
        )
        sweep_draw.draw(
            found, study, f'protocol {best.figures["protocol"]}{mark}', workdir / 'sweep.png'
        )
    chosen = None
    if running:
        lines.append(
            f'{running} trials are in other hands: who ends last writes the whole table, and the same '
            'command continues what was cut off'
        )
    elif best.status == 'finished':
        chosen = _choose(best, study, page, config, workdir)
        lines += _chosen_lines(chosen, study, workdir)
    cells = table(found, metric)
    write_csv(found, metric, chosen, workdir / 'sweep.csv')
    write_text(workdir / 'sweep.md', _markdown(cells, lines, workdir))
    print('\n' + _aligned(cells) + '\n\n' + '\n'.join(lines))
    print(f'\ntable:    {workdir / "sweep.csv"}, {workdir / "sweep.md"}')
    if best.status == 'finished':
        print(f'picture:  {workdir / "sweep.png"}')


def _choose(
    best: Row,
    study: SharedStudy,
    page: str,
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
) -> dict:
    """Writes best.json and best_config.json; returns what the former holds."""
    metric = study.sweep.metric
    one = search_space.apply(config, best.point)
    chosen = {
        'trial': best.number,
        'folder': str(study.folder(best.number)),
        'parameters': dict(best.point),
        'metric': metric,
        'value': best.value,
        'ci95': best.ci95,
        'values': best.values,
        'trials': len(study.trials()),
        'protocol': best.figures['protocol'],
        'leaky': best.figures['leaky'],
        'command': sweep_commands.command(page, one, workdir),
    }
    files = [folder / 'result.json' for folder in study.run_folders(best.number)]
    if all(file.exists() for file in files):
        tested = [search_space.figure(read_json(file), metric, 'test') for file in files]
        chosen['test'] = [{'value': value, 'ci95': ci95} for value, ci95 in tested]
    write_json(workdir / 'best.json', chosen)
    write_json(workdir / 'best_config.json', json.loads(config_lib.to_json(one)))
    return chosen


def _chosen_lines(chosen: Mapping, study: SharedStudy, workdir: pathlib.Path) -> list[str]:
    metric = chosen['metric']
    values = ', '.join(f'{key}={value}' for key, value in chosen['parameters'].items())
    lines = [
        f'chosen by {metric}: trial {chosen["trial"]}, {values}',
        f'note: {show(chosen["value"], metric)} is the best of {chosen["trials"]} trials on the validation '
        'part, which makes it too good: it was chosen for it; what to expect is the test figure',
    ]
    if 'test' not in chosen:
        place = study.trials()[chosen['trial']].user_attrs['place']
        lines.append(f'its run folder, with the test figures, lies on another machine: {place}')
    else:
        first = study.run_folders(chosen['trial'])[0]
        name = metric.replace('val/', 'test/', 1)
        for number, test in enumerate(chosen['test']):
            seed = f', seed {number}' if study.seeds > 1 else ''
            mark = ' LEAKY' if chosen['leaky'] else ''
            lines.append(
                f'{name}{seed}: {show(test["value"], metric, test["ci95"])}, protocol '
                f'{chosen["protocol"]}{mark}'
            )
        lines += summary_lines(read_json(first / 'result.json'), first)
    return [
        *lines,
        f'config:     {workdir / "best_config.json"}',
        f'again:      {chosen["command"]}',
    ]


def write_csv(
    found: Sequence[Row], metric: str, chosen: Mapping | None, file: pathlib.Path
) -> None:
    """Writes the table with all digits; `chosen` is what best.json holds, None while nothing is."""
    test = metric.replace('val/', 'test/', 1)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        ['trial', *found[0].point, metric, f'{metric}_low', f'{metric}_high', f'{metric}_by_seed']
        + ['epochs', 'seconds', 'status', 'reason', 'protocol', 'leaky']
        + [f'{test} of the chosen one']
    )
    for row in found:
        tested = chosen is not None and row.number == chosen['trial'] and chosen.get('test')
        writer.writerow(
            [row.number, *(search_space.label(value) for value in row.point.values()), row.value]
            + [*(row.ci95 or ('', '')), ' '.join(map(repr, row.values)), row.epochs]
            + [round(row.seconds, 1), row.status, row.reason]
            + [row.figures.get('protocol', ''), 'LEAKY' if row.figures.get('leaky') else '']
            + [' '.join(repr(each['value']) for each in tested or ())]
        )
    write_text(file, text.getvalue())


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return '\n'.join(
        '  '.join(f'{cell:<{width}}' for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _markdown(cells: Sequence[Sequence[str]], lines: Sequence[str], workdir: pathlib.Path) -> str:
    heading, *body = (
        '| ' + ' | '.join(cell.replace('|', '\\|') for cell in row) + ' |' for row in cells
    )
    rule = '|---' * len(cells[0]) + '|'
    picture = '![effect of each hyperparameter](sweep.png)'
    table_lines = '\n'.join([heading, rule, *body])
    said = '\n'.join(lines)
    return f'# {workdir.resolve().name}\n\n{table_lines}\n\n{picture}\n\n```\n{said}\n```\n'
