"""The 57 handcrafted features of the published GTZAN tables, on the device."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features import hpss, mel, stft
from genre_jax.features.chroma import Chroma
from genre_jax.features.front_end import check_choices, over_clips
from genre_jax.features.mfcc import dct_matrix
from genre_jax.features.spectrogram import decibel
from genre_jax.features.tempo import onset_strength, tempo

_N_MFCC = 20
_NAMES = (
    'chroma_stft', 'rms', 'spectral_centroid', 'spectral_bandwidth', 'rolloff', 'zero_crossing_rate',
    'harmony', 'perceptr', 'tempo', *(f'mfcc{i + 1}' for i in range(_N_MFCC)),
)  # fmt: skip
# Tempo is one number, all others change over time.
COLUMNS = tuple(
    column
    for name in _NAMES
    for column in ([name] if name == 'tempo' else [f'{name}_mean', f'{name}_var'])
)
_ROLLOFF_SHARE = 0.85
_CROSSING_THRESHOLD = 1e-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handcrafted:
    """Means and (population) variances of classical features, `(..., time) -> (..., 57)`.

    Columns in `COLUMNS`, the order of GTZAN's features_30_sec.csv; 'harmony' and 'perceptr' are the
    waveforms of the harmonic and the percussive part.

    Attributes:
        n_fft: length of window and FFT, in samples; four hops.
        padding: 'reflect' computes what librosa before 0.9 did, and the published tables hold; 'zeros'
            what it does since then.
    """

    sample_rate_hz: int = 22050
    n_fft: int = 2048
    padding: Literal['reflect', 'zeros'] = 'reflect'

    def __post_init__(self) -> None:
        check_choices(self)

    def __call__(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (..., 57), in the order of `COLUMNS`, from float32 (..., time) in [-1, 1].

        Raises a UserError where the waveform is shorter than one frame.
        """
        n_samples = waveform.shape[-1]
        if n_samples < self.n_fft:
            raise UserError(
                f'a clip of {n_samples} samples is shorter than one frame of {self.n_fft}: handcrafted '
                'features need longer clips'
            )
        flat = over_clips(self.clip, waveform.reshape(-1, n_samples))
        return flat.reshape(*waveform.shape[:-1], len(COLUMNS))

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (57,) from one float32 waveform (time,)."""
        rate_hz, n_fft, hop_length = self.sample_rate_hz, self.n_fft, self.n_fft // 4
        spectrum = stft.stft(
            waveform, n_fft=n_fft, win_length=n_fft, hop_length=hop_length, padding=self.padding,
            float64=True,
        )  # fmt: skip
        power = stft.power(spectrum)
        magnitude = jnp.sqrt(power)
        filters = mel.mel_filters(rate_hz, n_fft, 128, 0.0, 0.0)
        mel_db = decibel(jnp.matmul(power, filters, precision='highest'), 2, 'one', 80.0)
        centroid, bandwidth, rolloff = spectral_shape(magnitude, rate_hz)
        harmonic, percussive = self._parts(spectrum, magnitude, waveform.shape[0])
        over_time = {
            'chroma_stft': Chroma(sample_rate_hz=rate_hz, n_fft=n_fft).from_power(power),
            'rms': rms(waveform, n_fft, self.padding),
            'spectral_centroid': centroid,
            'spectral_bandwidth': bandwidth,
            'rolloff': rolloff,
            'zero_crossing_rate': zero_crossing_rate(waveform, n_fft),
            'harmony': harmonic,
            'perceptr': percussive,
        }
        columns = [statistic for values in over_time.values() for statistic in mean_and_var(values)]
        columns.append(tempo(onset_strength(mel_db, n_fft, hop_length), rate_hz, hop_length))
        for coefficient in jnp.matmul(mel_db, dct_matrix(_N_MFCC, 128), precision='highest').T:
            columns.extend(mean_and_var(coefficient))
        # Ranks and counts would make numbers of what is none.
        return jnp.where(jnp.isnan(waveform).any(), jnp.nan, jnp.stack(columns))

    def _parts(self, spectrum, magnitude, n_samples) -> tuple[jax.Array, ...]:
        """Returns the waveforms of the harmonic and of the percussive part."""
        # Before 0.9 the inverse gave whole hops, filled up with zeros to the clip's length.
        whole_hops = self.n_fft // 4 * (spectrum.shape[0] - 1)
        n_inverted = whole_hops if self.padding == 'reflect' else n_samples
        return tuple(
            jnp.pad(stft.inverse(spectrum * mask, n_inverted), (0, n_samples - n_inverted))
            for mask in hpss.soft_masks(magnitude)
        )


def mean_and_var(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and the population variance over all elements."""
    mean = _mean(values)
    return mean, _mean((values - mean) ** 2)


