"""Results on the same songs, compared: accuracies and their differences, with intervals."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.evaluation import evaluate, intervals


@dataclasses.dataclass(frozen=True)
class Tested:
    """What came out for each song, all folds together, float64 [songs]."""

    hits: np.ndarray  # correct segments
    segments: np.ndarray  # tested segments
    right: np.ndarray  # 1 where the song as a whole is right (summed probability)

    def level(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns what is right of each song, and of how much: of its 'segment's, or of itself, 'song'."""
        if name == 'segment':
            return self.hits, self.segments
        return self.right, np.ones_like(self.right)


def count(parts: Sequence[evaluate.Predictions], tracks: Sequence[str]) -> Tested:
    """Joins the test predictions of all folds; each song is tested in some fold."""
    whole = evaluate.joined(parts)
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


def tested(parts: Mapping[str, Sequence[evaluate.Predictions]]) -> tuple[dict[str, Tested], np.ndarray]:
    """Counts what each model has right of the same songs, all folds: {name: counts}, and songs' groups."""
    first = next(iter(parts.values()))
    track = np.concatenate([part.track for part in first])
    group = np.concatenate([part.track if part.group is None else part.group for part in first])
    tracks, rows = np.unique(track, return_index=True)
    return {name: count(each, tracks.tolist()) for name, each in parts.items()}, group[rows]


def compare(tested: Mapping[str, Tested], groups: Sequence[str]) -> dict:
    """Computes accuracies, and their differences to the strictest protocol, the last, with 95 % intervals.

    Differences are paired, song by song. Returns
    {protocol: {'segment' or 'song': {'accuracy', 'accuracy_ci95', 'inflation', 'inflation_ci95'}}}.
    """
    group = intervals.number(groups)
    *_, strictest = tested.values()
    return {
        protocol: {
            level: accuracy(*each.level(level), group)
            | ahead(each.level(level), strictest.level(level), group)
            for level in ('segment', 'song')
        }
        for protocol, each in tested.items()
    }


def accuracy(right: np.ndarray, of: np.ndarray, group: np.ndarray) -> dict:
    """Returns 'accuracy' and 'accuracy_ci95' of songs, of which so many items are right of so many."""
    both = np.stack([right, of - right], 1).ravel().astype(int)
    each = np.repeat(np.tile([True, False], len(of)), both)
    ci95, _ = intervals.share(each, np.repeat(group, of.astype(int)))
    return {'accuracy': float(each.mean()), 'accuracy_ci95': ci95}


def ahead(first: tuple, second: tuple, group: np.ndarray) -> dict:
    """Returns 'inflation' and 'inflation_ci95': accuracy of the first minus that of the second, by song.

    Each is what is right of each song, and of how many items, [songs]; nothing is above itself.
    """
    (right, of), (other, of_other) = first, second
    inflation = right.sum() / of.sum() - other.sum() / of_other.sum()
    ci95 = [0.0, 0.0]
    if right is not other:
        weights = (of / of.sum() + of_other / of_other.sum()) / 2
        values = (right / of.sum() - other / of_other.sum()) / weights
        ci95 = intervals.difference(values, group, weights)
    return {'inflation': float(inflation), 'inflation_ci95': ci95}


def difference(first: evaluate.Predictions, second: evaluate.Predictions) -> dict:
    """Compares two predictions of the same rows.

    Returns {'segment' or 'song': {'difference', 'difference_ci95'}, 'mcnemar': {'only_first', 'only_second',
    'p'}}: accuracy of the first minus that of the second, how many songs only one of them has right, and how
    probable it is that these fall to one of them as unevenly by chance (exact test, McNemar 1947; it takes
    songs to be independent, which those of a group are not).
    """
    import scipy.stats

    both, groups = tested({'first': [first], 'second': [second]})
    figures = compare(both, groups)['first']
    ahead = both['first'].right - both['second'].right
    only_first, only_second = int((ahead > 0).sum()), int((ahead < 0).sum())
    p = 1.0
    if only_first + only_second:
        p = scipy.stats.binomtest(only_first, only_first + only_second).pvalue
    differences = {
        level: {f'difference{end}': figure[f'inflation{end}'] for end in ('', '_ci95')}
        for level, figure in figures.items()
    }
    mcnemar = {'only_first': only_first, 'only_second': only_second, 'p': float(p)}
    return differences | {'mcnemar': mcnemar}


def shown(share: float, ci95: Sequence[float], sign: str = '') -> str:
    """Returns a share and its interval in percent, '82.3 [79.0, 86.1]'; sign '+' for differences."""
    low, high = (100 * end for end in ci95)
    return f'{100 * share:{sign}5.1f} [{low:{sign}.1f}, {high:{sign}.1f}]'
