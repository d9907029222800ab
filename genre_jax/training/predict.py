"""Prediction with a trained model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import numpy as np

from genre_jax import sharding
from genre_jax.loading import loader
from genre_jax.loading.resident import Resident
from genre_jax.training import step as train
from genre_jax.training.job import Job


def make_predict(
    job: Job, resident: Resident | None = None
) -> Callable[[Mapping, loader.WindowTable], np.ndarray]:
    """Compiles prediction; the result maps variables and a table to probabilities [windows, classes].

    Args:
        job: what stays fixed.
        resident: the records, where they lie on the devices.
    """
    whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)

    def probabilities(variables, audio):
        logits, _ = job.model.apply(variables, job.featurize(audio), train=False)
        return jax.nn.softmax(logits)

    step = jax.jit(probabilities, in_shardings=(whole, split), out_shardings=whole)

    def predict(variables: Mapping, table: loader.WindowTable) -> np.ndarray:
        batches = loader.eval_batches(
            table, batch_size=job.config.eval.batch_size, **train.reading(job, resident)
        )
        outputs = []
        for batch in batches:
            examples = train.put(batch, job, resident)[job.stored.kind]
            outputs.append(jax.device_get(step(variables, examples)))
        return np.concatenate(outputs)[: len(table)]

    return predict
