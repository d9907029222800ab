"""Ways to find how much each member of a blend counts.

Each takes what the members say of the same rows, probabilities [M, n, C], and the rows' class ids [n], and
returns something with `apply`, which blends other rows of the same members. Nothing here knows which part of
a split the rows are from.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from genre_jax.blend import integer_weights
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate
from genre_jax.logbook import progress_bar

# scikit-learn's C, the strongest penalty first.
_INVERSE_PENALTIES = tuple(10.0**exponent for exponent in range(-4, 3))
_INNER_FOLDS = 5
_SMALLEST_PROBABILITY = 1e-4  # that is told apart from none


@dataclasses.dataclass(frozen=True)
class Weighted:
    """A weighted sum of votes."""

    weights: np.ndarray  # of the members, float64 [M], none negative
    votes: str  # of integer_weights.cast_votes, or '' for the probabilities as they are
    facts: dict[str, Any]  # how they were found, for result.json

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Blends: [M, n, C] -> float64 [n, C], rows sum to 1."""
        if self.votes:
            probabilities = integer_weights.cast_votes(probabilities, self.votes)
        total = np.tensordot(self.weights, probabilities.astype(np.float64), 1)
        return total / total.sum(-1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Stacked:
    """A logistic regression on log-probabilities."""

    model: Any  # fitted scikit-learn LogisticRegression
    n_classes: int  # C
    facts: dict[str, Any]  # how it was found, for result.json

    @property
    def weights(self) -> np.ndarray:
        """Returns each member's share of the absolute coefficients, float64 [M], 1 in all."""
        coefficients = np.abs(self.model.coef_)
        total = coefficients.reshape(len(coefficients), -1, self.n_classes).sum((0, 2))
        return total / total.sum()

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Blends: [M, n, C] -> float64 [n, C], rows sum to 1."""
        return _all_classes(self.model, _log_features(probabilities), self.n_classes)


def mean(probabilities: np.ndarray, labels: np.ndarray) -> Weighted:
    """Lets every member count the same, whatever the labels."""
    return Weighted(np.ones(len(probabilities)), '', {})


def integer(
    probabilities: np.ndarray, labels: np.ndarray, votes: str, max_weight: int, grow_by: int
) -> Weighted:
    """Tries all integer weights (Ma et al.); the arguments are those of integer_weights.search."""
    weights, facts = integer_weights.search(probabilities, labels, votes, max_weight, grow_by)
    return Weighted(weights.astype(np.float64), votes, facts)


def greedy(
    probabilities: np.ndarray, labels: np.ndarray, metric: str = 'log_loss', steps: int = 100, bags: int = 0
) -> Weighted:
    """Adds one member after another, each as often as it helps (Caruana et al. 2004).

    Every step adds the member, drawn before or not, with which the mean of all drawn so far is best by
    `metric`, 'log_loss' or 'accuracy' of the rows; the weights are how often each was drawn up to the best
    step. Of equally good members the first is taken, of equally good steps the earliest. `bags` are
    repetitions, each with a random half of the members, whose weights are averaged; 0: one, with all.
    """
    members = np.arange(len(probabilities))
    rng, half = np.random.default_rng(0), (len(members) + 1) // 2
    libraries = [np.sort(rng.choice(members, half, replace=False)) for _ in range(bags)]
    weights, losses = np.zeros(len(members)), []
    for library in libraries or [members]:
        draws, loss = _draw(probabilities[library].astype(np.float64), labels, metric, steps)
        weights[library] += draws if not bags else draws / draws.sum() / bags
        losses.append(loss)
    name, sign = ('accuracy', -1) if metric == 'accuracy' else ('log_loss', 1)
    return Weighted(weights, '', {name: sign * float(np.mean(losses))})


def _draw(probabilities: np.ndarray, labels: np.ndarray, metric: str, steps: int) -> tuple[np.ndarray, float]:
    """Returns how often each member is drawn up to the best step, and the loss there."""

    def loss(blended: np.ndarray) -> float:
        if metric == 'accuracy':
            return -float((blended.argmax(-1) == labels).mean())
        return float(evaluate.log_losses(labels, blended).mean())

    total = np.zeros(probabilities.shape[1:])
    draws = np.zeros(len(probabilities))
    best, least = draws, np.inf
    for step in range(1, steps + 1):
        losses = [loss((total + member) / step) for member in probabilities]
        chosen = int(np.argmin(losses))
        total += probabilities[chosen]
        draws[chosen] += 1
        if losses[chosen] < least:
            best, least = draws.copy(), losses[chosen]
    return best, least


def stacking(probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[str]) -> Stacked:
    """Fits a multinomial logistic regression to the members' log-probabilities (Wolpert 1992).

    How strong its L2 penalty is, a cross-validation over the groups of the same rows decides, by log loss. A
    UserError where there are fewer than two groups, or one class only.
    """
    import sklearn.linear_model
    import sklearn.model_selection

    n_classes = probabilities.shape[-1]
    folds = min(_INNER_FOLDS, len(set(groups)), np.bincount(labels).max())
    features = _log_features(probabilities)
    parts = []
    if folds > 1:
        inner = sklearn.model_selection.StratifiedGroupKFold(folds, shuffle=True, random_state=0)
        with warnings.catch_warnings():
            # A class with fewer rows than folds is missing in some of them: that does no harm.
            warnings.filterwarnings('ignore', message='The least populated class')
            parts = [
                (train, test)
                for train, test in inner.split(features, labels, groups)
                if np.isin(labels[test], labels[train]).any() and len(np.unique(labels[train])) > 1
            ]
    if not parts:
        raise UserError(
            f'--method=stacking: {len(labels)} rows of {len(set(groups))} groups and '
            f'{len(np.unique(labels))} classes are too few to choose its penalty by cross-validation: '
            'use --method=mean'
        )

    def fitted(inverse_penalty: float, rows: np.ndarray) -> Any:
        # On so little, L-BFGS takes hundreds of steps, whose threads wait for each other.
        model = sklearn.linear_model.LogisticRegression(C=inverse_penalty, solver='newton-cg', max_iter=1000)
        return model.fit(features[rows], labels[rows])

    losses = []
    with progress_bar(len(_INVERSE_PENALTIES) * len(parts), 'fits', 'penalties') as bar:
        for inverse_penalty in _INVERSE_PENALTIES:
            each = []
            for train, test in parts:
                model = fitted(inverse_penalty, train)
                # A class whose only group is left out cannot be learnt, whatever the penalty.
                test = test[np.isin(labels[test], model.classes_)]
                blended = _all_classes(model, features[test], n_classes)
                each.append(evaluate.log_losses(labels[test], blended))
                bar.update()
            losses.append(float(np.concatenate(each).mean()))
    chosen = _INVERSE_PENALTIES[int(np.argmin(losses))]
    model = fitted(chosen, np.arange(len(labels)))
    by_penalty = zip(_INVERSE_PENALTIES, losses, strict=True)
    facts = {
        'inverse_penalty': chosen,
        'inner_log_loss': {f'{penalty:g}': loss for penalty, loss in by_penalty},
        'coefficients': model.coef_.tolist(),
        'intercepts': model.intercept_.tolist(),
    }
    return Stacked(model, n_classes, facts)


def _log_features(probabilities: np.ndarray) -> np.ndarray:
    """[M, n, C] -> [n, M * C]."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST_PROBABILITY))
    return logs.swapaxes(0, 1).reshape(probabilities.shape[1], -1)


def _all_classes(model: Any, features: np.ndarray, n_classes: int) -> np.ndarray:
    """Probabilities of all classes: 0 for those that the model was not fitted to."""
    found = np.zeros((len(features), n_classes))
    found[:, model.classes_] = model.predict_proba(features)
    return found
