"""Classical classifiers: their settings in one table, and how they are fitted.

Fitted with scikit-learn and XGBoost, seeded by config.seed, on training rows alone: columns are scaled to
mean 0 and deviation 1 by those rows, except for trees, which do not mind. Every classifier gives
probabilities. The two that have only margins (`svm`, `sgd`) get them from Platt's sigmoids (1999), fitted to
margins of training rows that were left out in turn, song by song, and divided by their sum; the largest
need not be the class of the largest margin.

The settings are not those of a publication: Ma et al. print accuracies collected from notebooks, without
settings. They are the libraries' defaults but where the table says otherwise.
"""

import ast
import dataclasses
import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.config import nearest
from genre_jax.errors import UserError

# Heavy imports are inside the functions: programs read this table for their flags.

_CALIBRATION_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Model:
    """A classifier."""

    title: str  # for people
    estimator: str  # module and class
    settings: Mapping[str, object]  # what its constructor gets
    scaled: bool  # whether columns are standardised first
    calibrated: bool  # whether its margins become probabilities by Platt's sigmoids


# Those of Ma et al., in the order of their Figure 9.
MODELS = {
    # scikit-learn's and XGBoost's own defaults are 100 trees each; more change little but the noise.
    'xgboost': Model(
        'XGBoost', 'xgboost.XGBClassifier', {'n_estimators': 300, 'learning_rate': 0.1}, False, False
    ),
    'forest': Model(
        'random forest', 'sklearn.ensemble.RandomForestClassifier', {'n_estimators': 300}, False, False
    ),
    'knn': Model(
        'k nearest neighbours', 'sklearn.neighbors.KNeighborsClassifier', {'n_neighbors': 5}, True, False
    ),
    'svm': Model(
        'support vector machine (RBF)', 'sklearn.svm.SVC', {'kernel': 'rbf', 'C': 1.0}, True, True
    ),
    # More iterations than by default, which do not suffice on correlated columns.
    'logistic': Model(
        'logistic regression', 'sklearn.linear_model.LogisticRegression', {'C': 1.0, 'max_iter': 2000},
        True, False,
    ),
    'sgd': Model(
        'linear SVM, by SGD', 'sklearn.linear_model.SGDClassifier',
        {'loss': 'hinge', 'max_iter': 5000}, True, True,
    ),
    'tree': Model('decision tree', 'sklearn.tree.DecisionTreeClassifier', {}, False, False),
    # Scaled: what it adds to every variance is a share of the largest.
    'naive_bayes': Model('Gaussian naive Bayes', 'sklearn.naive_bayes.GaussianNB', {}, True, False),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Examples:
    """What a classifier is fitted to."""

    rows: np.ndarray  # features, float [n, columns]
    labels: np.ndarray  # class ids, int [n]; every class occurs
    songs: np.ndarray  # the song of each row, any type [n]
    classes: Sequence[str]  # names of the classes


def choose(names: str, overrides: Sequence[str]) -> dict[str, dict[str, object]]:
    """Reads which models are wanted, with which settings: {model: settings}, in the order of MODELS.

    `names` are 'all', or those of MODELS with commas between, `overrides` 'MODEL.SETTING=VALUE', the value as
    in Python, or a word. An unknown model or setting, or a library that is not installed, is a UserError.
    """
    wanted = list(MODELS) if names == 'all' else [name.strip() for name in names.split(',')]
    for name in wanted:
        if name not in MODELS:
            raise UserError(f'--models: unknown model {name!r}{nearest(name, (*MODELS, "all"))}')
    chosen = {name: dict(model.settings) for name, model in MODELS.items() if name in wanted}
    if 'xgboost' in chosen and importlib.util.find_spec('xgboost') is None:
        others = ','.join(name for name in MODELS if name != 'xgboost')
        package = 'xgboost' if sys.platform == 'darwin' else 'xgboost-cpu'  # which has no wheel for macOS
        raise UserError(f'the model xgboost needs XGBoost: pip install {package}, or --models={others}')
    for text in overrides:
        key, separator, value = text.partition('=')
        name, dot, setting = key.partition('.')
        if not (separator and dot and setting):
            raise UserError(f'--set={text}: expected MODEL.SETTING=VALUE, such as knn.n_neighbors=19')
        if name not in MODELS:
            raise UserError(f'--set={text}: unknown model {name!r}{nearest(name, MODELS)}')
        if name not in chosen:
            raise UserError(f'--set={text}: {name} is not among --models={names}')
        known = set(_estimator_class(name)().get_params()) - {'random_state', 'n_jobs'}
        if setting not in known:
            hint = nearest(setting, known)
            raise UserError(f'--set={text}: {name} has no setting {setting!r}{hint}')
        try:
            chosen[name][setting] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            chosen[name][setting] = value
    return chosen


def _estimator_class(name: str) -> type:
    # XGBoost's threads wait in busy loops otherwise: where other programs run on the same cores, a fit takes
    # a hundred times as long. Read when the first of the two libraries is loaded, which is here.
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    module, _, kind = MODELS[name].estimator.rpartition('.')
    return getattr(importlib.import_module(module), kind)


def fit(name: str, settings: Mapping, examples: Examples, seed: int) -> tuple[object, list[str]]:
    """Fits a classifier, a key of MODELS, to the training part; returns it, and the library's warnings.

    `settings` are those of its constructor, `seed` is of what it draws. A UserError where the settings cannot
    be, or do not fit the examples.
    """
    _check(name, settings, examples)
    model = _build(name, settings, examples, seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            model.fit(examples.rows.astype(np.float64), examples.labels)
        except (ValueError, TypeError) as error:
            given = ', '.join(f'{key}={value!r}' for key, value in settings.items())
            words = ' '.join(str(error).split())[:300]
            raise UserError(f'{name} with {given or "default settings"} cannot be fitted: {words}') from None
    notes = {
        ' '.join(str(each.message).split())[:200]
        for each in caught
        if issubclass(each.category, UserWarning)  # not those for programmers
    }
    return model, [f'{name}: {note}' for note in sorted(notes)]


def _build(name: str, settings: Mapping, examples: Examples, seed: int) -> object:
    kind = _estimator_class(name)
    import sklearn.calibration
    import sklearn.pipeline
    import sklearn.preprocessing

    ours = {'random_state': seed, 'n_jobs': -1}
    taken = ours.keys() & kind().get_params()
    model = kind(**{key: ours[key] for key in taken}, **settings)
    if MODELS[name].scaled:
        model = sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), model)
    if MODELS[name].calibrated:
        folds = _calibration_folds(name, examples)
        model = sklearn.calibration.CalibratedClassifierCV(model, method='sigmoid', cv=folds, ensemble=False)
    return model


