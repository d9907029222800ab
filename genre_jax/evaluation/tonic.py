"""Figures of models that name the tonic with the class: how often which of them is right.

A tonic is a pitch class, whatever the octave, and right within 25 cents, as in the papers on makams.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from genre_jax.evaluation import evaluate, intervals

TOLERANCE_CENTS = 25.0
_NEAR_CENTS = 50.0  # what the vote of a song in another key is worth falls with
# Of the likeliest tonics: how many are named, and what the second one has to have.
_NAMED, _LEAST = 3, 0.05


def by_pitch_class(joint: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Sorts candidates: [n, S, C], one for each of S pitch classes of an octave, from 55 Hz upwards.

    `height` [n, S] are those of the candidates, in octaves above 1 Hz.
    """
    count = joint.shape[1]
    place = np.rint((height - np.log2(55)) * count).astype(np.int64) % count
    ordered = np.empty_like(joint)
    np.put_along_axis(ordered, place[..., None], joint, axis=1)
    return ordered


def given(ordered: np.ndarray, tonic_hz: np.ndarray) -> np.ndarray:
    """Returns probabilities of the classes where the tonic is known, [n, C], of `by_pitch_class`'s result.

    Between the two candidates next to the tonic they are interpolated; with a tonic of 0, unknown, all
    candidates count as they are likely.
    """
    count = ordered.shape[1]
    known = tonic_hz > 0
    place = count * np.log2(np.where(known, tonic_hz, 55) / 55)
    low = np.floor(place).astype(np.int64)
    rows, above = np.arange(len(ordered)), (place - low)[:, None]
    below, beyond = (
        each / np.maximum(each.sum(-1, keepdims=True), np.finfo(np.float32).tiny)
        for each in (ordered[rows, low % count], ordered[rows, (low + 1) % count])
    )
    found = np.where(known[:, None], (1 - above) * below + above * beyond, ordered.sum(1))
    return (found / found.sum(-1, keepdims=True)).astype(np.float32)


def estimate(posterior: np.ndarray) -> np.ndarray:
    """Returns the likeliest tonic, in hertz between 55 and 110, of probabilities of pitch classes [n, S].

    It is the mean of the likeliest class and its two neighbours, as each is likely.
    """
    count = posterior.shape[1]
    best = posterior.argmax(-1)
    rows = np.arange(len(best))
    before, here, after = (posterior[rows, (best + step) % count] for step in (-1, 0, 1))
    place = best + (after - before) / np.maximum(before + here + after, np.finfo(np.float32).tiny)
    return 55 * 2 ** (place % count / count)


def near(count: int, tonic_hz: float) -> np.ndarray:
    """Says which of so many pitch classes lie within the tolerance of a tonic, bool [count]."""
    classes_hz = 55 * 2 ** (np.arange(count) / count)
    return np.abs(away_cents(classes_hz, tonic_hz)) <= TOLERANCE_CENTS


def note(hz: float) -> tuple[str, float]:
    """Returns the note next to a frequency, A at 440 Hz, and how many cents the frequency is above it."""
    semitones = 12 * np.log2(hz / 440)
    nearest = round(semitones)
    name = ('A', 'A#', 'B', 'C', 'C#', 'D', 'D#', 'E', 'F', 'F#', 'G', 'G#')[nearest % 12]
    return name, float(100 * (semitones - nearest))


def likeliest(posterior: np.ndarray) -> list[tuple[float, str, float, float]]:
    """Returns hertz, note, cents above it, and probability of the likeliest tonics, of pitch classes [S].

    Each stands for all within the tolerance of it; those after the first are likelier than 5 %.
    """
    left, found = posterior.astype(np.float64), []
    while len(found) < _NAMED:
        hz = float(estimate(left[None])[0])
        close = near(len(left), hz)
        probability = float(left[close].sum())
        if found and probability < _LEAST:
            break
        found.append((hz, *note(hz), probability))
        left[close] = 0
    return found


def away_cents(found_hz: np.ndarray, true_hz: np.ndarray) -> np.ndarray:
    """Returns by how much a tonic is too high, from -600 to 600 cents, whatever the octave."""
    return (1200 * np.log2(found_hz / true_hz) + 600) % 1200 - 600


def score(predictions: evaluate.Predictions, groups: Mapping[str, str]) -> dict | None:
    """Computes figures by song; `groups` are those of the songs, by name.

    Of songs whose tonic is known: the share of tonics that are found, of tonic and class both right, and of
    classes right where the model is told the tonic; each with its interval. None: none is named or known.
    """
    if predictions.tonic is None:
        return None
    songs = evaluate.pool_songs(predictions)
    first, song = evaluate.number_songs(predictions.track)
    told = evaluate.pool_songs(dataclasses.replace(predictions, probabilities=predictions.given))
    posterior = np.zeros((len(first), predictions.tonic.shape[1]))
    np.add.at(posterior, song, predictions.tonic)
    true_hz = predictions.tonic_hz[first]
    known = true_hz > 0
    if not known.any():
        return None
    group = intervals.number(np.asarray([groups[name] for name in songs.track.tolist()])[known])
    cents = away_cents(estimate(posterior), np.where(known, true_hz, 55))[known]
    within = np.abs(cents) <= TOLERANCE_CENTS
    named = (songs.max_probability() == songs.label)[known]
    shares = {
        'tonic': within,
        'tonic_and_class': within & named,
        'class_tonic_unknown': named,
        'class_tonic_known': (told.max_probability() == told.label)[known],
    }
    found = {
        name: {'accuracy': float(right.mean()), 'accuracy_ci95': intervals.share(right, group)[0]}
        for name, right in shares.items()
    }
    return found | {'n': int(known.sum()), 'median_cents': float(np.median(np.abs(cents)))}


def alone(
    label: np.ndarray, tonic_hz: np.ndarray, group: np.ndarray, train: np.ndarray, test: np.ndarray
) -> dict | None:
    """Scores naming test songs by their tonic and nothing else: how much of the class the key tells.

    Every training song votes for its class, with the weight of a Gaussian of 50 cents about its tonic,
    whatever the octave.

    Args:
        label: classes from 0, of all songs.
        tonic_hz: 0 where unknown.
        group: of the songs, for the interval.
        train: numbers of songs, as `test`.

    Returns:
        'n', 'accuracy', 'accuracy_ci95' and 'commonest', the share of the largest class, of the test songs
        whose tonic is known; None: one of the parts has no such song.
    """
    train, test = (part[tonic_hz[part] > 0] for part in (train, test))
    if not len(train) or not len(test):
        return None
    cents = np.rint(1200 * np.log2(np.where(tonic_hz > 0, tonic_hz, 55) / 55)).astype(np.int64) % 1200
    count = np.zeros((1200, label.max() + 1))
    np.add.at(count, (cents[train], label[train]), 1)
    away = (np.arange(1200)[:, None] - np.arange(1200) + 600) % 1200 - 600
    votes = np.exp(-0.5 * (away / _NEAR_CENTS) ** 2) @ count
    right = votes[cents[test]].argmax(1) == label[test]
    interval = intervals.share(right, intervals.number(group[test]))[0]
    commonest = float(np.bincount(label[test]).max() / len(test))
    figures = {'accuracy': float(right.mean()), 'accuracy_ci95': interval}
    return {'n': len(test), **figures, 'commonest': commonest}
