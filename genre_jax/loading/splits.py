"""Splits: which songs train, which choose the checkpoint, which are the test.

Protocols (config.split.protocol):

- `grouped`: at random by group, stratified by class, `fractions` of the songs.
- `artist`: `folds` folds by group, stratified; fold `fold` is the test part, and of the others the share
  of `fractions` is set aside for validation.
- `tonic`: `folds` folds by the pitch class of the tonic, arcs of the octave; what lies nearer than
  `tonic_margin_cents` to a test tonic, or is of a group that is tested, takes no part. Validation is set
  aside as in `artist`. With `allow_leak` groups are shared.
- `official`: the split that every recording of the dataset carries.
- `paper`, `fault_filtered`, `stratified`, ...: a list that comes with the dataset (docs/datasets/NAME.md).
  Without a list, `stratified` is at random by song, stratified by class.
- `kfold`: as `artist`, but by song, whatever its group.
- `segment_leaky`: as `kfold`, but by segment, or row of a table, as many papers do: those of one song train
  and test.

A split in which a group (artist, tune, recording) stands in two parts is refused. `remove_crossing` takes its
songs out of train, then out of val; `allow_leak` leaves them in, and every figure is marked LEAKY.

Of the training part only the share `train_share` is used, the same songs whatever the model; validation and
test stay as they are.
"""

import collections
import dataclasses
import hashlib
import json
import types
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np

from genre_jax.errors import UserError
from genre_jax.loading import tonics
from genre_jax.loading.assign_groups import assign_groups

PARTS = ('train', 'val', 'test')


@dataclasses.dataclass(frozen=True)
class Split:
    """A protocol, which stands beside every number, and the songs of each part.

    `tracks` are positions in the dataset's list of tracks, ascending. Where parts are made of segments these
    are first samples (or rows) by position of the track.
    """

    protocol: str
    detail: str
    tracks: dict[str, np.ndarray]
    leaky: bool = False
    segments: dict[str, dict[int, np.ndarray]] | None = None

    def fingerprint(self, names: Sequence[str]) -> str:
        """Returns a digest of what stands in which part; `names` are all tracks' names."""
        parts: dict = {part: [names[i] for i in rows] for part, rows in self.tracks.items()}
        if self.segments is not None:
            parts['segments'] = {
                part: {names[i]: starts.tolist() for i, starts in tracks.items()}
                for part, tracks in self.segments.items()
            }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make_split(
    config: ml_collections.ConfigDict,
    tracks: Sequence[dict],
    labels: Sequence[str],
    group_key: str,
    lists: Mapping[str, Mapping[str, str]] = types.MappingProxyType({}),
    window: int = 1,
) -> Split:
    """Makes the split that config.split, `config`, asks for.

    The manifest's tracks have 'track', 'label', 'group' (what that is says `group_key`), 'split', 'tonic_hz'
    and 'n_samples'; its lists are {protocol: {track: part}}; `labels` are all class names. A segment of
    `segment_leaky` is a window in samples, or rows. UserError: no such protocol, a class that cannot stand in
    every part, or a leak.
    """
    if len(labels) < 2:
        raise UserError(
            f'all {len(tracks)} usable recordings have one label ({labels[0]!r}): a classifier needs '
            'at least 2 classes'
        )
    name = config.protocol
    by_group = name in ('grouped', 'artist')
    by, units = (f'group ({group_key})', tracks) if by_group else ('song', _songs(tracks))
    if name == 'segment_leaky':
        split = _by_segment(config, tracks, window)
    elif name == 'official':
        split = _from_list(config, name, "the dataset's own split", _official_parts(tracks), tracks)
    elif name in lists:
        parts = [lists[name].get(track['track'], '') for track in tracks]
        split = _from_list(config, name, 'a list that comes with the dataset', parts, tracks)
    elif name in ('grouped', 'stratified'):
        parts = assign_groups(units, dict(zip(PARTS, config.fractions, strict=True)), config.seed)
        shares = '/'.join(f'{100 * share:g}' for share in config.fractions)
        detail = f'at random by {by}, stratified by class, {shares} % of the songs'
        split = Split(name, f'{detail}, seed {config.seed}', _rows(parts))
    elif name in ('artist', 'kfold'):
        split = _fold(config, by, units)
    elif name == 'tonic':
        split = _by_tonic(config, tracks)
    else:
        known = {'grouped', 'artist', 'tonic', 'stratified', 'kfold', 'segment_leaky', *lists}
        if any(track['split'] for track in tracks):
            known.add('official')
        raise UserError(
            f'config.split.protocol={name!r}: this dataset has no such list; expected one of '
            f'{", ".join(sorted(known))}'
        )
    split = _without_leak(config, split, tracks)
    if config.train_share < 1:
        split = _thinned(config, split, tracks)
    _refuse_missing(split, tracks, labels)
    return split


def _rows(parts: Sequence[str]) -> dict[str, np.ndarray]:
    parts = np.asarray(parts)
    return {part: np.flatnonzero(parts == part) for part in PARTS}


def _songs(tracks: Sequence[dict]) -> list[dict]:
    """Returns the tracks, each a group of its own."""
    return [{'label': track['label'], 'group': track['track']} for track in tracks]


