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
