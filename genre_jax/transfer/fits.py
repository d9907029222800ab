"""Every head on every source, in every fold of the target, each with a folder like that of a run."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np
import tqdm

from genre_jax import config as config_lib
from genre_jax.data import prepare
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate
from genre_jax.loading import loader, prepared, run_data
from genre_jax.logbook import write_json
from genre_jax.run import folder as run_folder
from genre_jax.transfer import heads as transfer_heads
from genre_jax.transfer import sources as transfer_sources
from genre_jax.transfer import table as transfer_report
from genre_jax.transfer.heads import Head, Windows
from genre_jax.transfer.sources import Source


def check(
    config: ml_collections.ConfigDict, wanted: Sequence[str], heads: Sequence[str], folds: int
) -> None:
    """Refuses what cannot be, before anything is prepared.

    Args:
        config: the whole config of the target.
        wanted: sources.
        heads: names of heads.
        folds: of a cross-validation; 0: one split.

    Raises:
        UserError: one of them cannot be, or they do not go together.
    """
    transfer_sources.names(wanted)
    for head in heads:
        if head not in transfer_heads.SETTINGS:
            hint = config_lib.nearest(head, transfer_heads.SETTINGS)
            raise UserError(f'--heads: unknown head {head!r}{hint}')
        if list(heads).count(head) > 1:
            raise UserError(f'--heads: {head} is named twice')
    if folds < 0 or folds == 1:
        raise UserError(f'--folds={folds}: expected 2 or more, or 0 for one split')
    protocol = config.split.protocol
    if protocol == 'segment_leaky':
        raise UserError(
            'config.split.protocol=segment_leaky: whole songs are tested here, and it has none; expected '
            'another protocol, such as grouped'
        )
    if folds and protocol not in ('grouped', 'artist', 'kfold'):
        raise UserError(
            f'--folds={folds}: config.split.protocol={protocol} has no folds; leave out one of them'
        )
    kind = prepare.load_source(config.data).kind
    if kind != 'audio':
        raise UserError(
            f'config.data.name={config.data.name!r} holds data of kind {kind!r}; expected recordings: of '
            'these the networks make embeddings'
        )


class Fold:
    """One split of the target, and one source's embeddings of it.

    Attributes:
        config: the whole config with this split's settings.
        split: the songs of each part.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, source: Source, dataset: prepared.Dataset, bag: str
    ) -> None:
        """Makes the split.

        Args:
            config: the whole config of this source, with this split's settings.
            source: whose embeddings.
            dataset: the target.
            bag: 'song' or 'group'.

        Raises:
            UserError: the split cannot be, or the source learnt from these songs.
        """
        self.config = config
        self._network, self._dataset, self._bag = source.network, dataset, bag
        split = run_data.make_split(config, dataset)
        self.split = self._network.check_split(dataset, split)
        self._tables = self._network.tables(dataset, self.split)

    def windows(self) -> dict[str, Windows]:
        """Returns the windows of each part with their embeddings."""
        tracks = self._dataset.tracks
        songs = np.asarray([track['track'] for track in tracks])
        bags = np.asarray([track['group'] for track in tracks]) if self._bag == 'group' else songs
        return {
            part: Windows(
                self._network.embed(self._dataset, table),
                table.labels,
                songs[table.track],
                bags[table.track],
            )
            for part, table in self._tables.items()
        }

    def begin(self, folder: pathlib.Path, head: str, settings: Mapping[str, object]) -> None:
        """Opens a cell's folder, or finds that it holds the same cell.

        Args:
            folder: of the cell.
            head: its name.
            settings: of the head, and what else decides.

        Raises:
            UserError: it holds one with other settings, or of other data.
        """
        config = self.config.copy_and_resolve_references()
        config.model = ml_collections.ConfigDict({'name': head, **settings})
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.check_same_config(config, folder)
        run_folder.write_step_zero(config, folder, self._dataset, self.split, self._network.source)

    def write(self, folder: pathlib.Path, head: Head, fit_s: float) -> None:
        """Tests a head and writes its folder, result.json last.

        Args:
            folder: of the cell.
            head: fitted.
            fit_s: how long it took to fit, in seconds.
        """
        began = time.monotonic()
        dataset, tables, samples = self._dataset, self._tables, self.config.eval.bootstrap_samples
        groups = {track['track']: track['group'] for track in dataset.tracks}
        answers = {
            part: _predictions(tables[part], head.rows[part], each)
            for part, each in head.probabilities.items()
        }
        parts = {part: evaluate.evaluate(each, groups, samples) for part, each in answers.items()}
        labels = dataset.label_ids()[self.split.tracks['train']]
        facts = run_data.describe(dataset, self.split, tables)
        result = facts | {
            'parts': parts,
            'majority': evaluate.majority_class(labels, answers['test'], groups, samples),
            'warnings': facts['warnings'] + list(head.notes),
            'head': dict(head.chosen) | {'bag': self._bag},
        }
        for part, each in answers.items():
            each.save(folder / 'predictions' / f'{part}.npz')
        if head.weights is not None:
            result['head']['test_accuracy_of_seeds'] = [
                float((seed.argmax(-1) == answers['test'].label).mean())
                for seed in head.seeds['test']
            ]
            songs = np.asarray([track['track'] for track in dataset.tracks])
            attention = transfer_report.Attention(
                songs[tables['test'].track],
                tables['test'].start_s,
                np.float32(tables['test'].window / dataset.sample_rate_hz),
                head.weights,
            )
            attention.save(folder / 'attention.npz')
            transfer_report.draw_attention(attention, answers['test'], folder / 'attention.png')
        timing = {
            'prepare_s': 0.0,
            'train_s': fit_s,
            'evaluate_s': time.monotonic() - began,
            'examples_per_s': len(tables['train']) / fit_s,
        }
        write_json(folder / 'timing.json', timing)
        write_json(folder / 'result.json', result)


