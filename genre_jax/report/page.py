"""One self-contained HTML page from the files of a run folder: `python -m genre_jax.report DIR`.

The page is a pure function of the folder: the same files give the same bytes. It loads nothing
from outside, follows the reader's light or dark setting, and prints. Its charts are drawn in the browser,
by the libraries in `vendor/` and the scripts beside this file.
"""

import functools
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
import markupsafe
import numpy as np

from genre_jax.errors import UserError
from genre_jax.evaluation.evaluate import Predictions, pool_songs
from genre_jax.logbook import TONIC_WORDS
from genre_jax.report import blends, dots, figures, look, numbers, tonics

LEVELS = {
    'segment': 'Segment',
    'song_max_probability': 'Song, maximum probability',
    'song_majority': 'Song, majority vote',
}
# Light and dark value of every variable of colour, which base.html.j2 sets.
PALETTE = {
    'paper': ('#ffffff', '#14171b'),
    'panel': ('#f4f6f8', '#1e2329'),
    'ink': ('#1b2026', '#e9ecef'),
    'muted': ('#59636e', '#a2acb7'),
    'rule': ('#d5dbe1', '#39414a'),
    'edge': ('#7d8792', '#78828d'),  # of what can be filled in
    'accent': ('#0a5fad', '#6db3f5'),
    'second': ('#bf4a0b', '#f7a263'),
    'alarm': ('#b00020', '#ff8a8f'),
    'heat': ('#1d6fc2', '#2a7fd6'),
    'on-heat': ('#fefefe', '#fefefe'),
}
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
        *(f'parts.test.{level}.{key}' for level in LEVELS for key in _METRIC_KEYS),
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


def write_report(run_dir: pathlib.Path, audio: str = 'inside') -> pathlib.Path:
    """Writes `report.html` into the folder of a finished run, from its files alone; returns its path.

    The files are `config.json` and `result.json`, and, where they are there, `environment.json`,
    `metrics.jsonl`, `timing.json`, `parameters.txt`, `predictions/test.npz`, `model/confidence.json` and what
    look.py names, with its `audio`. One that is missing or damaged, or a page that cannot be written, is a
    UserError.
    """
    run_dir = run_dir.resolve()
    read = read_run(run_dir)
    result, predictions = read['result'], read['predictions']
    parameters = run_dir / 'parameters.txt'
    confidence = _read_json(run_dir / 'model' / 'confidence.json', optional=True)
    timing = _read_json(run_dir / 'timing.json', optional=True)
    shown = figures.of_run(result, read['metrics'], predictions, confidence, timing)
    shown |= look.of_run(run_dir, predictions, audio) | {'tonics': tonics.of_run(predictions)}
    blended = _has(result, ['blend', 'members'])
    shown['charts'] = blends.charts(result) if blended else _layers(result)
    contents = {
        'name': run_dir.name,
        'result': result,
        'config': read['config'],
        'environment': read['environment'],
        'confidence': confidence,
        'timing': timing,
        'parameters': parameters.read_text('utf-8') if parameters.exists() else None,
        'per_class': _per_class(result, predictions, shown['thresholds']),
        'blend': blends.page(result) if blended else None,
        'levels': LEVELS,
        'figures': shown,
        'drawn': figures.as_script(shown),
        'tonic': result.get('tonic', {}).get('test'),
        'tonic_words': TONIC_WORDS,
        'excerpts': _excerpts(result),
    }
    path = run_dir / 'report.html'
    render(pathlib.Path(__file__).with_name('page.html.j2'), path, contents)
    return path


def _layers(result: Mapping[str, Any]) -> dict[str, dict]:
    """Returns the chart of what each layer counts, where a training has learnt it; else none."""
    weights = result.get('layer_weights', ())
    rows = [(f'layer {i}', [dots.figure(weight)]) for i, weight in enumerate(weights)]
    if not rows:
        return {}
    alike = [dots.line('all alike', 1 / len(rows))]
    caption = 'How much each layer counts in what the output layer reads'
    return {'layers': dots.chart(caption, [{'name': 'learnt'}], rows, 'share of the weights, %', alike)}


def _excerpts(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns figures of excerpts of the test songs, the longest first: 'length', 'song' and 'tonic'."""
    lengths = {part: part.removeprefix('test_') for part in result['parts'] if part.startswith('test_')}
    return [
        {
            'length': f'{length.removesuffix("s")} s',
            'song': result['parts'][part]['song_max_probability'],
            'tonic': result.get('tonic', {}).get(part),
        }
        for part, length in sorted(lengths.items(), key=lambda item: -float(item[1].removesuffix('s')))
    ]


def render(template: pathlib.Path, path: pathlib.Path, contents: Mapping, **filters: Callable) -> None:
    """Fills in a template, with these filters besides those of numbers and `json`, and writes it whole.

    It may extend `base.html.j2`, and calls `asset` for the text of a file of its folder or of this one.
    """
    here = pathlib.Path(__file__).parent
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, here]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = (numbers.percent, numbers.interval, numbers.duration)
    templates.filters |= {each.__name__: each for each in own} | filters
    templates.filters['json'] = functools.partial(json.dumps, indent=2, ensure_ascii=False)
    templates.globals['palette'] = PALETTE
    templates.globals['asset'] = lambda name: markupsafe.Markup(_text(templates, name))
    page = templates.get_template(template.name).render(contents).strip() + '\n'
    temporary = path.with_suffix('.html.tmp')
    try:
        # A file name that is not valid Unicode reaches us as lone surrogates: show its bytes.
        temporary.write_bytes(page.encode('utf-8', 'backslashreplace'))
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f'{path}: cannot write the report ({error.strerror})') from error


def _text(templates: jinja2.Environment, name: str) -> str:
    """Returns what stands in a file that lies where the templates do."""
    text, _, _ = templates.loader.get_source(templates, name)
    return text.strip()


def read_run(run_dir: pathlib.Path) -> dict[str, Any]:
    """Returns 'result', 'config', 'environment', 'metrics' and test 'predictions' of a finished run.

    Of what may be missing environment and predictions are None, and there are no metrics. A UserError names
    what must not be missing, or is damaged.
    """
    result = _read_json(run_dir / 'result.json')
    return {
        'result': result,
        'config': _read_json(run_dir / 'config.json'),
        'environment': _read_json(run_dir / 'environment.json', optional=True),
        'metrics': _read_metrics(run_dir / 'metrics.jsonl'),
        'predictions': _read_predictions(run_dir / 'predictions' / 'test.npz', result['classes']),
    }


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


def _per_class(
    result: dict[str, Any],
    predictions: Predictions | None,
    thresholds: Sequence[Mapping[str, Any] | None] | None,
) -> list[dict[str, Any]]:
    song, classes = result['parts']['test']['song_max_probability'], result['classes']
    groups = None if predictions is None else figures.group_of_track(predictions)
    known = figures.class_intervals(pool_songs(predictions), groups) if groups else [{}] * len(classes)
    rows = []
    for i, name in enumerate(classes):
        mistakes = np.array(song['confusion'][i])
        mistakes[i] = 0
        most = int(mistakes.max())
        curve = thresholds[i] if thresholds else None
        row = {
            'name': name,
            'train': result['songs_per_class'][name]['train'],
            'named': sum(line[i] for line in song['confusion']),
            'called': [classes[other] for other in np.flatnonzero(mistakes == most) if most],
            'times': most,
            'auc': curve and curve['area'],
            'average': curve and curve['average'],
            'precision_ci95': None,
            'recall_ci95': None,
        }
        rows.append(row | known[i] | song['per_class'][name])
    return rows
