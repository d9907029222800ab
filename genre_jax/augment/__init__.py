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

import functools
import zlib
from collections.abc import Collection, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax import config as config_lib
from genre_jax.augment import mixing, outliers, picture, pitch, waveform
from genre_jax.augment import settings as settings_lib
from genre_jax.data.recordings import Kind
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
_ALL = {'outliers': outliers.outliers, **WAVEFORM, **PICTURE, **MIXING}
_POLICY = ('one_of', 'one_of_probability', 'emphasis')


def takes(name: str) -> dict[str, config_lib.Setting]:
    """Returns the keys of config.augment.NAME; UserError: there is no such augmentation."""
    if name == 'emphasis':
        return {'classes': config_lib.Setting(tuple), 'copies': config_lib.Setting(int)}
    _check_known(name, _ALL)
    # With outliers alone there would be nothing to learn.
    probability = config_lib.Setting(float, needed=name == 'outliers')
    settings = {'probability': probability, **config_lib.accepted(_ALL[name])}
    if name == 'mixup':
        settings |= {'on': config_lib.Setting(str), 'halve': config_lib.Setting(bool)}
    return settings


def _check_known(name: str, known: Collection[str]) -> None:
    if name not in known:
        known = [f'config.augment.{each}' for each in known]
        hint = config_lib.nearest(f'config.augment.{name}', known)
        raise UserError(f'unknown key config.augment.{name}{hint}')


