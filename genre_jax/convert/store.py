"""The folder of a converted checkpoint: parameters.npz and conversion.json."""

import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from genre_jax import features
from genre_jax.convert import raw_numbers
from genre_jax.convert.engine import Converted, terms
from genre_jax.errors import UserError, printable

_LABELS = 12  # that are printed
_PARAMETERS, _CONVERSION = 'parameters.npz', 'conversion.json'
_KINDS = {
    'title': str, 'model': str, 'settings': dict, 'num_classes': int, 'features': str,
    'picture': list,
}  # fmt: skip
_OPTIONAL = {
    'labels': list, 'front_end': dict, 'window_s': float, 'sample_rate_hz': int | float, 'tags': bool,
    'licence': str, 'whole': bool,
}  # fmt: skip


def save(converted: Converted, out: pathlib.Path, source: Mapping[str, object]) -> dict:
    """Writes a checkpoint, with facts about its source; returns the report that conversion.json holds."""
    kept = [f.name for f in dataclasses.fields(converted) if f.name not in ('variables', 'rows')]
    report = {
        **{name: getattr(converted, name) for name in kept},
        'source': dict(source),
        'parameters_sha256': converted.sha256,
        'n_parameters': sum(v.size for p, v in converted.variables.items() if p.startswith('params/')),
        'shapes': {path: value.shape for path, value in sorted(converted.variables.items())},
        'keys': [
            {'key': key, 'path': path, 'shape': shape, ('layout' if path else 'left_out'): note}
            for key, path, shape, note in converted.rows
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    # The report last, so that half a conversion is never taken for a whole one.
    (out / _CONVERSION).unlink(missing_ok=True)
    np.savez(out / _PARAMETERS, **converted.variables)
    (out / _CONVERSION).write_text(json.dumps(report, indent=1) + '\n')
    return report


def is_converted(folder: pathlib.Path) -> bool:
    """Says whether a folder holds a converted checkpoint."""
    return (folder / _CONVERSION).is_file()


def load(folder: pathlib.Path) -> Converted:
    """Reads the folder of a converted checkpoint and checks its digest; damage is a UserError."""
    try:
        report = json.loads((folder / _CONVERSION).read_text())
        file = folder / _PARAMETERS
        with zipfile.ZipFile(file) as archive:
            raw_numbers.check_stored(archive, file.stat().st_size)
        with np.load(file, allow_pickle=False) as arrays:
            variables = {path: arrays[path] for path in arrays.files}
        fields = {f.name: report[f.name] for f in dataclasses.fields(Converted) if f.name in report}
        fields['front_end'] = report.get('front_end') or report['source'].get('front_end')
        wrong = [key for key, kind in _KINDS.items() if not isinstance(fields[key], kind)]
        wrong += [key for key, kind in _OPTIONAL.items() if not isinstance(fields.get(key), kind | None)]
        wrong = wrong or _impossible(fields)
        if wrong:
            raise ValueError(f'{_CONVERSION} has no such {", ".join(wrong)}')
        for path, value in variables.items():
            if value.dtype != np.float32 or not np.isfinite(value).all():
                raise ValueError(f'{path} holds {value.dtype}, or what is not finite')
        fields |= {key: fields[key] and _tuples(fields[key]) for key in ('settings', 'front_end')}
        converted = Converted(variables=variables, rows=[], **fields)
    # As in read.py: damaged content raises nearly anything.
    except Exception as error:
        what = raw_numbers.one_line(f'{type(error).__name__}: {error}')
        raise UserError(
            f'{folder}: the converted checkpoint cannot be read ({what}): convert it again'
        ) from None
    if converted.sha256 != report.get('parameters_sha256'):
        raise UserError(f'{folder / _PARAMETERS}: damaged, its digest is another: convert it again')
    return converted


def _impossible(fields: Mapping) -> list[str]:
    """Returns the fields, of the right kinds, whose values no conversion has."""
    sides, labels, num_classes = fields['picture'], fields.get('labels'), fields['num_classes']
    window_s, rate_hz = fields.get('window_s'), fields.get('sample_rate_hz')
    wrong = {
        'num_classes': type(num_classes) is not int or num_classes < 0,
        'picture': not sides or any(type(side) is not int or side < 1 for side in sides),
        'labels': labels and any(not isinstance(label, str) for label in labels),
        'window_s': window_s is not None and not 0 <= window_s < np.inf,
        'sample_rate_hz': rate_hz is None and window_s or rate_hz is not None and not 0 < rate_hz < np.inf,
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


def report_lines(report: Mapping) -> str:
    """Returns the verification report of `save` for people."""
    used = [row for row in report['keys'] if row['path']]
    left_out = [row for row in report['keys'] if not row['path']]
    settings = ', '.join(f'{key}={value!r}' for key, value in report['settings'].items())
    settings = f' ({settings})' if settings else ''
    lines = [
        f'{report["title"]} -> genre_jax.models.{report["model"]}{settings}',
        f'source: {report["source"]["file"]}, sha256 {report["source"]["sha256"]}',
        f'{len(used)} tensors -> {len(report["shapes"])} arrays, {report["n_parameters"]:,} parameters, '
        f'{report["num_classes"]} classes; every array has one source and the shape of the model',
    ]
    lines.append(f'front end: {_front_end(report)}')
    if labels := report['labels']:
        more = f', ... and {len(labels) - _LABELS} more' if len(labels) > _LABELS else ''
        kind = 'classes, each of which is a yes or no' if report['tags'] else 'classes'
        lines.append(f'{kind}: {", ".join(labels[:_LABELS])}{more}')
    elif report['num_classes']:
        lines.append('classes: known by number alone')
    lines.append(terms(report['licence']))
    for reason in sorted({row['left_out'] for row in left_out}):
        keys = [row['key'] for row in left_out if row['left_out'] == reason]
        some = raw_numbers.one_line(', '.join(keys[:3])) + (', ...' if len(keys) > 3 else '')
        lines.append(f'left out, {len(keys)}: {reason} ({some})')
    lines.append(f'converted parameters: sha256 {report["parameters_sha256"]}')
    return '\n'.join(map(printable, lines))


def _tuples(settings: Mapping) -> dict:
    """Returns settings as they were: JSON knows no tuples."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}


def _front_end(report: Mapping) -> str:
    """Describes the front end by its flavour, and by the fields that are others than the flavour's."""
    if report['features'] not in features.FLAVOURS:
        return 'not told'
    own = dataclasses.asdict(features.find(report['features'])())
    fields = report['front_end'] or own
    others = [f'{key}={value!r}' for key, value in fields.items() if value != own.get(key)]
    return f'{report["features"]} ({", ".join(others)})' if others else report['features']
