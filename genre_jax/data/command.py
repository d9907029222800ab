"""The command lines of prepare and audit: a dataset's name, and its keys as flags."""

from collections.abc import Sequence

import ml_collections

from genre_jax import config as config_lib
from genre_jax.config import keys, overrides, sections
from genre_jax.data import request
from genre_jax.errors import UserError

_OWN = {key.name.partition('.')[2]: key for key in keys.KEYS if key.name.startswith('data.')}
_NOT_HERE = ('name', 'classes')  # all classes are prepared, and looked through
_FORMER = {'source': 'root', 'out': 'prepared_dir'}


def settings_from(argv: Sequence[str]) -> ml_collections.ConfigDict:
    """Returns config.data for ['gtzan', '--root=DIR', ...]; former names of keys are taken as well."""
    config = keys.get_config()
    settings = config.data
    settings.name = argv[0]
    takes = {name: type(key.default) for name, key in _OWN.items() if name not in _NOT_HERE}
    takes |= {key: setting.type for key, setting in sections.settings_of('data', argv[0]).items()}
    for item in argv[1:]:
        key, separator, value = item.removeprefix('--').partition('=')
        if not separator:
            raise UserError(f'{item!r}: expected --key=value')
        key = _FORMER.get(key, key)
        if key not in takes:
            raise UserError(f'--{key}: {argv[0]} has no such key{config_lib.nearest(key, takes)}')
        try:
            settings[key] = overrides.parse(key, value, takes[key])
        except ValueError as error:  # a section with a dot in the name of a key
            raise UserError(f'{item}: {error}') from None
    config_lib.validate(config)
    return settings


def names() -> str:
    """Returns what --help says of the datasets."""
    return f'Datasets: {", ".join(request.names())}.'
