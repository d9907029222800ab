"""The run folders that are blended: read, checked against one another, and laid side by side.

A task is what a blend is fitted to and tested on: parts of a split, or folds of a cross-validation.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.errors import UserError
from genre_jax.evaluation.evaluate import SAID, Predictions, joined, number_songs, pool_songs
from genre_jax.logbook import read_json

_LENGTH = re.compile(r'test_(\d[\d.]*(?:e[+-]?\d+)?)s')
_REMEDY = 'restore it, or run what wrote it again'
# What a blend's own result.json and page take over.
_RESULT_KEYS = (
    'protocol', 'protocol_detail', 'leaky', 'n_songs', 'n_groups', 'n_segments', 'songs_per_class',
    'quarantined', 'warnings',
)  # fmt: skip
_ENVIRONMENT_KEYS = ('split_fingerprint', 'dataset')


@dataclasses.dataclass(frozen=True)
class Member:
    """A run folder."""

    folder: pathlib.Path  # as it was named
    result: Mapping  # what result.json holds
    environment: Mapping  # what environment.json holds
    predictions: Mapping[str, Predictions]  # by part


def names(folders: Sequence[pathlib.Path]) -> list[str]:
    """Returns the last parts of the paths, as many as tell them apart."""
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        short = ['/'.join(folder.parts[-depth:]) for folder in folders]
        # What fold_1 is one of, its folder says.
        if len(set(short)) == len(short) and not any(s.startswith('fold_') for s in short):
            return short
    return [str(folder) for folder in folders]


def _read(folder: pathlib.Path, parts: Sequence[str]) -> Member:
    """Reads the folder of a finished run, with its predictions for some parts."""
    tables = {part: folder / 'predictions' / f'{part}.npz' for part in parts}
    needed = {folder / 'result.json': _RESULT_KEYS, folder / 'environment.json': _ENVIRONMENT_KEYS}
    if missing := [file for file in (*needed, *tables.values()) if not file.exists()]:
        below = [path.parent for path in sorted(folder.glob('**/fold_0'))]
        hint = f'; did you mean {below[0]}?' if below else ''
        raise UserError(
            f'--members: {folder} has no {missing[0].relative_to(folder)}: expected the folder of a finished '
            f'run, or one with fold_0, fold_1, ... of a cross-validation{hint}'
        )
    contents = [read_json(file, _REMEDY) for file in needed]
    for (file, keys), content in zip(needed.items(), contents, strict=True):
        if absent := [key for key in keys if key not in content]:
            raise UserError(f'{file} lacks {absent[0]}: {_REMEDY}')
    predictions = {part: Predictions.read(file, _REMEDY) for part, file in tables.items()}
    for part, file in tables.items():
        found = predictions[part].probabilities
        if not (np.all(found >= 0) and np.allclose(found.sum(-1), 1, atol=1e-3)):
            raise UserError(
                f'{file} holds something else than probabilities: expected numbers that are not negative, '
                'and sum to 1 in every row'
            )
    return Member(folder, *contents, predictions)


def _check_same_split(members: Sequence[Member]) -> None:
    """Refuses members of different splits, and names a song of the test part that only one has."""
    first = members[0]
    for other in members[1:]:
        if other.environment['split_fingerprint'] == first.environment['split_fingerprint']:
            continue
        splits = ' and '.join(
            f'{m.folder} (protocol {m.result["protocol"]}: {m.result["protocol_detail"]})'
            for m in (first, other)
        )
        alone = _only_one_has([(m, m.predictions['test']) for m in (first, other)], 'test')
        raise UserError(
            f'{splits} are of different splits{"; " + alone if alone else ""}: what one is tested on, the '
            'other may have learnt from, so that no blend of them can be tested; name runs of the same '
            'split and data'
        )


def _only_one_has(tables: Sequence[tuple[Member, Predictions]], part: str) -> str:
    """Names a song that only one of two members has in a part."""
    for (member, own), (_, others) in (tables, tables[::-1]):
        alone = np.setdiff1d(own.track, others.track)
        if len(alone):
            return f'{str(alone[0])!r} is in the {part} part of {member.folder} alone'
    return ''


def _align(
    members: Sequence[Member], part: str, level: str, with_tonics: bool, classes: Sequence[str] = ()
) -> Predictions:
    """Lays the members' predictions for one part side by side; a UserError where their rows differ.

    At level 'song' probabilities are summed over each song's segments, wherever these lie. The classes are in
    the order of `classes`, or that of the first member. Returns rows in the order of their names, with the
    probabilities of each member, float32 [M, n, C]; a song without a group is its own.
    """
    classes = classes or members[0].predictions[part].classes.tolist()
    tables = []
    for member in members:
        table = _in_order(member.predictions[part], classes, member, members[0])
        table = _songs(table) if level == 'song' else table
        tables.append((member, table.take(np.lexsort((table.start_s, table.track)))))
    for other in tables[1:]:
        _check_same_rows((tables[0], other), part)
    grouped = [(member, table) for member, table in tables if table.group is not None]
    for member, table in grouped[1:]:
        first, reference = grouped[0]
        for row in np.flatnonzero(table.group != reference.group):
            raise UserError(
                f'{str(table.track[row])!r} is of group {str(reference.group[row])!r} in {first.folder} and '
                f'of {str(table.group[row])!r} in {member.folder}: intervals are over groups; expected the '
                'same ones'
            )
    reference = tables[0][1]
    said = {name: [getattr(table, name) for _, table in tables] for name in SAID}
    # Tonics are blended where all members name them, as many.
    counts = {each.shape[-1] if each is not None else 0 for each in said['tonic']}
    if not with_tonics or len(counts) > 1 or counts == {0}:
        said |= {'tonic': None, 'given': None, 'tonic_hz': None}
    return dataclasses.replace(
        reference,
        group=grouped[0][1].group if grouped else reference.track,
        **{name: each and np.stack(each) for name, each in said.items()},
    )


def _in_order(predictions: Predictions, classes: Sequence[str], member: Member, first: Member) -> Predictions:
    """Puts the columns into the order of `classes`."""
    own = predictions.classes.tolist()
    if differ := sorted(set(own) ^ set(classes)):
        has, lacks = (member, first) if differ[0] in own else (first, member)
        raise UserError(
            f'{first.folder} and {member.folder} have different classes: {differ[0]!r} is one of '
            f'{has.folder}, not of {lacks.folder}'
        )
    order = [own.index(name) for name in classes]
    return dataclasses.replace(
        predictions,
        label=np.argsort(order).astype(np.int32)[predictions.label],
        probabilities=predictions.probabilities[:, order],
        given=None if predictions.given is None else predictions.given[:, order],
        classes=np.asarray(classes),
    )


def _songs(predictions: Predictions) -> Predictions:
    first, _ = number_songs(predictions.track)
    pooled = {
        name: pool_songs(dataclasses.replace(predictions, probabilities=said)).probability.astype(np.float32)
        for name in SAID
        if (said := getattr(predictions, name)) is not None
    }
    start_s = np.zeros(len(first), np.float32)
    return dataclasses.replace(predictions.take(first), start_s=start_s, **pooled)


def _check_same_rows(tables: Sequence[tuple[Member, Predictions]], part: str) -> None:
    (first, own), (other, its) = tables
    both = f'{first.folder} and {other.folder}'
    if alone := _only_one_has(tables, part):
        raise UserError(f'{both} are tested on different songs: {alone}; name runs of the same data')
    same = len(own.track) == len(its.track) and np.array_equal(own.track, its.track)
    if not same or not np.allclose(own.start_s, its.start_s, atol=1e-3):
        raise UserError(
            f'{both} have other segments in the {part} part ({len(own.track)} and {len(its.track)}, or at '
            'other times): --level=song blends what they say of whole songs'
        )
    for row in np.flatnonzero(own.label != its.label):
        labels = [str(table.classes[table.label[row]]) for table in (own, its)]
        raise UserError(
            f'{both} have different labels: {str(own.track[row])!r} of the {part} part is {labels[0]!r} in '
            f'the first and {labels[1]!r} in the second; name runs of the same data'
        )


@dataclasses.dataclass(frozen=True)
class Task:
    """Rows to fit to, and rows to test on, with the probabilities of each member, [M, n, C]."""

    members: Sequence[Member]  # of one split
    fit: Predictions  # what the weights may see
    test: Predictions  # what they may not
    excerpts: Mapping[str, Predictions]  # of the test songs, by part, those that all members have


def fold_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns fold_0, fold_1, ... of a cross-validation, none for a run; a UserError where one is missing."""
    found = {path.name for path in folder.glob('fold_*') if path.is_dir()}
    folds = [folder / f'fold_{i}' for i in range(len(found))]
    if missing := [path.name for path in folds if path.name not in found]:
        raise UserError(
            f'{folder}: has {len(found)} folders fold_*, and no {missing[0]}: expected all folds of a '
            'cross-validation, counted from 0'
        )
    return folds


