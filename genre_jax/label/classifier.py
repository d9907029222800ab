"""A trained model as one opens it: what it hears, and what it answers."""

import functools
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from absl import logging

from genre_jax import features, models, sharding
from genre_jax.convert import init_from, tables
from genre_jax.convert.engine import OF_RUN, Converted
from genre_jax.convert.raw_numbers import one_line
from genre_jax.data import audio, digests, pitch_track
from genre_jax.data.recordings import STORED_AS
from genre_jax.errors import BadAudio, UserError
from genre_jax.evaluation import confidence
from genre_jax.label import windows
from genre_jax.label.hearing import front_end_of, heard_at, hears_whole, labels_of
from genre_jax.label.song import Song
from genre_jax.label.stream import Stream
from genre_jax.models.network import Network
from genre_jax.training.job import as_heard

# Windows at a time, of so many samples at most: fewer of long ones, and what the devices divide.
_BATCH_SIZE, _BATCH_SAMPLES = 32, 2**26
# Recordings that are heard as a whole are held as a whole.
_LONGEST_WHOLE_S = 3600

_NOTHING_KNOWN = {'segment': {'temperature': 1.0}, 'song': {'temperature': 1.0}, 'reject': None}

Recording = str | os.PathLike[str] | np.ndarray


class Answer(NamedTuple):
    """What is kept of a recording."""

    n_samples: int  # at the classifier's rate
    logits: np.ndarray  # of its windows, float32 [n, C]
    sureness: np.ndarray  # by the rule of the run, float32 [n]; 0 without one
    tonic: np.ndarray  # as `Heard.tonic`


