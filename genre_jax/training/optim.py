"""Optimisers and learning-rate schedules."""

from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax

from genre_jax import config as config_lib
from genre_jax.errors import UserError


def in_use(value: float | jax.Array) -> bool:
    """Tells whether a number of the config does anything: whether it is not 0.

    One that is an argument of the program (genre_jax.training.step_numbers) is in use.
    """
    return isinstance(value, jax.Array) or value != 0


def make_schedule(config: ml_collections.ConfigDict, length: config_lib.Length) -> optax.Schedule:
    """Builds the learning rate as a function of the step: linear warm-up, then what config.optim says.

    'halving' counts its periods from the first step, as PyTorch's StepLR; of 'plateau' this is the rate
    before it falls (genre_jax/training/watch.py). A warm-up as long as the training is a UserError.
    """
    settings = config.optim
    warmup = config_lib.duration_steps(settings.warmup, 'optim.warmup', length)
    if warmup >= length.total_steps:
        raise UserError(
            f'config.optim.warmup={settings.warmup!r} is {warmup} steps, and the whole training '
            f'{length.total_steps}: shorten it, or lengthen config.train.length'
        )
    peak = settings.learning_rate
    rise = optax.linear_schedule(0.0, peak, warmup) if warmup else optax.constant_schedule(peak)
    if settings.schedule == 'cosine':
        # Not warmup_cosine_decay_schedule: it asks whether the rate is 0, which a traced one cannot tell.
        fall = optax.cosine_decay_schedule(peak, length.total_steps - warmup)
        return optax.join_schedules([rise, fall], [warmup])
    if settings.schedule != 'halving':
        return rise
    period = config_lib.every_steps(config, 'optim.halve_every', length)
    return lambda step: rise(step) * 0.5 ** jnp.floor(step / period)


def make_optimizer(
    config: ml_collections.ConfigDict, schedule: optax.Schedule, factors: Mapping[str, float] | None = None
) -> optax.GradientTransformation:
    """Builds the optimiser of config.optim, in the formulas of torch.optim.

    `factors` are those of the learning rate, by path of the parameter; None: all 1.
    """
    settings = config.optim
    betas = {name: settings[name] for name in ('b1', 'b2', 'eps')}
    if settings.name == 'adamw':
        parts = [optax.adamw(schedule, **betas, weight_decay=settings.weight_decay)]
    elif settings.name == 'adam':
        parts = [optax.adam(schedule, **betas)]
    else:
        parts = [optax.sgd(schedule, settings.momentum if in_use(settings.momentum) else None)]
    if settings.name != 'adamw' and in_use(settings.weight_decay):
        parts.insert(0, optax.add_decayed_weights(settings.weight_decay))
    if factors and any(factor != 1 for factor in factors.values()):
        parts.append(_scale_by_path(factors))
    return optax.chain(*parts)


def _scale_by_path(factors: Mapping[str, float]) -> optax.GradientTransformation:
    def scale(updates: Any, params: Any) -> Any:
        del params
        flat = flax.traverse_util.flatten_dict(updates, sep='/')
        scaled = {path: value * factors[path] for path, value in flat.items()}
        return flax.traverse_util.unflatten_dict(scaled, sep='/')

    return optax.stateless(scale)


def clipped(gradients: Any, norm: float | jax.Array) -> Any:
    """Returns the gradients, shortened where all of them together are longer than `norm` (0: never)."""
    if not in_use(norm):
        return gradients
    return optax.clip_by_global_norm(norm).update(gradients, optax.EmptyState())[0]


def moving_average(average: Any, new: Any, decay: float | jax.Array, step: jax.Array) -> Any:
    """Returns decay * average + (1 - decay) * new; after the first step (step 0) the new values themselves.

    So does PyTorch's AveragedModel with get_ema_multi_avg_fn and use_buffers.
    """
    kept = jnp.where(step == 0, 0.0, decay)
    return jax.tree.map(lambda old, value: kept * old + (1 - kept) * value, average, new)
