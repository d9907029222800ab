"""What the runs came to: the figures of each row under each protocol, beside those of the paper."""

import itertools
import json
import math
import pathlib
import shlex
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from genre_jax import config as config_lib
from genre_jax.evaluation import evaluate, tonic
from genre_jax.logbook import environment, read_json
from genre_jax.report.numbers import interval
from genre_jax.reproduce import plan
from genre_jax.reproduce.paper import Blend, Network, Paper, Row
from genre_jax.reproduce.plan import Entry, Wishes
from genre_jax.reproduce.run import run_of


def collect(
    paper: Paper, wishes: Wishes, entries: Sequence[Entry], failed: Mapping[pathlib.Path, str]
) -> dict[str, Any]:
    """Returns what result.json of the reproduction holds; `failed` says why the jobs of some folders did."""
    tables = []
    for table in paper.tables:
        rows = [_row(row, [e for e in entries if e.row is row], failed) for row in table.rows]
        tables.append({'title': table.title, 'note': table.note, 'rows': rows})
    protocols = {}
    for name in wishes.protocols:
        argument, words = paper.protocols[name]
        sides = [row['ours'][name] for table in tables for row in table['rows']]
        # The splits that rows were run with, in words.
        as_run = _once(side['protocol_detail'] for side in sides if not side['why_not'])
        protocols[name] = {'argument': f'protocol={argument}', 'words': words, 'as_run': as_run}
    folders = dict.fromkeys(job.folder for entry in entries for job in entry.every_job)
    warnings = [result.get('warnings', []) for result in _read(folders, 'result.json')]
    datasets = [each['dataset'] for each in _read(folders, 'environment.json')]
    return {
        'paper': paper.name,
        'title': paper.title,
        'citation': paper.citation,
        'protocols': protocols,
        'tables': tables,
        'gaps': _gaps(entries),
        'data': [
            asdict(each.need) | {'path': each.path, 'facts': each.facts, 'other': each.other}
            for each in wishes.data.values()
        ],
        'missing': [asdict(need) for need in paper.needs if need.key not in wishes.data],
        'settings': {
            key: str(value)
            for key, value in wishes.settings.items()
            if not config_lib.may_differ_on_resume(key)
        },
        'differences': list(paper.differences),
        'notes': _once(itertools.chain(*warnings)),
        'environment': environment(),
        'datasets': list({each['fingerprint']: each for each in datasets}.values()),
    }


def _once(items: Iterable) -> list:
    return list(dict.fromkeys(items))


def _read(folders: Iterable[pathlib.Path], name: str) -> list[dict]:
    """Returns what stands in the files of a name, in those folders that have it."""
    return [read_json(folder / name) for folder in folders if (folder / name).exists()]


def _row(row: Row, entries: Sequence[Entry], failed: Mapping[pathlib.Path, str]) -> dict[str, Any]:
    """Returns a row, whose entries are given, with what it came to under each protocol."""
    sides = {entry.protocol: _side(entry, failed) for entry in entries}
    # Without any of ours, what the paper prints is all there is.
    bare = all(side['why_not'] for side in sides.values())
    return {
        'name': row.name,
        'cost': row.way.cost,
        'figures': [
            asdict(figure) | {'share': figure.is_share, 'value': figure.value, 'shown': figure.shown}
            for i, figure in enumerate(row.figures)
            if figure.printed or not (bare and i)
        ],
        'ours': sides,
        'other_data': next((entry.other for entry in entries if entry.other), ''),
        'commands': {e.protocol: [shlex.join(job.command) for job in e.every_job] for e in entries},
    }


def _side(entry: Entry, failed: Mapping[pathlib.Path, str]) -> dict[str, Any]:
    """Returns a row's figures under a protocol, or why there are none."""
    if entry.why_not:
        return {'why_not': entry.why_not}
    jobs = (*entry.jobs, *entry.every_job)
    reasons = [*{job.folder: failed[job.folder] for job in jobs if job.folder in failed}.values()]
    runs = [run_of(job) for job in entry.jobs if job.folder not in failed]
    folders = [folder for folder in runs if folder is not None]
    if not folders:
        why_not = f'failed: {reasons[0]}' if reasons else 'not finished yet'
        return {'why_not': why_not if entry.wanted else plan.LEFT_OUT}
    results = _read(folders, 'result.json')
    timings = _read(folders, 'timing.json')
    seconds = sum(timing['train_s'] + timing['evaluate_s'] for timing in timings)
    trained = len(results)
    if isinstance(entry.row.way, Network) and entry.row.way.folded:
        by_seed = [list(own) for _, own in itertools.groupby(folders, key=lambda folder: folder.parent)]
        folders = [own[0].parent for own in by_seed]
        results = [_of_folds(own) for own in by_seed]
    first = results[0]
    return {
        'why_not': '',
        'partly': f'{len(reasons)} of its runs failed: {reasons[0]}' if reasons else '',
        'leaky': any(result['leaky'] for result in results),
        'protocol': first['protocol'],
        'protocol_detail': first['protocol_detail'],
        **{key: first[key]['test'] for key in ('n_songs', 'n_groups', 'n_segments')},
        'runs': len(results),
        'trainings': trained,
        'seconds': seconds,
        'folders': [str(folder) for folder in folders],
        'figures': {f.path: _figure(f.path, folders, results) for f in entry.row.figures},
    }


