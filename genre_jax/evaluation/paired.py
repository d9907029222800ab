"""Results on the same songs, compared: accuracies and their differences, with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.evaluation import evaluate


@dataclasses.dataclass(frozen=True)
class Tested:
    """What came out for each song, all folds together.

    Attributes:
        hits: correct segments of each song, float64 [songs].
        segments: tested segments of each song, float64 [songs].
        right: 1 where the song as a whole is right (summed probability), float64 [songs].
    """

    hits: np.ndarray
    segments: np.ndarray
    right: np.ndarray


def count(parts: Sequence[evaluate.Predictions], tracks: Sequence[str]) -> Tested:
    """Joins the test predictions of all folds; each song is tested in some fold."""
    whole = evaluate.Predictions(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ('track', 'start_s', 'label', 'probabilities')
        ),
        parts[0].classes,
    )
    position = {track: i for i, track in enumerate(tracks)}
    song = np.array([position[track] for track in whole.track])
    songs = evaluate.pool_songs(whole)
    right = np.zeros(len(tracks))
    right[[position[track] for track in songs.track]] = songs.max_probability() == songs.label
    return Tested(
        hits=np.bincount(song, whole.probabilities.argmax(-1) == whole.label, len(tracks)),
        segments=np.bincount(song, minlength=len(tracks)).astype(float),
        right=right,
    )


def tested(
    parts: Mapping[str, Sequence[evaluate.Predictions]],
) -> tuple[dict[str, Tested], np.ndarray]:
    """Counts what each of several models has right of the same songs, all folds together.

    Returns {name: counts}, and the group of each song; a song without one is its own.
    """
    first = next(iter(parts.values()))
    track = np.concatenate([part.track for part in first])
    group = np.concatenate([part.track if part.group is None else part.group for part in first])
    tracks, rows = np.unique(track, return_index=True)
    return {name: count(each, tracks.tolist()) for name, each in parts.items()}, group[rows]


def compare(tested: Mapping[str, Tested], groups: Sequence[str], bootstrap_samples: int) -> dict:
    """Computes accuracies, and their differences to the strictest protocol, with 95 % intervals.

    The intervals draw whole groups with replacement, the same ones for every protocol: the differences are
    paired (Efron and Tibshirani 1993). The strictest protocol comes last in `tested`.

    Returns:
        {protocol: {'segment' or 'song': {'accuracy', 'accuracy_ci95', 'inflation', 'inflation_ci95'}}}.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = group.max() + 1
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=bootstrap_samples)
    drawn = np.concatenate([np.ones((1, n_groups)), drawn])  # the first is the sample itself
    accuracies = {
        protocol: {
            'segment': drawn @ np.bincount(group, each.hits)
            / (drawn @ np.bincount(group, each.segments)),
            'song': drawn @ np.bincount(group, each.right) / (drawn @ np.bincount(group)),
        }
        for protocol, each in tested.items()
    }  # fmt: skip
    strictest = accuracies[list(tested)[-1]]

    def summary(values: np.ndarray, name: str) -> dict:
        interval = np.percentile(values[1:], [2.5, 97.5]).tolist()
        return {name: float(values[0]), f'{name}_ci95': interval}

    return {
        protocol: {
            level: summary(values, 'accuracy') | summary(values - strictest[level], 'inflation')
            for level, values in levels.items()
        }
        for protocol, levels in accuracies.items()
    }


def difference(
    first: evaluate.Predictions, second: evaluate.Predictions, bootstrap_samples: int
) -> dict:
    """Compares two predictions of the same rows; resamplings draw the same groups for both.

    Returns:
        {'segment' or 'song': {'difference', 'difference_ci95'}, 'mcnemar': {'only_first', 'only_second',
        'p'}}: accuracy of the first minus that of the second, how many songs only one of them has right, and
        how probable it is that these fall to one of them as unevenly by chance (exact test, McNemar 1947; it
        takes songs to be independent, which those of a group are not).
    """
    import scipy.stats

    both, groups = tested({'first': [first], 'second': [second]})
    figures = compare(both, groups, bootstrap_samples)['first']
    only_first = int((both['first'].right > both['second'].right).sum())
    only_second = int((both['first'].right < both['second'].right).sum())
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


def shown(share: float, ci95: Sequence[float], sign: str = '') -> str:
    """Returns a share and its interval in percent, '82.3 [79.0, 86.1]'; sign '+' for differences."""
    low, high = (100 * end for end in ci95)
    return f'{100 * share:{sign}5.1f} [{low:{sign}.1f}, {high:{sign}.1f}]'
