"""The training step and the loop around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genre_jax import config as config_lib
from genre_jax import evaluate, freezing, loader, losses, optim, sharding
from genre_jax.checkpoint import Checkpoints
from genre_jax.errors import Stopped, UserError
from genre_jax.job import Job
from genre_jax.logbook import Logbook
from genre_jax.stop_signal import StopSignal


@flax.struct.dataclass
class TrainState:
    """Everything that training changes; a checkpoint is exactly this.

    Attributes:
        step: steps done.
        params: parameters of the model.
        batch_stats: running statistics of batch normalisation, {} without.
        opt_state: states of the optimiser, one for each group of parameters (genre_jax.freezing).
        sums: objective, cross-entropy, hits and examples summed since the last log line. They are part
            of the state so that a run cut off between two log lines writes the same line in the end.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    sums: dict[str, jax.Array]


def init_state(job: Job) -> TrainState:
    """Initialises the training state from the seed; may be traced for its shapes."""
    variables = job.init(jax.random.key(job.config.seed))
    optimizers = _optimizers(job)
    return TrainState(
        step=jnp.int32(0),
        params=variables['params'],
        batch_stats=variables.get('batch_stats', {}),
        opt_state={
            group: optimizers[group].init(freezing.select(variables['params'], paths))
            for group, paths in job.plan.all_groups.items()
        },
        sums=_zero_sums(),
    )


def make_state(job: Job) -> TrainState:
    """Initialises the training state, from the seed or a checkpoint, the same on every device."""
    whole = sharding.replicated(job.mesh)
    state = jax.jit(lambda: init_state(job), out_shardings=whole)()
    if job.source is None:
        return state
    fresh = jax.device_get({'params': state.params, 'batch_stats': state.batch_stats})
    variables, _ = job.initial(fresh)
    return state.replace(
        params=jax.device_put(variables['params'], whole),
        batch_stats=jax.device_put(variables.get('batch_stats', {}), whole),
    )


def _optimizers(job: Job) -> dict[str, optax.GradientTransformation]:
    """Returns the optimiser of each group; that of a late group counts its own steps from zero."""
    schedule = optim.make_schedule(job.config, job.length)
    begins = {'first': 0, 'late': job.plan.unfreeze_step}
    return {
        group: optim.make_optimizer(
            job.config,
            lambda count, begin=begin: schedule(count + begin),
            {path: job.plan.factors[path] for path in job.plan.all_groups.get(group, ())},
        )
        for group, begin in begins.items()
    }


def _zero_sums() -> dict[str, jax.Array]:
    return {name: jnp.float32(0) for name in ('loss', 'cross_entropy', 'hits', 'examples')}


def make_train_step(
    job: Job, groups: Mapping[str, frozenset[str]]
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """Compiles one step: audio to features, augmentation, model, loss, gradient, update, metrics.

    Args:
        job: what stays fixed.
        groups: the groups of parameters that train, from genre_jax.freezing.Plan.groups.
    """
    config = job.config
    schedule = optim.make_schedule(config, job.length)
    optimizers = _optimizers(job)
    trained_paths = frozenset().union(*groups.values())

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        augment_key, dropout_key = jax.random.split(key)
        pictures, targets = job.training_examples(
            augment_key, batch[job.stored.kind], batch['label']
        )

        def objective(trained):
            params = freezing.merge(state.params, *trained.values())
            with freezing.frozen_statistics(trained_paths):
                (logits, _), updates = job.model.apply(
                    {'params': params, 'batch_stats': state.batch_stats},
                    pictures,
                    train=True,
                    rngs={'dropout': dropout_key},
                    mutable=['batch_stats'],
                )
            entropy = losses.cross_entropy(logits, targets).mean()
            penalty = config.optim.l1 * losses.l1_penalty(params) if config.optim.l1 else 0.0
            return entropy + penalty, (entropy, logits, updates)

        trained = {group: freezing.select(state.params, paths) for group, paths in groups.items()}
        (loss, (entropy, logits, updates)), gradients = jax.value_and_grad(objective, has_aux=True)(
            trained
        )
        opt_state = dict(state.opt_state)
        for group in groups:
            changes, opt_state[group] = optimizers[group].update(
                gradients[group], state.opt_state[group], trained[group]
            )
            trained[group] = optax.apply_updates(trained[group], changes)
        examples = jnp.float32(len(targets))
        hits = (logits.argmax(-1) == targets.argmax(-1)).sum().astype(jnp.float32)
        new = {
            'loss': loss * examples,
            'cross_entropy': entropy * examples,
            'hits': hits,
            'examples': examples,
        }
        state = TrainState(
            step=state.step + 1,
            params=freezing.merge(state.params, *trained.values()),
            batch_stats=updates.get('batch_stats', {}),
            opt_state=opt_state,
            sums=jax.tree.map(jnp.add, state.sums, new),
        )
        return state, {'loss': loss, 'learning_rate': jnp.asarray(schedule(state.step - 1))}

    whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)
    return jax.jit(train_step, in_shardings=(whole, split), out_shardings=whole, donate_argnums=0)


