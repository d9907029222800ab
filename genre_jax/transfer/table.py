"""What a transfer study came to: a table and a picture (genre_jax/transfer/__main__.py).

And how much each window counted for the head `attention`: kept, and drawn for some songs.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import matplotlib.figure
import numpy as np

from genre_jax.evaluation import evaluate
from genre_jax.evaluation.paired import shown
from genre_jax.study import table as study_table
from genre_jax.transfer.heads import TITLES

_DRAWN_SONGS = 6


def _leaky(own: Mapping[str, Mapping]) -> bool:
    return any(figure['leaky'] for figure in own.values())


def table(result: Mapping) -> str:
    """Returns what fits.measure returns as text: sources by heads, and the difference to the control."""
    rows = study_table.nested(result['figures'], 'source', 'head')
    heads = list(next(iter(rows.values())))
    folds = f'{result["folds"]} folds, every song tested once' if result['folds'] else 'one split'
    first_of = 'all folds, of which the first is ' if result['folds'] else ''
    cells = [['', *heads]]
    for name, own in rows.items():
        figures = [shown(own[head]['accuracy'], own[head]['accuracy_ci95']) for head in heads]
        cells.append([name, *figures] + ['LEAKY'] * _leaky(own))
        if own[heads[0]]['control']:
            above = [shown(own[h]['above_control'], own[h]['above_ci95'], '+') for h in heads]
            cells.append(['  above its control', *above])
    cells += [
        ['always the commonest', f'{100 * result["majority"]:5.1f}'],
        ['chance', f'{100 / result["classes"]:5.1f}'],
    ]
    lines = [
        f'{result["dataset"]}: tested on {result["songs"]} songs, {result["groups"]} groups '
        f'({result["group_key"]}), {result["classes"]} classes; {folds}',
        f'protocol {result["protocol"]}: {first_of}{result["protocol_detail"]}',
        f'accuracy by song in %, 95 % intervals by groups; one answer for each {result["bag"]}',
        '',
        *study_table.aligned(cells),
        '',
        *(f'{name}: {words}' for name, words in result['words'].items()),
        'the best of many cells is chosen on the test part, and looks better than it is',
    ]
    return '\n'.join(lines + [f'note: {warning}' for warning in result['warnings']])


def draw(result: Mapping, file: pathlib.Path) -> None:
    """Draws accuracies with their intervals, and beside them the differences to the control."""
    rows = study_table.nested(result['figures'], 'source', 'head')
    heads = list(next(iter(rows.values())))
    controlled = any(own[heads[0]]['control'] for own in rows.values())
    names = [name + ' LEAKY' * _leaky(own) for name, own in rows.items()]
    folds = f'{result["folds"]} folds' if result['folds'] else 'one split'
    figure, panels = study_table.panels(
        names,
        len(heads),
        (3, 2)[: 1 + controlled],
        f'{result["dataset"]}: {result["songs"]} songs, {result["groups"]} groups; {folds}, protocol '
        f'{result["protocol"]}',
    )
    left, dots = panels[0], {TITLES[h]: [own[h] for own in rows.values()] for h in heads}
    study_table.dots(left, dots, title='by song', xlabel='accuracy, %', xlim=(0, 100))
    left.axvline(100 / result['classes'], color='#999999', linestyle=':', label='chance')
    left.axvline(100 * result['majority'], color='#999999', linestyle='--', label='commonest class')
    for right in panels[1:]:
        above = {
            title: [figure if figure['control'] else None for figure in figures]
            for title, figures in dots.items()
        }
        words = {'title': 'above the same network untrained', 'xlabel': 'percentage points'}
        study_table.dots(right, above, 'above_control', 'above_ci95', **words)
    study_table.save(figure, file)


@dataclasses.dataclass(frozen=True)
class Attention(evaluate.Arrays):
    """How much each window counted in its bag."""

    track: np.ndarray  # name of the song of each window, str [n]
    start_s: np.ndarray  # where the window starts, in seconds, float32 [n]
    window_s: np.ndarray  # length of all windows, in seconds, float32 []
    weight: np.ndarray  # float32 [n, seeds], of one seed's network; they sum to 1 over a bag


def draw_attention(attention: Attention, answers: evaluate.Predictions, file: pathlib.Path) -> None:
    """Draws for some of the tested songs, one of each class in turn, which seconds the network looks at."""
    songs = evaluate.pool_songs(answers)
    # How many songs of its class come before each song.
    turns = [np.count_nonzero(songs.label[:i] == own) for i, own in enumerate(songs.label)]
    order = np.argsort(turns, kind='stable')[:_DRAWN_SONGS]
    figure = matplotlib.figure.Figure(figsize=(8, 1 + 1.3 * len(order)), layout='constrained')
    for axes, song in zip(figure.subplots(len(order), 1, squeeze=False)[:, 0], order, strict=True):
        windows = attention.track == songs.track[song]
        weight = attention.weight[windows]
        centre_s = attention.start_s[windows] + float(attention.window_s) / 2
        middle = weight.mean(1)
        axes.bar(centre_s, middle, float(attention.window_s), color='#2f5f98', alpha=0.45)
        spread = [middle - weight.min(1), weight.max(1) - middle]
        axes.errorbar(centre_s, middle, spread, fmt='none', ecolor='#333333', capsize=2)
        axes.axhline(weight.mean(), color='#999999', linestyle=':')
        true, said = (answers.classes[each] for each in (songs.label[song], songs.max_probability()[song]))
        verdict = 'right' if true == said else f'taken for {said}'
        axes.set_title(f'{songs.track[song]}: {true}, {verdict}', fontsize=8, loc='left')
        axes.set(ylim=(0, None), ylabel='weight')
    axes.set_xlabel('seconds')
    figure.suptitle(
        'what each window counts: mean, and lowest to highest of the seeds; dotted: all alike', fontsize=9
    )
    study_table.save(figure, file)
