"""How much each window counted for the head `attention`: kept, and drawn for some songs."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from genre_jax.evaluation import evaluate
from genre_jax.study import draw as study_draw

_DRAWN_SONGS = 6


@dataclasses.dataclass(frozen=True)
class Attention(evaluate.Arrays):
    """How much each window counted in its bag."""

    track: np.ndarray  # name of the song of each window, str [n]
    start_s: np.ndarray  # where the window starts, in seconds, float32 [n]
    window_s: np.ndarray  # length of all windows, in seconds, float32 []
    weight: np.ndarray  # float32 [n, seeds], of one seed's network; they sum to 1 over a bag


def draw(attention: Attention, answers: evaluate.Predictions, file: pathlib.Path) -> None:
    """Draws for some of the tested songs, one of each class in turn, which seconds the network looks at."""
    import matplotlib.figure

    songs = evaluate.pool_songs(answers)
    # How many songs of its class come before each song.
    turns = [np.count_nonzero(songs.label[:i] == own) for i, own in enumerate(songs.label)]
    order = np.argsort(turns, kind='stable')[:_DRAWN_SONGS]
    figure = matplotlib.figure.Figure(figsize=(8, 1 + 1.3 * len(order)), layout='constrained')
    for axes, song in zip(figure.subplots(len(order), 1, squeeze=False)[:, 0], order, strict=True):
        windows = attention.track == songs.track[song]
        weight = attention.weight[windows]
        centre_s = attention.start_s[windows] + float(attention.window_s) / 2
        middle = weight.mean(1)
        axes.bar(centre_s, middle, float(attention.window_s), color='#2f5f98', alpha=0.45)
        spread = [middle - weight.min(1), weight.max(1) - middle]
        axes.errorbar(centre_s, middle, spread, fmt='none', ecolor='#333333', capsize=2)
        axes.axhline(weight.mean(), color='#999999', linestyle=':')
        true, said = (
            answers.classes[each] for each in (songs.label[song], songs.max_probability()[song])
        )
        verdict = 'right' if true == said else f'taken for {said}'
        axes.set_title(f'{songs.track[song]}: {true}, {verdict}', fontsize=8, loc='left')
        axes.set(ylim=(0, None), ylabel='weight')
    axes.set_xlabel('seconds')
    figure.suptitle(
        'what each window counts: mean, and lowest to highest of the seeds; dotted: all alike',
        fontsize=9,
    )
    study_draw.save(figure, file)
