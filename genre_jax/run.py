"""One run from the config to the page: prepare, split, train, choose, test once, report.

Running it again on the same run folder continues it; a finished run is only shown again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence

import flax
import jax
import ml_collections
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from data import prepare
from genre_jax import (
    augment,
    evaluate,
    features,
    init_from,
    loader,
    models,
    report,
    sharding,
    splits,
    train,
)
from genre_jax import config as config_lib
from genre_jax.checkpoint import Checkpoints, digest
from genre_jax.convert import store
from genre_jax.convert.engine import Converted
from genre_jax.errors import UserError
from genre_jax.job import Job, make_job
from genre_jax.logbook import (
    Logbook,
    environment,
    parameter_table,
    read_json,
    summary_lines,
    write_json,
)

# Below this the bootstrap's nominal 95 % interval holds the truth in fewer than 95 % of all cases.
_FEW_GROUPS = 30


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Runs or continues a run.

    Args:
        config: the whole config, checked.
        workdir: the run folder.

    Raises:
        UserError: a mistake in the config or the data, or a loss that is not finite.
        genre_jax.errors.Stopped: on SIGTERM or SIGINT, after saving.
    """
    mesh = sharding.make_mesh()
    for key in ('train.batch_size', 'eval.batch_size'):
        section, name = key.split('.')
        sharding.check_batch_size(config[section][name], key, mesh)
    # Built once here for their errors: before hours of preparation, not after.
    front_end = features.build(config.features)
    if front_end.kind == 'audio':
        front_end.check_length(round(config.windows.window_s * front_end.sample_rate_hz))
    augment.Augmentation(config.augment, labels=None)
    models.build(config.model, num_classes=2)
    source = init_from.find(config.init.checkpoint) if config.init.checkpoint else None
    with _own_workdir(workdir):
        _check_same_config(config, workdir)
        if (workdir / 'result.json').exists():
            _show_again(workdir)
            return
        clock = {'start': time.monotonic()}
        dataset = _open_dataset(config)
        split = splits.make_split(
            config.split,
            dataset.tracks,
            dataset.labels,
            dataset.manifest['group_key'],
            dataset.manifest['protocols'],
            dataset.stored(config.windows.window_s).shape[0] if dataset.kind == 'audio' else 1,
        )
        clock['prepared'] = time.monotonic()
        # The evaluated segments go with the split: they do not change with the seed of a training.
        seeds = {'train': config.seed, 'val': config.split.seed, 'test': config.split.seed}
        copies = augment.Augmentation(config.augment, dataset.labels).copies()
        tables = {
            part: loader.WindowTable(
                dataset,
                rows,
                config.windows,
                train=part == 'train',
                seed=seeds[part],
                copies=copies if part == 'train' else {},
                segments=split.segments and split.segments[part],
            )  # fmt: skip
            for part, rows in split.tracks.items()
        }
        if isinstance(front_end, features.Table):
            train_table = tables['train']
            rows = [train_table[i][train_table.stored.kind] for i in range(len(train_table))]
            front_end = front_end.fitted(np.stack(rows))
        job = make_job(
            config, tables['train'].stored, len(tables['train']), mesh, source, front_end
        )
        # For its errors: what was mistaken up to here may be corrected in the same run folder.
        jax.eval_shape(lambda: train.init_state(job))
        _write_step_zero(config, workdir, dataset, split, source)
        logbook = Logbook(workdir, config)
        try:
            _train_and_test(job, tables, dataset, split, logbook, clock)
        finally:
            logbook.close()


