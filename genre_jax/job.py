"""What stays fixed during one training, and how stored audio becomes what the model sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
from jax.sharding import Mesh

from genre_jax import augment, features, loader, models, sharding
from genre_jax import config as config_lib
from genre_jax.errors import UserError
from genre_jax.features.resample import resample


@dataclasses.dataclass(frozen=True)
class Job:
    """What stays fixed during one training.

    Attributes:
        config: the whole config.
        length: of the training.
        mesh: all devices.
        model: the network.
        front_end: waveform to features.
        augmentation: of training examples.
        stored_hz: sample rate of the prepared audio.
        window: length of a window in stored samples.
    """

    config: ml_collections.ConfigDict
    length: config_lib.Length
    mesh: Mesh
    model: flax.linen.Module
    front_end: features.FrontEnd
    augmentation: augment.Augmentation
    stored_hz: int
    window: int

    def featurize(self, audio: jax.Array) -> jax.Array:
        """Turns int16 windows (batch, time) into features (batch, frames, bins), on their devices."""
        return self._on_own_device(lambda audio: self.front_end(self._waveform(audio)))(audio)

    def training_examples(
        self, key: jax.Array, audio: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Turns int16 windows into augmented features and targets, on their devices.

        Args:
            key: random key of the step.
            audio: int16 (batch, time).
            labels: int32 (batch,).

        Returns:
            Features (batch, frames, bins), and targets (batch, classes) that sum to 1; half as many
            where mixup halves the batch.
        """
        augmentation = self.augmentation

        def one_device(
            key: jax.Array, audio: jax.Array, labels: jax.Array, index: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            targets = jax.nn.one_hot(labels, self.model.num_classes)
            waveforms = augmentation.waveforms(key, self._waveform(audio), labels, index)
            waveforms, targets = augmentation.mixed('waveform', key, waveforms, targets, index)
            thinning = len(index) // len(targets)
            labels, index = labels[::thinning], index[::thinning]
            pictures = augmentation.pictures(key, self.front_end(waveforms), labels, index)
            return augmentation.mixed('picture', key, pictures, targets, index)

        return self._on_own_device(one_device, n_replicated=1)(
            key, audio, labels, jnp.arange(len(labels))
        )

    def _waveform(self, audio: jax.Array) -> jax.Array:
        waveform = audio.astype(jnp.float32) / 32767
        waveform = resample(waveform, self.stored_hz, self.front_end.sample_rate_hz)
        return waveform[:, : self.n_samples]

    @property
    def n_samples(self) -> int:
        """Length of a window at the front end's rate."""
        return round(self.config.windows.window_s * self.front_end.sample_rate_hz)

    def _on_own_device(self, function: Callable, n_replicated: int = 0) -> Callable:
        """Lets each device compute its own examples; the first arguments may be the same for all."""
        # shard_map: left to itself XLA gathers the whole batch on every device before an FFT.
        split, whole = sharding.by_example(self.mesh).spec, sharding.replicated(self.mesh).spec

        def sharded(*arguments: jax.Array) -> Any:
            specs = tuple(whole if i < n_replicated else split for i in range(len(arguments)))
            return jax.shard_map(function, mesh=self.mesh, in_specs=specs, out_specs=split)(
                *arguments
            )

        return sharded


def make_job(
    config: ml_collections.ConfigDict,
    dataset: loader.Dataset,
    table: loader.WindowTable,
    mesh: Mesh,
) -> Job:
    """Puts the parts of a training together.

    Args:
        config: the whole config.
        dataset: the prepared dataset.
        table: its training windows.
        mesh: all devices.

    Raises:
        UserError: augmentations that do not fit the pictures or the batch.
    """
    front_end = features.build(config.features)
    augmentation = augment.Augmentation(config.augment, dataset.labels)
    job = Job(
        config=config,
        length=config_lib.resolve_length(config, len(table)),
        mesh=mesh,
        model=models.build(config.model, len(dataset.labels)),
        front_end=front_end,
        augmentation=augmentation,
        stored_hz=dataset.sample_rate_hz,
        window=table.window,
    )
    pictures = jax.eval_shape(
        job.featurize, jax.ShapeDtypeStruct((mesh.size, job.window), jnp.int16)
    )
    augmentation.check_picture(*pictures.shape[1:])
    if augmentation.mixes and config.train.batch_size % (2 * mesh.size):
        raise UserError(
            f'config.train.batch_size={config.train.batch_size}: mixing needs pairs of examples on each '
            f'of {mesh.size} devices; expected a multiple of {2 * mesh.size}'
        )
    return job
