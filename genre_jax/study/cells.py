"""The cells of a study: every model in every fold of some splits, each with a folder like that of a run.

The folders are SOURCE/MODEL/fold_N, of one split SOURCE/MODEL, below --workdir, or below a folder for each
protocol where protocols are compared. What is finished is kept, so that a study that was killed goes on, and
SOURCE/MODEL is a member of a blend (genre_jax.blend), with its folds or without.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from genre_jax.embeddings.network import Network
from genre_jax.errors import printable
from genre_jax.evaluation import evaluate, paired
from genre_jax.loading import loader, prepared, run_data
from genre_jax.logbook import progress_bar, read_json, write_json
from genre_jax.run import folder as run_folder
from genre_jax.run import result as run_result

# Reads rows or embeddings of each part, float32 [rows, columns].
Features = Callable[[], Mapping[str, np.ndarray]]
REMEDY = 'delete that folder, the model is fitted again'


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a fitted model says."""

    predictions: Mapping[str, evaluate.Predictions]  # by part, 'test' among them
    notes: Sequence[str] = ()  # warnings of a library
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # more for result.json


@dataclasses.dataclass(eq=False)
class Fold:
    """One split of the data, and what models learn from in it; a cell lies in HOME/MODEL/PLACE."""

    config: ml_collections.ConfigDict  # the whole one with this split's settings
    home: pathlib.Path
    place: str
    dataset: prepared.Dataset
    network: Network | None  # whose embeddings take the place of rows

    def __post_init__(self) -> None:
        """Makes the split."""
        split = run_data.make_split(self.config, self.dataset)
        self.split = self.network.check_split(self.dataset, split) if self.network else split

    @functools.cached_property
    def tables(self) -> Mapping[str, loader.WindowTable]:
        """The rows or windows of each part."""
        if self.network is None:
            return run_data.make_tables(self.config, self.dataset, self.split)
        return self.network.tables(self.dataset, self.split)

    @functools.cached_property
    def songs(self) -> np.ndarray:
        """The names of all songs, str [songs]."""
        return self.dataset.column('track')

    def folder(self, model: str) -> pathlib.Path:
        """Returns the folder of a model."""
        return self.home / model / self.place

    def features(self) -> dict[str, np.ndarray]:
        """Returns rows or embeddings of each part, float32 [rows, columns]."""
        if self.network is None:
            return {part: table.read_all() for part, table in self.tables.items()}
        return {part: self.network.embed(table) for part, table in self.tables.items()}

    def fill(self, model: str, settings: Mapping, features: Features, fit: Callable) -> None:
        """Fits and tests a model and writes its folder, result.json last, unless that is there.

        `settings` are what decides about the model besides its name, `features` reads those of this fold.
        `fit` makes a model of them, and returns what gives its Answer. A UserError where the folder holds a
        model with other settings, or of other data.
        """
        folder = self.folder(model)
        config = self.config.copy_and_resolve_references()
        config.model = ml_collections.ConfigDict({'name': model, **settings})
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.check_same_config(config, folder)
        source = self.network and self.network.source
        run_folder.write_step_zero(config, folder, self.dataset, self.split, source)
        if (folder / 'result.json').exists():
            return
        rows = features()
        started_s = time.monotonic()
        answer = fit(rows)
        fitted_s = time.monotonic()
        found = answer()
        data = run_data.Data(self.dataset, self.split, self.tables)
        result = run_result.describe(data, found.predictions)
        result['warnings'] += found.notes
        for part, each in found.predictions.items():
            each.save(folder / 'predictions' / f'{part}.npz')
        timing = {
            'prepare_s': 0.0,
            'train_s': fitted_s - started_s,
            'evaluate_s': time.monotonic() - fitted_s,
            'examples_per_s': len(self.tables['train']) / (fitted_s - started_s),
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
    """Makes the splits of a cross-validation; with 0 folds one split, that of the config.

    `config` is the whole one, whose protocol is replaced; models have their folders below `home`; embeddings
    of `network` take the place of rows. A UserError where the split cannot be, or the network has learnt from
    its test songs.
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
    """What a model came to, in all folds."""

    results: Sequence[Mapping]  # what result.json of each fold holds
    tests: Sequence[evaluate.Predictions]  # for each fold's test part
    fit_s: float  # how long it took to fit all of them, in seconds
    leaky: bool  # whether any fold is


def read(folders: Sequence[pathlib.Path]) -> Outcome:
    """Reads the folders of a model's folds; a UserError where a file is damaged."""
    results, timings = (
        [read_json(folder / name, REMEDY) for folder in folders] for name in ('result.json', 'timing.json')
    )
    return Outcome(
        results,
        [evaluate.Predictions.read(f / 'predictions' / 'test.npz', REMEDY) for f in folders],
        sum(timing['train_s'] for timing in timings),
        any(result['leaky'] for result in results),
    )


def run(
    columns: Mapping[str, Sequence[Fold]], models: Sequence[str], fill: Callable, unit: str = ''
) -> dict[tuple[str, str], Outcome]:
    """Fills every cell that is not finished, and reads all of them: {(column, model): outcome}.

    Columns are folds by the name of what they are of, a protocol or a source. `fill`, of a fold, a model and
    Features that are read once, fills its folder; `unit` is that of the progress bar, '' for none.
    """
    folds = [fold for every in columns.values() for fold in every]
    with progress_bar(len(folds) * len(models), unit, disable=not unit) as bar:
        for fold in folds:
            features = functools.cache(fold.features)
            for model in models:
                bar.set_description(printable('/'.join(fold.folder(model).parts[-4:])))
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


def places(
    columns: Mapping[str, Sequence[Fold]], models: Sequence[str], home: pathlib.Path
) -> dict[str, dict[str, list[str]]]:
    """Returns the folders of each model's folds, below `home`, by column and model."""
    return {
        name: {model: [fold.folder(model).relative_to(home).as_posix() for fold in every] for model in models}
        for name, every in columns.items()
    }


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