def _train_and_test(
    job: Job,
    tables: Mapping[str, loader.WindowTable],
    dataset: loader.Dataset,
    split: splits.Split,
    logbook: Logbook,
    clock: dict[str, float],
) -> None:
    config, workdir = job.config, logbook.workdir
    _announce(dataset, split, tables, logbook)
    predict = train.make_predict(job)
    groups = {track['track']: track['group'] for track in dataset.tracks}

    def validate(state: train.TrainState) -> tuple[dict[str, float], list[float]]:
        predictions = train.to_predictions(tables['val'], predict(state, tables['val']))
        scores = evaluate.evaluate(predictions, groups, bootstrap_samples=0)
        figures = {
            f'val/{kind}/{name}': scores[kind][name]
            for kind in evaluate.KINDS
            for name in ('accuracy', 'macro_f1', 'log_loss')
            if scores[kind][name] is not None
        }
        figures = {'val/loss': figures['val/segment/log_loss']} | figures
        logbook.say(
            f'epoch {job.length.epochs(int(state.step)):6.1f}: validation accuracy '
            + ', '.join(f'{kind} {100 * scores[kind]["accuracy"]:.1f} %' for kind in evaluate.KINDS)
        )
        chosen = scores[config.eval.select_on]
        return figures, [chosen['accuracy'], -scores['song_max_probability']['log_loss']]

    checkpoints = Checkpoints(workdir / 'checkpoints', config.checkpoint.keep_latest)
    state = train.make_state(job)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    if logbook.enabled:
        (workdir / 'parameters.txt').write_text(parameter_table(state.params))
    # Where to begin: the run's own checkpoint, else from scratch.
    restored = checkpoints.restore_latest(shapes)
    if job.source is not None and restored is None:
        fresh = {'params': state.params, 'batch_stats': state.batch_stats}
        logbook.say('\n'.join(job.initial(fresh)[1]))
    if restored is not None:
        logbook.say(f'continuing from step {restored[0]} of {job.length.total_steps}')
        state = restored[1]
    first_step = int(state.step)
    logbook.rewind(first_step)
    state = train.fit(job, state, tables['train'], validate, checkpoints, logbook)
    clock['trained'] = time.monotonic()

    best_step, best = checkpoints.restore_best(shapes)
    checkpoints.close()
    # The test part is opened here, once, with the checkpoint that validation chose.
    parts, predictions = {}, {}
    for part in ('val', 'test'):
        predictions[part] = train.to_predictions(tables[part], predict(best, tables[part]))
        parts[part] = evaluate.evaluate(predictions[part], groups, config.eval.bootstrap_samples)
    result = {
        'steps': job.length.total_steps,
        'epochs': job.length.epochs(job.length.total_steps),
        'best_step': best_step,
        'best_epoch': job.length.epochs(best_step),
        'selected_on': f'val/{config.eval.select_on}/accuracy',
        'parameters_sha256': digest(state.params),
        'state_sha256': digest(state),
        'best_parameters_sha256': digest(best.params),
        'parts': parts,
        'majority': evaluate.majority_class(
            dataset.label_ids()[split.tracks['train']],
            predictions['test'],
            groups,
            config.eval.bootstrap_samples,
        ),
    } | describe_data(dataset, split, tables)
    if not logbook.enabled:
        return
    for part, table in predictions.items():
        table.save(workdir / 'predictions' / f'{part}.npz')
    trained_s = clock['trained'] - clock['prepared']
    timing = {
        'prepare_s': clock['prepared'] - clock['start'],
        'train_s': trained_s,
        'evaluate_s': time.monotonic() - clock['trained'],
        'examples_per_s': (job.length.total_steps - first_step)
        * config.train.batch_size
        / trained_s,
    }
    write_json(workdir / 'timing.json', timing)
    _save_model(job, best, result, workdir)
    logbook.finish(result)
    write_json(workdir / 'result.json', result)
    report.write_report(workdir)
    logbook.say('\n'.join(summary_lines(result, workdir, logbook.wandb_dir)))


def _save_model(job: Job, best: train.TrainState, result: dict, workdir: pathlib.Path) -> None:
    """Writes the best checkpoint's model as config.init.checkpoint and others read it."""
    variables = jax.device_get({'params': best.params, 'batch_stats': best.batch_stats})
    settings = json.loads(config_lib.to_json(job.config))['model']
    model = Converted(
        title='run of genre_jax',
        model=settings.pop('name'),
        settings=settings,
        num_classes=len(job.stored.labels),
        features=job.config.features.name,
        picture=job.picture,
        variables=flax.traverse_util.flatten_dict(variables, sep='/'),
        rows=[],
        labels=list(job.stored.labels),
    )
    front_end = dataclasses.asdict(job.front_end)
    store.save(model, workdir / 'model', {'step': result['best_step'], 'front_end': front_end})


