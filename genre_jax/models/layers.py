"""Which layer of a network is read, and how its places are pooled: the same for every network.

A layer is one of `Network.blocks` but the last, counted from 0. What it gives is what the next one reads,
after activation, sum and pooling, before dropout. In a transformer with special tokens it is what the block
itself gives, before the last norm and with all tokens: `hidden_states[i + 1]` of transformers is layer i.

Networks know nothing of it but `special_tokens`: what goes in and out of their layers is noted while they are
called.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.kernels.gated_attention import gated_attention
from genre_jax.models.network import Network

LAST, MEAN, WEIGHTED = 'last', 'mean', 'weighted'  # what a layer may be besides a number
WEIGHTS = 'layer_weights'  # the parameter of 'weighted'
_ATTENTION = 'layer_attention'
POOLINGS = ('mean', 'class', 'tokens')  # those that learn nothing


def check(
    model: Network, layer: str, pooling: str, keys: tuple[str, str] = ('--layers', '--pooling')
) -> None:
    """Refuses a layer or a pooling that a network does not have: a UserError that names its key and value."""
    known, name = numbers(model, MEAN), type(model).__module__.rpartition('.')[2]
    allowed = [LAST, *map(str, known), *([MEAN, WEIGHTED] if known else [])]
    if layer not in allowed:
        has = f'layers 0 to {len(known) - 1}' if known else 'no layer before its output'
        expected = f'one of these, {MEAN}, {WEIGHTED} or {LAST}' if known else LAST
        raise UserError(f'{keys[0]}={layer}: {name} has {has}; expected {expected}')
    if pooling in ('class', 'tokens') and not model.special_tokens:
        raise UserError(f'{keys[1]}={pooling}: {name} has no class token; expected mean')


def check_all(model: Network, layers: Sequence[str], pooling: str) -> None:
    """Refuses the flags --layers and --pooling where a network does not have them, or they say nothing."""
    for layer in layers:
        check(model, layer, pooling)
        if list(layers).count(layer) > 1:
            raise UserError(f'--layers: {layer} is named twice')
    if not layers:
        raise UserError(f'--layers: expected numbers, {MEAN}, {WEIGHTED} or {LAST}, with commas between them')
    if set(layers) == {LAST} and pooling != 'mean':
        raise UserError(
            f"--pooling={pooling}: --layers={LAST} is the network's own embedding, which is not pooled; name "
            'other layers, or expected mean'
        )


def numbers(model: Network, layer: str) -> list[int]:
    """Returns the numbers of the layers that a number, 'mean' or 'weighted' is made of; none of 'last'."""
    if layer == LAST:
        return []
    return list(range(len(model.blocks) - 1)) if layer in (MEAN, WEIGHTED) else [int(layer)]


def shares(params: Mapping) -> jax.Array:
    """Returns how much each layer counts in 'weighted', (..., layers), which sums to 1."""
    return nn.softmax(jnp.asarray(params[WEIGHTS]))


def check_widths(widths: Mapping[Any, int], layer: str, key: str = '--layers') -> None:
    """Refuses a 'mean' or 'weighted' of layers, by number, that are not of one width: a UserError."""
    if len(set(widths.values())) > 1:
        each = ', '.join(f'{number}: {width}' for number, width in widths.items())
        raise UserError(
            f'{key}={layer}: the layers are of several widths ({each}): there is no {layer} of them, name one'
        )


def pool(values: jax.Array, batch: int, special_tokens: int, pooling: str) -> jax.Array:
    """Pools the places of a layer, float32 (batch, units); of 'tokens' (1 + special_tokens) times as many.

    `values` (batch, ..., units), or (batch * patches, ..., units) of a network that cuts patches: 'mean' is
    that of all places but the special tokens, which come first; 'class' the first of these; 'tokens' all of
    these, then the mean. What has no places stays as it is.
    """
    places = _places(values, batch)
    special, mean = places[:, :special_tokens], places[:, special_tokens:].mean(1)
    if pooling == 'class':
        return special[:, 0]
    if pooling == 'tokens':
        return jnp.concatenate([special.reshape(batch, -1), mean], axis=-1)
    return mean


def _places(values: jax.Array, batch: int) -> jax.Array:
    return values.astype(jnp.float32).reshape(batch, -1, values.shape[-1])


class _Call(NamedTuple):
    read: jax.Array
    gave: Any
    dropout: Dropout | None  # that it read through


class Calls:
    """What the layers of a network read and gave, while it was called under `noted`."""

    def __init__(self, model: Network) -> None:
        """Of a network that is applied, or bound, as it is: not as a part of another."""
        self._model = model
        self._of: dict[str, _Call] = {}  # by layer, in the order of the calls
        self._composite: set[str] = set()  # layers that other modules are called in
        self._dropped: tuple[Dropout, jax.Array, jax.Array] | None = None

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Notes the calls under this context; in a network that is traced, what is noted is traced."""
        with nn.intercept_methods(self._note):
            yield

    def layer(self, number: int) -> jax.Array:
        """Returns what a layer gives, (batch, ..., units), or (batch * patches, ..., units)."""
        own, following = self._model.blocks[number : number + 2]
        if self._model.special_tokens:
            # The norm behind the last block may read fewer tokens.
            return [call.gave for name, call in self._of.items() if name in own and name in self._composite][
                -1
            ]
        return next(call.read for name, call in self._of.items() if name in following)

    def dropout_before(self, layer: str) -> Dropout | None:
        """Returns the dropout that a layer read through."""
        return self._of[layer].dropout

    def places(self, layers: Sequence[int], batch: int) -> dict[int, jax.Array]:
        """Returns what layers give but special tokens, float32 (batch, places, units), by number."""
        return {i: _places(self.layer(i), batch)[:, self._model.special_tokens :] for i in layers}

    def pooled(self, layers: Sequence[int], batch: int, pooling: str) -> dict[int, jax.Array]:
        """Returns what layers give, pooled over their places, float32 (batch, units), by number."""
        return {i: pool(self.layer(i), batch, self._model.special_tokens, pooling) for i in layers}

    def _note(self, call: Any, arguments: tuple, settings: dict, context: Any) -> Any:
        path = context.module.path
        if context.method_name != '__call__' or len(path) != 1:
            self._composite.update(path[:1] if len(path) > 1 else ())
            return call(*arguments, **settings)
        read, dropout = next(iter((*arguments, *settings.values()))), None
        if self._dropped is not None and read is self._dropped[2]:
            dropout, read, _ = self._dropped
        self._of[path[0]] = _Call(read, None, dropout)
        output = call(*arguments, **settings)
        if isinstance(context.module, Dropout):
            self._dropped = (context.module, read, output)
        # Once more: nn.remat calls a layer within its call, and what is traced there does not get out.
        self._of[path[0]] = _Call(read, output, dropout)
        return output


