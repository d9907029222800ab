"""What the runs came to: the figures of each row under each protocol, beside those of the paper."""

from __future__ import annotations

import json
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from genre_jax import config as config_lib
from genre_jax.logbook import environment, read_json
from genre_jax.reproduce import paper as paper_lib
from genre_jax.reproduce import plan
from genre_jax.reproduce.paper import PROTOCOLS, Blend, Figure, Paper
from genre_jax.reproduce.plan import Entry, Wishes
from genre_jax.reproduce.run import trial_folder


def collect(
    paper: Paper, wishes: Wishes, entries: Sequence[Entry], failed: Mapping[pathlib.Path, str]
) -> dict[str, Any]:
    """Reads the run folders of a plan: what result.json of the reproduction holds, and its page shows.

    `failed` says why the jobs of some folders failed.
    """
    by_row = {(id(entry.row), entry.protocol): entry for entry in entries}
    read = {key: _read(entry, failed) for key, entry in by_row.items()}
    tables = []
    for table in paper.tables:
        rows = []
        for row in table.rows:
            sides = {
                protocol: read[id(row), protocol]
                for protocol in PROTOCOLS
                if (id(row), protocol) in read
            }
            of_row = [entry for entry in entries if entry.row is row]
            # Without any of ours, what the paper prints is all there is.
            bare = all(side['why_not'] for side in sides.values())
            rows.append(
                {
                    'name': row.name,
                    'cost': row.cost,
                    'figures': [
                        {
                            'name': figure.name,
                            'path': figure.path,
                            'share': figure.is_share,
                            'printed': figure.printed,
                            'value': figure.value,
                        }
                        for i, figure in enumerate(row.figures)
                        if figure.printed or not (bare and i)
                    ],
                    'ours': sides,
                    'other_data': next((entry.other for entry in of_row if entry.other), ''),
                    'commands': {
                        entry.protocol: [
                            plan.in_words(job.command) for job in (*entry.before, *entry.jobs)
                        ]
                        for entry in of_row
                    },
                }
            )
        tables.append({'title': table.title, 'note': table.note, 'rows': rows})
    jobs = [job for entry in entries for job in (*entry.before, *entry.jobs)]
    folders = list(dict.fromkeys(job.folder for job in jobs))
    return {
        'paper': paper.name,
        'title': paper.title,
        'citation': paper.citation,
        'protocols': {
            name: {
                'argument': f'protocol={argument}',
                'words': words,
                'as_run': _details(read, name),
            }
            for name, (argument, words) in paper.protocols.items()
            if name in wishes.protocols
        },
        'tables': tables,
        'gaps': _gaps(entries),
        'data': [
            {
                'key': each.need.key,
                'what': each.need.what,
                'path': each.path,
                'facts': each.facts,
                'other': each.other,
            }
            for each in wishes.data.values()
        ],
        'missing': [
            {'key': n.key, 'what': n.what, 'how': n.how, 'optional': n.optional}
            for n in paper.needs
            if n.key not in wishes.data
        ],
        'settings': {
            key: str(value)
            for key, value in wishes.settings.items()
            if not config_lib.may_differ_on_resume(key)
        },
        'differences': list(paper.differences),
        'notes': _notes(folders),
        'environment': environment(),
        'datasets': _datasets(folders),
    }


