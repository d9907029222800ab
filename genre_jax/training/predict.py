"""Prediction with a trained model."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from genre_jax import sharding
from genre_jax.loading import loader
from genre_jax.loading.feed import Feed
from genre_jax.training.job import Job


class Outputs(NamedTuple):
    """What a network gives for windows."""

    probabilities: np.ndarray  # float32 [n, C]
    energy: np.ndarray  # ln of the summed exponentials of the logits, float32 [n]
    embedding: np.ndarray  # float32 [n, units]


def program(job: Job, detailed: bool = False) -> Callable:
    """Returns prediction as a program: variables and what is stored of a batch to probabilities.

    Detailed, to all `Outputs`.
    """
    whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)

    def predict(variables, audio):
        variables = {**variables, 'params': job.gathered(variables['params'])}
        logits, embedding = job.apply(variables, job.featurize(audio), train=False)
        probabilities = jax.nn.softmax(logits)
        if not detailed:
            return probabilities
        return Outputs(probabilities, jax.nn.logsumexp(logits, axis=-1), embedding)

    # The variables as they lie: by rules of the model, or whole on every device.
    return jax.jit(predict, in_shardings=(None, split), out_shardings=whole)


def make_predict(job: Job, feed: Feed) -> Callable[[Mapping, loader.WindowTable], np.ndarray]:
    """Compiles prediction; the result maps variables and a table to probabilities [windows, classes]."""
    step = program(job)

    def predict(variables: Mapping, table: loader.WindowTable) -> np.ndarray:
        outputs = [jax.device_get(step(variables, batch)) for batch in feed.evaluate(table)]
        return np.concatenate(outputs)[: len(table)]

    return predict


def make_outputs(job: Job) -> Callable[[Mapping, Iterable[jax.Array], int], Outputs]:
    """Compiles prediction of `Outputs`, of variables and batches that hold so many windows and padding."""
    step = program(job, detailed=True)

    def outputs(variables: Mapping, batches: Iterable[jax.Array], n_windows: int) -> Outputs:
        found = [jax.device_get(step(variables, batch)) for batch in batches]
        return Outputs(*(np.concatenate(each)[:n_windows] for each in zip(*found, strict=True)))

    return outputs
