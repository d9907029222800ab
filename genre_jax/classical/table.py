"""The comparison of classical models as text and as a page (genre_jax/classical/__main__.py)."""

import pathlib
from collections.abc import Mapping

from genre_jax.classical.estimators import MODELS
from genre_jax.evaluation.paired import shown
from genre_jax.report import dots
from genre_jax.study import page as study_page
from genre_jax.study import table as study_table
from genre_jax.study.protocols import title

_LEVELS = {'segment': 'by row or segment', 'song': 'by song (summed probabilities)'}


def _rows(result: Mapping, level: str) -> dict[str, dict[str, Mapping]]:
    of_level = [figure for figure in result['figures'] if figure['level'] == level]
    return study_table.nested(of_level, 'model', 'protocol')


def _titles(result: Mapping) -> dict[str, str]:
    return {name: title(name, each['leaky']) for name, each in result['protocols'].items()}


def table(result: Mapping) -> str:
    """Returns what genre_jax.classical.fits.measure returns as text: a block for rows, one for songs."""
    folds = f'{result["folds"]} folds' if result['folds'] else 'one split'
    titles = _titles(result)
    names = list(titles)
    compared = result['folds'] and len(names) > 1
    lines = [
        f'{result["features"]}{result["dataset"]}: {result["songs"]} songs, {result["groups"]} groups '
        f'({result["group_key"]}), {result["classes"]} classes; {folds}',
        'fitted to training rows alone; accuracy in %, 95 % intervals by groups',
    ]
    for level, words in _LEVELS.items():
        cells = [[words, *titles.values()]]
        if compared:
            cells[0].append(f'{names[0]} above {names[-1]}')
        for model, own in _rows(result, level).items():
            row = [shown(own[name]['accuracy'], own[name]['accuracy_ci95']) for name in names]
            if compared:
                most = own[names[0]]
                row.append(shown(most['above_strictest'], most['above_ci95'], '+'))
            cells.append([model, *row])
        lines += ['', *study_table.aligned(cells)]
    details = [f'{titles[name]}: {result["protocols"][name]["detail"]}' for name in names]
    return '\n'.join([*lines, '', *details])


def write_page(result: Mapping, workdir: pathlib.Path) -> None:
    """Writes index.html: accuracies by row and by song, and how far above the strictest protocol's."""
    names, charts = list(result['protocols']), {}
    titles = [title(name, False) for name in names]
    series = [{'name': each} for each in titles]
    chance = dots.line('chance', 1 / result['classes'])
    for level, words in _LEVELS.items():
        models = {MODELS[model].title: own for model, own in _rows(result, level).items()}
        charts[f'accuracy-{level}'] = dots.chart(
            f'Accuracy in %, {words}, with 95 % intervals',
            series,
            [(model, [_figure(own[name], 'accuracy') for name in names]) for model, own in models.items()],
            lines=[chance],
        )
        if result['folds'] and len(names) > 1:
            charts[f'above-{level}'] = dots.chart(
                f'In points above {titles[-1]}, {words}, on the same songs, with 95 % intervals',
                series[:-1],
                [
                    (model, [_figure(own[name], 'above_strictest', 'above') for name in names[:-1]])
                    for model, own in models.items()
                ],
                difference=True,
            )
    study = study_page.Study(
        program='classical',
        lead=table(result).splitlines()[:2],
        compared='model',
        charts=charts,
        words=[f'{title(name, own["leaky"])}: {own["detail"]}' for name, own in result['protocols'].items()],
        run_columns=titles,
        runs=[
            (MODELS[model].title, [result['folders'][name][model] for name in names])
            for model in _rows(result, 'song')
        ],
    )
    study_page.write(study, workdir)


def _figure(figure: Mapping, key: str, stem: str = '') -> dict | None:
    return dots.figure(figure[key], figure[f'{stem or key}_ci95'], figure['leaky'])
