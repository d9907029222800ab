"""Configs: pages run, values checked once, durations resolved once, unknown keys named.

Nothing else in the package has defaults: what is not in `keys.py` or in a page does not exist.
"""

import json
from collections.abc import Mapping

import ml_collections

from genre_jax.config.durations import Length, duration_steps, every_steps, resolve_length
from genre_jax.config.keys import KEYS, get_config, may_differ_on_resume
from genre_jax.config.names import flatten, nearest
from genre_jax.config.pages import call_page, load_page
from genre_jax.config.sections import Setting, accepted, call_with_section
from genre_jax.errors import UserError


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks every value that no other part of the program checks; UserError names the first wrong one."""
    flat = flatten(config)
    for key in KEYS:
        if key.name not in flat:
            raise UserError(f'config.{key.name} is missing: begin a page with common.get_config()')
        key.check.refuse(key.name, flat[key.name])
    if flat['train.features_once'] and flat['windows.train_draw'] == 'random':
        raise UserError(
            'config.train.features_once=True: windows that are drawn anew have new features; expected '
            "config.windows.train_draw='grid'"
        )
    shortest_s, window_s = flat['windows.train_shortest_s'], flat['windows.window_s']
    if 0 < window_s <= shortest_s:
        raise UserError(
            f'config.windows.train_shortest_s={shortest_s}: expected less than config.windows.window_s='
            f'{window_s}, or 0: windows of one length'
        )
    if flat['train.features_once'] and flat['train.steps_per_dispatch'] > 1:
        raise UserError('config.train.features_once=True: expected config.train.steps_per_dispatch=1')
    if flat['train.steps_per_dispatch'] > 1 and not flat['train.device_resident']:
        raise UserError(
            f'config.train.steps_per_dispatch={flat["train.steps_per_dispatch"]}: expected 1, or '
            'config.train.device_resident=True'
        )


def to_json(config: ml_collections.ConfigDict) -> str:
    """Returns the config as indented JSON, keys sorted."""
    return json.dumps(json.loads(config.to_json_best_effort()), indent=2, sort_keys=True) + '\n'


def differences(old: Mapping, new: Mapping) -> list[str]:
    """Returns in what two configs differ, such as 'optim.learning_rate: 0.001 -> 0.01', a line for each key.

    Both are as config.json holds them; keys are left out that may change on resume. One that the old lacks,
    of an earlier version, had its default.
    """
    new, defaults = flatten(new), flatten(json.loads(to_json(get_config())))
    old = {key: value for key, value in defaults.items() if key in new} | flatten(old)
    return [
        f'{key}: {old.get(key)!r} -> {new.get(key)!r}'
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not may_differ_on_resume(key)
    ]