def _fold(config: ml_collections.ConfigDict, by: str, units: Sequence[dict]) -> Split:
    """Takes one of several folds for testing, and sets validation aside from the others."""
    detail = _fold_in_words(config, by)
    folds = [f'fold {i}' for i in range(config.folds)]
    parts = assign_groups(units, dict.fromkeys(folds, 1 / config.folds), config.seed)
    parts = ['test' if part == folds[config.fold] else 'train' for part in parts]
    _set_aside(config, units, parts)
    return Split(config.protocol, detail, _rows(parts))


def _by_tonic(config: ml_collections.ConfigDict, tracks: Sequence[dict]) -> Split:
    """Takes the tonics of an arc for testing, and sets validation aside from what lies apart from them."""
    detail = _fold_in_words(config, 'tonic', 'in arcs of the octave')
    parts, found = tonics.hold_out(
        tracks, config.folds, config.fold, config.tonic_margin_cents, config.allow_leak
    )
    _set_aside(config, tracks, parts)
    return Split('tonic', f'{detail}; {found}', _rows(parts))


def _fold_in_words(config: ml_collections.ConfigDict, by: str, how: str = 'stratified by class') -> str:
    """Describes a fold; UserError: there is no such fold."""
    if not 0 <= config.fold < config.folds:
        raise UserError(
            f'config.split.fold={config.fold}: expected 0 to {config.folds - 1}, one of '
            f'config.split.folds={config.folds}'
        )
    return (
        f'fold {config.fold} (counted from 0) of {config.folds} by {by}, {how}; '
        f'{100 * _share_aside(config):.3g} % of the others set aside for validation; seed {config.seed}'
    )


def _share_aside(config: ml_collections.ConfigDict) -> float:
    """Returns which share of what is not tested validates."""
    train_share, val_share = config.fractions[:2]
    return val_share / (train_share + val_share)


def _set_aside(config: ml_collections.ConfigDict, units: Sequence[dict], parts: list[str]) -> None:
    """Moves whole groups from train to val, in place."""
    share = _share_aside(config)
    rows = [i for i, part in enumerate(parts) if part == 'train']
    shares = {'train': 1 - share, 'val': share}
    inner = assign_groups([units[i] for i in rows], shares, config.seed)
    for i, part in zip(rows, inner, strict=True):
        parts[i] = part


