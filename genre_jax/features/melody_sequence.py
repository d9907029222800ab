"""A melody as a sequence: which pitch classes sound in each step of it, and how high."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.features.chroma import median
from genre_jax.features.front_end import FrontEnd, require_positive
from genre_jax.features.melody import GRIDS, REFERENCE_HZ, bins_above_reference

BESIDE = 3  # columns after the pitch classes
_MOST_OCTAVES = 2.0  # from the median


@dataclasses.dataclass(frozen=True, kw_only=True)
class MelodySequence(FrontEnd):
    """Pitch classes of a melody, step by step: float32 (..., frames) -> (..., steps, 2 bins_per_octave + 3).

    A column is a pitch class, from 55 Hz upwards, half a bin from the next one: how much of a step lies
    within a bin of it, linearly less with the distance. Every second column is a grid. Three more say how
    many octaves the step lies above the median of the melody, at most 2, how much of it is voiced, and
    whether it is not after the end of the melody. A melody that is transposed by half bins has the same
    columns in another order.

    Attributes:
        sample_rate_hz: frames in a second.
        bins_per_octave: of pitch; 53 are Holdrian commas, 22.6 cents.
        hop_length: frames in a step; the last one may hold fewer.
    """

    kind: ClassVar[str] = 'pitch'
    sample_rate_hz: float = 44100 / 1024
    bins_per_octave: int = 53
    hop_length: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'sample_rate_hz', 'bins_per_octave', 'hop_length')

    def __call__(self, f0_hz: jax.Array) -> jax.Array:
        """Computes float32 (..., steps, columns) of float32 (..., frames) in Hz, 0 where unvoiced."""
        flat = jax.vmap(self.track)(f0_hz.reshape(-1, f0_hz.shape[-1]))
        return flat.reshape(*f0_hz.shape[:-1], *flat.shape[1:])

    def track(self, f0_hz: jax.Array) -> jax.Array:
        """Computes float32 (steps, columns) of one track (frames,); what lies between has no gradient."""
        f0_hz = jax.lax.stop_gradient(f0_hz)
        voiced = f0_hz > 0
        middle_hz = jnp.where(voiced.any(), median(f0_hz, voiced), REFERENCE_HZ)
        hz = jnp.where(voiced, f0_hz, middle_hz)
        octaves = jnp.clip(jnp.log2(hz / middle_hz), -_MOST_OCTAVES, _MOST_OCTAVES)
        frame = np.arange(len(f0_hz))
        inside = frame <= jnp.max(jnp.where(voiced, frame, -1))
        n_inside = self._by_step(inside).sum(1)
        n_voiced = self._by_step(voiced).sum(1)
        n_frames = np.minimum(self.hop_length, len(f0_hz) - self.hop_length * np.arange(len(n_inside)))
        octaves = self._by_step(octaves * voiced).sum(1) / jnp.maximum(n_voiced, 1)
        beside = jnp.stack([octaves, n_voiced / n_frames, n_inside > 0], 1)
        fine = GRIDS * self.bins_per_octave
        place = jnp.mod(GRIDS * bins_above_reference(hz, self.bins_per_octave), fine)
        classes = self._near(self._by_step(place), self._by_step(voiced))
        steps = jnp.concatenate([classes / n_frames[:, None], beside], 1)
        # What holds a frame that is no number is none itself: such frames are not counted.
        return jnp.where(jnp.isfinite(f0_hz).all(), steps, jnp.nan)

    def _by_step(self, frames: jax.Array) -> jax.Array:
        """Returns values (frames,) as (steps, hop_length), with zeros after the end."""
        n_steps = -(-len(frames) // self.hop_length)
        return jnp.pad(frames, (0, n_steps * self.hop_length - len(frames))).reshape(n_steps, -1)

    def _near(self, place: jax.Array, voiced: jax.Array) -> jax.Array:
        """Sums how near the frames of steps (steps, hop_length) are to columns: (steps, columns)."""
        fine = GRIDS * self.bins_per_octave

        def of_frame(i: int) -> jax.Array:
            away = jnp.abs(place[:, i, None] - np.arange(fine, dtype=np.float32))
            return voiced[:, i, None] * jnp.maximum(0, 1 - jnp.minimum(away, fine - away) / GRIDS)

        # Frame after frame: a CPU takes ten times as long for one sum over an array of all frames.
        return jax.lax.fori_loop(1, self.hop_length, lambda i, total: total + of_frame(i), of_frame(0))
