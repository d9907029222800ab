"""What every front end is: a function of one clip, applied to any batch of clips."""

import abc
import dataclasses
import functools
import math
import typing
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.data.recordings import Kind
from genre_jax.errors import UserError

# On a CPU a batch is computed in pieces of about so many samples: what lies between the waveform
# and the features then stays in the cache, and no large array is allocated anew at each step.
_CPU_PIECE_SAMPLES = 2**19
# On other devices what lies between stays below about 2 GiB.
_PIECE_SAMPLES = 2**22
_MOST_UNROLLED = 32


def over_clips(function: Callable[..., Any], *clips: jax.Array, unroll: bool = False) -> Any:
    """Applies a function of one clip to a batch of them, in pieces.

    `function` maps arrays (time, ...) to a tree of arrays; `clips` are (batch, time, ...) or (batch,), and
    the time of the first tells the work per clip. Returns the tree, each leaf with a leading batch axis.
    `unroll` writes up to 32 pieces out one by one instead of looping, since XLA's CPU backend uses one core
    for elementwise work inside a loop: for small functions, as the time to compile grows with the pieces.
    """
    n_clips = clips[0].shape[0]
    together = jax.vmap(function)
    n_samples = max(1, math.prod(clips[0].shape[1:]))
    piece, larger = (max(1, most // n_samples) for most in (_CPU_PIECE_SAMPLES, _PIECE_SAMPLES))
    if unroll:
        piece = max(piece, -(-n_clips // _MOST_UNROLLED))
    if n_clips <= piece:
        return together(*clips)

    def one_by_one(*clips: jax.Array) -> Any:
        starts = range(0, n_clips, piece)
        pieces = [together(*(each[i : i + piece] for each in clips)) for i in starts]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)

    def in_a_loop(*clips: jax.Array, piece: int = piece) -> Any:
        return jax.lax.map(lambda clip: function(*clip), clips, batch_size=piece)

    on_cpu = one_by_one if unroll else in_a_loop
    elsewhere = together if n_clips <= larger else functools.partial(in_a_loop, piece=larger)
    return jax.lax.platform_dependent(*clips, cpu=on_cpu, default=elsewhere)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrontEnd(abc.ABC):
    """Base of all front ends: what is stored to features `(..., frames, bins)`, a frozen set of constants.

    Attributes:
        sample_rate_hz: rate of the waveform that comes in.
        kind: what it reads: 'audio', 'image' or 'table'.
    """

    sample_rate_hz: int = 1
    kind: ClassVar[Kind]

    def __post_init__(self) -> None:
        check_types(self)

    @property
    def needs_tonic(self) -> bool:
        """Says whether it is called with the tonic of each clip, too, in Hz."""
        return False

    @abc.abstractmethod
    def __call__(self, stored: jax.Array) -> jax.Array:
        """Computes float32 features of any batch."""


class AudioFrontEnd(FrontEnd):
    """Base of front ends of audio, `(..., time) -> (..., frames, bins)`; lengths and hops are samples.

    One defines `clip`, its result for one waveform; batches, pieces and devices are dealt with here.
    """

    kind: ClassVar[Kind] = 'audio'
    small: ClassVar[bool] = True  # compiles fast enough to be unrolled, see `over_clips`

    @property
    @abc.abstractmethod
    def least_samples(self) -> int:
        """Samples of one frame: a shorter waveform has no features."""

    @abc.abstractmethod
    def clip(self, waveform: jax.Array, *tonic_hz: jax.Array) -> jax.Array:
        """Computes float32 (frames, bins) from one float32 waveform (time,), and its tonic where needed."""

    def check_length(self, n_samples: int) -> None:
        """Refuses clips of fewer samples, at `sample_rate_hz`, than one frame: a UserError."""
        if n_samples < self.least_samples:
            raise UserError(
                f'config.windows.window_s: clips of {n_samples} samples (at {self.sample_rate_hz} Hz) are '
                f'shorter than one frame of {self.least_samples}'
            )

    def __call__(self, waveform: jax.Array, *tonic_hz: jax.Array) -> jax.Array:
        """Computes float32 (..., frames, bins) from float32 (..., time) in [-1, 1] at `sample_rate_hz`.

        Where it `needs_tonic` it takes that of each, float32 (...). Raises a UserError where the waveform is
        shorter than one frame.
        """
        n_samples = waveform.shape[-1]
        AudioFrontEnd.check_length(self, n_samples)
        if waveform.ndim == 1:
            return self.clip(waveform, *tonic_hz)
        tonics = (each.reshape(-1) for each in tonic_hz)
        flat = over_clips(self.clip, waveform.reshape(-1, n_samples), *tonics, unroll=self.small)
        return flat.reshape(*waveform.shape[:-1], *flat.shape[1:])


def require_positive(front_end: FrontEnd, *names: str) -> None:
    """Refuses fields of a front end that are not above 0: a UserError."""
    for name in names:
        value = getattr(front_end, name)
        if not value > 0:
            raise UserError(f'config.features.{name}={value!r}: expected a value above 0')


def check_types(front_end: object) -> None:
    """Refuses fields that are not of their types, a `Literal`'s choices or finite numbers: a UserError.

    Numbers come from files beside weights, too, which no config has read.
    """
    for name, kind in typing.get_type_hints(type(front_end)).items():
        value, choices = getattr(front_end, name), typing.get_args(kind)
        if typing.get_origin(kind) is Literal:
            fits, expected = value in choices, f'one of {", ".join(map(repr, choices))}'
        elif kind is int:
            fits, expected = isinstance(value, int | np.integer), 'a whole number'
        elif kind is float:
            numeric = isinstance(value, int | float | np.number)
            fits, expected = numeric and math.isfinite(value), 'a number'
        else:
            continue
        if not fits:
            raise UserError(f'config.features.{name}={value!r}: expected {expected}')
