"""What the charts of a run's page show, as one JSON value that its scripts read."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import markupsafe
import numpy as np

from genre_jax.data.files import readable
from genre_jax.evaluation import intervals
from genre_jax.evaluation.evaluate import KINDS, Predictions, Songs, number_songs, pool_songs, roc_curves

_MAX_POINTS = 300  # of a learning curve
_MAX_STEPS = 60  # of a curve over thresholds
_MAX_STRETCHES = 120  # of a timeline
_SHOWN_CLASSES = 4  # of a timeline: the true, the predicted, and the likeliest others
_CURVES = (
    'train/loss', 'val/loss', 'train/accuracy', 'val/segment/accuracy', 'val/song_max_probability/accuracy',
    'train/learning_rate',
)  # fmt: skip


def as_script(value: Any) -> markupsafe.Markup:
    """Returns a value as JSON that can stand in a script element, whatever the names in it are."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    return markupsafe.Markup(text.replace('<', '\\u003c'))


def of_run(
    result: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    predictions: Predictions | None,
    confidence: Mapping[str, Any] | None,
    timing: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Returns what the page of a run draws; what needs a file that is missing is None.

    Shares are from 0 to 1, classes, groups and songs numbers that count from 0.
    """
    test, found = result['parts']['test'], {}
    if predictions is not None:
        songs = pool_songs(predictions)
        found = {
            'songs': _songs(predictions, songs),
            'groups': _groups(predictions, songs),
            'wrong': _wrong(predictions, songs),
            'thresholds': _thresholds(songs),
        }
    return {
        'mark': 'LEAKY' if result['leaky'] else '',  # which every chart bears
        'classes': [readable(name) for name in result['classes']],
        'chance': result['chance'],
        'majority': result['majority'],
        'tonic_alone': result.get('tonic_alone'),
        'accuracy': {kind: {key: test[kind][key] for key in ('accuracy', 'accuracy_ci95')} for kind in KINDS},
        'confusion': {kind: _sparse(test[kind]['confusion']) for kind in KINDS},
        'curves': {key: curve(metrics, key) for key in _CURVES},
        'best': {key: result[f'best_{key}'] for key in ('step', 'epoch')} if 'best_step' in result else None,
        'reliability': confidence and {level: confidence[level]['test'] for level in ('segment', 'song')},
        'time': timing and _time(timing),
        'songs': None, 'groups': None, 'wrong': None, 'thresholds': None,
    } | found  # fmt: skip


def class_intervals(songs: Songs, group_of_track: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns the 95 % intervals of each class's 'precision_ci95' and 'recall_ci95', None of no songs."""
    predicted = songs.max_probability()
    group = intervals.number([group_of_track[track] for track in songs.track])
    right = predicted == songs.label

    def of(chosen: np.ndarray) -> intervals.Interval | None:
        return intervals.share(right[chosen], intervals.number(group[chosen]))[0] if chosen.any() else None

    return [
        {'precision_ci95': of(predicted == i), 'recall_ci95': of(songs.label == i)}
        for i in range(songs.probability.shape[1])
    ]


def group_of_track(predictions: Predictions) -> dict[str, str] | None:
    """Returns the group of each song, {track: group}; None where the run kept none."""
    if predictions.group is None:
        return None
    return dict(zip(predictions.track.tolist(), predictions.group.tolist(), strict=True))


def _sparse(confusion: Sequence[Sequence[int]]) -> list[list[int]]:
    """Returns the cells of a confusion matrix that are not 0: true class, predicted class, items."""
    counts = np.array(confusion)
    return [[int(i), int(j), int(counts[i, j])] for i, j in np.argwhere(counts)]


def curve(metrics: Iterable[Mapping[str, Any]], key: str) -> list[list[float]]:
    """Returns epoch, value and step of a curve; of a long one means over blocks."""
    points = np.array([(m['epoch'], m[key], m['step']) for m in metrics if m.get(key) is not None])
    blocks = np.array_split(points, min(len(points), _MAX_POINTS)) if len(points) else []
    return [_rounded(block.mean(0), 8) for block in blocks]


def _time(timing: Mapping[str, Any]) -> list[list[Any]]:
    """Returns the parts of a run's time and their seconds, in order; of the training too, where known."""
    training = timing.get('train_parts_s') or {'train': timing['train_s']}
    order = ['compile', 'data', 'compute', 'evaluate', 'save', 'other', 'train']
    parts = sorted(
        training.items(), key=lambda part: order.index(part[0]) if part[0] in order else len(order)
    )
    return [['prepare', timing['prepare_s']], *map(list, parts), ['test', timing['evaluate_s']]]


def _songs(predictions: Predictions, songs: Songs) -> dict[str, list]:
    """Returns columns of the test songs, in order of first appearance.

    `votes` holds class and segments, class and segments of those classes that any segment of it was given.
    """
    predicted = songs.max_probability()
    rows = np.arange(len(predicted))
    return {
        'track': [readable(track) for track in songs.track.tolist()],
        'label': songs.label.tolist(),
        'predicted': predicted.tolist(),
        'majority': songs.majority().tolist(),
        'probability': _rounded(songs.probability[rows, predicted]),
        'true_probability': _rounded(songs.probability[rows, songs.label]),
        'votes': [[int(x) for j in np.flatnonzero(votes) for x in (j, votes[j])] for votes in songs.votes],
    }


def _groups(predictions: Predictions, songs: Songs) -> dict[str, list] | None:
    """Returns columns of the groups, by name: songs, how many of them right; and each song's group."""
    groups = group_of_track(predictions)
    if groups is None:
        return None
    names, group = np.unique([groups[track] for track in songs.track.tolist()], return_inverse=True)
    right = songs.max_probability() == songs.label
    return {
        'name': [readable(name) for name in names.tolist()],
        'songs': np.bincount(group).tolist(),
        'right': np.bincount(group, right).astype(int).tolist(),
        'of_song': group.tolist(),
    }


def _wrong(predictions: Predictions, songs: Songs) -> list[dict[str, Any]]:
    """Returns the timelines of the songs whose most probable class is not the true one, surest first.

    Of each song: its number, the classes that are shown, the starts of its segments in seconds, and the
    probabilities of these classes, segment after segment, in 255ths as bytes in base 64. Of many segments
    means over neighbours.
    """
    predicted = songs.max_probability()
    chosen = np.flatnonzero(predicted != songs.label)
    chosen = chosen[np.lexsort((songs.track[chosen], -songs.probability[chosen, predicted[chosen]]))]
    _, song_of_row = number_songs(predictions.track)
    rows_of_song = np.split(np.argsort(song_of_row, kind='stable'), np.cumsum(np.bincount(song_of_row))[:-1])
    found = []
    for song in chosen.tolist():
        rows = rows_of_song[song]
        rows = rows[np.argsort(predictions.start_s[rows], kind='stable')]
        likeliest = np.argsort(-songs.probability[song], kind='stable')
        named = [int(songs.label[song]), int(predicted[song])]
        classes = (named + [int(i) for i in likeliest if i not in named])[:_SHOWN_CLASSES]
        blocks = np.array_split(rows, min(len(rows), _MAX_STRETCHES))
        shares = np.array([predictions.probabilities[block][:, classes].mean(0) for block in blocks])
        found.append({
            'song': song,
            'classes': classes,
            'segments': len(rows),
            'start_s': _rounded(predictions.start_s[[block[0] for block in blocks]], 2),
            'shares': base64.b64encode(np.rint(255 * shares).astype(np.uint8).tobytes()).decode(),
        })  # fmt: skip
    return found


def _thresholds(songs: Songs) -> list[dict[str, Any] | None]:
    """Returns what each class's curves over thresholds show, None of a class that all songs have, or none.

    'false' and 'true' positive rates with the 'area' under them, the chance that a song of the class has a
    larger probability than one of another; 'precision' at 'recall' with the average precision, the sum of
    precisions weighted by the recall that each threshold adds. Long curves are thinned.
    """
    found = []
    for i, curve in enumerate(roc_curves(songs.label, songs.probability)):
        if curve is None:
            found.append(None)
            continue
        false, true, area = curve
        positives = (songs.label == i).sum()
        hits, others = true[1:] * positives, false[1:] * (len(songs.label) - positives)
        precision = hits / (hits + others)
        average = float((np.diff(true) * precision).sum())
        thin = _thin(len(true))
        # Once all are recalled, lower thresholds recall no more.
        later = _thin(int(np.argmax(true[1:] == 1)) + 1)
        found.append({
            'false': _rounded(false[thin]), 'true': _rounded(true[thin]), 'area': area,
            'recall': _rounded(true[1:][later]), 'precision': _rounded(precision[later]), 'average': average,
        })  # fmt: skip
    return found


def _thin(n: int) -> np.ndarray:
    """Returns the numbers of at most _MAX_STEPS of n points, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, _MAX_STEPS)).round().astype(int))


def _rounded(values: np.ndarray, digits: int = 4) -> list[float]:
    return np.asarray(values, np.float64).round(digits).tolist()