def probabilities(model: object, rows: np.ndarray) -> np.ndarray:
    """Returns the probabilities of all classes, float32 [n, classes], for features [n, columns]."""
    return model.predict_proba(rows.astype(np.float64)).astype(np.float32)


def _check(name: str, settings: Mapping, examples: Examples) -> None:
    bad = np.flatnonzero(~np.isfinite(examples.rows).all(1))
    if len(bad):
        raise UserError(
            f'{len(bad)} of {len(examples.rows)} training rows hold numbers that are not finite, the '
            f'first of song {examples.songs[bad[0]]!r}: correct the features, or leave the song out'
        )
    classes = examples.classes
    for missing in np.flatnonzero(np.bincount(examples.labels, minlength=len(classes)) == 0):
        raise UserError(f'class {classes[missing]!r} has no row in the training part')
    neighbours = settings.get('n_neighbors', 0)
    if name == 'knn' and isinstance(neighbours, int) and neighbours > len(examples.rows):
        raise UserError(
            f'knn.n_neighbors={neighbours}: the training part has only {len(examples.rows)} rows; set '
            f'--set=knn.n_neighbors={len(examples.rows)} or fewer'
        )


def _calibration_folds(name: str, examples: Examples) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns rows that train and rows that are left out, of whole songs: else margins would be too sure."""
    import sklearn.model_selection

    names, first, song = np.unique(examples.songs, return_index=True, return_inverse=True)
    label_of_song = examples.labels[first]
    songs = np.bincount(label_of_song, minlength=len(examples.classes))
    if songs.min() < 2:
        raise UserError(
            f'class {examples.classes[songs.argmin()]!r} has one song in the training part, and {name} needs '
            'two for its probabilities: add recordings, drop the class, or leave the model out of --models'
        )
    folds = sklearn.model_selection.StratifiedKFold(int(min(_CALIBRATION_FOLDS, songs.min())))
    return [
        tuple(np.flatnonzero(np.isin(song, part)) for part in fold)
        for fold in folds.split(names, label_of_song)
    ]
