"""Optimisers and learning-rate schedules."""

from __future__ import annotations

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
    config: ml_collections.ConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Builds the optimiser of config.optim.

    Args:
        config: the whole config.
        schedule: the learning rate.
    """
    settings = config.optim
    return optax.adam(schedule, b1=settings.b1, b2=settings.b2, eps=settings.eps)
