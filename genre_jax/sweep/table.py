"""What a sweep came to: its table, the share of each hyperparameter, and the trial that was chosen."""

import dataclasses
import datetime
import json
import statistics
from collections.abc import Mapping, Sequence

import ml_collections
import optuna

from genre_jax import config as config_lib
from genre_jax.errors import UserError, say
from genre_jax.logbook import read_json, summary_lines, write_json, write_text
from genre_jax.study import table as study_table
from genre_jax.sweep import commands as sweep_commands
from genre_jax.sweep import page as sweep_page
from genre_jax.sweep import space as search_space
from genre_jax.sweep.space import label
from genre_jax.sweep.study import SharedStudy, State

# In the order of the table.
_STATUS = {
    State.COMPLETE: 'finished',
    State.PRUNED: 'pruned',
    State.FAIL: 'failed',
    State.RUNNING: 'running',
    State.WAITING: 'waiting',
}

# Of fewer trials an importance says more about chance than about the hyperparameter.
_LEAST_FOR_IMPORTANCE = 10


@dataclasses.dataclass(frozen=True)
class Row:
    """One trial as the tables show it."""

    number: int
    point: Mapping[str, object]  # config key to value
    status: str  # in one word
    value: float | None  # the metric, of a pruned trial the best there was
    values: Sequence[float]  # the metric of each training
    epochs: str  # best epoch and epochs of each training
    seconds: float  # that were worked on it
    reason: str  # why it failed
    figures: Mapping  # the rest of what the study knows, 'ci95' among it


def rows(study: SharedStudy) -> list[Row]:
    """Returns the trials, the best first; those that did not finish follow."""
    lower = study.sweep.lower_is_better
    found = []
    for trial in study.trials():
        known, value = trial.user_attrs, trial.value
        figures = known.get('figures', {})
        if trial.state == State.PRUNED:
            value = (min if lower else max)(trial.intermediate_values.values())
            epochs = f'{max(trial.intermediate_values)} validations'
        else:
            pairs = zip(figures.get('best_epoch', ()), figures.get('epochs', ()), strict=True)
            epochs = ', '.join(f'{best:g} of {all_:g}' for best, all_ in pairs)
        row = Row(
            number=trial.number,
            point=study.point(trial),
            status=_STATUS[trial.state],
            value=value,
            values=figures.get('values', ()),
            epochs=epochs,
            # Of a trial that was trained together with others the runs themselves know it.
            seconds=max(known.get('seconds', 0.0), figures.get('run_s', 0.0)),
            reason=known.get('reason', ''),
            figures=figures,
        )
        order = 0.0 if value is None else value if lower else -value
        found.append(((list(_STATUS).index(trial.state), order, row.number), row))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def ended(study: SharedStudy) -> int:
    """Returns how many trials have ended, well or not."""
    return sum(trial.state.is_finished() for trial in study.trials())


def progress(study: SharedStudy, seconds: float, ended_before: int) -> str:
    """Returns a line: what is done, the best, and how long the rest will take at the pace so far."""
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
    loss = metric.endswith('loss')
    one, *ends = (f'{number:.3f}' if loss else f'{100 * number:.1f}' for number in (value, *(ci95 or ())))
    return one + ('' if loss else ' %') + (f' [{", ".join(ends)}]' if ends else '')


def table(found: Sequence[Row], metric: str) -> list[list[str]]:
    """Returns the cells of the table, its heading first."""
    several = any(len(row.values) > 1 for row in found)
    heading = f'{metric}, mean (sd) over seeds' if several else f'{metric} [95 % interval]'
    cells = [['trial', *found[0].point, heading, 'best epoch', 'seconds', 'status']]
    for row in found:
        figure = show(row.value, metric, row.figures.get('ci95'))
        if len(row.values) > 1:
            figure += f' ({show(statistics.stdev(row.values), metric)})'
        point = [f'{v:.3g}' if isinstance(v, float) else str(v) for v in row.point.values()]
        status = row.status + (f': {row.reason}' if row.reason else '')
        cells.append([str(row.number), *point, figure, row.epochs, f'{row.seconds:.0f}', status])
    return cells


