"""What a run finds out about its own confidence, for those who apply its model.

Temperatures and rules are fitted on the validation part; the test part only says what they are worth.
"""

import itertools
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from genre_jax import sharding
from genre_jax.evaluation import confidence
from genre_jax.evaluation.evaluate import Predictions, number_songs, pool_songs
from genre_jax.loading import loader, run_data
from genre_jax.loading.feed import Feed
from genre_jax.training.job import Job
from genre_jax.training.predict import Outputs

_TRAINING_SONGS = 500  # that tell where the classes lie
_EACH, _KINDS = 16, 7  # sounds of a kind that are no music


def calibrate(predictions: Mapping[str, Predictions]) -> dict:
    """Returns temperatures by segment and by song, and calibration on 'val' and 'test' with and without."""
    found = {}
    levels = {
        'segment': {part: (each.label, each.probabilities) for part, each in predictions.items()},
        'song': {
            part: (songs.label, songs.probability)
            for part, songs in ((part, pool_songs(each)) for part, each in predictions.items())
        },
    }
    n_songs = len(levels['song']['val'][0])
    for level, parts in levels.items():
        temperature = confidence.fit_temperature(*parts['val'], n_songs)
        found[level] = {'temperature': temperature} | {
            part: {
                'before': confidence.calibration(labels, probabilities),
                'after': confidence.calibration(labels, confidence.tempered(probabilities, temperature)),
            }
            for part, (labels, probabilities) in parts.items()
        }
    return found


def training_windows(job: Job, data: run_data.Data) -> loader.WindowTable:
    """Lays out windows of up to 500 songs of the training part as evaluation has them."""
    tracks = data.split.tracks['train']
    some = tracks[np.unique(np.linspace(0, len(tracks) - 1, _TRAINING_SONGS).astype(int))]
    segments = data.split.segments and data.split.segments['train']
    own = {'train': False, 'seed': job.config.split.seed, 'segments': segments}
    return loader.WindowTable(data.dataset, some, job.config.windows, **own)


def no_music(sample_rate_hz: int, n_samples: int) -> Iterator[np.ndarray]:
    """Yields sounds that are no music, int16 [n_samples]: noises, tones, hum, clicks, babble."""
    rng = np.random.default_rng(0)
    time_s = np.arange(n_samples) / sample_rate_hz
    rates_hz = np.fft.rfftfreq(n_samples, 1 / sample_rate_hz)
    for _ in range(_EACH):
        spectrum = np.fft.rfft(rng.standard_normal(n_samples))
        white, pink, brown = (
            np.fft.irfft(spectrum / np.maximum(rates_hz, 20) ** slope, n_samples) for slope in (0, 0.5, 1)
        )
        tone = np.sin(2 * np.pi * np.exp(rng.uniform(np.log(80), np.log(3000))) * time_s)
        hum_hz = rng.uniform(49, 61)
        hum = sum(np.sin(2 * np.pi * k * hum_hz * time_s) / k for k in range(1, 12))
        clicks = np.zeros(n_samples)
        clicks[rng.integers(0, n_samples, max(1, int(10 * time_s[-1])))] = 1
        # Noise in the band of speech whose loudness goes with syllables.
        band = np.fft.irfft(spectrum * ((rates_hz > 200) & (rates_hz < 3500)), n_samples)
        babble = band * np.abs(np.sin(np.pi * rng.uniform(3, 6) * time_s))
        for sound in (white, pink, brown, tone, hum, clicks, babble):
            # Most nearly as loud as can be, as music is. Of very short windows there may be no speech at all.
            loud = 10 ** (-2 * rng.uniform() ** 3) / max(np.abs(sound).max(), 1e-9)
            yield np.rint(32767 * loud * sound).astype(np.int16)


def batches(job: Job, windows: Iterator[np.ndarray]) -> Iterator[dict[str, jax.Array]]:
    """Yields windows in batches on the devices, the last one filled up; no more are held at a time."""
    size = job.config.eval.batch_size
    while batch := list(itertools.islice(windows, size)):
        rows = np.minimum(sharding.rows_here(size, job.mesh), len(batch) - 1)
        yield sharding.put_batch({job.stored.kind: np.stack([batch[row] for row in rows])}, job.mesh)


def tested(job: Job, data: run_data.Data, feed: Feed) -> dict[str, tuple[Iterator[Mapping], int]]:
    """Returns the batches that a trained network is tested with, and how many windows they hold, by part.

    'val' and 'test'; for `find_rule` 'train' and 'no_music' too, but not of what is no sound, or has to be
    told with its tonic: neither is labelled.
    """
    tables = {part: data.tables[part] for part in ('val', 'test')}
    found = {}
    if job.stored.kind == 'audio' and not job.front_end.needs_tonic:
        tables['train'] = training_windows(job, data)
        strange = no_music(job.stored.sample_rate_hz, job.stored.shape[0])
        found['no_music'] = batches(job, strange), _EACH * _KINDS
    return {part: (feed.evaluate(table), len(table)) for part, table in tables.items()} | found


def find_rule(
    job: Job, data: run_data.Data, outputs: Mapping[str, Outputs]
) -> tuple[dict, confidence.Space] | None:
    """Returns when to answer 'none of these', and where the classes lie; None: there is no sound.

    `outputs` are those of the parts of `tested`. A song, or a window, is turned away where
    `confidence.lesser` is less than of 95 % of the validation part.
    """
    if 'no_music' not in outputs:
        return None
    labels = training_windows(job, data).labels
    # Half of the sounds tell where noise lies, the others what that is worth.
    known, others = (range(first, len(outputs['no_music'].energy), 2) for first in (0, 1))
    no_music = outputs['no_music'].of(others)
    lies = outputs['no_music'].embedding[known]
    space = confidence.Space.fit(outputs['train'].embedding, labels, len(data.dataset.labels), lies)
    sure = {
        part: confidence.sureness(each.probabilities, each.energy, space, each.embedding)
        for part, each in {**outputs, 'no_music': no_music}.items()
        if part != 'train'
    }
    scales = confidence.scales(sure['val'])
    windows = {
        part: {rule: confidence.lesser(each, scales, rule) for rule in confidence.RULES}
        for part, each in sure.items()
    }
    songs, right = {}, {}
    for part in ('val', 'test'):
        _, song = number_songs(data.tables[part].track)
        songs[part] = {rule: confidence.of_songs(sure, song) for rule, sure in windows[part].items()}
        pooled = pool_songs(data.tables[part].predictions(outputs[part].probabilities))
        right[part] = pooled.max_probability() == pooled.label
    strange = windows['no_music']
    found = confidence.choose_rule(songs['val'], right['val'], strange)
    rule = found['rule']
    least = {
        'song': float(np.quantile(songs['val'][rule], 1 - confidence.KEPT, method='lower')),
        'window': float(np.quantile(windows['val'][rule], 1 - confidence.KEPT, method='lower')),
    }
    kept = {part: songs[part][rule] >= least['song'] for part in songs}
    parts = {
        part: {
            'kept': float(kept[part].mean()),
            'accuracy': float(right[part].mean()),
            'accuracy_of_kept': float(right[part][kept[part]].mean()) if kept[part].any() else None,
        }
        for part in songs
    }
    turned_away = float((strange[rule] < least['song']).mean())
    return found | {
        'scales': scales,
        'least': least,
        'parts': parts,
        'no_music_turned_away': turned_away,
    }, space
