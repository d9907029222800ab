"""Plays a melody's fundamental frequency: harmonics of equal phase, nothing that folds back."""

import numpy as np

HARMONICS = 12
# Harmonics fade out between these shares of the sample rate, and none goes beyond.
FADE_FROM, FADE_TO = 0.40, 0.45
FADE_S = 0.010
PEAK = 0.5  # of full scale


def render(f0_hz: np.ndarray, hop_s: float, sample_rate_hz: int) -> np.ndarray:
    """Renders a fundamental frequency to int16 [round(frames * hop_s * sample_rate_hz)], its peak at `PEAK`.

    Frame i of `f0_hz`, float [frames], is at i * hop_s seconds; 0 is silence, and one frame at least is
    voiced. Harmonic k has the amplitude 1/k. Between two voiced frames the frequency is interpolated on a
    logarithmic scale; the phase is its integral. A frame sounds for one hop, from half a hop before its time
    to half a hop after it, with fades of `FADE_S` around its ends where its neighbour is silent.
    """
    frame = np.arange(round(len(f0_hz) * hop_s * sample_rate_hz)) / (hop_s * sample_rate_hz)
    voiced = np.flatnonzero(f0_hz)
    # A silent frame holds the frequency of the nearest voiced one.
    nearest = np.searchsorted((voiced[:-1] + voiced[1:]) / 2, np.arange(len(f0_hz)))
    held = f0_hz[voiced[nearest]]
    sounding_hz = np.exp2(np.interp(frame, np.arange(len(held)), np.log2(held)))
    turns = np.cumsum(sounding_hz) / sample_rate_hz
    wave = np.zeros(len(frame))
    for k in range(1, HARMONICS + 1):
        share = k * sounding_hz / sample_rate_hz
        amplitude = np.clip((FADE_TO - share) / (FADE_TO - FADE_FROM), 0, 1) / k
        wave += amplitude * np.sin(2 * np.pi * (k * turns % 1))
    sounds = (f0_hz > 0)[np.minimum(np.floor(frame + 0.5).astype(np.int64), len(f0_hz) - 1)]
    fade = np.hanning(round(FADE_S * sample_rate_hz) + 2)
    # Steps of the gate become raised cosines; so do the ends of the clip.
    wave *= np.convolve(sounds, fade / fade.sum(), mode='same')
    peak = np.abs(wave).max()
    return np.rint(wave * (32767 * PEAK / peak)).astype(np.int16) if peak else wave.astype(np.int16)
