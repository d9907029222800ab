"""One self-contained HTML page from the files of a run folder: `python -m genre_jax.report DIR`.

The page is a pure function of the folder: the same files give the same bytes. It loads nothing
from outside, follows the reader's light or dark setting, and prints.
"""

import functools
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np

from genre_jax.errors import UserError
from genre_jax.evaluation.evaluate import Predictions, Songs, pool_songs, roc_curves
from genre_jax.logbook import TONIC_WORDS
from genre_jax.report import blends
from genre_jax.report import charts as report_charts

_METRIC_KEYS = (
    'n', 'accuracy', 'accuracy_ci95', 'macro_f1', 'macro_f1_ci95', 'log_loss', 'log_loss_ci95',
    'confusion', 'per_class',
)  # fmt: skip
# What a network's training adds to result.json; a classical model has none of it.
_TRAINING_KEYS = [
    'steps', 'epochs', 'best_step', 'best_epoch', 'selected_on', 'parameters_sha256', 'state_sha256',
    'best_parameters_sha256',
]  # fmt: skip
# What the page needs of each file, checked when it is read.
_KEYS = {
    'config.json': ['model.name', 'features.name', 'optim.name', 'seed'],
    'result.json': [
        'protocol', 'protocol_detail', 'leaky', 'classes', 'n_songs', 'n_groups', 'n_segments',
        'songs_per_class', 'chance', 'majority.class', 'majority.accuracy', 'majority.accuracy_ci95',
        'quarantined.count', 'quarantined.files', 'warnings',
        *(f'parts.test.{level}.{key}' for level in report_charts.LEVELS for key in _METRIC_KEYS),
    ],
    'environment.json': [
        'python', 'platform', 'packages', 'backend', 'devices', 'device_kind', 'processes',
        'git_commit', 'split_fingerprint', 'dataset.name', 'dataset.description',
        'dataset.fingerprint', 'dataset.sample_rate_hz', 'dataset.recordings', 'dataset.hours',
        'dataset.group_key',
    ],
    'confidence.json': [
        'reject', *(f'{level}.{key}' for level in ('segment', 'song') for key in ('temperature', 'test')),
    ],
    'timing.json': ['prepare_s', 'train_s', 'evaluate_s', 'examples_per_s'],
}  # fmt: skip


def write_report(run_dir: pathlib.Path) -> pathlib.Path:
    """Writes `report.html` into the folder of a finished run, from its files alone; returns its path.

    The files are `config.json` and `result.json`, and, where they are there, `environment.json`,
    `metrics.jsonl`, `timing.json`, `parameters.txt`, `predictions/test.npz` and `model/confidence.json`. One
    that is missing or damaged, or a page that cannot be written, is a UserError.
    """
    run_dir = run_dir.resolve()
    result = _read_json(run_dir / 'result.json')
    predictions = _read_predictions(run_dir / 'predictions' / 'test.npz', result['classes'])
    metrics = _read_metrics(run_dir / 'metrics.jsonl')
    parameters = run_dir / 'parameters.txt'
    config = _read_json(run_dir / 'config.json')
    environment = _read_json(run_dir / 'environment.json', optional=True)
    confidence = _read_json(run_dir / 'model' / 'confidence.json', optional=True)
    curves, wrong = [None] * len(result['classes']), None
    if predictions is not None:
        songs = pool_songs(predictions)
        curves = roc_curves(songs.label, songs.probability)
        wrong = _wrong_songs(songs, result['classes'])
    contents = {
        'name': run_dir.name,
        'result': result,
        'config': config,
        'environment': environment,
        'confidence': confidence,
        'timing': _read_json(run_dir / 'timing.json', optional=True),
        'parameters': parameters.read_text('utf-8') if parameters.exists() else None,
        'per_class': _per_class(result, curves),
        'wrong_songs': wrong,
        'blend': blends.page(result) if _has(result, ['blend', 'members']) else None,
        'tonic': result.get('tonic', {}).get('test'),
        'tonic_words': TONIC_WORDS,
        'levels': report_charts.LEVELS,
        'max_numbered_classes': report_charts.MAX_NUMBERED_CLASSES,
    }
    with report_charts.chart_style():
        contents['charts'] = {
            'intervals': report_charts.interval_chart(result),
            'curves': report_charts.curve_charts(metrics, result),
            'confusion': report_charts.confusion_chart(result),
            'reliability': [
                (level, report_charts.reliability_chart(level, confidence[level], result['leaky']))
                for level in ('segment', 'song')
                if confidence
            ],
            'roc': report_charts.roc_chart(curves, result) if any(curves) else None,
        }
    path = run_dir / 'report.html'
    render(pathlib.Path(__file__).with_name('page.html.j2'), path, contents)
    return path


