"""What stays fixed during one training, and how stored audio becomes what the model sees."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh

from genre_jax import augment, features, models, sharding
from genre_jax import config as config_lib
from genre_jax.convert import init_from
from genre_jax.convert.engine import Converted
from genre_jax.errors import UserError
from genre_jax.features.resample import resample
from genre_jax.loading import loader, prepared
from genre_jax.training import freezing, lora, losses


@dataclasses.dataclass(frozen=True)
class Job:
    """What stays fixed during one training.

    Without a mesh one device alone computes the job, inside a program for several.
    """

    config: ml_collections.ConfigDict
    length: config_lib.Length
    mesh: Mesh | None
    model: flax.linen.Module
    front_end: features.FrontEnd
    augmentation: augment.Augmentation
    stored: prepared.Stored
    plan: freezing.Plan | None = None
    source: Converted | None = None  # the checkpoint that the training begins with
    class_weights: np.ndarray | None = None  # of the loss, float32 [C]

    @property
    def _smallest_batch(self) -> dict[str, jax.ShapeDtypeStruct]:
        return self.stored.heard(1 if self.mesh is None else sharding.batch_parts(self.mesh))

    def init(self, key: jax.Array) -> dict:
        """Draws the model's variables."""
        features = self.featurize(
            {key: jnp.zeros(x.shape, x.dtype) for key, x in self._smallest_batch.items()}
        )
        with lora.dense_layers() as dense:
            variables = self.model.init(key, features, train=False)
        if self.config.optim.lora_rank:
            dense = {layer for layer in dense if layer.split('/')[0] not in self.model.blocks[-1]}
            params = lora.added(variables['params'], dense, self.config.optim, key)
            variables = variables | {'params': params}
        return variables

    @property
    def picture(self) -> tuple[int, ...]:
        """Shape of one example's features."""
        return jax.eval_shape(self.featurize, self._smallest_batch).shape[1:]

    def of_length(self, table: loader.WindowTable) -> Job:
        """Returns the same for windows of another length, those of a table."""
        config = self.config.copy_and_resolve_references()  # sections as well
        config.windows.window_s = table.stored.shape[0] / table.stored.sample_rate_hz
        return dataclasses.replace(self, config=config, stored=table.stored)

    def check_takes(self, variables: Mapping) -> None:
        """Refuses windows that are too short for the front end, or of a length that the model does not take.

        A UserError; `variables` may be shapes alone.
        """
        window_s = self.config.windows.window_s
        where = f'config.eval.excerpts_s, {window_s:g} s'
        try:
            if self.front_end.kind == 'audio':
                self.front_end.check_length(round(window_s * self.front_end.sample_rate_hz))
            features = jax.ShapeDtypeStruct((1, *self.picture), jnp.float32)
            jax.eval_shape(lambda *each: self.model.apply(*each, train=False), variables, features)
        except UserError as error:
            raise UserError(f'{where}: {error}') from None
        except flax.errors.ScopeParamShapeError:
            raise UserError(
                f'{where}: config.model.name={self.config.model.name!r} takes windows of '
                'config.windows.window_s alone: expected ()'
            ) from None

    def initial(self, fresh: Mapping) -> tuple[dict, list[str]]:
        """Puts the checkpoint's variables in place of fresh ones, and tells in lines what was taken.

        A checkpoint that does not fit is a UserError.
        """
        network, adapters = lora.split(fresh['params'])
        variables, lines = init_from.variables(
            self.source,
            self.model,
            {**fresh, 'params': network},
            name=self.config.model.name,
            new=self.config.init.new,
            labels=self.stored.labels,
            picture=self.picture,
        )
        params = freezing.merge(variables['params'], adapters)
        return variables | {'params': params}, lines + self.other_recordings()

    def other_recordings(self) -> list[str]:
        """Says how the recordings differ that the checkpoint was trained on, as far as is known."""
        if self.source is None:
            return []
        heard = self.config.windows.window_s, self.stored.sample_rate_hz
        return init_from.other_recordings(self.source, self.front_end, *heard)

    def loaded(self) -> dict:
        """Returns the variables of the checkpoint, whole on every device: for a model that is not trained."""
        variables, _ = self.initial(jax.device_get(jax.jit(self.init)(jax.random.key(0))))
        return jax.device_put(variables, sharding.replicated(self.mesh))

    def featurize(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Turns what is stored into features (batch, frames, bins), on their devices.

        A batch holds that under its kind, and 'tonic_hz' for front ends that need it.
        """

        def one_device(stored: jax.Array, *tonic_hz: jax.Array) -> jax.Array:
            return self.front_end(self._waveform(stored), *tonic_hz)

        everywhere = sharding.on_own_device(one_device, self.mesh)
        return everywhere(batch[self.stored.kind], *self._tonics(batch))

    def _tonics(self, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, ...]:
        """Returns what the front end takes besides what is stored."""
        return (batch['tonic_hz'],) if self.front_end.needs_tonic else ()

    def training_examples(
        self, key: jax.Array, batch: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """Turns what is stored into augmented features and targets, on their devices.

        A batch holds that, such as audio int16 (batch, time), or its 'features' already; and 'label', int32
        (batch,), -1 where it is not known, whose targets are 0. Returns features
        (batch, frames, bins) and targets (batch, classes) that sum to 1; half as many where mixup halves
        the batch.
        """
        augmentation = self.augmentation

        def one_device(key, stored, labels, index, *tonic_hz) -> tuple[jax.Array, jax.Array]:
            targets = jax.nn.one_hot(labels, self.model.num_classes)
            if 'features' in batch:
                pictures = stored
            else:
                waveforms, targets = augmentation.replaced(key, self._waveform(stored), targets, index)
                waveforms = augmentation.waveforms(key, waveforms, labels, index)
                waveforms, targets = augmentation.mixed('waveform', key, waveforms, targets, index)
                thinning = len(index) // len(targets)
                labels, index = labels[::thinning], index[::thinning]
                pictures = self.front_end(waveforms, *tonic_hz)
            pictures = augmentation.pictures(key, pictures, labels, index)
            return augmentation.mixed('picture', key, pictures, targets, index)

        everywhere = sharding.on_own_device(one_device, self.mesh, n_replicated=1)
        stored, labels = batch.get('features', batch.get(self.stored.kind)), batch['label']
        tonics = () if 'features' in batch else self._tonics(batch)
        return everywhere(key, stored, labels, jnp.arange(len(labels)), *tonics)

    def known_tonics(self, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Returns what a model that names tonics is told of them in training: 'tonic_hz', or nothing."""
        return {'tonic_hz': batch['tonic_hz']} if self.model.names_tonic else {}

    def gathered(self, params: Mapping) -> Mapping:
        """Has the parameters whole along `fsdp`: devices compute on their own examples; to be traced.

        Left to itself XLA moves maps instead, with wrong gradients on three axes (docs/design.md).
        """
        if self.mesh is None or self.mesh.shape.get('fsdp', 1) == 1:
            return params
        places = sharding.by_rules(params, self.model.sharding_rules, self.mesh, ('model',))
        return jax.lax.with_sharding_constraint(params, places)

    def apply(self, variables: Mapping, features: jax.Array, **settings: Any) -> Any:
        """Applies the model to features on the mesh's devices, as `flax.linen.Module.apply`; to be traced."""
        params, adapted = variables['params'], contextlib.nullcontext()
        if not settings['train']:
            variables = {**variables, 'params': self.merged(params)}
        elif lora.is_adapted(params):
            adapted = lora.beside(params, self.config.optim)
        # Kernels that XLA does not divide ask for the mesh.
        mesh = self.mesh and jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh)
        with adapted, mesh or contextlib.nullcontext():
            return self.model.apply(variables, features, **settings)

    def merged(self, params: Mapping) -> Mapping:
        """Returns the network's own parameters, with what low-rank adaptation adds to them."""
        return lora.merged(params, self.config.optim) if lora.is_adapted(params) else params

    def _waveform(self, audio: jax.Array) -> jax.Array:
        if self.stored.kind != 'audio':
            return audio.astype(jnp.float32)
        return as_heard(audio, self.stored.sample_rate_hz, self.front_end, self.config.windows.window_s)