def _of_split(folder: pathlib.Path, folds: Sequence[pathlib.Path], run: pathlib.Path) -> pathlib.Path:
    """Returns the fold that is of the split of a run; a UserError where none is."""
    wanted = _read(run, ())
    for fold in folds:
        if _read(fold, ()).environment['split_fingerprint'] == wanted.environment['split_fingerprint']:
            return fold
    raise UserError(
        f'--members: {folder} has {len(folds)} folds, and none is of the split of {run}, which has no folds '
        f'(protocol {wanted.result["protocol"]}: {wanted.result["protocol_detail"]}): name runs of one of '
        'these folds, or a folder with a run for each, fold_0, fold_1, ...'
    )


def make_tasks(folders: Sequence[pathlib.Path], level: str, *, with_tonics: bool = True) -> list[Task]:
    """Reads the members, to be blended by 'segment' or 'song': one task, or one for each fold."""
    for folder in folders:
        if not folder.is_dir():
            # SOURCE/MODEL[/fold_N] of a study that compares protocols lies below one of them.
            model = folder.parent if folder.name.startswith('fold_') else folder
            near = model.parent.parent.glob(f'*/{folder.relative_to(model.parent.parent)}')
            near = sorted(near)
            hint = f'; did you mean {near[0]}?' if near else ''
            raise UserError(f'--members: {folder} is no folder: expected that of a finished run{hint}')
    folds = {folder: fold_folders(folder) for folder in folders}
    if runs := [folder for folder in folders if not folds[folder]]:
        folders = [_of_split(f, own, runs[0]) if own else f for f, own in folds.items()]
        folds = dict.fromkeys(folders, ())
    counts = {folder: len(found) for folder, found in folds.items()}
    if len(set(counts.values())) > 1:
        fewest, most = (choose(counts, key=counts.get) for choose in (min, max))
        raise UserError(
            f'--members: {most} has {counts[most]} folds and {fewest} has {counts[fewest]} folds: expected '
            'folds of the same cross-validation'
        )
    if not counts[folders[0]]:
        excerpts = _excerpts(folders)
        members = [_read(folder, ('val', 'test', *excerpts)) for folder in folders]
        _check_same_split(members)
        fit, test = (_align(members, part, level, with_tonics) for part in ('val', 'test'))
        return [
            Task(members, fit, test, {part: _align(members, part, level, with_tonics) for part in excerpts})
        ]
    excerpts = _excerpts([fold for own in folds.values() for fold in own])
    by_fold, tests, classes = [], [], ()
    for of_fold in zip(*folds.values(), strict=True):
        members = [_read(folder, ('test', *excerpts)) for folder in of_fold]
        _check_same_split(members)
        by_fold.append(members)
        tests.append(_align(members, 'test', level, with_tonics, classes))
        classes = tests[0].classes.tolist()
    return [
        Task(
            members,
            joined([*tests[:i], *tests[i + 1 :]]),
            tests[i],
            {part: _align(members, part, level, with_tonics, classes) for part in excerpts},
        )
        for i, members in enumerate(by_fold)
    ]


