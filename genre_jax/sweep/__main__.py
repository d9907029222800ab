"""A sweep: many runs that differ in some hyperparameters, and what comes of them.

    python -m genre_jax.sweep --config=configs/mlp_features.py --workdir=sweeps/mlp \
        --config.data.root=features_3_sec.csv [--method=random --trials=20] [--seeds=3]

The page's sweep() says what is tried (genre_jax/sweep/space.py). Every trial is a run of its own in
WORKDIR/trials/NUMBER, what it prints in its log.txt; its checkpoints are deleted when it has ended, its
model is kept. The same command continues: what is finished is kept, a trial that was cut off goes on in its
folder. Several programs share the trials of one --workdir; on machines without common files each has its
own --workdir of the same name, and all have the same --storage, a database.

Trials are ranked by the validation part. The test figures of the one that validation chose are shown, and
no others. Leaves a page, index.html, sweep.csv, sweep.md, best.json and best_config.json.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import ml_collections
from absl import flags, logging

from genre_jax import program
from genre_jax.errors import say

if TYPE_CHECKING:
    from genre_jax.sweep.study import Claim, SharedStudy

_METHOD = flags.DEFINE_string('method', '', "'grid', 'random' or 'tpe', instead of the page's")
_TRIALS = flags.DEFINE_integer('trials', None, "number of trials, instead of the page's")
_METRIC = flags.DEFINE_string('metric', '', "what trials are ranked by, instead of the page's")
_SEEDS = flags.DEFINE_integer('seeds', 1, 'trainings of each trial, ranked by their mean', lower_bound=1)
_PRUNE = flags.DEFINE_bool(
    'prune', None, "end trials below the others' median early; without the flag where the method is 'tpe'"
)
_STORAGE = flags.DEFINE_string(
    'storage',
    '',
    'URL of a database for several machines, or journal:FILE on a network file system; else WORKDIR/study.db',
)
_PACKED = flags.DEFINE_bool(
    'packed', False, 'train the points that differ in numbers only together, as one program'
)
_EXPORT = flags.DEFINE_string('export_wandb', '', 'only write this YAML file for `wandb sweep`')


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    config, workdir = program.prepare(argv)

    import jax

    from genre_jax.errors import UserError
    from genre_jax.loading import run_data
    from genre_jax.logbook import write_text
    from genre_jax.sweep import commands as sweep_commands
    from genre_jax.sweep import space as search_space
    from genre_jax.sweep import study as sweep_study
    from genre_jax.sweep import table as sweep_report

    page = program.page()
    sweep = search_space.load(page)
    method, trials, metric = _METHOD.value or sweep.method, _TRIALS.value, _METRIC.value
    if trials is None and (method == 'grid') == (sweep.method == 'grid'):
        trials = sweep.trials  # the size of a grid is no number of trials for the others
    sweep = dataclasses.replace(sweep, method=method, trials=trials, metric=metric or sweep.metric)
    sweep = search_space.check(sweep, config, f'sweep() of {page}')
    if _EXPORT.value:
        text = sweep_commands.wandb_yaml(sweep, page, config, workdir)
        write_text(pathlib.Path(_EXPORT.value), text)
        say(f'wrote {_EXPORT.value}: `wandb sweep {_EXPORT.value}`, then `wandb agent` as it says')
        return
    if jax.process_count() > 1:
        raise UserError(
            '--distributed: a trial of a sweep is trained by one process: start one sweep on each machine '
            'with the same --storage'
        )
    if 'seed' in sweep.space and _SEEDS.value > 1:
        raise UserError(f'--seeds={_SEEDS.value}: sweep() of {page} has the seed in its space')
    if _PACKED.value and (sweep.method == 'tpe' or _PRUNE.value):
        raise UserError(
            f'--packed with method={sweep.method!r} and --prune={bool(_PRUNE.value)}: expected a grid or '
            'random points, known before they are trained, each trained to its end'
        )
    if not any(key.startswith('data.') for key in sweep.space):
        # Before the first trial, for what may be wrong with the data.
        run_data.make_split(config, run_data.open_dataset(config))
    prune = sweep.method == 'tpe' if _PRUNE.value is None else _PRUNE.value
    identity = {
        'sweep': sweep.to_json() | {'seeds': _SEEDS.value, 'prune': prune},
        'config': json.loads(config.to_json_best_effort()),
    }
    study = sweep_study.SharedStudy(workdir, sweep, identity, _STORAGE.value, prune, _SEEDS.value)
    if _PACKED.value:
        train_packed(study, config)
    run_trials(study, config)
    with study.lock('report'):  # programs that end at the same time
        sweep_report.report(study, page, config)


def train_packed(study: SharedStudy, config: ml_collections.ConfigDict) -> None:
    """Trains all points together that can be, to finished runs, which `run_trials` then notes."""
    from genre_jax.sweep import packed
    from genre_jax.sweep import space as search_space

    packs = {}
    for number, point in enumerate(search_space.make_points(study.sweep)):
        for seed, folder in enumerate(study.run_folders(number)):
            if (folder / 'result.json').exists():
                continue
            whole = {'seed': config.seed + seed} | point
            together = {key: value for key, value in whole.items() if packed.packable(key, value)}
            apart = {key: value for key, value in whole.items() if key not in together}
            _, points, folders = packs.setdefault(repr(sorted(apart.items())), (apart, [], []))
            points.append(together)
            folders.append(folder)
    for apart, points, folders in packs.values():
        # One by itself is trained as any other trial, unless it has begun with others.
        if len(points) > 1 or (folders[0] / 'pack.json').exists():
            values = ''.join(f', {key}={value}' for key, value in apart.items())
            say(f'{len(points)} trainings together{values}')
            packed.run(search_space.apply(config, apart), points, folders)


def run_trials(study: SharedStudy, config: ml_collections.ConfigDict) -> None:
    """Trains trials until none is left to begin or continue; Stopped on SIGTERM or SIGINT, after saving."""
    import jax

    from genre_jax.errors import Pruned, UserError
    from genre_jax.sweep import table as sweep_report
    from genre_jax.sweep.study import State

    started_s, ended_before = time.monotonic(), sweep_report.ended(study)
    while (claim := study.claim()) is not None:
        values = ', '.join(f'{key}={value}' for key, value in claim.point.items())
        say(f'trial {claim.trial.number}: {values}')
        with study.signs_of_life(claim):
            try:
                value, figures = _train(study, claim, config)
                end = {'state': State.COMPLETE, 'value': value, 'figures': figures}
            except Pruned:
                end = {'state': State.PRUNED}
            except UserError as error:
                end = {'state': State.FAIL, 'reason': str(error)}
            except Exception as error:
                if not (isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error)):
                    raise
                reason = 'out of memory: lower config.train.batch_size or config.eval.batch_size'
                end = {'state': State.FAIL, 'reason': reason}
        study.end(claim, **end)
        for run_folder in study.run_folders(claim.trial.number):
            for name in ('checkpoints', 'checkpoints_sha256'):
                shutil.rmtree(run_folder / name, ignore_errors=True)
        jax.clear_caches()  # each trial compiles its own programs
        # What the data are warned of is the same in every trial.
        logging.set_verbosity(logging.ERROR)
        say(sweep_report.progress(study, time.monotonic() - started_s, ended_before))


def _train(study: SharedStudy, claim: Claim, config: ml_collections.ConfigDict) -> tuple[float, dict]:
    """Trains one trial, or what is left of it; returns its metric and what the tables show."""
    from genre_jax import config as config_lib
    from genre_jax import run
    from genre_jax.logbook import read_json
    from genre_jax.sweep import space as search_space

    one = search_space.apply(config, claim.point)
    config_lib.validate(one)
    folders = study.run_folders(claim.trial.number)
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True, exist_ok=True)
        # A trial is judged early by its first training alone.
        watch = functools.partial(_watch, study, claim, folder) if number == 0 else None
        with (folder / 'log.txt').open('a') as log, contextlib.redirect_stdout(log):
            run.run(search_space.apply(one, {'seed': one.seed + number}), folder, watch)
    results, timings = ([read_json(f / name) for f in folders] for name in ('result.json', 'timing.json'))
    found = [search_space.figure(result, study.sweep.metric) for result in results]
    values = [value for value, _ in found]
    figures = {
        'values': values,
        'ci95': found[0][1] if study.seeds == 1 else None,
        'run_s': sum(t['prepare_s'] + t['train_s'] + t['evaluate_s'] for t in timings),
    }
    figures |= {
        key: [result[key] for result in results] for key in ('best_epoch', 'epochs', 'best_parameters_sha256')
    }
    figures |= {key: results[0][key] for key in ('protocol', 'protocol_detail', 'leaky')}
    return sum(values) / len(values), figures


def _watch(study: SharedStudy, claim: Claim, folder: pathlib.Path, step: int, figures: Mapping) -> None:
    """Reports a validation to the study, and ends the trial if it is bad."""
    from genre_jax.errors import Pruned

    file = folder / 'metrics.jsonl'
    lines = file.read_text().splitlines() if file.exists() else []
    # By their number: trials whose batches differ validate after other numbers of steps.
    before = [line for line in map(json.loads, lines) if 'val/loss' in line and line['step'] < step]
    if study.report(claim, len(before) + 1, figures[study.sweep.metric]):
        raise Pruned


if __name__ == '__main__':
    program.run(main)
