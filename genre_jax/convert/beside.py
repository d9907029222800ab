"""What lies beside weights in the folder of a model of transformers: its config, front end and classes."""

import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Mapping

from genre_jax import features
from genre_jax.convert.raw_numbers import one_line
from genre_jax.errors import UserError

CONFIG, PREPROCESSOR, CARD = 'config.json', 'preprocessor_config.json', 'README.md'
_MOST_BYTES = 1 << 24
_LONGEST = 200  # letters of a licence
_LARGEST = 1e30  # of a number: float32 holds it


def read(folder: pathlib.Path) -> dict[str, dict]:
    """Returns the content of those of both files that are there; a UserError for a damaged one."""
    found = {}
    for name in (CONFIG, PREPROCESSOR):
        try:
            with (folder / name).open('rb') as file:
                content = json.loads(file.read(_MOST_BYTES))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(f'{folder / name}: {error.strerror}') from None
        except (ValueError, RecursionError):
            raise UserError(f'{folder / name}: is no JSON, or cut off: get the file again') from None
        if not isinstance(content, dict):
            raise UserError(f'{folder / name}: holds no settings by name: get the file again')
        found[name] = content
    return found


def licence(folder: pathlib.Path, found: Mapping[str, Mapping]) -> str | None:
    """Returns the licence that config.json, of what `read` found, or the model's card names; None: neither.

    The card is README.md, whose head, between lines of ---, has an entry `license`, one or a list.
    """
    told = found.get(CONFIG, {}).get('license')
    if isinstance(told, str) and told.strip():
        return one_line(told.strip(), _LONGEST)
    try:
        with (folder / CARD).open(encoding='utf-8', errors='replace') as file:
            lines = file.read(_MOST_BYTES).lstrip('\ufeff').splitlines()
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        raise UserError(f'{folder / CARD}: {error.strerror}') from None
    if not lines or lines[0].rstrip() != '---':
        return None
    entries, key = {}, ''
    for line in itertools.takewhile(lambda line: line.rstrip() != '---', lines[1:]):
        if line[:1] not in (' ', '-'):  # else a line more of the last entry
            key, _, line = line.partition(':')
        entries.setdefault(key, []).extend(word.strip(' \t-[]"\'') for word in line.split(','))
    names = [' '.join(filter(None, entries.get(key, []))) for key in ('license', 'license_name')]
    return one_line(', '.join(filter(None, names)), _LONGEST) or None


def number(content: Mapping, file: str, name: str, default: float, *, signed: bool = False) -> float:
    """Returns a number of a file, of its default's kind, above 0 unless `signed`, or a UserError."""
    value = content.get(name, default)
    kinds = (int,) if type(default) is int else (int, float)
    if type(value) not in kinds or not (-_LARGEST if signed else 0) < value < _LARGEST:
        raise UserError(f'{file} beside it has {name}={one_line(repr(value), 60)}, expected as {default}')
    return type(default)(value)


def classes(config: Mapping, num_classes: int) -> list[str] | None:
    """Returns the names of the classes in the order of the outputs; None where numbers stand for them.

    A UserError where there are not as many as outputs, or two keys contradict each other.
    """
    names = config.get('id2label')
    if (told := config.get('num_labels', num_classes)) != num_classes:
        raise UserError(f'{CONFIG} beside it has num_labels={told!r}, the tensors have {num_classes} classes')
    if names is None:
        return None
    if isinstance(names, dict):  # in memory its keys are numbers
        names = {str(i): name for i, name in names.items()}
    found = by_number(names, num_classes, f'{CONFIG} beside it', 'id2label')
    back = config.get('label2id')
    for name, i in back.items() if isinstance(back, dict) else ():
        if str(i) not in names or names[str(i)] != name:
            both = f'{name!r} (label2id) and {names.get(str(i))!r} (id2label)'
            raise UserError(f'{CONFIG} beside it calls class {i!r} {both}')
    # What transformers calls classes without names.
    return None if found == [f'LABEL_{i}' for i in range(num_classes)] else found


