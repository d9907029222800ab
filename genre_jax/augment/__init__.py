"""Augmentation on the device: which ones a config names, on which examples, in which order.

`config.augment` has a section for each augmentation in use, with its amounts and, if not always, its
probability. They come in a fixed order, that of the tables below; each example draws for itself:

    config.augment.pitch_shift = {'max_semitones': 2.0, 'probability': 0.5}
    config.augment.spec_augment = {'time_stripes': 2, 'mel_stripes': 2}

`one_of` lists alternatives in equal proportions, each a tuple of names; `one_of_probability` is how
often there is one at all. Names that stand in none of them act for themselves:

    config.augment.one_of = ((), ('gaussian_noise',), ('time_shift',), ('gaussian_noise', 'time_shift'))

`emphasis` treats some classes more strongly: other amounts, and more copies of them in an epoch:

    config.augment.emphasis = {'classes': ('Experimental',), 'copies': 1,
                               'gaussian_noise': {'sigma': 0.01}}
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax import config as config_lib
from genre_jax.augment import mixing, picture, pitch, waveform
from genre_jax.errors import UserError
from genre_jax.features.front_end import over_clips

WAVEFORM = {
    'gain': waveform.gain,
    'speed': pitch.speed,
    'time_stretch': pitch.time_stretch,
    'pitch_shift': pitch.pitch_shift,
    'time_shift': waveform.time_shift,
    'gaussian_noise': waveform.gaussian_noise,
}
PICTURE = {
    'picture_noise': picture.picture_noise,
    'spectral_masking': picture.spectral_masking,
    'spec_augment': picture.spec_augment,
}
MIXING = {'mixup': mixing.mixup, 'cutmix': mixing.cutmix}
_ALL = {**WAVEFORM, **PICTURE, **MIXING}
_POLICY = ('one_of', 'one_of_probability', 'emphasis')

# What an amount may be, by its name: least, largest, whether the least itself is allowed.
_RANGES = {
    'probability': (0, 1, True),
    'max_db': (0, 120, True),
    'sigma': (0, math.inf, True),
    'max_share': (0, 1, True),
    'min_share': (0, 1, True),
    'max_semitones': (0, 24, True),
    'max_factor': (1, 4, False),
    'alpha': (0, math.inf, False),
    'time_stripes': (0, math.inf, True),
    'mel_stripes': (0, math.inf, True),
    'time_width_frames': (1, math.inf, True),
    'mel_width_bins': (1, math.inf, True),
}
# They decide shapes, so they are the same for all examples.
_SAME_FOR_ALL = (
    'max_semitones', 'time_stripes', 'mel_stripes', 'time_width_frames', 'mel_width_bins',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Step:
    """One augmentation as a config sets it."""

    name: str
    probability: float
    amounts: Mapping[str, Any]
    emphasized: Mapping[str, float]


class Augmentation:
    """The section config.augment, checked and ready to be applied.

    Attributes:
        halves: whether mixup turns a batch of 2 N examples into N, as PANNs do.
        mixes: whether labels are mixed.
    """

    def __init__(self, settings: Mapping, labels: Sequence[str] | None) -> None:
        """Checks a config.

        Args:
            settings: the section config.augment.
            labels: names of the dataset's classes; None while they are not known.

        Raises:
            UserError: an unknown name, or an amount that cannot be.
        """
        for name in settings:
            if name not in (*_ALL, *_POLICY):
                known = [f'config.augment.{each}' for each in (*_ALL, *_POLICY)]
                raise UserError(
                    f'unknown key config.augment.{name}'
                    f'{config_lib.nearest(f"config.augment.{name}", known)}'
                )
        emphasis = dict(settings.get('emphasis') or {})
        self._classes = _class_ids(emphasis.pop('classes', ()), labels)
        self._copies = emphasis.pop('copies', 0)
        if not isinstance(self._copies, int) or self._copies < 0:
            raise UserError(
                f'config.augment.emphasis.copies={self._copies!r}: expected a whole number of 0 or more'
            )
        for name in emphasis:
            if name not in settings:
                raise UserError(
                    f'config.augment.emphasis.{name}: there is no config.augment.{name}'
                )
        mixup = dict(settings.get('mixup') or {})
        self._mixup_on = mixup.pop('on', 'picture')
        if self._mixup_on not in ('waveform', 'picture'):
            raise UserError(
                f"config.augment.mixup.on={self._mixup_on!r}: expected 'waveform' or 'picture'"
            )
        self.halves = bool(mixup.pop('halve', False))
        self._steps = {
            name: _step(
                name, mixup if name == 'mixup' else settings[name], emphasis.get(name) or {}
            )
            for name in _ALL
            if name in settings
        }
        self.mixes = any(name in MIXING for name in self._steps)
        self._one_of = _alternatives(settings.get('one_of') or (), self._steps)
        self._one_of_probability = settings.get('one_of_probability', 1.0)
        _check_range('config.augment.one_of_probability', 'probability', self._one_of_probability)

    def copies(self) -> dict[int, int]:
        """Returns how many more copies of a class stand in an epoch, by its number."""
        return dict.fromkeys(self._classes, self._copies) if self._copies else {}

    def check_picture(self, frames: int, bins: int) -> None:
        """Refuses stripes that are wider than a picture.

        Args:
            frames: frames of a picture.
            bins: its bins.

        Raises:
            UserError: a stripe may be wider.
        """
        if 'spec_augment' not in self._steps:
            return
        amounts = self._steps['spec_augment'].amounts
        defaults = inspect.signature(picture.spec_augment).parameters
        for name, total, longer in (
            ('time_width_frames', frames, ', or raise config.windows.window_s'),
            ('mel_width_bins', bins, ''),
        ):
            width = amounts.get(name, defaults[name].default)
            if width > total:
                raise UserError(
                    f'config.augment.spec_augment.{name}={width} is more than the {total} that a picture '
                    f'has: lower it{longer}'
                )

    def waveforms(
        self, key: jax.Array, waveforms: jax.Array, labels: jax.Array, index: jax.Array
    ) -> jax.Array:
        """Augments waveforms, before the front end.

        Args:
            key: random key of the step.
            waveforms: float32 (batch, time).
            labels: int32 (batch,).
            index: int32 (batch,), each example's place in the batch of all devices.

        Returns:
            float32 (batch, time).
        """
        return self._each(WAVEFORM, key, waveforms, labels, index)

    def pictures(
        self, key: jax.Array, pictures: jax.Array, labels: jax.Array, index: jax.Array
    ) -> jax.Array:
        """Augments spectrograms; arguments as `waveforms`, with pictures (batch, frames, bins)."""
        return self._each(PICTURE, key, pictures, labels, index)

    def mixed(
        self, stage: str, key: jax.Array, examples: jax.Array, targets: jax.Array, index: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mixes neighbours.

        Args:
            stage: 'waveform' or 'picture', what `examples` are.
            key: random key of the step.
            examples: float32 (batch, ...), an even number of them.
            targets: float32 (batch, classes), shares that sum to 1.
            index: int32 (batch,), as in `waveforms`.

        Returns:
            Examples and targets, half as many where `halves`.
        """
        for name, function in MIXING.items():
            if name not in self._steps or stage != (
                self._mixup_on if name == 'mixup' else 'picture'
            ):
                continue
            step, active = self._steps[name], self._active(key, name, index)
            keys = _keys(key, name, index)
            others = _neighbours(examples)
            if name == 'mixup' and self.halves:
                # One key for a pair: even share, odd 1 - share.
                examples, others, active, keys = (
                    each[::2] for each in (examples, others, active, keys)
                )
            mix = functools.partial(function, **step.amounts)
            new, share = jax.vmap(mix)(keys, examples, others)
            share = jnp.where(active, share, 1.0)[:, None]
            shape = (-1, *[1] * (examples.ndim - 1))
            examples = jnp.where(active.reshape(shape), new, examples)
            other_targets = _neighbours(targets)
            if len(share) != len(targets):
                targets, other_targets = targets[::2], other_targets[::2]
            targets = share * targets + (1 - share) * other_targets
            index = index[:: 2 if len(share) != len(index) else 1]
        return examples, targets

    def _each(
        self,
        functions: Mapping[str, Callable],
        key: jax.Array,
        examples: jax.Array,
        labels: jax.Array,
        index: jax.Array,
    ) -> jax.Array:
        strong = jnp.isin(labels, jnp.asarray(self._classes, jnp.int32))
        for name, function in functions.items():
            if name not in self._steps:
                continue
            step = self._steps[name]
            fixed = {k: v for k, v in step.amounts.items() if k not in step.emphasized}
            varying = {k: jnp.where(strong, v, step.amounts[k]) for k, v in step.emphasized.items()}

            def one(
                example: jax.Array, key: jax.Array, active: jax.Array, amounts: dict,
                function: Callable = function, fixed: dict = fixed,
            ) -> jax.Array:  # fmt: skip
                return jnp.where(active, function(key, example, **fixed, **amounts), example)

            examples = over_clips(
                one, examples, _keys(key, name, index), self._active(key, name, index), varying
            )
        return examples

    def _active(self, key: jax.Array, name: str, index: jax.Array) -> jax.Array:
        """Draws which examples an augmentation is for, bool (batch,)."""

        def draw(purpose: str) -> jax.Array:
            return jax.vmap(jax.random.uniform)(_keys(key, purpose, index))

        active = draw(f'{name}, probability') < self._steps[name].probability
        if any(name in group for group in self._one_of):
            chosen = jnp.floor(draw('one_of') * len(self._one_of)).astype(jnp.int32)
            listed = np.array([name in group for group in self._one_of])
            active &= jnp.asarray(listed)[chosen]
            active &= draw('one_of_probability') < self._one_of_probability
        return active


