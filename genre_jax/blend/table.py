"""What a blend came to: its figures, and its table as text."""

from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.evaluation import evaluate, tonic
from genre_jax.evaluation.evaluate import Predictions
from genre_jax.evaluation.paired import shown
from genre_jax.report import blends
from genre_jax.study import table as study_table


def table(result: Mapping) -> str:
    """Returns what result.json holds as text."""
    columns = blends.columns(result['blend'])
    cells = [['', blends.weight_title(result['blend']), *(title for _, _, title in columns)]]
    for row in blends.rows(result):
        figures = [row['parts'][part][kind] for part, kind, _ in columns]
        shares = [shown(each['accuracy'], each['accuracy_ci95']) for each in figures]
        cells.append([row['name'], row['weight'], *shares] + ['LEAKY'] * row['leaky'])
    lines = [
        f'blend of {blends.words(result)}',
        'accuracy in %, 95 % intervals by groups',
        *study_table.aligned(cells),
    ]
    if 'val' in result['parts']:
        lines.append('val of a blend that was fitted there is too high by that')
    return '\n'.join([*lines, '', *blends.differences(result)])


def scores(predictions: Predictions) -> dict[str, dict]:
    """Scores one part, which names its groups, as result.json holds it."""
    return evaluate.evaluate(predictions, _groups(predictions))


def tonic_scores(predictions: Predictions) -> dict | None:
    """Scores the tonics of one part, as result.json holds it; None where the members name none."""
    return tonic.score(predictions, _groups(predictions))


def _groups(predictions: Predictions) -> dict[str, str]:
    return dict(zip(predictions.track.tolist(), predictions.group.tolist(), strict=True))


def brief(parts: Mapping[str, Mapping[str, Mapping]], level: str) -> dict[str, dict]:
    """Returns of the figures of each part what the table of a blend by segment or song shows."""
    return {
        part: {
            kind: {key: figures[kind][key] for key in ('accuracy', 'accuracy_ci95')}
            for kind in blends.KINDS[level]
        }
        for part, figures in parts.items()
    }


def describe(by_fold: Sequence[Sequence[Mapping]], test: Predictions, leaky_fit: bool) -> dict:
    """Returns what result.json says about data and protocol, taken over from the members' own.

    `by_fold` holds result.json of each member for each fold, one for members that are run folders, and `test`
    the blend's predictions of all folds together; with `leaky_fit` the weights were fitted to those.
    """
    first, several, classes = by_fold[0][0], len(by_fold) > 1, test.classes.tolist()
    detail, songs_per_class = first['protocol_detail'], first['songs_per_class']
    counts = {key: dict(first[key]) for key in ('n_songs', 'n_groups', 'n_segments')}
    if several:
        counts = {
            'n_songs': {'test': len(np.unique(test.track))},
            'n_groups': {'test': len(np.unique(test.group))},
            'n_segments': {'test': len(test.track)},
        }
        detail = f'all {len(by_fold)} folds together, of which the first is: {detail}'
        trained = {
            label: [members[0]['songs_per_class'][label]['train'] for members in by_fold] for label in classes
        }
        songs_per_class = {
            label: {
                'train': round(np.mean(trained[label])),
                'test': len(np.unique(test.track[test.label == i])),
            }
            for i, label in enumerate(classes)
        }
    of_folds = [[line for each in members for line in each['warnings']] for members in by_fold]
    warnings = [
        line if all(line in other for other in of_folds) else f'fold {i}: {line}'
        for i, own in enumerate(of_folds)
        for line in own
    ]
    if leaky_fit:
        detail += '; LEAKY: the weights of the blend were fitted to the test part itself'
    return counts | {
        'protocol': first['protocol'],
        'protocol_detail': detail,
        'leaky': leaky_fit or any(result['leaky'] for members in by_fold for result in members),
        'classes': classes,
        'songs_per_class': songs_per_class,
        'chance': 1 / len(classes),
        'majority': evaluate.majority_class(
            np.repeat(range(len(classes)), [songs_per_class[name]['train'] for name in classes]),
            test,
            _groups(test),
        ),
        'quarantined': first['quarantined'],
        'warnings': list(dict.fromkeys(warnings)),
    }
