"""What may be otherwise when a run is continued: some keys, code and machine."""

import json
import pathlib
from collections.abc import Mapping, Sequence

import ml_collections
from jax.experimental import multihost_utils

from genre_jax import config as config_lib
from genre_jax.config.durations import is_duration, number_and_unit
from genre_jax.config.keys import BY_NAME
from genre_jax.errors import UserError
from genre_jax.logbook import read_json

DIVERGED = 'diverged.json'
# What environment.json says of the code and the machine, and a run may continue without.
_MADE_WITH = ('git_commit', 'python', 'packages', 'backend', 'device_kind', 'devices', 'processes')


def of_config(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> list[str]:
    """Returns how the config differs from that of the run in a folder, a line each; UserError: it may not."""
    file = workdir / 'config.json'
    multihost_utils.sync_global_devices('run folder made')
    if not file.exists():
        return []
    old = config_lib.flatten(read_json(file))
    new = config_lib.flatten(json.loads(config_lib.to_json(config)))
    changes = config_lib.differences(old, new)
    refusals = {line: _refusal(line.partition(':')[0], old, new, workdir) for line in changes}
    lines = [line for line, reason in refusals.items() if reason is not None]
    if lines:
        reasons = dict.fromkeys(f': {reason}' for reason in refusals.values() if reason)
        raise UserError(
            f'--workdir={workdir} holds a run with another config ({"; ".join(lines[:5])}'
            f'{"; ..." if len(lines) > 5 else ""}){"".join(reasons)}: use another --workdir, or the same '
            'config to continue'
        )
    return changes


def _refusal(key: str, old: Mapping, new: Mapping, workdir: pathlib.Path) -> str | None:
    """Returns why a key may not differ, '' without a reason; None where it may."""
    condition = BY_NAME[key].free if key in BY_NAME else False
    if condition == 'diverged':
        return None if (workdir / DIVERGED).exists() else ''
    if condition == 'unwatched':
        watched = old['optim.schedule'] == 'plateau' or old['train.stop_patience']
        return 'plateaus and early stopping count evaluations' if watched else None
    if condition == 'longer':
        return _may_not_grow(old, new, workdir)
    return ''


def _may_not_grow(old: Mapping, new: Mapping, workdir: pathlib.Path) -> str | None:
    (before, unit), (after, new_unit) = (number_and_unit(c['train.length']) for c in (old, new))
    if unit != new_unit or after < before:
        return f'the length may only grow, in {unit}'
    if old['optim.schedule'] == 'cosine':
        return (
            'the rate has its end where the training has it; a new run goes on from this one with '
            f'--config.init.checkpoint={workdir}'
        )
    for key, value in old.items():
        if is_duration(value) and 'percent' in value:
            return f'config.{key}={value!r} is a share of the length'
    return None


def note(before: Mapping, now: Mapping, changes: Sequence[str]) -> dict | None:
    """Returns what environment.json notes of a continuation; None where all is as it was.

    `before` is environment.json, `now` the environment as it is, `changes` those of the config.
    """
    *_, last = [before, *before.get('continued', [])]
    made_with = {name: now[name] for name in _MADE_WITH}
    old = config_lib.flatten({name: last.get(name) for name in made_with})
    new = config_lib.flatten(made_with)
    differ = [f'{key}: {old.get(key)} -> {new[key]}' for key in new if old.get(key) != new[key]]
    changes = [*changes, *differ]
    return made_with | {'changes': changes} if changes else None


def warnings(environment: Mapping) -> list[str]:
    """Returns a line for every continuation that environment.json notes."""
    return [
        f'the run was continued with changes: {"; ".join(each["changes"])}'
        for each in environment.get('continued', [])
    ]