def _read(entry: Entry, failed: Mapping[pathlib.Path, str]) -> dict[str, Any]:
    """Returns a row's figures under a protocol, or why there are none."""
    if entry.why_not:
        return {'why_not': entry.why_not}
    reasons = [failed[job.folder] for job in (*entry.jobs, *entry.before) if job.folder in failed]
    folders = [trial_folder(job) for job in entry.jobs if job.folder not in failed]
    folders = [each for each in folders if each is not None and (each / 'result.json').exists()]
    if not folders and not entry.wanted:
        return {'why_not': plan.LEFT_OUT}
    if not folders:
        return {'why_not': f'failed: {reasons[0]}' if reasons else 'not finished yet'}
    results = [read_json(folder / 'result.json') for folder in folders]
    first = results[0]
    return {
        'why_not': '',
        'partly': f'{len(reasons)} of its runs failed: {reasons[0]}' if reasons else '',
        'leaky': any(result['leaky'] for result in results),
        'protocol': first['protocol'],
        'protocol_detail': first['protocol_detail'],
        'n_songs': first['n_songs']['test'],
        'n_groups': first['n_groups']['test'],
        'n_segments': first['n_segments']['test'],
        'runs': len(results),
        'seconds': sum(map(_seconds, folders)),
        'folders': [str(folder) for folder in folders],
        'figures': {f.path: _figure(f, folders, results) for f in entry.row.figures},
    }


def _details(read: Mapping[tuple[int, str], Mapping], protocol: str) -> list[str]:
    """Returns the splits that rows under a protocol were run with, in words."""
    done = [side for (_, name), side in read.items() if name == protocol and not side['why_not']]
    return list(dict.fromkeys(side['protocol_detail'] for side in done))


def _figure(
    figure: Figure, folders: Sequence[pathlib.Path], results: Sequence[Mapping]
) -> dict[str, Any] | None:
    """Returns mean, spread and interval of a figure over some runs; None where a run has it not.

    The interval of several runs is the mean of theirs: what the choice of the songs leaves open. What the
    seeds leave open is the spread.
    """
    found = [
        _log_figure(folder, figure.path)
        if figure.path.startswith('log/')
        else _part_figure(result, figure.path)
        for folder, result in zip(folders, results, strict=True)
    ]
    values = [value for value, _ in found]
    if any(value is None for value in values):
        return None
    intervals = [interval for _, interval in found if interval is not None]
    return {
        'mean': statistics.fmean(values),
        'std': statistics.stdev(values) if len(values) > 1 else None,
        'ci95': [statistics.fmean(ends) for ends in zip(*intervals, strict=True)]
        if len(intervals) == len(values)
        else None,
        'values': values,
    }


def _part_figure(result: Mapping, path: str) -> tuple[float | None, list[float] | None]:
    *sections, name = path.split('/')
    inner = result['parts']
    for section in sections:
        inner = inner.get(section, {})
    return inner.get(name), inner.get(f'{name}_ci95')


def _log_figure(folder: pathlib.Path, path: str) -> tuple[float | None, None]:
    name = path.removeprefix('log/')
    lines = map(json.loads, (folder / 'metrics.jsonl').read_text().splitlines())
    values = [line[name] for line in lines if name in line]
    return (values[-1] if values else None), None


def _seconds(folder: pathlib.Path) -> float:
    timing = folder / 'timing.json'
    return (
        sum(read_json(timing)[key] for key in ('train_s', 'evaluate_s')) if timing.exists() else 0
    )


