"""What a model says of one recording: window by window, over time, and as a whole."""

import dataclasses
from typing import NamedTuple

import numpy as np


class Stretch(NamedTuple):
    """A class over a stretch of time, with the mean probability of its windows."""

    start_s: float
    end_s: float
    label: str
    probability: float


@dataclasses.dataclass(frozen=True, eq=False)
class Song:
    """A labelled recording; the windows are in order of time, and may overlap."""

    track: str  # path, '' of samples
    duration_s: float
    labels: tuple[str, ...]  # names of the C classes
    start_s: np.ndarray  # of the windows, float64 [n]
    end_s: np.ndarray
    probabilities: np.ndarray  # of the windows, float64 [n, C]

    @property
    def probability(self) -> np.ndarray:
        """Returns the mean over all windows, float64 [C]."""
        return self.probabilities.mean(0)

    @property
    def label(self) -> str:
        """Returns the most probable class."""
        return self.labels[self.probability.argmax()]

    @property
    def agreement(self) -> float:
        """Returns the share of the windows whose most probable class is the song's."""
        return float((self.probabilities.argmax(1) == self.probability.argmax()).mean())

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Returns the k most probable classes and their probabilities."""
        probability = self.probability
        order = np.argsort(-probability, kind='stable')[:k]
        return [(self.labels[i], float(probability[i])) for i in order]

    def timeline(self, merge: bool = True, top: int = 1, threshold: float = 0.0) -> list[Stretch]:
        """Returns the classes over time, by their start, then the most probable first.

        A window answers for the time until the next one begins. Of each at most `top` classes count, those
        that reach `threshold`. With `merge`, neighbouring windows of one class become one stretch.
        """
        ends = np.minimum(self.end_s, np.append(self.start_s[1:], np.inf))
        stretches, open_at = [], {}  # [class, first window, last window]; where each class goes on
        for i, probabilities in enumerate(self.probabilities):
            order = np.argsort(-probabilities, kind='stable')[:top]
            before, open_at = open_at, {}
            for c in order[probabilities[order] >= threshold]:
                at = before.get(c)
                if merge and at is not None and ends[i - 1] == self.start_s[i]:
                    stretches[at][2] = i
                else:
                    at = len(stretches)
                    stretches.append([c, i, i])
                open_at[c] = at
        return [
            Stretch(
                float(self.start_s[first]),
                float(ends[last]),
                self.labels[c],
                float(self.probabilities[first : last + 1, c].mean()),
            )
            for c, first, last in stretches
        ]
