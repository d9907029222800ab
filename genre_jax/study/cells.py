"""The cells of a study: every model in every fold of some splits, each with a folder like that of a run.

The folders are SOURCE/MODEL/fold_N, of one split SOURCE/MODEL, below --workdir, or below a folder for each
protocol where protocols are compared. What is finished is kept, so that a study that was killed goes on, and
SOURCE/MODEL is a member of a blend (genre_jax.blend), with its folds or without.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
import tqdm

from genre_jax.embeddings.network import Network
from genre_jax.evaluation import evaluate, paired
from genre_jax.loading import loader, prepared, run_data
from genre_jax.logbook import read_json, write_json
from genre_jax.run import folder as run_folder

_REMEDY = 'delete that folder, the model is fitted again'


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a fitted model says.

    Attributes:
        predictions: by part, 'test' among them.
        notes: warnings of a library.
        facts: what else result.json holds.
    """

    predictions: Mapping[str, evaluate.Predictions]
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Fold:
    """One split of the data, and what models learn from in it.

    Attributes:
        config: the whole config with this split's settings.
        dataset: the prepared dataset.
        network: whose embeddings take the place of rows, or None.
        split: the songs of each part.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        home: pathlib.Path,
        place: str,
        dataset: prepared.Dataset,
        network: Network | None,
    ) -> None:
        """Makes the split; a cell lies in `home`/MODEL/`place`."""
        self.config, self.dataset, self.network = config, dataset, network
        self._home, self._place = home, place
        self.split = run_data.make_split(config, dataset)
        if network is not None:
            self.split = network.check_split(dataset, self.split)

    @functools.cached_property
    def tables(self) -> Mapping[str, loader.WindowTable]:
        """The rows or windows of each part."""
        if self.network is None:
            return run_data.make_tables(self.config, self.dataset, self.split)
        return self.network.tables(self.dataset, self.split)

    @functools.cached_property
    def songs(self) -> np.ndarray:
        """The names of all songs, str [songs]."""
        return np.asarray([track['track'] for track in self.dataset.tracks])

    def folder(self, model: str) -> pathlib.Path:
        """Returns the folder of a model."""
        return self._home / model / self._place

    def features(self) -> dict[str, np.ndarray]:
        """Returns rows or embeddings of each part, float32 [rows, columns]."""
        if self.network is None:
            return {part: table.read_all() for part, table in self.tables.items()}
        return {part: self.network.embed(self.dataset, t) for part, t in self.tables.items()}

    def fill(
        self,
        model: str,
        settings: Mapping[str, object],
        features: Callable[[], Mapping[str, np.ndarray]],
        fit: Callable[[Mapping[str, np.ndarray]], Any],
        answer: Callable[[Any, Mapping[str, np.ndarray]], Answer],
    ) -> None:
        """Fits and tests a model and writes its folder, result.json last, unless that is there.

        Args:
            model: its name.
            settings: what else decides about it.
            features: those of this fold.
            fit: makes the model of them.
            answer: what the model makes of them.

        Raises:
            UserError: the folder holds a model with other settings, or of other data.
        """
        folder, dataset = self.folder(model), self.dataset
        config = self.config.copy_and_resolve_references()
        config.model = ml_collections.ConfigDict({'name': model, **settings})
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.check_same_config(config, folder)
        source = self.network and self.network.source
        run_folder.write_step_zero(config, folder, dataset, self.split, source)
        if (folder / 'result.json').exists():
            return
        rows = features()
        clock = [time.monotonic()]
        fitted = fit(rows)
        clock.append(time.monotonic())
        found = answer(fitted, rows)
        groups = {track['track']: track['group'] for track in dataset.tracks}
        facts = run_data.describe(run_data.Data(dataset, self.split, self.tables))
        result = facts | {
            'parts': {
                part: evaluate.evaluate(each, groups) for part, each in found.predictions.items()
            },
            'majority': evaluate.majority_class(
                dataset.label_ids()[self.split.tracks['train']],
                found.predictions['test'],
                groups,
            ),
            'warnings': facts['warnings'] + list(found.notes),
        }
        for part, each in found.predictions.items():
            each.save(folder / 'predictions' / f'{part}.npz')
        fit_s = clock[1] - clock[0]
        timing = {
            'prepare_s': 0.0,
            'train_s': fit_s,
            'evaluate_s': time.monotonic() - clock[1],
            'examples_per_s': len(self.tables['train']) / fit_s,
        }
        write_json(folder / 'timing.json', timing)
        write_json(folder / 'result.json', result | dict(found.facts))


def open_folds(
    config: ml_collections.ConfigDict,
    protocol: str,
    folds: int,
    home: pathlib.Path,
    dataset: prepared.Dataset,
    network: Network | None = None,
) -> list[Fold]:
    """Makes the splits of a cross-validation.

    Args:
        config: the whole config; its protocol is replaced.
        protocol: of the splits.
        folds: of the cross-validation; 0: one split, that of the config.
        home: folder of the source, below which models have theirs.
        dataset: the prepared dataset.
        network: whose embeddings take the place of rows, or None.

    Raises:
        UserError: the split cannot be, or the network has learnt from its test songs.
    """
    opened = []
    for fold in range(max(1, folds)):
        one = config.copy_and_resolve_references()
        one.split.protocol = protocol
        if folds:
            one.split.update(folds=folds, fold=fold)
        opened.append(Fold(one, home, f'fold_{fold}' if folds else '', dataset, network))
    return opened


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a model came to, in all folds.

    Attributes:
        results: what result.json of each fold holds.
        tests: predictions for each fold's test part.
        fit_s: how long it took to fit all of them, in seconds.
    """

    results: Sequence[Mapping]
    tests: Sequence[evaluate.Predictions]
    fit_s: float

    @property
    def leaky(self) -> bool:
        """Whether any fold is."""
        return any(result['leaky'] for result in self.results)


