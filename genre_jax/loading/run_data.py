"""Which data a run uses: the prepared dataset, its split, the windows of each part, and facts about them."""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Mapping

import jax
import ml_collections
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from genre_jax import augment, sharding
from genre_jax.data import audit, prepare
from genre_jax.errors import UserError
from genre_jax.evaluation import tonic
from genre_jax.loading import loader, prepared, splits
from genre_jax.logbook import Logbook

# Names that stand for no artist, album or group, and join what has nothing in common; of their letters and
# digits alone.
_NOBODY = frozenset(
    (
        '', 'anonymous', 'artisteinconnu', 'artistivari', 'compilation', 'compilations', 'desconocido',
        'diverse', 'inconnu', 'missing', 'na', 'nan', 'noalbum', 'noartist', 'none', 'notavailable', 'null',
        'tba', 'tbd', 'unbekannt', 'undefined', 'unknown', 'unknownalbum', 'unknownartist', 'va', 'varios',
        'variosartistas', 'various', 'variousartist', 'variousartists', 'variousinterprets', 'verschiedene',
        'verschiedeneinterpreten',
    )
)  # fmt: skip
# Below this, intervals say little.
_FEW_GROUPS = 30


@dataclasses.dataclass(frozen=True)
class Data:
    """What a run learns from and is tested on: the split's tables hold the windows of each part."""

    dataset: prepared.Dataset
    split: splits.Split
    tables: Mapping[str, loader.WindowTable]

    @property
    def groups(self) -> dict[str, str]:
        """The group of each track."""
        return {track['track']: track['group'] for track in self.dataset.tracks}


def open_data(config: ml_collections.ConfigDict) -> Data:
    """Prepares and opens the dataset, splits it, and lays out the windows."""
    dataset = open_dataset(config)
    split = make_split(config, dataset)
    return Data(dataset, split, make_tables(config, dataset, split))


def open_dataset(config: ml_collections.ConfigDict) -> prepared.Dataset:
    """Prepares the dataset on process 0 while the others wait, and opens it; UserError: either fails."""
    if '://' in config.data.prepared_dir:
        raise UserError(
            f'config.data.prepared_dir={config.data.prepared_dir}: records are read from files: mount '
            'that bucket, or copy its folder, and name the path'
        )
    folder = str(prepare.from_settings(config.data)) if jax.process_index() == 0 else ''
    if jax.process_count() > 1:
        padded = np.frombuffer(folder.encode().ljust(4096), np.uint8)
        folder = bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))).decode().strip()
        # Copies on the hosts' own disks will do, and folders that cannot be written.
        sharding.check_all_see(pathlib.Path(folder, 'manifest.json'), 'config.data.prepared_dir')
    return prepared.Dataset(pathlib.Path(folder), config.data.classes)


def make_split(config: ml_collections.ConfigDict, dataset: prepared.Dataset) -> splits.Split:
    """Makes the split that config.split asks for."""
    stored = dataset.stored(config.windows.window_s)
    return splits.make_split(
        config.split,
        dataset.tracks,
        dataset.labels,
        dataset.manifest['group_key'],
        dataset.manifest['protocols'],
        stored.shape[0] if stored.over_time else 1,
    )


def make_tables(
    config: ml_collections.ConfigDict, dataset: prepared.Dataset, split: splits.Split
) -> dict[str, loader.WindowTable]:
    """Lays out the windows of each part."""
    # The evaluated segments go with the split: they do not change with the seed of a training.
    seeds = {'train': config.seed, 'val': config.split.seed, 'test': config.split.seed}
    copies = augment.Augmentation(config.augment, dataset.labels).copies()
    return {
        part: loader.WindowTable(
            dataset,
            rows,
            config.windows,
            train=part == 'train',
            seed=seeds[part],
            copies=copies if part == 'train' else {},
            segments=split.segments and split.segments[part],
        )
        for part, rows in split.tracks.items()
    }


def excerpt_tables(
    config: ml_collections.ConfigDict, dataset: prepared.Dataset, split: splits.Split
) -> dict[str, loader.WindowTable]:
    """Lays out an excerpt of each test song, at random, for each length of config.eval.excerpts_s.

    Returns {'test_60s': ...}. A UserError: the dataset has no recordings, but pictures or tables.
    """
    tables = {}
    for length_s in config.eval.excerpts_s:
        windows = ml_collections.ConfigDict(config.windows)
        windows.update(window_s=length_s, eval_per_track=1, eval_draw='random')
        table = loader.WindowTable(
            dataset, split.tracks['test'], windows, train=False, seed=config.split.seed
        )
        if not table.stored.over_time:
            raise UserError(
                f'config.eval.excerpts_s={tuple(config.eval.excerpts_s)}: config.data.name='
                f'{config.data.name!r} holds data of kind {dataset.kind!r}, without length: expected ()'
            )
        tables[f'test_{length_s:g}s'] = table
    return tables


