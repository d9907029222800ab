"""One file per published model. Each exposes `Model(num_classes, **config.model)`; layers.py adds to it."""

import importlib
import pathlib
from collections.abc import Mapping

import flax.linen as nn

from genre_jax import config as config_lib
from genre_jax.errors import UserError
from genre_jax.models import layers


def find(name: str) -> type[nn.Module]:
    """Returns the Model of a module of this package; UserError: there is no such model."""
    known = sorted(
        p.stem
        for p in pathlib.Path(__file__).parent.glob('*.py')
        if p.stem not in ('__init__', 'layers', 'network')
    )
    if name not in known:
        raise UserError(f'config.model.name={name!r}{config_lib.nearest(name, known)}')
    return importlib.import_module(f'genre_jax.models.{name}').Model


def takes(name: str) -> dict[str, config_lib.Setting]:
    """Returns the further keys of config.model that a model takes."""
    return config_lib.accepted(layers.of(find(name)), fixed=('num_classes',))


def build(settings: Mapping, num_classes: int) -> nn.Module:
    """Builds the model of the section config.model: 'name' of a module here, and keys for its Model.

    Returns a module called with features float32 (batch, frames, bins) and `train`, which returns logits
    (batch, num_classes) and an embedding (batch, units). Unknown models and keys are a UserError.
    """
    model = find(settings['name'])
    if 'layers' in settings or 'pooling' in settings:
        model = layers.of(model)
    return config_lib.call_with_section(model, 'model', settings, skip=('name',), num_classes=num_classes)