def _of_folds(folders: Sequence[pathlib.Path]) -> dict[str, Any]:
    """Returns what result.json says of runs on the folds of a split, their test parts taken together."""
    results = _read(folders, 'result.json')
    first, counts = results[0], ('n_songs', 'n_segments')
    parts, tonics = {}, {}
    for part in first['parts']:
        if not part.startswith('test'):
            continue
        tested = evaluate.joined(
            [evaluate.Predictions.load(folder / 'predictions' / f'{part}.npz') for folder in folders]
        )
        group = dict(zip(tested.track.tolist(), tested.group.tolist(), strict=True))
        parts[part] = evaluate.evaluate(tested, group)
        if tested.tonic is not None:
            tonics[part] = tonic.score(tested, group)
    return {
        'protocol': first['protocol'],
        'protocol_detail': f'all of its folds: {first["protocol_detail"]}',
        'leaky': any(result['leaky'] for result in results),
        **{key: {'test': sum(result[key]['test'] for result in results)} for key in counts},
        'n_groups': {'test': len(set(tested.group.tolist()))},
        'parts': parts,
        'tonic': {part: found for part, found in tonics.items() if found},
    }


def _figure(path: str, folders: Sequence[pathlib.Path], results: Sequence[Mapping]) -> dict[str, Any] | None:
    """Returns mean, spread over seeds, and mean interval over songs of a figure; None if a run has it not."""
    found = [_value(path, *run) for run in zip(folders, results, strict=True)]
    values = [value for value, _ in found]
    if None in values:
        return None
    intervals = [ends for _, ends in found]
    return {
        'mean': statistics.fmean(values),
        'std': statistics.stdev(values) if len(values) > 1 else None,
        'ci95': None if None in intervals else [*map(statistics.fmean, zip(*intervals, strict=True))],
        'values': values,
    }


def _value(path: str, folder: pathlib.Path, result: Mapping) -> tuple[float | None, list[float] | None]:
    """Returns a figure of a run and its interval, each None where it has none."""
    if path.startswith('log/'):
        name = path.removeprefix('log/')
        lines = map(json.loads, (folder / 'metrics.jsonl').read_text().splitlines())
        return [None, *(line[name] for line in lines if name in line)][-1], None
    *sections, name = path.removeprefix('tonic/').split('/')
    inner = result.get('tonic', {}) if path.startswith('tonic/') else result['parts']
    for section in sections:
        inner = inner.get(section, {})
    return inner.get(name), inner.get(f'{name}_ci95')


def _gaps(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Returns what it brought to search the weights of a blend on the test part, by protocol."""
    gaps = {}
    for entry in entries:
        leaky = [job.folder for job in entry.jobs if isinstance(job.way, Blend) and job.way.leaky]
        for result in _read(leaky, 'result.json'):
            blend = result['blend']
            gaps[entry.protocol] = {
                'protocol': entry.protocol,
                'leaky_members': blend['leaky_members'],
                'members': [member['name'] for member in blend['members']],
                'weights': blend['weights'][0],
                'honest_weights': blend['honest']['weights'][0],
                'accuracy': blend['parts']['test']['segment'],
                'honest': blend['honest']['parts']['test']['segment'],
                'difference': blend['gap']['segment'],
            }
    return list(gaps.values())


def lines(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a line for each of our figures, as figures.csv holds it; docs/results/ keeps such files."""
    here = result['environment']
    facts = {
        'data': '; '.join(each['facts'] for each in result['data'] if each['facts']),
        'device': f'{here["devices"]} {here["device_kind"]}, {here["platform"]}',
        'commit': here['git_commit'],
    }
    return [
        {
            'paper': result['paper'],
            'table': table['title'],
            'row': row['name'],
            'protocol': protocol,
            'figure': figure['path'],
            'value': own['mean'],
            'value_ci95': own['ci95'],
            **{key: side[key] for key in ('runs', 'leaky', 'n_segments', 'n_songs', 'n_groups')},
            **facts,
        }
        for table in result['tables']
        for row in table['rows']
        for protocol, side in row['ours'].items()
        if not side['why_not']
        for figure in row['figures']
        if (own := side['figures'][figure['path']]) is not None
    ]


def ours(figure: Mapping[str, Any], side: Mapping[str, Any]) -> tuple[str, str]:
    """Returns our figure and its interval as the tables show them, of a row under a protocol."""
    found = side['figures'][figure['path']]
    if found is None or not math.isfinite(found['mean']):
        return '–', ''
    scale, digits = (100, 1) if figure['share'] else (1, 3)
    value = f'{scale * found["mean"]:.{digits}f}'
    if found['std'] is not None:
        value += f' ± {scale * found["std"]:.{digits}f}'
    return value, interval(found['ci95'], scale, digits)


def text_table(result: Mapping[str, Any]) -> str:
    """Returns the tables of `collect` as text."""
    lines = [f'{result["title"]}: paper, and ours with 95 % intervals (shares in %)']
    for table in result['tables']:
        lines += ['', table['title']]
        width = max(len(row['name']) for row in table['rows'])
        for row in table['rows']:
            for i, text in enumerate(_text_of(row)):
                lines.append(f'  {"" if i else row["name"]:{width}}  {text}'.rstrip())
    return '\n'.join(lines)


def _text_of(row: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each figure of a row, or one line where there are none of ours."""
    reasons = {side['why_not'] for side in row['ours'].values()}
    if all(reasons):
        printed = ', '.join(f'{each["name"]} {each["shown"] or "–"}' for each in row['figures'])
        yield f'{printed}: {"; ".join(sorted(reasons))}'
        return
    mark = f'  other data: {row["other_data"]}' if row['other_data'] else ''
    for figure in row['figures']:
        cells = ''
        for name, side in row['ours'].items():
            cell = f'{name}: {side["why_not"]}'
            if not side['why_not']:
                cell = f'{name}{" LEAKY" * side["leaky"]} {" ".join(ours(figure, side))}'
            cells += f'  {cell:40}'
        yield f'{figure["name"]:24} paper {figure["shown"] or "–":>6}{cells}{mark}'
