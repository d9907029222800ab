"""How far confidence can be relied on: temperatures, calibration, and when to say 'none of these'."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from genre_jax.errors import UserError
from genre_jax.evaluation.evaluate import Arrays
from genre_jax.logbook import read_json, write_json

_TINY = np.finfo(np.float32).tiny
_TEMPERATURES = (0.05, 20.0)
_BINS = 15
_FILE, _SPACE = 'confidence.json', 'space.npz'
RULES, MUSIC = ('probability', 'energy', 'distance'), 'music'
# The share of the validation part that is not turned away.
KEPT = 0.95


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Returns probabilities [n, C] as if the logits had been divided by a temperature, float64."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), _TINY)) / temperature
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray, n_songs: int) -> float:
    """Returns the temperature with the least log loss (Guo et al. 2017), of class ids [n].

    As in Platt (1999) one song in n + 2 counts as of another class: few songs, all right, are no reason to be
    certain.
    """
    n_classes, other = probabilities.shape[1], 1 / (n_songs + 2)
    targets = np.full(probabilities.shape, other / max(1, n_classes - 1))
    targets[np.arange(len(labels)), labels] = 1 - other

    def loss(log_temperature: float) -> float:
        changed = tempered(probabilities, np.exp(log_temperature))
        return -float((targets * np.log(np.maximum(changed, _TINY))).sum(-1).mean())

    import scipy.optimize  # here, as below: who only applies a model need not wait for it

    bounds = tuple(np.log(_TEMPERATURES))
    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=bounds, method='bounded').x))


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """Returns the expected calibration error of the most probable classes, and what it is made of.

    'bins' are those of 15 equal ones of probability that hold items: their number, mean probability and
    accuracy. The error is the mean of the differences between the two, weighted by the numbers.
    """
    chosen, top = probabilities.argmax(-1), probabilities.max(-1)
    at = np.minimum((top * _BINS).astype(int), _BINS - 1)
    bins = [
        {
            'n': int((at == b).sum()),
            'probability': float(top[at == b].mean()),
            'accuracy': float((chosen == labels)[at == b].mean()),
        }
        for b in np.unique(at)
    ]
    error = sum(each['n'] * abs(each['probability'] - each['accuracy']) for each in bins) / len(labels)
    return {'expected_error': error, 'bins': bins}


@dataclasses.dataclass(frozen=True)
class Space(Arrays):
    """Where a network puts noise, and classes: a normal distribution each, of one shape (Lee et al. 2018)."""

    means: np.ndarray  # float32 [C, units]
    whitening: np.ndarray  # float32 [units, units]: differences times it have unit variance
    no_music: np.ndarray  # float32 [n, units]: sounds that are none

    @classmethod
    def fit(cls, embeddings: np.ndarray, labels: np.ndarray, n_classes: int, no_music: np.ndarray) -> Self:
        """Fits embeddings [n, units] of class ids [n], and of sounds that are no music [m, units].

        Classes without any stay at the mean of all.

        Half of the variance is that of all units alike: windows may be fewer than units.
        """
        import scipy.linalg

        embeddings = embeddings.astype(np.float64)
        means = np.array(
            [
                embeddings[labels == c].mean(0) if (labels == c).any() else embeddings.mean(0)
                for c in range(n_classes)
            ]
        )
        rest = embeddings - means[labels]
        covariance = rest.T @ rest / len(rest)
        alike = np.trace(covariance) / len(covariance) or 1.0
        shrunk = 0.5 * covariance + 0.5 * alike * np.eye(len(covariance))
        root = scipy.linalg.cholesky(np.linalg.inv(shrunk), lower=True)
        return cls(means.astype(np.float32), root.astype(np.float32), no_music.astype(np.float32))

    def distance(self, embeddings: np.ndarray) -> np.ndarray:
        """Returns the Mahalanobis distance to the nearest class, float64 [n]."""
        return self._nearest(self.means, embeddings)

    def contrast(self, embeddings: np.ndarray) -> np.ndarray:
        """Returns how much farther the nearest of `no_music` is than the nearest class, float64 [n]."""
        return self._nearest(self.no_music, embeddings) - self.distance(embeddings)

    def _nearest(self, places: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        points, places = embeddings @ self.whitening, places @ self.whitening
        squares = np.full(len(points), np.inf)
        for place in places:  # one by one: all differences at once are much memory
            squares = np.minimum(squares, ((points - place) ** 2).sum(-1, dtype=np.float64))
        return np.sqrt(squares)


def sureness(
    probabilities: np.ndarray, energy: np.ndarray, space: Space, embeddings: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns how sure a network is of windows by each of `RULES`, and by `MUSIC`: larger is surer, [n] each.

    `energy` is ln of the summed exponentials of the logits (Liu et al. 2020).
    """
    return {
        'probability': probabilities.max(-1),
        'energy': energy,
        'distance': -space.distance(embeddings),
        MUSIC: space.contrast(embeddings),
    }


