"""The picture of a blend: what each member counts, and the accuracies with their intervals."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

from genre_jax.report import blends


def draw(result: Mapping, file: pathlib.Path) -> None:
    """Draws the weights on the left, and on the right members and blend, validation and test.

    Args:
        result: what result.json holds.
        file: PNG to write.
    """
    import matplotlib.figure

    blend, rows = result['blend'], blends.rows(result)
    names = [f'{row["name"]}{" LEAKY" if row["leaky"] else ""}' for row in rows]
    figure = matplotlib.figure.Figure(figsize=(10, 1.4 + 0.45 * len(rows)), layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    _draw_weights(left, blend)
    kind, unit = next(iter(blends.KINDS[blend['level']].items()))
    looks = (('val', -0.16, '#c17f2f', 'validation'), ('test', 0.16, '#2f5f98', 'test'))
    for part, shift, colour, word in looks:
        if part not in blend['parts']:
            continue
        figures = [row['parts'][part][kind] for row in rows]
        values = 100 * np.array([each['accuracy'] for each in figures])
        ends = 100 * np.array([each['accuracy_ci95'] for each in figures]).T
        right.errorbar(
            values, np.arange(len(rows)) + shift, xerr=np.abs(ends - values), fmt='o', color=colour,
            capsize=3, label=word,
        )  # fmt: skip
    right.axvline(100 * result['chance'], color='0.6', linestyle=':', label='chance')
    right.set_xlabel(f'accuracy of {unit}, %, with 95 % intervals')
    right.legend(frameon=False, ncols=3, loc='lower left', bbox_to_anchor=(0, 1))
    left.set_yticks(np.arange(len(rows)), names)
    left.invert_yaxis()
    figure.suptitle(
        f'{blends.words(result)}; protocol {result["protocol"]}'
        f'{" LEAKY" if result["leaky"] else ""}',
        fontsize=10,
    )
    temporary = file.with_name(file.name + '.tmp')
    figure.savefig(temporary, dpi=150, format='png')
    temporary.replace(file)


def _draw_weights(axes, blend: Mapping) -> None:
    """Draws a bar for each member, and a second one where the weights were fitted to test as well."""
    bars = [(blend.get('honest', blend), '#9db8d9', f'fitted on {blend["best_on"]}')]
    if 'honest' in blend:
        bars.append((blend, '#d98a8a', 'fitted on test, LEAKY'))
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
    axes.legend(frameon=False, ncols=2, loc='lower left', bbox_to_anchor=(-0.35, 1), fontsize=9)
