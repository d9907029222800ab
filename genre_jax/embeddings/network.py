"""What a network makes of every window before its output layer: embeddings, for other models to learn from.

The windows are those of evaluation (config.windows.eval_per_track and eval_draw), in the training part too:
without augmentation, the same whatever the split. So they are computed once for all folds, and kept.
"""

import copy
import dataclasses
import functools
import hashlib
import itertools
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import jax
import ml_collections
import numpy as np
from absl import logging

from genre_jax import config as config_lib
from genre_jax import features, models, sharding
from genre_jax.config import keys
from genre_jax.convert import init_from
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate
from genre_jax.loading import loader, prepared, run_data, splits, tonics
from genre_jax.loading.feed import Streamed
from genre_jax.logbook import progress_bar, read_json
from genre_jax.models import layers as models_layers
from genre_jax.training.job import make_job

_REMEDY = 'delete it, it is computed again'


@dataclasses.dataclass(frozen=True)
class Embeddings(evaluate.Arrays):
    """Embeddings of the windows of one part of a split, in the order of its predictions."""

    track: np.ndarray  # name of the song of each window, str [n]
    start_s: np.ndarray  # where the window starts, in seconds, float32 [n]
    label: np.ndarray  # class id, int32 [n]
    embedding: np.ndarray  # float32 [n, units]
    classes: np.ndarray  # names of the classes, str [C]


class Pass(NamedTuple):
    """How long a network took for embeddings, of all layers that were wanted, in one pass.

    Both times are those of the whole batches behind the first, with which the program is compiled.
    """

    seconds: float  # that it took
    heard_s: float  # of sound in the windows
    devices: str  # how many, and of which kind


@dataclasses.dataclass(frozen=True)
class _Took(evaluate.Arrays):
    """What the cache keeps of a pass; None of a pass of one batch, and in files of before they were kept."""

    seconds: np.ndarray | None = None  # float64 []
    heard_s: np.ndarray | None = None  # float64 []
    devices: np.ndarray | None = None  # str []


@dataclasses.dataclass(frozen=True)
class _Kept(_Took, Embeddings):
    """What the cache holds of one layer."""


