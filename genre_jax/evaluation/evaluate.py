"""From segment probabilities to song-level figures with intervals.

Everything here works on a predictions table, whoever made it: one row a segment.
"""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Self

import numpy as np

from genre_jax.config.keys import KINDS as KINDS
from genre_jax.errors import UserError
from genre_jax.evaluation import intervals


class Arrays:
    """A dataclass of arrays that is written to an npz and read from it."""

    def save(self, file: pathlib.Path) -> None:
        """Writes an npz with one array per attribute that is known."""
        arrays = {name: array for name, array in vars(self).items() if array is not None}
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix('.tmp')
        with temporary.open('wb') as stream:
            np.savez_compressed(stream, **arrays)
        os.replace(temporary, file)

    @classmethod
    def load(cls, file: pathlib.Path) -> Self:
        """Reads what `save` wrote."""
        with file.open('rb') as stream, np.load(stream) as arrays:
            fields = dataclasses.fields(cls)
            known = [f.name for f in fields if f.name in arrays or f.default is dataclasses.MISSING]
            return cls(**{name: arrays[name] for name in known})

    @classmethod
    def read(cls, file: pathlib.Path, remedy: str) -> Self:
        """Loads a file; a UserError with the remedy where it is missing or damaged."""
        try:
            return cls.load(file)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            wrong = 'damaged' if file.exists() else 'missing'
            raise UserError(f'{file} is {wrong}: {remedy}') from None


# What a model says of segments, among the columns of `Predictions`.
SAID = ('probabilities', 'tonic', 'given')


@dataclasses.dataclass(frozen=True)
class Predictions(Arrays):
    """Predictions for the segments of one part of a split."""

    track: np.ndarray  # name of the song, str [n]
    start_s: np.ndarray  # where the segment starts in it, float32 [n]
    label: np.ndarray  # class id, int32 [n]
    probabilities: np.ndarray  # float32 [n, C], rows sum to 1
    classes: np.ndarray  # names, str [C]
    group: np.ndarray | None = None  # name of the song's, str [n], where it is known: for the intervals
    # Of a model that names the tonic.
    tonic_hz: np.ndarray | None = None  # the true one, 0 where unknown, float32 [n]
    tonic: np.ndarray | None = None  # probabilities of S pitch classes from 55 Hz upwards, float32 [n, S]
    given: np.ndarray | None = None  # `probabilities` where the tonic is known, float32 [n, C]

    def take(self, rows: np.ndarray) -> Self:
        """Returns some of the segments, by their places, in that order."""
        columns = {name: array for name, array in vars(self).items() if array is not None}
        del columns['classes']
        return dataclasses.replace(self, **{name: array[rows] for name, array in columns.items()})


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Puts predictions for the same classes one after another, such as those of several folds.

    Columns that one of them lacks are left out. What they say may be that of several models, [..., n, C].
    """
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts], -2 if name in SAID else 0)
        for name in vars(parts[0])
        if name != 'classes' and all(getattr(part, name) is not None for part in parts)
    }
    return Predictions(**columns, classes=parts[0].classes)


@dataclasses.dataclass(frozen=True)
class Songs:
    """Segments pooled to songs, in order of first appearance."""

    track: np.ndarray  # names, str [S]
    label: np.ndarray  # class ids, int32 [S]
    probability: np.ndarray  # the segments' summed, divided by their sum, float64 [S, C]
    votes: np.ndarray  # how many of its segments chose each class, int [S, C]

    def max_probability(self) -> np.ndarray:
        """Returns the class with the largest summed probability of each song."""
        return self.probability.argmax(-1)

    def majority(self) -> np.ndarray:
        """Returns the class with the most votes of each song; the probabilities break ties."""
        return (self.votes + self.probability / 2).argmax(-1)


def pool_songs(predictions: Predictions) -> Songs:
    """Pools segments, in any order, to songs by summed probability and by votes (Schindler, Herbert)."""
    first, song = number_songs(predictions.track)
    shape = (len(first), predictions.probabilities.shape[1])
    summed, votes = np.zeros(shape), np.zeros(shape, np.int64)
    np.add.at(summed, song, predictions.probabilities.astype(np.float64))
    np.add.at(votes, (song, predictions.probabilities.argmax(-1)), 1)
    share = summed / summed.sum(-1, keepdims=True)
    return Songs(predictions.track[first], predictions.label[first], share, votes)


def number_songs(track: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each song's first segment, in order of first appearance, and each segment's song [n]."""
    _, first, song = np.unique(track, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[song]


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns -ln of the probability of the true class, float64 [n], of probabilities [n, C]."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    # float32 softmax underflows to 0 at about e^-103; there the loss is large, not infinite.
    return -np.log(np.maximum(chosen, np.finfo(np.float32).tiny))


def roc_curves(
    labels: np.ndarray, probabilities: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, float] | None]:
    """Returns the receiver operating characteristic of each class against all others.

    Of class ids [n] and probabilities [n, C]: for each class the false and the true positive rates at all
    thresholds, and the area under them, the chance that an item of the class has a larger probability than
    one of another class. None for a class that all items have, or none.
    """
    curves = []
    for i in range(probabilities.shape[1]):
        positive = labels == i
        if positive.all() or not positive.any():
            curves.append(None)
            continue
        order = np.argsort(-probabilities[:, i], kind='stable')
        ranked = probabilities[order, i]
        # Items of equal probability are on one side of every threshold.
        last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
        true = np.append(0, np.cumsum(positive[order])[last])
        false = np.append(0, last + 1) - true
        true, false = true / true[-1], false / false[-1]
        curves.append((false, true, float(np.trapezoid(true, false))))
    return curves


