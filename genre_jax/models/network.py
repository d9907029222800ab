"""What every network has: settings that are checked when it is made, and pictures that are large enough."""

import typing
from collections.abc import Collection
from typing import ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax import config as config_lib
from genre_jax.errors import UserError


class Scores(NamedTuple):
    """What a network that names tonic and class together gives: softmax makes them probabilities."""

    scores: jax.Array  # (batch, members, candidates, classes)
    height: jax.Array  # of the candidates, in octaves above 1 Hz, (batch, candidates)
    share: jax.Array  # how much each is the true tonic, 0 where that is not known, (batch, candidates)

    @property
    def log_joint(self) -> jax.Array:
        """Logarithms of the probabilities, the members' mean: (batch, candidates, classes)."""
        members = jax.nn.log_softmax(self.scores, axis=(-2, -1))
        return jax.nn.logsumexp(members, axis=1) - jnp.log(members.shape[1])

    @property
    def logits(self) -> jax.Array:
        """Of the classes, whatever the tonic, (batch, classes)."""
        return jax.nn.logsumexp(self.log_joint, axis=1)


class Network(nn.Module):
    """Base of the networks, each the `Model` of its file.

    It is called with features, float32 (batch, frames, bins) but where it says otherwise, and with `train`;
    it returns logits (batch, num_classes) and an embedding (batch, units), float32.

    A type or a name says what a setting may be: a `Literal` one of its choices, an int or a tuple of them at
    least 1, a 'patchout' at least 0, a 'dropout' in [0, 1). All else is a UserError.

    Attributes:
        num_classes: size of the output.
        dtype: of the computation; parameters, statistics and results are float32 always.
        sharding_rules: which axes of the mesh split which large weights (sharding.Rules).
        names_tonic: called with `tonic_hz`, (batch,), 0 where it is unknown, it gives `Scores` for logits.
        special_tokens: of a transformer, how many stand before those of the places, the class token first.
    """

    sharding_rules = ()
    names_tonic: ClassVar[bool] = False
    special_tokens: ClassVar[int] = 0

    num_classes: int
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    def __post_init__(self) -> None:
        for key, hint in typing.get_type_hints(type(self)).items():
            value = getattr(self, key)
            several = tuple(value) if isinstance(value, tuple | list) else (value,)
            choices = typing.get_args(hint)
            if typing.get_origin(hint) is Literal and value not in choices:
                near = config_lib.nearest(str(value), choices)
                raise UserError(f'config.model.{key}={value!r}{near}')
            least = 0 if 'patchout' in key else 1
            whole = all(isinstance(width, int | np.integer) for width in several)
            if hint in (int, tuple[int, ...]) and not (whole and all(width >= least for width in several)):
                numbers = '' if whole else 'whole numbers of '
                raise UserError(f'config.model.{key}={several}: expected {numbers}at least {least}')
            numeric = isinstance(value, int | float | np.number)
            if hint is float and 'dropout' not in key and not (numeric and np.isfinite(value)):
                raise UserError(f'config.model.{key}={value!r}: expected a number')
            if 'dropout' in key:
                for rate in several:
                    # A packed sweep has checked the rates of its members before it traces them.
                    if not isinstance(rate, jax.core.Tracer) and not 0 <= rate < 1:
                        raise UserError(f'config.model.{key}={rate}: expected a number in [0, 1)')
        super().__post_init__()

    def over_picture(self, heat: jax.Array, picture: tuple[int, ...]) -> jax.Array:
        """Lays what is known of the places of its last maps over the pictures that these were made of.

        Heat float32 (maps, rows, columns) becomes (batch, frames, bins), the first two axes of `picture`.
        Here maps are taken for smaller pictures.
        """
        return jax.image.resize(heat, (len(heat), *picture[:2]), 'linear')


def spread(
    heat: jax.Array, window: tuple[int, int], strides: tuple[int, int], picture: tuple[int, int]
) -> jax.Array:
    """Gives each pixel the mean of the places that have seen it, 0 where none has.

    Heat is float32 (batch, rows, columns); a place has seen a window of the picture, and the next one begins
    `strides` further. Returns (batch, *picture).
    """

    def sums(pixels: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(pixels, 0.0, jax.lax.add, (1, *window), (1, *strides), 'VALID')

    back = jax.linear_transpose(sums, jax.ShapeDtypeStruct((len(heat), *picture), heat.dtype))
    (total,), (seen_by,) = back(heat), back(jnp.ones_like(heat))
    return total / jnp.maximum(seen_by, 1)


def dropout_rates(rates: float | Collection[float], n_layers: int) -> tuple[float, ...]:
    """Returns the rate of dropout after each of several layers, from one for all or one for each.

    Another number of rates is a UserError.
    """
    rates = tuple(rates) if isinstance(rates, tuple | list) else (rates,) * n_layers
    if len(rates) != n_layers:
        raise UserError(
            f'config.model.dropout={rates}: expected one rate, or one for each of {n_layers} layers'
        )
    return rates


def check_picture(features: jax.Array, frames: int, bins: int) -> None:
    """Refuses features (batch, frames, bins) with fewer frames or bins than a network needs: a UserError."""
    if features.shape[1] < frames or features.shape[2] < bins:
        raise UserError(
            f'config.model needs at least {frames} frames and {bins} bins, and config.windows.window_s '
            f'with config.features gives {features.shape[1]} x {features.shape[2]}'
        )
