"""The numbers of a config that are arguments of the training step's program, not constants of it.

So runs that differ only in them are one program: they are compiled once, and may train together
(genre_jax.sweep.packed). They are float32 as the state is, the seed apart.
"""

import copy
import dataclasses
import functools
from collections.abc import Mapping

import jax
import ml_collections
import numpy as np

from genre_jax import augment, models
from genre_jax import config as config_lib
from genre_jax.augment import settings
from genre_jax.config.keys import BY_NAME
from genre_jax.training.job import Job


def is_number(key: str, value: object) -> bool:
    """Tells whether a setting, such as 'optim.learning_rate', is a number of the step."""
    section, _, name = key.partition('.')
    kind_fits = isinstance(value, int | float) and not isinstance(value, bool)
    return kind_fits and (
        (key in BY_NAME and BY_NAME[key].number)
        or (section == 'model' and 'dropout' in name)
        or (section == 'augment' and settings.is_number(name.rsplit('.', 1)[-1]))
    )


def of_config(config: ml_collections.ConfigDict) -> dict[str, np.ndarray]:
    """Returns the numbers by config key; those that are 0 stay constants: what they belong to is off."""
    flat = config_lib.flatten(config)
    return {k: array(k, v) for k, v in flat.items() if is_number(k, v) and v != 0}


def array(key: str, value: float) -> np.ndarray:
    """Returns a number in the type that the step takes it in."""
    return np.asarray(value, np.uint32 if key == 'seed' else np.float32)


def with_values(config: ml_collections.ConfigDict, values: Mapping[str, object]) -> ml_collections.ConfigDict:
    """Returns a copy of a config with other values for existing keys, which may be traced."""
    changed = copy.deepcopy(config)
    with changed.ignore_type():
        for key, value in values.items():
            *sections, name = key.split('.')
            functools.reduce(lambda inner, section: inner[section], sections, changed)[name] = value
    return changed


def with_numbers(job: Job, numbers: Mapping[str, jax.Array]) -> Job:
    """Returns a job with these numbers, by config key, in its config, model and augmentation."""
    config = with_values(job.config, numbers)
    labels = job.stored.labels
    return dataclasses.replace(
        job,
        config=config,
        model=models.build(config.model, len(labels)),
        augmentation=augment.Augmentation(config.augment, labels),
    )
