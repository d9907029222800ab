"""One run from the config to the page: prepare, split, train, choose, test once, report.

Running it again on the same run folder continues it; a finished run is only shown again.
"""

import pathlib
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import ml_collections
import numpy as np
from absl import logging
from jax.sharding import Mesh

from genre_jax import augment, features, models, sharding
from genre_jax.convert import init_from
from genre_jax.convert.engine import Converted
from genre_jax.errors import Diverged
from genre_jax.evaluation import evaluate
from genre_jax.loading import run_data, tonics
from genre_jax.loading.feed import Featured, Streamed, open_feed
from genre_jax.loading.loader import WindowTable
from genre_jax.logbook import Logbook, parameter_table, summary_lines, write_json
from genre_jax.run import changes, confidence, look
from genre_jax.run import folder as run_folder
from genre_jax.run import result as run_result
from genre_jax.training import loop
from genre_jax.training import step as train
from genre_jax.training.checkpoint import Checkpoints
from genre_jax.training.job import Job, as_heard, make_job
from genre_jax.training.predict import make_outputs, make_predict

_FITTED_AT_ONCE = 32  # windows


def run(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    on_validation: Callable[[int, dict[str, float]], None] | None = None,
    profile_steps: int = 0,
) -> None:
    """Runs or continues a run of a checked config.

    `on_validation` is called with the step and the figures of each validation before they are written; a
    sweep ends a bad trial from there. `loop.Clock` traces so many steps.

    Raises:
        UserError: a mistake in the config or the data, or a loss that is not finite.
        genre_jax.errors.Stopped: on SIGTERM or SIGINT, after saving.
        genre_jax.errors.Pruned: `on_validation` raised it.
    """
    mesh = sharding.make_mesh(sizes=config.mesh)
    front_end, source = check(config, mesh)
    with run_folder.own(workdir):
        changed = changes.of_config(config, workdir)
        finished = (workdir / 'result.json').exists()
        # Of what may change, a longer training alone gives a finished run something to do.
        if finished and not any(line.startswith('train.length:') for line in changed):
            run_folder.show_again(workdir)
            return
        started_s = time.monotonic()
        data = run_data.open_data(config)
        job = open_job(config, data, mesh, front_end, source)
        if finished:
            run_folder.keep_result(workdir)
        notes = run_folder.write_step_zero(config, workdir, data.dataset, data.split, source, changed)
        logbook = Logbook(workdir, config)
        clock = loop.Clock(logbook, profile_steps)
        logbook.say('\n'.join(f'note: {line}' for line in notes))
        try:
            _train_and_test(job, data, logbook, clock, started_s, on_validation)
        finally:
            clock.close()
            logbook.close()


def check(config: ml_collections.ConfigDict, mesh: Mesh) -> tuple[features.FrontEnd, Converted | None]:
    """Builds once what can be built without the data: for its errors before hours of preparation, not after.

    Returns the front end, and the checkpoint to begin with, if any, which completes the config.
    """
    for section in ('train', 'eval'):
        sharding.check_batch_size(config[section].batch_size, f'{section}.batch_size', mesh)
    augment.Augmentation(config.augment, labels=None)
    source = init_from.find(config.init.checkpoint) if config.init.checkpoint else None
    if source is not None:  # before the rest: how many layers and frames there are may be the checkpoint's
        init_from.complete(config, source)
    models.build(config.model, num_classes=2)
    front_end = _front_end(config)
    if source is not None:
        front_end = init_from.with_its_basis(source, front_end)
        init_from.check_front_end(source, front_end, config.init.other_front_end)
    for key in ('freeze', 'lora_rank'):
        if source is None and config.optim[key] and not config.optim.unfreeze_at:
            logging.warning(
                'config.optim.%s=%r without config.init.checkpoint: what does not train stays as it is drawn '
                'at random; name a checkpoint to begin with', key, config.optim[key],
            )  # fmt: skip
    return front_end, source


def _front_end(config: ml_collections.ConfigDict) -> features.FrontEnd:
    front_end = features.build(config.features)
    if front_end.kind == 'audio' and config.windows.window_s:
        front_end.check_length(round(config.windows.window_s * front_end.sample_rate_hz))
    return front_end


def open_job(
    config: ml_collections.ConfigDict,
    data: run_data.Data,
    mesh: Mesh,
    front_end: features.FrontEnd,
    source: Converted | None,
) -> Job:
    """Puts together what stays fixed in a training on these data; UserError: parts that do not fit.

    Front end and source are those of `check`; some front ends are fitted to the training part.
    """
    train_table = data.tables['train']
    if isinstance(front_end, features.FITTED) and not front_end.fixed:
        front_end = front_end.fitted(_as_heard(train_table, front_end, config))
    if front_end.needs_tonic:
        tonics.check_known(data.dataset.tracks, f'config.features.name={config.features.name!r}')
    counts = np.bincount(train_table.labels, minlength=len(data.dataset.labels))
    job = make_job(config, train_table.stored, len(train_table), mesh, source, front_end, counts)
    # For its errors: what was mistaken up to here may be corrected in the same run folder.
    variables = jax.eval_shape(lambda: train.init_state(job)).evaluated
    for table in run_data.excerpt_tables(config, data.dataset, data.split).values():
        own = job.of_length(table)
        own.check_takes(variables)
    return job