def by_number(names: object, num_classes: int, file: str, key: str) -> list[str]:
    """Returns the names of classes that `file` has under `key`, a dictionary, in the order of its numbers.

    A UserError where there is not a name of its own for each output.
    """
    numbers = [str(i) for i in range(num_classes)]
    if not isinstance(names, dict) or set(names) != set(numbers):
        size = len(names) if isinstance(names, dict | list) else 'no'
        known = names if isinstance(names, dict) else ()
        which = [f'{i} has none' for i in numbers if i not in known][:1]
        which += [f'{one_line(repr(i), 60)} is none of them' for i in known if i not in numbers][:1]
        raise UserError(
            f'{file} has {size} classes ({key}), the tensors have {num_classes}: expected a name for each '
            f'number from 0 up; {", ".join(which)}'
        )
    found = [names[i] for i in numbers]
    if wrong := [i for i, name in enumerate(found) if not (isinstance(name, str) and name.strip())]:
        raise UserError(f'{file} calls class {wrong[0]} {found[wrong[0]]!r}: expected a name')
    first = {}
    for i, name in enumerate(found):
        if first.setdefault(name, i) != i:
            raise UserError(f'{file} calls both class {first[name]} and class {i} {name!r} ({key})')
    return found


def says_yes_or_no(config: Mapping) -> bool | None:
    """Returns whether each output by itself says yes or no; None where the config does not tell."""
    known = {None: None, 'single_label_classification': False, 'multi_label_classification': True}
    problem = config.get('problem_type')
    if not isinstance(problem, str | None) or problem not in known:
        raise UserError(f'{CONFIG} beside it has problem_type={problem!r}: expected a classification')
    return known[problem]


def front_end(content: Mapping, bins: int, frames: int) -> tuple[str, dict | None]:
    """Returns the flavour and the fields of the front end that a preprocessor_config.json describes.

    `bins` and `frames` are those of the network's pictures; others are a UserError. ('', None) for an
    extractor that is not known here.
    """
    kind = content.get('feature_extractor_type')
    if not isinstance(kind, str) or kind not in _EXTRACTORS:
        return '', None
    flavour, length = _EXTRACTORS[kind]
    published = features.find(flavour)()
    get = functools.partial(number, content, PREPROCESSOR)
    for name, default, here in (('num_mel_bins', published.n_mels, bins), ('max_length', length, frames)):
        there = get(name, default, signed=True)
        if there != here and not (there < 0 and flavour == 'maest'):  # -1: whatever a clip has
            raise UserError(f"{PREPROCESSOR} beside it has {name}={there}, and the network's is {here}")
    rate_hz = get('sampling_rate', published.sample_rate_hz)
    mean, half = get('mean', published.mean, signed=True), get('std', published.std / _HALVES[flavour])
    if not _only(content, 'do_normalize', True, False):
        mean, half = 0.0, 0.5
    fields = {'sample_rate_hz': rate_hz, 'n_mels': bins, 'mean': mean, 'std': half * _HALVES[flavour]}
    if flavour == 'maest':
        _only(content, 'log_compression', 'logC')
        fields |= {'n_fft': get('n_fft', 512), 'hop_length': get('hop_length', 256)}
    else:  # as torchaudio: 25 and 10 ms, and a power of two
        frame = rate_hz * 25 // 1000
        fields |= {'frame_length': frame, 'hop_length': rate_hz * 10 // 1000}
        fields |= {'n_fft': 1 << (frame - 1).bit_length(), 'target_frames': frames, 'subtract_mean': False}
    try:
        return flavour, dataclasses.asdict(dataclasses.replace(published, **fields))
    except UserError as error:
        raise UserError(f'{PREPROCESSOR} beside it: {error}') from None


def _only(content: Mapping, name: str, *choices: object) -> object:
    """Returns a setting of a preprocessor_config.json, by default the first of its choices."""
    value = content.get(name, choices[0])
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        expected = ' or '.join(map(repr, choices))
        raise UserError(f'{PREPROCESSOR} beside it has {name}={value!r}, expected {expected}')
    return value


# Flavour, and frames where the file does not say how many.
_EXTRACTORS = {'ASTFeatureExtractor': ('ast', 1024), 'MAESTFeatureExtractor': ('maest', 1876)}
# All of them divide by twice their `std`: which is the flavour's, or half of it.
_HALVES = {'ast': 1, 'maest': 2}
