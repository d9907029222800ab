"""Pitch tracks: the fundamental frequency of a melody in Hz, frame by frame, 0 where there is none."""

import pathlib

import numpy as np

from genre_jax.errors import BadAudio

# Of files: an analysis frame every 128 samples of a recording at 44.1 kHz (docs/datasets/makam.md).
SAMPLE_RATE_HZ = 44100
HOP = 128
HIGHEST_HZ = 20_000.0


def read(path: str) -> np.ndarray:
    """Reads a pitch track, one frequency in Hz a line, float64 [frames]; BadAudio: it is damaged."""
    try:
        lines = pathlib.Path(path).read_text('ascii', 'replace').split('\n')
    except OSError as error:
        raise BadAudio(f'cannot be read: {error.strerror}') from error
    values = []
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            try:
                values.append(float(text))
            except ValueError:
                raise BadAudio(f'line {number} is no frequency: {text[:40]!r}') from None
    return checked(np.array(values))


def checked(f0_hz: np.ndarray) -> np.ndarray:
    """Refuses a pitch track [frames] that cannot be: BadAudio."""
    wrong = ~((f0_hz >= 0) & (f0_hz < HIGHEST_HZ))
    if wrong.any():
        frame = int(wrong.argmax())
        raise BadAudio(f'frame {frame + 1} is no frequency: {f0_hz[frame]:g} Hz')
    if not len(f0_hz):
        raise BadAudio('no frames')
    if not f0_hz.any():
        raise BadAudio('no voiced frame')
    return f0_hz
