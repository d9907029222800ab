"""Every classical model in every fold of every protocol, each with a folder like that of a run."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence

import ml_collections
import numpy as np

from genre_jax.classical import estimators
from genre_jax.embeddings.network import Network
from genre_jax.loading import protocols, run_data
from genre_jax.study import cells
from genre_jax.study.cells import Answer, Fold

LEVELS = {'segment': 'by row or segment', 'song': 'by song (summed probabilities)'}


def fill(
    fold: Fold,
    model: str,
    settings: Mapping[str, object],
    features: Callable[[], Mapping[str, np.ndarray]],
) -> None:
    """Fits a model to the training part of a fold and writes its folder, unless that is finished."""
    table = fold.tables['train']

    def fit(rows: Mapping[str, np.ndarray]) -> tuple[object, list[str]]:
        examples = estimators.Examples(rows['train'], table.labels, fold.songs[table.track])
        return estimators.fit(model, settings, examples, fold.dataset.labels, fold.config.seed)

    def answer(fitted: tuple[object, list[str]], rows: Mapping[str, np.ndarray]) -> Answer:
        estimator, notes = fitted
        predictions = {
            part: fold.tables[part].predictions(estimators.probabilities(estimator, rows[part]))
            for part in ('val', 'test')
        }
        return Answer(predictions, notes)

    fold.fill(model, settings, features, fit, answer)


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
    network = Network(config, checkpoint, workdir / 'embeddings') if checkpoint else None
    config = network.config if network else config
    source = pathlib.Path(checkpoint).resolve().name if network else cells.ROWS
    dataset = run_data.open_dataset(config)
    opened = {}
    for name in list(names) or protocols.that_differ(dataset.tracks):
        one = config.copy_and_resolve_references()
        # They are there to be compared, and what leaks is marked.
        one.split.allow_leak = config.split.allow_leak or name in protocols.WORDS
        home = cells.protocol_home(workdir, name, source)
        opened[name] = cells.open_folds(one, name, folds, home, dataset, network)
    outcomes = cells.run(
        opened,
        list(models),
        lambda fold, model, features: fill(fold, model, models[model], features),
        'models',
    )
    figures = []
    for model in models:
        own = {name: outcomes[name, model] for name in opened}
        samples = config.eval.bootstrap_samples
        if folds:
            compared = cells.compare(own, samples)
        else:  # each protocol has test songs of its own: no differences
            compared = {
                name: cells.compare({name: each}, samples)[name] for name, each in own.items()
            }
        figures += [
            {
                'model': model,
                'protocol': name,
                'leaky': own[name].leaky,
                'level': level,
                'accuracy': compared[name][level]['accuracy'],
                'accuracy_ci95': compared[name][level]['accuracy_ci95'],
                'above_strictest': compared[name][level]['inflation'] if folds else None,
                'above_ci95': compared[name][level]['inflation_ci95'] if folds else None,
                'fit_s': own[name].fit_s,
            }
            for name in opened
            for level in LEVELS
        ]
    return cells.describe(dataset, folds) | {
        'features': f'embeddings of {checkpoint} on ' if network else '',
        'protocols': {
            name: {'leaky': every[0].split.leaky, 'detail': every[0].split.detail}
            for name, every in opened.items()
        },
        'figures': figures,
    }
