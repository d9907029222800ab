"""Test recordings in other keys: what a model that is trained makes of them.

A melody is transposed by its frequencies. Sound is transposed by the phase vocoder of
genre_jax/augment/pitch.py up to `PITCH_SHIFTED` semitones, which keeps the tempo; by more it is played faster
or slower, which changes the tempo as well.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from genre_jax import features, sharding
from genre_jax.augment import pitch
from genre_jax.convert import init_from
from genre_jax.convert.engine import Converted
from genre_jax.data.recordings import Kind
from genre_jax.evaluation import intervals, paired
from genre_jax.evaluation.evaluate import Predictions
from genre_jax.features.front_end import over_clips
from genre_jax.label.hearing import front_end_of
from genre_jax.loading import loader, tonics
from genre_jax.loading.feed import Streamed
from genre_jax.logbook import progress_bar
from genre_jax.study.cells import Fold
from genre_jax.training.job import Job, make_job

PITCH_SHIFTED = 4.0  # semitones
_BY_FREQUENCY, _BY_PITCH, _BY_SPEED = 'frequencies', 'pitch shift', 'speed, tempo too'
_REMEDY = 'delete it, it is computed again'


def way(semitones: float, kind: Kind) -> str:
    """Returns how recordings of a kind are transposed, in words."""
    if kind == 'pitch':
        return _BY_FREQUENCY
    return _BY_PITCH if abs(semitones) <= PITCH_SHIFTED else _BY_SPEED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transposed(features.FrontEnd):
    """A front end that hears everything transposed, tonics that it is told too.

    Attributes:
        kind: what it reads, as `inner`.
        inner: what hears.
        way: how it is transposed.
        semitones: upwards, float32 (), which may be traced.
        n_samples: that `inner` gets of sound that is played faster or slower; 0: as many as come in.
    """

    kind: Kind
    inner: features.FrontEnd
    way: str
    semitones: jax.Array
    n_samples: int = 0

    @property
    def needs_tonic(self) -> bool:
        """Says whether it is called with the tonic of each clip, too, in Hz."""
        return self.inner.needs_tonic

    def __call__(self, stored: jax.Array, *tonic_hz: jax.Array) -> jax.Array:
        """Computes what `inner` does, of (batch, time) transposed."""
        factor = 2 ** (self.semitones / 12)
        if self.way == _BY_FREQUENCY:
            heard = factor * stored  # 0, unvoiced, stays
        elif self.way == _BY_PITCH:
            heard = over_clips(lambda clip: pitch.shift_pitch(clip, self.semitones, PITCH_SHIFTED), stored)
        else:
            n_samples = self.n_samples or stored.shape[1]
            heard = over_clips(lambda clip: pitch.play(clip, factor, n_samples), stored)
        return self.inner(heard, *(factor * each for each in tonic_hz))


@dataclasses.dataclass(frozen=True)
class Heard:
    """What the model of a fold says of its test part, by semitones; by 0 as it was recorded."""

    kind: Kind  # of the recordings
    n_trained: int  # songs of the training part
    predictions: Mapping[float, Predictions]
    # Whether a tonic of training lies within config.split.tonic_margin_cents of it, bool [test songs].
    known: Mapping[float, np.ndarray]


def test(fold: Fold, model: str, semitones: Sequence[float]) -> Heard:
    """Tests the finished run of a fold on its test part in other keys; what is there already is read."""
    folder, kind = fold.folder(model), fold.dataset.kind
    said = {0.0: Predictions.read(folder / 'predictions' / 'test.npz', _REMEDY)}
    source = init_from.find(str(folder))
    words = {each: way(each, kind).split()[0].strip(',') for each in semitones}
    files = {
        # Of these very weights: a run may have been trained longer.
        each: folder / 'transposed' / f'{source.sha256[:12]}_{each:+g}_{word}.npz'
        for each, word in words.items()
    }
    missing = [each for each, file in files.items() if not file.exists()]
    predictor = functools.cache(functools.partial(_predictor, fold, source))
    with progress_bar(len(missing), 'keys', 'transposed', disable=not missing) as bar:
        for each in missing:
            name = way(each, kind)
            # To play faster takes more sound, to play slower less.
            longer = 2 ** (each / 12) if name == _BY_SPEED else 1.0
            predictor(name, longer)(each).save(files[each])
            bar.update()
    said |= {each: Predictions.read(file, _REMEDY) for each, file in files.items()}
    places, margin = tonics.cents(fold.dataset.column('tonic_hz')), fold.config.split.tonic_margin_cents
    learnt, tested = (places[fold.split.tracks[part]] for part in ('train', 'test'))
    known = {each: tonics.away((tested + 100 * each) % 1200, learnt) < margin for each in said}
    return Heard(kind, len(learnt), said, known)


def _predictor(fold: Fold, source: Converted, name: str, longer: float) -> Callable[[float], Predictions]:
    """Returns what predicts the test part in another key, of windows that are read so many times as long."""
    config = fold.config.copy_and_resolve_references()
    config.init.new = ''  # nothing is trained
    front_end, mesh = front_end_of(source), sharding.make_mesh(sizes=config.mesh)
    n_samples = round(config.windows.window_s * front_end.sample_rate_hz)
    stored = fold.dataset.stored(config.windows.window_s)
    job = make_job(config, stored, config.train.batch_size, mesh, source, front_end)
    variables = job.loaded()
    config = config.copy_and_resolve_references()
    config.windows.window_s *= longer
    segments = fold.split.segments and fold.split.segments['test']
    own = {'train': False, 'seed': config.split.seed, 'segments': segments}
    table = loader.WindowTable(fold.dataset, fold.split.tracks['test'], config.windows, **own)
    job = dataclasses.replace(job, config=config, stored=table.stored)
    step = _program(job, name, n_samples)

    def predict(semitones: float) -> Predictions:
        key = sharding.put_replicated({'semitones': np.float32(semitones)}, mesh)['semitones']
        batches = Streamed(config, mesh).evaluate(table)
        found = np.concatenate([jax.device_get(step(variables, key, batch)) for batch in batches])
        return table.predictions(found[: len(table)])

    return predict


def _program(job: Job, name: str, n_samples: int) -> Callable:
    """Returns a program: variables, semitones and a batch to probabilities."""
    whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)

    def predict(variables: Mapping, semitones: jax.Array, batch: Mapping) -> jax.Array:
        other = Transposed(
            sample_rate_hz=job.front_end.sample_rate_hz,
            kind=job.front_end.kind,
            inner=job.front_end,
            way=name,
            semitones=semitones,
            n_samples=n_samples,
        )
        own = dataclasses.replace(job, front_end=other)
        logits, _ = own.apply(variables, own.featurize(batch), train=False)
        return jax.nn.softmax(logits)

    return jax.jit(predict, in_shardings=(None, whole, split), out_shardings=whole)


def figures(folds: Sequence[Heard]) -> list[dict[str, Any]]:
    """Compares what the models of all folds say of the same songs in other keys and as they were recorded.

    Returns a dict for each key and level: 'semitones', 'all' for those of all keys together, 'way', 'level',
    accuracy, the difference to the songs as they were recorded ('above_recorded'), both with intervals, and
    'tonic_known', the share of songs whose tonic has a close one in training.
    """
    kind, keys = folds[0].kind, list(folds[0].predictions)
    tested, groups = paired.tested({each: [heard.predictions[each] for heard in folds] for each in keys})
    group = intervals.number(groups)
    known = {each: float(np.concatenate([heard.known[each] for heard in folds]).mean()) for each in keys}
    others = [each for each in keys if each]
    found = []
    for level in ('segment', 'song'):
        recorded = tested[0.0].level(level)
        counts = {f'{each:+g}': tested[each].level(level) for each in others}
        ways = {f'{each:+g}': way(each, kind) for each in others}
        share = {f'{each:+g}': known[each] for each in others}
        if len(others) > 1:
            counts['all'] = tuple(map(sum, zip(*counts.values(), strict=True)))
            ways['all'] = ' and '.join(dict.fromkeys(ways.values()))
            share['all'] = math.fsum(share.values()) / len(share)
        counts = {'0': recorded} | counts
        for name, own in counts.items():
            difference = paired.ahead(own, recorded, group)
            found.append(
                {
                    'semitones': name,
                    'way': ways.get(name, 'as recorded'),
                    'level': level,
                    **paired.accuracy(*own, group),
                    'above_recorded': difference['inflation'],
                    'above_recorded_ci95': difference['inflation_ci95'],
                    'tonic_known': share.get(name, known[0.0]),
                }
            )
    return found
