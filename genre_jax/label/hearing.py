"""What a checkpoint says of how it hears: its classes, its front end, how long its windows are."""

import bisect
import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from genre_jax import features
from genre_jax.convert import fetch
from genre_jax.convert.engine import Converted
from genre_jax.errors import UserError
from genre_jax.logbook import read_json

_LONGEST_S = 3600  # of a window that is looked for


def labels_of(name: str, source: Converted) -> Sequence[str]:
    """Returns the names of the classes of MODEL; a UserError where they are not known."""
    if source.labels:
        return source.labels
    if not source.num_classes:
        raise UserError(
            f'MODEL={name} has no output layer, and knows no classes: train it on yours, '
            f'config.init.checkpoint={name}, and give the folder of that run'
        )
    found = fetch.labels(name) if name in fetch.PUBLISHED and not pathlib.Path(name).exists() else None
    if not found:
        raise UserError(
            f'MODEL={name} knows {source.num_classes} classes by number alone: name them, in their order, '
            'in a file, one a line or a CSV with a column display_name: --labels=FILE'
        )
    return found


def front_end_of(source: Converted) -> features.FrontEnd:
    """Returns the front end that a checkpoint was trained with."""
    return features.build({'name': source.features, **(source.front_end or {})})


def hears_whole(folder: pathlib.Path, source: Converted) -> bool:
    """Says whether a model was trained on whole recordings, filled up with zeros to the longest one."""
    if source.whole is None and (folder / 'result.json').exists():  # a run of a time when it did not say so
        return not read_json(folder / 'config.json')['windows']['window_s']
    return bool(source.whole)


def heard_at(folder: pathlib.Path, source: Converted, front_end: features.FrontEnd) -> tuple[float, int]:
    """Returns the length of a window in seconds, and the rate of the recordings, that a model knows.

    Of a model of whole recordings it is the length of the longest that it was trained on.
    """
    if source.window_s:
        return source.window_s, source.sample_rate_hz
    if (folder / 'result.json').exists():  # a run of a time when its model did not keep them
        config, environment = (read_json(folder / f'{each}.json') for each in ('config', 'environment'))
        return config['windows']['window_s'], environment['dataset']['sample_rate_hz']
    rate_hz, frames = front_end.sample_rate_hz, source.picture[0]
    if getattr(front_end, 'target_frames', 0):  # it pads whatever it hears to as many
        front_end = dataclasses.replace(front_end, target_frames=0)

    def frames_of(n_samples: int) -> int:
        clip = jax.ShapeDtypeStruct((n_samples,), jnp.float32)
        return jax.eval_shape(front_end.clip, clip).shape[0]

    # The fewest samples that make as many frames as the parameters fit.
    lengths = range(front_end.least_samples, _LONGEST_S * rate_hz)
    found = bisect.bisect_left(lengths, frames, key=frames_of)
    if found == len(lengths):
        raise UserError(f'MODEL={folder} hears {frames} frames at once, more than {_LONGEST_S} s: not read')
    return lengths[found] / rate_hz, rate_hz