def read(folders: Sequence[pathlib.Path]) -> Outcome:
    """Reads the folders of a model's folds; a UserError where a file is damaged."""
    return Outcome(
        [read_json(folder / 'result.json', _REMEDY) for folder in folders],
        [evaluate.Predictions.read(f / 'predictions' / 'test.npz', _REMEDY) for f in folders],
        sum(read_json(folder / 'timing.json', _REMEDY)['train_s'] for folder in folders),
    )


def run(
    columns: Mapping[str, Sequence[Fold]],
    models: Sequence[str],
    fill: Callable[[Fold, str, Callable[[], Mapping[str, np.ndarray]]], None],
    unit: str = '',
) -> dict[tuple[str, str], Outcome]:
    """Fills every cell that is not finished, and reads all of them.

    Args:
        columns: folds by the name of what they are of, a protocol or a source.
        models: their names.
        fill: fills the folder of a model in a fold, from a function that reads the fold's features once.
        unit: of the progress bar; '' for none.
    """
    folds = [fold for every in columns.values() for fold in every]
    bar = tqdm.tqdm(
        total=len(folds) * len(models),
        unit=f' {unit}',
        mininterval=0.5 if sys.stderr.isatty() else 30,
        disable=not unit,
    )
    with bar:
        for fold in folds:
            features = functools.cache(fold.features)
            for model in models:
                bar.set_description('/'.join(fold.folder(model).parts[-4:]))
                fill(fold, model, features)
                bar.update()
    return {
        (name, model): read([fold.folder(model) for fold in every])
        for name, every in columns.items()
        for model in models
    }


def compare(outcomes: Mapping[str, Outcome]) -> dict:
    """Compares what models came to on the same songs; the last is the reference (paired.compare)."""
    tests = {name: outcome.tests for name, outcome in outcomes.items()}
    return paired.compare(*paired.tested(tests))


def describe(dataset: prepared.Dataset, folds: int) -> dict[str, Any]:
    """Returns the facts about the data that stand above every table."""
    return {
        'dataset': dataset.manifest['description'],
        'songs': len(dataset.tracks),
        'groups': len({track['group'] for track in dataset.tracks}),
        'classes': len(dataset.labels),
        'group_key': dataset.manifest['group_key'],
        'folds': folds,
    }
