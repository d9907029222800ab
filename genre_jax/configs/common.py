"""What the pages of this folder begin with: the defaults, and the arguments behind a page's colon."""

import ml_collections
from ml_collections import config_dict

from genre_jax.config.keys import get_config as get_config

Config = ml_collections.ConfigDict


def optional(kind: type) -> object:
    """Returns a placeholder for a key that may stay None and takes values of `kind`."""
    return config_dict.placeholder(kind)


def table_config(use_length: bool = False) -> Config:
    """Returns what perceptrons on a table of features (docs/datasets/feature_table.md) begin with."""
    config = get_config()
    config.data.update(name='feature_table', root='', index='', use_length=use_length)
    config.data.update(max_per_class=0, seed=0)
    config.features.name = 'table'
    config.model.name = 'mlp'
    config.eval.batch_size = 512
    return config


def parse_arguments(text: str | None, **defaults: object) -> Config:
    """Parses what follows the colon in `--config=page.py:key=value,flag=True`.

    Defaults are typed (bool, int, float or str), or a tuple of all values that the key may have, the default
    first. ValueError, in one line: an unknown key or a value of the wrong type.
    """
    choices = {key: value for key, value in defaults.items() if isinstance(value, tuple)}
    arguments = defaults | {key: values[0] for key, values in choices.items()}
    kinds = {key: type(value) for key, value in arguments.items()}
    for item in filter(None, (text or '').split(',')):
        key, separator, value = item.partition('=')
        if key not in defaults or not separator:
            expected = ', '.join(f'{key}={default}' for key, default in arguments.items())
            raise ValueError(f'config argument {item!r}: expected one of {expected}')
        kind = kinds[key]
        try:
            arguments[key] = {'True': True, 'False': False}[value] if kind is bool else kind(value)
        except (KeyError, ValueError):
            raise ValueError(f'config argument {item!r}: expected {kind.__name__}') from None
        if key in choices and arguments[key] not in choices[key]:
            expected = ', '.join(map(str, choices[key]))
            raise ValueError(f'config argument {item!r}: expected one of {expected}')
    return Config(arguments)
