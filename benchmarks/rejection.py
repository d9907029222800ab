"""How much of what is no music, or of other folders, a run answers 'none of these' to.

python -m benchmarks.rejection --model RUN [--folders DIR ...]

Ten recordings of 30 s of each kind of sound, drawn by another generator than those that runs choose their
rule with (genre_jax/run/confidence.py): there are white and pink noises among these too, but no threshold is
set by them.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
import scipy.signal

import genre_jax
from genre_jax.label import recordings

_RATE_HZ = 22050
_SECONDS = 30
_EACH = 10


def speech_like(rng: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
    """Returns pulses of a wandering pitch through formants that jump ten times a second, with pauses.

    Args:
        rng: generator of chance.
        time_s: of the samples.
    """
    pitch_hz = 120 * 2 ** (0.3 * np.sin(2 * np.pi * 0.4 * time_s + rng.uniform(0, 6)))
    pulses = np.diff(np.floor(np.cumsum(pitch_hz) / _RATE_HZ), prepend=0)
    source = pulses + 0.02 * rng.standard_normal(len(time_s))
    parts = []
    for part in np.array_split(source, 10 * _SECONDS):
        for formant_hz in (rng.uniform(300, 800), rng.uniform(900, 2300), 2600):
            radius, angle = np.exp(-np.pi * 90 / _RATE_HZ), 2 * np.pi * formant_hz / _RATE_HZ
            part = scipy.signal.lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], part)
        parts.append(part * (rng.uniform() < 0.75))
    return np.concatenate(parts)


def sounds(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Returns sounds by kind, float [n] with peaks of 0.7, but for the nearly silent.

    Args:
        rng: generator of chance.
    """
    time_s = np.arange(_SECONDS * _RATE_HZ) / _RATE_HZ
    rates_hz = np.fft.rfftfreq(len(time_s), 1 / _RATE_HZ)

    def pink() -> np.ndarray:
        spectrum = np.fft.rfft(rng.standard_normal(len(time_s)))
        return np.fft.irfft(spectrum / np.maximum(rates_hz, 20) ** 0.5, len(time_s))

    kinds = {
        'white noise': lambda: rng.standard_normal(len(time_s)),
        'pink noise': pink,
        'speech-like': lambda: speech_like(rng, time_s),
    }
    found = {kind: [draw() for _ in range(_EACH)] for kind, draw in kinds.items()}
    found = {kind: [0.7 * x / np.abs(x).max() for x in each] for kind, each in found.items()}
    return found | {'nearly silent': [1e-3 * x for x in found['white noise']]}


def main() -> None:
    """Prints a row for each kind and each folder."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument('--model', required=True, help='folder of a finished run')
    arguments.add_argument('--folders', nargs='*', default=[], help='of recordings')
    options = arguments.parse_args()
    model = genre_jax.load(options.model)
    print('| recordings | turned away | surest probability |\n|---|---|---|')

    def row(name: str, songs: list) -> None:
        away = sum(not song.known for song in songs)
        surest = max(song.probability.max() for song in songs)
        print(f'| {name} | {away} of {len(songs)} | {100 * surest:.1f} % |', flush=True)

    for kind, each in sounds(np.random.default_rng(77)).items():
        row(kind, model.label(each, sample_rate_hz=_RATE_HZ))
    for folder in options.folders:
        row(pathlib.Path(folder).name, model.label(recordings.find([folder])[0]))


if __name__ == '__main__':
    main()
