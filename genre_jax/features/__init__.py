"""Front ends, on the device: `(..., time) -> (..., frames, bins)`, each a named set of constants."""

from __future__ import annotations

from collections.abc import Mapping

from genre_jax import config as config_lib
from genre_jax.errors import UserError
from genre_jax.features import log_mel

FLAVOURS = log_mel.FLAVOURS


def build(settings: Mapping) -> log_mel.LogMel:
    """Builds the front end of the section config.features.

    Args:
        settings: 'name' of a flavour; further keys override its fields.

    Raises:
        UserError: unknown flavour or field.
    """
    name = settings['name']
    if name not in FLAVOURS:
        raise UserError(f'config.features.name={name!r}{config_lib.nearest(name, FLAVOURS)}')
    return config_lib.call_with_section(FLAVOURS[name], 'features', settings, skip=('name',))