def describe_data(
    dataset: loader.Dataset, split: splits.Split, tables: Mapping[str, loader.WindowTable]
) -> dict:
    """Returns what result.json says about the data and the protocol.

    Args:
        dataset: the prepared dataset.
        split: of its tracks.
        tables: windows of each part.
    """
    labels = np.asarray([track['label'] for track in dataset.tracks])
    groups = np.asarray([track['group'] for track in dataset.tracks])
    quarantined = dataset.manifest['quarantined']
    window = tables['train'].window
    short = dataset.kind == 'audio' and sum(t['n_samples'] < window for t in dataset.tracks)
    warnings = list(dataset.manifest['notes'])
    if short:
        warnings.append(
            f'{short} recordings are shorter than one window of {window / dataset.sample_rate_hz:g} s and '
            'are padded with zeros at the end'
        )
    few = len(np.unique(groups[split.tracks['test']]))
    if few < _FEW_GROUPS:
        warnings.append(
            f'the test part has only {few} groups: its intervals are wide, and those of a bootstrap over '
            'so few are still too narrow, most of all where nearly everything is right'
        )
    return {
        'protocol': split.protocol,
        'protocol_detail': split.detail,
        'leaky': split.leaky,
        'classes': dataset.labels,
        'n_songs': {part: len(rows) for part, rows in split.tracks.items()},
        'n_groups': {part: len(np.unique(groups[rows])) for part, rows in split.tracks.items()},
        'n_segments': {part: len(table) for part, table in tables.items()},
        'songs_per_class': {
            label: {part: int((labels[rows] == label).sum()) for part, rows in split.tracks.items()}
            for label in dataset.labels
        },
        'chance': 1 / len(dataset.labels),
        'quarantined': {'count': len(quarantined), 'files': quarantined},
        'warnings': warnings,
    }


@contextlib.contextmanager
def _own_workdir(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the run folder for this program alone; a killed program lets go of it by itself."""
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


def _check_same_config(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
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


def _open_dataset(config: ml_collections.ConfigDict) -> loader.Dataset:
    """Prepares the dataset on process 0 while the others wait, and opens it."""
    folder = ''
    if jax.process_index() == 0:
        source = prepare.load_source(config.data)
        folder = str(prepare.prepare(source, config.data.prepared_dir, config.data.chunk_s))
    if jax.process_count() > 1:
        padded = np.frombuffer(folder.encode().ljust(4096), np.uint8)
        folder = bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))).decode().strip()
    return loader.Dataset(pathlib.Path(folder))


def _write_step_zero(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    dataset: loader.Dataset,
    split: splits.Split,
    source: Converted | None,
) -> None:
    """Writes config and environment, or checks that the data are those the run began with."""
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


def _announce(
    dataset: loader.Dataset,
    split: splits.Split,
    tables: Mapping[str, loader.WindowTable],
    logbook: Logbook,
) -> None:
    facts = describe_data(dataset, split, tables)
    songs = ', '.join(f'{part} {facts["n_songs"][part]}' for part in splits.PARTS)
    logbook.say(
        f'{dataset.manifest["name"]}: {len(dataset.tracks)} recordings, {len(dataset.labels)} classes, '
        f'{facts["quarantined"]["count"]} quarantined; songs: {songs}\n'
        f'protocol {split.protocol}: {split.detail}'
    )
    if logbook.enabled:
        for warning in facts['warnings']:
            logging.warning('%s', warning)


def _show_again(workdir: pathlib.Path) -> None:
    if jax.process_index() == 0:
        result = read_json(
            workdir / 'result.json', 'delete it, and the last checkpoints are evaluated again'
        )
        report.write_report(workdir)
        wandb_runs: Sequence[pathlib.Path] = sorted(workdir.glob('wandb/*run-*'))
        print(f'{workdir} holds a finished run: nothing to do')
        print('\n'.join(summary_lines(result, workdir, str(wandb_runs[-1]) if wandb_runs else '')))
