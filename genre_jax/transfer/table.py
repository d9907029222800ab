"""What a transfer study came to: a table, a CSV, and pictures (genre_jax/transfer/__main__.py)."""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.evaluation import evaluate, paired
from genre_jax.logbook import read_json
from genre_jax.transfer.heads import TITLES
from genre_jax.transfer.sources import Source

_COLOURS = ('#2f5f98', '#e0a030', '#5f8f4f', '#c0504d')
_DRAWN_SONGS = 6


@dataclasses.dataclass(frozen=True)
class Attention(evaluate.Arrays):
    """How much each window counted in its bag.

    Attributes:
        track: name of the song of each window, str [n].
        start_s: where the window starts, in seconds, float32 [n].
        window_s: length of all windows, in seconds, float32 [].
        weight: float32 [n, seeds], of one seed's network; they sum to 1 over a bag.
    """

    track: np.ndarray
    start_s: np.ndarray
    window_s: np.ndarray
    weight: np.ndarray


def read(
    sources: Sequence[Source],
    heads: Sequence[str],
    cells: Mapping[tuple[str, str], Sequence[pathlib.Path]],
    groups: Mapping[str, str],
    bootstrap_samples: int,
) -> dict:
    """Reads the cells' folders.

    Args:
        sources: in the order of the table, controls among them.
        heads: names.
        cells: folder of each fold by source and head.
        groups: group of every song.
        bootstrap_samples: resamplings for intervals.

    Returns:
        'figures', a dict for each cell with accuracies as shares, and facts that all cells share.
    """
    results = {
        key: [
            read_json(folder / 'result.json', 'delete it, and it is fitted again') for folder in own
        ]
        for key, own in cells.items()
    }
    tests = {
        key: [evaluate.Predictions.load(folder / 'predictions' / 'test.npz') for folder in own]
        for key, own in cells.items()
    }
    songs = np.unique(np.concatenate([part.track for part in next(iter(tests.values()))])).tolist()
    tested = {key: paired.count(parts, songs) for key, parts in tests.items()}
    group_of_song = [groups[song] for song in songs]

    def compared(first: tuple[str, str], second: tuple[str, str]) -> dict:
        pair = {'first': tested[first], 'second': tested[second]}
        return paired.compare(pair, group_of_song, bootstrap_samples)['first']['song']

    figures = []
    for source in sources:
        for head in heads:
            key = source.name, head
            own = compared(key, (source.control, head) if source.control else key)
            low, high = own['accuracy_ci95']
            above_low, above_high = own['inflation_ci95'] if source.control else (None, None)
            figures.append(
                {
                    'source': source.name,
                    'head': head,
                    'leaky': any(result['leaky'] for result in results[key]),
                    'accuracy': own['accuracy'],
                    'accuracy_low': low,
                    'accuracy_high': high,
                    'control': source.control,
                    'above_control': own['inflation'] if source.control else None,
                    'above_low': above_low,
                    'above_high': above_high,
                }
            )
    always = results[next(iter(results))]
    warnings = {line for own in results.values() for result in own for line in result['warnings']}
    return {
        'figures': figures,
        'words': {source.name: source.words for source in sources},
        'songs': len(songs),
        'groups': len(set(group_of_song)),
        'majority': sum(
            result['majority']['accuracy'] * result['n_songs']['test'] for result in always
        )
        / len(songs),
        'warnings': sorted(warnings),
    }


def _cells(result: Mapping) -> dict[tuple[str, str], Mapping]:
    return {(figure['source'], figure['head']): figure for figure in result['figures']}


def _interval(figure: Mapping, value: str, low: str, high: str, sign: str) -> str:
    shown = f'{100 * figure[value]:{sign}5.1f}'
    return f'{shown} [{100 * figure[low]:{sign}.1f}, {100 * figure[high]:{sign}.1f}]'


def table(result: Mapping) -> str:
    """Returns the study as text: sources by heads, below each source its difference to the control.

    Args:
        result: of genre_jax.transfer.measure.
    """
    cells = _cells(result)
    heads = list(dict.fromkeys(head for _, head in cells))
    names = list(result['words'])
    first = 4 + max(len(name) for name in (*names, 'above its control'))
    folds = f'{result["folds"]} folds, every song tested once' if result['folds'] else 'one split'
    first_of = 'all folds, of which the first is ' if result['folds'] else ''
    lines = [
        f'{result["dataset"]}: tested on {result["songs"]} songs, {result["groups"]} groups '
        f'({result["group_key"]}), {result["classes"]} classes; {folds}',
        f'protocol {result["protocol"]}: {first_of}{result["protocol_detail"]}',
        'accuracy by song in %, 95 % intervals of a bootstrap over groups; one answer for each '
        f'{result["bag"]}',
        '',
        f'{"":{first}}' + ''.join(f'{head:22}' for head in heads).rstrip(),
    ]
    for name in names:
        own = [cells[name, head] for head in heads]
        row = ''.join(
            f'{_interval(each, "accuracy", "accuracy_low", "accuracy_high", ""):22}' for each in own
        )
        leaky = '  LEAKY' if any(each['leaky'] for each in own) else ''
        lines.append(f'{name:{first}}{row.rstrip()}{leaky}')
        if own[0]['control']:
            row = ''.join(
                f'{_interval(each, "above_control", "above_low", "above_high", "+"):22}'
                for each in own
            )
            lines.append(f'{"  above its control":{first}}{row.rstrip()}')
    lines += [
        f'{"always the commonest":{first}}{100 * result["majority"]:5.1f}',
        f'{"chance":{first}}{100 / result["classes"]:5.1f}',
        '',
        *(f'{name}: {words}' for name, words in result['words'].items()),
        'the best of many cells is chosen on the test part, and looks better than it is',
    ]
    return '\n'.join(lines + [f'note: {warning}' for warning in result['warnings']])


