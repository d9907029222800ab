"""Groups that must become one, because recordings of both are the same."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from genre_jax.data.recordings import Recording

_NAMED = 10  # of copies, in notes


def leaders(count: int, same: Iterable[tuple[int, int]]) -> list[int]:
    """Returns for each position the first that it belongs with, by pairs that do, and by chains of pairs."""
    from scipy import sparse
    from scipy.sparse import csgraph

    pairs = np.array(list(same), int).reshape(-1, 2)
    graph = sparse.coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(count, count))
    _, component = csgraph.connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component].tolist()


def join(names: Sequence[str], same: Iterable[tuple[int, int]]) -> list[str]:
    """Returns each position's group: those of pairs become one, named after the alphabetically first."""
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


def copy_notes(
    copies: Sequence[Sequence[str]], labels: Mapping[str, Iterable[str]], what: str, kind: str
) -> list[str]:
    """Says what sets of names are, copies of a kind, and which of them are labelled differently."""
    notes = []
    if copies:
        count = sum(map(len, copies))
        example = ' = '.join(copies[0][:2]) + (', ...' if count > 2 else '')
        notes.append(f'{count} {what} ({example}); copies share a group')
    strange = [names for names in copies if len({label for name in names for label in labels[name]}) > 1]
    for names in strange[:_NAMED]:
        named = ' = '.join(f'{name} ({", ".join(sorted(labels[name]))})' for name in names[:_NAMED])
        more = f', and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
        notes.append(f'{kind} carry different labels: {named}{more}')
    if len(strange) > _NAMED:
        notes.append(f'{kind} carry different labels: {len(strange) - _NAMED} more sets of them')
    return notes


def alike(keys: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the pairs (first position with a key, further position with it)."""
    first: dict[str, int] = {}
    pairs = ((first.setdefault(key, i), i) for i, key in enumerate(keys))
    return [(i, j) for i, j in pairs if i != j]
