"""What stays fixed during one training, and how stored audio becomes what the model sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
from jax.sharding import Mesh

from genre_jax import augment, features, freezing, init_from, loader, models, sharding
from genre_jax import config as config_lib
from genre_jax.convert.engine import Converted
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
        labels: of the classes.
        plan: which parameters train, and when.
        source: the checkpoint that the training begins with, if it does.
    """

    config: ml_collections.ConfigDict
    length: config_lib.Length
    mesh: Mesh
    model: flax.linen.Module
    front_end: features.FrontEnd
    augmentation: augment.Augmentation
    stored_hz: int
    window: int
    labels: tuple[str, ...]
    plan: freezing.Plan | None = None
    source: Converted | None = None

    def init(self, key: jax.Array) -> dict:
        """Draws the model's variables."""
        audio = jnp.zeros((self.mesh.size, self.window), jnp.int16)
        return self.model.init(key, self.featurize(audio), train=False)

    @property
    def picture(self) -> tuple[int, ...]:
        """Shape of one example's features."""
        audio = jax.ShapeDtypeStruct((self.mesh.size, self.window), jnp.int16)
        return jax.eval_shape(self.featurize, audio).shape[1:]

    def initial(self, fresh: Mapping) -> tuple[dict, list[str]]:
        """Replaces freshly drawn variables, or their shapes, by those of the checkpoint.

        Args:
            fresh: what `init` returns.

        Returns:
            The variables, and lines that tell what was taken.

        Raises:
            UserError: the checkpoint does not fit.
        """
        return init_from.variables(
            self.source,
            self.model,
            fresh,
            name=self.config.model.name,
            new=self.config.init.new,
            labels=self.labels,
            picture=self.picture,
        )

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
    source: Converted | None = None,
) -> Job:
    """Puts the parts of a training together.

    Args:
        config: the whole config.
        dataset: the prepared dataset.
        table: its training windows.
        mesh: all devices.
        source: the checkpoint to begin with, if any.

    Raises:
        UserError: augmentations that do not fit the pictures or the batch, a model that does not fit the
            pictures or the checkpoint, layers to freeze that do not exist.
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
        labels=tuple(dataset.labels),
        source=source,
    )
    augmentation.check_picture(*job.picture)
    if augmentation.mixes and config.train.batch_size % (2 * mesh.size):
        raise UserError(
            f'config.train.batch_size={config.train.batch_size}: mixing needs pairs of examples on each '
            f'of {mesh.size} devices; expected a multiple of {2 * mesh.size}'
        )
    shapes = jax.eval_shape(job.init, jax.random.key(0))
    if source is not None:
        job.initial(shapes)
    plan = freezing.make_plan(config, job.model, shapes['params'], job.length)
    return dataclasses.replace(job, plan=plan)