def _gaps(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Returns what it brought to search the weights of a blend on the test part, by protocol."""
    gaps = []
    for entry in entries:
        blends = [job for job in entry.jobs if isinstance(job.way, Blend) and job.way.leaky]
        for job in blends:
            file = job.folder / 'result.json'
            known = [gap['protocol'] for gap in gaps]
            if not file.exists() or entry.protocol in known:
                continue
            blend = read_json(file)['blend']
            gaps.append(
                {
                    'protocol': entry.protocol,
                    'leaky_members': blend['leaky_members'],
                    'members': [member['name'] for member in blend['members']],
                    'weights': blend['weights'][0],
                    'honest_weights': blend['honest']['weights'][0],
                    'accuracy': blend['parts']['test']['segment'],
                    'honest': blend['honest']['parts']['test']['segment'],
                    'difference': blend['gap']['segment'],
                }
            )
    return gaps


def _notes(folders: Sequence[pathlib.Path]) -> list[str]:
    """Returns what the runs warn of, each once."""
    notes = {}
    for folder in folders:
        file = folder / 'result.json'
        if file.exists():
            notes |= dict.fromkeys(read_json(file).get('warnings', []))
    return list(notes)


def _datasets(folders: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    """Returns the prepared datasets that the runs used."""
    found = {}
    for folder in folders:
        file = folder / 'environment.json'
        if file.exists():
            dataset = read_json(file)['dataset']
            found[dataset['fingerprint']] = dataset
    return list(found.values())


def lines(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a line for each of our figures, as figures.csv holds it; docs/results/ keeps such files."""
    here = result['environment']
    facts = {
        'data': '; '.join(each['facts'] for each in result['data'] if each['facts']),
        'device': f'{here["devices"]} {here["device_kind"]}, {here["platform"]}',
        'commit': here['git_commit'],
    }
    found = []
    for table in result['tables']:
        for row in table['rows']:
            for protocol, side in row['ours'].items():
                for figure in row['figures']:
                    own = None if side['why_not'] else side['figures'][figure['path']]
                    if own is None:
                        continue
                    found.append(
                        {
                            'paper': result['paper'],
                            'table': table['title'],
                            'row': row['name'],
                            'protocol': protocol,
                            'figure': figure['path'],
                            'value': own['mean'],
                            'value_ci95': own['ci95'],
                            'runs': side['runs'],
                            'leaky': side['leaky'],
                            **{key: side[key] for key in ('n_segments', 'n_songs', 'n_groups')},
                        }
                        | facts
                    )
    return found


def shown(figure: Mapping[str, Any]) -> str:
    """Returns a printed figure of a row as the tables show it."""
    return paper_lib.shown(figure['printed'], figure['value'], figure['share'])


def ours(figure: Mapping[str, Any], side: Mapping[str, Any]) -> tuple[str, str]:
    """Returns our figure and its interval as the tables show them, of a row under a protocol."""
    found = side['figures'][figure['path']]
    if found is None or not math.isfinite(found['mean']):
        return '–', ''
    scale, digits = (100, 1) if figure['share'] else (1, 3)
    value = f'{scale * found["mean"]:.{digits}f}'
    if found['std'] is not None:
        value += f' ± {scale * found["std"]:.{digits}f}'
    interval = ''
    if found['ci95'] is not None:
        low, high = (f'{scale * end:.{digits}f}' for end in found['ci95'])
        interval = f'[{low}, {high}]'
    return value, interval


def text_table(result: Mapping[str, Any]) -> str:
    """Returns the tables of `collect` as text."""
    sides = list(result['protocols'])
    lines = [f'{result["title"]}: paper, and ours with 95 % intervals (shares in %)']
    for table in result['tables']:
        lines += ['', table['title']]
        width = max(len(row['name']) for row in table['rows'])
        for row in table['rows']:
            mark = f'  other data: {row["other_data"]}' if row['other_data'] else ''
            figures = row['figures']
            reasons = {row['ours'][side]['why_not'] for side in sides}
            if all(reasons):
                printed = ', '.join(f'{f["name"]} {shown(f) or "–"}' for f in figures)
                lines.append(f'  {row["name"]:{width}}  {printed}: {"; ".join(sorted(reasons))}')
                continue
            for i, figure in enumerate(figures):
                cells = []
                for side in sides:
                    content = row['ours'][side]
                    if content['why_not']:
                        cells.append(f'{side}: {content["why_not"]}')
                        continue
                    leaky = ' LEAKY' if content['leaky'] else ''
                    cells.append(f'{side}{leaky} {" ".join(ours(figure, content))}')
                name = row['name'] if not i else ''
                lines.append(
                    f'  {name:{width}}  {figure["name"]:24} paper {shown(figure) or "–":>6}  '
                    f'{"  ".join(f"{cell:40}" for cell in cells)}{mark}'.rstrip()
                )
    return '\n'.join(lines)
