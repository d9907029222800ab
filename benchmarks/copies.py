"""How many copies are found: of recordings after a change of each kind, and in large collections.

    python -m benchmarks.copies --root=DIR [--every=2 --skip=1]  # changes; pairs of different recordings
    python -m benchmarks.copies --root=DIR --simulated=1000,16000,100000

Recordings are cut to 45 s. Simulated ones have the rhythm of a real one, in another order, and phrases of 16
spectral peaks of all of them, out of tune by up to half a semitone: they share notes and phrases, no stretch.
Peak memory is that of the process, largest collection last.
"""

from __future__ import annotations

import io
import pathlib
import resource
import time
from collections.abc import Callable, Sequence

import librosa
import numpy as np
import soundfile
import soxr
from absl import app, flags

from genre_jax.data import duplicates
from genre_jax.data.fingerprint import Print, fingerprint

_ROOT = flags.DEFINE_multi_string('root', None, 'folders of recordings', required=True)
_EVERY = flags.DEFINE_integer('every', 1, 'one recording in so many')
_SKIP = flags.DEFINE_integer('skip', 0, 'so many before the first')
_SIMULATED = flags.DEFINE_list('simulated', [], 'sizes of simulated collections')
RATE_HZ = 22050
_PHRASE = 16  # peaks


def _coded(audio: np.ndarray, container: str, subtype: str, level: float) -> np.ndarray:
    rate_hz = 24000 if subtype == 'OPUS' else RATE_HZ
    file = io.BytesIO()
    audio = soxr.resample(audio, RATE_HZ, rate_hz)
    soundfile.write(file, audio, rate_hz, format=container, subtype=subtype, compression_level=level)
    file.seek(0)
    return soxr.resample(soundfile.read(file, dtype='int16')[0], rate_hz, RATE_HZ)


def _noisy(audio: np.ndarray, snr_db: float) -> np.ndarray:
    rng = np.random.default_rng(np.abs(audio[:1000].astype(int)).sum() + len(audio))
    level = np.sqrt(np.mean(audio.astype(float) ** 2)) * 10 ** (-snr_db / 20)
    return _whole(audio + level * rng.standard_normal(len(audio)))


def _whole(audio: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(audio), -32768, 32767).astype(np.int16)


def _part(audio: np.ndarray, start_s: float, length_s: float = 60) -> np.ndarray:
    return audio[round(start_s * RATE_HZ) :][: round(length_s * RATE_HZ)]


def _speed(audio: np.ndarray, factor: float) -> np.ndarray:
    return soxr.resample(audio, RATE_HZ * factor, RATE_HZ)


def _tempo(audio: np.ndarray, factor: float) -> np.ndarray:
    return _whole(32768 * librosa.effects.time_stretch(audio / np.float32(32768), rate=factor))


def _within(audio: np.ndarray, other: np.ndarray, mixed: bool) -> np.ndarray:
    """8 s of a recording cut into another one, or laid over it at the same level."""
    excerpt = _part(audio, 3, 8).astype(float)
    if not mixed:
        return np.concatenate([_part(other, 0, 6), _whole(excerpt), _part(other, 6)])
    under = other[: len(excerpt)].astype(float)
    gain = np.sqrt(np.mean(under**2) / max(1, np.mean(excerpt[: len(under)] ** 2)))
    return np.concatenate([_whole((under + gain * excerpt[: len(under)]) / 2), _part(other, 8)])


# A recording and another one -> the changed copy of it.
CHANGES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    'Ogg Vorbis, lowest quality (36 kbit/s)': lambda x, _: _coded(x, 'OGG', 'VORBIS', 1.0),
    'MP3, lowest quality (26 kbit/s)': lambda x, _: _coded(x, 'MP3', 'MPEG_LAYER_III', 0.99),
    'Opus, 16 kbit/s': lambda x, _: _coded(x, 'OGG', 'OPUS', 0.98),
    'Opus, 7 kbit/s': lambda x, _: _coded(x, 'OGG', 'OPUS', 1.0),
    'peak at +6 dBFS, clipped': lambda x, _: _whole(x * (65536.0 / np.abs(x.astype(int)).max())),
    'starts 0.317 s later': lambda x, _: _part(x, 0.317),
    'starts 4.983 s later': lambda x, _: _part(x, 4.983),
    'excerpt of 10 s': lambda x, _: _part(x, 3.217, 10),
    'excerpt of 5 s': lambda x, _: _part(x, 3.217, 5),
    'white noise at 20 dB': lambda x, _: _noisy(x, 20),
    'white noise at 10 dB': lambda x, _: _noisy(x, 10),
    'white noise at 5 dB': lambda x, _: _noisy(x, 5),
    'excerpt of 5 s, noise at 10 dB': lambda x, _: _noisy(_part(x, 3.217, 5), 10),
    'excerpt of 10 s, noise at 20 dB, MP3': lambda x, _: _coded(
        _noisy(_part(x, 2.5, 10), 20), 'MP3', 'MPEG_LAYER_III', 0.9
    ),
    '0.5 % faster': lambda x, _: _speed(x, 1.005),
    '3 % slower': lambda x, _: _speed(x, 0.97),
    '5 % faster': lambda x, _: _speed(x, 1.05),
    '5 % slower': lambda x, _: _speed(x, 0.95),
    '5 % faster, MP3': lambda x, _: _coded(_speed(x, 1.05), 'MP3', 'MPEG_LAYER_III', 0.99),
    '4 % slower, noise at 15 dB': lambda x, _: _noisy(_speed(x, 0.96), 15),
    '4 % faster, excerpt of 10 s': lambda x, _: _part(_speed(x, 1.04), 3, 10),
    'tempo alone 5 % faster': lambda x, _: _tempo(x, 1.05),
    'tempo alone 3 % slower': lambda x, _: _tempo(x, 0.97),
    'pitch alone 84 cents higher': lambda x, _: _speed(_tempo(x, 1 / 1.05), 1.05),
    'pitch alone 50 cents lower': lambda x, _: _speed(_tempo(x, 1.03), 1 / 1.03),
    'whole, between parts of two others': lambda x, y: np.concatenate([_part(y, 2, 12), x, _part(y, 1, 9)]),
    '8 s of it within another': lambda x, y: _within(x, y, mixed=False),
    '8 s of it over another, as loud': lambda x, y: _within(x, y, mixed=True),
}