def _keys(key: jax.Array, purpose: str, index: jax.Array) -> jax.Array:
    """Returns a key for each example, whatever the number of devices its batch is divided among."""
    # A number for the text that does not depend on the process, as hash() does.
    number = int.from_bytes(purpose.encode(), 'big') % (2**31 - 1)
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.fold_in(key, number)))(index)


def _neighbours(values: jax.Array) -> jax.Array:
    """Swaps rows 2i and 2i + 1."""
    return values.reshape(-1, 2, *values.shape[1:])[:, ::-1].reshape(values.shape)


def _step(name: str, settings: Mapping, emphasized: Mapping) -> _Step:
    for where, section in (('', settings), ('emphasis.', emphasized)):
        if not isinstance(section, Mapping) and not hasattr(section, 'items'):
            raise UserError(
                f'config.augment.{where}{name}={section!r}: expected a section of amounts'
            )
    parameters = inspect.signature(_ALL[name]).parameters
    amounts = [p for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    known = {'probability', *(p.name for p in amounts)}
    if name == 'mixup':
        known |= {'on', 'halve'}
    for where, section in (('', settings), ('emphasis.', emphasized)):
        for key, value in section.items():
            full = f'config.augment.{where}{name}.{key}'
            if key not in known:
                options = [f'config.augment.{where}{name}.{each}' for each in known]
                raise UserError(f'unknown key {full}{config_lib.nearest(full, options)}')
            _check_range(full, key, value)
    values = {key: value for key, value in settings.items() if key != 'probability'}
    for parameter in amounts:
        if parameter.default is parameter.empty and parameter.name not in values:
            raise UserError(f'config.augment.{name}.{parameter.name} is missing')
    for key in emphasized:
        if key in _SAME_FOR_ALL or key == 'probability' or isinstance(emphasized[key], bool | str):
            raise UserError(f'config.augment.emphasis.{name}.{key} is the same for all classes')
    if name == 'spectral_masking':
        for section in (values, {**values, **emphasized}):
            if section['min_share'] > section['max_share']:
                raise UserError(
                    f'config.augment.{name}: min_share={section["min_share"]} is above max_share='
                    f'{section["max_share"]}'
                )
    defaults = {p.name: p.default for p in amounts if p.name in emphasized}
    return _Step(name, settings.get('probability', 1.0), {**defaults, **values}, dict(emphasized))


def _check_range(full: str, key: str, value: object) -> None:
    if key == 'fill':
        if value != 'mean' and (isinstance(value, bool | str) or not math.isfinite(value)):
            raise UserError(f"{full}={value!r}: expected 'mean' or a number")
        return
    if key not in _RANGES:
        return
    least, largest, closed = _RANGES[key]
    ok = isinstance(value, int | float) and not isinstance(value, bool) and value <= largest
    if not (ok and (value >= least if closed else value > least)):
        bounds = f'{"at least" if closed else "above"} {least}'
        if largest < math.inf:
            bounds += f' and at most {largest}'
        raise UserError(f'{full}={value!r}: expected a number {bounds}')


def _alternatives(
    one_of: Sequence[Sequence[str]], steps: Mapping[str, _Step]
) -> tuple[tuple[str, ...], ...]:
    for group in one_of:
        if isinstance(group, str):
            raise UserError(
                f'config.augment.one_of holds {group!r}: expected tuples of names, such as ({group!r},)'
            )
        for name in group:
            if name not in steps:
                raise UserError(
                    f'config.augment.one_of names {name!r}: there is no config.augment.{name}'
                )
    return tuple(tuple(group) for group in one_of)


def _class_ids(classes: Sequence[str], labels: Sequence[str] | None) -> tuple[int, ...]:
    if labels is None:
        return ()
    for name in classes:
        if name not in labels:
            raise UserError(
                f'config.augment.emphasis.classes holds {name!r}{config_lib.nearest(name, labels)}'
            )
    return tuple(list(labels).index(name) for name in classes)
