"""What lies in a run folder, and whose it is."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import flax
import jax
import ml_collections
from jax.experimental import multihost_utils

from genre_jax import config as config_lib
from genre_jax.convert import store
from genre_jax.convert.engine import Converted
from genre_jax.errors import UserError
from genre_jax.loading import prepared, splits
from genre_jax.logbook import environment, read_json, summary_lines, write_json
from genre_jax.report import page as report
from genre_jax.training.job import Job


@contextlib.contextmanager
def own(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the run folder for this program alone; a killed program lets go of it by itself.

    Args:
        workdir: the run folder.

    Raises:
        UserError: it cannot be written, or another program is running in it.
    """
    if jax.process_index() != 0:
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / '.lock').open('w')
    except OSError as error:
        raise UserError(
            f'--workdir={workdir} cannot be used ({error.strerror}): name a folder that can be written'
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f'--workdir={workdir}: another program is running in it') from None
        yield


def check_same_config(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Refuses a run folder that holds a run with another config.

    Args:
        config: the whole config.
        workdir: the run folder.

    Raises:
        UserError: it does.
    """
    file = workdir / 'config.json'
    multihost_utils.sync_global_devices('run folder made')
    if not file.exists():
        return
    changes = config_lib.differences(read_json(file), json.loads(config_lib.to_json(config)))
    if changes:
        raise UserError(
            f'--workdir={workdir} holds a run with another config ({"; ".join(changes[:5])}'
            f'{"; ..." if len(changes) > 5 else ""}): use another --workdir, or the same config to continue'
        )


def write_step_zero(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    dataset: prepared.Dataset,
    split: splits.Split,
    source: Converted | None,
) -> None:
    """Writes config and environment, or checks that the data are those the run began with.

    Args:
        config: the whole config.
        workdir: the run folder.
        dataset: the prepared dataset.
        split: of its tracks.
        source: the checkpoint to begin with, if any.

    Raises:
        UserError: the data have changed.
    """
    file = workdir / 'environment.json'
    hours = sum(track['n_samples'] for track in dataset.tracks) / dataset.sample_rate_hz / 3600
    now = environment() | {
        'dataset': {
            'name': dataset.manifest['name'],
            'description': dataset.manifest['description'],
            'fingerprint': dataset.manifest['fingerprint'],
            'sample_rate_hz': dataset.sample_rate_hz,
            'recordings': len(dataset.tracks),
            'hours': round(hours, 4) if dataset.kind == 'audio' else 0.0,
            'group_key': dataset.manifest['group_key'],
        },
        'init': source and {'title': source.title, 'parameters_sha256': source.sha256},
        'split_fingerprint': split.fingerprint([track['track'] for track in dataset.tracks]),
    }
    if file.exists():
        old = read_json(file).get('dataset', {}).get('fingerprint', '')
        new = now['dataset']['fingerprint']
        if old != new:
            raise UserError(
                f'the data have changed since the run in --workdir={workdir} began (fingerprint '
                f'{old[:12]} -> {new[:12]}): restore them, or use another --workdir'
            )
    elif jax.process_index() == 0:
        write_json(file, now)
    if jax.process_index() == 0 and not (workdir / 'config.json').exists():
        write_json(workdir / 'config.json', json.loads(config_lib.to_json(config)))


def save_model(
    job: Job, variables: Mapping, title: str, source: Mapping, folder: pathlib.Path
) -> None:
    """Writes a model with its front end as config.init.checkpoint and others read it.

    `variables` are nested; title and source say where they come from.
    """
    settings = json.loads(config_lib.to_json(job.config))['model']
    model = Converted(
        title=title,
        model=settings.pop('name'),
        settings=settings,
        num_classes=len(job.stored.labels),
        features=job.config.features.name,
        picture=job.picture,
        variables=flax.traverse_util.flatten_dict(jax.device_get(variables), sep='/'),
        rows=[],
        labels=list(job.stored.labels),
    )
    front_end = dataclasses.asdict(job.front_end)
    store.save(model, folder, {**source, 'front_end': front_end})


def show_again(workdir: pathlib.Path) -> None:
    """Prints what a finished run came to, and writes its page anew.

    Args:
        workdir: the run folder.
    """
    if jax.process_index() == 0:
        result = read_json(
            workdir / 'result.json', 'delete it, and the last checkpoints are evaluated again'
        )
        report.write_report(workdir)
        wandb_runs: Sequence[pathlib.Path] = sorted(workdir.glob('wandb/*run-*'))
        print(f'{workdir} holds a finished run: nothing to do')
        print('\n'.join(summary_lines(result, workdir, str(wandb_runs[-1]) if wandb_runs else '')))
