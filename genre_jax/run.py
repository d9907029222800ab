"""One run from the config to the page: prepare, split, train, choose, test once, report.

Running it again on the same run folder continues it; a finished run is only shown again.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping

import jax
import ml_collections
import numpy as np

from genre_jax import (
    augment,
    evaluate,
    features,
    init_from,
    loader,
    loop,
    models,
    prepared,
    report,
    run_data,
    run_folder,
    sharding,
    splits,
    train,
)
from genre_jax.checkpoint import Checkpoints, digest
from genre_jax.job import Job, make_job
from genre_jax.logbook import Logbook, parameter_table, summary_lines, write_json
from genre_jax.resident import Resident


def run(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    on_validation: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Runs or continues a run.

    Args:
        config: the whole config, checked.
        workdir: the run folder.
        on_validation: called with the step and the figures of each validation before they are written; a
            sweep ends a bad trial from here.

    Raises:
        UserError: a mistake in the config or the data, or a loss that is not finite.
        genre_jax.errors.Stopped: on SIGTERM or SIGINT, after saving.
        genre_jax.errors.Pruned: `on_validation` raised it.
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
    with run_folder.own(workdir):
        run_folder.check_same_config(config, workdir)
        if (workdir / 'result.json').exists():
            run_folder.show_again(workdir)
            return
        clock = {'start': time.monotonic()}
        dataset = run_data.open_dataset(config)
        split = run_data.make_split(config, dataset)
        clock['prepared'] = time.monotonic()
        tables = run_data.make_tables(config, dataset, split)
        if isinstance(front_end, features.Table):
            front_end = front_end.fitted(tables['train'].read_all())
        job = make_job(
            config,
            tables['train'].stored,
            len(tables['train']),
            mesh,
            source,
            front_end,
            np.bincount(tables['train'].labels, minlength=len(dataset.labels)),
        )
        # For its errors: what was mistaken up to here may be corrected in the same run folder.
        jax.eval_shape(lambda: train.init_state(job))
        run_folder.write_step_zero(config, workdir, dataset, split, source)
        logbook = Logbook(workdir, config)
        try:
            _train_and_test(job, tables, dataset, split, logbook, clock, on_validation)
        finally:
            logbook.close()


def _train_and_test(
    job: Job,
    tables: Mapping[str, loader.WindowTable],
    dataset: prepared.Dataset,
    split: splits.Split,
    logbook: Logbook,
    clock: dict[str, float],
    on_validation: Callable[[int, dict[str, float]], None] | None,
) -> None:
    config, workdir = job.config, logbook.workdir
    run_data.announce(dataset, split, tables, logbook)
    resident = Resident(dataset, job.stored, job.mesh) if config.train.device_resident else None
    predict = train.make_predict(job, resident)
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
        if on_validation is not None:
            on_validation(int(state.step), figures)
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
    state = loop.fit(job, state, tables['train'], validate, checkpoints, logbook, resident)
    clock['trained'] = time.monotonic()
    last_step = int(state.step)

    best_step, best = checkpoints.restore_best(shapes)
    checkpoints.close()
    # The test part is opened here, once, with the checkpoint that validation chose.
    parts, predictions = {}, {}
    for part in ('val', 'test'):
        predictions[part] = train.to_predictions(tables[part], predict(best, tables[part]))
        parts[part] = evaluate.evaluate(predictions[part], groups, config.eval.bootstrap_samples)
    result = {
        'steps': last_step,
        'epochs': job.length.epochs(last_step),
        'stopped_early': last_step < job.length.total_steps,
        'best_step': best_step,
        'best_epoch': job.length.epochs(best_step),
        'selected_on': f'val/{config.eval.select_on}/accuracy',
        'parameters_sha256': digest(state.params),
        'state_sha256': digest(state),
        'best_parameters_sha256': digest(best.evaluated['params']),
        'parts': parts,
        'majority': evaluate.majority_class(
            dataset.label_ids()[split.tracks['train']],
            predictions['test'],
            groups,
            config.eval.bootstrap_samples,
        ),
    } | run_data.describe(dataset, split, tables)
    if not logbook.enabled:
        return
    for part, table in predictions.items():
        table.save(workdir / 'predictions' / f'{part}.npz')
    trained_s = clock['trained'] - clock['prepared']
    timing = {
        'prepare_s': clock['prepared'] - clock['start'],
        'train_s': trained_s,
        'evaluate_s': time.monotonic() - clock['trained'],
        'examples_per_s': (last_step - first_step) * config.train.batch_size / trained_s,
    }
    write_json(workdir / 'timing.json', timing)
    run_folder.save_model(job, best, result, workdir)
    logbook.finish(result)
    write_json(workdir / 'result.json', result)
    report.write_report(workdir)
    logbook.say('\n'.join(summary_lines(result, workdir, logbook.wandb_dir)))
