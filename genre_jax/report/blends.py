"""What a blend came to, in words, for its table and its page.

`result` is what result.json holds, `blend` what stands there under 'blend'.
"""

from collections.abc import Mapping

import numpy as np

from genre_jax.evaluation.paired import shown
from genre_jax.report import dots

# By what is blended: the kinds of figures that are shown, the one that was fitted to first.
KINDS = {
    'segment': {'segment': 'segments', 'song_max_probability': 'songs'},
    'song': {'song_max_probability': 'songs'},
}


def words(result: Mapping) -> str:
    """Says in a line what was blended, how, and what it was fitted to."""
    blend = result['blend']
    settings = ', '.join(f'{key} {value}' for key, value in blend['settings'].items())
    return (
        f'{len(blend["members"])} runs by {blend["level"]}, {blend["method"]}'
        f'{f" ({settings})" if settings else ""}, fitted on {blend["fitted_on"]}'
    )


def rows(result: Mapping) -> list[dict]:
    """Returns rows, members, then blends: 'name', 'weight', 'leaky', 'parts' {part: {kind: figures}}."""
    blend = result['blend']
    honest = {'leaky': blend['leaky_members']}
    found = [
        {'name': member['name'], 'weight': weight, 'parts': member['parts']} | honest
        for member, weight in zip(blend['members'], weights(blend), strict=True)
    ]
    for own, leaky in ((blend.get('honest'), honest), (blend, {'leaky': result['leaky']})):
        if own is not None:
            name = f'blend, fitted on {own["fitted_on"]}'
            found.append({'name': name, 'weight': '', 'parts': own['parts']} | leaky)
    return found


def shares(blend: Mapping) -> np.ndarray:
    """Returns how much each member counts, the mean over the folds, float64 [M], 1 in all."""
    each = np.array(blend['weights'])
    return (each / each.sum(1, keepdims=True)).mean(0)


def weights(blend: Mapping) -> list[str]:
    """Returns the weights in words, those of a leaky fit behind the honest ones, in parentheses."""
    if 'honest' in blend:
        both = zip(in_words(blend['honest']), in_words(blend), strict=True)
        return [f'{honest} ({leaky})' for honest, leaky in both]
    return in_words(blend)


def weight_title(blend: Mapping) -> str:
    """Returns what stands above the weights."""
    return 'weight (LEAKY)' if 'honest' in blend else 'weight'


def in_words(blend: Mapping) -> list[str]:
    """Returns the weights: whole numbers as they are, others, and those of folds, as shares."""
    found = blend['weights']
    if len(found) == 1 and all(float(weight).is_integer() for weight in found[0]):
        return [f'{weight:g}' for weight in found[0]]
    return [f'{100 * share:.0f} %' for share in shares(blend)]


def page(result: Mapping) -> dict:
    """Returns what the report page shows of a blend."""
    blend = result['blend']
    return {
        'words': words(result),
        'weight_title': weight_title(blend),
        'columns': columns(blend),
        'rows': rows(result),
        'differences': differences(result),
        'leaky_fit': 'gap' in blend,
        'leaky_split': blend['leaky_members'],
    }


def charts(result: Mapping) -> dict[str, dict]:
    """Returns the charts of members and blend, of their differences, and of the weights, by their places."""
    blend, found = result['blend'], {}
    words = {part: word for part, word in (('test', 'test'), ('val', 'validation')) if part in blend['parts']}
    for kind, unit in KINDS[blend['level']].items():
        compared = []
        for row in rows(result):
            own = [row['parts'][part][kind] for part in words]
            compared.append(
                (row['name'], [dots.figure(f['accuracy'], f['accuracy_ci95'], row['leaky']) for f in own])
            )
        found[f'blend-{unit}'] = dots.chart(
            f'Accuracy of {unit} in %, of each member alone and of the blend, with 95 % intervals',
            [{'name': word} for word in words.values()],
            compared,
            lines=[dots.line('chance', result['chance'])],
        )
    levels = ('segment', 'song') if blend['level'] == 'segment' else ('song',)
    pairs = []
    for first, second, key, leaky in _pairs(result):
        own = [blend[key][level] for level in levels]
        figures = [dots.figure(f['difference'], f['difference_ci95'], leaky) for f in own]
        pairs.append((f'{first} minus {second}', figures))
    found['blend-differences'] = dots.chart(
        'Differences on the same songs, with 95 % intervals',
        [{'name': f'{level}s'} for level in levels],
        pairs,
        difference=True,
    )
    fits = [(blend['honest'], False), (blend, True)] if 'honest' in blend else [(blend, 'gap' in blend)]
    each = [[dots.figure(share, leaky=leaky) for share in shares(own)] for own, leaky in fits]
    names = [member['name'] for member in blend['members']]
    found['blend-weights'] = dots.chart(
        'How much each member counts',
        [{'name': f'fitted on {own["fitted_on"]}'} for own, _ in fits],
        list(zip(names, zip(*each, strict=True), strict=True)),
        'share of the weights, %',
    )
    return found


def _pairs(result: Mapping) -> list[tuple[str, str, str, bool]]:
    """Returns what is compared: its first and second in words, the key of the figures, whether it leaks."""
    blend = result['blend']
    best = f'the best member by {blend["best_on"]}, {blend["best"]}'
    pairs = [('blend', best, 'versus_best', blend['leaky_members'])]
    if 'gap' in blend:
        pairs.append(('LEAKY: weights fitted on test', 'the honest blend', 'gap', True))
    return pairs


def columns(blend: Mapping) -> list[tuple[str, str, str]]:
    """Returns part, kind and title of the figures that are shown."""
    kinds = KINDS[blend['level']]
    parts = [part for part in ('val', 'test') if part in blend['parts']]
    return [(part, kind, f'{part} {kinds[kind]}') for part in parts for kind in kinds]


def differences(result: Mapping) -> list[str]:
    """Says how the blend compares with its best member, and the leaky fit with the honest one."""
    blend = result['blend']
    lines = []
    for first, second, key, _ in _pairs(result):
        figures = blend[key]
        cells = ', '.join(
            f'{kind}s {shown(figures[kind]["difference"], figures[kind]["difference_ci95"], "+").strip()}'
            for kind in (('segment', 'song') if blend['level'] == 'segment' else ('song',))
        )
        test = figures['mcnemar']
        lines.append(
            f'{first} minus {second}, in points: {cells}; {test["only_first"]} songs right in the first '
            f"alone, {test['only_second']} in the second, McNemar's p {test['p']:.2g}"
        )
    return lines
