"""The comparison of classical models as text, as a CSV and as a picture (genre_jax/classical/__main__.py)."""

from __future__ import annotations

import csv
import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.classical.estimators import MODELS
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate, paired
from genre_jax.loading import protocols
from genre_jax.logbook import read_json

_LEVELS = {'segment': 'by row or segment', 'song': 'by song (summed probabilities)'}
_REMEDY = 'delete that folder, the model is fitted again'
_COLOURS = ('#c0504d', '#e0a030', '#2f5f98', '#5f8f4f', '#7f5f9f', '#777777')


def figures(
    model: str,
    folders: Mapping[str, Sequence[pathlib.Path]],
    tracks: Sequence[Mapping],
    folds: int,
    bootstrap_samples: int,
) -> list[dict]:
    """Reads what a model came to, from its folders.

    Args:
        model: its name.
        folders: of each fold, by protocol, the strictest last.
        tracks: the manifest's tracks.
        folds: of a cross-validation, which are taken together; 0: one split.
        bootstrap_samples: resamplings for the intervals of a cross-validation.

    Returns:
        A dict for each protocol and level, what a line of the CSV holds.
    """
    read, tested = {}, {}
    for protocol, every in folders.items():
        results = [read_json(folder / 'result.json', _REMEDY) for folder in every]
        test = results[0]['parts']['test']
        read[protocol] = {
            'segment': test['segment'],
            'song': test['song_max_probability'],
            'fit_s': sum(read_json(f / 'timing.json', _REMEDY)['train_s'] for f in every),
            'leaky': any(each['leaky'] for each in results),
        }
        if folds:
            parts = [_predictions(folder) for folder in every]
            tested[protocol] = paired.count(parts, [track['track'] for track in tracks])
    if folds:
        groups = [track['group'] for track in tracks]
        for protocol, levels in paired.compare(tested, groups, bootstrap_samples).items():
            read[protocol] |= levels
    lines = []
    for protocol, each in read.items():
        for level in _LEVELS:
            low, high = each[level]['accuracy_ci95']
            above_low, above_high = each[level].get('inflation_ci95', (None, None))
            lines.append(
                {
                    'model': model,
                    'protocol': protocol,
                    'leaky': each['leaky'],
                    'level': level,
                    'accuracy': each[level]['accuracy'],
                    'accuracy_low': low,
                    'accuracy_high': high,
                    'above_strictest': each[level].get('inflation'),
                    'above_low': above_low,
                    'above_high': above_high,
                    'fit_s': each['fit_s'],
                    'ma_et_al': MODELS[model].ma_et_al,
                }
            )
    return lines


def _predictions(folder: pathlib.Path) -> evaluate.Predictions:
    file = folder / 'predictions' / 'test.npz'
    try:
        return evaluate.Predictions.load(file)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        raise UserError(f'{file} is missing or damaged: {_REMEDY}') from None


def title(protocol: str, result: Mapping) -> str:
    """Returns a protocol's name with what is drawn in it, and LEAKY where it leaks.

    Args:
        protocol: its name.
        result: of genre_jax.classical.measure.
    """
    words = protocols.WORDS.get(protocol)
    name = f'{words} ({protocol})' if words else protocol
    return f'{name} LEAKY' if result['protocols'][protocol]['leaky'] else name


