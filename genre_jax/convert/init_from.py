"""Where a training begins: at the parameters of a converted checkpoint, or of an earlier run."""

import dataclasses
import functools
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence

import flax
import flax.linen as nn
import jax
import ml_collections
import numpy as np
from absl import logging

from genre_jax import config as config_lib
from genre_jax import features, models
from genre_jax.convert import beside, fetch, read, store, tables
from genre_jax.convert import checkpoint as convert
from genre_jax.convert.engine import Converted, some, terms
from genre_jax.data.recordings import OVER_TIME
from genre_jax.errors import UserError, printable
from genre_jax.models import ast
from genre_jax.program import cache

# Fields of front ends that may differ: the length of AST's pictures is a matter of its positions, precision
# one of the device; what was fitted is that of `with_its_basis`.
_OWN_MATTER = ('target_frames', 'float64', 'frequencies', 'basis')


def find(setting: str, key: str = 'config.init.checkpoint') -> Converted:
    """Returns the checkpoint that a setting names, by default that of config.init.checkpoint.

    That is a folder that `python -m genre_jax.convert` wrote, the folder of a finished run, a checkpoint's
    file, or the name of a published checkpoint (genre_jax.convert.fetch). Its licence, where it is known, is
    noted. Raises a UserError where it is none of these, or cannot be fetched, read or converted.
    """
    found = _find(setting, key)
    if found.licence:
        _note(f'{setting}: {terms(found.licence)}')
    return found


@functools.cache  # a program may open a network several times
def _note(line: str) -> None:
    logging.warning('%s', printable(line))


def _find(setting: str, key: str) -> Converted:
    path = pathlib.Path(setting)
    for folder in (path, path / 'model'):
        if store.is_converted(folder):
            return store.load(folder)
    if path.exists():
        # The folder of a model of transformers has a file of that name, too.
        of_run = (path / 'config.json').exists() and 'model_type' not in beside.read(path)[beside.CONFIG]
        if of_run and not read.weights_in(path):
            raise UserError(f'{key}={setting}: the run has not finished, it has no model yet')
        return convert.convert_checkpoint(setting)[0]
    if setting not in fetch.PUBLISHED:
        raise UserError(
            f'{key}={setting!r}: there is no such folder or file, and no published checkpoint of that name'
            f'{read.near(path) or config_lib.nearest(setting, fetch.PUBLISHED)}'
        )
    folder = cache() / 'converted' / setting
    with fetch.alone(folder):
        if not store.is_converted(folder):
            converted, source = convert.convert_checkpoint(setting)
            store.save(converted, folder, source)
    # What was converted before licences were kept has none.
    return dataclasses.replace(store.load(folder), licence=fetch.PUBLISHED[setting].licence)


def variables(
    source: Converted,
    model: nn.Module,
    fresh: Mapping,
    *,
    name: str,
    new: str,
    labels: Sequence[str],
    picture: tuple[int, ...],
) -> tuple[dict, list[str]]:
    """Puts a checkpoint's parameters and statistics into a model, of name config.model.name.

    The output layer stays new, unless the checkpoint is of the very same `labels`, the dataset's classes; so
    do layers that `new` matches (config.init.new). AST's positions are cut or stretched to the length of the
    `picture`, frames and bins. `fresh` are the model's initial variables, 'params' and perhaps 'batch_stats'.

    Returns the variables, and lines that tell what was taken and what not. Raises a UserError for another
    network, or parameters that one of both lacks, or that have another shape; all in one line.
    """
    if source.model != name:
        raise UserError(
            f'config.init.checkpoint holds a {source.model}, and config.model.name is {name!r}: they must be '
            'the same network'
        )
    same_classes = source.labels is not None and list(source.labels) == list(labels)
    head = () if same_classes else model.blocks[-1]
    own = flax.traverse_util.flatten_dict(fresh, sep='/')

    def stays_new(path: str) -> bool:
        layer = path.split('/', 1)[1]
        return layer.split('/')[0] in head or bool(new and matches(new, layer))

    faults, notes, filled = [], [], dict(own)
    taken = [path for path in own if not stays_new(path)]
    # Parameters before statistics: they say more about what does not fit.
    for path in sorted(taken, reverse=True):
        value, array = own[path], source.variables.get(path)
        if array is None:
            faults.append(f'{path} is not in the checkpoint')
            continue
        layer = path.removeprefix('params/')
        if array.shape != value.shape and layer in getattr(model, 'positions', ()):
            array = _fit_positions(source, model, layer, picture)
            there, here = (math.prod(each.shape[:-1]) for each in (source.variables[path], array))
            notes.append(f'{path}: {there} positions -> {here}')
        if array.shape != value.shape:
            faults.append(f'{path} has the shape {array.shape} there and {value.shape} here')
            continue
        filled[path] = array
    faults += [f'{p} is not in the model' for p in source.variables if p not in own and not stays_new(p)]
    if faults:
        raise UserError(
            f'config.init.checkpoint does not fit config.model: {some(faults, 4)}: correct '
            'config.model, or name in config.init.new the layers that shall stay new'
        )
    fresh_layers = sorted({path.split('/')[1] for path in own if stays_new(path)})
    head = f'{len(taken)} of {len(own)} arrays from the checkpoint ({source.title})'
    notes.insert(0, f'{head}; new: {", ".join(fresh_layers) or "none"}')
    for key, value in source.settings.items():
        here = getattr(model, key, None)
        if here is not None and here != (tuple(value) if isinstance(value, list) else value):
            notes.append(f'the checkpoint was made for {key}={value!r}, config.model has {here!r}')
    return flax.traverse_util.unflatten_dict(filled, sep='/'), notes