def render(template: pathlib.Path, path: pathlib.Path, contents: Mapping, **filters: Callable) -> None:
    """Fills in a template, with these filters besides those of the charts and `json`, and writes it whole."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = (report_charts.percent, report_charts.interval, report_charts.duration)
    templates.filters |= {each.__name__: each for each in own} | filters
    templates.filters['json'] = functools.partial(json.dumps, indent=2, ensure_ascii=False)
    templates.globals['palette'] = report_charts.PALETTE
    page = templates.get_template(template.name).render(contents).strip() + '\n'
    temporary = path.with_suffix('.html.tmp')
    try:
        # A file name that is not valid Unicode reaches us as lone surrogates: show its bytes.
        temporary.write_bytes(page.encode('utf-8', 'backslashreplace'))
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f'{path}: cannot write the report ({error.strerror})') from error


def _wrong_songs(songs: Songs, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Lists the songs whose most probable class is not the true one, the surest mistake first."""
    predicted = songs.max_probability()
    wrong = [
        {
            'track': str(songs.track[i]),
            'true': classes[songs.label[i]],
            'predicted': classes[predicted[i]],
            'probability': songs.probability[i, predicted[i]],
            'true_probability': songs.probability[i, songs.label[i]],
        }
        for i in np.flatnonzero(predicted != songs.label)
    ]
    return sorted(wrong, key=lambda song: (-song['probability'], song['track']))


def _read_json(path: pathlib.Path, optional: bool = False) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text('utf-8'))
    except FileNotFoundError as error:
        if optional:
            return None
        raise UserError(
            f'{path.parent}: has no {path.name}; expected the folder of a finished run '
            '(the --workdir of genre_jax.main) with config.json and result.json'
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: cannot be read as JSON ({error})') from error
    needed = _KEYS[path.name]
    if path.name == 'result.json' and any(_has(value, [key]) for key in _TRAINING_KEYS):
        needed = needed + _TRAINING_KEYS
    if missing := [key for key in needed if not _has(value, key.split('.'))]:
        raise UserError(f'{path}: lacks {", ".join(missing)}; run the same training command again')
    return value


def _has(value: Any, keys: list[str]) -> bool:
    return not keys or (isinstance(value, dict) and keys[0] in value and _has(value[keys[0]], keys[1:]))


def _read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise UserError(f'{path}, line {number}: not a JSON object ({error})') from error
    return rows


def _read_predictions(path: pathlib.Path, classes: list[str]) -> Predictions | None:
    if not path.exists():
        return None
    try:
        predictions = Predictions.load(path)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f'{path}: cannot be read as predictions ({error})') from error
    if predictions.classes.tolist() != classes:
        raise UserError(f'{path}: its classes are not those of result.json: another run wrote it')
    return predictions


def _per_class(result: dict[str, Any], curves: Sequence[tuple | None]) -> list[dict[str, Any]]:
    song, classes = result['parts']['test']['song_max_probability'], result['classes']
    rows = []
    for i, name in enumerate(classes):
        mistakes = np.array(song['confusion'][i])
        mistakes[i] = 0
        most = int(mistakes.max())
        row = {
            'name': name,
            'train': result['songs_per_class'][name]['train'],
            'called': [classes[other] for other in np.flatnonzero(mistakes == most) if most],
            'times': most,
            'auc': curves[i] and curves[i][2],
        }
        rows.append(row | song['per_class'][name])
    return rows
