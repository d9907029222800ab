"""Prediction with a trained model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax import sharding
from genre_jax.loading import loader
from genre_jax.loading.feed import Feed
from genre_jax.training.job import Job


class Outputs(NamedTuple):
    """What a network gives for windows."""

    probabilities: np.ndarray  # float32 [n, C]
    energy: np.ndarray | None = None  # ln of the summed exponentials of the logits, float32 [n]
    embedding: np.ndarray | None = None  # float32 [n, units]
    # Of a network that names the tonic; else None.
    joint: np.ndarray | None = None  # probabilities of tonic and class, float32 [n, S, C]
    height: np.ndarray | None = None  # of the tonics, octaves above 1 Hz, float32 [n, S]

    def of(self, windows: Sequence[int]) -> 'Outputs':
        """Returns those of some windows."""
        return Outputs(*(None if each is None else each[windows] for each in self))


def joined(batches: Iterable[Outputs], n_windows: int) -> Outputs:
    """Joins the outputs of batches that hold so many windows and padding."""
    columns = [each for each in zip(*batches, strict=True) if each[0] is not None]
    return Outputs(*(np.concatenate(each)[:n_windows] for each in columns))


def prediction(job: Job, detailed: bool = False) -> Callable:
    """Returns prediction: variables and a batch, as a feed yields it, to probabilities; to be traced.

    Detailed, to all `Outputs`.
    """

    def predict(variables, examples):
        variables = {**variables, 'params': job.gathered(variables['params'])}
        pictures = examples['features'] if 'features' in examples else job.featurize(examples)
        named = ()
        if detailed and job.model.names_tonic:
            unknown = jnp.zeros(len(pictures))
            found, embedding = job.apply(variables, pictures, train=False, tonic_hz=unknown)
            logits, named = found.logits, (jnp.exp(found.log_joint), found.height)
        else:
            logits, embedding = job.apply(variables, pictures, train=False)
        probabilities = jax.nn.softmax(logits)
        if not detailed:
            return probabilities
        return Outputs(probabilities, jax.nn.logsumexp(logits, axis=-1), embedding, *named)

    return predict


def program(job: Job, detailed: bool = False) -> Callable:
    """Returns `prediction` as a program on the devices of the job."""
    whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)
    # The variables as they lie: by rules of the model, or whole on every device.
    return jax.jit(prediction(job, detailed), in_shardings=(None, split), out_shardings=whole)


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

    def outputs(variables: Mapping, batches: Iterable[Mapping], n_windows: int) -> Outputs:
        return joined([jax.device_get(step(variables, batch)) for batch in batches], n_windows)

    return outputs
