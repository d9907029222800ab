"""Splits: which songs train, which choose the checkpoint, which are the test.

A split never lets a group (artist, tune, recording) stand in two parts.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np

from genre_jax.errors import UserError

PARTS = ('train', 'val', 'test')


@dataclasses.dataclass(frozen=True)
class Split:
    """A protocol and the songs of each part.

    Attributes:
        protocol: name of the protocol ('grouped'); stands beside every number.
        detail: the protocol in words.
        tracks: positions in the dataset's list of tracks, ascending, for each part.
    """

    protocol: str
    detail: str
    tracks: dict[str, np.ndarray]

    def fingerprint(self, names: Sequence[str]) -> str:
        """Returns a digest of which track stands in which part; `names` are all tracks' names."""
        parts = {part: [names[i] for i in rows] for part, rows in self.tracks.items()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make_split(
    config: ml_collections.ConfigDict, tracks: Sequence[dict], labels: Sequence[str], group_key: str
) -> Split:
    """Makes the split that config.split asks for.

    Args:
        config: the section config.split.
        tracks: the manifest's tracks, each with 'track', 'label', 'group' and 'split'.
        labels: all class names.
        group_key: what the groups are, for the words.

    Raises:
        UserError: a class that cannot stand in every part, or an official split that leaks.
    """
    if len(labels) < 2:
        raise UserError(
            f'all {len(tracks)} usable recordings have one label ({labels[0]!r}): a classifier needs '
            'at least 2 classes'
        )
    if config.protocol == 'official':
        split = _official(config, tracks)
    else:
        shares = '/'.join(f'{100 * share:g}' for share in config.fractions)
        wanted = dict(zip(PARTS, config.fractions, strict=True))
        assignment = assign_groups(tracks, wanted, config.seed)
        split = Split(
            'grouped',
            f'at random by group ({group_key}), stratified by class, {shares} % of the songs, '
            f'seed {config.seed}',
            _rows(assignment),
        )
    _refuse_crossing(split, tracks)
    _refuse_missing(split, tracks, labels)
    return split


def _rows(parts: Sequence[str]) -> dict[str, np.ndarray]:
    parts = np.asarray(parts)
    return {part: np.flatnonzero(parts == part) for part in PARTS}


def assign_groups(tracks: Sequence[dict], shares: Mapping[str, float], seed: int) -> list[str]:
    """Assigns whole groups to parts so that every class comes close to the wanted shares.

    The largest groups go first, each to a part drawn from those that have room for it, by how much
    they lack; so large groups do not all train. Where it fits nowhere it goes where most is lacking.
    Every class gets a group in every part while it has groups to give. Deterministic for a seed.

    Args:
        tracks: dicts with 'label' and 'group'.
        shares: wanted share of the songs of each part; they sum to 1.
        seed: of the order of groups of one size, and of the draw.

    Returns:
        The part of every track.

    Raises:
        UserError: a class with fewer groups than there are parts.
    """
    members = collections.defaultdict(list)
    for position, track in enumerate(tracks):
        members[track['group']].append(position)
    groups_of_label = collections.defaultdict(set)
    for track in tracks:
        groups_of_label[track['label']].add(track['group'])
    for label, groups in sorted(groups_of_label.items()):
        if len(groups) < len(shares):
            songs = sum(track['label'] == label for track in tracks)
            raise UserError(
                f'class {label!r} has {songs} songs in {len(groups)} groups, too few for '
                f'{", ".join(shares)}: it needs at least {len(shares)} groups; add recordings, drop the '
                'class, or group by something smaller (config.data.group=recording)'
            )
    total = collections.Counter(track['label'] for track in tracks)
    lacking = {
        (part, label): share * total[label] for part, share in shares.items() for label in total
    }
    # A class with few groups goes first: later, its three parts could not all be served.
    rng = np.random.default_rng(seed)
    order = rng.permutation(sorted(members))
    scarcity = {
        g: min(len(groups_of_label[tracks[i]['label']]) for i in members[g]) for g in members
    }
    order = sorted(order, key=lambda group: (scarcity[group], -len(members[group])))
    parts: list[str] = [''] * len(tracks)
    waiting = {label: set(shares) for label in total}  # parts in which the class does not stand yet
    remaining = {label: len(groups) for label, groups in groups_of_label.items()}
    for group in order:
        holds = collections.Counter(tracks[i]['label'] for i in members[group])
        # A class that has only as many groups left as parts to fill must fill them now.
        urgent = [
            label for label in holds if waiting[label] and remaining[label] <= len(waiting[label])
        ]
        allowed = set.intersection(*(waiting[label] for label in urgent)) if urgent else set(shares)
        candidates = [part for part in shares if part in (allowed or set(shares))]
        lack = [
            sum(n * lacking[part, label] / total[label] for label, n in holds.items())
            for part in candidates
        ]
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


def _official(config: ml_collections.ConfigDict, tracks: Sequence[dict]) -> Split:
    given = [track['split'] for track in tracks]
    unset = [track['track'] for track in tracks if not track['split']]
    if unset:
        raise UserError(
            f'config.split.protocol=official needs a split for every recording, and {len(unset)} have '
            f'none, such as {unset[0]}: fill the split column, or use config.split.protocol=grouped'
        )
    if 'val' not in given:
        train_share, val_share = config.fractions[:2]
        rest = [i for i, part in enumerate(given) if part == 'train']
        share = val_share / (train_share + val_share)
        inner = assign_groups(
            [tracks[i] for i in rest], {'train': 1 - share, 'val': share}, config.seed
        )
        for i, part in zip(rest, inner, strict=True):
            given[i] = part
        return Split(
            'official',
            f"the dataset's own split; {100 * share:g} % of its training part set aside by group for "
            f'validation, seed {config.seed}',
            _rows(given),
        )
    return Split('official', "the dataset's own split", _rows(given))


def _refuse_crossing(split: Split, tracks: Sequence[dict]) -> None:
    part_of_group: dict[str, str] = {}
    for part, rows in split.tracks.items():
        for row in rows:
            group = tracks[row]['group']
            if part_of_group.setdefault(group, part) != part:
                raise UserError(
                    f'the {split.protocol} split leaks: group {group!r} stands in '
                    f'{part_of_group[group]} and in {part}; correct the split or the groups'
                )


def _refuse_missing(split: Split, tracks: Sequence[dict], labels: Sequence[str]) -> None:
    for part, rows in split.tracks.items():
        missing = sorted(set(labels) - {tracks[row]['label'] for row in rows})
        if missing:
            raise UserError(
                f'class {missing[0]!r} has no song in the {part} part of the {split.protocol} split: '
                'add recordings, or drop the class'
            )