def score(
    labels: np.ndarray,
    predicted: np.ndarray,
    groups: Sequence[str],
    classes: Sequence[str],
    losses: np.ndarray | None = None,
    with_intervals: bool = True,
) -> dict:
    """Computes accuracy, macro F1, log loss, the confusion matrix and per-class figures.

    `labels` and `predicted` are class ids [n], `groups` the items' [n]: the 95 % intervals take those of one
    group to be alike. `losses` are the items' log losses [n], where there are some. Returns what result.json
    holds for each kind of prediction.
    """
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    hits, true, named = np.diagonal(confusion), confusion.sum(1), confusion.sum(0)
    per_class = {
        'precision': hits / np.maximum(named, 1),
        'recall': hits / np.maximum(true, 1),
        'f1': 2 * hits / np.maximum(true + named, 1),
        'support': true,
    }
    right = labels == predicted
    result = {
        'n': len(labels),
        'accuracy': float(right.mean()),
        'macro_f1': float(intervals.mean_f1(hits, true + named)),
        'log_loss': None if losses is None else float(losses.mean()),
        'confusion': confusion.tolist(),
        'per_class': {
            name: {figure: values[i].item() for figure, values in per_class.items()}
            for i, name in enumerate(classes)
        },
    }
    if with_intervals:
        group = intervals.number(groups)
        of_accuracy, size = intervals.share(right, group)
        result |= {
            'accuracy_ci95': of_accuracy,
            'macro_f1_ci95': intervals.macro_f1(labels, predicted, len(classes), group, size),
            'log_loss_ci95': None if losses is None else intervals.mean(losses, group),
        }
    return result


def evaluate(
    predictions: Predictions, group_of_track: dict[str, str], with_intervals: bool = True
) -> dict[str, dict]:
    """Scores one part, by segment and by song in two ways: {kind: figures} for the three KINDS."""
    songs = pool_songs(predictions)
    classes = predictions.classes.tolist()

    def figures(part, predicted, probabilities=None):
        losses = None if probabilities is None else log_losses(part.label, probabilities)
        groups = [group_of_track[track] for track in part.track]
        return score(part.label, predicted, groups, classes, losses, with_intervals)

    chosen = predictions.probabilities.argmax(-1)
    return {
        'segment': figures(predictions, chosen, predictions.probabilities),
        'song_max_probability': figures(songs, songs.max_probability(), songs.probability),
        'song_majority': figures(songs, songs.majority()),
    }


def majority_class(train_labels: np.ndarray, predictions: Predictions, group_of_track: dict) -> dict:
    """Scores naming always the commonest class of training songs: {'class', 'accuracy', 'accuracy_ci95'}."""
    songs = pool_songs(predictions)
    classes = predictions.classes.tolist()
    winner = int(np.bincount(train_labels, minlength=len(classes)).argmax())
    groups = [group_of_track[track] for track in songs.track]
    constant = np.full_like(songs.label, winner)
    figures = score(songs.label, constant, groups, classes)
    return {'class': classes[winner]} | {key: figures[key] for key in ('accuracy', 'accuracy_ci95')}
