"""Optimisers and learning-rate schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax
import ml_collections
import optax

from genre_jax import config as config_lib
from genre_jax.errors import UserError


def make_schedule(config: ml_collections.ConfigDict, length: config_lib.Length) -> optax.Schedule:
    """Builds the learning rate as a function of the step: linear warm-up, then constant or cosine.

    Args:
        config: the whole config.
        length: of the training.

    Raises:
        UserError: the warm-up is as long as the training.
    """
    settings = config.optim
    warmup = config_lib.duration_steps(settings.warmup, 'optim.warmup', length)
    if warmup >= length.total_steps:
        raise UserError(
            f'config.optim.warmup={settings.warmup!r} is {warmup} steps, and the whole training '
            f'{length.total_steps}: shorten it, or lengthen config.train.length'
        )
    if settings.schedule == 'cosine':
        return optax.warmup_cosine_decay_schedule(
            0.0 if warmup else settings.learning_rate,
            settings.learning_rate,
            warmup,
            length.total_steps,
        )
    if not warmup:
        return optax.constant_schedule(settings.learning_rate)
    return optax.linear_schedule(0.0, settings.learning_rate, warmup)


def make_optimizer(
    config: ml_collections.ConfigDict,
    schedule: optax.Schedule,
    factors: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """Builds the optimiser of config.optim.

    Args:
        config: the whole config.
        schedule: the learning rate.
        factors: of the learning rate, by path of the parameter; None: all 1.
    """
    settings = config.optim
    optimizer = optax.adam(schedule, b1=settings.b1, b2=settings.b2, eps=settings.eps)
    if not factors or all(factor == 1 for factor in factors.values()):
        return optimizer
    return optax.chain(optimizer, _scale_by_path(factors))


def _scale_by_path(factors: Mapping[str, float]) -> optax.GradientTransformation:
    def scale(updates: Any, params: Any) -> Any:
        del params
        flat = flax.traverse_util.flatten_dict(updates, sep='/')
        scaled = {path: value * factors[path] for path, value in flat.items()}
        return flax.traverse_util.unflatten_dict(scaled, sep='/')

    return optax.stateless(scale)