def _as_heard(
    table: WindowTable, front_end: features.FrontEnd, config: ml_collections.ConfigDict
) -> Iterator[np.ndarray | jax.Array]:
    """Yields what a front end takes of all windows of a table, in batches."""
    for first in range(0, len(table), _FITTED_AT_ONCE):
        rows = np.arange(first, min(first + _FITTED_AT_ONCE, len(table)))
        stored = table.read(table.places(rows))[table.stored.kind]
        if table.stored.kind == 'audio':
            stored = as_heard(stored, table.stored.sample_rate_hz, front_end, config.windows.window_s)
        yield stored


def _train_and_test(
    job: Job,
    data: run_data.Data,
    logbook: Logbook,
    clock: loop.Clock,
    started_s: float,
    on_validation: Callable[[int, dict[str, float]], None] | None,
) -> None:
    config, workdir, tables = job.config, logbook.workdir, data.tables
    run_data.announce(data, logbook)
    feed = open_feed(config, data.dataset, job.stored, job.mesh)
    # What is learned from, and validated; the test part is read once.
    learned = feed
    if config.train.features_once:
        learned = Featured(config, job.mesh, feed, job.featurize)
    predict = make_predict(job, learned)

    def validate(state: train.TrainState, step: int) -> tuple[dict[str, float], list[float]]:
        figures, rank = run_result.validation(job, data, predict(state.evaluated, tables['val']))
        accuracies = (f'{k} {100 * figures[f"val/{k}/accuracy"]:.1f} %' for k in evaluate.KINDS)
        epoch = job.length.epochs(step)
        logbook.say(f'epoch {epoch:6.1f}: validation accuracy {", ".join(accuracies)}')
        if on_validation is not None:
            on_validation(step, figures)
        return figures, rank

    checkpoints = Checkpoints(workdir / 'checkpoints', config.checkpoint.keep_latest)
    state = train.make_state(job)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    if logbook.enabled:
        (workdir / 'parameters.txt').write_text(parameter_table(state.params))
    # Where to begin: the run's own checkpoint, else from scratch.
    restored = checkpoints.restore_latest(shapes)
    if restored is not None:
        logbook.say(f'continuing from step {restored[0]} of {job.length.total_steps}')
        state = restored[1]
    elif job.source is not None:
        fresh = {'params': state.params, 'batch_stats': state.batch_stats}
        logbook.say('\n'.join(job.initial(fresh)[1]))
    first_step = int(state.step)
    logbook.rewind(first_step)
    try:
        state = loop.fit(job, state, learned, tables['train'], validate, checkpoints, logbook, clock)
    except Diverged as error:
        last = checkpoints.newest_before(error.step)
        if logbook.enabled:
            write_json(workdir / changes.DIVERGED, {'reason': str(error), 'sound_at_step': last})
        raise Diverged(
            f'{error}; {"nothing was saved before" if last is None else f"sound at step {last}, saved"}: the '
            'same command with a lower --config.optim.learning_rate, or with --config.optim.clip_norm=1.0, '
            'continues from there; if it happens again, look for broken input',
            error.step,
        ) from None
    train_parts_s, trained_s = clock.seconds(), time.monotonic()

    best_step, best = checkpoints.restore_best(shapes)
    checkpoints.close()
    outputs_of = make_outputs(job)
    # The test part is opened here, once, with the checkpoint that validation chose.
    outputs = {
        part: outputs_of(best.evaluated, *held) for part, held in confidence.tested(job, data, feed).items()
    }
    parts = {part: outputs[part] for part in ('val', 'test')}
    excerpts = _test_excerpts(job, data, best.evaluated)
    rejection = confidence.find_rule(job, data, outputs)
    # Before the result, which makes the run a finished one.
    look_s = look.write(job, data, parts['test'], best.evaluated, logbook)
    ended = run_result.Ended(
        state,
        first_step,
        best_step,
        best.evaluated,
        parts,
        started_s,
        clock.began_s,
        trained_s,
        train_parts_s,
        rejection,
        look_s,
        excerpts,
    )
    result = run_result.write(job, data, ended, logbook)
    logbook.say('\n'.join(summary_lines(result, workdir)))


def _test_excerpts(job: Job, data: run_data.Data, variables: Mapping) -> dict[str, evaluate.Predictions]:
    """Returns what the model says of excerpts of the test songs, by part: {'test_60s': ...}."""
    found = {}
    for part, table in run_data.excerpt_tables(job.config, data.dataset, data.split).items():
        own = job.of_length(table)
        # Read, not resident: whatever lies on the devices would lie there twice.
        batches = Streamed(own.config, job.mesh).evaluate(table)
        outputs = make_outputs(own)(variables, batches, len(table))
        found[part] = table.predictions(outputs.probabilities, outputs.joint, outputs.height)
    return found