class Classifier:
    """A trained model: recordings in, classes out.

    Attributes:
        labels: names of its classes, in the order of its outputs.
        tags: whether each class is a yes or no by itself; else the probabilities of a window sum to 1.
        kind: what it hears: 'audio', or 'pitch', the fundamental frequency in Hz, 0 where there is none.
        sample_rate_hz: at which it hears recordings; other rates are resampled. Of pitch, frames in a second.
        window_s: length of a window, which it gives one answer for.
        whole: whether it hears each recording as a whole; `window_s` is the longest that it was trained on.
        title: the kind of model.
        features: flavour of its front end.
        names_tonic: whether it names the tonic, too.
        sha256: digest of its parameters.
        licence: of its weights, or of those that its training began with; None where none is told.
    """

    def __init__(self, name: str, labels: Sequence[str] = (), batch_size: int | None = None) -> None:
        """Opens a model as `genre_jax.load` does."""
        if jax.process_count() > 1:
            raise UserError('recordings are labelled by one process: leave out --distributed')
        source = init_from.find(name, 'MODEL')
        if not source.features:
            raise UserError(
                f'MODEL={name} does not say what it hears: of a model of transformers, put its '
                'preprocessor_config.json beside the weights'
            )
        if source.features not in {**features.FLAVOURS, **features.WITH_TONIC, **features.OF_PITCH}:
            raise UserError(
                f'MODEL={name} hears neither sound nor pitch (its features: {source.features}): expected a '
                f'model with one of the front ends {", ".join([*features.FLAVOURS, *features.OF_PITCH])}'
            )
        self.title, self.sha256, self.features = source.title, source.sha256, source.features
        self.licence = source.licence
        self.labels = tuple(labels or labels_of(name, source))
        if len(self.labels) != source.num_classes:
            raise UserError(f'MODEL={name}: {len(self.labels)} labels for {source.num_classes} classes')
        known = {table.title: table.tags for table in tables.TABLES}
        tags = source.num_classes in known.get(source.title, ())
        self.tags = tags if source.tags is None else source.tags
        front_end = front_end_of(source)
        if front_end.needs_tonic:
            raise UserError(
                f'MODEL={name} has to be told the tonic of each recording (its features: {source.features}), '
                'which is not known here: expected a model that goes by sound alone'
            )
        self.window_s, self.sample_rate_hz = heard_at(pathlib.Path(name), source, front_end)
        found = None
        for folder in (pathlib.Path(name), pathlib.Path(name, 'model')):
            found = found or confidence.load(folder)
        if found is None and source.title == OF_RUN:
            logging.warning(
                'MODEL=%s has no confidence.json, which its run wrote: its probabilities are not calibrated',
                name,
            )
        self._confidence, self._space = found or (_NOTHING_KNOWN, None)
        if not self.window_s:
            raise UserError(
                f'MODEL={name} hears recordings as a whole (config.windows.window_s=0), and does not say how '
                'long the longest one was that it was trained on: train it again'
            )
        self.whole, self.kind = hears_whole(pathlib.Path(name), source), front_end.kind
        exact = self.window_s * self.sample_rate_hz
        # A window of pitch has as many frames as touch it, as in training.
        self.window = math.ceil(exact) if self.kind == 'pitch' and not self.whole else round(exact)
        # All that decides about an answer to a recording, but for how it is cut into windows.
        self.identity = {
            'model': self.sha256,
            'labels': self.labels,
            'window': self.window,
            'front end': digests.of_text(repr(front_end)).hex(),
            'confidence': self._confidence,
        }
        self._mesh = sharding.make_mesh()
        devices = self._mesh.size
        fitting = min(_BATCH_SIZE, max(1, _BATCH_SAMPLES // self.window))
        self.batch_size = -(-fitting // devices) * devices if batch_size is None else batch_size
        if self.batch_size % devices:
            raise UserError(
                f'batch_size={batch_size} cannot be divided among {devices} devices: expected a multiple'
            )
        settings = {'name': source.model, **source.settings}
        model = models.build(settings, source.num_classes)
        self.names_tonic = model.names_tonic
        forward = self._program(source, model, front_end)
        self._stream = Stream(forward, self._mesh, self.window, self.batch_size)

    @property
    def rejects(self) -> bool:
        """Says whether it knows when a recording is none of what it was trained for."""
        return bool(self._confidence['reject'])

    def label(
        self,
        recordings: Recording | Sequence[Recording],
        sample_rate_hz: int | None = None,
        hop_s: float | None = None,
    ) -> list[Song]:
        """Labels recordings: paths of files, or samples at `sample_rate_hz`.

        Samples are [n] or [n, channels], float in [-1, 1] or integers of full scale; of pitch [n], in Hz, and
        files are pitch tracks (docs/datasets/makam.md). A window begins every `hop_s` seconds, by default
        where the last one ends. A UserError for one that cannot be used.
        """
        listed, hop = _listed(recordings), self.hop(hop_s)
        return [self.song(name, answer, hop) for name, answer, _ in self._heard(listed, sample_rate_hz, hop)]

    def embed(
        self,
        recordings: Recording | Sequence[Recording],
        sample_rate_hz: int | None = None,
        hop_s: float | None = None,
    ) -> list[np.ndarray]:
        """Returns what the network has before its output layer, for recordings as `label` takes them.

        Float32 [windows, units] each; `Song.start_s` says where the windows start.
        """
        listed, hop = _listed(recordings), self.hop(hop_s)
        return [embeddings for *_, embeddings in self._heard(listed, sample_rate_hz, hop)]

    def decode(self, path: str) -> windows.Decoded:
        """Reads a file as it hears recordings; BadAudio: it cannot be used."""
        read = windows.read_pitch if self.kind == 'pitch' else windows.decode
        return read(path, self.sample_rate_hz)

    def hop(self, hop_s: float | None) -> int:
        """Returns how many samples there are from window to window."""
        if hop_s is None:
            return self.window
        if self.whole:
            raise UserError(f'hop_s={hop_s}: this model hears each recording as a whole: leave it out')
        if not 0.5 < hop_s * self.sample_rate_hz < np.inf:  # as NaN is not
            raise UserError(f'hop_s={hop_s}: expected seconds above 0')
        return round(hop_s * self.sample_rate_hz)

    def song(self, track: str, answer: Answer, hop: int) -> Song:
        """Returns what the network says of a recording, its confidence put right as validation taught."""
        window = self._window_of(answer.n_samples)
        starts = windows.starts(answer.n_samples, window, hop)
        # Divided alike, so that a window ends where the next one begins.
        ends = np.minimum(starts + window, answer.n_samples)
        start_s, end_s = starts / self.sample_rate_hz, ends / self.sample_rate_hz
        duration_s = answer.n_samples / self.sample_rate_hz
        logits, known, known_windows = answer.logits.astype(np.float64), True, None
        if self.tags:
            probabilities = 1 / (1 + np.exp(-logits))
            probability = probabilities.mean(0)
        else:
            raw = scipy.special.softmax(logits, -1)
            probabilities = confidence.tempered(raw, self._confidence['segment']['temperature'])
            probability = confidence.tempered(raw.mean(0), self._confidence['song']['temperature'])
        if rule := self._confidence['reject']:
            known = bool(answer.sureness.mean() >= rule['least']['song'])
            known_windows = answer.sureness >= rule['least']['window']
        posterior = answer.tonic.mean(0) if self.names_tonic else None
        return Song(
            track, duration_s, self.labels, start_s, end_s, probabilities, probability, known, known_windows,
            posterior,
        )  # fmt: skip

    def batched(self, answer: Answer) -> int:
        """Returns how many windows of a recording share batches with those of others."""
        return len(answer.logits) if self._window_of(answer.n_samples) == self.window else 0

    def _window_of(self, n_samples: int) -> int:
        """Returns how long the windows of a recording are: samples.

        A model of whole recordings hears longer ones than it was trained on filled up to a whole number of
        times the longest. BadAudio: it is too long for that.
        """
        if not self.whole or n_samples <= self.window:
            return self.window
        most = max(self.window, _LONGEST_WHOLE_S * self.sample_rate_hz) if self._takes_longer else self.window
        if n_samples > most:
            raise BadAudio(
                f'lasts {n_samples / self.sample_rate_hz:.1f} s, and this model, which hears recordings as a '
                f'whole, takes {most / self.sample_rate_hz:.1f} s at most: cut it into parts'
            )
        return -(-n_samples // self.window) * self.window

    @functools.cached_property
    def _takes_longer(self) -> bool:
        """Says whether the network takes longer windows than it was trained on."""
        audio = jax.ShapeDtypeStruct((self._mesh.size, 2 * self.window), STORED_AS[self.kind])
        try:
            jax.eval_shape(self._stream.forward, audio)
        except UserError:
            return False
        return True

    def hear(
        self, recordings: Iterable[windows.Decoded | BadAudio], hop: int, passed: int = 0
    ) -> Iterator[tuple[Answer, np.ndarray] | BadAudio]:
        """Yields answers and embeddings of decoded recordings in order, or why one cannot be used.

        See `Stream.hear`.
        """

        def cut(decoded: windows.Decoded) -> Iterator[np.ndarray]:
            return windows.cut(decoded, self._window_of(decoded[0]), hop)

        for heard in self._stream.hear(recordings, cut, passed):
            if isinstance(heard, BadAudio):
                yield heard
                continue
            n_samples, (logits, embeddings, tonic) = heard
            yield Answer(n_samples, logits, self._sureness(logits, embeddings), tonic), embeddings

    def _program(self, source: Converted, model: Network, front_end: features.FrontEnd) -> Callable:
        """Returns the network as a program: windows, as `cut`, [batch, window], to logits and embeddings.

        Of one that names the tonic also to the probabilities of the candidates, and to their height.
        """
        whole, split = sharding.replicated(self._mesh), sharding.by_example(self._mesh)
        nested = flax.traverse_util.unflatten_dict(source.variables, sep='/')
        variables = jax.device_put(nested, whole)

        def hear(audio: jax.Array) -> jax.Array:
            if self.kind == 'pitch':
                return front_end(audio)
            window_s = 0 if self.whole else self.window_s
            return front_end(as_heard(audio, self.sample_rate_hz, front_end, window_s))

        @functools.partial(jax.jit, in_shardings=(whole, split), out_shardings=whole)
        def forward(variables: dict, audio: jax.Array) -> tuple[jax.Array, ...]:
            # The precision of all devices, and the mesh, for kernels that XLA does not divide.
            mesh = jax.sharding.use_abstract_mesh(self._mesh.abstract_mesh)
            with jax.default_matmul_precision('highest'), mesh:
                features = sharding.on_own_device(hear, self._mesh)(audio)
                unknown = {'tonic_hz': jnp.zeros(len(audio))} if model.names_tonic else {}
                try:
                    found, embeddings = model.apply(variables, features, train=False, **unknown)
                except (flax.errors.ScopeParamNotFoundError, flax.errors.ScopeParamShapeError) as error:
                    raise UserError(
                        f'the parameters of MODEL are not those of the network {source.model} with its '
                        f'settings, for windows of {self.window_s:g} s ({one_line(str(error), 200)})'
                    ) from None
                if not model.names_tonic:
                    return found, embeddings
                return found.logits, embeddings, jnp.exp(found.log_joint).sum(-1), found.height

        return functools.partial(forward, variables)

    def _heard(
        self, recordings: Sequence[Recording], sample_rate_hz: int | None, hop: int
    ) -> Iterator[tuple[str, Answer, np.ndarray]]:
        paths = [os.fspath(each) for each in recordings if not isinstance(each, np.ndarray)]
        files = windows.decode_ahead(paths, self.decode)
        names = ['' if isinstance(each, np.ndarray) else os.fspath(each) for each in recordings]

        def decoded() -> Iterator[windows.Decoded | BadAudio]:
            for each in recordings:
                yield self._samples(each, sample_rate_hz) if isinstance(each, np.ndarray) else next(files)

        for name, heard in zip(names, self.hear(decoded(), hop), strict=True):
            if isinstance(heard, BadAudio):
                raise UserError(f'{name or "samples"}: {heard}')
            yield name, *heard

    def _sureness(self, logits: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        """Returns how sure the network is of windows by the rule of the run, float32 [n]."""
        found = self._confidence['reject']
        if not found:
            return np.zeros(len(logits), np.float32)
        probabilities, energy = scipy.special.softmax(logits, -1), scipy.special.logsumexp(logits, -1)
        sure = confidence.sureness(probabilities, energy, self._space, embeddings)
        return confidence.lesser(sure, found['scales'], found['rule']).astype(np.float32)

    def _samples(self, samples: np.ndarray, from_hz: int | None) -> windows.Decoded | BadAudio:
        if from_hz is None:
            raise UserError('samples without their rate: expected sample_rate_hz=...')
        try:
            if self.kind == 'pitch':
                if samples.ndim != 1 or samples.dtype.kind not in 'fi':
                    raise BadAudio(
                        f'pitch of shape {samples.shape} and type {samples.dtype}: expected [n] in Hz'
                    )
                return windows.thin_pitch(pitch_track.checked(samples), from_hz, self.sample_rate_hz)
            pcm = audio.of_samples(samples, from_hz, self.sample_rate_hz)
        except BadAudio as error:
            return error
        return len(pcm), [pcm]


def _listed(recordings: Recording | Sequence[Recording]) -> Sequence[Recording]:
    """Returns paths and arrays, those of other libraries as NumPy's."""

    def samples(each: object) -> bool:
        return hasattr(each, '__array__')

    single = isinstance(recordings, str | bytes | os.PathLike) or samples(recordings)
    listed = list(recordings) if isinstance(recordings, Iterable) and not single else [recordings]
    for each in listed:
        if not (isinstance(each, str | os.PathLike) or samples(each)):
            raise UserError(
                f'recordings hold a {type(each).__name__}: expected paths, or samples as an array each'
            )
    return [np.asanyarray(each) if samples(each) else each for each in listed]
