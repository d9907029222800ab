"""Every classical model in every fold of every protocol, each with a folder like that of a run."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence

import ml_collections
import numpy as np

from genre_jax.classical import estimators
from genre_jax.embeddings.network import Network
from genre_jax.study import protocols as study_protocols
from genre_jax.study.cells import Answer, Fold


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
    """Fits and tests every model in every fold of every protocol, as genre_jax.study.protocols.measure does.

    `models` is {model: settings}, of estimators.choose; `checkpoint` a network whose embeddings take the
    place of rows, or ''.
    """
    network = Network(config, checkpoint, workdir / 'embeddings') if checkpoint else None
    result = study_protocols.measure(
        network.config if network else config,
        workdir,
        names,
        folds,
        list(models),
        lambda fold, model, features: fill(fold, model, models[model], features),
        network,
        _source(checkpoint) if network else '',
        'models',
    )
    return result | {'features': f'embeddings of {checkpoint} on ' if network else ''}


def _source(checkpoint: str) -> str:
    """Returns the name of a network; of a fold with that of the folder that it lies in."""
    path = pathlib.Path(checkpoint).resolve()
    return f'{path.parent.name}_{path.name}' if path.name.startswith('fold_') else path.name
