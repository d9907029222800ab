"""Every classical model in every fold of every protocol, each with a folder like that of a run."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import ml_collections
import numpy as np

from genre_jax.classical import estimators
from genre_jax.embeddings.network import Network
from genre_jax.evaluation.evaluate import Predictions
from genre_jax.study import protocols as study_protocols
from genre_jax.study.cells import Answer, Features, Fold


def fill(
    fold: Fold, model: str, features: Features, settings: Mapping, parts: Sequence[str] = ('train',)
) -> None:
    """Fits a model to some parts of a fold and writes its folder, unless that is finished."""
    tables = [fold.tables[part] for part in parts]
    whole = {} if parts == ('train',) else {'fitted_to': ' and '.join(parts)}

    def fit(rows: Mapping[str, np.ndarray]) -> Callable[[], Answer]:
        examples = estimators.Examples(
            np.concatenate([rows[part] for part in parts]),
            np.concatenate([table.labels for table in tables]),
            fold.songs[np.concatenate([table.track for table in tables])],
            fold.dataset.labels,
        )
        fitted, notes = estimators.fit(model, settings, examples, fold.config.seed)
        others = [part for part in fold.tables if part not in parts]

        def predictions(part: str) -> Predictions:
            said = estimators.probabilities(fitted, rows[part])
            return fold.tables[part].predictions(said)

        return lambda: Answer({part: predictions(part) for part in others}, notes)

    fold.fill(model, {**settings, **whole}, features, fit)


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
    network, source = None, ''
    if checkpoint:
        network = Network(config, checkpoint, workdir / 'embeddings')
        config, path = network.config, pathlib.Path(checkpoint).resolve()
        # The name of a fold goes with that of the folder that it lies in.
        source = '_'.join(path.parts[-2:] if path.name.startswith('fold_') else path.parts[-1:])

    def one(fold: Fold, model: str, features: Features) -> None:
        fill(fold, model, features, models[model])

    result = study_protocols.measure(config, workdir, names, folds, [*models], one, network, source, 'models')
    return result | {'features': f'embeddings of {checkpoint} on ' if network else ''}
