"""The 57 handcrafted features of the published GTZAN tables, on the device."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features import hpss, mel, stft
from genre_jax.features.chroma import Chroma
from genre_jax.features.front_end import check_types, over_clips
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
    column for name in _NAMES for column in ([name] if name == 'tempo' else [f'{name}_mean', f'{name}_var'])
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
        check_types(self)

    def __call__(self, waveform: jax.Array, n_samples: jax.Array | None = None) -> jax.Array:
        """Computes float32 (..., 57), in the order of `COLUMNS`, from float32 (..., time) in [-1, 1].

        Zeros behind `n_samples`, int (...), are no part of a clip: one program serves many lengths. Raises a
        UserError where the waveform is shorter than one frame.
        """
        time, batch = waveform.shape[-1], waveform.shape[:-1]
        if time < self.n_fft:
            raise UserError(
                f'a clip of {time} samples is shorter than one frame of {self.n_fft}: handcrafted '
                'features need longer clips'
            )
        n_samples = jnp.broadcast_to(time if n_samples is None else n_samples, batch)
        flat = over_clips(self.clip, waveform.reshape(-1, time), n_samples.reshape(-1))
        return flat.reshape(*batch, len(COLUMNS))

    def clip(self, waveform: jax.Array, n_samples: jax.Array) -> jax.Array:
        """Computes float32 (57,) from the first samples of one float32 waveform (time,)."""
        rate_hz, n_fft, hop_length = self.sample_rate_hz, self.n_fft, self.n_fft // 4
        # Frames behind the last one hold what the medians see there; no figure counts them.
        frame = np.arange(1 + waveform.shape[0] // hop_length + hpss.HALF)
        n_frames = 1 + n_samples // hop_length
        used = frame < n_frames
        position = np.arange(frame[-1] * hop_length + n_fft) - n_fft // 2
        nearest = jnp.clip(position, 0, n_samples - 1)
        if self.padding == 'reflect':
            mirrored = n_samples - 1 - jnp.abs(n_samples - 1 - np.abs(position))
            padded = waveform[mirrored.clip(0)]
        else:
            padded = jnp.where(position == nearest, waveform[nearest], 0)
        spectrum = stft.stft(
            padded, n_fft=n_fft, win_length=n_fft, hop_length=hop_length, padding='none', float64=True
        )  # fmt: skip
        spectrum = jnp.where(used[:, None], spectrum, 0)
        power = stft.power(spectrum)
        magnitude = jnp.sqrt(power)
        filters = mel.mel_filters(rate_hz, n_fft, 128, 0.0, 0.0)
        mel_db = decibel(jnp.matmul(power, filters, precision='highest'), 2, 'one', 80.0)
        centroid, bandwidth, rolloff = spectral_shape(magnitude, rate_hz)
        over_frames = {
            'chroma_stft': Chroma(sample_rate_hz=rate_hz, n_fft=n_fft).from_power(power),
            'rms': rms(padded, n_fft),
            'spectral_centroid': centroid,
            'spectral_bandwidth': bandwidth,
            'rolloff': rolloff,
            'zero_crossing_rate': zero_crossing_rate(waveform[nearest], n_fft),
        }
        columns = [figure for each in over_frames.values() for figure in mean_and_var(each, n_frames)]
        again = frame % (2 * n_frames)  # the ends are reflected, as the medians do it
        masks = hpss.soft_masks(magnitude[jnp.minimum(again, 2 * n_frames - 1 - again)])
        # Before 0.9 the inverse gave whole hops, filled up with zeros to the clip's length.
        n_inverted = hop_length * (n_frames - 1) if self.padding == 'reflect' else n_samples
        for mask in masks:
            part = stft.inverse(spectrum * mask, waveform.shape[0], used)
            part = jnp.where(np.arange(len(part)) < n_inverted, part, 0)
            columns.extend(mean_and_var(part, n_samples))
        onsets = jnp.where(used, onset_strength(mel_db, n_fft, hop_length), 0)
        columns.append(tempo(onsets, rate_hz, hop_length, n_frames))
        for coefficient in jnp.matmul(mel_db, dct_matrix(_N_MFCC, 128), precision='highest').T:
            columns.extend(mean_and_var(coefficient, n_frames))
        # Ranks and counts would make numbers of what is none.
        return jnp.where(jnp.isnan(waveform).any(), jnp.nan, jnp.stack(columns))


def mean_and_var(values: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and the population variance over the first `count` rows."""
    rows = values.reshape(len(values), -1)
    used = np.arange(len(rows))[:, None] < count
    mean = _sum(jnp.where(used, rows, 0)) / (count * rows.shape[1])
    return mean, _sum(jnp.where(used, (rows - mean) ** 2, 0)) / (count * rows.shape[1])


def _sum(values: jax.Array) -> jax.Array:
    # In two stages: one long sum in float32 would lose the small mean of a waveform.
    flat = values.reshape(-1)
    width = max(1, int(np.sqrt(flat.size)))
    return jnp.pad(flat, (0, -flat.size % width)).reshape(-1, width).sum(1).sum()


def spectral_shape(magnitude: jax.Array, sample_rate_hz: int) -> tuple[jax.Array, jax.Array, jax.Array]:
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


def rms(padded: jax.Array, frame_length: int) -> jax.Array:
    """Computes the root mean square of each whole frame, four to a frame length, as librosa."""
    return jnp.sqrt(_sums_of_frames(padded**2, frame_length) / frame_length)


def zero_crossing_rate(padded: jax.Array, frame_length: int) -> jax.Array:
    """Computes the share of samples in each frame whose sign is not that of the sample before, as librosa.

    Frames are whole ones, four to a frame length.
    """
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