class OnLayers(Network):
    """What is added to a network whose output layer reads another layer than its own.

    Attributes:
        layers: a number, the 'mean' of all layers, or 'weighted': their sum, with learnt weights, the
            softmax of as many numbers that begin at 0 (Yang et al., SUPERB: Speech processing Universal
            PERformance Benchmark, 2021). 'last' is the network as it is.
        pooling: of the places of a layer, see `pool`; or 'attention', which is learnt.
    """

    layers: int | str = LAST
    pooling: Literal['mean', 'class', 'tokens', 'attention'] = 'mean'

    def __post_init__(self) -> None:
        super().__post_init__()
        keys = ('config.model.layers', 'config.model.pooling')
        check(self, str(self.layers), self.pooling, keys)
        if self.layers == LAST and self.pooling != 'mean':
            raise UserError(
                f'{keys[1]}={self.pooling}: with {keys[0]}={LAST} the output reads what is pooled already; '
                f'set {keys[0]}, or expected mean'
            )

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing; what is learnt here is of the output."""
        *before, output = super().blocks
        learnt = [WEIGHTS] * (self.layers == WEIGHTED) + [_ATTENTION] * (self.pooling == 'attention')
        return (*before, (*output, *learnt))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool, **settings: Any) -> tuple[Any, jax.Array]:
        """Classifies as the network does, by the pooled layer, which is the embedding, not by its own."""
        if self.layers == LAST:
            return super().__call__(features, train, **settings)
        wanted = numbers(self, str(self.layers))
        weights = jnp.full(len(wanted), 1 / len(wanted))
        if self.layers == WEIGHTED:
            weights = shares({WEIGHTS: self.param(WEIGHTS, nn.initializers.zeros, (len(wanted),))})
        attention = _Attention(name=_ATTENTION) if self.pooling == 'attention' else None
        calls, (*_, output), found = Calls(self), super().blocks, []

        def redirect(call: Any, arguments: tuple, settings: dict, context: Any) -> Any:
            if (
                found
                or context.method_name != '__call__'
                or context.module.path not in [(n,) for n in output]
            ):
                return call(*arguments, **settings)
            if attention is None:
                embedding = _sum(calls.pooled(wanted, len(features), self.pooling), weights, self.layers)
            else:
                places = _sum(calls.places(wanted, len(features)), weights, self.layers)
                embedding = attention(places)
            found.append(embedding)
            dropout = calls.dropout_before(context.module.path[0])
            return call(dropout(embedding, train) if dropout else embedding, *arguments[1:], **settings)

        with calls.noted(), nn.intercept_methods(redirect):
            logits, _ = super().__call__(features, train, **settings)
        return logits, found[0]


def _sum(values: Mapping[int, jax.Array], weights: jax.Array, layer: str) -> jax.Array:
    """Sums the values of layers, by number, each times its weight."""
    check_widths({number: value.shape[-1] for number, value in values.items()}, layer, 'config.model.layers')
    shapes = {number: value.shape[1] for number, value in values.items() if value.ndim == 3}
    if len(set(shapes.values())) > 1:
        each = ', '.join(f'{number}: {places}' for number, places in shapes.items())
        raise UserError(
            f'config.model.pooling=attention: the layers have several numbers of places ({each}), of which '
            f'there is no {layer}: name one'
        )
    return sum(weight * value for weight, value in zip(weights, values.values(), strict=True))


class _Attention(nn.Module):
    """Attention over places, in a scope of its own."""

    @nn.compact
    def __call__(self, places: jax.Array) -> jax.Array:
        return gated_attention(places, None, 128)[0]


@functools.cache  # the same network is the same class: what is compiled of it is found again
def of(kind: type[Network]) -> type[Network]:
    """Returns a network's class with the settings of `OnLayers`."""
    return type(kind.__name__, (OnLayers, kind), {'__module__': kind.__module__, '__doc__': kind.__doc__})
