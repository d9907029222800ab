"""Packed sweeps: runs that differ only in numbers train together as one program.

    packed.run(config, [{'optim.weight_decay': 0.01}, {'optim.weight_decay': 0.03}], [folder, other])

Each run, a member, leaves the folder that `genre_jax.run` leaves, with a config of its own values, and stops
early for itself. What the members have in common, batches and features, is computed once; members are spread
over the devices (genre_jax/sweep/packed/program.py): on CPUs give every core one, JAX_NUM_CPU_DEVICES=2.

Steps are those of separate runs: to the bit where members go one at a time, networks with convolutions on one
CPU; else up to rounding, about 1e-7 of the first loss. Training may grow that as it grows the rounding of a
separate run (docs/sweeps.md): Adam makes full steps of gradients that are rounding noise, a ReLU or an L1
penalty turns over a step earlier or later. Deeper networks at high rates end elsewhere.

A pack keeps its checkpoints in `.pack_NAME/` beside the folder of its first member while it trains. Called
again, `run` leaves members alone that have ended, continues packs from their checkpoints, where members that
ended meanwhile only keep their places, and makes new packs of the others. A member whose loss is not finite
fails alone: `failed.json` in its folder names the step, and the others go on.

W&B takes one run per process: members are not tracked there.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Mapping, Sequence

import jax
import ml_collections

from genre_jax import config as config_lib
from genre_jax import run as run_lib
from genre_jax import sharding
from genre_jax.errors import UserError, say
from genre_jax.loading import run_data
from genre_jax.loading.feed import open_feed
from genre_jax.logbook import Logbook, read_json, write_json
from genre_jax.report import page as report
from genre_jax.run import folder as run_folder
from genre_jax.sweep import space as search_space
from genre_jax.sweep.packed.loop import Member, PackLoop
from genre_jax.sweep.packed.program import Program
from genre_jax.training import step_numbers

Config = ml_collections.ConfigDict
Members = Mapping[pathlib.Path, Config]  # config of each run by its folder

# What only the host reads, at evaluations.
_OF_HOST = (
    'optim.plateau_metric', 'optim.plateau_factor', 'optim.plateau_patience',
    'optim.plateau_min_learning_rate', 'train.stop_metric', 'train.stop_patience', 'eval.select_on',
)  # fmt: skip
# Where these are 0 the step or the state is another one.
_OFF_AT_ZERO = ('optim.clip_norm', 'optim.ema_decay', 'optim.momentum', 'train.stop_patience')


def packable(key: str, value: object) -> bool:
    """Tells whether runs may train as one program that differ in a config key, of which this is a value."""
    return key in _OF_HOST or step_numbers.is_number(key, value)


def run(config: Config, points: Sequence[Mapping[str, object]], folders: Sequence[pathlib.Path]) -> None:
    """Runs, or continues, all points; those that differ in more than numbers in packs of their own.

    `config` is whole and checked; a point holds values of config keys, and has its run in its folder. A
    mistake in the config, a point or the data is a UserError; SIGTERM and SIGINT raise
    genre_jax.errors.Stopped, after saving.
    """
    if jax.process_count() > 1:
        raise UserError('a packed sweep runs in one process: start it without --distributed')
    configs = {folder: _at_point(config, point) for folder, point in zip(folders, points, strict=True)}
    for one in configs.values():
        mesh = sharding.make_mesh(sizes=one.mesh)
        if mesh.shape['data'] != mesh.size:
            raise UserError(
                'config.mesh: a packed sweep spreads its runs along data: expected fsdp=1, model=1'
            )
        if one.eval.excerpts_s:
            raise UserError(
                f'config.eval.excerpts_s={tuple(one.eval.excerpts_s)}: a packed sweep tests whole windows '
                'alone: expected ()'
            )
        run_lib.check(one, mesh)
    with contextlib.ExitStack() as held:
        for folder, one in configs.items():
            held.enter_context(run_folder.own(folder))
            run_folder.check_same_config(one, folder)
            if (folder / 'result.json').exists() and not (folder / 'report.html').exists():
                report.write_report(folder)
        packs = _packs_begun(configs)
        placed = [folder for members in packs.values() for folder in members]
        packs |= _new_packs({f: c for f, c in configs.items() if f not in placed and not _ended(f)})
        for number, (place, members) in enumerate(packs.items(), 1):
            say(f'pack {number} of {len(packs)}: {len(members)} runs')
            _train(place, members)
            shutil.rmtree(place)
    failed = [folder for folder in folders if (folder / 'failed.json').exists()]
    say(f'{len(folders) - len(failed)} of {len(folders)} runs have finished')
    for folder in failed:
        say(f'{folder} failed: {read_json(folder / "failed.json")["message"]}')


def _at_point(config: Config, point: Mapping[str, object]) -> Config:
    """Returns the config of a run; an unknown key, or a value that cannot be, is a UserError."""
    known = config_lib.flatten(config)
    for key in point:
        if key not in known:
            raise UserError(f'unknown key config.{key}{config_lib.nearest(key, known)}')
    try:
        one = search_space.apply(config, point)
    except TypeError as error:
        raise UserError(f'{dict(point)}: {" ".join(str(error).split())}') from None
    config_lib.validate(one)
    return one


def _ended(folder: pathlib.Path) -> bool:
    return any((folder / name).exists() for name in ('result.json', 'failed.json'))


def _packs_begun(configs: Members) -> dict[pathlib.Path, Members]:
    """Finds packs that were cut off; returns the configs of their members by folder."""
    resolved = {folder.resolve(): folder for folder in configs}
    packs = {}
    for folder in configs:
        if _ended(folder) or not (folder / 'config.json').exists():
            continue
        if not (folder / 'pack.json').exists():
            raise UserError(
                f'{folder} holds a run that was begun by itself: continue it with genre_jax.main, or '
                'delete it'
            )
        place = (folder / read_json(folder / 'pack.json')['pack']).resolve()
        if place in packs or not (place / 'members.json').exists():
            continue  # a pack that is gone trains again
        packs[place] = {}
        for name in read_json(place / 'members.json')['members']:
            member = (place / name).resolve()
            if member in resolved:
                packs[place][resolved[member]] = configs[resolved[member]]
            elif _ended(member):
                flat = config_lib.flatten(read_json(member / 'config.json'))
                numbers = {k: v for k, v in flat.items() if step_numbers.is_number(k, v)}
                packs[place][member] = step_numbers.with_values(configs[folder], numbers)
            else:
                raise UserError(
                    f'{folder} trains in a pack with {member}: give both, or delete {place} to begin again'
                )
    return packs


def _new_packs(configs: Members) -> dict[pathlib.Path, Members]:
    """Divides runs into packs of those that differ only in what is packable."""
    by_rest: dict[str, list[pathlib.Path]] = {}
    for folder, config in configs.items():
        flat = config_lib.flatten(config)
        # Rows are drawn by the seed then, and the scaler of a table is fitted to them.
        fixed = ('seed',) if config.windows.balance != 'none' else ()
        rest = {k: v for k, v in flat.items() if k in fixed or not packable(k, v)}
        rest['off'] = [key for key in _OFF_AT_ZERO if not flat[key]]
        by_rest.setdefault(json.dumps(rest, default=str, sort_keys=True), []).append(folder)
    packs = {}
    for folders in by_rest.values():
        content = [(str(folder), config_lib.to_json(configs[folder])) for folder in folders]
        name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
        place = folders[0].resolve().parent / f'.pack_{name}'
        packs[place] = {folder: configs[folder] for folder in folders}
    return packs


def _train(place: pathlib.Path, configs: Members) -> None:
    """Trains one pack to its end."""
    started_s = time.monotonic()
    first = next(iter(configs.values()))
    mesh = sharding.make_mesh(sizes=first.mesh)
    flat = [config_lib.flatten(config) for config in configs.values()]
    # The numbers in which the members differ and which the step knows.
    varied = [
        key
        for key, value in flat[0].items()
        if step_numbers.is_number(key, value) and any(other[key] != value for other in flat)
    ]
    # What one member has not may yet be a part of the step: a penalty, for instance.
    in_use = {key: next((each[key] for each in flat if each[key]), 0) for key in varied}
    config = step_numbers.with_values(first, in_use | {'seed': first.seed})
    front_end, source = run_lib.check(config, mesh)
    data = run_data.open_data(config)
    job = run_lib.open_job(config, data, mesh, front_end, source)
    place.mkdir(exist_ok=True)
    names = [os.path.relpath(folder, place) for folder in configs]
    write_json(place / 'members.json', {'members': names})
    by_seed, members = {first.seed: data}, []
    quiet = step_numbers.with_values(config, {'tracking.wandb': 'off', 'tracking.tensorboard': False})
    for folder, own in configs.items():
        if own.seed not in by_seed:
            tables = run_data.make_tables(own, data.dataset, data.split)
            by_seed[own.seed] = dataclasses.replace(data, tables=tables)
        live = not _ended(folder)
        if live:
            # Before config.json: a folder with that and without this was begun by a separate run.
            pack = {'pack': os.path.relpath(place, folder), 'runs': len(configs)}
            write_json(folder / 'pack.json', pack)
            run_folder.write_step_zero(own, folder, data.dataset, data.split, source)
        member = dataclasses.replace(job, config=own)
        members.append(Member(member, by_seed[own.seed], Logbook(folder, quiet), live))
    logbook = Logbook(place, quiet)
    run_data.announce(data, logbook)
    reading = {
        'train.steps_per_dispatch': 1,
        'train.device_resident': config.train.device_resident and 'seed' not in varied,
    }
    feed = open_feed(step_numbers.with_values(config, reading), data.dataset, job.stored, mesh)
    values = [{key: each[key] for key in varied} for each in flat]
    PackLoop(Program(job, values), members, logbook, feed, started_s).train()
