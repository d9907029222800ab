"""Groups that must become one, because recordings of both are the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from genre_jax.data.recordings import Recording


def leaders(count: int, same: Iterable[tuple[int, int]]) -> list[int]:
    """Returns for each position the first that it belongs together with, also by way of others.

    Args:
        count: of the positions.
        same: pairs of positions that belong together.
    """
    from scipy import sparse
    from scipy.sparse import csgraph

    pairs = np.array(list(same), int).reshape(-1, 2)
    graph = sparse.coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(count, count))
    _, component = csgraph.connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component].tolist()


def join(names: Sequence[str], same: Iterable[tuple[int, int]]) -> list[str]:
    """Returns the group of each position, pairs of which must come to share one.

    It is named after the first, in order of the alphabet, of the groups that it joins.
    """
    groups = sorted(set(names))
    number = {name: i for i, name in enumerate(groups)}
    leader = leaders(len(groups), [(number[names[i]], number[names[j]]) for i, j in same])
    return [groups[leader[number[name]]] for name in names]


def regrouped(
    recordings: Sequence[Recording], names: Sequence[str], same: Iterable[tuple[int, int]]
) -> list[Recording]:
    """Returns the recordings in the groups of these names, joined."""
    joined = zip(recordings, join(names, same), strict=True)
    return [dataclasses.replace(recording, group=group) for recording, group in joined]


def alike(keys: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the pairs (first position with a key, further position with it)."""
    first: dict[str, int] = {}
    pairs = ((first.setdefault(key, i), i) for i, key in enumerate(keys))
    return [(i, j) for i, j in pairs if i != j]
