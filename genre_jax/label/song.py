"""What a model says of one recording: window by window, over time, and as a whole."""

import dataclasses
from typing import NamedTuple

import numpy as np

from genre_jax.evaluation.tonic import estimate, near

NONE = 'none of these'


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
    probability: np.ndarray  # of the recording, float64 [C]
    known: bool = True  # whether the model is as sure as of what it was trained for
    known_windows: np.ndarray | None = None  # the same of each window, bool [n]; None: all
    # Probabilities of S pitch classes of the tonic, from 55 Hz upwards [S]; None of a model that names none.
    tonic: np.ndarray | None = None

    @property
    def label(self) -> str:
        """Returns the most probable class."""
        return self.labels[self.probability.argmax()]

    def decision(self, reject: bool) -> str:
        """Returns the most probable class, or with `reject` NONE for a recording that is not known."""
        return NONE if reject and not self.known else self.label

    @property
    def tonic_hz(self) -> float | None:
        """Returns the likeliest tonic, in the octave from 55 Hz."""
        return None if self.tonic is None else float(estimate(self.tonic[None])[0])

    @property
    def tonic_probability(self) -> float | None:
        """Returns how likely it is that the tonic lies so close, within 25 cents."""
        if self.tonic is None:
            return None
        return float(self.tonic[near(len(self.tonic), self.tonic_hz)].sum())

    @property
    def agreement(self) -> float:
        """Returns the share of the windows whose most probable class is the song's."""
        return float((self.probabilities.argmax(1) == self.probability.argmax()).mean())

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Returns the k most probable classes and their probabilities."""
        probability = self.probability
        order = np.argsort(-probability, kind='stable')[:k]
        return [(self.labels[i], float(probability[i])) for i in order]

    def timeline(
        self, merge: bool = True, top: int = 1, threshold: float = 0.0, reject: bool = False
    ) -> list[Stretch]:
        """Returns the classes over time, by their start, then the most probable first.

        A window answers for the time until the next one begins. Of each at most `top` classes count, those
        that reach `threshold`. With `merge`, neighbouring windows of one class become one stretch. With
        `reject`, windows that are not known are of the class NONE, with the probability of their best one.
        """
        best = self.probabilities.max(1)
        ends = np.minimum(self.end_s, np.append(self.start_s[1:], np.inf))
        stretches, open_at = [], {}  # [class, first window, last window]; where each class goes on
        for i, probabilities in enumerate(self.probabilities):
            order = np.argsort(-probabilities, kind='stable')[:top]
            classes = order[probabilities[order] >= threshold]
            if reject and self.known_windows is not None and not self.known_windows[i]:
                classes = [-1]
            before, open_at = open_at, {}
            for c in classes:
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
                NONE if c < 0 else self.labels[c],
                float((best if c < 0 else self.probabilities[:, c])[first : last + 1].mean()),
            )
            for c, first, last in stretches
        ]