def _predictions(
    table: loader.WindowTable, rows: np.ndarray, probabilities: np.ndarray
) -> evaluate.Predictions:
    """Joins answers with the windows that they stand for: all, or the first of each song."""
    spread = np.zeros((len(table), probabilities.shape[1]), np.float32)
    spread[rows] = probabilities
    whole = table.predictions(spread)
    columns = {
        name: array[rows]
        for name, array in vars(whole).items()
        if name != 'classes' and array is not None
    }
    return dataclasses.replace(whole, **columns)


def measure(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    wanted: Sequence[str],
    heads: Sequence[str],
    folds: int,
    bag: str,
    n_seeds: int,
) -> dict:
    """Fits and tests every head on every source.

    Args:
        config: the whole config of the target.
        workdir: folder for the cells.
        wanted: sources.
        heads: keys of genre_jax.transfer_heads.SETTINGS.
        folds: of a cross-validation; 0: one split.
        bag: 'song' or 'group'.
        n_seeds: of the head 'attention'.

    Returns:
        What genre_jax.transfer.table shows: facts about the target and 'figures', a dict for each cell.

    Raises:
        UserError: a mistake in the config, the data or the sources.
    """
    dataset = run_data.open_dataset(config)
    if bag == 'group':
        group, label = ({t['track']: t[key] for t in dataset.tracks} for key in ('group', 'label'))
        transfer_heads.check_bags(group, label)
    sources = transfer_sources.open_sources(wanted, config, dataset, workdir)
    seeds = [config.seed + i for i in range(n_seeds)]
    places = [f'fold_{fold}' for fold in range(folds)] or ['']
    opened = {
        source.name: [
            Fold(_fold_config(source.network.config, folds, fold), source, dataset, bag)
            for fold in range(len(places))
        ]
        for source in sources
    }
    bar = tqdm.tqdm(
        total=len(sources) * len(places) * len(heads),
        unit=' heads',
        mininterval=0.5 if sys.stderr.isatty() else 30,
    )
    with bar:
        for source in sources:
            for fold, place in zip(opened[source.name], places, strict=True):
                parts = None
                for head in heads:
                    folder = workdir / source.name / head / place
                    bar.set_description(str(folder.relative_to(workdir)))
                    settings = {'tried': transfer_heads.SETTINGS[head], 'bag': bag}
                    if head == 'attention':
                        settings['seeds'] = n_seeds
                    fold.begin(folder, head, settings)
                    if not (folder / 'result.json').exists():
                        parts = parts or fold.windows()
                        began = time.monotonic()
                        fitted = transfer_heads.fit(head, parts, dataset.labels, seeds)
                        fold.write(folder, fitted, time.monotonic() - began)
                    bar.update()
    first = opened[sources[0].name][0].split
    groups = {track['track']: track['group'] for track in dataset.tracks}
    cells = {
        (source.name, head): [workdir / source.name / head / place for place in places]
        for source in sources
        for head in heads
    }
    return {
        'dataset': f'{config.data.get("root", "")} {dataset.manifest["description"]}'.strip(),
        'group_key': dataset.manifest['group_key'],
        'classes': len(dataset.labels),
        'folds': folds,
        'bag': bag,
        'protocol': first.protocol,
        'protocol_detail': first.detail,
    } | transfer_report.read(sources, heads, cells, groups, config.eval.bootstrap_samples)


def _fold_config(
    config: ml_collections.ConfigDict, folds: int, fold: int
) -> ml_collections.ConfigDict:
    """Returns the config of one fold; without folds the split is that of the page."""
    one = config.copy_and_resolve_references()
    if folds:
        protocol = 'kfold' if config.split.protocol == 'kfold' else 'artist'
        one.split.update(protocol=protocol, folds=folds, fold=fold)
    return one