class Augmentation:
    """The section config.augment, checked and ready to be applied.

    Attributes:
        halves: whether mixup turns a batch of 2 N examples into N, as PANNs do.
        mixes: whether labels are mixed.
    """

    def __init__(self, settings: Mapping, labels: Sequence[str] | None) -> None:
        """Checks the section config.augment; `labels`, the dataset's classes, are None while not known.

        Raises a UserError for an unknown name, or an amount that cannot be.
        """
        for name, value in settings.items():
            _check_known(name, (*_ALL, *_POLICY))
            if name in (*_ALL, 'emphasis') and not hasattr(value, 'items'):
                raise UserError(f'config.augment.{name}={value!r}: expected a section of amounts')
        emphasis = dict(settings.get('emphasis') or {})
        self._classes = settings_lib.class_ids(emphasis.pop('classes', ()), labels)
        self._copies = emphasis.pop('copies', 0)
        if not isinstance(self._copies, int) or self._copies < 0:
            raise UserError(
                f'config.augment.emphasis.copies={self._copies!r}: expected a whole number of 0 or more'
            )
        for name in emphasis:
            if name not in settings:
                raise UserError(f'config.augment.emphasis.{name}: there is no config.augment.{name}')
            if name in ('outliers', *MIXING):
                raise UserError(f'config.augment.emphasis.{name} is the same for all classes')
        mixup = settings.get('mixup') or {}
        self._mixup_on = mixup.get('on', 'picture')
        if self._mixup_on not in ('waveform', 'picture'):
            raise UserError(f"config.augment.mixup.on={self._mixup_on!r}: expected 'waveform' or 'picture'")
        self.halves = bool(mixup.get('halve', False))
        self._steps = {
            name: settings_lib.make_step(
                name, function, takes(name), settings[name], emphasis.get(name) or {}
            )
            for name, function in _ALL.items()
            if name in settings
        }
        self.mixes = any(name in MIXING for name in self._steps)
        self._one_of = settings_lib.alternatives(settings.get('one_of') or (), self._steps)
        self._one_of_probability = settings.get('one_of_probability', 1.0)
        settings_lib.check_range('config.augment.one_of_probability', 'probability', self._one_of_probability)

    def copies(self) -> dict[int, int]:
        """Returns how many more copies of a class stand in an epoch, by its number."""
        return dict.fromkeys(self._classes, self._copies) if self._copies else {}

    def check_kind(self, kind: Kind) -> None:
        """Refuses augmentations that stored pictures or rows of features do not have: a UserError."""
        for name in self._steps:
            if kind != 'audio' and (name != 'mixup' or self._mixup_on == 'waveform'):
                raise UserError(
                    f'config.augment.{name} is for audio, and the dataset holds data of kind {kind!r}: '
                    f'take it out, or use config.augment.mixup on pictures'
                )

    def check_features_once(self) -> None:
        """Refuses augmentations of what the features would be computed of anew: a UserError."""
        for name in self._steps:
            if name in ('outliers', *WAVEFORM) or (name == 'mixup' and self._mixup_on == 'waveform'):
                raise UserError(
                    f'config.augment.{name} changes what features are computed of: take it out, or '
                    'config.train.features_once'
                )

    def check_tonics(self, learns: bool) -> None:
        """Refuses augmentations after which an example has another tonic, or none: a UserError.

        That is what the model `learns`, or what the front end is told: what comes after it may be mixed.
        """
        others = ('outliers', *MIXING) if learns else ('mixup',) * (self._mixup_on == 'waveform')
        for name in ('speed', 'pitch_shift', *others):
            if name in self._steps:
                what = 'config.model learns' if learns else 'config.features is told'
                raise UserError(f'config.augment.{name} changes the tonic, which {what}: take it out')

    def check_picture(self, frames: int, bins: int) -> None:
        """Refuses stripes that may be wider than a picture: a UserError."""
        if 'spec_augment' not in self._steps:
            return
        amounts = self._steps['spec_augment'].amounts
        for name, total, longer in (
            ('time_width_frames', frames, ', or raise config.windows.window_s'),
            ('mel_width_bins', bins, ''),
        ):
            if amounts[name] > total:
                raise UserError(
                    f'config.augment.spec_augment.{name}={amounts[name]} is more than the {total} that a '
                    f'picture has: lower it{longer}'
                )

    def replaced(
        self, key: jax.Array, waveforms: jax.Array, targets: jax.Array, index: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Puts sounds that are no music in the place of some waveforms, all classes alike as their target.

        Arguments as `mixed`; returns waveforms and targets.
        """
        if 'outliers' not in self._steps:
            return waveforms, targets
        active = self._active(key, 'outliers', index)
        sound = functools.partial(outliers.outliers, **self._steps['outliers'].amounts)

        def one(waveform, key, active) -> jax.Array:
            return jax.lax.cond(active, lambda: sound(key, waveform), lambda: waveform)

        def one_by_one(*clips) -> jax.Array:  # where nothing is computed for the others
            return jax.lax.map(lambda clip: one(*clip), clips)

        clips = waveforms, _keys(key, 'outliers', index), active
        waveforms = jax.lax.platform_dependent(
            *clips, cpu=one_by_one, default=functools.partial(over_clips, one)
        )
        return waveforms, jnp.where(active[:, None], 1 / targets.shape[-1], targets)

    def waveforms(
        self, key: jax.Array, waveforms: jax.Array, labels: jax.Array, index: jax.Array
    ) -> jax.Array:
        """Augments waveforms, float32 (batch, time), before the front end.

        `labels` are int32 (batch,), and so is `index`, each example's place in the batch of all devices.
        """
        return self._each(WAVEFORM, key, waveforms, labels, index)

    def pictures(self, key: jax.Array, pictures: jax.Array, labels: jax.Array, index: jax.Array) -> jax.Array:
        """Augments spectrograms; arguments as `waveforms`, with pictures (batch, frames, bins)."""
        return self._each(PICTURE, key, pictures, labels, index)

    def mixed(
        self, stage: str, key: jax.Array, examples: jax.Array, targets: jax.Array, index: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mixes neighbours of an even number of examples, 'waveform' or 'picture' as `stage` says.

        `targets` are shares (batch, classes) that sum to 1, `index` is as in `waveforms`. Returns examples
        and targets, half as many where `halves`.
        """
        for name, function in MIXING.items():
            if name not in self._steps or stage != (self._mixup_on if name == 'mixup' else 'picture'):
                continue
            pairs = [self._active(key, name, index), _keys(key, name, index), index]
            pairs += [examples, _neighbours(examples), targets, _neighbours(targets)]
            if name == 'mixup' and self.halves:
                # One key for a pair: even share, odd 1 - share.
                pairs = [each[::2] for each in pairs]
            active, keys, index, examples, others, targets, other_targets = pairs
            mix = functools.partial(function, **self._steps[name].amounts)
            new, share = jax.vmap(mix)(keys, examples, others)
            share = jnp.where(active, share, 1.0)[:, None]
            shape = (-1, *[1] * (examples.ndim - 1))
            examples = jnp.where(active.reshape(shape), new, examples)
            targets = share * targets + (1 - share) * other_targets
        return examples, targets

    def _each(self, functions, key, examples, labels, index) -> jax.Array:
        strong = jnp.isin(labels, jnp.asarray(self._classes, jnp.int32))
        for name, function in functions.items():
            if name not in self._steps:
                continue
            step = self._steps[name]
            fixed = {k: v for k, v in step.amounts.items() if k not in step.emphasized}
            varying = {k: jnp.where(strong, v, step.amounts[k]) for k, v in step.emphasized.items()}

            augment = functools.partial(function, **fixed)

            def one(example, key, active, amounts, augment=augment) -> jax.Array:
                return jnp.where(active, augment(key, example, **amounts), example)

            examples = over_clips(
                one, examples, _keys(key, name, index), self._active(key, name, index), varying
            )
        return examples

    def _active(self, key: jax.Array, name: str, index: jax.Array) -> jax.Array:
        """Draws which examples an augmentation is for, bool (batch,)."""

        def draw(purpose: str) -> jax.Array:
            return jax.vmap(jax.random.uniform)(_keys(key, purpose, index))

        active = draw(f'{name}, probability') < self._steps[name].probability
        listed = np.array([name in group for group in self._one_of], bool)
        if listed.any():
            chosen = jnp.floor(draw('one_of') * len(listed)).astype(jnp.int32)
            active &= jnp.asarray(listed)[chosen]
            active &= draw('one_of_probability') < self._one_of_probability
        return active


def _keys(key: jax.Array, purpose: str, index: jax.Array) -> jax.Array:
    """Returns a key for each example, whatever the number of devices its batch is divided among."""
    # A number for the text, the same in every process: hash() is not.
    number = zlib.crc32(purpose.encode())
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.fold_in(key, number)))(index)


def _neighbours(values: jax.Array) -> jax.Array:
    """Swaps rows 2i and 2i + 1."""
    return values.reshape(-1, 2, *values.shape[1:])[:, ::-1].reshape(values.shape)