class Network:
    """A trained network that gives embeddings, from the checkpoint `source`.

    Its `config` is the whole one with the network's own model, front end and length of a window, and nothing
    of a training: no augmentation, no balancing, no frozen layers.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        checkpoint: str,
        cache: pathlib.Path | None = None,
        layers: Sequence[str] = (models_layers.LAST,),
        pooling: str = 'mean',
    ) -> None:
        """Finds the network, else a UserError.

        `checkpoint` is as config.init.checkpoint: a conversion, a checkpoint's file, the name of a published
        one, or the folder of a finished run, whose model, front end and length of a window are taken instead
        of the config's. The folder `cache` keeps what was computed. Of `layers`, see models/layers.py, those
        of a number are pooled over their places, and all of them computed in one pass.
        """
        self.source = init_from.find(checkpoint)
        self.config, self._cache = config.copy_and_resolve_references(), cache
        self._held: dict[str, np.ndarray] = {}
        self._passes: list[Pass] = []  # of this program
        defaults = keys.get_config()
        defaults.train.loader_workers = config.train.loader_workers
        self.config.update(optim=defaults.optim, train=defaults.train)
        self.config.augment = ml_collections.ConfigDict()
        self.config.windows.balance = 'none'
        self.config.init.checkpoint = checkpoint
        self._run = pathlib.Path(checkpoint)
        self._is_run = (self._run / 'result.json').exists()
        if self._is_run:
            trained = read_json(self._run / 'config.json', 'restore it')
            for section in ('features', 'model'):
                self.config[section] = ml_collections.ConfigDict(_tuples(trained[section]))
            self.config.windows.window_s = trained['windows']['window_s']
        init_from.complete(self.config, self.source)
        self._front_end = features.build(self.config.features)
        if isinstance(self._front_end, features.FITTED) and self._is_run:
            self._front_end = dataclasses.replace(self._front_end, **self.source.front_end)
        if self._front_end.kind == 'audio' and self.config.windows.window_s:
            rate_hz = self._front_end.sample_rate_hz
            self._front_end.check_length(round(self.config.windows.window_s * rate_hz))
        accepted = config.init.other_front_end
        for line in init_from.check_front_end(self.source, self._front_end, accepted):
            logging.warning('%s: %s', checkpoint, line)
        self._mesh = sharding.make_mesh(sizes=config.mesh)
        sharding.check_batch_size(config.eval.batch_size, 'eval.batch_size', self._mesh)
        self.read_at(layers, pooling)

    @property
    def numbers(self) -> list[int]:
        """The numbers of all its layers."""
        return models_layers.numbers(models.build(self.config.model, 1), models_layers.MEAN)

    def read_at(self, layers: Sequence[str], pooling: str) -> None:
        """Has it read at other layers, or pooled otherwise; a UserError where it has none of these."""
        self.layers, self.pooling = tuple(layers), pooling
        model = models.build(self.config.model, 1)
        models_layers.check_all(model, self.layers, pooling)
        # What is computed: the network's own embedding, or single layers.
        wanted = {layer: models_layers.numbers(model, layer) or [layer] for layer in self.layers}
        self._parts = {layer: list(map(str, parts)) for layer, parts in wanted.items()}

    def of(self, *layers: str) -> Self:
        """Returns the same network for some of its layers; what is computed of one is there for all."""
        found = copy.copy(self)
        found.layers = layers
        return found

    def check_split(self, dataset: prepared.Dataset, split: splits.Split) -> splits.Split:
        """Finds out whether the network has learned from songs that another model shall be tested on.

        Returns the split, marked leaky if it has, or may have; a UserError without config.split.allow_leak.
        """
        if not self._is_run:
            return split
        result, environment, config = (
            read_json(self._run / f'{name}.json', 'restore it')
            for name in ('result', 'environment', 'config')
        )
        own = split.fingerprint([track['track'] for track in dataset.tracks])
        if environment['split_fingerprint'] == own:
            return dataclasses.replace(split, leaky=split.leaky or result['leaky'])
        root = config['data'].get('root')
        same_root = root and root == self.config.data.get('root')
        same_data = environment['dataset']['fingerprint'] == dataset.manifest['fingerprint']
        if not (same_root or same_data):
            return split
        found = (
            f'the network of {self._run} was trained on the same recordings under another split '
            f'({result["protocol"]}: {result["protocol_detail"]})'
        )
        if not self.config.split.allow_leak:
            raise UserError(
                f'the {split.protocol} split leaks: {found}; use the protocol and the config.split of that '
                'run, or set config.split.allow_leak=True to have every figure marked LEAKY'
            )
        return dataclasses.replace(split, leaky=True, detail=f'{split.detail}; {found}')

    def tables(self, dataset: prepared.Dataset, split: splits.Split) -> dict[str, loader.WindowTable]:
        """Lays out the windows of each part."""
        return {
            part: self._table(dataset, rows, split.segments and split.segments[part])
            for part, rows in split.tracks.items()
        }

    def embed(self, table: loader.WindowTable) -> np.ndarray:
        """Returns the embeddings of the windows of a table, of `tables`, float32 [windows, units].

        Those of several layers lie side by side; of 'weighted' alone they are [windows, layers, units], as
        the weights are still to be learnt. Those of all windows that are laid out alike are computed with
        them, once. A network that does not fit the data, or an embedding that is not finite, is a UserError.
        """
        whole, positions = self._layout(table)
        kept, of_layers = self._whole(whole), []
        for layer in self.layers:
            parts = {part: kept[part] for part in self._parts[layer]}
            models_layers.check_widths({part: each.shape[1] for part, each in parts.items()}, layer)
            stacked = np.stack([each[positions] for each in parts.values()], axis=1)
            of_layers.append(stacked if layer == models_layers.WEIGHTED else stacked.mean(1))
        return of_layers[0] if len(of_layers) == 1 else np.concatenate(of_layers, axis=-1)

    def took(self, table: loader.WindowTable) -> tuple[list[Pass], bool]:
        """Tells how long the embeddings of a table of `tables` took, and whether that was an earlier program.

        That is the one that filled the cache, where this one computed none. No passes where they are not
        known: of a single batch, or kept when times were not.
        """
        if self._passes or not self._cache:
            return self._passes, False
        files = [self._cache / f'{name}.npz' for name in self._names(self._layout(table)[0]).values()]
        kept = [_Took.read(file, _REMEDY) for file in files if file.exists()]
        known = [
            Pass(float(k.seconds), float(k.heard_s), str(k.devices)) for k in kept if k.seconds is not None
        ]
        return list(dict.fromkeys(known)), True  # layers of one pass say the same

    def _layout(self, table: loader.WindowTable) -> tuple[loader.WindowTable, np.ndarray]:
        """Returns all windows that are laid out as those of a table, and where these are among them."""
        dataset, everything = table.dataset, np.arange(len(table.dataset.tracks))
        whole = self._table(dataset, everything, None)
        positions = _positions(whole, table)
        if positions is None:  # by segment: side by side instead of config.windows.eval_draw
            segments = {
                row: np.arange(max(1, track['n_samples'] // table.window)) * table.window
                for row, track in enumerate(dataset.tracks)
            }
            whole = self._table(dataset, everything, segments)
            positions = _positions(whole, table)
        return whole, positions

    def _table(
        self, dataset: prepared.Dataset, tracks: np.ndarray, segments: Mapping | None
    ) -> loader.WindowTable:
        own = {'train': False, 'seed': self.config.split.seed, 'segments': segments}
        return loader.WindowTable(dataset, tracks, self.config.windows, **own)

    def _names(self, table: loader.WindowTable) -> dict[str, str]:
        """Returns by layer what the embeddings of all windows of a layout are called in the cache."""
        what = {
            'data': table.dataset.manifest['fingerprint'],
            'classes': table.dataset.labels,  # they decide which tracks are numbered
            'network': self.source.sha256,
            'front_end': repr(self._front_end),
            'model': json.loads(config_lib.to_json(self.config))['model'],
            'window': table.window,
            'windows': hashlib.sha256(table.track.tobytes() + table.start.tobytes()).hexdigest(),
        }
        names = {}
        for part in itertools.chain(*self._parts.values()):
            own = {} if part == models_layers.LAST else {'layer': part, 'pooling': self.pooling}
            digest = hashlib.sha256(json.dumps(what | own, sort_keys=True).encode())
            names[part] = digest.hexdigest()[:16]
        return names

    def _whole(self, table: loader.WindowTable) -> dict[str, np.ndarray]:
        """Returns the embeddings of all windows of a layout, by layer: held, in the cache, or computed."""
        names, missing = self._names(table), []
        for part, name in names.items():
            file = self._cache and self._cache / f'{name}.npz'
            if name not in self._held and file and file.exists():
                self._held[name] = Embeddings.read(file, _REMEDY).embedding
            if name not in self._held:
                missing.append(part)
        computed, took = self._compute(table, missing) if missing else ({}, None)
        self._passes += [took] * (took is not None)
        for part, embedding in computed.items():
            self._held[names[part]] = embedding
            if self._cache:
                facts = vars(as_embeddings(table, embedding)) | (took._asdict() if took else {})
                _Kept(**facts).save(self._cache / f'{names[part]}.npz')
        return {part: self._held[name] for part, name in names.items()}

    def _compute(
        self, table: loader.WindowTable, parts: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], Pass | None]:
        """Computes embeddings of several layers in one pass, pooled on the devices; says how long it took."""
        if self._front_end.needs_tonic:
            needs = f'config.features.name={self.config.features.name!r}'
            tonics.check_known(table.dataset.tracks, needs)
        per_epoch = self.config.train.batch_size  # nothing is trained: an epoch of one step
        job = make_job(self.config, table.stored, per_epoch, self._mesh, self.source, self._front_end)
        for line in job.other_recordings():
            logging.warning('%s: %s', self.config.init.checkpoint, line)
        variables = job.loaded()
        whole, split = sharding.replicated(self._mesh), sharding.by_example(self._mesh)

        def read(parts: Sequence[str], variables: Mapping, features: jax.Array) -> dict[str, jax.Array]:
            calls = models_layers.Calls(job.model)
            with calls.noted():
                _, own = job.apply(variables, features, train=False)
            numbers = [int(part) for part in parts if part != models_layers.LAST]
            pooled = calls.pooled(numbers, len(features), self.pooling)
            return {part: own if part == models_layers.LAST else pooled[int(part)] for part in parts}

        # For its errors, before the pass.
        pictures = jax.ShapeDtypeStruct((sharding.batch_parts(self._mesh), *job.picture), np.float32)
        for layer, of_layer in self._parts.items():
            shapes = jax.eval_shape(functools.partial(read, of_layer), variables, pictures)
            models_layers.check_widths({part: each.shape[1] for part, each in shapes.items()}, layer)

        @functools.partial(jax.jit, in_shardings=(whole, split), out_shardings=whole)
        def forward(variables: Mapping, examples: Mapping) -> dict[str, jax.Array]:
            return read(parts, variables, job.featurize(examples))

        outputs, batch_size, ends_s = [], self.config.eval.batch_size, []
        with progress_bar(len(table), 'windows', 'embeddings') as bar:
            for examples in Streamed(self.config, self._mesh).evaluate(table):
                outputs.append(jax.device_get(forward(variables, examples)))
                ends_s.append(time.monotonic())
                bar.update(min(batch_size, len(table) - bar.n))
        took = None
        if len(ends_s) > 1:
            heard_s = (len(ends_s) - 1) * batch_size * table.window / table.dataset.sample_rate_hz
            devices = f'{jax.device_count()} x {jax.devices()[0].device_kind}'
            took = Pass(ends_s[-1] - ends_s[0], heard_s, devices)
        joined = {part: np.concatenate([each[part] for each in outputs]) for part in parts}
        embeddings = {part: each[: len(table)].astype(np.float32) for part, each in joined.items()}
        for embedding in embeddings.values():
            bad = np.flatnonzero(~np.isfinite(embedding).all(1))
            if len(bad):
                song = table.dataset.tracks[table.track[bad[0]]]['track']
                raise UserError(
                    f'{len(bad)} of {len(table)} windows have an embedding that is not finite, the first of '
                    f'{song!r}: the checkpoint {self.config.init.checkpoint} does not fit these recordings'
                )
        return embeddings, took


def embed(
    config: ml_collections.ConfigDict,
    checkpoint: str,
    cache: pathlib.Path | None = None,
    layers: Sequence[str] = (models_layers.LAST,),
    pooling: str = 'mean',
) -> dict[str, Embeddings]:
    """Computes the embeddings of the windows of each part of the split: {'train': Embeddings, 'val': ...}.

    Data, split and windows are the config's; for the rest, and mistakes, see `Network` and its `check_split`.
    """
    network = Network(config, checkpoint, cache, layers, pooling)
    dataset = run_data.open_dataset(network.config)
    split = network.check_split(dataset, run_data.make_split(network.config, dataset))
    return {
        part: as_embeddings(table, network.embed(table))
        for part, table in network.tables(dataset, split).items()
    }


def as_embeddings(table: loader.WindowTable, embedding: np.ndarray) -> Embeddings:
    """Joins the windows of a table with their embeddings, float32 [windows, units]."""
    names = table.dataset.column('track')
    classes = np.asarray(table.dataset.labels)
    return Embeddings(names[table.track], table.start_s, table.labels, embedding, classes)


def _positions(whole: loader.WindowTable, table: loader.WindowTable) -> np.ndarray | None:
    """Returns where the windows of a table stand among all of them; None if some do not."""
    most = 1 + int(max(whole.start.max(), table.start.max()))
    keys = whole.track.astype(np.int64) * most + whole.start
    wanted = table.track.astype(np.int64) * most + table.start
    order = np.argsort(keys, kind='stable')
    found = order[np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)]
    return found if (keys[found] == wanted).all() else None


def _tuples(settings: Mapping) -> dict:
    """Returns settings as a config page has them: JSON knows no tuples."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
