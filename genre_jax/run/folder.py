"""What lies in a run folder, and whose it is."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import flax
import jax
import ml_collections

from genre_jax import config as config_lib
from genre_jax import sharding
from genre_jax.convert import store
from genre_jax.convert.engine import Converted
from genre_jax.data import storage
from genre_jax.data.recordings import OVER_TIME
from genre_jax.errors import UserError, say
from genre_jax.loading import prepared, splits
from genre_jax.logbook import environment, read_json, summary_lines, write_json
from genre_jax.report import page as report
from genre_jax.run import changes
from genre_jax.training.job import Job

_KEPT_RESULT = 'result_at_step_{}.json'


@contextlib.contextmanager
def own(workdir: pathlib.Path, key: str = '--workdir') -> Iterator[None]:
    """Holds a folder, that of a flag, for this program alone; a killed program lets go of it by itself.

    One that cannot be written, that another program is running in, or that not all hosts see, is a UserError.
    """
    if jax.process_index() != 0:
        sharding.check_shared(workdir, key)
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / '.lock').open('w')
    except OSError as error:
        raise UserError(
            f'{key}={workdir} cannot be used ({error.strerror}): name a folder that can be written'
        ) from None
    with lock:
        if not storage.take_lock(lock, wait=False):
            raise UserError(f'{key}={workdir}: another program is running in it')
        storage.check_renames(workdir, key)
        sharding.check_shared(workdir, key)
        yield


def check_same_config(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Refuses a folder that holds a run, or what a study made, with another config."""
    if lines := changes.of_config(config, workdir):
        raise UserError(
            f'--workdir={workdir} holds a run with another config ({"; ".join(lines)}): use another --workdir'
        )


def keep_result(workdir: pathlib.Path) -> None:
    """Puts the result of a run that shall train longer aside, under the steps that it was of."""
    if jax.process_index() == 0:
        file = workdir / 'result.json'
        file.rename(workdir / _KEPT_RESULT.format(read_json(file)['steps']))


def about(dataset: prepared.Dataset) -> dict:
    """Returns what environment.json says of a dataset."""
    hours = sum(track['n_samples'] for track in dataset.tracks) / dataset.sample_rate_hz / 3600
    return {
        'name': dataset.manifest['name'],
        'description': dataset.manifest['description'],
        'fingerprint': dataset.manifest['fingerprint'],
        'sample_rate_hz': dataset.sample_rate_hz,
        'recordings': len(dataset.tracks),
        'hours': round(hours, 4) if dataset.kind in OVER_TIME else 0.0,
        'group_key': dataset.manifest['group_key'],
    }


def about_weights(title: str, sha256: str, licence: str | None) -> dict:
    """Returns what environment.json says of weights: a checkpoint's, or a finished model's."""
    return {'title': title, 'parameters_sha256': sha256, 'licence': licence}


def write_step_zero(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    dataset: prepared.Dataset,
    split: splits.Split,
    source: Converted | None,
    changed: Sequence[str] = (),
) -> list[str]:
    """Writes config and environment, or refuses data or a split that are not those the run began with.

    Returns what is to be told of a continuation by other code, on another machine, or with a changed config.
    """
    file = workdir / 'environment.json'
    now = environment() | {
        'dataset': about(dataset),
        'init': source and about_weights(source.title, source.sha256, source.licence),
        'split_fingerprint': split.fingerprint([track['track'] for track in dataset.tracks]),
    }
    notes = []
    if file.exists():
        before = read_json(file)
        old, new = before.get('dataset', {}).get('fingerprint', ''), now['dataset']['fingerprint']
        if old != new:
            raise UserError(
                f'the data have changed since the run in --workdir={workdir} began (fingerprint '
                f'{old[:12]} -> {new[:12]}): restore them, or use another --workdir'
            )
        if before.get('split_fingerprint') != now['split_fingerprint']:
            raise UserError(
                f'the split of the data is another than when the run in --workdir={workdir} began, by commit '
                f'{before.get("git_commit")}: continue with that code, or use another --workdir'
            )
        if changed and list(workdir.glob(_KEPT_RESULT.format('*'))):
            changed = [*changed, 'its test part had been opened before']
        if noted := changes.note(before, now, changed):
            now = before | {'continued': [*before.get('continued', []), noted]}
            notes = changes.warnings(now)[-1:]
    if jax.process_index() == 0:
        if notes or not file.exists():
            write_json(file, now)
        if changed or not (workdir / 'config.json').exists():
            write_json(workdir / 'config.json', json.loads(config_lib.to_json(config)))
        if changed:  # the permission that it gave is used
            (workdir / changes.DIVERGED).unlink(missing_ok=True)
    return notes


def save_model(job: Job, variables: Mapping, title: str, source: Mapping, folder: pathlib.Path) -> None:
    """Writes a model with its front end as config.init.checkpoint and others read it.

    `variables` are nested; title and source say where they come from.
    """
    settings = json.loads(config_lib.to_json(job.config))['model']
    own = {**variables, 'params': job.merged(variables['params'])}
    model = Converted(
        title=title,
        model=settings.pop('name'),
        settings=settings,
        num_classes=len(job.stored.labels),
        features=job.config.features.name,
        picture=job.picture,
        variables=flax.traverse_util.flatten_dict(jax.device_get(own), sep='/'),
        rows=[],
        labels=list(job.stored.labels),
        window_s=float(job.config.windows.window_s or job.stored.shape[0] / job.stored.sample_rate_hz),
        whole=job.stored.over_time and not job.config.windows.window_s,
        sample_rate_hz=job.stored.sample_rate_hz,
        licence=job.source and job.source.licence,
    )
    front_end = dataclasses.asdict(job.front_end)
    store.save(model, folder, {**source, 'front_end': front_end})


def show_again(workdir: pathlib.Path) -> None:
    """Prints what a finished run came to, and writes its page anew."""
    if jax.process_index() == 0:
        result = read_json(workdir / 'result.json', 'delete it, and the last checkpoints are evaluated again')
        report.write_report(workdir)
        say(f'{workdir} holds a finished run: nothing to do')
        say(*summary_lines(result, workdir))