def _excerpts(folders: Sequence[pathlib.Path]) -> list[str]:
    """Returns the parts that are excerpts of the test songs, test_60s and the like, which all runs have."""
    found = [{file.stem for file in folder.glob('predictions/test_*.npz')} for folder in folders]
    lengths_s = {part: _LENGTH.fullmatch(part) for part in set.intersection(*found)}
    return sorted(filter(lengths_s.get, lengths_s), key=lambda part: -float(lengths_s[part][1]))


def notes(tasks: Sequence[Task], folders: Sequence[pathlib.Path], level: str) -> list[str]:
    """Returns what the result has to say about the members, which were named as `folders`."""
    members = [member for task in tasks for member in task.members]
    found = []
    if len(tasks) == 1:
        found += [
            f'of {folder} only {member.folder.name} is blended, the fold whose split the others have'
            for folder, member in zip(folders, members, strict=True)
            if member.folder != folder
        ]
    if all(each.group is None for member in members for each in member.predictions.values()):
        found.append(
            'the predictions of these runs do not name groups: every song counts as one, and the intervals '
            'are too narrow if songs belong together'
        )
    if level == 'song':
        found.append('blended by song: the figures of one segment are those of songs as well')
    if len(tasks) > 1 and any('blend' in member.result for member in members):
        found.append(
            'a member is a blend of folds itself: its weights in the other folds have seen the labels of '
            'the fold that is tested'
        )
    return found
