"""The loop around the training step: log, evaluate, save, stop."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax import config as config_lib
from genre_jax import sharding
from genre_jax.errors import Stopped, UserError
from genre_jax.loading import loader
from genre_jax.loading.resident import Resident
from genre_jax.logbook import Logbook
from genre_jax.training import step as train
from genre_jax.training import watch
from genre_jax.training.checkpoint import Checkpoints
from genre_jax.training.job import Job
from genre_jax.training.stop_signal import StopSignal


def fit(
    job: Job,
    state: train.TrainState,
    train_table: loader.WindowTable,
    validate: Callable[[train.TrainState], tuple[dict[str, float], list[float]]],
    checkpoints: Checkpoints,
    logbook: Logbook,
    resident: Resident | None = None,
) -> train.TrainState:
    """Trains from the state's step to the end, or until config.train.stop_patience ends it.

    Args:
        job: what stays fixed.
        state: where to begin.
        train_table: training windows.
        validate: returns figures for the log, and the rank of the state (larger is better).
        checkpoints: where to save.
        logbook: where to write.
        resident: the records, where they lie on the devices.

    Returns:
        The final state.

    Raises:
        Stopped: on SIGTERM or SIGINT, after saving.
        UserError: the loss is not finite.
    """
    length, step = job.length, int(state.step)
    periods = {key: config_lib.every_steps(job.config, key, length) for key in _PERIODS}
    batches = loader.train_batches(
        train_table,
        batch_size=job.config.train.batch_size,
        seed=job.config.seed,
        first_step=step,
        steps=length.total_steps - step,
        **train.reading(job, resident),
    )
    most = job.config.train.steps_per_dispatch if resident is not None else 1
    programs = {}
    clear_sums = jax.jit(train.zero_sums, out_shardings=sharding.replicated(job.mesh))
    logbook.start_progress(step, length.total_steps)
    last = None
    ended = step == length.total_steps or watch.stopped(job.config, jax.device_get(state.watch))
    with StopSignal() as stop, jax.transfer_guard('disallow'):
        while not ended:
            groups = job.plan.groups(step)
            if tuple(groups) not in programs:
                programs[tuple(groups)] = (
                    train.make_train_step(job, groups)
                    if most == 1
                    else make_train_steps(job, groups, resident)
                )
            program = programs[tuple(groups)]
            steps = min(most, _steps_to_next(step, job, periods))
            if most == 1:
                state, outputs = program(state, train.put(next(batches), job, resident))
            else:
                several = _stacked([next(batches) for _ in range(steps)], most, resident, job)
                state, outputs = program(state, resident.records, *several)
            # The losses of before: these are still being computed.
            if last is not None:
                logbook.advance(*_finite(*last, length))
            step += steps
            last = outputs['loss'], step, steps
            due = {
                key
                for key, period in periods.items()
                if step % period == 0 or step == length.total_steps
            }
            stopped_by = stop.at(step)
            if not due and stopped_by is None:
                continue
            # Log, then evaluate, then save: what is saved never runs ahead of what is written.
            _finite(*last, length)
            ended = step == length.total_steps
            rank = figures = None
            if 'eval.every' in due:
                figures, rank = validate(state)
                remembered = watch.observe(job.config, jax.device_get(state.watch), figures)
                state = state.replace(watch=sharding.put_replicated(remembered, job.mesh))
                ended = ended or watch.stopped(job.config, remembered)
            if 'train.log_every' in due or ended:
                logbook.write(
                    step,
                    length.epochs(step),
                    train_figures(*jax.device_get((state.sums, outputs['learning_rate']))),
                )
                state = state.replace(sums=clear_sums())
            if figures is not None:
                logbook.write(step, length.epochs(step), figures)
            if 'checkpoint.every' in due or rank is not None or stopped_by is not None:
                checkpoints.save(step, state, None if rank is None else [*rank, -step])
            if stopped_by is not None and not ended:
                raise Stopped(stopped_by, step)
    if last is not None:
        logbook.advance(*_finite(*last, length))
    logbook.end_progress()
    if step < length.total_steps:
        logbook.say(
            f'stopped early at epoch {length.epochs(step):.1f}: {job.config.train.stop_patience} evaluations '
            f'without gain in {job.config.train.stop_metric}'
        )
    return state


def make_train_steps(
    job: Job, groups: Mapping[str, frozenset[str]], resident: Resident
) -> Callable[[train.TrainState, jax.Array, dict, jax.Array], tuple[train.TrainState, dict]]:
    """Compiles several steps as one program, on windows that it cuts from the resident records.

    Args:
        job: what stays fixed.
        groups: as in `train.make_train_step`.
        resident: the records.

    Returns:
        Maps a state, the records, positions and labels (most steps, batch), and the number of steps, which
        is no constant of the program, to the state and the outputs: 'loss' (most steps,), 0 behind the last.
    """
    whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)
    step = train.numbered_step(job, groups)

    def train_steps(
        numbers: dict,
        state: train.TrainState,
        records: jax.Array,
        where: dict,
        labels: jax.Array,
        steps: jax.Array,
    ) -> tuple[train.TrainState, dict]:
        def one(i: jax.Array, carry: tuple) -> tuple:
            state, outputs = carry
            examples = resident.cut(records, {key: value[i] for key, value in where.items()})
            # Nothing of the step is computed otherwise than in a program of its own.
            batch = jax.lax.optimization_barrier({job.stored.kind: examples, 'label': labels[i]})
            state, new = step(numbers, state, batch)
            losses = outputs['loss'].at[i].set(new['loss'])
            return state, {'loss': losses, 'learning_rate': new['learning_rate']}

        outputs = {'loss': jnp.zeros(len(labels)), 'learning_rate': jnp.float32(0)}
        return jax.lax.fori_loop(0, steps, one, (state, outputs))

    program = jax.jit(
        train_steps,
        in_shardings=(whole, whole, split, whole, whole, whole),
        out_shardings=whole,
        donate_argnums=1,
    )
    return functools.partial(program, train.placed_numbers(job))


_PERIODS = ('train.log_every', 'eval.every', 'checkpoint.every')


def _steps_to_next(step: int, job: Job, periods: Mapping[str, int]) -> int:
    """Returns the steps up to the next one after which there is something else to do."""
    ends = [step - step % period + period for period in periods.values()]
    if step < job.plan.unfreeze_step:
        ends.append(job.plan.unfreeze_step)
    return min(*ends, job.length.total_steps) - step


def _stacked(
    places: list[Mapping[str, np.ndarray]], most: int, resident: Resident, job: Job
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """Returns positions, labels and the number of several batches; what follows them is filled up."""
    filled = places + places[-1:] * (most - len(places))
    stacked = {
        key: np.stack([place[key] for place in filled]) for key in ('track', 'start', 'label')
    }
    arrays = resident.where(stacked) | {
        'label': stacked['label'],
        'steps': np.int32(len(places)),
    }
    put = sharding.put_replicated(arrays, job.mesh)
    labels, steps = put.pop('label'), put.pop('steps')
    return put, labels, steps


def _finite(
    losses: jax.Array, step: int, steps: int, length: config_lib.Length
) -> tuple[float, int]:
    """Returns the last of the losses up to a step, and their number."""
    values = np.atleast_1d(jax.device_get(losses))[:steps]
    if not np.isfinite(values).all():
        first = int(np.argmin(np.isfinite(values)))
        bad = step - steps + 1 + first
        raise UserError(
            f'the loss became {values[first]} at step {bad} (epoch {length.epochs(bad):.2f}); nothing of it '
            'was saved, the checkpoints before it are kept: lower config.optim.learning_rate, or look for '
            'broken input'
        )
    return float(values[-1]), steps


def train_figures(sums: Mapping[str, float], learning_rate: float) -> dict[str, float]:
    """Returns what metrics.jsonl says of the training since the last such line.

    Args:
        sums: of the training state, on the host.
        learning_rate: of the last step.
    """
    return {
        'train/loss': float(sums['loss'] / sums['examples']),
        'train/cross_entropy': float(sums['cross_entropy'] / sums['examples']),
        'train/accuracy': float(sums['hits'] / sums['examples']),
        'train/learning_rate': float(learning_rate),
    }
