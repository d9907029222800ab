"""Prediction with a trained model."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

from genre_jax import sharding
from genre_jax.loading import loader
from genre_jax.loading.feed import Feed
from genre_jax.training.job import Job


def program(job: Job) -> Callable:
    """Returns prediction as a program: variables and what is stored of a batch to probabilities."""
    whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)

    def probabilities(variables, audio):
        variables = {**variables, 'params': job.gathered(variables['params'])}
        logits, _ = job.apply(variables, job.featurize(audio), train=False)
        return jax.nn.softmax(logits)

    # The variables as they lie: by rules of the model, or whole on every device.
    return jax.jit(probabilities, in_shardings=(None, split), out_shardings=whole)


def make_predict(job: Job, feed: Feed) -> Callable[[Mapping, loader.WindowTable], np.ndarray]:
    """Compiles prediction; the result maps variables and a table to probabilities [windows, classes]."""
    step = program(job)

    def predict(variables: Mapping, table: loader.WindowTable) -> np.ndarray:
        outputs = [jax.device_get(step(variables, batch)) for batch in feed.evaluate(table)]
        return np.concatenate(outputs)[: len(table)]

    return predict