def table(result: Mapping) -> str:
    """Returns the comparison as text: a block for rows, one for songs.

    Args:
        result: of genre_jax.classical.measure.
    """
    folds = f'{result["folds"]} folds' if result['folds'] else 'one split'
    lines = [
        f'{result["features"]}{result["dataset"]}: {result["songs"]} songs, {result["groups"]} groups '
        f'({result["group_key"]}), {result["classes"]} classes; {folds}',
        'fitted to training rows alone; accuracy in %, 95 % intervals of a bootstrap over groups',
    ]
    names = list(result['protocols'])
    comparable = not result['features']  # theirs are of handcrafted features
    compared = result['folds'] and len(names) > 1
    headings = [title(name, result) for name in names]
    if compared:
        headings.append(f'{names[0]} above {names[-1]}')
    widths = [max(len(heading), 19) + 2 for heading in headings]
    for level, words in _LEVELS.items():
        cells = {(f['model'], f['protocol']): f for f in result['figures'] if f['level'] == level}
        beside = 'Ma et al.' if comparable and level == 'segment' else ''
        lines += ['', f'{words:33}{_row(headings, widths)}{beside}'.rstrip()]
        for model in dict.fromkeys(model for model, _ in cells):
            row = [
                _figure(cells[model, name], 'accuracy', 'accuracy_low', 'accuracy_high', '')
                for name in names
            ]
            if compared:
                row.append(
                    _figure(
                        cells[model, names[0]], 'above_strictest', 'above_low', 'above_high', '+'
                    )
                )
            published = f'{100 * MODELS[model].ma_et_al:.1f}' if beside else ''
            lines.append(f'{model:33}{_row(row, widths)}{published}'.rstrip())
    lines.append('')
    if comparable:
        lines.append(
            'Ma et al.: their Figure 9, collected from Kaggle: GTZAN, settings and splits not given; '
            'their own networks had rows of 3 s, split 4:1'
        )
    lines += [f'{title(name, result)}: {result["protocols"][name]["detail"]}' for name in names]
    return '\n'.join(lines)


def _row(cells: list[str], widths: list[int]) -> str:
    return ''.join(f'{cell:{width}}' for cell, width in zip(cells, widths, strict=True))


def _figure(figure: Mapping, value: str, low: str, high: str, sign: str) -> str:
    shown = f'{100 * figure[value]:{sign}5.1f}'
    return f'{shown} [{100 * figure[low]:{sign}.1f}, {100 * figure[high]:{sign}.1f}]'


def write_csv(result: Mapping, file: pathlib.Path) -> None:
    """Writes a line for each model, protocol and level; accuracies are shares.

    Args:
        result: of genre_jax.classical.measure.
        file: CSV to write.
    """
    partial = file.with_name(f'{file.name}.partial')
    with partial.open('w', newline='') as stream:
        writer = csv.DictWriter(stream, list(result['figures'][0]))
        writer.writeheader()
        writer.writerows(result['figures'])
    os.replace(partial, file)


def draw(result: Mapping, file: pathlib.Path) -> None:
    """Draws accuracies as dots with their intervals, and the published ones beside those of rows.

    Args:
        result: of genre_jax.classical.measure.
        file: PNG to write.
    """
    import matplotlib.figure

    names = list(result['protocols'])
    models = list(dict.fromkeys(figure['model'] for figure in result['figures']))
    height = 1.8 + 0.17 * len(models) * (len(names) + 1)
    figure = matplotlib.figure.Figure(figsize=(10, height), layout='constrained')
    position = -np.arange(len(models), dtype=float)
    for axes, (level, words) in zip(
        figure.subplots(1, 2, sharey=True), _LEVELS.items(), strict=True
    ):
        for i, name in enumerate(names):
            cells = [
                each
                for each in result['figures']
                if each['level'] == level and each['protocol'] == name
            ]
            values, low, high = (
                100 * np.array([each[key] for each in cells])
                for key in ('accuracy', 'accuracy_low', 'accuracy_high')
            )
            axes.errorbar(
                values,
                position + 0.25 - 0.5 * (i + 0.5) / len(names),
                xerr=np.maximum(0, [values - low, high - values]),
                fmt='o',
                markersize=4,
                capsize=2,
                color=_COLOURS[i % len(_COLOURS)],
                label=title(name, result),
            )
        if level == 'segment' and not result['features']:
            published = [100 * MODELS[model].ma_et_al for model in models]
            axes.plot(published, position, 'x', color='black', label='Ma et al., Figure 9 (Kaggle)')
        axes.axvline(100 / result['classes'], color='#999999', linestyle=':', label='chance')
        axes.set(title=words, xlabel='accuracy, %', xlim=(0, 100))
        axes.set_yticks(position, [MODELS[model].title for model in models])
        axes.grid(axis='x', linewidth=0.4)
        axes.set_axisbelow(True)
    figure.suptitle(
        f'{result["features"]}{result["dataset"]}: {result["songs"]} songs', fontsize=10
    )
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=3, frameon=False, fontsize=8)
    temporary = file.with_name(f'{file.stem}.partial.png')
    figure.savefig(temporary, dpi=150)
    os.replace(temporary, file)
