"""Chroma: energy in the twelve pitch classes, tuned to each clip."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features import stft
from genre_jax.features.front_end import AudioFrontEnd, require_positive

# librosa's constants: where spectral peaks are looked for, and how high they must stand.
_PEAK_LOW_HZ, _PEAK_HIGH_HZ, _PEAK_SHARE = 150.0, 4000.0, 0.1
_CENTRE_OCTAVE, _OCTAVE_WIDTH = 5.0, 2.0
_TUNINGS = np.linspace(-0.5, 0.5, 101)[:-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chroma(AudioFrontEnd):
    """Energy by pitch class, each frame scaled to a peak of 1, as `librosa.feature.chroma_stft`.

    Attributes:
        n_fft: length of the (periodic Hann) window and of the FFT.
        n_chroma: pitch classes in an octave; the first is C.
        tuning: deviation from A = 440 Hz in shares of a class; None: estimated from each clip, to 0.01.
    """

    sample_rate_hz: int = 22050
    n_fft: int = 2048
    hop_length: int = 512
    padding: stft.Padding = 'zeros'
    n_chroma: int = 12
    tuning: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'sample_rate_hz', 'n_fft', 'hop_length', 'n_chroma')
        if self.hop_length > self.n_fft:
            raise UserError(
                f'config.features.hop_length={self.hop_length}: expected at most n_fft={self.n_fft}'
            )

    @property
    def least_samples(self) -> int:
        """Samples of one frame."""
        return self.n_fft

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (frames, n_chroma) from one float32 waveform (time,)."""
        spectrum = stft.stft(
            waveform, n_fft=self.n_fft, win_length=self.n_fft, hop_length=self.hop_length,
            padding=self.padding, float64=True,
        )  # fmt: skip
        return self.from_power(stft.power(spectrum))

    def from_power(self, power: jax.Array) -> jax.Array:
        """Computes float32 (frames, n_chroma) from a power spectrogram float32 (frames, n_fft // 2 + 1)."""
        rate_hz, n_fft, n_chroma = self.sample_rate_hz, self.n_fft, self.n_chroma
        if self.tuning is None:
            candidates = jnp.asarray(
                np.stack([chroma_filters(rate_hz, n_fft, n_chroma, float(t)) for t in _TUNINGS])
            )
            filters = candidates[estimate_tuning(power, rate_hz, n_chroma)]
        else:
            filters = chroma_filters(rate_hz, n_fft, n_chroma, self.tuning)
        chroma = jnp.matmul(power, filters, precision='highest')
        peak = chroma.max(-1, keepdims=True)
        return chroma / jnp.where(peak < jnp.finfo(jnp.float32).tiny, 1, peak)


