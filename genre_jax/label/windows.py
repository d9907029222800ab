"""Recordings, of sound or of its pitch alone, as windows, decoded ahead and in bounded memory."""

import collections
import concurrent.futures
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import joblib
import numpy as np

from genre_jax.data import audio, audio_file, pitch_track
from genre_jax.data.files import suffix
from genre_jax.errors import BadAudio

# Longer recordings are decoded block by block, twice; a file of so few bytes is not asked how long it is.
_LONG_S = 300
_SMALL_BYTES = 2**21
_MOST_THREADS = 8  # each holds one recording of up to _LONG_S
# What a recording is decoded to: samples per channel, and blocks of them, int16 [n]; of pitch float32 frames.
Decoded = tuple[int, Iterable[np.ndarray]]


def starts(n_samples: int, window: int, hop: int) -> np.ndarray:
    """Returns where the windows of a recording start: samples, int64 [n], ascending.

    One every `hop` samples as long as it lies inside; where more than half a hop is left, one more that ends
    with the recording. A recording that is shorter than a window has one.
    """
    last = max(0, n_samples - window)
    found = np.arange(0, last + 1, hop, dtype=np.int64)
    return np.append(found, last) if 2 * (last - found[-1]) > hop else found


def cut(decoded: Decoded, window: int, hop: int) -> Iterator[np.ndarray]:
    """Yields the windows of a recording, int16 (of pitch float32) [window], zeros beyond its end."""
    n_samples, blocks = decoded
    blocks = iter(blocks)
    held, first = np.zeros(0, np.int16), 0  # samples from the first one on
    for start in starts(n_samples, window, hop):
        end = min(start + window, n_samples)
        while first + len(held) < end:
            block = next(blocks, None)
            if block is None:
                raise BadAudio('it has become shorter while it was read')
            passed = min(start - first, len(held))
            held, first = np.concatenate([held[passed:], block]), first + passed
        inside = held[start - first : end - first]
        yield np.pad(inside, (0, window - len(inside)))


def decode(path: str, sample_rate_hz: int) -> Decoded:
    """Decodes a file of audio; BadAudio: it cannot be used."""
    small = os.path.isfile(path) and os.path.getsize(path) <= _SMALL_BYTES
    if small or 0 < audio.probe(path).duration_s <= _LONG_S:
        pcm = audio.decode(path, sample_rate_hz)
        return len(pcm), [pcm]
    return audio.decode_long(path, sample_rate_hz)


def read_pitch(path: str, frames_hz: float) -> Decoded:
    """Reads a pitch track as published, a frequency a line (docs/datasets/makam.md); BadAudio: damaged."""
    if suffix(path) in audio_file.AUDIO_SUFFIXES | audio_file.FFMPEG_SUFFIXES:
        raise BadAudio('sound, and this model hears pitch: expected a pitch track, one frequency a line')
    return thin_pitch(pitch_track.read(path), pitch_track.SAMPLE_RATE_HZ / pitch_track.HOP, frames_hz)


def thin_pitch(f0_hz: np.ndarray, from_hz: float, frames_hz: float) -> Decoded:
    """Takes every so many frames of pitch [n], `from_hz` of them a second, that there are `frames_hz`.

    BadAudio where these are no whole number of times those, as preparation takes them, or no pitch is left.
    """
    every = max(1, round(from_hz / frames_hz))
    if not math.isclose(from_hz, every * frames_hz, rel_tol=1e-3):
        raise BadAudio(
            f'{from_hz:g} frames of pitch a second: expected {frames_hz:.2f}, or a whole number of times that'
        )
    thinned = f0_hz[::every].astype(np.float32)
    if not thinned.any():
        raise BadAudio('no voiced frame')
    return len(thinned), [thinned]


def decode_ahead(paths: Sequence[str], decode: Callable[[str], Decoded]) -> Iterator[Decoded | BadAudio]:
    """Yields in order what each file is decoded to, or why it cannot be; threads work ahead."""

    def attempt(path: str) -> Decoded | BadAudio:
        try:
            return decode(path)
        except BadAudio as error:
            return error

    threads = min(_MOST_THREADS, joblib.cpu_count())
    paths, ahead = iter(paths), collections.deque()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                while len(ahead) <= threads and (path := next(paths, None)) is not None:
                    ahead.append(pool.submit(attempt, path))
                if not ahead:
                    return
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
