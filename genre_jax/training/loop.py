"""The loop around the training step: dispatches up to a milestone, there log, evaluate, save, stop."""

import collections
import time
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


class Clock:
    """Seconds of a training by what the host waits for, all since the clock began; and a trace of some steps.

    'compute' waits for the devices, 'data' for a batch while they have nothing to do; 'compile' is what jax
    reports of tracing, lowering and compiling, whatever for.
    """

    def __init__(self, logbook: Logbook, profile_steps: int = 0) -> None:
        """Begins with the part 'other'; process 0 traces so many steps into `profile/` of the run folder."""
        self.began_s = self._since_s = time.monotonic()
        self.part, self._spent_s, self._compiled = 'other', collections.Counter(), []
        self._logbook, self._folder, self._tracing = logbook, logbook.workdir / 'profile', False
        self._to_trace = profile_steps if logbook.enabled else 0
        jax.monitoring.register_event_duration_secs_listener(self._on_duration)

    def close(self) -> None:
        """Ends the trace, and listens to jax no more."""
        jax.monitoring.unregister_event_duration_listener(self._on_duration)
        if self._tracing:
            jax.profiler.stop_trace()
        elif self._to_trace > 0:
            self._logbook.say('note: --profile: nothing was traced, for there was one dispatch at most')

    def on(self, part: str) -> None:
        """Counts as this part what goes on from here."""
        self.seconds()
        self.part = part

    def seconds(self) -> collections.Counter:
        """Returns the seconds of each part up to now."""
        now_s, until_s, compile_s = time.monotonic(), self._since_s, 0.0
        for begin_s, end_s in sorted(self._compiled):  # one may lie inside another
            compile_s += max(0.0, end_s - max(begin_s, until_s))
            until_s = max(until_s, end_s)
        self._spent_s.update({'compile': compile_s, self.part: now_s - self._since_s - compile_s})
        self._since_s, self._compiled = now_s, []
        return self._spent_s.copy()

    def _on_duration(self, event: str, duration_s: float, **_: object) -> None:
        if event.startswith('/jax/core/compile/'):
            self._compiled.append((time.monotonic() - duration_s, time.monotonic()))

    def after_dispatch(self, outputs: Mapping[str, jax.Array], steps: int) -> None:
        """Begins the trace after the first dispatch, which compiles, and ends it, with no step under way."""
        self._to_trace -= steps if self._tracing else 0
        if self._tracing != (self._to_trace > 0):
            jax.block_until_ready(outputs)
            self._tracing = not self._tracing
            jax.profiler.start_trace(self._folder) if self._tracing else jax.profiler.stop_trace()


def fit(
    job: Job,
    state: train.TrainState,
    feed: Feed,
    train_table: loader.WindowTable,
    validate: Callable[[train.TrainState, int], tuple[dict[str, float], list[float]]],
    checkpoints: Checkpoints,
    logbook: Logbook,
    clock: Clock,
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
        stepper = Stepper(job, feed, train_table, state, logbook, clock, stop)
        logbook.start_progress(stepper.step, length.total_steps)
        ended = stepper.step == length.total_steps or watch.stopped(config, jax.device_get(state.watch))
        while not ended:
            clock.on('compute')
            stopped_by = stepper.advance(milestones.next(stepper.step))
            step, due = stepper.step, milestones.due(stepper.step)
            ended = step == length.total_steps
            # Log, then evaluate, then save: what is saved never runs ahead of what is written.
            rank = figures = None
            if 'eval.every' in due:
                clock.on('evaluate')
                figures, rank = validate(stepper.state, step)
                remembered = watch.observe(config, jax.device_get(stepper.state.watch), figures)
                stepper.replace(watch=sharding.put_replicated(remembered, job.mesh))
                ended = ended or watch.stopped(config, remembered)
            clock.on('other')
            if 'train.log_every' in due or ended:
                sums, rate = jax.device_get((stepper.state.sums, stepper.learning_rate))
                logbook.write(step, length.epochs(step), train_figures(sums, rate))
                told = stepper.tell()
                logbook.track(lambda tracker, told=told, step=step: tracker.log(told, step))
                stepper.replace(sums=clear_sums())
            if figures is not None:
                logbook.write(step, length.epochs(step), figures)
            if 'checkpoint.every' in due or rank is not None or stopped_by is not None:
                clock.on('save')
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
        clock: Clock,
        stop: StopSignal,
    ) -> None:
        """Begins where the state is."""
        self.state, self.step = state, int(jax.device_get(state.step))
        self._job, self._feed, self._logbook, self._stop = job, feed, logbook, stop
        self._take = feed.train(train_table, self.step, job.length.total_steps)
        self._dispatches: dict[tuple[str, ...], Callable] = {}
        self._norms = _Norms()
        # The seconds of 'compute' and 'data', the steps and their gradient norms, as they were told last.
        self._clock, self._norm_sum, self._told = clock, 0.0, np.array([0.0, self.step, 0.0])

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
            trace = jax.profiler.StepTraceAnnotation('train', step_num=self.step)
            with jax.transfer_guard('disallow'), trace:
                self._clock.on('data')
                steps, block = self._take(until - self.step)
                if last is not None and not last[0]['loss'].is_ready():
                    self._clock.part = 'compute'  # nothing waited for the batch
                self._clock.on('compute')
                self.state, outputs = self._dispatches[tuple(groups)](self.state, steps, block)
            self._clock.after_dispatch(outputs, steps)
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
        self._norm_sum += float(norms.sum())
        self._logbook.advance(float(losses[-1]), steps, gradient=f'{norms[-1]:.2g}')

    def tell(self) -> dict[str, float]:
        """Returns the seconds so far, and speed and gradients since this was told last."""
        spent_s = self._clock.seconds()
        now = np.array([spent_s['compute'] + spent_s['data'], self.step, self._norm_sum])
        (busy_s, steps, norm_sum), self._told = now - self._told, now
        speed = steps * self._job.config.train.batch_size / busy_s
        tracked = {'train/examples_per_s': speed, 'train/gradient_norm': norm_sum / steps}
        return tracked | {f'time/{part}_s': spent_s[part] for part in spent_s}


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