def report(study: SharedStudy, page: str, config: ml_collections.ConfigDict) -> None:
    """Prints and writes what the sweep came to, test figures at its end alone; a UserError if all failed."""
    found, metric, workdir = rows(study), study.sweep.metric, study.workdir
    running = sum(row.status in ('running', 'waiting') for row in found)
    best, lines, chosen = found[0], [], None
    if best.status == 'failed' and not running:
        first = min(found, key=lambda row: row.number)
        raise UserError(f'all {len(found)} trials failed; the first: {first.reason}')
    csv, text, page_file = (workdir / name for name in ('sweep.csv', 'sweep.md', 'index.html'))
    if best.status == 'finished':
        mark = ' LEAKY' if best.figures['leaky'] else ''
        lines.append(
            f'validation, protocol {best.figures["protocol"]}: {best.figures["protocol_detail"]}{mark}'
        )
    if running:
        lines.append(
            f'{running} trials are in other hands: who ends last writes the whole table, and the same '
            'command continues what was cut off'
        )
    elif best.status == 'finished':
        chosen = _choose(best, study, page, config)
        lines += _chosen_lines(chosen, study)
    cells = table(found, metric)
    study_table.write_csv([_all_digits(row, metric, chosen) for row in found], csv)
    content = [f'# {workdir.resolve().name}', '', *study_table.markdown(cells), '']
    content += ['[Every trial, and what each hyperparameter does](index.html)', '', '```', *lines, '```', '']
    write_text(text, '\n'.join(content))
    sweep_page.write(study, found, importances(study), lines, page_file)
    say('', *study_table.aligned(cells), '', *lines)
    say('', f'table:    {csv}, {text}', f'page:     {page_file}')


def _choose(best: Row, study: SharedStudy, page: str, config: ml_collections.ConfigDict) -> dict[str, object]:
    """Writes best.json and best_config.json; returns what the former holds."""
    metric, workdir = study.sweep.metric, study.workdir
    one = search_space.apply(config, best.point)
    chosen = {
        'trial': best.number,
        'folder': str(study.folder(best.number)),
        'parameters': dict(best.point),
        'metric': metric,
        'value': best.value,
        'ci95': best.figures['ci95'],
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


def _chosen_lines(chosen: Mapping, study: SharedStudy) -> list[str]:
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
        name, mark = _of_test(metric), ' LEAKY' if chosen['leaky'] else ''
        for number, test in enumerate(chosen['test']):
            seed = f', seed {number}' if study.seeds > 1 else ''
            lines.append(
                f'{name}{seed}: {show(test["value"], metric, test["ci95"])}, protocol '
                f'{chosen["protocol"]}{mark}'
            )
        first = study.run_folders(chosen['trial'])[0]
        lines += summary_lines(read_json(first / 'result.json'), first)
    config = f'config:     {study.workdir / "best_config.json"}'
    return [*lines, config, f'again:      {chosen["command"]}']


def _of_test(metric: str) -> str:
    return metric.replace('val/', 'test/', 1)


def _all_digits(row: Row, metric: str, chosen: Mapping | None) -> dict[str, object]:
    """Returns a line of sweep.csv; `chosen` is what best.json holds, None while nothing is."""
    tested = chosen.get('test', ()) if chosen and row.number == chosen['trial'] else ()
    return {
        'trial': row.number,
        **{key: label(value) for key, value in row.point.items()},
        metric: row.value,
        f'{metric}_ci95': row.figures.get('ci95'),
        f'{metric}_by_seed': ' '.join(map(repr, row.values)),
        'epochs': row.epochs,
        'seconds': round(row.seconds, 1),
        'status': row.status,
        'reason': row.reason,
        'protocol': row.figures.get('protocol', ''),
        'leaky': 'LEAKY' if row.figures.get('leaky') else '',
        f'{_of_test(metric)} of the chosen one': ' '.join(repr(each['value']) for each in tested),
    }


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
