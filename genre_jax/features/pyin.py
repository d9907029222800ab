"""pYIN: the fundamental frequency of one voice, from the troughs of its difference with itself later."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from genre_jax.errors import UserError
from genre_jax.features import fourier, stft
from genre_jax.features.front_end import AudioFrontEnd, require_positive
from genre_jax.features.viterbi import best_way, triangular

# librosa's.
_FRAME = 2048  # samples
_BINS_PER_OCTAVE = 120
_SEMITONES_PER_S = 35.92 * 12  # how fast a voice may move
_SWITCH = 0.01  # probability that a voice begins or ends from one frame to the next
_NO_TROUGH = 0.01  # probability of the deepest trough under thresholds that no trough is below
_DECAY = 2.0  # of the prior over the troughs below a threshold: each weighs exp(-2) of the one before
_THRESHOLDS = np.linspace(0, 1, 101)
_PRIOR = np.diff(scipy.stats.beta.cdf(_THRESHOLDS, 2, 18)).astype(np.float32)
_TINY = np.finfo(np.float32).tiny
_LOG_NEVER = math.log(np.finfo(np.float64).tiny)  # what is impossible costs so much
_FRAMES_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pyin(AudioFrontEnd):
    """Fundamental frequency as `librosa.pyin`: float32 (..., time) -> (..., frames, 1), Hz, 0 in rests.

    Source: Mauch and Dixon, pYIN: A fundamental frequency estimator using probabilistic threshold
    distributions (ICASSP 2014). Pitch comes in steps of 10 cents.

    Attributes:
        hop_length: from frame to frame, samples; a frame has 2048.
        f_min_hz: lowest pitch.
        octaves: from there up to the highest one.
    """

    small: ClassVar[bool] = False

    sample_rate_hz: int = 16000
    hop_length: int = 512
    f_min_hz: float = 82.5
    octaves: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'sample_rate_hz', 'hop_length', 'f_min_hz', 'octaves')
        least_hz = 2 * self.sample_rate_hz / _FRAME
        if self.f_min_hz <= least_hz:
            raise UserError(
                f'config.features.f_min_hz={self.f_min_hz:g}: frames of {_FRAME} samples at '
                f'{self.sample_rate_hz} Hz hold two periods of more than {least_hz:g} Hz: raise it'
            )
        highest_hz = self.f_min_hz * 2**self.octaves
        if highest_hz > self.sample_rate_hz / 2:
            raise UserError(
                f'config.features: {self.octaves} octaves from {self.f_min_hz:g} Hz reach up to '
                f'{highest_hz:.0f} Hz, beyond half the sample rate, {self.sample_rate_hz / 2:g} Hz: lower '
                'octaves or f_min_hz'
            )

    @property
    def least_samples(self) -> int:
        """Samples of the shortest window."""
        return _FRAME

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (frames, 1) from one float32 waveform (time,); it has no gradient."""
        padded = stft.pad(jax.lax.stop_gradient(waveform), _FRAME, 'zeros')
        frames = stft.frames(padded, _FRAME, self.hop_length)
        voiced = jax.lax.map(self._frame, frames, batch_size=_FRAMES_AT_ONCE)
        n_bins = voiced.shape[1]
        unvoiced = (1 - jnp.clip(voiced.sum(1, keepdims=True), 0, 1)) / n_bins
        both = jnp.concatenate([voiced, jnp.broadcast_to(unvoiced, voiced.shape)], 1)
        scores = jnp.where(both > 0, jnp.log(jnp.maximum(both, _TINY)), _LOG_NEVER)
        places = best_way(scores, self._steps(n_bins))
        hz = self.f_min_hz * 2 ** ((places % n_bins) / _BINS_PER_OCTAVE)
        sound = jnp.isfinite(frames).all(1)
        return jnp.where(sound, jnp.where(places < n_bins, hz, 0), jnp.nan)[:, None]

    def _steps(self, n_bins: int) -> np.ndarray:
        """Returns logarithms of the probabilities of steps between voiced, then unvoiced bins, [from, to]."""
        semitones = round(_SEMITONES_PER_S * self.hop_length / self.sample_rate_hz)
        near = triangular(n_bins, semitones * _BINS_PER_OCTAVE // 24 + 1)
        switch = [[1 - _SWITCH, _SWITCH], [_SWITCH, 1 - _SWITCH]]
        return np.log(np.kron(switch, near) + np.finfo(np.float64).tiny).astype(np.float32)

    def _frame(self, frame: jax.Array) -> jax.Array:
        """Returns the probability of each pitch, that it is voiced and has this one, (bins,)."""
        shortest = int(self.sample_rate_hz / (self.f_min_hz * 2**self.octaves))
        longest = math.ceil(self.sample_rate_hz / self.f_min_hz)
        difference = _difference(frame, longest)[shortest - 1 :]
        before, here, after = difference[:-2], difference[1:-1], difference[2:]
        trough = jnp.concatenate(
            [
                difference[:1] < difference[1:2],
                (here < before) & (here <= after),
                difference[-1:] < difference[-2:-1],
            ]
        )
        bend, slope = after + before - 2 * here, (after - before) / 2
        shift = jnp.where(jnp.abs(slope) < jnp.abs(bend), -slope / jnp.where(bend == 0, 1, bend), 0)
        periods = np.arange(shortest, longest + 1) + jnp.pad(shift, 1)

        # Under each threshold the troughs below it share its probability, the first one most of it.
        below = trough[:, None] & (difference[:, None] < _THRESHOLDS[1:].astype(np.float32))
        rank = jnp.cumsum(below.astype(jnp.float32), axis=0) - 1
        count = rank[-1] + 1
        whole = (1 - math.exp(-_DECAY)) / (1 - jnp.exp(-_DECAY * jnp.maximum(count, 1)))
        shares = jnp.where(below, jnp.exp(-_DECAY * rank) * whole * _PRIOR, 0).sum(1)
        deepest = jnp.where(trough, difference, jnp.inf).argmin()
        shares = shares.at[deepest].add(_NO_TROUGH * (_PRIOR * ~below[deepest]).sum())
        shares = jnp.where(trough, shares, 0)

        n_bins = self.octaves * _BINS_PER_OCTAVE + 1
        bins = _BINS_PER_OCTAVE * jnp.log2(self.sample_rate_hz / periods / self.f_min_hz)
        bins = jnp.clip(jnp.round(bins), 0, n_bins).astype(jnp.int32)
        # Of two troughs in one bin the later one counts; the bin above the highest one is left out.
        number = jnp.where(shares > 0, np.arange(len(shares)), -1)
        last = jnp.full(n_bins + 1, -1).at[bins].max(number)[:n_bins]
        return jnp.where(last >= 0, shares[last], 0)


def _difference(frame: jax.Array, longest: int) -> jax.Array:
    """Returns a frame's difference with itself 1, 2, ... samples later, over the mean so far, (longest,)."""
    spectrum = fourier.rfft(jnp.pad(frame, (0, len(frame))))
    product = fourier.irfft(spectrum.real**2 + spectrum.imag**2 + 0j, 2 * len(frame))[: longest + 1]
    energy = jnp.cumsum(frame[:longest] ** 2)
    difference = 2 * (product[0] - product[1:]) - energy
    mean = jnp.cumsum(difference) / np.arange(1, longest + 1, dtype=np.float32)
    return difference / (mean + _TINY)