def simulated(prints: Sequence[Print], count: int, seed: int) -> list[Print]:
    """Makes peaks of recordings that share no stretch with each other or with the given ones."""
    rng = np.random.default_rng(seed)
    pitches = np.concatenate([item.pitches for item in prints]).astype(int)
    made = []
    for _ in range(count):
        steps = np.diff(prints[rng.integers(len(prints))].times.astype(int))
        times = np.cumsum(rng.permutation(steps)).astype(np.uint32)
        starts = rng.integers(0, len(pitches) - _PHRASE, -(-len(times) // _PHRASE))
        phrases = pitches[(starts[:, None] + np.arange(_PHRASE)).ravel()[: len(times)]]
        made.append(Print(times, np.uint16(phrases + rng.integers(-50, 51))))
    return made


def _find(prints: Sequence[Print]) -> dict[tuple[int, int], duplicates.Pair]:
    names = [str(i) for i in range(len(prints))]
    pairs = duplicates.find(duplicates.Prints(names, names, list(prints)))
    return {(int(pair.first), int(pair.second)): pair for pair in pairs}


def _changes(names: list[str], clips: list[np.ndarray], prints: list[Print]) -> None:
    known = _find(prints)
    count = len(clips)
    print(f'{count} recordings, {count * (count - 1) // 2} pairs, of which are reported:')
    for (i, j), pair in known.items():
        how = f'{pair.begin_s}-{pair.end_s} s, score {pair.score}, speed {pair.speed}'
        print(f'  {names[i]} = {names[j]}  {how}')
    others = set()
    print('| change | found | median score |\n|---|---|---|')
    for change, make in CHANGES.items():
        copies = [fingerprint(make(clip, clips[k - 1]), RATE_HZ) for k, clip in enumerate(clips)]
        pairs = _find(prints + copies)
        scores = [pairs[k, count + k].score for k in range(count) if (k, count + k) in pairs]
        print(f'| {change} | {len(scores)} | {np.median(scores):.2f} |', flush=True)
        for i, j in pairs:
            i, j = sorted((i % count, j % count))
            belong = 'other' in change and (j - i) % count in (1, count - 1)
            if i != j and (i, j) not in known and not belong:
                others.add((i, j))
    print(f'different recordings taken for copies after some change: {len(others)}')
    for i, j in sorted(others):
        print(f'  {names[i]} = {names[j]}')


def _sizes(clips: list[np.ndarray], prints: list[Print]) -> None:
    some = ('starts 4.983 s later', 'white noise at 10 dB', 'excerpt of 5 s', '5 % faster')
    copies = [fingerprint(CHANGES[name](clip, clip), RATE_HZ) for name in some for clip in clips]
    count = len(clips)
    print(f'| simulated | {" | ".join(some)} | other pairs | s of core | peak GB |')
    for size in map(int, ['0', *_SIMULATED.value]):
        crowd = simulated(prints, size, size)
        began = time.process_time()
        pairs = _find(prints + copies + crowd)
        took_s = time.process_time() - began
        found = [sum((k, count * (c + 1) + k) in pairs for k in range(count)) for c in range(len(some))]
        other = sum(j >= count * (1 + len(some)) for _, j in pairs)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        cells = [size, *(f'{n} of {count}' for n in found), other, f'{took_s:.0f}', f'{memory:.1f}']
        print(f'| {" | ".join(map(str, cells))} |', flush=True)


def main(_: list[str]) -> None:
    """Reads the recordings, and prints the tables."""
    files = sorted(
        file
        for root in _ROOT.value
        for file in pathlib.Path(root).rglob('*')
        if file.suffix in ('.ogg', '.wav', '.flac', '.mp3') and file.is_file()
    )
    names, clips = [], []
    for file in files[_SKIP.value :: _EVERY.value]:
        with soundfile.SoundFile(file) as stream:
            audio = stream.read(45 * stream.samplerate, dtype='float32', always_2d=True)
            audio = soxr.resample(audio.mean(1), stream.samplerate, RATE_HZ)
        if len(audio) > 14 * RATE_HZ and audio.any():
            names.append(str(pathlib.Path(file.parent.name, file.name)))
            clips.append(_whole(audio * 32768))
    prints = [fingerprint(clip, RATE_HZ) for clip in clips]
    if _SIMULATED.value:
        _sizes(clips, prints)
    else:
        _changes(names, clips, prints)


if __name__ == '__main__':
    app.run(main)
