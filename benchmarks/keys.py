"""How much of the raag the key of a recording tells: the nearest neighbour, with and without that control.

python -m benchmarks.keys --root=recordings.csv

The CSV is one of docs/datasets/raag.md, with the tonic of every recording. Each recording is given the raag
of its nearest neighbour among the others, then among those in other keys, whose tonic lies more than 50 cents
away, whatever the octave. Near is: a tonic, or a distribution of the melody's pitch over an octave, as it is
heard or above the tonic. A raag that is recorded in one key can only be missed then, so the figures come
again for the recordings whose raag has another key.
"""

from __future__ import annotations

import argparse

import jax
import numpy as np

from genre_jax.data.raag import Source
from genre_jax.evaluation.tonic import away_cents
from genre_jax.features.predominant_pitch import PredominantPitch

_RATE_HZ = 16000
_BINS = 53  # of an octave
_APART_CENTS = 50.0


def distribution(hz: np.ndarray, from_hz: float) -> np.ndarray:
    """Returns shares of the time in pitch classes above a frequency, smoothed over three, float64 [53].

    Args:
        hz: pitch of each frame, 0 in rests.
        from_hz: where the first bin begins.
    """
    places = _BINS * np.log2(hz[hz > 0] / from_hz)
    count = np.bincount(np.rint(places).astype(np.int64) % _BINS, minlength=_BINS).astype(float)
    smooth = count + (np.roll(count, 1) + np.roll(count, -1)) / 2
    return smooth / max(smooth.sum(), 1.0)


def right(distance: np.ndarray, label: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Says whose nearest neighbour has the same label, share of the nearest ones where several are, [n].

    Args:
        distance: [n, n], of each from each.
        label: [n].
        allowed: bool [n, n], which neighbours count.
    """
    masked = np.where(allowed, distance, np.inf)
    nearest = (masked <= masked.min(1, keepdims=True) + 1e-9) & allowed
    return (nearest & (label[:, None] == label)).sum(1) / np.maximum(nearest.sum(1), 1)


def main() -> None:
    """Prints a table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument('--root', required=True, help='CSV with columns path, label and tonic_hz')
    source = Source(root=arguments.parse_args().root, sample_rate_hz=_RATE_HZ)
    recordings = [each for each in source.recordings()[0] if each.tonic_hz]
    waves = [source.load(each).astype(np.float32) / 32767 for each in recordings]
    front_end = PredominantPitch(sample_rate_hz=_RATE_HZ)
    pitch_of, longest = jax.jit(front_end), max(map(len, waves))
    melodies = [
        np.asarray(pitch_of(np.pad(wave, (0, longest - len(wave)))))[: len(wave) // front_end.hop_length, 0]
        for wave in waves
    ]
    label = np.array([each.label for each in recordings])
    tonic_hz = np.array([each.tonic_hz for each in recordings])
    heard = np.array([distribution(each, 55.0) for each in melodies])
    above = np.array([distribution(*both) for both in zip(melodies, tonic_hz, strict=True)])
    cents = np.abs(away_cents(tonic_hz[:, None], tonic_hz))
    distances = {'the tonic alone': np.rint(cents / _APART_CENTS)}
    for name, each in (('pitch as it is heard', heard), ('pitch above the tonic', above)):
        distances[name] = np.abs(each[:, None] - each).sum(-1)
    others = ~np.eye(len(label), dtype=bool)
    apart = cents > _APART_CENTS
    possible = ((label[:, None] == label) & apart).any(1)
    print(f'{len(label)} recordings; {possible.sum()} whose raag is recorded in another key as well')
    print('| nearest by | any other recording | another key | another key, of those |\n|---|---|---|---|')
    for name, distance in distances.items():
        free, kept = right(distance, label, others), right(distance, label, apart)
        cells = [free.mean(), kept.mean(), kept[possible].mean()]
        print(f'| {name} | {" | ".join(f"{100 * each:.1f} %" for each in cells)} |')


if __name__ == '__main__':
    main()