def complete(config: ml_collections.ConfigDict, source: Converted) -> None:
    """Writes into config.model and config.features what a checkpoint says and the page leaves out.

    Where it is the same network and the same flavour: heads, strides and epsilons, bands, mean and deviation.
    """
    telling = [table.title for table in tables.TABLES if table.beside or table.within or table.sizes]
    if source.title not in telling:
        return
    with config.unlocked():
        if config.model.name == source.model:
            _fill(config.model, source.settings, models.build({'name': source.model}, 1))
        if config.features.name == source.features:
            _fill(config.features, source.front_end or {}, features.build({'name': source.features}))


def _fill(section: ml_collections.ConfigDict, told: Mapping, default: object) -> None:
    for key, value in told.items():
        if key not in section and value != getattr(default, key):
            section[key] = value


def with_its_basis(source: Converted, front_end: features.FrontEnd) -> features.FrontEnd:
    """Takes the basis that a checkpoint's front end was fitted with: its network knows no other.

    One that describes melodies otherwise has to be fitted itself.
    """
    there, here = source.front_end or {}, json.loads(json.dumps(dataclasses.asdict(front_end)))
    described = ('bins_per_octave', 'delays_s', 'components')
    if 'basis' not in there or any(there[key] != here.get(key) for key in described):
        return front_end
    fitted = {key: tuple(there[key]) for key in ('frequencies', 'basis')}
    return dataclasses.replace(front_end, **fitted)


def check_front_end(source: Converted, front_end: features.FrontEnd, accepted: bool) -> list[str]:
    """Says how a front end differs from a checkpoint's, if that is known; a UserError unless `accepted`."""
    if front_end.kind not in OVER_TIME or len(source.picture) == 3:  # of colours
        return []
    known = {**features.FLAVOURS, **features.WITH_TONIC, **features.OF_PITCH}
    if not (source.front_end or source.features in known):
        return ['the checkpoint does not say which front end it was trained with: make sure it is this one']
    trained, strange = source.front_end or {}, []
    if source.features in known:  # fields that it did not have yet are as they were
        published = known[source.features]()
        trained = dataclasses.asdict(published) | trained
        if type(published) is not type(front_end):
            strange = [f'{type(published).__name__} there, {type(front_end).__name__} here']
    there, here = (json.loads(json.dumps(f)) for f in (trained, dataclasses.asdict(front_end)))
    strange += [
        f'{key} {there.get(key)!r} there, {here.get(key)!r} here'
        for key in sorted(here.keys() | there.keys())
        if key not in _OWN_MATTER and here.get(key) != there.get(key)
    ]
    if strange and not accepted:
        raise UserError(
            'config.init.checkpoint was trained with another front end than config.features, '
            f'{source.features}: {some(strange, 4)}: take that one, or accept it with '
            'config.init.other_front_end=True'
        )
    return [f'the checkpoint was trained with another front end: {some(strange, 4)}'] if strange else []


def other_recordings(
    source: Converted, front_end: features.FrontEnd, window_s: float, sample_rate_hz: float
) -> list[str]:
    """Says in which windows, and up to which frequency, a run heard otherwise than is heard here.

    `window_s` is config.windows.window_s, 0 for whole recordings; `sample_rate_hz` that of the recordings as
    stored, which the front end resamples.
    """
    if front_end.kind not in OVER_TIME or not source.window_s:
        return []
    there_s = 0.0 if source.whole else source.window_s
    lines = []
    if not math.isclose(there_s, window_s, rel_tol=1e-3):
        there, here = (f'windows of {s:.4g} s' if s else 'whole recordings' for s in (there_s, window_s))
        lines.append(f'the checkpoint was trained on {there}, and hears {here} here')
    own_hz = getattr(front_end, 'sample_rate_hz', math.inf)
    if source.sample_rate_hz and min(source.sample_rate_hz, own_hz) != min(sample_rate_hz, own_hz):
        lines.append(
            f'the checkpoint was trained on recordings at {source.sample_rate_hz:g} Hz, and hears some at '
            f'{sample_rate_hz:g} Hz here'
        )
    return lines


def matches(pattern: str, layer: str) -> bool:
    """Says whether a pattern matches a parameter's path, 'conv_block1/conv1/kernel', or a layer above it."""
    return re.fullmatch(f'(?:{pattern})(?:/.*)?', layer) is not None


def _fit_positions(source: Converted, model: ast.Model, name: str, picture: tuple[int, ...]) -> np.ndarray:
    there = models.build({'name': source.model, **source.settings}, 1).grid(*source.picture)
    refit = jax.jit(model.refit, static_argnums=(0, 2, 3))
    return np.asarray(refit(name, source.variables[f'params/{name}'], there, model.grid(*picture)))
