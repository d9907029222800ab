"""Every front end and every augmentation, drawn on one clip."""

import math
import pathlib
from collections.abc import Sequence

import jax
import matplotlib.figure
import numpy as np

from genre_jax import augment, features
from genre_jax.data import audio, synthesis
from genre_jax.data.tunes import corpus, synth
from genre_jax.errors import BadAudio, UserError
from genre_jax.features import melody
from genre_jax.features.resample import resample

_RATE_HZ, _DURATION_S = 44100, 5.0
# Stronger than in training, so that it can be seen.
_AMOUNTS = {
    'gain': {'max_db': 12.0},
    'speed': {'max_factor': 1.5},
    'time_stretch': {'max_factor': 1.5},
    'pitch_shift': {'max_semitones': 6.0},
    'time_shift': {'max_share': 0.3},
    'gaussian_noise': {'sigma': 0.02},
    'picture_noise': {'sigma': 5.0},
    'spectral_masking': {'min_share': 0.1, 'max_share': 0.2},
    'spec_augment': {'time_width_frames': 100, 'mel_width_bins': 12},
    'mixup': {'alpha': 5.0},
    'cutmix': {},
}


def read_clip(file: str, tune: int = 0) -> np.ndarray:
    """Reads an audio file, or plays a dance tune for '': float32 [time] at 44.1 kHz; else a UserError."""
    if file:
        try:
            samples = audio.decode(file, _RATE_HZ)
        except BadAudio as error:
            raise UserError(f'--audio={file}: {error}') from None
        samples = samples[: int(_DURATION_S * _RATE_HZ)]
        if len(samples) < _RATE_HZ:
            raise UserError(f'--audio={file}: expected at least one second')
    else:
        score = corpus.scores(corpus.root())[0][tune]
        notes, rng = corpus.parse(score.abc), synthesis.generator(0, score.track)
        played = notes, synth.draw(notes, rng), rng
        samples = synth.render(*played, duration_s=_DURATION_S, sample_rate_hz=_RATE_HZ)
    return samples.astype(np.float32) / 32767


def draw_front_ends(clip: np.ndarray, path: pathlib.Path) -> None:
    """Draws the clip, float32 [time] at 44.1 kHz, through every flavour."""
    figure, axes = _grid(len(features.FLAVOURS))
    for name, ax in zip(features.FLAVOURS, axes, strict=False):
        front_end = features.build({'name': name})
        waveform = resample(jax.numpy.asarray(clip), _RATE_HZ, front_end.sample_rate_hz)
        picture = np.asarray(front_end(waveform))
        if name in ('linear', 'constant_q'):  # magnitudes: seen as they are heard
            picture = 20 * np.log10(np.maximum(picture, 1e-3 * picture.max()))
        if name.startswith('mfcc'):  # the first would outshine all others
            picture = (picture - picture.mean(0)) / picture.std(0)
        title = f'{name}  {picture.shape[0]} x {picture.shape[1]}'
        if name == 'predominant_pitch':  # a curve
            _draw_line(ax, np.where(picture[:, 0] > 0, picture[:, 0], np.nan), title)
            ax.set_yscale('log')
        elif name == 'audio_melody':  # counts: how often it is which pitch class
            folded = melody.columns(picture[0], front_end.bins_per_octave).folded[0]
            _draw_line(ax, folded, title)
        else:
            _show(ax, picture, title)
    figure.savefig(path, dpi=80)


def draw_augmentations(clip: np.ndarray, other: np.ndarray, path: pathlib.Path) -> None:
    """Draws the clip after every augmentation, through the front end of PANNs at 32 kHz."""
    front_end = features.build({'name': 'panns_32k'})
    pair = [resample(jax.numpy.asarray(each), _RATE_HZ, 32000) for each in (clip, other)]
    length = min(map(len, pair))
    waveforms = jax.numpy.stack([each[:length] for each in pair])
    key, labels, index = jax.random.key(3), np.int32([0, 1]), np.arange(2)
    figure, axes = _grid(1 + len(_AMOUNTS))
    original = front_end(waveforms)
    limits = {'vmin': -60, 'vmax': float(original.max())}
    _show(axes[0], original[0], 'as it is', **limits)
    for (name, amounts), ax in zip(_AMOUNTS.items(), axes[1:], strict=False):
        augmentation = augment.Augmentation({name: amounts}, ['a', 'b'])
        pictures = front_end(augmentation.waveforms(key, waveforms, labels, index))
        pictures = augmentation.pictures(key, pictures, labels, index)
        pictures, _ = augmentation.mixed('picture', key, pictures, np.eye(2), index)
        _show(ax, pictures[0], name, **limits)
    figure.savefig(path, dpi=80)


def _grid(n: int) -> tuple[matplotlib.figure.Figure, Sequence]:
    rows = math.ceil(n / 4)
    figure = matplotlib.figure.Figure(figsize=(14, 2.5 * rows), layout='constrained')
    axes = figure.subplots(rows, 4).ravel()
    for ax in axes:
        ax.set_axis_off()
    return figure, axes


def _draw_line(ax: object, values: np.ndarray, title: str) -> None:
    ax.plot(values, color='#b5367a', linewidth=2)
    ax.set_title(title, fontsize=11, loc='left')


def _show(ax: object, picture: np.ndarray, title: str, **limits: float) -> None:
    ax.imshow(np.asarray(picture).T, origin='lower', aspect='auto', cmap='magma', **limits)
    ax.set_title(title, fontsize=11, loc='left')
