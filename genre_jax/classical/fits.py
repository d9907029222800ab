"""Every classical model in every fold of every protocol, each with a folder like that of a run."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np
import tqdm

from genre_jax.classical import estimators
from genre_jax.classical import table as classical_report
from genre_jax.embeddings import network as embeddings
from genre_jax.evaluation import evaluate
from genre_jax.loading import prepared, protocols, run_data
from genre_jax.logbook import write_json
from genre_jax.run import folder as run_folder


class Fold:
    """One split of the data, and what models learn from in it.

    Attributes:
        config: the whole config, with this split's settings.
        folder: below --workdir.
        split: the songs of each part.
        tables: the rows or windows of each part.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        folder: pathlib.Path,
        dataset: prepared.Dataset,
        network: embeddings.Network | None,
    ) -> None:
        """Makes the split.

        Args:
            config: the whole config, with this split's settings.
            folder: below --workdir.
            dataset: the prepared dataset.
            network: whose embeddings take the place of rows, or None.
        """
        self.config, self.folder = config, folder
        self._dataset, self._network = dataset, network
        self.split = run_data.make_split(config, dataset)
        if network is not None:
            self.split = network.check_split(dataset, self.split)
            self.tables = network.tables(dataset, self.split)
        else:
            self.tables = run_data.make_tables(config, dataset, self.split)

    def rows(self) -> dict[str, np.ndarray]:
        """Returns the features of each part, float32 [rows, columns]."""
        if self._network is None:
            return {part: table.read_all() for part, table in self.tables.items()}
        return {p: self._network.embed(self._dataset, t) for p, t in self.tables.items()}

    def begin(self, name: str, settings: Mapping[str, object]) -> pathlib.Path:
        """Opens a model's folder, or finds that it holds the same model.

        Args:
            name: of the model.
            settings: of its constructor.

        Returns:
            The folder.

        Raises:
            UserError: it holds one with other settings, or of other data.
        """
        config = self.config.copy_and_resolve_references()
        config.model = ml_collections.ConfigDict({'name': name, **settings})
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.check_same_config(config, folder)
        source = self._network and self._network.source
        run_folder.write_step_zero(config, folder, self._dataset, self.split, source)
        return folder

    def fit(
        self,
        name: str,
        settings: Mapping[str, object],
        rows: Mapping[str, np.ndarray],
        folder: pathlib.Path,
    ) -> None:
        """Fits a model to the training part, tests it, and writes its folder.

        Args:
            name: of the model.
            settings: of its constructor.
            rows: of `rows`.
            folder: of `begin`.
        """
        dataset, tables = self._dataset, self.tables
        songs = np.asarray([track['track'] for track in dataset.tracks])
        groups = {track['track']: track['group'] for track in dataset.tracks}
        train_table = tables['train']
        examples = estimators.Examples(rows['train'], train_table.labels, songs[train_table.track])
        clock = [time.monotonic()]
        model, notes = estimators.fit(name, settings, examples, dataset.labels, self.config.seed)
        clock.append(time.monotonic())
        predictions = {
            part: tables[part].predictions(estimators.probabilities(model, rows[part]))
            for part in ('val', 'test')
        }
        samples = self.config.eval.bootstrap_samples
        parts = {
            part: evaluate.evaluate(each, groups, samples) for part, each in predictions.items()
        }
        labels = dataset.label_ids()[self.split.tracks['train']]
        facts = run_data.describe(dataset, self.split, tables)
        result = facts | {
            'parts': parts,
            'majority': evaluate.majority_class(labels, predictions['test'], groups, samples),
            'warnings': facts['warnings'] + notes,
        }
        for part, each in predictions.items():
            each.save(folder / 'predictions' / f'{part}.npz')
        fit_s = clock[1] - clock[0]
        timing = {
            'prepare_s': 0.0,
            'train_s': fit_s,
            'evaluate_s': time.monotonic() - clock[1],
            'examples_per_s': len(examples.rows) / fit_s,
        }
        write_json(folder / 'timing.json', timing)
        write_json(folder / 'result.json', result)


def measure(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    models: Mapping[str, Mapping[str, object]],
    names: Sequence[str],
    folds: int,
    checkpoint: str = '',
) -> dict:
    """Fits and tests every model in every fold of every protocol.

    Args:
        config: the whole config; its protocol is replaced.
        workdir: folder for the models.
        models: {model: settings}, of genre_jax.classical.estimators.choose.
        names: protocols; none: the cross-validations that differ for these data.
        folds: of the cross-validations; 0: one split.
        checkpoint: a network whose embeddings take the place of rows, or ''.

    Returns:
        What genre_jax.classical.table shows: facts about the data and 'figures', one dict for each
        model, protocol and level.

    Raises:
        UserError: a mistake in the config, the data or the settings of a model.
    """
    network = embeddings.Network(config, checkpoint, workdir / 'embeddings') if checkpoint else None
    config = network.config if network else config
    dataset = run_data.open_dataset(config)
    names = list(names) or protocols.that_differ(dataset.tracks)
    opened = {
        name: [
            Fold(one, workdir / name / place, dataset, network)
            for one, place in _fold_configs(config, name, folds)
        ]
        for name in names
    }
    bar = tqdm.tqdm(
        total=sum(map(len, opened.values())) * len(models),
        unit=' models',
        mininterval=0.5 if sys.stderr.isatty() else 30,
    )
    with bar:
        for fold in (fold for every in opened.values() for fold in every):
            rows = None
            for model, settings in models.items():
                bar.set_description(f'{fold.folder.relative_to(workdir)}/{model}')
                folder = fold.begin(model, settings)
                if not (folder / 'result.json').exists():
                    rows = rows or fold.rows()
                    fold.fit(model, settings, rows, folder)
                bar.update()
    groups = {track['group'] for track in dataset.tracks}
    return {
        'features': f'embeddings of {checkpoint} on ' if network else '',
        'dataset': dataset.manifest['description'],
        'songs': len(dataset.tracks),
        'groups': len(groups),
        'classes': len(dataset.labels),
        'group_key': dataset.manifest['group_key'],
        'folds': folds,
        'protocols': {
            name: {'leaky': every[0].split.leaky, 'detail': every[0].split.detail}
            for name, every in opened.items()
        },
        'figures': [
            figure
            for model in models
            for figure in classical_report.figures(
                model,
                {name: [fold.folder / model for fold in every] for name, every in opened.items()},
                dataset.tracks,
                folds,
                config.eval.bootstrap_samples,
            )
        ],
    }


def _fold_configs(
    config: ml_collections.ConfigDict, protocol: str, folds: int
) -> list[tuple[ml_collections.ConfigDict, str]]:
    """Returns the config of each fold, and its folder below that of the protocol."""
    configs = []
    for fold in range(max(1, folds)):
        one = config.copy_and_resolve_references()
        one.split.protocol = protocol
        # They are there to be compared, and what leaks is marked.
        one.split.allow_leak = config.split.allow_leak or protocol in protocols.WORDS
        if folds:
            one.split.update(folds=folds, fold=fold)
        configs.append((one, f'fold_{fold}' if folds else ''))
    return configs
