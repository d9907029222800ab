"""Runs what a plan lists: one job after another, those that fail noted, those that are finished kept."""

import collections
import contextlib
import pathlib
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence

import jax

from genre_jax import config as config_lib
from genre_jax import program
from genre_jax import run as run_lib
from genre_jax.blend import run as blend_run
from genre_jax.classical import estimators
from genre_jax.classical import fits as classical_fits
from genre_jax.errors import Stopped, UserError, say
from genre_jax.logbook import read_json
from genre_jax.report.numbers import duration
from genre_jax.reproduce import plan
from genre_jax.reproduce.paper import Blend, Classical, Mean, Network, Trial
from genre_jax.reproduce.plan import Job
from genre_jax.run import folder as run_folder


def run_jobs(jobs: Sequence[Job], workdir: pathlib.Path) -> Iterator[dict[pathlib.Path, str]]:
    """Runs jobs one after another, those first that others need.

    Yields after each {folder: why its job failed}. Raises Stopped on SIGTERM or SIGINT, after saving.
    """
    failed: dict[pathlib.Path, str] = {}
    took_s: dict[str, list[float]] = collections.defaultdict(list)
    for number, job in enumerate(jobs, 1):
        name = f'[{number}/{len(jobs)}] {job.folder.relative_to(workdir)}'
        say(f'{name} ...')
        began_s = time.monotonic()
        reason, kept = _attempt(job, failed)
        seconds = time.monotonic() - began_s
        if reason:
            failed[job.folder] = reason
        elif not kept:
            took_s[_kind(job)].append(seconds)
        outcome = f'failed: {reason}' if reason else _outcome(job)
        took = 'kept' if kept else f'in {duration(seconds, 0)}'
        say(f'{name}: {outcome} ({took}{_left(jobs[number:], took_s)})')
        yield failed


def _kind(job: Job) -> str:
    """Returns what jobs that last equally long have in common."""
    return f'{type(job.way).__name__} {getattr(job.way, "page", "")}'


def _left(jobs: Sequence[Job], took_s: Mapping[str, Sequence[float]]) -> str:
    """Returns how long the jobs that are not finished will take, going by others of their kind."""
    waiting = [job for job in jobs if not (job.folder / 'result.json').exists()]
    known = [statistics.fmean(took_s[_kind(job)]) for job in waiting if took_s.get(_kind(job))]
    if not known:
        return ''
    bound = 'about' if len(known) == len(waiting) else 'more than'
    return f'; {bound} {duration(sum(known), 0)} left'


def _attempt(job: Job, failed: Mapping[pathlib.Path, str]) -> tuple[str, bool]:
    """Runs a job unless it is finished; returns why it failed, and whether it was kept."""
    for member in job.members:
        folder = member.folder
        if folder in failed:
            return f'{folder.name} of {folder.parent.name} failed: {failed[folder]}', False
    log = job.folder / 'log.txt'
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        with log.open('a') as file, contextlib.redirect_stdout(file):
            if _finished(job):
                return '', True
            _run(job)
    except Stopped:
        raise
    except UserError as error:
        return str(error), False
    except Exception as error:
        if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error):
            return 'out of memory: lower train.batch_size or eval.batch_size with --set', False
        job.folder.mkdir(parents=True, exist_ok=True)
        with log.open('a') as file:
            traceback.print_exc(file=file)
        words = ' '.join(str(error).split())[:200]
        return f'{type(error).__name__}: {words} (the rest is in {log})', False
    finally:
        jax.clear_caches()  # each run compiles its own programs
    return '', False


def _finished(job: Job) -> bool:
    """Returns whether the folder holds what it is to hold; a UserError where it holds something else."""
    result = job.folder / ('best.json' if isinstance(job.way, Trial) else 'result.json')
    if not result.exists():
        return False
    match job.way:
        case Network():
            run_folder.check_same_config(job.config, job.folder)
        case Classical():
            _run(job)  # it keeps what is fitted, and refuses a folder of other settings
        case Blend() | Mean():
            # A blend is as old as its members: seconds, and computed anew where one is younger.
            members = [member.folder / 'result.json' for member in job.members]
            return all(each.stat().st_mtime <= result.stat().st_mtime for each in members)
    return True


def _run(job: Job) -> None:
    match job.way:
        case Network():
            program.set_precision(job.config)
            run_lib.run(job.config, job.folder)
        case Classical(model=model):
            chosen = estimators.choose(model, [])
            workdir, protocol = job.folder.parents[2], job.config.split.protocol
            classical_fits.measure(job.config, workdir, chosen, [protocol], folds=0)
        case Blend(leaky=leaky):
            folders = [member.folder for member in job.members]
            recipe = blend_run.Recipe('integer', plan.BLEND_SETTINGS, 'segment', leaky)
            blend_run.run(folders, job.folder, recipe)
        case Mean():
            folds = list(dict.fromkeys(member.folder.parent for member in job.members))
            blend_run.run(folds, job.folder, blend_run.Recipe('mean', {}, 'song', False))
        case Trial():  # as a program of its own
            words = [sys.executable, *job.command[1:]]
            with (job.folder / 'log.txt').open('a') as log:
                done = subprocess.run(words, stdout=log, stderr=subprocess.PIPE, text=True)
                log.write(done.stderr)
            if done.returncode:
                lines = done.stderr.strip().splitlines() or [f'exit code {done.returncode}']
                raise UserError(lines[-1].removeprefix('error: '))


def run_of(job: Job) -> pathlib.Path | None:
    """Returns the folder of the run that a row is about, None where it is not finished."""
    folders = [job.folder]
    if isinstance(job.way, Trial) and job.way.point:
        point = dict(job.way.point).items()
        files = sorted(job.folder.glob('trials/*/config.json'))
        folders = [f.parent for f in files if point <= config_lib.flatten(read_json(f)).items()]
    elif isinstance(job.way, Trial):
        folders = [pathlib.Path(read_json(f)['folder']) for f in job.folder.glob('best.json')]
    return next((folder for folder in folders if (folder / 'result.json').exists()), None)


def _outcome(job: Job) -> str:
    """Returns the figure of a finished job, in words."""
    folder = run_of(job)
    if folder is None:
        return 'finished'
    result = read_json(folder / 'result.json')
    accuracy = result['parts']['test']['segment']['accuracy']
    leaky = ' LEAKY' if result['leaky'] else ''
    return f'{100 * accuracy:.1f} % of the rows or segments of the test part{leaky}'