def describe(data: Data) -> dict:
    """Returns what result.json says about the data and the protocol."""
    dataset, split, tables = data.dataset, data.split, data.tables
    labels, groups = dataset.column('label'), dataset.column('group')
    quarantined = dataset.manifest['quarantined']
    table = tables['train']
    window = table.window
    short = (dataset.column('n_samples') < window).sum()
    warnings = list(dataset.manifest['notes'])
    if short and table.stored.over_time and not table.whole:
        warnings.append(
            f'{short} recordings are shorter than one window of {window / dataset.sample_rate_hz:g} s and '
            'are padded with zeros at the end'
        )
    few = len(np.unique(groups[split.tracks['test']]))
    if few < _FEW_GROUPS:
        warnings.append(f'the test part has only {few} groups: its intervals are wide')
    drawn = split.protocol not in ('official', *dataset.manifest['protocols'])
    if drawn and any(track['split'] for track in dataset.tracks):
        warnings.append(
            f'the data bring a split of their own, which protocol {split.protocol} does not use: '
            'config.split.protocol=official does'
        )
    warnings += _odd_groups(dataset)
    audited = leak_audit(dataset, split)
    warnings += [f'leak audit: {line}' for line in audited]
    parts = (split.tracks[part] for part in ('train', 'test'))
    by_tonic = tonic.alone(dataset.label_ids(), dataset.column('tonic_hz'), groups, *parts)
    if by_tonic and by_tonic['accuracy_ci95'][0] > by_tonic['commonest']:
        warnings.append(
            f'the tonic alone names the class of {100 * by_tonic["accuracy"]:.1f} % of the test songs, the '
            f'largest class is {100 * by_tonic["commonest"]:.1f} % of them: a model may know classes '
            'by keys; --config.split.protocol=tonic keeps keys apart'
        )
    return {
        'protocol': split.protocol,
        'protocol_detail': split.detail,
        'leaky': split.leaky,
        'classes': dataset.labels,
        'n_songs': {part: len(rows) for part, rows in split.tracks.items()},
        'n_groups': {part: len(np.unique(groups[rows])) for part, rows in split.tracks.items()},
        'n_segments': {part: len(table) for part, table in tables.items()},
        'audit': audited,
        'songs_per_class': {
            label: {part: int((labels[rows] == label).sum()) for part, rows in split.tracks.items()}
            for label in dataset.labels
        },
        'chance': 1 / len(dataset.labels),
        **({'tonic_alone': by_tonic} if by_tonic else {}),
        'quarantined': {'count': len(quarantined), 'files': quarantined},
        'warnings': warnings,
    }


def _odd_groups(dataset: prepared.Dataset) -> list[str]:
    """Names artists, albums and groups that are none, and groups that hold most of a class."""
    named = collections.Counter(('artist', track['artist']) for track in dataset.tracks)
    for track in dataset.tracks:
        level, _, name = track['group'].partition(':')
        if level in ('album', 'group'):
            named[level, name] += 1
    lines = [
        f'{count} songs have the {level} {name!r}: where that is nobody in particular, leave it blank'
        for (level, name), count in named.items()
        if name and re.sub(r'[\W_]', '', name).casefold() in _NOBODY
    ]
    labels, groups = dataset.column('label'), dataset.column('group')
    for label in dataset.labels:
        (group, count), *others = collections.Counter(groups[labels == label]).most_common()
        total = int((labels == label).sum())
        if others and count > total / 2 and count > 2:
            lines.append(f'{count} of {total} songs of class {label!r} are of one group ({group})')
    return lines


def leak_audit(dataset: prepared.Dataset, split: splits.Split) -> list[str]:
    """Returns a line for each kind of what belongs together (data/audit.py) and stands in several parts."""
    if split.segments is not None:
        return ['segments of the same recording in several parts, whatever else there is']
    part_of_track = {
        dataset.tracks[row]['track']: part for part, rows in split.tracks.items() for row in rows
    }
    return audit.summary(audit.crossing(audit.find(dataset.folder), part_of_track))


def announce(data: Data, logbook: Logbook) -> None:
    """Says what a run is about to learn from."""
    dataset, split, facts = data.dataset, data.split, describe(data)
    songs = ', '.join(f'{part} {facts["n_songs"][part]}' for part in splits.PARTS)
    logbook.say(
        f'{dataset.manifest["name"]}: {len(dataset.tracks)} recordings, {len(dataset.labels)} classes, '
        f'{facts["quarantined"]["count"]} quarantined; songs: {songs}\n'
        f'protocol {split.protocol}: {split.detail}'
    )
    if not facts['audit']:
        logbook.say('leak audit: no copies, and nothing of one group, album or artist, in several parts')
    if logbook.enabled:
        for warning in facts['warnings']:
            logging.warning('%s', warning)
