"""The loop around the steps of a packed sweep: log, evaluate, save, and end members one by one."""

import dataclasses
import json
import statistics
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from genre_jax.errors import Stopped
from genre_jax.loading.feed import Feed
from genre_jax.loading.run_data import Data
from genre_jax.logbook import Logbook, parameter_table, write_json
from genre_jax.run import confidence
from genre_jax.run import result as run_result
from genre_jax.sweep.packed.program import Program
from genre_jax.training import loop, watch
from genre_jax.training import step as train
from genre_jax.training.checkpoint import Checkpoints
from genre_jax.training.job import Job
from genre_jax.training.stop_signal import StopSignal


@dataclasses.dataclass(eq=False)
class Member:
    """One run of a pack."""

    job: Job  # with the run's own config
    data: Data
    logbook: Logbook  # of its folder
    live: bool  # whether it still trains
    best_rank: list[float] | None = None  # of its best validation so far

    def judge(self, step: int, rank: list[float]) -> bool:
        """Notes a validation; tells whether it is the best so far."""
        better = self.best_rank is None or [*rank, -step] > self.best_rank
        if better:
            self.best_rank = [*rank, -step]
        return better

    def rewind(self, step: int) -> None:
        """Drops the lines of metrics.jsonl behind a step, and finds the best validation among the others."""
        self.logbook.rewind(step)
        file = self.logbook.workdir / 'metrics.jsonl'
        for figures in map(json.loads, file.read_text().splitlines() if file.exists() else ()):
            if 'val/loss' in figures:
                self.judge(figures['step'], run_result.rank(self.job, figures))


