"""Watching a validation figure: the learning rate falls on a plateau, and training stops early.

What is remembered from one evaluation to the next is part of the training state, so that a run which was
cut off falls and stops at the same step as one which was not.
"""

from collections.abc import Mapping

import ml_collections
import numpy as np

# Relative gain that a plateau does not count as one, in PyTorch's ReduceLROnPlateau.
_PLATEAU_THRESHOLD = 1e-4


def lower_is_better(metric: str) -> bool:
    """Tells whether a figure such as 'val/loss' is a loss."""
    return metric.endswith('loss')


def initial(config: ml_collections.ConfigDict) -> dict[str, np.ndarray]:
    """Returns what is remembered before the first evaluation; {} where nothing is watched."""
    remembered = {}
    if config.optim.schedule == 'plateau':
        remembered |= {
            'plateau_best': _worst(config.optim.plateau_metric),
            'plateau_bad': np.int32(0),
            'plateau_scale': np.float32(1),
        }
    if config.train.stop_patience:
        remembered |= {'stop_best': _worst(config.train.stop_metric), 'stop_bad': np.int32(0)}
    return remembered


def observe(
    config: ml_collections.ConfigDict, remembered: Mapping[str, np.ndarray], figures: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Returns what is remembered after an evaluation with these figures.

    A plateau is PyTorch's ReduceLROnPlateau with its default threshold; stopping is Keras' EarlyStopping.
    """
    new = dict(remembered)
    if 'plateau_best' in new:
        settings = config.optim
        _count(new, 'plateau', settings.plateau_metric, figures, _PLATEAU_THRESHOLD)
        if new['plateau_bad'] > settings.plateau_patience:
            least = settings.plateau_min_learning_rate / settings.learning_rate
            lowered = max(new['plateau_scale'] * settings.plateau_factor, least)
            new['plateau_scale'] = np.float32(min(new['plateau_scale'], lowered))
            new['plateau_bad'] = np.int32(0)
    if 'stop_best' in new:
        _count(new, 'stop', config.train.stop_metric, figures, 0.0)
    return new


def stopped(config: ml_collections.ConfigDict, remembered: Mapping[str, np.ndarray]) -> bool:
    """Tells whether the training has stopped early, from what is remembered after the last evaluation."""
    return 'stop_bad' in remembered and bool(remembered['stop_bad'] >= config.train.stop_patience)


def _worst(metric: str) -> np.ndarray:
    return np.float32(np.inf if lower_is_better(metric) else -np.inf)


def _count(new: dict, name: str, metric: str, figures: Mapping, threshold: float) -> None:
    """Counts the evaluations in a row without gain."""
    value, best = np.float32(figures[metric]), new[f'{name}_best']
    lower = lower_is_better(metric)
    gain = value < best * (1 - threshold) if lower else value > best * (1 + threshold)
    new[f'{name}_best'] = value if gain else best
    new[f'{name}_bad'] = np.int32(0 if gain else new[f'{name}_bad'] + 1)
