"""Applies the table of a published checkpoint: every tensor goes to one place, or the reason is told."""

import collections
import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

import flax
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax import config as config_lib
from genre_jax import models
from genre_jax.convert.raw_numbers import one_line
from genre_jax.errors import UserError

# More than a network and its optimiser have.
_MAX_TENSORS = 4000
# The deepest that is published has 40. Tracing a thousand takes a minute, and a block may be announced by a
# single tensor of one number.
_MAX_BLOCKS = 200
# From the layout of the checkpoint to Flax's: kernels (rows, columns, inputs, outputs).
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'same': lambda value: value,
    'torch_conv': lambda value: value.transpose(2, 3, 1, 0),
    'torch_conv_1d': lambda value: value.transpose(2, 1, 0),
    # Kernels that the publication writes as mel x time: time comes first here.
    'torch_conv_mel_first': lambda value: value.transpose(3, 2, 1, 0),
    'torch_linear': lambda value: value.T,
    'keras_depthwise': lambda value: value.swapaxes(2, 3),
    'litert_conv': lambda value: value.transpose(1, 2, 3, 0),
    'litert_depthwise': lambda value: value.transpose(1, 2, 0, 3),
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """One line of a table."""

    pattern: str  # regular expression that matches the whole key
    target: str | None = None  # path in the variables, with groups as \1, \2; None: left out
    layout: str | Callable[[np.ndarray], np.ndarray] = 'same'  # a name of LAYOUTS, or a function
    part: tuple[int, int] = (0, 1)  # (i, n): number i of n tensors that are joined
    reason: str = ''  # why it is left out


@dataclasses.dataclass(frozen=True)
class Table:
    """What is known about one kind of checkpoint; patterns are regular expressions.

    Attributes:
        title: the kind, for people.
        model: the module of genre_jax.models.
        marks: patterns of keys that every checkpoint of this kind has. What stands before all of them in a
            file ('module.', 'model.') is a wrapping and is taken off; what lacks it lies outside the model.
        rules: each key matches exactly one.
        describe: from the tensors without wrapping, and what the user names, with the content of the files
            beside the weights (genre_jax.convert.beside) and what the file itself says under their names, to
            all settings of the model, as the file has them rather than as they are named, 'num_classes' among
            them (0 where the checkpoint has no output layer), to 'features', the flavour of front end, and
            'picture', the shape of features that fit, without the batch; and perhaps to 'labels', 'front_end'
            and 'tags', as in `Converted`.
        constants: patterns of paths which the checkpoint does not hold because they are constant, and values.
        optional: pattern of paths that a checkpoint without output layer lacks.
        tags: numbers of outputs with which it is a tagger: each output by itself says yes or no.
        sizes: whole numbers that a user may name besides the model's settings.
        beside: whether files beside the weights say more of it.
        within: names of what says more of it in the file itself, dictionaries beside the tensors.
        joins: paths, and how their several tensors become one, where not side by side along the last axis.
    """

    title: str
    model: str
    marks: tuple[str, ...]
    rules: tuple[Rule, ...]
    describe: Callable[[Mapping[str, np.ndarray], Mapping], dict]
    constants: tuple[tuple[str, float], ...] = ()
    optional: str = '(?!)'
    tags: tuple[int, ...] = ()
    sizes: tuple[str, ...] = ()
    beside: bool = False
    within: tuple[str, ...] = ()
    joins: tuple[tuple[str, Callable[..., np.ndarray]], ...] = ()


OF_RUN = 'run of genre_jax'  # the title of what a run trained