def scales(sure: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Returns of each sureness what 95 % of windows reach, and its deviation, for `lesser`."""
    return {key: [float(np.quantile(each, 1 - KEPT)), float(each.std()) or 1.0] for key, each in sure.items()}


def lesser(sure: Mapping[str, np.ndarray], scales: Mapping[str, Sequence[float]], rule: str) -> np.ndarray:
    """Returns the least of how sure a rule is, how near a class lies, and how much nearer than noise, [n].

    Each in deviations above what 95 % of the validation reach. Noise may lie near a class, but lies nearer to
    noise; what is neither lies far from both, however sure a network is of it.
    """
    used = dict.fromkeys((rule, 'distance', MUSIC))
    return np.min([(sure[key] - scales[key][0]) / scales[key][1] for key in used], axis=0)


def separation(above: np.ndarray, below: np.ndarray) -> float | None:
    """Returns how often an item of the first kind exceeds one of the second: the area under a ROC curve."""
    import scipy.stats

    if not (len(above) and len(below)):
        return None
    ranks = scipy.stats.rankdata(np.concatenate([above, below]))[: len(above)]
    return float((ranks.sum() - len(above) * (len(above) + 1) / 2) / (len(above) * len(below)))


def of_songs(windows: np.ndarray, song: np.ndarray) -> np.ndarray:
    """Returns the mean over each song's windows, [songs], of values and song numbers, [n] each."""
    return np.bincount(song, windows) / np.bincount(song)


def choose_rule(
    known: Mapping[str, np.ndarray], right: np.ndarray, strange: Mapping[str, np.ndarray]
) -> dict:
    """Chooses the rule that tells best, on validation, what to turn away.

    `known` and `strange` are how sure each rule is of songs of the validation part, of which `right` [songs]
    tells which were named rightly, and of sounds that are no music. A rule's merit is the mean of how well it
    separates right songs from wrong ones, and songs from those sounds; returns 'rule', and 'separation' by
    rule, None where there is nothing to separate.
    """
    found = {
        rule: {'wrong': separation(sure[right], sure[~right]), 'no_music': separation(sure, strange[rule])}
        for rule, sure in known.items()
    }

    def merit(rule: str) -> float:
        there = [each for each in found[rule].values() if each is not None]
        return sum(there) / len(there) if there else 0.0

    return {'rule': max(found, key=merit), 'separation': found}


def save(found: Mapping, space: Space | None, folder: pathlib.Path) -> None:
    """Writes what was found out beside a model."""
    write_json(folder / _FILE, found)
    if space is not None:
        space.save(folder / _SPACE)


def load(folder: pathlib.Path) -> tuple[dict, Space | None] | None:
    """Reads what `save` wrote, None where there is nothing; a UserError where it is damaged."""
    if not (folder / _FILE).exists():
        return None
    remedy = f'restore it; or, where another version wrote it too, delete {folder / _FILE}: uncalibrated then'
    found = read_json(folder / _FILE, remedy)
    space = Space.read(folder / _SPACE, remedy) if found.get('reject') else None
    try:
        used = [found[level]['temperature'] for level in ('segment', 'song')]
        if found['reject']:
            used += [found['reject']['least'][kind] for kind in ('song', 'window')]
            used += [x for key in (*RULES, MUSIC) for x in found['reject']['scales'][key]]
        sound = all(isinstance(number, float) for number in used) and min(used[:2]) > 0
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise UserError(f'{folder / _FILE} is damaged: {remedy}')
    return found, space
