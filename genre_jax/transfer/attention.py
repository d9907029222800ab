"""How much each window counted for the head `attention`: kept beside its predictions, shown of some songs."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from genre_jax.data.files import readable
from genre_jax.evaluation import evaluate
from genre_jax.study import cells

_SHOWN_SONGS = 6
_MOST_BARS = 150


@dataclasses.dataclass(frozen=True)
class Attention(evaluate.Arrays):
    """How much each window counted in its bag."""

    track: np.ndarray  # name of the song of each window, str [n]
    start_s: np.ndarray  # where the window starts, in seconds, float32 [n]
    window_s: np.ndarray  # length of all windows, in seconds, float32 []
    weight: np.ndarray  # float32 [n, seeds], of one seed's network; they sum to 1 over a bag


def shown(folder: pathlib.Path) -> list[dict[str, Any]] | None:
    """Returns what the page shows of a fold, from its files: some tested songs, one of each class in turn.

    Of each song 'track', the 'true' class, the one that was 'said', and per window 'start_s', 'end_s' and the
    weight: 'mean', 'low' and 'high' over the seeds. Of many windows means over neighbours. None where the
    folder keeps no weights.
    """
    file = folder / 'attention.npz'
    if not file.exists():
        return None
    attention = Attention.read(file, cells.REMEDY)
    answers = evaluate.Predictions.read(folder / 'predictions' / 'test.npz', cells.REMEDY)
    songs = evaluate.pool_songs(answers)
    # How many songs of its class come before each song.
    turns = [np.count_nonzero(songs.label[:i] == own) for i, own in enumerate(songs.label)]
    said = songs.max_probability()
    found = []
    for song in np.argsort(turns, kind='stable')[:_SHOWN_SONGS]:
        rows = np.flatnonzero(attention.track == songs.track[song])
        rows = rows[np.argsort(attention.start_s[rows], kind='stable')]
        blocks = np.array_split(rows, min(len(rows), _MOST_BARS))
        weight = np.array([attention.weight[block].mean(0) for block in blocks])
        ends = attention.start_s + attention.window_s
        found.append({
            'track': readable(str(songs.track[song])),
            'true': readable(str(answers.classes[songs.label[song]])),
            'said': readable(str(answers.classes[said[song]])),
            'start_s': _rounded([attention.start_s[block[0]] for block in blocks]),
            'end_s': _rounded([ends[block[-1]] for block in blocks]),
            'mean': _rounded(weight.mean(1)), 'low': _rounded(weight.min(1)), 'high': _rounded(weight.max(1)),
        })  # fmt: skip
    return found


def _rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    return np.asarray(values, np.float64).round(5).tolist()
