"""Front ends, resampling, pitch shift and handcrafted features beside what people use today.

    python -m benchmarks.frontends [--json FILE] [--device gpu] [--only panns]

Each row is the same clips through our function (one jitted call) and through a reference: librosa
(clip by clip, its defaults), torch.stft or torchlibrosa (one batch), transformers' AST extractor,
soxr. Medians of interleaved runs, one process.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import soxr
import torch
import torchlibrosa
import transformers

from benchmarks import timing
from genre_jax import features
from genre_jax.augment import pitch
from genre_jax.features.front_end import over_clips
from genre_jax.features.handcrafted import Handcrafted
from genre_jax.features.resample import resample


def clips(n_clips: int, duration_s: float, rate_hz: int) -> np.ndarray:
    """Makes clips of decaying chords over a little noise, float32 [n_clips, time].

    Args:
        n_clips: how many.
        duration_s: length of each.
        rate_hz: sample rate.
    """
    rng = np.random.default_rng(0)
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    beat_s = 0.5
    waveforms = []
    for _ in range(n_clips):
        pitches = rng.integers(40, 80, (int(duration_s / beat_s) + 1, 3))
        hz = (440 * 2 ** ((pitches - 69) / 12))[(t / beat_s).astype(int)]
        chord = np.sin(2 * np.pi * hz * t[:, None]).mean(1) * np.exp(-4 * (t % beat_s))
        waveforms.append(0.8 * chord + 0.01 * rng.standard_normal(len(t)))
    return np.asarray(waveforms, np.float32)


def torch_log_mel(
    waveforms: np.ndarray, *, rate_hz: int, n_fft: int, hop_length: int, n_mels: int, power: int,
    f_min_hz: float = 0.0, f_max_hz: float | None = None,
) -> Callable[[], torch.Tensor]:  # fmt: skip
    """Prepares a log-mel spectrogram with torch.stft, on the GPU where torch has one.

    Args:
        waveforms: float32 [clips, time].
        rate_hz: sample rate.
        n_fft: length of window and FFT.
        hop_length: samples between frames.
        n_mels: bands.
        power: of the magnitude.
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band, None for half the sample rate.

    Returns:
        A function that computes it.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    filters = librosa.filters.mel(sr=rate_hz, n_fft=n_fft, n_mels=n_mels, fmin=f_min_hz, fmax=f_max_hz)
    filters = torch.tensor(filters.T.copy(), device=device)
    window = torch.hann_window(n_fft, device=device)
    waveforms = torch.tensor(waveforms, device=device)

    def compute() -> torch.Tensor:
        with torch.inference_mode():
            spectrum = torch.stft(
                waveforms,
                n_fft,
                hop_length,
                window=window,
                pad_mode='constant',
                return_complex=True,
            )
            bands = spectrum.real**2 + spectrum.imag**2
            if power == 1:
                bands = bands.sqrt()
            out = torch.log(torch.clamp(bands.transpose(1, 2) @ filters, min=1e-10))
            if device == 'cuda':
                torch.cuda.synchronize()
            return out

    return compute


def librosa_log_mel(
    waveforms: np.ndarray, *, rate_hz: int, n_fft: int, hop_length: int, n_mels: int, power: int,
    f_min_hz: float = 0.0, f_max_hz: float | None = None,
) -> Callable[[], list[np.ndarray]]:  # fmt: skip
    """Prepares a log-mel spectrogram with librosa, clip by clip; arguments as `torch_log_mel`."""
    return lambda: [
        librosa.power_to_db(
            librosa.feature.melspectrogram(
                y=waveform, sr=rate_hz, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels,
                power=power, fmin=f_min_hz, fmax=f_max_hz,
            )
        )
        for waveform in waveforms
    ]  # fmt: skip


_LOG_MEL = {  # flavour: batch, clip length in s, and the constants for librosa and torch.stft
    'schindler': (64, 0.93, {'n_fft': 512, 'hop_length': 256, 'n_mels': 80, 'power': 1}),
    'fma_mel': (8, 30.0, {'n_fft': 2048, 'hop_length': 512, 'n_mels': 128, 'power': 2}),
    'musicnn': (16, 3.0, {'n_fft': 512, 'hop_length': 256, 'n_mels': 96, 'power': 2}),
    'panns_32k': (
        8, 10.0,
        {'n_fft': 1024, 'hop_length': 320, 'n_mels': 64, 'power': 2, 'f_min_hz': 50.0, 'f_max_hz': 14000.0},
    ),
}  # fmt: skip


