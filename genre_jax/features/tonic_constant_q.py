"""Constant-Q pictures on which every tonic stands at the same height."""

import dataclasses

import jax
import jax.numpy as jnp

from genre_jax.features.constant_q import ConstantQ
from genre_jax.features.front_end import AudioFrontEnd, require_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class TonicConstantQ(AudioFrontEnd):
    """`ConstantQ` in decibel, moved along its bins: the tonic comes to `f_min_hz`, and octaves above it.

    A tonic is a pitch class, so no picture moves by more than half an octave, and as many bins are computed
    beyond either end: what moves in was heard; nothing is filled up, nor wrapped round from the other end.
    Between two bins it is interpolated linearly. The result lies between -1 and 1, at the peak of what is
    seen.

    Attributes:
        f_min_hz: lowest bin of the picture.
        n_bins: of the picture.
        top_db: what is more than so much below the peak is raised to that, -1.
        to_tonic: False leaves the picture where it is: what the tonic is worth, all else alike.
    """

    sample_rate_hz: int = 16000
    hop_length: int = 512
    f_min_hz: float = 73.4
    n_bins: int = 128
    bins_per_octave: int = 24
    top_db: float = 60.0
    to_tonic: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'f_min_hz', 'n_bins', 'bins_per_octave', 'top_db')
        self._wide()  # for its errors

    @property
    def needs_tonic(self) -> bool:
        """Says whether it is called with the tonic of each clip, too, in Hz."""
        return self.to_tonic

    @property
    def _margin(self) -> int:
        """Bins beyond either end: half an octave, and a neighbour to interpolate with."""
        return self.bins_per_octave // 2 + 1

    def _wide(self) -> ConstantQ:
        """Returns what computes every bin that may move into the picture."""
        return ConstantQ(
            sample_rate_hz=self.sample_rate_hz,
            hop_length=self.hop_length,
            f_min_hz=self.f_min_hz * 2 ** (-self._margin / self.bins_per_octave),
            n_bins=self.n_bins + 2 * self._margin,
            bins_per_octave=self.bins_per_octave,
            compression='db',
        )

    @property
    def least_samples(self) -> int:
        """Samples of the shortest window: longer ones may reach beyond the clip, into silence."""
        return self._wide().least_samples

    def clip(self, waveform: jax.Array, *tonic_hz: jax.Array) -> jax.Array:
        """Computes float32 (frames, n_bins) from one float32 waveform (time,), and its tonic in Hz."""
        bins, begin, share = self._wide().clip(waveform), self._margin, 0.0
        if self.to_tonic:
            octave = self.bins_per_octave
            above = octave * jnp.log2(tonic_hz[0] / self.f_min_hz)
            above = jnp.mod(above + octave / 2, octave) - octave / 2
            whole = jnp.floor(above)
            begin, share = self._margin + whole.astype(jnp.int32), above - whole
        low, high = (jax.lax.dynamic_slice_in_dim(bins, begin + i, self.n_bins, 1) for i in range(2))
        moved = (1 - share) * low + share * high
        peak = jax.lax.stop_gradient(moved.max())
        return 1 + 2 * jnp.maximum(moved - peak, -self.top_db) / self.top_db
