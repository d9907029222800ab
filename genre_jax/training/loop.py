"""The loop around the training step: dispatches up to a milestone, there log, evaluate, save, stop."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax import config as config_lib
from genre_jax import sharding
from genre_jax.errors import Diverged, Stopped
from genre_jax.loading import loader
from genre_jax.loading.feed import Feed
from genre_jax.logbook import Logbook
from genre_jax.training import step as train
from genre_jax.training import watch
from genre_jax.training.checkpoint import Checkpoints
from genre_jax.training.job import Job
from genre_jax.training.stop_signal import StopSignal


def fit(
    job: Job,
    state: train.TrainState,
    feed: Feed,
    train_table: loader.WindowTable,
    validate: Callable[[train.TrainState, int], tuple[dict[str, float], list[float]]],
    checkpoints: Checkpoints,
    logbook: Logbook,
) -> train.TrainState:
    """Trains from the state's step to the end, or until config.train.stop_patience ends it.

    `validate` maps a state and its step to figures for the log, and the rank of the state (larger is better).
    Returns the final state.

    Raises:
        Stopped: on SIGTERM or SIGINT, after saving.
        Diverged: the loss, or what would be saved, is not finite.
    """
    length, config = job.length, job.config
    milestones = Milestones(job)
    clear_sums = jax.jit(train.zero_sums, out_shardings=sharding.replicated(job.mesh))
    all_finite = jax.jit(
        lambda tree: jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
    )
    with StopSignal() as stop:
        stepper = Stepper(job, feed, train_table, state, logbook, stop)
        logbook.start_progress(stepper.step, length.total_steps)
        ended = stepper.step == length.total_steps or watch.stopped(config, jax.device_get(state.watch))
        while not ended:
            stopped_by = stepper.advance(milestones.next(stepper.step))
            step, due = stepper.step, milestones.due(stepper.step)
            ended = step == length.total_steps
            # Log, then evaluate, then save: what is saved never runs ahead of what is written.
            rank = figures = None
            if 'eval.every' in due:
                figures, rank = validate(stepper.state, step)
                remembered = watch.observe(config, jax.device_get(stepper.state.watch), figures)
                stepper.replace(watch=sharding.put_replicated(remembered, job.mesh))
                ended = ended or watch.stopped(config, remembered)
            if 'train.log_every' in due or ended:
                sums, rate = jax.device_get((stepper.state.sums, stepper.learning_rate))
                logbook.write(step, length.epochs(step), train_figures(sums, rate))
                stepper.replace(sums=clear_sums())
            if figures is not None:
                logbook.write(step, length.epochs(step), figures)
            if 'checkpoint.every' in due or rank is not None or stopped_by is not None:
                if not jax.device_get(all_finite(stepper.state.params)):
                    raise Diverged(f'the weights are no numbers after step {step}', step)
                checkpoints.save(step, stepper.state, None if rank is None else [*rank, -step])
            if stopped_by is not None and not ended:
                raise Stopped(stopped_by, step)
    logbook.end_progress()
    if stepper.step < length.total_steps:
        logbook.say(
            f'stopped early at epoch {length.epochs(stepper.step):.1f}: {config.train.stop_patience} '
            f'evaluations without gain in {config.train.stop_metric}'
        )
    return stepper.state


class Milestones:
    """The steps after which there is something to do besides training."""

    def __init__(self, job: Job) -> None:
        """Resolves the periods of the config."""
        self._total_steps = job.length.total_steps
        self._periods = {
            key: config_lib.every_steps(job.config, key, job.length)
            for key in ('train.log_every', 'eval.every', 'checkpoint.every')
        }

    def next(self, step: int) -> int:
        """Returns the first milestone after so many steps."""
        ends = (step - step % period + period for period in self._periods.values())
        return min(*ends, self._total_steps)

    def due(self, step: int) -> set[str]:
        """Returns the keys of the config whose period ends after so many steps; at the end all."""
        return {
            key for key, period in self._periods.items() if step % period == 0 or step == self._total_steps
        }


class Stepper:
    """A training state on its way, one dispatch after another; nothing of a dispatch waits for the host.

    `state` is that after `step` steps, `learning_rate` that of the last step, on the devices.
    """

    def __init__(
        self,
        job: Job,
        feed: Feed,
        train_table: loader.WindowTable,
        state: train.TrainState,
        logbook: Logbook,
        stop: StopSignal,
    ) -> None:
        """Begins where the state is."""
        self.state, self.step = state, int(jax.device_get(state.step))
        self._job, self._feed, self._logbook, self._stop = job, feed, logbook, stop
        self._take = feed.train(train_table, self.step, job.length.total_steps)
        self._dispatches: dict[tuple[str, ...], Callable] = {}
        self._norms = _Norms()

    def replace(self, **parts: object) -> None:
        """Replaces parts of the state."""
        self.state = self.state.replace(**parts)

    def advance(self, milestone: int) -> int | None:
        """Trains up to so many steps, or until a signal comes, which is returned.

        Raises:
            Diverged: the loss is not finite.
        """
        last, stopped_by = None, None
        while self.step < milestone and stopped_by is None:
            plan, until = self._job.plan, milestone
            if self.step < plan.unfreeze_step:
                until = min(until, plan.unfreeze_step)
            groups = plan.groups(self.step)
            if tuple(groups) not in self._dispatches:
                self._dispatches[tuple(groups)] = train.make_dispatch(self._job, groups, self._feed)
            with jax.transfer_guard('disallow'):
                steps, block = self._take(until - self.step)
                self.state, outputs = self._dispatches[tuple(groups)](self.state, steps, block)
            # The losses of before: these are still being computed.
            if last is not None:
                self._look_at(*last)
            self.step += steps
            self.learning_rate = outputs['learning_rate']
            last = outputs, steps, self.step
            stopped_by = self._stop.after_dispatch()
        self._look_at(*last)
        return stopped_by

    def _look_at(self, outputs: Mapping[str, jax.Array], steps: int, end: int) -> None:
        """Moves the progress bar by the steps of a dispatch, and watches losses and gradients."""
        losses, norms = (
            np.atleast_1d(values)[:steps]
            for values in jax.device_get((outputs['loss'], outputs['gradient_norm']))
        )
        for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), end - steps + 1):
            if not np.isfinite(loss):
                epoch = self._job.length.epochs(step)
                raise Diverged(f'the loss became {loss} at step {step} (epoch {epoch:.2f})', step - 1)
            if grown := self._norms.grown(float(norm)):
                self._logbook.say(
                    f'note: the gradient is {grown:.0f} times as long as before, {norm:.3g}, at step {step}: '
                    'the training may diverge; a lower config.optim.learning_rate, or '
                    'config.optim.clip_norm=1.0, keeps it short'
                )
        self._logbook.advance(float(losses[-1]), steps)


class _Norms:
    """The length that gradients usually have: the geometric mean of a hundred steps, where it was highest."""

    _FAR = 30.0  # times as long is far from usual

    def __init__(self) -> None:
        self._seen, self._log_mean, self._usual, self._noted = 0, 0.0, -np.inf, 0.0

    def grown(self, norm: float) -> float:
        """Returns how many times the usual length a gradient has, if that is worth a note, else 0."""
        log = np.log(np.clip(np.nan_to_num(norm, nan=np.inf), 1e-30, 1e30))
        if self._seen >= 20:
            self._usual = max(self._usual, self._log_mean)
            if (times := np.exp(log - self._usual)) > self._FAR:
                worse = times > 10 * self._noted
                self._noted = times if worse else self._noted
                return times if worse else 0.0
        self._seen += 1
        self._log_mean += (log - self._log_mean) / min(self._seen, 100)
        return 0.0


def train_figures(sums: Mapping[str, float], learning_rate: float) -> dict[str, float]:
    """Returns what metrics.jsonl says of the training since its last such line, from the state's sums."""
    return {
        'train/loss': float(sums['loss'] / sums['examples']),
        'train/cross_entropy': float(sums['cross_entropy'] / sums['examples']),
        'train/accuracy': float(sums['hits'] / sums['examples']),
        'train/learning_rate': float(learning_rate),
    }
