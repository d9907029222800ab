"""Pictures of docs/modal.md: `python -m docs.modal_pictures RUN...`, runs of raag_orbit on hard recordings.

The runs are folds of one cross-validation. What they say of their test songs is taken together.
"""

import pathlib

import matplotlib.figure
import matplotlib.patches
import numpy as np
import scipy.ndimage

from genre_jax import program
from genre_jax.data import synthesis
from genre_jax.data.synthetic_raag import grammar, melody, sound
from genre_jax.evaluation import evaluate
from genre_jax.evaluation import tonic as tonic_lib
from genre_jax.features.melody import REFERENCE_HZ

_HERE = pathlib.Path(__file__).parent
_BINS, _DELAY_S, _RATE_HZ, _DURATION_S = 53, 0.3, 44100 / 1024, 60.0
_RAAG, _TONICS_HZ = 'yaman', (146.8, 196.0)  # D and G


def draw_surfaces(path: pathlib.Path) -> None:
    """Draws the surface of one improvisation in two keys: as it is heard, and by interval."""
    rng = synthesis.generator(0, _RAAG)
    performance = sound.draw_musician(rng)
    raag = grammar.RAAGS[_RAAG]
    notes = melody.walk(raag, performance, rng, _DURATION_S)
    figure = matplotlib.figure.Figure((10, 5.4), layout='constrained')
    axes = figure.subplots(2, len(_TONICS_HZ) + 1)
    surfaces = []
    for column, tonic_hz in zip(axes.T, _TONICS_HZ, strict=False):
        contour_hz = sound.contour(notes, _DURATION_S, 4410)[:: round(4410 / _RATE_HZ)]
        voiced = contour_hz > 0
        hz = np.where(voiced, contour_hz, 1) * tonic_hz / performance.tonic_hz
        bins = np.rint(_BINS * np.log2(hz / REFERENCE_HZ)).astype(int) % _BINS
        delay = round(_DELAY_S * _RATE_HZ)
        both = voiced[:-delay] & voiced[delay:]
        surface = np.zeros((_BINS, _BINS))
        np.add.at(surface, (bins[:-delay][both], bins[delay:][both]), 1)
        surface = scipy.ndimage.gaussian_filter(surface, 1, mode='wrap')  # as the front end does
        place = np.arange(_BINS)[:, None]
        surfaces.append(np.sqrt(surface / surface.sum())[place, (place + np.arange(_BINS)) % _BINS])
        name, cents = tonic_lib.note(tonic_hz)
        column[0].imshow(np.sqrt(surface).T, origin='lower', cmap='magma')
        column[0].set_title(f'{_RAAG} on {name}: pitch class p, {_DELAY_S} s later q', fontsize=9)
        column[1].imshow(surfaces[-1].T, origin='lower', cmap='magma')
        column[1].set_title('the same: pitch class p, interval q - p', fontsize=9)
        for ax in column:
            ax.axvline(_BINS * np.log2(tonic_hz / REFERENCE_HZ) % _BINS, color='#7fd4ff', linewidth=1)
            ax.set_xlabel('p, bins above A', fontsize=8)
            ax.tick_params(labelsize=7)
        column[0].set_ylabel('q', fontsize=8)
        column[1].set_ylabel('q - p', fontsize=8)
    magnitudes = [np.abs(np.fft.rfft(surface, axis=0)) for surface in surfaces]
    for ax, magnitude, tonic_hz in zip(axes[:, -1], magnitudes, _TONICS_HZ, strict=True):
        ax.imshow(magnitude.T, origin='lower', cmap='magma', aspect='auto')
        ax.set_title(f'{tonic_lib.note(tonic_hz)[0]}: size of its Fourier components', fontsize=9)
        ax.set_xlabel('frequency k along p', fontsize=8)
        ax.set_ylabel('q - p', fontsize=8)
        ax.tick_params(labelsize=7)
    figure.savefig(path, dpi=90)


def draw_posteriors(found: evaluate.Predictions, path: pathlib.Path) -> None:
    """Draws what is likely to be the tonic: of three songs where it is found, and three where not."""
    cents = np.abs(tonic_lib.away_cents(tonic_lib.estimate(found.tonic), found.tonic_hz))
    hit = np.flatnonzero(cents <= tonic_lib.TOLERANCE_CENTS)
    missed = np.flatnonzero(cents > tonic_lib.TOLERANCE_CENTS)
    chosen = [*hit[:: max(1, len(hit) // 3)][:3], *missed[:: max(1, len(missed) // 3)][:3]]
    figure = matplotlib.figure.Figure((10, 4.4), layout='constrained')
    semitones = 12 * np.arange(found.tonic.shape[1]) / found.tonic.shape[1]
    for ax, song in zip(figure.subplots(2, 3, sharex=True).ravel(), chosen, strict=True):
        ax.fill_between(semitones, found.tonic[song], step='mid', color='#2b6cb0')
        ax.axvline(12 * np.log2(found.tonic_hz[song] / REFERENCE_HZ) % 12, color='#c05621', linewidth=1)
        named = found.classes[found.probabilities[song].argmax()]
        is_called = f'{found.classes[found.label[song]]}: {named} {found.probabilities[song].max():.0%}'
        ax.set_title(is_called, fontsize=9)
        ax.set_xticks(range(12), 'A A# B C C# D D# E F F# G G#'.split(), fontsize=7)
        ax.tick_params(axis='y', labelsize=7)
    figure.savefig(path, dpi=90)


def draw_confusion(found: evaluate.Predictions, path: pathlib.Path) -> None:
    """Draws which raag is taken for which, those of one scale beside each other and framed."""
    scales = [''.join(sorted(grammar.RAAGS[name].scale, key=grammar.SWARAS.index)) for name in found.classes]
    order = sorted(range(len(scales)), key=lambda i: (-scales.count(scales[i]), scales[i], found.classes[i]))
    counts = np.zeros((len(scales), len(scales)), int)
    np.add.at(counts, (found.label, found.probabilities.argmax(1)), 1)
    counts = counts[np.ix_(order, order)]
    figure = matplotlib.figure.Figure((7.5, 6.5), layout='constrained')
    ax = figure.subplots()
    ax.imshow(counts, cmap='Blues')
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = 'white' if count > counts.max() / 2 else 'black'
            ax.text(column, row, count, ha='center', va='center', fontsize=7, color=color)
    ordered = [scales[i] for i in order]
    for scale in dict.fromkeys(ordered):
        first, many = ordered.index(scale), ordered.count(scale)
        frame = matplotlib.patches.Rectangle((first - 0.5,) * 2, many, many, fill=False, edgecolor='#c05621')
        ax.add_patch(frame)
    ax.set_xticks(range(len(order)), found.classes[order], rotation=90, fontsize=8)
    labels = [f'{found.classes[i]}  {scales[i]}' for i in order]
    ax.set_yticks(range(len(order)), labels, fontsize=8)
    ax.set(xlabel='named', ylabel='raag, and its notes')
    figure.savefig(path, dpi=90)


def main(arguments: list[str]) -> None:
    """Writes the three pictures beside this file."""
    files = [pathlib.Path(run) / 'predictions' / 'test.npz' for run in arguments[1:]]
    found = evaluate.joined([evaluate.Predictions.read(file, 'expected a finished run') for file in files])
    draw_surfaces(_HERE / 'modal_surfaces.png')
    draw_posteriors(found, _HERE / 'modal_posteriors.png')
    draw_confusion(found, _HERE / 'modal_confusion.png')


if __name__ == '__main__':
    program.run(main, config=False)
