"""Fingerprints of audio that survive another encoding, level, rate, start, speed or pitch, and some noise.

Peaks of the spectrogram as in A. Wang, An Industrial-Strength Audio Search Algorithm (ISMIR 2003), their
times and pitches refined between frames and bins. A landmark is four of them, known by what neither speed nor
pitch changes, or not by much: intervals, ratios of times, roughly its length and how high it is
(R. Sonnleitner and G. Widmer, Robust Quad-Based Audio Fingerprinting, IEEE/ACM TASLP 24(3), 2016).
"""

from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage
import soxr

_RATE_HZ = 8000  # what narrow codecs keep
_WINDOW = 1024
_HOP = 256
UNIT_S = 0.004  # in which times are stored: an eighth of a frame
_UNITS = round(_HOP / _RATE_HZ / UNIT_S)
# 94 Hz to 3.6 kHz: no hum, and nothing from where resamplers roll off.
_BINS = slice(12, 460)
# A peak is the greatest value within so many frames and bins on either side ...
_NEAR_FRAMES = 7
_NEAR_BINS = 12
# ... and fewer than so many within half a second are greater: quiet places count as much as loud ones.
_DENSITY_FRAMES = 16
_DENSITY = 20
# A sine of half the least significant bit: below there is only rounding.
_FLOOR = 0.5 * _WINDOW / 4
_BLOCK_FRAMES = 4096  # two minutes at a time: an hour at once would take gigabytes
_REFERENCE_HZ = 55.0

# A landmark's second peak is one of the next so many after its first, its third one of the next so many, its
# fourth one of so many after the third; times between them in `UNIT_S`.
_SECOND, _THIRD, _FOURTH = 6, 12, 6
_LEAST_APART = 12
_SHORTEST, LONGEST = 64, 512
# Of all such sets of four one in so many is taken, by its content: copies take the same.
_ONE_IN = np.uint64(24)
# Parts of the whole that a time is told apart by, and the factor from one length of a landmark to the next.
_RATIOS, _LENGTHS = 12, 1.25
_REGISTER = 350  # cents: highs and lows are told apart


class Print(NamedTuple):
    """Spectral peaks of a recording, in order of time."""

    times: np.ndarray  # uint32 [n], of `UNIT_S`
    pitches: np.ndarray  # uint16 [n], in cents above 55 Hz


NOTHING = Print(np.empty(0, np.uint32), np.empty(0, np.uint16))


def fingerprint(audio: np.ndarray, sample_rate_hz: int) -> Print:
    """Finds some 20 peaks a second in int16 [n] mono, below 3.6 kHz; none in silence or less than 0.13 s."""
    wave = audio.astype(np.float32)
    if sample_rate_hz != _RATE_HZ:
        wave = soxr.resample(wave, sample_rate_hz, _RATE_HZ, quality='MQ')
    if len(wave) < _WINDOW:
        return NOTHING
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
        kept = (frames + start >= first) & (frames + start < first + _BLOCK_FRAMES)
        frames, bins = frames[kept], bins[kept]
        values = magnitude[frames, bins]
        around = np.log(np.pad(magnitude, 1, 'edge') + 1e-9)
        times = frames + start + _vertex(*(around[frames + i, bins + 1] for i in range(3)))
        rows = bins + _BINS.start + _vertex(*(around[frames + 1, bins + i] for i in range(3)))
        found.append((frames + start, times, rows, values))
    frames, times, rows, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept = _greatest_nearby(frames, values)
    # Counted to the middle of the window, so that another speed only scales them.
    times = np.rint((times[kept] + _WINDOW / _HOP / 2) * _UNITS).astype(np.uint32)
    pitches = 1200 * np.log2(rows[kept] * (_RATE_HZ / _WINDOW / _REFERENCE_HZ))
    order = np.argsort(times, kind='stable')
    return Print(times[order], np.rint(pitches[order]).astype(np.uint16))


def _vertex(before: np.ndarray, at: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Returns how far from the middle of three points a parabola through them is highest, at most half."""
    bend = np.minimum(before - 2 * at + after, -1e-6)
    return np.clip((before - after) / (2 * bend), -0.5, 0.5)


def _greatest_nearby(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Tells which peaks have few greater ones around them in time, bool [n]."""
    greater = np.zeros(len(frames), int)
    for lag in range(1, len(frames)):
        close = frames[lag:] - frames[:-lag] <= _DENSITY_FRAMES
        if not close.any():
            break
        rises = values[lag:] > values[:-lag]
        greater[:-lag] += close & rises
        greater[lag:] += close & ~rises
    return greater < _DENSITY


def landmarks(times: np.ndarray, pitches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chooses some 100 landmarks for a second of music, by its peaks in order of time, int64 [n] each.

    Recordings that are more than `LONGEST` apart share none. Returns what each landmark is known by,
    uint32 [m], and which peak is its first, int64 [m].
    """
    count = len(times)
    firsts, thirds, codes = [], [], []
    for third in range(2, min(_THIRD, count - 1) + 1):
        span = times[third:] - times[:-third]
        for second in range(1, min(_SECOND, third - 1) + 1):
            part = times[second : count - third + second] - times[:-third]
            first = np.minimum(part, span - part) >= _LEAST_APART
            first = np.flatnonzero(first & (span <= LONGEST))
            code = _thirds(pitches[first + second] - pitches[first]) << 16
            code |= _thirds(pitches[first + third] - pitches[first]) << 4
            code = _mixed(code | part[first] * _RATIOS // span[first])
            chosen = code % _ONE_IN == 0
            firsts.append(first[chosen])
            thirds.append(first[chosen] + third)
            codes.append(code[chosen])
    hashes, anchors = [np.empty(0, np.uint32)], [np.empty(0, np.int64)]
    for fourth in range(1, _FOURTH + 1) if firsts else ():
        first, third, code = map(np.concatenate, (firsts, thirds, codes))
        last = np.minimum(third + fourth, count - 1)
        span, part = times[last] - times[first], times[third] - times[first]
        rows = (span - part >= _LEAST_APART) & (span >= _SHORTEST) & (span <= LONGEST)
        first, last, code, span, part = (each[rows] for each in (first, last, code, span, part))
        length = (np.log(span.astype(np.float32)) / np.float32(np.log(_LENGTHS))).astype(np.int64)
        more = _thirds(pitches[last] - pitches[first]) << 24 | pitches[first] // _REGISTER << 16
        code = _mixed(code ^ _mixed(more | part * _RATIOS // span << 8 | length))
        hashes.append((code >> np.uint64(32)).astype(np.uint32))
        anchors.append(first)
    return np.concatenate(hashes), np.concatenate(anchors)


def _thirds(interval: np.ndarray) -> np.ndarray:
    """Counts thirds of a semitone, from 0 for six octaves down: tuned music lies in the middle of one."""
    return (3 * (interval + 7200) + 50) // 100


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Scatters numbers over 64 bits, uint64 [n]: the finaliser of MurmurHash3 (A. Appleby)."""
    numbers = numbers.astype(np.uint64)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        numbers = (numbers ^ numbers >> np.uint64(33)) * np.uint64(factor)
    return numbers ^ numbers >> np.uint64(33)