@dataclasses.dataclass(frozen=True)
class Converted:
    """A converted checkpoint."""

    title: str  # the kind of checkpoint
    model: str  # the module of genre_jax.models
    settings: dict  # of that model, for config.model
    num_classes: int  # of the output; 0 without
    features: str  # flavour of the front end it was trained with; '' where that is not known
    picture: tuple[int, ...]  # shape of features that fit its parameters, without the batch
    variables: dict[str, np.ndarray]  # by path, 'params/layer/kernel'
    # Per key of the file: key, path (None if left out), shape, layout or reason.
    rows: list[tuple[str, str | None, tuple[int, ...], str]]
    labels: list[str] | None = None  # names of the classes where they are known
    front_end: dict | None = None  # fields of the one that a run trained with; None: those of the flavour
    window_s: float | None = None  # length of the windows of a run; of whole recordings the longest one's
    whole: bool | None = None  # whether these are whole recordings; None: not told
    sample_rate_hz: float | None = None  # that the recordings of a run were stored at
    tags: bool | None = None  # whether each output by itself says yes or no; None: not told
    licence: str | None = None  # of the weights, or of those that a run began with, as told; None: not told

    @property
    def sha256(self) -> str:
        """Returns the digest of all variables, in the order of their paths."""
        digest = hashlib.sha256()
        for path, value in sorted(self.variables.items()):
            digest.update(f'{path} {value.shape} {value.dtype}'.encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()


class _Tensors(dict):
    """Tensors by key; they know which was asked for last, where a description of them fails."""

    asked = ''

    def __getitem__(self, key: str) -> np.ndarray:
        self.asked = key
        return super().__getitem__(key)


def recognise(tensors: Mapping[str, np.ndarray], tables: tuple[Table, ...], where: str) -> Table:
    """Finds the one table whose marks a checkpoint has; none, or several, are a UserError."""
    found = [table for table in tables if _wrappings(tensors, table)]
    if len(found) == 1:
        return found[0]
    first = ', '.join(one_line(key, 60) for key in sorted(tensors)[:4])
    kinds = '; '.join(table.title for table in found or tables)
    raise UserError(
        f'{where}: holds {len(tensors)} tensors ({first}, ...): expected those of exactly one of: '
        f'{kinds}; it {"fits all of them" if found else "fits none"}: look at --model'
    )


def _wrappings(tensors: Mapping[str, np.ndarray], table: Table) -> list[str]:
    """Returns each of what stands before all of the table's marks in the keys."""
    common = None
    for mark in table.marks:
        pattern = re.compile(rf'((?:.*?[./])??)(?:{mark})')
        found = {match[1]: None for key in tensors if (match := pattern.fullmatch(key))}
        common = found if common is None else {p: None for p in common if p in found}
        if not common:
            return []
    return list(common)


def _wrong_settings(table: Table, overrides: Mapping) -> list[str]:
    """Says which settings that the user gives a model does not take."""
    takes, wrong = models.takes(table.model), []
    for key, value in overrides.items():
        whole = key in table.sizes or (key in takes and takes[key].type is int)
        if key not in takes and key not in table.sizes:
            near = config_lib.nearest(key, [*takes, *table.sizes])
            wrong.append(f'{table.model} has no setting {key!r}{near}')
        elif whole and not (isinstance(value, int) and value > 0):
            wrong.append(f'{key}={value!r}: expected a whole number from 1 up')
        elif key in takes and takes[key].type is bool and value not in (0, 1):
            wrong.append(f'{key}={value!r}: expected 1 for yes, or 0 for no')
        elif not np.isfinite(value):
            wrong.append(f'{key}={value!r}: expected a number')
    return wrong


def convert(
    tensors: Mapping[str, np.ndarray],
    table: Table,
    overrides: Mapping,
    where: str,
    beside: Mapping | None = None,
) -> Converted:
    """Converts a checkpoint of a table's kind; `overrides` are settings of the model that it does not tell.

    `beside` is the content of files beside it, by name. Raises a UserError for an override of what it tells
    otherwise, for keys that match no rule or several, that go to the same place, have the wrong shape, are no
    floats or not finite, for parameters that stay empty, and for what the tensors do not tell; in one line.
    """

    def check(faults: Sequence[str]) -> None:
        if faults:
            raise UserError(f'{where}: as {table.title}: {some(faults)}')

    prefix, *others = _wrappings(tensors, table)
    if others:
        names = ', '.join(one_line(repr(name), 60) for name in (prefix, *others)[:4])
        check([f'holds the network {1 + len(others)} times, under {names}: save the tensors of one of them'])
    check(_wrong_settings(table, overrides))
    takes = models.takes(table.model)
    overrides = {k: bool(v) if k in takes and takes[k].type is bool else v for k, v in overrides.items()}
    inner, rows = _Tensors(), []
    for key, value in tensors.items():
        if key.startswith(prefix):
            inner[key.removeprefix(prefix)] = value
        else:
            rows.append((key, None, value.shape, 'outside the model'))
    if len(inner) > _MAX_TENSORS:
        check([f'has {len(inner)} tensors, expected at most {_MAX_TENSORS}'])
    faults, parts, sizes = [], collections.defaultdict(dict), {}
    for key, value in inner.items():
        if not value.size:  # its other sides may be of any length, and take no room in the file
            faults.append(f'{key} has the shape {value.shape}, which is empty')
        rules = [rule for rule in table.rules if re.fullmatch(rule.pattern, key)]
        if len(rules) != 1:
            faults.append(f'{key} matches {len(rules) or "no"} rule{"s" * (len(rules) > 1)}')
            continue
        rule = rules[0]
        if rule.target is None:
            rows.append((prefix + key, None, value.shape, rule.reason))
            continue
        path = re.match(rule.pattern, key).expand(rule.target)
        index, sizes[path] = rule.part
        array = _laid_out(key, value, rule, faults)
        if index in parts[path]:
            faults.append(f'{key} is the second tensor for {path}')
        parts[path][index] = array
        layout = getattr(rule.layout, '__name__', rule.layout)
        rows.append((prefix + key, path, value.shape, layout))
    check(faults)

    try:
        described = table.describe(inner, {**(beside or {}), **overrides})
        for key, value in overrides.items():
            check_named(key, value, described.get(key, value), 'it')
        described |= {key: value for key, value in overrides.items() if key not in table.sizes}
        more = {key: described.pop(key, None) for key in ('labels', 'front_end', 'tags')}
        picture = described.pop('picture')
        features, num_classes = described.pop('features'), described.pop('num_classes')
        if (depth := described.get('depth', 0)) > _MAX_BLOCKS:
            raise UserError(f'has {depth} blocks, expected at most {_MAX_BLOCKS}')
        expected = _expected(table.model, described, num_classes, picture)
    except UserError as error:  # which may say all that a grid can be
        raise UserError(f'{where}: as {table.title}: {one_line(str(error), 1000)}') from None
    # A tensor that is missing, or of another rank, makes tables, models and JAX raise nearly anything.
    except Exception:
        key, shape = inner.asked, np.shape(inner.get(inner.asked))
        what = f'has the shape {shape}, not that of any {table.model}' if key in inner else 'is missing'
        check([f'{key} {what}'])
    variables, joins = {}, dict(table.joins)
    for path, pieces in parts.items():
        if len(pieces) != sizes[path]:
            faults.append(f'{path} needs {sizes[path]} tensors, {len(pieces)} are there')
        elif path not in expected:
            faults.append(f'{path} is not in the model')
        else:
            try:
                values = [pieces[i] for i in range(len(pieces))]
                value = joins.get(path, _side_by_side)(*values) if len(values) > 1 else values[0]
            except ValueError:
                faults.append(f'{path} consists of tensors whose shapes do not fit together')
                continue
            if path in joins and not np.isfinite(value).all():
                faults.append(f'{path} is made of tensors from which it becomes not finite')
            variables[path] = value
            if path.endswith('/var') and (value < 0).any():
                faults.append(f'{path} holds negative variances')
            if value.shape != expected[path]:
                faults.append(f'{path} has the shape {value.shape}, expected {expected[path]}')
    for path, shape in expected.items():
        constant = [value for pattern, value in table.constants if re.fullmatch(pattern, path)]
        if path not in parts and constant:
            variables[path] = np.full(shape, constant[0], np.float32)
        elif path not in parts and (num_classes or not re.fullmatch(table.optional, path)):
            faults.append(f'{path} stays empty')
    check(faults)
    return Converted(
        table.title, table.model, described, num_classes, features, picture, variables, sorted(rows), **more
    )


def check_named(key: str, value: object, told: object, where: str) -> None:
    """Refuses a setting that a user names otherwise than it is told; `where` it is, for people."""
    if value != told:
        raise UserError(
            f'{where} has {key}={told!r}, and {key}={value!r} is named: leave that out, or correct what is '
            'wrong'
        )


def _side_by_side(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=-1)


def _laid_out(key: str, value: np.ndarray, rule: Rule, faults: list[str]) -> np.ndarray | None:
    """Returns a tensor as Flax has it, float32 and finite; if it is none, adds why to `faults`."""
    layout = rule.layout if callable(rule.layout) else LAYOUTS[rule.layout]
    if value.dtype.kind != 'f':
        faults.append(f'{key} holds {value.dtype}, expected floats: numbers in their true scale')
        return None
    try:
        with np.errstate(over='ignore'):  # what is too large for float32 is found below
            array = np.asarray(layout(value), np.float32)
    except (ValueError, IndexError):
        faults.append(f'{key} has the shape {value.shape}, which cannot be laid out')
        return None
    if not np.isfinite(array).all():
        faults.append(f'{key} holds values that are not finite')
    return array


def _expected(
    model: str, settings: Mapping, num_classes: int, picture: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all variables by path."""
    module = models.build({'name': model, **settings}, max(1, num_classes))
    features = jax.ShapeDtypeStruct((1, *picture), jnp.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), features)
    flat = flax.traverse_util.flatten_dict(shapes, sep='/')
    return {path: value.shape for path, value in flat.items()}


def terms(licence: str | None) -> str:
    """Returns one line on a licence of weights; `NC`, non-commercial, is said in words."""
    no_trade = re.search(r'\bnc\b|non-?commercial', licence or '', re.IGNORECASE)
    return f'licence of the weights: {licence or "not told"}' + ', not for commercial use' * bool(no_trade)


def some(faults: Sequence[str], limit: int = 6) -> str:
    """Returns the first faults on one line, and how many more there are."""
    more = f'; and {len(faults) - limit} more' if len(faults) > limit else ''
    return '; '.join(one_line(fault) for fault in faults[:limit]) + more