@dataclasses.dataclass(eq=False)
class PackLoop:
    """The training of one pack, from its newest checkpoint to its end."""

    program: Program
    members: Sequence[Member]  # in the order of the program
    logbook: Logbook  # of the pack, for what is said of all
    feed: Feed
    started_s: float  # `time.monotonic()` when preparation began

    def __post_init__(self) -> None:
        """Begins at the newest checkpoint in the pack's folder, or anew."""
        program, job, logbook = self.program, self.program.job, self.logbook
        self._prepared_s, folder = time.monotonic(), logbook.workdir / 'checkpoints'
        self._checkpoints = Checkpoints(folder, job.config.checkpoint.keep_latest)
        self._states = program.make_states()
        # The variables of the best validation.
        self._best = [
            program.join(chunk, program.split(chunk, state.evaluated))
            for chunk, state in enumerate(self._states)
        ]
        self._step = self._first_step = 0
        first = program.split(0, self._states[0])[0]
        for _, _, member in self._live():
            (member.logbook.workdir / 'parameters.txt').write_text(parameter_table(first.params))
        if job.source is not None:
            fresh = {'params': first.params, 'batch_stats': first.batch_stats}
            logbook.say('\n'.join(job.initial(fresh)[1]))
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), self._held()
        )
        if (restored := self._checkpoints.restore_latest(shapes)) is not None:
            self._step, held = restored
            self._first_step = self._step
            self._states, self._best = held['states'], held['best']
            logbook.say(f'continuing from step {self._step} of {job.length.total_steps}')
        for _, _, member in self._live():
            member.rewind(self._step)

    def _held(self) -> dict:
        """Returns what a checkpoint of the pack is."""
        return {'states': self._states, 'best': self._best}

    def _live(self) -> list[tuple[int, int, Member]]:
        """Returns all live members, each with its chunk and its row there."""
        return [
            (chunk, row, self.members[i])
            for chunk, positions in enumerate(self.program.chunks)
            for row, i in enumerate(positions)
            if self.members[i].live
        ]

    def _of_chunk(self, chunk: int) -> list[tuple[int, Member]]:
        return [(row, member) for its, row, member in self._live() if its == chunk]

    def _live_chunks(self) -> list[int]:
        return sorted({chunk for chunk, _, _ in self._live()})

    def train(self) -> None:
        """Trains until all members have ended; Stopped on SIGTERM or SIGINT, after saving."""
        program, job = self.program, self.program.job
        length = job.length
        milestones = loop.Milestones(job)
        tables = {m.job.config.seed: m.data.tables['train'] for m in self.members}
        batches = program.batches(tables, self._step, length.total_steps - self._step, self.feed)
        self.logbook.start_progress(self._step, length.total_steps)
        # What a checkpoint says has ended was not written to the end.
        self._end(self._ended())
        last = None
        with StopSignal() as stop:
            while self._live():
                number, batch_of = next(batches)
                groups, outputs = job.plan.groups(self._step), {}
                for chunk in self._live_chunks():
                    self._states[chunk], outputs[chunk] = program.step(
                        chunk, self._states[chunk], number, batch_of(chunk), groups
                    )
                # The losses of before: these are still being computed.
                if last is not None:
                    self._look_at_losses(*last)
                self._step += 1
                last = self._step, {chunk: new['loss'] for chunk, new in outputs.items()}
                due = milestones.due(self._step)
                stopped_by = stop.after_dispatch()
                if not due and stopped_by is None:
                    continue
                # Log, then evaluate, then save: what is saved never runs ahead of what is written.
                self._look_at_losses(*last)
                last = None
                figures = self._validate() if 'eval.every' in due else {}
                ended = self._ended()
                self._log('train.log_every' in due, ended, outputs, figures)
                if 'checkpoint.every' in due or stopped_by is not None:
                    self._checkpoints.save(self._step, self._held(), None)
                if self._step == length.total_steps:
                    self.logbook.end_progress()
                self._end(ended)
                if stopped_by is not None and self._live():
                    raise Stopped(stopped_by, self._step)
        self.logbook.end_progress()
        self._checkpoints.close()

    def _look_at_losses(self, step: int, losses: Mapping[int, jax.Array]) -> None:
        """Ends members whose loss is not finite, and moves the progress bar."""
        rows = {chunk: self.program.split(chunk, new) for chunk, new in losses.items()}
        finite = []
        for chunk, row, member in self._live():
            loss, folder = float(rows[chunk][row]), member.logbook.workdir
            if np.isfinite(loss):
                finite.append(loss)
                continue
            epoch = self.program.job.length.epochs(step)
            message = (
                f'the loss became {loss} at step {step} (epoch {epoch:.2f}): lower '
                'config.optim.learning_rate, or look for broken input; delete the folder to try again'
            )
            write_json(folder / 'failed.json', {'step': step, 'message': message})
            self.logbook.say(f'{folder} failed: {message}')
            member.live = False
        self.logbook.advance(statistics.median(finite) if finite else float('nan'), 1)

    def _validate(self) -> dict[Member, dict[str, float]]:
        """Validates the live members; returns the figures of each."""
        program, states, best = self.program, self._states, self._best
        table = self.members[0].data.tables['val']
        variables = {chunk: states[chunk].evaluated for chunk in self._live_chunks()}
        figures, chosen = {}, {}
        for chunk, probabilities in program.predict(variables, table, self.feed).items():
            remembered = program.split(chunk, states[chunk].watch)
            better = [False] * len(remembered)
            for row, member in self._of_chunk(chunk):
                found, rank = run_result.validation(member.job, member.data, probabilities[row])
                figures[member], chosen[member] = found, rank[0]
                better[row] = member.judge(self._step, rank)
                remembered[row] = watch.observe(member.job.config, remembered[row], found)
            states[chunk] = states[chunk].replace(watch=program.join(chunk, remembered))
            best[chunk] = program.keep(chunk, better, states[chunk].evaluated, best[chunk])
        if chosen:
            first = max(chosen, key=chosen.get)
            self.logbook.say(
                f'epoch {program.job.length.epochs(self._step):6.1f}: {len(chosen)} runs, validation '
                f'accuracy {100 * statistics.median(chosen.values()):.1f} % in the median, '
                f'{100 * chosen[first]:.1f} % at best ({first.logbook.workdir})'
            )
        return figures

    def _ended(self) -> list[Member]:
        """Returns the live members that have come to the end, or stop early."""
        whole = self._step == self.program.job.length.total_steps
        split, states = self.program.split, self._states
        remembered = {chunk: split(chunk, states[chunk].watch) for chunk in self._live_chunks()}
        return [
            member
            for chunk, row, member in self._live()
            if whole or watch.stopped(member.job.config, remembered[chunk][row])
        ]

    def _log(self, due: bool, ended: Sequence[Member], outputs: Mapping, figures: Mapping) -> None:
        """Writes the lines of metrics.jsonl, and begins the sums anew."""
        program, epoch = self.program, self.program.job.length.epochs(self._step)
        zeros = jax.device_get(train.zero_sums())
        for chunk in self._live_chunks():
            rates = program.split(chunk, outputs[chunk]['learning_rate'])
            sums = program.split(chunk, self._states[chunk].sums)
            for row, member in self._of_chunk(chunk):
                if due or member in ended:
                    line = loop.train_figures(sums[row], rates[row])
                    member.logbook.write(self._step, epoch, line)
                if member in figures:
                    member.logbook.write(self._step, epoch, figures[member])
            if due:
                fresh = program.join(chunk, [zeros] * len(sums))
                self._states[chunk] = self._states[chunk].replace(sums=fresh)

    def _end(self, ended: Sequence[Member]) -> None:
        """Tests members that have ended, each with the variables that its validation chose."""
        program, trained_s = self.program, time.monotonic()
        chunks = sorted({chunk for chunk, _, member in self._live() if member in ended})
        if not chunks:
            return
        variables = {chunk: self._best[chunk] for chunk in chunks}
        tested = confidence.tested(program.job, self.members[0].data, self.feed)
        outputs = {part: program.outputs(variables, *held) for part, held in tested.items()}
        zeros = jax.device_get(train.zero_sums())
        for chunk in chunks:
            states = program.split(chunk, self._states[chunk])
            best = program.split(chunk, self._best[chunk])
            for row, member in self._of_chunk(chunk):
                if member not in ended:
                    continue
                own = {part: of_chunk[chunk][row] for part, of_chunk in outputs.items()}
                result = run_result.Ended(
                    states[row].replace(step=np.int32(self._step), sums=zeros),
                    self._first_step,
                    int(-member.best_rank[-1]),
                    best[row],
                    {part: own[part] for part in ('val', 'test')},
                    self.started_s,
                    self._prepared_s,
                    trained_s,
                    {},
                    confidence.find_rule(member.job, member.data, own),
                )
                run_result.write(member.job, member.data, result, member.logbook)
                member.live = False
                self.logbook.say(f'{member.logbook.workdir} has ended at step {self._step}')
