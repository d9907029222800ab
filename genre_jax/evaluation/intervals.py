"""95 % intervals of figures whose items come in groups: the songs of an artist, the segments of a song.

Items of one group resemble each other, so n of them tell as much as n / (design effect) independent ones
(Kish 1965). The correlation inside groups is estimated from the groups themselves; where too few of them
hold an error to show it, it is taken to be 1, so that one group counts as one item. The uncertainty of that
estimate is in the quantile: Student's t with Satterthwaite's degrees of freedom. Shares get Wilson's interval
(1927) with Brown, Cai and DasGupta's ends (2001), so 100 % right is not [100, 100]. How often such intervals
hold the truth: `python -m benchmarks.coverage`, table in docs/protocols.md.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Interval = list[float]

# Groups that must hold an error, or a hit, for their correlation to count as much as the prior one; chosen,
# with the power below, by simulation (benchmarks/coverage.py).
_SHOWN = 2.5
# Groups whose errors fall apart more evenly than by chance do so by chance.
_LEAST_DESIGN_EFFECT = 0.8


class Size(NamedTuple):
    """How much grouped items tell."""

    n: float  # independent items that tell as much
    t: float  # quantile that takes the place of the normal distribution's 1.96


def number(groups: Sequence[str]) -> np.ndarray:
    """Returns the groups of items as numbers from 0, int [n]."""
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def effective_size(
    deviations: np.ndarray, variance: float, group: np.ndarray, weights: np.ndarray | None = None
) -> Size:
    """Returns how much items tell of their mean.

    `deviations` [n] are those of the items from the mean, `variance` is theirs, `group` [n] counts from 0.
    """
    import scipy.stats

    weights = np.ones(len(group)) if weights is None else weights
    weight, own = np.bincount(group, weights), np.bincount(group, weights**2)
    pairs, total = weight**2 - own, weight.sum()
    ratio = pairs.sum() / own.sum()
    if not ratio:  # every item is a group
        return Size(total**2 / own.sum(), scipy.stats.norm.ppf(0.975))
    if len(weight) == 1:
        return Size(1.0, scipy.stats.t.ppf(0.975, 1))
    sums = np.bincount(group, weights * deviations)
    excess = sums**2 / (1 - weight / total) - variance * own
    correlation = (excess / weight).sum() / (variance * (pairs / weight).sum())
    below = np.bincount(group, deviations < 0, len(weight)) > 0
    above = np.bincount(group, deviations > 0, len(weight)) > 0
    # Of groups of unequal size a few tell nearly all.
    evenness = total**2 / (weight**2).sum() / len(weight)
    shown = min(below.sum(), above.sum()) * np.sqrt(evenness)
    prior = 1 / (1 + (shown / _SHOWN) ** 4)
    correlation = prior + (1 - prior) * min(correlation, 1.0)
    effect = max(1 + correlation * ratio, _LEAST_DESIGN_EFFECT)
    expected = (own + max(correlation, 0.0) * pairs) / weight
    error = 2 * (expected**2).sum() / (pairs / weight).sum() ** 2  # variance of the correlation
    freedom = max(2 * effect**2 / (ratio**2 * error) - 1, 1.0)
    # Satterthwaite's number is too careful for groups of unequal size.
    freedom = max(freedom, len(weight) - 1)
    return Size(total**2 / own.sum() / effect, scipy.stats.t.ppf(0.975, freedom))


def share(right: np.ndarray, group: np.ndarray) -> tuple[Interval, Size]:
    """Returns the interval of the share of right items, bool [n], and how much they tell."""
    mean = right.mean()
    smoothed = (right.sum() + 0.5) / (len(right) + 1)  # no variance is 0
    size = effective_size(right - mean, smoothed * (1 - smoothed), group)
    return wilson(mean, size), size


def wilson(mean: float, size: Size) -> Interval:
    """Returns Wilson's interval of a share."""
    import scipy.stats

    square = size.t**2 / size.n
    half = size.t * np.sqrt(mean * (1 - mean) / size.n + square / (4 * size.n))
    low, high = (mean + square / 2 - half) / (1 + square), (mean + square / 2 + half) / (1 + square)
    # Of fewer than four errors, or hits, Poisson's ends: Wilson's are too narrow there.
    errors, hits = size.n * (1 - mean), size.n * mean
    if 0 < errors < 4:
        high = max(high, 1 - scipy.stats.gamma.ppf(0.05, errors) / size.n)
    if 0 < hits < 4:
        low = min(low, scipy.stats.gamma.ppf(0.05, hits) / size.n)
    # To the last bit, too.
    return [float(max(low, 0.0)) if mean else 0.0, float(min(high, 1.0)) if mean < 1 else 1.0]


def mean(values: np.ndarray, group: np.ndarray) -> Interval:
    """Returns the interval of the mean of positive values [n], such as log losses, on a log scale."""
    centre, variance = values.mean(), values.var()
    if not variance:
        return [float(centre)] * 2
    size = effective_size(values - centre, variance, group)
    factor = np.exp(size.t * np.sqrt(variance / size.n) / centre)
    return [float(centre / factor), float(centre * factor)]


def difference(values: np.ndarray, group: np.ndarray, weights: np.ndarray) -> Interval:
    """Returns the interval of the mean of differences [n] from -1 to 1, by Bonett and Price (2012).

    Two items on which the sides differ, one each way, are added: no difference seen is no proof of none.
    """
    total = weights.sum()
    centre, square = (weights * values).sum() / total, (weights * values**2).sum() / total
    n = total**2 / (weights**2).sum()
    variance = (n * square + 2) / (n + 2) - (n * centre / (n + 2)) ** 2
    size = effective_size(values - centre, variance, group, weights)
    square = (size.n * square + 2) / (size.n + 2)
    centre = size.n * centre / (size.n + 2)
    half = size.t * np.sqrt((square - centre**2) / (size.n + 2))
    return [float(max(centre - half, -1.0)), float(min(centre + half, 1.0))]


def macro_f1(
    labels: np.ndarray, predicted: np.ndarray, n_classes: int, group: np.ndarray, accuracy: Size
) -> Interval:
    """Returns the interval of the mean F1 over the classes that occur.

    Its error is the jackknife's that leaves out one group at a time (Quenouille 1956, Tukey 1958), with the
    bias that it shows, and no smaller than that of a share of as many items as tell of the accuracy.
    """
    n_groups = group.max() + 1
    hits, named = np.zeros((2, n_groups, n_classes))
    np.add.at(hits, (group, labels), labels == predicted)
    np.add.at(named, (group, labels), 1)
    np.add.at(named, (group, predicted), 1)
    value = mean_f1(hits.sum(0), named.sum(0))
    n = accuracy.n
    if n_groups > 1:
        without = mean_f1(hits.sum(0) - hits, named.sum(0) - named)
        error = (n_groups - 1) / n_groups * ((without - without.mean()) ** 2).sum()
        error += ((n_groups - 1) * (without.mean() - value)) ** 2
        smoothed = (value * len(labels) + 0.5) / (len(labels) + 1)
        n = min(n, max(smoothed * (1 - smoothed) / error, 1.0)) if error else n
    return wilson(float(value), Size(n, accuracy.t))


def mean_f1(hits: np.ndarray, named: np.ndarray) -> np.ndarray:
    """Returns the mean F1 over the classes that occur: true positives, and true and named items, [..., C]."""
    f1 = 2 * hits / np.maximum(named, 1)
    return f1.sum(-1) / np.maximum((named > 0).sum(-1), 1)
