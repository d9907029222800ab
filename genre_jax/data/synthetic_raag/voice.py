"""A singing voice: harmonics through the resonances of a throat that goes from vowel to vowel, and breath."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import scipy.fft

# Hz, the first three formants of men: G. E. Peterson and H. L. Barney, Control Methods Used in a Study of the
# Vowels, JASA 24(2), 1952.
VOWELS = {
    'a': (730, 1090, 2440),
    'e': (530, 1840, 2480),
    'i': (270, 2290, 3010),
    'o': (570, 840, 2410),
    'u': (300, 870, 2240),
}
_HIGHER = (3300, 4500)  # of all vowels
_BANDWIDTHS_HZ = np.array((70, 90, 130, 180, 250), np.float32)
_TILT = 1.0  # of the source, radiation from the mouth included: harmonic k has the amplitude k ** -tilt
_HARMONICS = 40
_FRAMES_PER_S = 100
_VOWEL_FRAMES = 9  # in which a vowel becomes the next one
_INHALE_S = 0.4
# Breath while nothing is sung, over that while something is.
_INHALED = 2.0


class Sung(Protocol):
    """What is read of a note."""

    onset_s: float
    vowel: str


def amplitudes(
    notes: Sequence[Sung], hz: np.ndarray, tract: float, sample_rate_hz: int
) -> Iterator[np.ndarray]:
    """Yields the amplitude of each harmonic, float32 [samples], of notes whose contour is `hz` [samples].

    `tract` is what the formants are multiplied by. The loudness stays the same.
    """
    hop = sample_rate_hz // _FRAMES_PER_S
    frames = np.append(hz[::hop], hz[-1]).astype(np.float32)
    formants = np.empty((len(frames), 5), np.float32)
    for note in notes:  # each holds until the next one
        formants[0 if note is notes[0] else round(note.onset_s * sample_rate_hz / hop) :] = (
            *VOWELS[note.vowel],
            *_HIGHER,
        )
    smooth = np.ones(_VOWEL_FRAMES, np.float32) / _VOWEL_FRAMES
    edge = _VOWEL_FRAMES // 2
    formants = np.stack(
        [np.convolve(np.pad(column, edge, 'edge'), smooth, 'valid') for column in formants.T], 1
    )
    numbers = np.arange(1, _HARMONICS + 1, dtype=np.float32)
    strength = _throat(frames[:, None] * numbers, tract * formants[:, None]) * numbers**-_TILT
    strength[:, 1:] *= frames[:, None] * numbers[1:] < sample_rate_hz / 2
    strength /= np.sqrt(np.square(strength).sum(1, keepdims=True))
    for column in strength.T:
        yield _between(column, hop)[: len(hz)]


def breath(hz: np.ndarray, tract: float, rng: np.random.Generator, sample_rate_hz: int) -> np.ndarray:
    """Returns the noise of a singer's breath, float32 [samples]: in what is sung, and before each phrase."""
    hop = sample_rate_hz // _FRAMES_PER_S
    sings = np.append(hz[::hop], hz[-1]) > 0
    ahead = round(_INHALE_S * _FRAMES_PER_S)
    soon = (
        np.convolve(np.append(sings, np.zeros(ahead)), np.ones(ahead), 'full')[ahead : ahead + len(sings)] > 0
    )
    level = np.where(sings, 1, np.where(soon, _INHALED, 0)).astype(np.float32)
    level = np.convolve(level, np.ones(5, np.float32) / 5, 'same')
    noise = rng.standard_normal(len(hz), np.float32) * _between(level, hop)[: len(hz)]
    size = scipy.fft.next_fast_len(len(hz), real=True)
    rates_hz = np.fft.rfftfreq(size, 1 / sample_rate_hz).astype(np.float32)
    # A throat at rest: a tube of 17.5 cm, closed at one end.
    at_rest = np.array((500, 1500, 2500, 3500, 4500), np.float32) * tract
    return scipy.fft.irfft(scipy.fft.rfft(noise, size) * _throat(rates_hz, at_rest), size)[: len(hz)]


def _throat(hz: np.ndarray, formants_hz: np.ndarray) -> np.ndarray:
    """Returns the gain of five resonances, one after the other, at frequencies [...] of formants [..., 5]."""
    square = np.square(hz)
    gain = np.ones_like(square)
    for i, width_hz in enumerate(_BANDWIDTHS_HZ):
        own = np.square(formants_hz[..., i])
        gain *= own / np.sqrt(np.square(own - square) + width_hz**2 * square)
    return gain


def _between(values: np.ndarray, hop: int) -> np.ndarray:
    """Returns values [n] with straight lines between them, float32 [(n - 1) * hop]."""
    ramp = np.arange(hop, dtype=np.float32) / hop
    return (values[:-1, None] + np.diff(values)[:, None] * ramp).reshape(-1)
