"""How many windows each song gives to an epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def window_counts(
    labels: np.ndarray,
    names: Sequence[str],
    each: int,
    *,
    balance: str,
    copies: Mapping[int, int],
    seed: int,
) -> np.ndarray:
    """Counts the windows of one epoch: those of each song, or of each of its rows or segments.

    Args:
        labels: class of each song, row or segment, [n].
        names: song of each; the order in which they are listed decides nothing.
        each: windows of one, unbalanced.
        balance: 'none', or 'class': a class gets as many windows as the one with the most. They are
            spread evenly; what one has more than another, 1 at most, is drawn.
        copies: how many times more windows a class has on top of that, by its number.
        seed: of that draw.

    Returns:
        int64 [n].
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