@functools.cache
def chroma_filters(sample_rate_hz: int, n_fft: int, n_chroma: int, tuning: float) -> np.ndarray:
    """Builds Gaussian filters that map a spectrum to pitch classes, as `librosa.filters.chroma`.

    Source: Ellis, Chroma feature analysis and synthesis (2007). float32 [n_fft // 2 + 1, n_chroma];
    `tuning` is the deviation from A = 440 Hz in shares of a class.
    """
    hz = np.arange(1, n_fft) * sample_rate_hz / n_fft
    low_a_hz = 440 * 2 ** (tuning / n_chroma) / 16
    classes = n_chroma * np.log2(hz / low_a_hz)
    classes = np.concatenate([[classes[0] - 1.5 * n_chroma], classes])  # a place for 0 Hz
    width = np.append(np.maximum(np.diff(classes), 1), 1)[:, None]
    half = round(n_chroma / 2)
    distance = (classes[:, None] - np.arange(n_chroma) + half + 10 * n_chroma) % n_chroma - half
    bumps = np.exp(-0.5 * (2 * distance / width) ** 2)
    bumps /= np.linalg.norm(bumps, axis=1, keepdims=True)
    octave = (classes[:, None] / n_chroma - _CENTRE_OCTAVE) / _OCTAVE_WIDTH
    from_c = np.roll(bumps * np.exp(-0.5 * octave**2), -3 * (n_chroma // 12), axis=1)
    return from_c[: n_fft // 2 + 1].astype(np.float32)


def estimate_tuning(power: jax.Array, sample_rate_hz: int, n_chroma: int) -> jax.Array:
    """Estimates how far the spectral peaks lie from equal temperament, as `librosa.estimate_tuning`.

    `power` is float32 (frames, n_fft // 2 + 1) of one clip. Returns an int32, the number of hundredths of a
    class above -0.5; 50, no deviation, for a clip without peaks.
    """
    n_fft = 2 * (power.shape[1] - 1)
    bin_hz = sample_rate_hz / n_fft
    first = math.ceil(_PEAK_LOW_HZ / bin_hz)
    last = min(math.ceil(min(_PEAK_HIGH_HZ, sample_rate_hz / 2) / bin_hz), power.shape[1] - 1)
    strong = jnp.where(power > _PEAK_SHARE * power.max(1, keepdims=True), power, 0)
    peak = (strong[:, first:last] > strong[:, first - 1 : last - 1]) & (
        strong[:, first:last] >= strong[:, first + 1 : last + 1]
    )
    left, here, right = (power[:, first + i : last + i] for i in (-1, 0, 1))
    slope, bend = (right - left) / 2, left + right - 2 * here
    shift = jnp.where(jnp.abs(slope) < jnp.abs(bend), -slope / jnp.where(bend == 0, 1, bend), 0)
    height = here + slope * shift / 2
    used = peak & (height >= median(height, peak))

    # The fullest cell is often one peak ahead of the next: peaks have to fall into librosa's cells,
    # by its roundings to float32 and its edges.
    def octaves(shift: jax.Array) -> jax.Array:
        hz = _to_float32((np.arange(first, last) + shift) * bin_hz)
        return jnp.log2(_to_float32(hz / (440 / 16)))

    deviation = jnp.mod(n_chroma * stft.in_float64(octaves)(shift), 1)
    deviation = jnp.where(deviation >= 0.5, deviation - 1, deviation)
    cell = jnp.floor((deviation + 0.5) * 100).astype(jnp.int32).clip(0, 99)
    edges = jnp.asarray(_float32_from(np.linspace(-0.5, 0.5, 101)))
    cell += (deviation >= edges[cell + 1]).astype(jnp.int32) - (deviation < edges[cell])
    counts = jnp.zeros(100, jnp.int32).at[cell].add(used.astype(jnp.int32))
    return jnp.where(used.any(), counts.argmax(), 50)


def _to_float32(x: jax.Array) -> jax.Array:
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=23)


def _float32_from(edges: np.ndarray) -> np.ndarray:
    """Returns the smallest float32 that are not below: the same values lie above both."""
    nearest = edges.astype(np.float32)
    return np.where(nearest < edges, np.nextafter(nearest, np.float32(np.inf)), nearest)


def median(values: jax.Array, among: jax.Array) -> jax.Array:
    """Returns the median of the values >= 0 where `among` is true, bit by bit from the highest."""
    bits = jax.lax.bitcast_convert_type(jnp.where(among, values, jnp.inf), jnp.int32)
    total = among.sum()
    middle = jnp.stack([(total - 1) // 2, total // 2])  # 0-based; the same one where total is odd

    def add_bit(i: int, found: jax.Array) -> jax.Array:
        larger = found | (jnp.int32(1) << (30 - i))
        below = jnp.stack([(bits < each).sum() for each in larger])
        return jnp.where(below <= middle, larger, found)

    # Zeros made of the data: under shard_map the loop has to begin with what differs by device.
    found = jax.lax.fori_loop(0, 31, add_bit, 0 * middle)
    return jax.lax.bitcast_convert_type(found, jnp.float32).mean()
