"""Trackers of the melody beside each other, on melodies whose every pitch is known, alone and in mixtures.

python -m benchmarks.melody [--trackers constant_q pyin crepe_tiny] [--clips 16] [--duration_s 10]

Clips of synthetic_raag, each by another musician, are rendered without anything (`voice`), over a tanpura
(`drone`), with strokes of drums as well (`drums`), in a room (`room`) and in white noise (`noise`); the
levels stand below. Measures are those of mir_eval, means over clips. A rest where the melody sounds is a
miss: the trackers guess no pitch there.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time

import jax
import mir_eval
import numpy as np

from genre_jax.data.synthetic_raag import RAAGS, Source, sound
from genre_jax.features.audio_melody import AudioMelody

_RATE_HZ = 16000
_DRONE_DB, _DRUMS_DB, _ROOM_DB, _ROOM_S, _SNR_DB = (
    -6.0,
    -3.0,
    -3.0,
    1.0,
    10.0,
)  # over the melody, but the last
_COLUMNS = ('pitch', 'within 25 cents', 'chroma', 'overall', 'voicing recall', 'false alarm')


def drums(rng: np.random.Generator, samples: int, tonic_hz: float) -> np.ndarray:
    """Plays strokes like a tabla's four to six times a second, float64 [samples].

    Args:
        rng: generator of chance.
        samples: how many.
        tonic_hz: what the right-hand drum is tuned to, an octave up; the left-hand one bends from 100 Hz.
    """
    time_s = np.arange(round(0.5 * _RATE_HZ)) / _RATE_HZ
    strike = rng.standard_normal(len(time_s)) * np.exp(-time_s / 0.004)
    right = 0.5 * strike + sum(
        np.sin(2 * np.pi * k * 2 * tonic_hz * time_s) * np.exp(-time_s * k / 0.12) / k for k in range(1, 6)
    )
    bend = 2 * np.pi * np.cumsum(70 + 30 * np.exp(-time_s / 0.08)) / _RATE_HZ
    left = 0.2 * strike + 1.5 * np.sin(bend) * np.exp(-time_s / 0.15)
    wave = np.zeros(samples + len(time_s))
    now, pulse = 0.0, _RATE_HZ / rng.uniform(4, 6)
    while now < samples:
        stroke = right if rng.uniform() < 0.6 else left
        wave[int(now) : int(now) + len(stroke)] += rng.uniform(0.4, 1) * stroke
        now += pulse * rng.choice([1, 1, 2])
    return wave[:samples]


def mixtures(
    source: Source, track: str, drone: str, duration_s: float
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Renders a recording's melody: float32 [samples] for each kind, and its true pitch, Hz a sample.

    Args:
        source: that knows the melody.
        track: of the recording.
        drone: first string of its tanpura.
        duration_s: length.
    """
    notes, drawn = source.melody(track), source.performance(track)
    alone = dataclasses.replace(drawn, drone_db=-math.inf, room_db=-math.inf, snr_db=math.inf)
    kinds = {
        'voice': alone,
        'drone': dataclasses.replace(alone, drone_db=_DRONE_DB),
        'room': dataclasses.replace(alone, room_db=_ROOM_DB, room_s=_ROOM_S),
        'noise': dataclasses.replace(alone, snr_db=_SNR_DB),
    }
    length = {'duration_s': duration_s, 'sample_rate_hz': _RATE_HZ}
    waves = {
        kind: sound.render(notes, drone, performance, np.random.default_rng(0), **length) / 32767
        for kind, performance in kinds.items()
    }
    beat = drums(np.random.default_rng(1), len(waves['voice']), drawn.tonic_hz)
    level = np.sqrt(np.mean(waves['drone'] ** 2) / np.mean(beat**2)) * 10 ** (_DRUMS_DB / 20)
    both = waves['drone'] + level * beat
    waves['drums'] = both / max(1, np.abs(both).max())
    true_hz = sound.contour(notes, duration_s, _RATE_HZ)
    return {kind: wave.astype(np.float32) for kind, wave in waves.items()}, true_hz


def measures(found_hz: np.ndarray, true_hz: np.ndarray, hop_length: int) -> list[float]:
    """Returns what mir_eval makes of one clip, in the order of the table.

    Args:
        found_hz: of each frame, 0 in rests.
        true_hz: of each sample.
        hop_length: samples from frame to frame.
    """
    at = np.arange(len(found_hz)) * hop_length
    true_hz = true_hz[np.minimum(at, len(true_hz) - 1)]
    both = mir_eval.melody.to_cent_voicing(at / _RATE_HZ, true_hz, at / _RATE_HZ, found_hz)
    return [
        mir_eval.melody.raw_pitch_accuracy(*both),
        mir_eval.melody.raw_pitch_accuracy(*both, cent_tolerance=25),
        mir_eval.melody.raw_chroma_accuracy(*both),
        mir_eval.melody.overall_accuracy(*both),
        *mir_eval.melody.voicing_measures(both[0], both[2]),
    ]


def main() -> None:
    """Prints a row for each tracker and kind of mixture, as a table of the docs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--trackers', nargs='+', default=['constant_q', 'pyin', 'crepe_tiny', 'crepe_full'])
    parser.add_argument('--clips', type=int, default=16, help='at most 320')
    parser.add_argument('--duration_s', type=float, default=10.0, help='of each')
    options = parser.parse_args()
    source = Source(duration_s=options.duration_s)
    recordings = source.recordings()[0]
    chosen = recordings[:: len(recordings) // options.clips + 1]
    clips = [mixtures(source, r.track, RAAGS[r.label].drone, options.duration_s) for r in chosen]
    print(f'{len(clips)} clips of {options.duration_s:g} s, {jax.devices()[0].device_kind}')
    print(f'| tracker | mixture | {" | ".join(_COLUMNS)} | seconds of processor a second |')
    print('|---' * (len(_COLUMNS) + 3) + '|')
    for tracker in options.trackers:
        pitch = AudioMelody(tracker=tracker).pitch()
        waves = {kind: np.stack([waves[kind] for waves, _ in clips]) for kind in clips[0][0]}
        compiled = jax.jit(pitch).lower(waves['voice']).compile()
        for kind, batch in waves.items():
            # Of the processor, not of the clock: other programs may run beside it.
            began_s = time.process_time()
            found = np.asarray(compiled(batch))[..., 0]
            share = (time.process_time() - began_s) / (options.duration_s * len(clips))
            rows = [measures(hz, true, pitch.hop_length) for hz, (_, true) in zip(found, clips, strict=True)]
            figures = ' | '.join(f'{100 * figure:.1f} %' for figure in np.mean(rows, 0))
            print(f'| `{tracker}` | {kind} | {figures} | {share:.4f} |', flush=True)


if __name__ == '__main__':
    main()
