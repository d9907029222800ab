"""The run folders that are blended: read, checked against one another, and laid side by side."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.errors import UserError
from genre_jax.evaluation.evaluate import Predictions, pool_songs

LEVELS = ('segment', 'song')
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


@dataclasses.dataclass(frozen=True)
class Rows:
    """What all members say of the same segments or songs, in the order of their names."""

    track: np.ndarray  # name of the song of each row, str [n]
    start_s: np.ndarray  # where the segment starts, in seconds, float32 [n]; 0 for songs
    label: np.ndarray  # class ids, int32 [n]
    group: np.ndarray  # of each row, str [n]
    probabilities: np.ndarray  # of each member, float32 [M, n, C]
    classes: np.ndarray  # names of the classes, str [C]

    def predictions(self, probabilities: np.ndarray) -> Predictions:
        """Makes a predictions table of some probabilities [n, C] for these rows."""
        return Predictions(
            self.track, self.start_s, self.label, probabilities.astype(np.float32), self.classes,
            self.group,
        )  # fmt: skip


def join(parts: Sequence[Rows]) -> Rows:
    """Puts rows of the same members and classes one after another, such as those of several folds."""
    columns = ('track', 'start_s', 'label', 'group')
    return Rows(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in columns),
        np.concatenate([part.probabilities for part in parts], axis=1),
        parts[0].classes,
    )


def names(folders: Sequence[pathlib.Path]) -> list[str]:
    """Returns the last parts of the paths, as many as tell them apart."""
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        short = ['/'.join(folder.parts[-depth:]) for folder in folders]
        if len(set(short)) == len(short):
            return short
    return [str(folder) for folder in folders]


def check_folder(folder: pathlib.Path) -> None:
    """Refuses what is no folder."""
    if not folder.is_dir():
        # SOURCE/MODEL of a study that compares protocols lies below one of them.
        near = sorted(folder.parent.parent.glob(f'*/{folder.parent.name}/{folder.name}'))
        hint = f'; did you mean {near[0]}?' if near else ''
        raise UserError(f'--members: {folder} is no folder: expected that of a finished run{hint}')


def read(folder: pathlib.Path, parts: Sequence[str]) -> Member:
    """Reads the folder of a finished run, with its predictions for some parts."""
    from genre_jax.logbook import read_json

    files = ['result.json', 'environment.json', *(f'predictions/{part}.npz' for part in parts)]
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        below = [path.parent for path in sorted(folder.glob('*/fold_0'))]
        hint = f'; did you mean {below[0]}?' if below else ''
        raise UserError(
            f'--members: {folder} has no {missing[0]}: expected the folder of a finished run, or one with '
            f'fold_0, fold_1, ... of a cross-validation{hint}'
        )
    result, environment = (read_json(folder / name, _REMEDY) for name in files[:2])
    for file, content, keys in (
        ('result.json', result, _RESULT_KEYS),
        ('environment.json', environment, _ENVIRONMENT_KEYS),
    ):
        absent = [key for key in keys if key not in content]
        if absent:
            raise UserError(f'{folder / file} lacks {absent[0]}: {_REMEDY}')
    predictions = {
        part: _read_predictions(folder / 'predictions' / f'{part}.npz') for part in parts
    }
    return Member(folder, result, environment, predictions)


def _read_predictions(file: pathlib.Path) -> Predictions:
    predictions = Predictions.read(file, _REMEDY)
    probabilities = predictions.probabilities
    if not (np.all(probabilities >= 0) and np.allclose(probabilities.sum(-1), 1, atol=1e-3)):
        raise UserError(
            f'{file} holds something else than probabilities: expected numbers that are not negative, and '
            'sum to 1 in every row'
        )
    return predictions


def check_same_split(members: Sequence[Member], part: str) -> None:
    """Refuses members of different splits, and names a song of a part that only one has."""
    first = members[0]
    for other in members[1:]:
        if other.environment['split_fingerprint'] == first.environment['split_fingerprint']:
            continue
        splits = ' and '.join(
            f'{member.folder} (protocol {member.result["protocol"]}: '
            f'{member.result["protocol_detail"]})'
            for member in (first, other)
        )
        alone = _only_one_has(first, other, first.predictions[part], other.predictions[part], part)
        raise UserError(
            f'{splits} are of different splits{"; " + alone if alone else ""}: what one is tested on, the '
            'other may have learnt from, so that no blend of them can be tested; name runs of the same '
            'split and data'
        )


def _only_one_has(
    first: Member, other: Member, own: Predictions, its: Predictions, part: str
) -> str:
    """Names a song that only one of two members has in a part."""
    for member, mine, theirs in ((first, own, its), (other, its, own)):
        alone = np.setdiff1d(mine.track, theirs.track)
        if len(alone):
            return f'{str(alone[0])!r} is in the {part} part of {member.folder} alone'
    return ''


def align(
    members: Sequence[Member], part: str, level: str, classes: Sequence[str] | None = None
) -> Rows:
    """Lays the members' predictions for one part side by side; a UserError where their rows differ.

    At level 'song' probabilities are summed over each song's segments, wherever these lie. The classes are in
    the order of `classes`, or that of the first member.
    """
    first = members[0]
    if classes is None:
        classes = first.predictions[part].classes.tolist()
    tables = [_in_order(member.predictions[part], classes, member, first) for member in members]
    if level == 'song':
        tables = [_songs(table) for table in tables]
    tables = [_sorted(table) for table in tables]
    reference = tables[0]
    for member, table in zip(members[1:], tables[1:], strict=True):
        _check_same_rows(first, member, reference, table, part)
    grouped = [
        (member, table)
        for member, table in zip(members, tables, strict=True)
        if table.group is not None
    ]
    for member, table in grouped[1:]:
        differ = np.flatnonzero(table.group != grouped[0][1].group)
        if len(differ):
            row = differ[0]
            raise UserError(
                f'{str(table.track[row])!r} is of group {str(grouped[0][1].group[row])!r} in '
                f'{grouped[0][0].folder} and of {str(table.group[row])!r} in {member.folder}: intervals are '
                'over groups; expected the same ones'
            )
    return Rows(
        reference.track,
        reference.start_s,
        reference.label,
        grouped[0][1].group if grouped else reference.track,
        np.stack([table.probabilities for table in tables]),
        np.asarray(classes),
    )


def _in_order(
    predictions: Predictions, classes: Sequence[str], member: Member, first: Member
) -> Predictions:
    """Puts the columns into the order of `classes`."""
    own = predictions.classes.tolist()
    differ = sorted(set(own) ^ set(classes))
    if differ:
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
        classes=np.asarray(classes),
    )


def _songs(predictions: Predictions) -> Predictions:
    songs = pool_songs(predictions)
    group = None
    if predictions.group is not None:
        of_track = dict(zip(predictions.track.tolist(), predictions.group.tolist(), strict=True))
        group = np.asarray([of_track[track] for track in songs.track.tolist()])
    start_s = np.zeros(len(songs.track), np.float32)
    probabilities = songs.probability.astype(np.float32)
    return Predictions(songs.track, start_s, songs.label, probabilities, predictions.classes, group)


def _sorted(predictions: Predictions) -> Predictions:
    order = np.lexsort((predictions.start_s, predictions.track))
    columns = {
        name: array[order]
        for name, array in vars(predictions).items()
        if name != 'classes' and array is not None
    }
    return dataclasses.replace(predictions, **columns)


def _check_same_rows(
    first: Member, other: Member, own: Predictions, its: Predictions, part: str
) -> None:
    both = f'{first.folder} and {other.folder}'
    alone = _only_one_has(first, other, own, its, part)
    if alone:
        raise UserError(
            f'{both} are tested on different songs: {alone}; name runs of the same data'
        )
    same = len(own.track) == len(its.track) and np.array_equal(own.track, its.track)
    if not same or not np.allclose(own.start_s, its.start_s, atol=1e-3):
        raise UserError(
            f'{both} have other segments in the {part} part ({len(own.track)} and {len(its.track)}, or at '
            'other times): --level=song blends what they say of whole songs'
        )
    wrong = np.flatnonzero(own.label != its.label)
    if len(wrong):
        row = wrong[0]
        labels = [str(table.classes[table.label[row]]) for table in (own, its)]
        raise UserError(
            f'{both} have different labels: {str(own.track[row])!r} of the {part} part is {labels[0]!r} in '
            f'the first and {labels[1]!r} in the second; name runs of the same data'
        )