def as_heard(
    audio: jax.Array, sample_rate_hz: int, front_end: features.FrontEnd, window_s: float
) -> jax.Array:
    """Turns stored audio, int16 (batch, time), into what a front end takes, float32 at its rate.

    A window of 0 s takes all of it.
    """
    waveform = audio.astype(jnp.float32) / 32767
    waveform = resample(waveform, sample_rate_hz, front_end.sample_rate_hz)
    return waveform[:, : round(window_s * front_end.sample_rate_hz) or None]


def make_job(
    config: ml_collections.ConfigDict,
    stored: prepared.Stored,
    examples: int,
    mesh: Mesh,
    source: Converted | None = None,
    front_end: features.FrontEnd | None = None,
    class_counts: np.ndarray | None = None,
) -> Job:
    """Puts the parts of a training together.

    `examples` are those of the training part in one epoch, `class_counts` how many of them each class has
    (None: all alike); a front end is given where it was fitted to them.

    Raises:
        UserError: a front end for something else than is stored, augmentations that do not fit the
            pictures or the batch, a model that does not fit the pictures or the checkpoint, layers to
            freeze that do not exist.
    """
    front_end = front_end or features.build(config.features)
    if front_end.kind == stored.kind == 'pitch' and not math.isclose(
        front_end.sample_rate_hz, stored.sample_rate_hz, rel_tol=1e-3
    ):
        raise UserError(
            f'config.features.sample_rate_hz={front_end.sample_rate_hz:g}: expected '
            f'{stored.sample_rate_hz:g}, the frames in a second of config.data.name={config.data.name!r}'
        )
    if front_end.kind != stored.kind:
        fitting = {'audio': 'one for audio', 'pitch': "'melody'", 'image': "'picture'", 'table': "'table'"}
        raise UserError(
            f'config.features.name={config.features.name!r} is for data of kind {front_end.kind!r}, and '
            f'config.data.name={config.data.name!r} holds {stored.kind!r}: expected {fitting[stored.kind]}'
        )
    augmentation = augment.Augmentation(config.augment, stored.labels)
    job = Job(
        config=config,
        length=config_lib.resolve_length(config, examples),
        mesh=mesh,
        model=models.build(config.model, len(stored.labels)),
        front_end=front_end,
        augmentation=augmentation,
        stored=stored,
        source=source,
        class_weights=losses.class_weights(
            config.train.class_weights,
            stored.labels,
            np.ones(len(stored.labels)) if class_counts is None else class_counts,
        ),
    )
    augmentation.check_kind(stored.kind)
    if config.train.features_once:
        augmentation.check_features_once()
    for uses, learns in ((job.model.names_tonic, True), (job.front_end.needs_tonic, False)):
        if uses:
            augmentation.check_tonics(learns)
    if stored.kind == 'audio':
        augmentation.check_picture(*job.picture)
    devices = sharding.batch_parts(mesh)  # with other examples each
    parts = config.train.accumulate * devices
    if config.train.batch_size % parts:
        raise UserError(
            f'config.train.batch_size={config.train.batch_size} with config.train.accumulate='
            f'{config.train.accumulate} on {devices} devices: expected a multiple of {parts} '
            '(config.train.accumulate * config.mesh.data * config.mesh.fsdp)'
        )
    if augmentation.mixes and config.train.batch_size % (2 * parts):
        raise UserError(
            f'config.train.batch_size={config.train.batch_size}: mixing needs pairs of examples in each '
            f'of {parts} parts (devices times config.train.accumulate); expected a multiple of {2 * parts}'
        )
    shapes = jax.eval_shape(job.init, jax.random.key(0))
    if source is not None:
        job.initial(shapes)
    plan = freezing.make_plan(config, job.model, shapes['params'], job.length)
    return dataclasses.replace(job, plan=plan)