def write_csv(result: Mapping, file: pathlib.Path) -> None:
    """Writes a line for each source and head; accuracies are shares.

    Args:
        result: of genre_jax.transfer.measure.
        file: CSV to write.
    """
    facts = {key: result[key] for key in ('protocol', 'folds', 'bag', 'songs', 'groups')}
    partial = file.with_name(f'{file.name}.partial')
    with partial.open('w', newline='') as stream:
        writer = csv.DictWriter(stream, [*result['figures'][0], *facts])
        writer.writeheader()
        writer.writerows(figure | facts for figure in result['figures'])
    os.replace(partial, file)


def draw(result: Mapping, file: pathlib.Path) -> None:
    """Draws accuracies with their intervals, and beside them the differences to the control.

    Args:
        result: of genre_jax.transfer.measure.
        file: PNG to write.
    """
    import matplotlib.figure

    cells = _cells(result)
    heads = list(dict.fromkeys(head for _, head in cells))
    names = list(result['words'])
    height = 2.2 + 0.2 * len(names) * (len(heads) + 1)
    figure = matplotlib.figure.Figure(figsize=(10, height), layout='constrained')
    position = -np.arange(len(names), dtype=float)
    shown = [('accuracy', 'accuracy_low', 'accuracy_high')]
    if any(each['control'] for each in cells.values()):
        shown.append(('above_control', 'above_low', 'above_high'))
    panels = figure.subplots(
        1, len(shown), sharey=True, squeeze=False, width_ratios=(3, 2)[: len(shown)]
    )[0]
    for axes, keys in zip(panels, shown, strict=True):
        for i, head in enumerate(heads):
            own = [cells[name, head] for name in names]
            # None, where there is no control, is not drawn.
            value, low, high = (100 * np.array([each[key] for each in own], float) for key in keys)
            axes.errorbar(
                value,
                position + 0.3 - 0.6 * (i + 0.5) / len(heads),
                xerr=np.maximum(0, [value - low, high - value]),
                fmt='o',
                markersize=4,
                capsize=2,
                color=_COLOURS[i],
                label=TITLES[head],
            )
        axes.grid(axis='x', linewidth=0.4)
        axes.set_axisbelow(True)
    left = panels[0]
    left.axvline(100 / result['classes'], color='#999999', linestyle=':', label='chance')
    left.axvline(100 * result['majority'], color='#999999', linestyle='--', label='commonest class')
    leaky = {figure['source'] for figure in result['figures'] if figure['leaky']}
    left.set_yticks(position, [f'{name} LEAKY' if name in leaky else name for name in names])
    left.set(title='by song', xlabel='accuracy, %', xlim=(0, 100))
    for right in panels[1:]:
        right.axvline(0, color='#999999', linewidth=1)
        right.set(title='above the same network untrained', xlabel='percentage points')
    folds = f'{result["folds"]} folds' if result['folds'] else 'one split'
    figure.suptitle(
        f'{result["dataset"]}: {result["songs"]} songs, {result["groups"]} groups; {folds}, protocol '
        f'{result["protocol"]}',
        fontsize=10,
    )
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=3, frameon=False, fontsize=8)
    _save(figure, file)


def draw_attention(attention: Attention, answers: evaluate.Predictions, file: pathlib.Path) -> None:
    """Draws for some songs, one of each class in turn, which seconds the network looks at.

    Args:
        attention: of the songs that are tested.
        answers: of the same songs.
        file: PNG to write.
    """
    import matplotlib.figure

    songs = evaluate.pool_songs(answers)
    order = np.lexsort((np.arange(len(songs.label)), _turns(songs.label)))[:_DRAWN_SONGS]
    figure = matplotlib.figure.Figure(figsize=(8, 1 + 1.3 * len(order)), layout='constrained')
    for axes, song in zip(figure.subplots(len(order), 1, squeeze=False)[:, 0], order, strict=True):
        windows = attention.track == songs.track[song]
        weight = attention.weight[windows]
        start_s, middle = attention.start_s[windows], weight.mean(1)
        axes.bar(
            start_s, middle, float(attention.window_s), align='edge', color='#2f5f98', alpha=0.45
        )
        spread = [middle - weight.min(1), weight.max(1) - middle]
        centre_s = start_s + float(attention.window_s) / 2
        axes.errorbar(centre_s, middle, spread, fmt='none', ecolor='#333333', capsize=2)
        axes.axhline(weight.mean(), color='#999999', linestyle=':')
        true, said = (
            answers.classes[each] for each in (songs.label[song], songs.max_probability()[song])
        )
        verdict = 'right' if true == said else f'taken for {said}'
        axes.set_title(f'{songs.track[song]}: {true}, {verdict}', fontsize=8, loc='left')
        axes.set(ylim=(0, None), ylabel='weight')
    axes.set_xlabel('seconds')
    figure.suptitle(
        'what each window counts: mean, and lowest to highest of the seeds; dotted: all alike',
        fontsize=9,
    )
    _save(figure, file)


def _turns(labels: np.ndarray) -> np.ndarray:
    """Returns how many songs of its class come before each song."""
    seen = np.cumsum(labels[:, None] == np.unique(labels), axis=0)
    return seen[np.arange(len(labels)), np.searchsorted(np.unique(labels), labels)] - 1


def _save(figure, file: pathlib.Path) -> None:
    temporary = file.with_name(f'{file.stem}.partial.png')
    figure.savefig(temporary, dpi=150)
    os.replace(temporary, file)