def cases() -> Iterator[tuple[str, Callable, dict[str, Callable]]]:
    """Yields (name, ours, references by name), each to be called without arguments."""
    for flavour, (batch, duration_s, constants) in _LOG_MEL.items():
        front_end = features.build({'name': flavour})
        rate_hz = front_end.sample_rate_hz
        waveforms = clips(batch, duration_s, rate_hz)
        name = f'{flavour}, {batch} x {duration_s:g} s'
        with_librosa = {'librosa': librosa_log_mel(waveforms, rate_hz=rate_hz, **constants)}
        with_torch = {'torch.stft': torch_log_mel(waveforms, rate_hz=rate_hz, **constants)}
        if flavour == 'panns_32k':
            with_torch['torchlibrosa'] = _torchlibrosa(waveforms)
        if front_end.float64:  # librosa transforms in float64 too, torch in float32
            yield name, _jitted(front_end, waveforms), with_librosa
            front_end = dataclasses.replace(front_end, float64=False)
            yield f'{name}, float32', _jitted(front_end, waveforms), with_torch
        else:
            yield name, _jitted(front_end, waveforms), with_librosa | with_torch

    waveforms = clips(8, 10.0, 16000)
    extractor = transformers.ASTFeatureExtractor()
    yield (
        'ast, 8 x 10 s',
        _jitted(features.build({'name': 'ast'}), waveforms),
        {
            'transformers': lambda: extractor(list(waveforms), sampling_rate=16000, return_tensors='np'),
        },
    )
    waveforms = clips(8, 10.0, 22050)
    per_clip = {
        'mfcc_20': lambda y: librosa.feature.mfcc(y=y, sr=22050, n_mfcc=20),
        'chroma': lambda y: librosa.feature.chroma_stft(y=y, sr=22050),
        'constant_q': lambda y: np.abs(librosa.cqt(y, sr=22050)),
    }
    for flavour, function in per_clip.items():
        yield (
            f'{flavour}, 8 x 10 s',
            _jitted(features.build({'name': flavour}), waveforms),
            {'librosa': lambda function=function: [function(y) for y in waveforms]},
        )
    yield (
        'pitch shift, 8 x 10 s',
        _pitch_shifted(waveforms),
        {'librosa': lambda: [librosa.effects.pitch_shift(y, sr=22050, n_steps=1.3) for y in waveforms]},
    )
    long = clips(4, 30.0, 22050)
    yield (
        'handcrafted, 4 x 30 s',
        _jitted(Handcrafted(), long),
        {'librosa': lambda: [_librosa_handcrafted(y) for y in long]},
    )
    for from_hz, to_hz in ((44100, 22050), (44100, 16000), (48000, 32000), (22050, 16000)):
        waveforms = clips(8, 10.0, from_hz)
        ours = functools.partial(resample, from_hz=from_hz, to_hz=to_hz)
        yield (
            f'resample {from_hz} to {to_hz}, 8 x 10 s',
            _jitted(ours, waveforms),
            {
                'soxr HQ': lambda waveforms=waveforms, from_hz=from_hz, to_hz=to_hz: [
                    soxr.resample(y, from_hz, to_hz, 'HQ') for y in waveforms
                ]
            },
        )


def _pitch_shifted(waveforms: np.ndarray) -> Callable[[], jax.Array]:
    def shift(keys: jax.Array, waveforms: jax.Array) -> jax.Array:
        one = functools.partial(pitch.pitch_shift, max_semitones=2.0)
        return over_clips(lambda waveform, key: one(key, waveform), waveforms, keys)

    compiled, keys = jax.jit(shift), jax.random.split(jax.random.key(0), len(waveforms))
    on_device = jnp.asarray(waveforms)
    return lambda: compiled(keys, on_device)


def _librosa_handcrafted(waveform: np.ndarray) -> list[float]:
    """The 57 columns by librosa, its spectrum computed once."""
    magnitude = np.abs(librosa.stft(waveform))
    over_time = [
        librosa.feature.chroma_stft(S=magnitude**2),
        librosa.feature.rms(y=waveform),
        librosa.feature.spectral_centroid(S=magnitude),
        librosa.feature.spectral_bandwidth(S=magnitude),
        librosa.feature.spectral_rolloff(S=magnitude),
        librosa.feature.zero_crossing_rate(waveform),
        *librosa.effects.hpss(waveform),
    ]
    row = [statistic for values in over_time for statistic in (values.mean(), values.var())]
    row.append(librosa.beat.beat_track(y=waveform)[0])
    mfcc = librosa.feature.mfcc(y=waveform, n_mfcc=20)
    return [*row, *mfcc.mean(1), *mfcc.var(1)]


def _jitted(function: Callable, waveforms: np.ndarray) -> Callable[[], jax.Array]:
    compiled, on_device = jax.jit(function), jnp.asarray(waveforms)
    return lambda: compiled(on_device)


def _torchlibrosa(waveforms: np.ndarray) -> Callable[[], torch.Tensor]:
    spectrogram = torchlibrosa.Spectrogram(n_fft=1024, hop_length=320, win_length=1024)
    log_mel = torchlibrosa.LogmelFilterBank(sr=32000, n_fft=1024, n_mels=64, fmin=50, fmax=14000, top_db=None)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    network = torch.nn.Sequential(spectrogram, log_mel).to(device).eval()
    waveforms = torch.tensor(waveforms, device=device)

    def compute() -> torch.Tensor:
        with torch.inference_mode():
            out = network(waveforms)
            if device == 'cuda':
                torch.cuda.synchronize()
            return out

    return compute


def main() -> None:
    """Prints a row for each pair of ours and a reference."""
    parser = timing.parser(__doc__)
    parser.add_argument('--only', default='', help='only rows whose name holds this text')
    options = parser.parse_args()
    timing.use_device(options.device)
    warnings.filterwarnings('ignore', message='At least one mel filter')
    table = timing.Table()
    for name, ours, references in cases():
        if options.only not in name:
            continue
        seconds = timing.time_interleaved({'ours': ours, **references}, options.repeats)
        for reference in references:
            table.add(name, seconds['ours'], reference, seconds[reference])
    table.write(options.json)


if __name__ == '__main__':
    main()
