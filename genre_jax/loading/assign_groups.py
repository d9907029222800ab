"""Whole groups to the parts of a split, so that every class comes close to the wanted shares."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.errors import UserError


def assign_groups(tracks: Sequence[dict], shares: Mapping[str, float], seed: int) -> list[str]:
    """Assigns whole groups to parts so that every class comes close to the wanted shares of the songs.

    The largest groups go first, each to a part drawn from those that have room for it, by how much
    they lack; so large groups do not all train. Where it fits nowhere it goes where most is lacking.
    Every class gets a group in every part while it has groups to give. Deterministic for a seed.

    Returns the part of every track; a class with fewer groups than there are parts is a UserError.
    """
    members, groups_of_label = collections.defaultdict(list), collections.defaultdict(set)
    for position, track in enumerate(tracks):
        members[track['group']].append(position)
        groups_of_label[track['label']].add(track['group'])
    total = collections.Counter(track['label'] for track in tracks)
    few = [
        f'class {label!r} has {total[label]} songs in {len(groups)} groups'
        for label, groups in sorted(groups_of_label.items())
        if len(groups) < len(shares)
    ]
    if few:
        parts, fewer = ', '.join(shares), ''
        if len(shares) > 3:
            parts, fewer = f'{len(shares)} folds', ' have fewer config.split.folds,'
        raise UserError(
            f'{"; ".join(few)}, too few for {parts}: it needs at least {len(shares)} groups; add recordings,'
            f'{fewer} or name the classes to keep in config.data.classes'
        )
    lacking = {(part, label): share * total[label] for part, share in shares.items() for label in total}
    # A class with few groups goes first: later, its three parts could not all be served.
    rng = np.random.default_rng(seed)
    order = rng.permutation(sorted(members))
    scarcity = {g: min(len(groups_of_label[tracks[i]['label']]) for i in members[g]) for g in members}
    order = sorted(order, key=lambda group: (scarcity[group], -len(members[group])))
    parts: list[str] = [''] * len(tracks)
    waiting = {label: set(shares) for label in total}  # parts in which the class does not stand yet
    remaining = {label: len(groups) for label, groups in groups_of_label.items()}
    for group in order:
        holds = collections.Counter(tracks[i]['label'] for i in members[group])
        # A class that has only as many groups left as parts to fill must fill them now.
        urgent = [label for label in holds if waiting[label] and remaining[label] <= len(waiting[label])]
        allowed = set.intersection(*(waiting[label] for label in urgent)) if urgent else set(shares)
        candidates = [part for part in shares if part in (allowed or set(shares))]
        lack = [sum(n * lacking[p, label] / total[label] for label, n in holds.items()) for p in candidates]
        room = [
            max(0.0, amount) * all(lacking[part, label] >= n for label, n in holds.items())
            for part, amount in zip(candidates, lack, strict=True)
        ]
        if sum(room):
            part = rng.choice(candidates, p=np.array(room) / sum(room)).item()
        else:
            part = candidates[int(np.argmax(lack))]
        for label, n in holds.items():
            lacking[part, label] -= n
            waiting[label].discard(part)
            remaining[label] -= 1
        for position in members[group]:
            parts[position] = part
    return parts
