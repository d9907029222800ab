"""The picture of a blend: what each member counts, and the accuracies with their intervals."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

from genre_jax.report import blends
from genre_jax.study import draw as study_draw


def draw(result: Mapping, file: pathlib.Path) -> None:
    """Draws the weights on the left, and on the right members and blend, validation and test."""
    blend, rows = result['blend'], blends.rows(result)
    names = [f'{row["name"]}{" LEAKY" if row["leaky"] else ""}' for row in rows]
    title = (
        f'{blends.words(result)}; protocol {result["protocol"]}'
        f'{" LEAKY" if result["leaky"] else ""}'
    )
    kind, unit = next(iter(blends.KINDS[blend['level']].items()))
    dots = {
        f'{word}, accuracy of {unit}': [row['parts'][part][kind] for row in rows]
        for part, word in (('test', 'test'), ('val', 'validation'))
        if part in blend['parts']
    }
    figure, (left, right) = study_draw.panels(names, len(dots), (2, 3), title)
    _draw_weights(left, blend)
    study_draw.dots(right, dots)
    right.axvline(100 * result['chance'], color='#999999', linestyle=':', label='chance')
    right.set_xlabel(f'accuracy of {unit}, %, with 95 % intervals')
    study_draw.save(figure, file)


def _draw_weights(axes, blend: Mapping) -> None:
    """Draws a bar for each member, and a second one where the weights were fitted to test as well."""
    bars = [(blend.get('honest', blend), '#9db8d9', f'weights, fitted on {blend["best_on"]}')]
    if 'honest' in blend:
        bars.append((blend, '#d98a8a', 'weights, fitted on test, LEAKY'))
    height = 0.64 / len(bars)
    longest = 0.0
    for number, (own, colour, word) in enumerate(bars):
        lengths = 100 * blends.shares(own)
        longest = max(longest, lengths.max())
        places = np.arange(len(lengths)) + (number - (len(bars) - 1) / 2) * height
        axes.barh(places, lengths, height, color=colour, label=word)
        for place, length, words in zip(places, lengths, blends.in_words(own), strict=True):
            axes.text(length, place, f' {words}', va='center', fontsize=8)
    axes.set(xlabel='share of the weights, %', xlim=(0, 1.25 * longest))
