"""The comparison of classical models as text and as a picture (genre_jax/classical/__main__.py)."""

import pathlib
from collections.abc import Mapping

from genre_jax.classical.estimators import MODELS
from genre_jax.evaluation.paired import shown
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


def draw(result: Mapping, file: pathlib.Path) -> None:
    """Draws accuracies as dots with their intervals, by row and by song."""
    titles, models = _titles(result), list(_rows(result, 'song'))
    figure, panels = study_table.panels(
        [MODELS[model].title for model in models],
        len(titles),
        (1, 1),
        f'{result["features"]}{result["dataset"]}: {result["songs"]} songs',
    )
    for axes, (level, words) in zip(panels, _LEVELS.items(), strict=True):
        rows = _rows(result, level)
        dots = {word: [rows[model][name] for model in models] for name, word in titles.items()}
        study_table.dots(axes, dots, title=words, xlabel='accuracy, %', xlim=(0, 100))
        axes.axvline(100 / result['classes'], color='#999999', linestyle=':', label='chance')
    study_table.save(figure, file)
