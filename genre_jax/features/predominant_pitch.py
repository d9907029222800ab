"""The fundamental frequency of the melody that stands out of a recording."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features.constant_q import ConstantQ
from genre_jax.features.front_end import AudioFrontEnd, require_positive
from genre_jax.features.viterbi import best_way

# Partials that are summed, each weighing so much of the one below: steeper, and octaves below win less often.
_PARTIALS, _WEIGHT = 5, 0.7
# A way through the frames loses so much, of the salience of a whole frame, for each octave that it moves
# from one frame to the next; beyond half an octave it costs no more, so that phrases may begin anywhere.
_PER_OCTAVE, _MOST_OCTAVES = 2.0, 0.5
_TINY = np.finfo(np.float32).tiny


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredominantPitch(AudioFrontEnd):
    """Fundamental frequency of the loudest melody: float32 (..., time) -> (..., frames, 1), Hz, 0 in rests.

    Salience is the harmonic sum of a constant-Q spectrogram (as in Salamon and Gomez, IEEE TASLP 2012); the
    melody is the way of most salience through the frames (Viterbi), its pitch refined by a parabola.

    Attributes:
        hop_length: from frame to frame, samples.
        f_min_hz: lowest pitch.
        octaves: from there up to the highest one.
        bins_per_octave: of the constant-Q spectrogram.
        voiced_db: a frame in which the melody is so much less salient than at its most salient is a rest.
    """

    small: ClassVar[bool] = False

    sample_rate_hz: int = 16000
    hop_length: int = 512
    f_min_hz: float = 82.5
    octaves: int = 4
    bins_per_octave: int = 36
    voiced_db: float = 14.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'sample_rate_hz', 'hop_length', 'f_min_hz', 'octaves', 'voiced_db')
        if self.bins_per_octave < 12:
            raise UserError(f'config.features.bins_per_octave={self.bins_per_octave}: expected at least 12')
        highest_hz = self.f_min_hz * 2 ** (self.octaves + 1.05)
        if highest_hz > self.sample_rate_hz / 2:
            raise UserError(
                f'config.features: partials of {self.octaves} octaves from {self.f_min_hz:g} Hz reach up to '
                f'{highest_hz:.0f} Hz, beyond half the sample rate, {self.sample_rate_hz / 2:g} Hz: lower '
                'octaves or f_min_hz'
            )

    def _constant_q(self) -> ConstantQ:
        return ConstantQ(
            sample_rate_hz=self.sample_rate_hz,
            hop_length=self.hop_length,
            f_min_hz=self.f_min_hz,
            n_bins=(self.octaves + 1) * self.bins_per_octave,
            bins_per_octave=self.bins_per_octave,
        )

    @property
    def least_samples(self) -> int:
        """Samples of the shortest window."""
        return self._constant_q().least_samples

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (frames, 1) from one float32 waveform (time,)."""
        bins = self._constant_q().clip(waveform)
        n_pitches = self.octaves * self.bins_per_octave
        shifts = np.rint(self.bins_per_octave * np.log2(np.arange(1, _PARTIALS + 1))).astype(int)
        above = jnp.pad(bins, ((0, 0), (0, shifts[-1])))
        salience = sum(_WEIGHT**i * above[:, shift : shift + n_pitches] for i, shift in enumerate(shifts))
        place = jnp.clip(self._way(salience), 1, n_pitches - 2)
        around = place[:, None] + np.arange(-1, 2)
        before, here, after = jnp.moveaxis(jnp.take_along_axis(salience, around, 1), 1, 0)
        bend = before - 2 * here + after
        # Of the three the middle one need not be a peak: there the way passed by.
        offset = jnp.where(bend < 0, 0.5 * (before - after) / jnp.minimum(bend, -_TINY), 0)
        hz = self.f_min_hz * 2 ** ((place + jnp.clip(offset, -1, 1)) / self.bins_per_octave)
        sound = jnp.isfinite(salience.sum(1))
        loudest = jnp.where(sound, here, 0).max()
        voiced = here > loudest * 10 ** (-self.voiced_db / 20)
        return jnp.where(sound, jnp.where(voiced, hz, 0), jnp.nan)[:, None]

    def _way(self, salience: jax.Array) -> jax.Array:
        """Returns the pitch of each frame on the way of most salience, int32 (frames,)."""
        share = salience / jnp.maximum(salience.max(1, keepdims=True), _TINY)
        share = jnp.where(jnp.isfinite(share), share, 0)  # frames that hold no number are passed by
        pitches = np.arange(share.shape[1])
        octaves = np.abs(pitches[:, None] - pitches) / self.bins_per_octave
        steps = -_PER_OCTAVE * np.minimum(octaves, _MOST_OCTAVES)
        return best_way(share, steps.astype(np.float32))
