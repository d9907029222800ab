"""What trains, and when: frozen layers, later unfreezing, learning rates layer by layer.

Frozen parameters are no argument of the gradient, so what lies before the first trained layer is not
differentiated at all, and batch normalisation that is frozen uses its running statistics.
"""

import contextlib
import dataclasses
import re
from collections.abc import Mapping

import flax
import flax.linen as nn
import jax
import ml_collections

from genre_jax import config as config_lib
from genre_jax.convert.init_from import matches
from genre_jax.errors import UserError
from genre_jax.models.kernels import batch_norm
from genre_jax.training import lora


@dataclasses.dataclass(frozen=True)
class Plan:
    """Paths of the parameters that train from the first step, and of those that join them later.

    `factors` are those of the learning rate, by path.
    """

    first: frozenset[str]
    late: frozenset[str]
    unfreeze_step: int
    factors: Mapping[str, float]

    @property
    def all_groups(self) -> dict[str, frozenset[str]]:
        """The groups of parameters that train at any time, by name."""
        return {'first': self.first} | ({'late': self.late} if self.late else {})

    def groups(self, step: int) -> dict[str, frozenset[str]]:
        """Returns the groups of parameters that train in the step after `step` steps, by name."""
        return self.all_groups if step >= self.unfreeze_step else {'first': self.first}


def make_plan(
    config: ml_collections.ConfigDict, model: nn.Module, params: Mapping, length: config_lib.Length
) -> Plan:
    """Reads config.optim.freeze, unfreeze_at, layer_decay and factors.

    The model's `blocks` are its layers from input to output; `params` may be shapes. A setting that means
    nothing, names no layer, or leaves nothing to train is a UserError.
    """
    settings = config.optim
    paths = sorted(flax.traverse_util.flatten_dict(params, sep='/'))
    depth = {name: i for i, block in enumerate(model.blocks) for name in block}
    layers = ', '.join(sorted(depth, key=depth.get))
    freeze = settings.freeze
    if settings.lora_rank:
        if freeze not in ('', 'all but head') or settings.unfreeze_at:
            raise UserError(
                'config.optim.lora_rank trains narrow kernels and the output layers alone: '
                "expected config.optim.freeze='' and config.optim.unfreeze_at=''"
            )
        freeze = 'all but head'
    frozen = {
        path
        for path in paths
        if _is_frozen(freeze, path, depth, len(model.blocks)) and not lora.is_adapter(path)
    }
    if settings.freeze and not frozen:
        raise UserError(f'config.optim.freeze={settings.freeze!r}: names no layer; the layers are {layers}')
    if len(frozen) == len(paths):
        raise UserError(f'config.optim.freeze={settings.freeze!r}: nothing is left to train')
    unfreeze_step, late = 0, frozenset()
    if settings.unfreeze_at:
        if not frozen:
            raise UserError(
                f'config.optim.unfreeze_at={settings.unfreeze_at!r}: nothing is frozen, set '
                'config.optim.freeze'
            )
        unfreeze_step = config_lib.duration_steps(settings.unfreeze_at, 'optim.unfreeze_at', length)
        late = frozenset(frozen)
    factors = {
        path: settings.layer_decay ** (len(model.blocks) - 1 - depth[path.split('/')[0]]) for path in paths
    }
    for item in settings.factors:
        pattern, separator, factor = item.rpartition('=')
        try:
            number = float(factor)
            found = [path for path in paths if separator and matches(pattern, path)]
        except (ValueError, re.error):
            number, found = 0.0, []
        if number <= 0 or not found:
            raise UserError(
                f"config.optim.factors={item!r}: expected 'LAYER=FACTOR', a regular expression that matches "
                f'a layer ({layers}) and a positive number'
            )
        for path in found:
            factors[path] *= number
    return Plan(frozenset(paths) - frozen, late, unfreeze_step, factors)


def _is_frozen(freeze: str, path: str, depth: Mapping[str, int], n_blocks: int) -> bool:
    """Reads config.optim.freeze: '', 'first N', 'all but last N', 'all but head', or an expression."""
    block = depth[path.split('/')[0]]
    if not freeze:
        return False
    if match := re.fullmatch(r'(first|all but last) (\d+)', freeze):
        number = int(match[2])
        if number > n_blocks:
            raise UserError(
                f'config.optim.freeze={freeze!r}: the network has only {n_blocks} blocks of layers'
            )
        return block < number if match[1] == 'first' else block < n_blocks - number
    if freeze == 'all but head':
        return block < n_blocks - 1
    try:
        return matches(freeze, path)
    except re.error as error:
        raise UserError(
            f"config.optim.freeze={freeze!r}: expected 'first N', 'all but last N', 'all but head' or a "
            f'regular expression of layers, and this is none: {error}'
        ) from None


def select(params: Mapping, paths: frozenset[str]) -> dict:
    """Returns the nested dict of the parameters with these paths, 'layer/kernel' and the like."""
    flat = flax.traverse_util.flatten_dict(params, sep='/')
    return flax.traverse_util.unflatten_dict({p: flat[p] for p in sorted(paths)}, sep='/')


def merge(params: Mapping, *changed: Mapping) -> dict:
    """Returns the parameters with some of them replaced, all in nested dicts."""
    flat = flax.traverse_util.flatten_dict(params, sep='/')
    for part in changed:
        flat |= flax.traverse_util.flatten_dict(part, sep='/')
    return flax.traverse_util.unflatten_dict(flat, sep='/')


def frozen_statistics(trained: frozenset[str]) -> contextlib.AbstractContextManager:
    """Returns a context for calls of models in which frozen batch normalisation keeps its statistics.

    `trained` are the paths of all parameters that train; without one of these it uses, and keeps, those that
    ran along.
    """

    def interceptor(call, args, kwargs, context) -> jax.Array:
        if isinstance(context.module, batch_norm.BatchNorm) and context.method_name == '__call__':
            layer = '/'.join(context.module.path) + '/'
            if not any(path.startswith(layer) for path in trained):
                return call(args[0], train=False)
        return call(*args, **kwargs)

    return nn.intercept_methods(interceptor)
