"""Low-rank adaptation: beside each chosen kernel, which stays as it is, two narrow ones that train.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021); beginning and scale are PEFT's.
The kernel that counts is `kernel + alpha / rank * lora_a @ lora_b`. In training what the narrow ones give
is added to what the layer gives, so that no gradient of a whole kernel is ever computed; everywhere else the
kernels are merged.
"""

import contextlib
import math
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from genre_jax.convert.init_from import matches
from genre_jax.errors import UserError
from genre_jax.models.ast import Heads

_KERNEL, _A, _B = '/kernel', '/lora_a', '/lora_b'


def is_adapter(path: str) -> bool:
    """Says whether a parameter's path is that of a narrow kernel."""
    return path.endswith((_A, _B))


def is_adapted(params: Mapping) -> bool:
    """Says whether there are narrow kernels among the parameters."""
    return any(map(is_adapter, flax.traverse_util.flatten_dict(params, sep='/')))


@contextlib.contextmanager
def dense_layers() -> Iterator[set[str]]:
    """A context for a call of a model; yields the paths of its dense layers, which fill in the meantime."""
    found = set()

    def interceptor(call, args, kwargs, context) -> Any:
        if isinstance(context.module, nn.Dense | Heads):
            found.add('/'.join(context.module.path))
        return call(*args, **kwargs)

    with nn.intercept_methods(interceptor):
        yield found


def added(
    params: Mapping, dense: Collection[str], settings: ml_collections.ConfigDict, key: jax.Array
) -> dict:
    """Returns the parameters with narrow kernels beside those that config.optim.lora_layers names.

    `dense` are the paths of the layers that it may name; without a name it is all that are wider than the
    rank, on both sides. A begins uniform within 1 / sqrt(inputs), B at 0. A UserError where no layer is
    named, or one is not wider than the rank.
    """
    flat = flax.traverse_util.flatten_dict(params, sep='/')
    pattern, rank = settings.lora_layers or '.*', settings.lora_rank
    able = [path for path in flat if path.endswith(_KERNEL) and path.removesuffix(_KERNEL) in dense]
    able = [path for path in able if flat[path].ndim == 2]  # else of several networks at once
    widest = max((min(flat[path].shape) for path in able), default=0)
    if not settings.lora_layers:  # what is narrower, as a gate, has nothing to save; where all are, one tells
        able = [path for path in able if min(flat[path].shape) > min(rank, widest - 1)]
    try:
        chosen = [path for path in able if matches(f'(?:.*/)?(?:{pattern})', path)]
    except re.error as error:
        raise UserError(f'config.optim.lora_layers={pattern!r}: no regular expression: {error}') from None
    if not chosen:
        layers = ', '.join(dict.fromkeys(path.removesuffix(_KERNEL).split('/')[-1] for path in able))
        expected = f'an expression of dense layers: {layers}' if able else 'config.optim.lora_rank=0'
        raise UserError(f'config.optim.lora_layers={pattern!r} names no dense layer: expected {expected}')
    for path in chosen:
        inputs, outputs = flat[path].shape
        if rank >= min(inputs, outputs):
            raise UserError(
                f'config.optim.lora_rank={rank}: expected less than {min(inputs, outputs)}, which '
                f'{path.removesuffix(_KERNEL)} has, {inputs} x {outputs}: or leave it out of lora_layers'
            )
        own = jax.random.fold_in(key, zlib.crc32(path.encode()))
        most = 1 / math.sqrt(inputs)
        layer = path.removesuffix(_KERNEL)
        flat[layer + _A] = jax.random.uniform(own, (inputs, rank), minval=-most, maxval=most)
        flat[layer + _B] = jnp.zeros((rank, outputs))
    return flax.traverse_util.unflatten_dict(flat, sep='/')


def split(params: Mapping) -> tuple[dict, dict]:
    """Returns the parameters of the network, and the narrow kernels, both nested."""
    flat = flax.traverse_util.flatten_dict(params, sep='/')
    parts = ({p: x for p, x in flat.items() if is_adapter(p) == narrow} for narrow in (False, True))
    return tuple(flax.traverse_util.unflatten_dict(part, sep='/') for part in parts)


def merged(params: Mapping, settings: ml_collections.ConfigDict) -> Mapping:
    """Returns the parameters of the network with what the narrow kernels add."""
    flat = flax.traverse_util.flatten_dict(params, sep='/')
    kept = {path: value for path, value in flat.items() if not is_adapter(path)}
    for path in flat:
        if path.endswith(_A):
            layer = path.removesuffix(_A)
            product = jnp.matmul(flat[path], flat[layer + _B], precision='highest')
            kept[layer + _KERNEL] = flat[layer + _KERNEL] + _scale(settings) * product
    return flax.traverse_util.unflatten_dict(kept, sep='/')


@contextlib.contextmanager
def beside(params: Mapping, settings: ml_collections.ConfigDict) -> Iterator[None]:
    """A context for a call of a model, in which adapted layers add what the narrow kernels give.

    Such a layer takes (..., inputs) to an output of (..., outputs), in any shape, to which its kernel adds a
    product.
    """
    flat = flax.traverse_util.flatten_dict(params, sep='/')

    def interceptor(call, args, kwargs, context) -> Any:
        output = call(*args, **kwargs)
        layer = '/'.join(context.module.path)
        if context.method_name != '__call__' or layer + _A not in flat:
            return output
        values = args[0]
        for narrow in (_A, _B):
            values = values.astype(output.dtype) @ flat[layer + narrow].astype(output.dtype)
        return output + _scale(settings) * values.reshape(output.shape)

    with nn.intercept_methods(interceptor):
        yield


def _scale(settings: ml_collections.ConfigDict) -> float:
    return settings.lora_alpha / settings.lora_rank
