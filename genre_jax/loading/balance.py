"""How many windows each song gives to an epoch."""

from collections.abc import Mapping, Sequence

import numpy as np


def window_counts(
    labels: np.ndarray, names: Sequence[str], each: int, *, balance: str, copies: Mapping[int, int], seed: int
) -> np.ndarray:
    """Counts the windows of one epoch, int64 [n]: those of each song, or of each of its rows or segments.

    They have `labels` [n] and the `names` of their songs, whose order decides nothing, and `each` so many
    windows. With balance 'class' every class gets as many as the one with the most, spread evenly; what one
    song has more than another, 1 at most, is drawn with the seed. `copies` are how many times more a class,
    by its number, has on top of that.
    """
    counts = np.full(len(labels), each)
    if balance == 'class':
        most = each * np.bincount(labels).max(initial=0)
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            own = own[np.argsort([names[i] for i in own], kind='stable')]
            counts[own], rest = divmod(most, len(own))
            counts[np.random.default_rng([seed, label]).permutation(own)[:rest]] += 1
    return counts * np.array([1 + copies.get(int(label), 0) for label in labels], np.int64)