def make_predict(job: Job) -> Callable[[TrainState, loader.WindowTable], np.ndarray]:
    """Compiles prediction; the result maps a state and a table to probabilities [windows, classes]."""
    whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)

    def probabilities(params, batch_stats, audio):
        variables = {'params': params, 'batch_stats': batch_stats}
        logits, _ = job.model.apply(variables, job.featurize(audio), train=False)
        return jax.nn.softmax(logits)

    step = jax.jit(probabilities, in_shardings=(whole, whole, split), out_shardings=whole)

    def predict(state: TrainState, table: loader.WindowTable) -> np.ndarray:
        batches = loader.eval_batches(
            table,
            batch_size=job.config.eval.batch_size,
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        outputs = []
        for batch in batches:
            kind = job.stored.kind
            examples = sharding.put_batch({kind: batch[kind]}, job.mesh)[kind]
            outputs.append(jax.device_get(step(state.params, state.batch_stats, examples)))
        return np.concatenate(outputs)[: len(table)]

    return predict


def to_predictions(table: loader.WindowTable, probabilities: np.ndarray) -> evaluate.Predictions:
    """Joins the windows of a table with their probabilities.

    Args:
        table: the windows.
        probabilities: float32 [windows, classes].
    """
    names = np.asarray([track['track'] for track in table.dataset.tracks])
    return evaluate.Predictions(
        names[table.track],
        table.start_s,
        table.labels,
        probabilities,
        np.asarray(table.dataset.labels),
    )


def fit(
    job: Job,
    state: TrainState,
    train_table: loader.WindowTable,
    validate: Callable[[TrainState], tuple[dict[str, float], list[float]]],
    checkpoints: Checkpoints,
    logbook: Logbook,
) -> TrainState:
    """Trains from the state's step to the end.

    Args:
        job: what stays fixed.
        state: where to begin.
        train_table: training windows.
        validate: returns figures for the log, and the rank of the state (larger is better).
        checkpoints: where to save.
        logbook: where to write.

    Returns:
        The final state.

    Raises:
        Stopped: on SIGTERM or SIGINT, after saving.
        UserError: the loss is not finite.
    """
    length, start = job.length, int(state.step)
    periods = {key: config_lib.every_steps(job.config, key, length) for key in _PERIODS}
    batches = loader.train_batches(
        train_table,
        batch_size=job.config.train.batch_size,
        seed=job.config.seed,
        first_step=start,
        steps=length.total_steps - start,
        process=jax.process_index(),
        processes=jax.process_count(),
    )
    steps_by_groups = {}
    clear_sums = jax.jit(_zero_sums, out_shardings=sharding.replicated(job.mesh))
    logbook.start_progress(start, length.total_steps)
    last_loss = None
    with StopSignal() as stop, jax.transfer_guard('disallow'):
        for step, batch in enumerate(batches, start + 1):
            groups = job.plan.groups(step - 1)
            if tuple(groups) not in steps_by_groups:
                steps_by_groups[tuple(groups)] = make_train_step(job, groups)
            train_step = steps_by_groups[tuple(groups)]
            state, outputs = train_step(state, sharding.put_batch(batch, job.mesh))
            # The loss of the step before: this one is still being computed.
            if last_loss is not None:
                logbook.advance(_finite(last_loss, step - 1, length))
            last_loss = outputs['loss']
            due = {
                key
                for key, period in periods.items()
                if step % period == 0 or step == length.total_steps
            }
            stopped_by = stop.at(step)
            if not due and stopped_by is None:
                continue
            # Log, then evaluate, then save: what is saved never runs ahead of what is written.
            _finite(last_loss, step, length)
            if 'train.log_every' in due:
                logbook.write(step, length.epochs(step), _train_figures(state, outputs))
                state = state.replace(sums=clear_sums())
            rank = None
            if 'eval.every' in due:
                figures, rank = validate(state)
                logbook.write(step, length.epochs(step), figures)
            if 'checkpoint.every' in due or rank is not None or stopped_by is not None:
                checkpoints.save(step, state, None if rank is None else [*rank, -step])
            if stopped_by is not None and step < length.total_steps:
                raise Stopped(stopped_by, step)
    if last_loss is not None:
        logbook.advance(_finite(last_loss, length.total_steps, length))
    logbook.end_progress()
    return state


_PERIODS = ('train.log_every', 'eval.every', 'checkpoint.every')


def _finite(loss: jax.Array, step: int, length: config_lib.Length) -> float:
    value = float(jax.device_get(loss))
    if not math.isfinite(value):
        raise UserError(
            f'the loss became {value} at step {step} (epoch {length.epochs(step):.2f}); nothing of it was '
            'saved, the checkpoints before it are kept: lower config.optim.learning_rate, or look for '
            'broken input'
        )
    return value


def _train_figures(state: TrainState, outputs: dict) -> dict[str, float]:
    sums, learning_rate = jax.device_get((state.sums, outputs['learning_rate']))
    return {
        'train/loss': float(sums['loss'] / sums['examples']),
        'train/cross_entropy': float(sums['cross_entropy'] / sums['examples']),
        'train/accuracy': float(sums['hits'] / sums['examples']),
        'train/learning_rate': float(learning_rate),
    }