def _mean(values: jax.Array) -> jax.Array:
    # In two stages: one long sum in float32 would lose the small mean of a waveform.
    flat = values.reshape(-1)
    width = max(1, int(np.sqrt(flat.size)))
    return jnp.pad(flat, (0, -flat.size % width)).reshape(-1, width).sum(1).sum() / flat.size


def spectral_shape(
    magnitude: jax.Array, sample_rate_hz: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes spectral centroid, bandwidth (order 2) and rolloff (85 %) of each frame, as librosa.

    float32 (frames, bins) give three float32 (frames,), in Hz; 0 for silent frames.
    """
    n_bins = magnitude.shape[1]
    hz = np.linspace(0, sample_rate_hz / 2, n_bins).astype(np.float32)
    total = magnitude.sum(1, keepdims=True)
    share = magnitude / jnp.where(total < jnp.finfo(jnp.float32).tiny, 1, total)
    centroid = (share * hz).sum(1)
    bandwidth = jnp.sqrt((share * (hz - centroid[:, None]) ** 2).sum(1))
    running = _running_sum(magnitude)
    reached = running >= _ROLLOFF_SHARE * running[:, -1:]
    return centroid, bandwidth, jnp.asarray(hz)[reached.argmax(1)]


def _running_sum(values: jax.Array) -> jax.Array:
    """Returns the running sum along axis 1, by products with triangles: a scan is slow on CPUs."""
    rows, columns = values.shape
    width = 32
    blocks = jnp.pad(values, ((0, 0), (0, -columns % width))).reshape(rows, -1, width)
    inside = jnp.matmul(blocks, np.triu(np.ones((width, width), np.float32)), precision='highest')
    n_blocks = blocks.shape[1]
    strictly_before = np.triu(np.ones((n_blocks, n_blocks), np.float32), 1)
    before = jnp.matmul(inside[:, :, -1], strictly_before, precision='highest')
    return (inside + before[:, :, None]).reshape(rows, -1)[:, :columns]


def rms(waveform: jax.Array, frame_length: int, padding: stft.Padding) -> jax.Array:
    """Computes the root mean square of each centred frame, four to a frame length, as librosa."""
    squares = stft.pad(waveform, frame_length, padding) ** 2
    return jnp.sqrt(_sums_of_frames(squares, frame_length) / frame_length)


def zero_crossing_rate(waveform: jax.Array, frame_length: int) -> jax.Array:
    """Computes the share of samples in each frame whose sign is not that of the sample before, as librosa.

    Frames are centred, four to a frame length.
    """
    padded = jnp.pad(waveform, frame_length // 2, mode='edge')
    negative = padded < -_CROSSING_THRESHOLD
    crossed = jnp.pad(negative[1:] != negative[:-1], (1, 0)).astype(jnp.float32)
    sums = _sums_of_frames(crossed, frame_length)
    # The first sample of a frame has none before it.
    first = crossed[:: frame_length // 4][: sums.shape[0]]
    return (sums - first) / frame_length


def _sums_of_frames(values: jax.Array, frame_length: int) -> jax.Array:
    """Sums whole frames, a quarter of their length apart."""
    hop_length = frame_length // 4
    hops = values[: values.shape[0] // hop_length * hop_length].reshape(-1, hop_length).sum(1)
    return hops[:-3] + hops[1:-2] + hops[2:-1] + hops[3:]
