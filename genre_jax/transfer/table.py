"""What a transfer study came to: a table and a picture (genre_jax/transfer/__main__.py)."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from genre_jax.evaluation.paired import shown
from genre_jax.study import draw as study_draw
from genre_jax.study.table import aligned, nested
from genre_jax.transfer.heads import TITLES


def _leaky(own: Mapping[str, Mapping]) -> bool:
    return any(figure['leaky'] for figure in own.values())


def table(result: Mapping) -> str:
    """Returns what genre_jax.transfer.fits.measure returns as text: sources by heads.

    Below each source stands its difference to the control.
    """
    rows = nested(result['figures'], 'source', 'head')
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
        'accuracy by song in %, 95 % intervals of a bootstrap over groups; one answer for each '
        f'{result["bag"]}',
        '',
        *aligned(cells),
        '',
        *(f'{name}: {words}' for name, words in result['words'].items()),
        'the best of many cells is chosen on the test part, and looks better than it is',
    ]
    return '\n'.join(lines + [f'note: {warning}' for warning in result['warnings']])


def draw(result: Mapping, file: pathlib.Path) -> None:
    """Draws accuracies with their intervals, and beside them the differences to the control."""
    rows = nested(result['figures'], 'source', 'head')
    heads = list(next(iter(rows.values())))
    controlled = any(own[heads[0]]['control'] for own in rows.values())
    names = [name + ' LEAKY' * _leaky(own) for name, own in rows.items()]
    folds = f'{result["folds"]} folds' if result['folds'] else 'one split'
    figure, panels = study_draw.panels(
        names,
        len(heads),
        (3, 2)[: 1 + controlled],
        f'{result["dataset"]}: {result["songs"]} songs, {result["groups"]} groups; {folds}, protocol '
        f'{result["protocol"]}',
    )
    left = panels[0]
    study_draw.dots(left, {TITLES[h]: [own[h] for own in rows.values()] for h in heads})
    left.axvline(100 / result['classes'], color='#999999', linestyle=':', label='chance')
    left.axvline(100 * result['majority'], color='#999999', linestyle='--', label='commonest class')
    left.set(title='by song', xlabel='accuracy, %', xlim=(0, 100))
    for right in panels[1:]:
        above = {
            TITLES[head]: [own[head] if own[head]['control'] else None for own in rows.values()]
            for head in heads
        }
        study_draw.dots(right, above, 'above_control', 'above_ci95')
        right.axvline(0, color='#999999', linewidth=1)
        right.set(title='above the same network untrained', xlabel='percentage points')
    study_draw.save(figure, file)
