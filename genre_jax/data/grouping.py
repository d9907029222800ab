"""Groups that must become one, because recordings of both are the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def join(names: Sequence[str], same: Iterable[tuple[int, int]]) -> list[str]:
    """Joins the groups of positions that belong together.

    Args:
        names: group of each of n positions.
        same: pairs of positions that must come to share a group.

    Returns:
        The group of each position, named after the first, in order of the alphabet, of those it joins.
    """
    parent = {name: name for name in names}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for i, j in same:
        first, second = sorted((find(names[i]), find(names[j])))
        parent[second] = first
    return [find(name) for name in names]


def alike(keys: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the pairs (first position with a key, further position with it)."""
    first: dict[str, int] = {}
    pairs = ((first.setdefault(key, i), i) for i, key in enumerate(keys))
    return [(i, j) for i, j in pairs if i != j]
