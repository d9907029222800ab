"""What a blend came to: its figures, and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.evaluation import evaluate, paired
from genre_jax.evaluation.evaluate import Predictions
from genre_jax.report import blends


def scores(predictions: Predictions, bootstrap_samples: int) -> dict[str, dict]:
    """Scores one part as result.json holds it.

    Args:
        predictions: with groups.
        bootstrap_samples: resamplings for the intervals.
    """
    return evaluate.evaluate(predictions, _groups(predictions), bootstrap_samples)


def _groups(predictions: Predictions) -> dict[str, str]:
    return dict(zip(predictions.track.tolist(), predictions.group.tolist(), strict=True))


def brief(parts: Mapping[str, Mapping[str, Mapping]], level: str) -> dict[str, dict]:
    """Returns of the figures of each part what the table shows.

    Args:
        parts: what `scores` returns, by part.
        level: 'segment' or 'song'.
    """
    return {
        part: {
            kind: {key: figures[kind][key] for key in ('accuracy', 'accuracy_ci95')}
            for kind in blends.KINDS[level]
        }
        for part, figures in parts.items()
    }


def compare(first: Predictions, second: Predictions, bootstrap_samples: int) -> dict:
    """Compares two predictions of the same rows.

    Args:
        first: with groups.
        second: of the same rows.
        bootstrap_samples: resamplings; they draw the same groups for both.

    Returns:
        {'segment' or 'song': {'difference', 'difference_ci95'}, 'mcnemar': {'only_first', 'only_second',
        'p'}}: accuracy of the first minus that of the second, how many songs only one of them has right, and
        how probable it is that these fall to one of them as unevenly by chance (exact test, McNemar 1947; it
        takes songs to be independent, which those of a group are not).
    """
    import scipy.stats

    tracks, rows = np.unique(first.track, return_index=True)
    tested = {
        name: paired.count([predictions], tracks.tolist())
        for name, predictions in (('first', first), ('second', second))
    }
    figures = paired.compare(tested, first.group[rows], bootstrap_samples)['first']
    only_first = int((tested['first'].right > tested['second'].right).sum())
    only_second = int((tested['first'].right < tested['second'].right).sum())
    p = 1.0
    if only_first + only_second:
        p = scipy.stats.binomtest(only_first, only_first + only_second).pvalue
    return {
        level: {
            'difference': figures[level]['inflation'],
            'difference_ci95': figures[level]['inflation_ci95'],
        }
        for level in ('segment', 'song')
    } | {'mcnemar': {'only_first': only_first, 'only_second': only_second, 'p': float(p)}}


def describe(
    by_fold: Sequence[Sequence[Mapping]],
    test: Predictions,
    leaky_fit: bool,
    bootstrap_samples: int,
) -> dict:
    """Returns what result.json says about data and protocol, taken over from the members' own.

    Args:
        by_fold: result.json of each member, for each fold; one for members that are run folders.
        test: the blend's predictions, of all folds together.
        leaky_fit: whether the weights were fitted to the test part.
        bootstrap_samples: resamplings for intervals.
    """
    first, folds = by_fold[0][0], [members[0] for members in by_fold]
    results = [result for members in by_fold for result in members]
    classes = test.classes.tolist()
    if len(by_fold) == 1:
        counts = {key: dict(first[key]) for key in ('n_songs', 'n_groups', 'n_segments')}
        detail = first['protocol_detail']
        songs_per_class = first['songs_per_class']
        warnings = [line for result in results for line in result['warnings']]
    else:
        counts = {
            'n_songs': {'test': len(np.unique(test.track))},
            'n_groups': {'test': len(np.unique(test.group))},
            'n_segments': {'test': len(test.track)},
        }
        detail = (
            f'all {len(folds)} folds together, of which the first is: {first["protocol_detail"]}'
        )
        songs_per_class = {
            label: {
                'train': round(
                    np.mean([fold['songs_per_class'][label]['train'] for fold in folds])
                ),
                'test': len(np.unique(test.track[test.label == i])),
            }
            for i, label in enumerate(classes)
        }
        warnings = [
            f'fold {i}: {line}'
            for i, members in enumerate(by_fold)
            for result in members
            for line in result['warnings']
        ]
    if leaky_fit:
        detail += '; LEAKY: the weights of the blend were fitted to the test part itself'
    return counts | {
        'protocol': first['protocol'],
        'protocol_detail': detail,
        'leaky': leaky_fit or any(result['leaky'] for result in results),
        'classes': classes,
        'songs_per_class': songs_per_class,
        'chance': 1 / len(classes),
        'majority': evaluate.majority_class(
            np.repeat(
                np.arange(len(classes)), [songs_per_class[label]['train'] for label in classes]
            ),
            test,
            _groups(test),
            bootstrap_samples,
        ),
        'quarantined': first['quarantined'],
        'warnings': list(dict.fromkeys(warnings)),
    }
