"""Fingerprints of audio that survive another encoding, level, rate, start and some noise.

Landmarks as in A. Wang, An Industrial-Strength Audio Search Algorithm (ISMIR 2003): peaks of the
spectrogram, of which each is paired with some that follow it; a pair is known by its two
frequencies and the time between them. Two copies of a recording share many landmarks, all displaced
by one and the same time. Copies at another speed or pitch share none.
"""

from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage
import soxr

_RATE_HZ = 8000  # what narrow codecs keep
_WINDOW = 1024
_HOP = 256
FRAME_S = _HOP / _RATE_HZ  # time between the frames that landmarks are counted in
# 94 Hz to 3.6 kHz: no hum, and nothing from where resamplers roll off.
_BINS = slice(12, 460)
# A peak is the greatest value within so many frames and bins on either side ...
_NEAR_FRAMES = 7
_NEAR_BINS = 12
# ... and fewer than so many within half a second are greater: quiet places count as much as loud ones.
_DENSITY_FRAMES = 16
_DENSITY = 20
_FAN_OUT = 8
_PAIR_FRAMES = (2, 63)
_PAIR_BINS = 63
# A sine of half the least significant bit: below there is only rounding.
_FLOOR = 0.5 * _WINDOW / 4
_BLOCK_FRAMES = 4096  # two minutes at a time: an hour at once would take gigabytes
_ANCHOR_BIT = 13


class Print(NamedTuple):
    """Landmarks of a recording, uint32 [n] each."""

    hashes: np.ndarray  # bin of the first peak (9 bits), distance in bins (7), in frames (6)
    frames: np.ndarray  # of the first peak

    @property
    def anchors(self) -> np.ndarray:
        """Returns one number for each landmark's first peak, int64 [n]: a peak starts several."""
        return self.frames.astype(np.int64) << 9 | self.hashes >> _ANCHOR_BIT


NOTHING = Print(np.empty(0, np.uint32), np.empty(0, np.uint32))


def fingerprint(audio: np.ndarray, sample_rate_hz: int) -> Print:
    """Finds the landmarks of a recording, int16 [n] mono: what lies above 3.6 kHz does not count.

    There are about 130 for a second of music, none for silence or less than 0.13 s.
    """
    wave = audio.astype(np.float32)
    if sample_rate_hz != _RATE_HZ:
        wave = soxr.resample(wave, sample_rate_hz, _RATE_HZ, quality='MQ')
    return _pairs(*_peaks(wave))


def _peaks(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns frames and bins of the peaks, in order of the frames, int64 [n] each."""
    if len(wave) < _WINDOW:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    stretches = np.lib.stride_tricks.sliding_window_view(wave, _WINDOW)[::_HOP]
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    found = []
    for first in range(0, len(stretches), _BLOCK_FRAMES):
        start = max(0, first - _NEAR_FRAMES)
        stop = min(len(stretches), first + _BLOCK_FRAMES + _NEAR_FRAMES)
        spectrum = scipy.fft.rfft(stretches[start:stop] * window, axis=1)[:, _BINS]
        # 6 dB an octave: music falls towards high frequencies, and they would give no peaks.
        tilt = np.arange(_BINS.start, _BINS.stop, dtype=np.float32)
        magnitude = np.abs(spectrum) * tilt
        greatest = scipy.ndimage.maximum_filter(
            magnitude, (2 * _NEAR_FRAMES + 1, 2 * _NEAR_BINS + 1), mode='constant'
        )
        frames, bins = np.nonzero((magnitude == greatest) & (magnitude > _FLOOR * tilt))
        values = magnitude[frames, bins]
        frames += start
        kept = (frames >= first) & (frames < first + _BLOCK_FRAMES)
        found.append((frames[kept], bins[kept] + _BINS.start, values[kept]))
    frames, bins, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _thinned(frames, bins, values)


def _thinned(
    frames: np.ndarray, bins: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keeps the peaks that have few greater ones around them in time."""
    greater = np.zeros(len(frames), int)
    for lag in range(1, len(frames)):
        close = frames[lag:] - frames[:-lag] <= _DENSITY_FRAMES
        if not close.any():
            break
        rises = values[lag:] > values[:-lag]
        greater[:-lag] += close & rises
        greater[lag:] += close & ~rises
    return frames[greater < _DENSITY], bins[greater < _DENSITY]


def _pairs(frames: np.ndarray, bins: np.ndarray) -> Print:
    """Pairs each peak with the next few ones."""
    shortest, longest = _PAIR_FRAMES
    taken = np.zeros(len(frames), int)
    firsts, seconds = [np.empty(0, int)], [np.empty(0, int)]
    for lag in range(1, len(frames)):
        apart = frames[lag:] - frames[:-lag]
        if not (apart <= longest).any():
            break
        first = np.flatnonzero(
            (apart >= shortest)
            & (apart <= longest)
            & (np.abs(bins[lag:] - bins[:-lag]) <= _PAIR_BINS)
            & (taken[:-lag] < _FAN_OUT)
        )
        taken[first] += 1
        firsts.append(first)
        seconds.append(first + lag)
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    distance = bins[second] - bins[first] + _PAIR_BINS
    hashes = bins[first] << _ANCHOR_BIT | distance << 6 | frames[second] - frames[first]
    return Print(hashes.astype(np.uint32), frames[first].astype(np.uint32))
