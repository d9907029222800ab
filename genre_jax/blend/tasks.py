"""What a blend is fitted to and tested on: parts of a split, or folds of a cross-validation."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from genre_jax.blend import members as blend_members
from genre_jax.blend.members import Member
from genre_jax.errors import UserError
from genre_jax.evaluation.evaluate import Predictions


@dataclasses.dataclass(frozen=True)
class Task:
    """Rows to fit to, and rows to test on, with the probabilities of each member, [M, n, C]."""

    members: Sequence[Member]  # of one split
    fit: Predictions  # what the weights may see
    test: Predictions  # what they may not


def fold_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders fold_0, fold_1, ... of a cross-validation, none for a run folder.

    A UserError where one is missing between others.
    """
    found = {path.name for path in folder.glob('fold_*') if path.is_dir()}
    folds = [folder / f'fold_{i}' for i in range(len(found))]
    missing = [path.name for path in folds if path.name not in found]
    if missing:
        raise UserError(
            f'{folder}: has {len(found)} folders fold_*, and no {missing[0]}: expected all folds of a '
            'cross-validation, counted from 0'
        )
    return folds


def make_tasks(folders: Sequence[pathlib.Path], level: str) -> list[Task]:
    """Reads the members, to be blended by 'segment' or 'song': one task, or one for each fold."""
    for folder in folders:
        blend_members.check_folder(folder)
    folds = {folder: fold_folders(folder) for folder in folders}
    counts = {folder: len(found) for folder, found in folds.items()}
    if len(set(counts.values())) > 1:
        fewest, most = (choose(counts, key=counts.get) for choose in (min, max))
        has = f'{counts[fewest]} folds' if counts[fewest] else 'no folds'
        raise UserError(
            f'--members: {most} has {counts[most]} folds and {fewest} has {has}: expected all members to '
            'be run folders, or folds of the same cross-validation'
        )
    if not counts[folders[0]]:
        members = [blend_members.read(folder, ('val', 'test')) for folder in folders]
        blend_members.check_same_split(members, 'test')
        fit, test = (blend_members.align(members, part, level) for part in ('val', 'test'))
        return [Task(members, fit, test)]
    by_fold, tests, classes = [], [], None
    for of_fold in zip(*folds.values(), strict=True):
        members = [blend_members.read(folder, ('test',)) for folder in of_fold]
        blend_members.check_same_split(members, 'test')
        by_fold.append(members)
        tests.append(blend_members.align(members, 'test', level, classes))
        classes = tests[0].classes.tolist()
    return [
        Task(members, blend_members.join([*tests[:i], *tests[i + 1 :]]), tests[i])
        for i, members in enumerate(by_fold)
    ]


def notes(tasks: Sequence[Task], level: str) -> list[str]:
    """Returns what the result has to say about the members."""
    members = [member for task in tasks for member in task.members]
    found = []
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