def _by_segment(config: ml_collections.ConfigDict, tracks: Sequence[dict], window: int) -> Split:
    """Cuts every song into windows side by side, and deals these out, class by class."""
    if not config.allow_leak:
        raise UserError(
            'config.split.protocol=segment_leaky lets segments of one song train and test: set '
            'config.split.allow_leak=True to have it, with every figure marked LEAKY'
        )
    detail = _fold_in_words(config, 'segment, whatever its song')
    share = _share_aside(config)
    by_label = collections.defaultdict(list)
    # By name: the order of the list decides nothing.
    for row, track in sorted(enumerate(tracks), key=lambda item: item[1]['track']):
        count = max(1, track['n_samples'] // window)
        by_label[track['label']] += [(row, i * window) for i in range(count)]
    rng = np.random.default_rng(config.seed)
    segments: dict = {part: collections.defaultdict(list) for part in PARTS}
    for _, pairs in sorted(by_label.items()):
        for position, pair in enumerate(rng.permutation(pairs)):
            row, start = pair.tolist()
            fold = position * config.folds // len(pairs)
            aside = position * share % 1 < share  # evenly spread: the same share of every fold
            part = 'test' if fold == config.fold else 'val' if aside else 'train'
            segments[part][row].append(start)
    return Split(
        'segment_leaky',
        detail,
        {part: np.array(sorted(own), np.int64) for part, own in segments.items()},
        leaky=True,
        segments={
            part: {row: np.array(sorted(own[row])) for row in sorted(own)} for part, own in segments.items()
        },
    )


def _official_parts(tracks: Sequence[dict]) -> list[str]:
    if unset := [track['track'] for track in tracks if not track['split']]:
        raise UserError(
            f'config.split.protocol=official needs a split for every recording, and {len(unset)} have '
            f'none, such as {unset[0]}: fill the split column, or use config.split.protocol=grouped'
        )
    return [track['split'] for track in tracks]


def _from_list(
    config: ml_collections.ConfigDict, name: str, detail: str, parts: list[str], tracks: Sequence[dict]
) -> Split:
    if left_out := sum(not part for part in parts):
        detail += f', which leaves out {left_out} of {len(parts)} songs'
    if 'val' not in parts:
        _set_aside(config, tracks, parts)
        detail += (
            f'; {100 * _share_aside(config):.3g} % of its training part set aside by group for validation, '
            f'seed {config.seed}'
        )
    return Split(name, detail, _rows(parts))


def _without_leak(config: ml_collections.ConfigDict, split: Split, tracks: Sequence[dict]) -> Split:
    """Refuses a split in which groups cross, or removes them, or marks it."""
    parts_of_group = collections.defaultdict(dict)
    for part in PARTS:
        for row in split.tracks[part]:
            parts_of_group[tracks[row]['group']].setdefault(part, tracks[row]['track'])
    crossing = {group: parts for group, parts in parts_of_group.items() if len(parts) > 1}
    if not crossing or split.segments is not None:
        return split
    group, parts = next(iter(crossing.items()))
    if config.remove_crossing:
        return _removed(split, tracks, parts_of_group)
    named = ' and '.join(f'{part} ({track})' for part, track in parts.items())
    found = (
        f'{len(crossing)} of {len(parts_of_group)} groups stand in several parts, such as {group!r} in '
        f'{named}'
    )
    if config.allow_leak:
        return dataclasses.replace(split, leaky=True, detail=f'{split.detail}; {found}')
    raise UserError(
        f'the {split.protocol} split leaks: {found}; correct the split or the groups, or set '
        'config.split.remove_crossing=True to leave their songs out of train and val, or '
        'config.split.allow_leak=True to have every figure marked LEAKY'
    )


def _removed(split: Split, tracks: Sequence[dict], parts_of_group: Mapping[str, Mapping[str, str]]) -> Split:
    """Keeps the songs of a group that crosses only in the last of its parts."""
    last = {group: list(parts)[-1] for group, parts in parts_of_group.items()}
    kept = {
        part: np.array([row for row in rows if last[tracks[row]['group']] == part], np.int64)
        for part, rows in split.tracks.items()
    }
    removed = ' and '.join(
        f'{len(split.tracks[part]) - len(kept[part])} of {len(split.tracks[part])} songs of {part}'
        for part in ('train', 'val')
    )
    detail = f'{split.detail}; {removed} removed, whose groups stand in a later part'
    return dataclasses.replace(split, tracks=kept, detail=detail)


def _thinned(config: ml_collections.ConfigDict, split: Split, tracks: Sequence[dict]) -> Split:
    """Keeps a share of the training part: of its segments, or of its songs by whole groups."""
    rows, segments = split.tracks['train'].tolist(), split.segments
    if segments is None:
        pairs = [(row, 0) for row in rows]
        units = [(tracks[row]['label'], tracks[row]['group']) for row in rows]
    else:
        pairs = [(row, start) for row in rows for start in segments['train'][row].tolist()]
        units = [(tracks[row]['label'], (tracks[row]['track'], start)) for row, start in pairs]
    kept = collections.defaultdict(list)
    for i in _draw_share(units, config.train_share, config.seed):
        row, start = pairs[i]
        kept[row].append(start)
    if segments is not None:
        segments = segments | {'train': {row: np.array(starts) for row, starts in kept.items()}}
    return dataclasses.replace(
        split,
        tracks=split.tracks | {'train': np.array(list(kept), np.int64)},
        segments=segments,
        detail=f'{split.detail}; of the training part {100 * config.train_share:g} %, drawn by '
        f'{"group" if segments is None else "segment"}',
    )


def _draw_share(units: Sequence[tuple[str, object]], share: float, seed: int) -> list[int]:
    """Draws groups until every class has its share; returns the positions of their units, ascending.

    The order of the groups does not depend on the share, so that a smaller one is part of a larger one.
    A group counts for the class that most of its units have.
    """
    members = collections.defaultdict(list)
    for position, (_, group) in enumerate(units):
        members[group].append(position)
    groups_of_label = collections.defaultdict(list)
    for group in sorted(members):
        held = collections.Counter(units[i][0] for i in members[group])
        groups_of_label[max(sorted(held), key=held.get)].append(group)
    kept: list[int] = []
    for label, groups in sorted(groups_of_label.items()):
        wanted = share * sum(len(members[group]) for group in groups)
        rng = np.random.default_rng([seed, *label.encode()])
        for position in rng.permutation(len(groups)):
            if wanted <= 0:
                break
            kept += members[groups[position]]
            wanted -= len(members[groups[position]])
    return sorted(kept)


def _refuse_missing(split: Split, tracks: Sequence[dict], labels: Sequence[str]) -> None:
    held = {part: {tracks[row]['label'] for row in rows} for part, rows in split.tracks.items()}
    lacking = {label: [part for part in PARTS if label not in held[part]] for label in labels}
    if missing := {label: parts for label, parts in lacking.items() if parts}:
        songs = collections.Counter(track['label'] for track in tracks)
        groups = collections.Counter(label for label, _ in {(t['label'], t['group']) for t in tracks})
        named = '; '.join(
            f'{label!r} ({songs[label]} songs, {groups[label]} groups) lacks {" and ".join(parts)}'
            for label, parts in missing.items()
        )
        left = len(labels) - len(missing)
        in_folds = split.protocol in ('artist', 'tonic', 'kfold', 'segment_leaky')
        fewer = ', have fewer config.split.folds' if in_folds else ''
        if split.protocol == 'tonic':
            fewer += ', lower config.split.tonic_margin_cents, or share groups with config.split.allow_leak'
        keep = ', or keep the others only: config.data.classes' if left > 1 else ''
        raise UserError(
            f'the {split.protocol} split leaves {len(missing)} of {len(labels)} classes without songs in a '
            f'part: {named}: add recordings{fewer}{keep}'
        )
