"""The loop around the steps of a packed sweep: log, evaluate, save, and end members one by one."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from genre_jax import config as config_lib
from genre_jax import loop, run_result, train, watch
from genre_jax.checkpoint import Checkpoints
from genre_jax.errors import Stopped
from genre_jax.job import Job
from genre_jax.logbook import Logbook, parameter_table, write_json
from genre_jax.pack_program import Program
from genre_jax.resident import Resident
from genre_jax.run_data import Data
from genre_jax.stop_signal import StopSignal

_PERIODS = ('train.log_every', 'eval.every', 'checkpoint.every')


@dataclasses.dataclass
class Member:
    """One run of a pack.

    Attributes:
        job: with the run's own config.
        data: what it learns from.
        logbook: of its folder.
        live: whether it still trains.
        best_rank: of its best validation so far, as separate runs compare them.
    """

    job: Job
    data: Data
    logbook: Logbook
    live: bool
    best_rank: list[float] | None = None

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.logbook.workdir.name


class PackLoop:
    """The training of one pack, from its newest checkpoint to its end."""

    def __init__(
        self,
        program: Program,
        members: Sequence[Member],
        folder: pathlib.Path,
        logbook: Logbook,
        resident: Resident | None,
        started_s: float,
    ) -> None:
        """Begins at the pack's newest checkpoint, or anew.

        Args:
            program: of the members.
            members: in the order of the program.
            folder: of the pack's checkpoints.
            logbook: for what is said of all.
            resident: the records, where they lie on the devices.
            started_s: `time.monotonic()` when preparation began.
        """
        self._program, self._members = program, members
        self._logbook, self._resident = logbook, resident
        self._started_s, self._prepared_s = started_s, time.monotonic()
        self._checkpoints = Checkpoints(
            folder / 'checkpoints', program.job.config.checkpoint.keep_latest
        )
        self._states = program.make_states()
        for i in self._live():
            chunk, row = self._place(i)
            params = jax.tree.map(lambda x, row=row: x[row], self._states[chunk].params)
            (members[i].logbook.workdir / 'parameters.txt').write_text(parameter_table(params))
        # The variables of the best validation; copies, since a step gives its state's memory back.
        self._best = [jax.tree.map(jnp.copy, state.evaluated) for state in self._states]
        self._step = self._first_step = 0
        restored = self._checkpoints.restore_latest(
            jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), self._held()
            )
        )
        if restored is not None:
            self._step, held = restored
            self._first_step = self._step
            self._states = [held['states'][key] for key in self._keys()]
            self._best = [held['best'][key] for key in self._keys()]
            logbook.say(f'continuing from step {self._step} of {program.job.length.total_steps}')
        for i in self._live():
            members[i].logbook.rewind(self._step)
            self._recall(members[i])

    def _keys(self) -> list[str]:
        return [f'chunk_{chunk}' for chunk in range(len(self._program.chunks))]

    def _held(self) -> dict:
        """Returns what a checkpoint of the pack is."""
        return {
            'states': dict(zip(self._keys(), self._states, strict=True)),
            'best': dict(zip(self._keys(), self._best, strict=True)),
        }

    def _recall(self, member: Member) -> None:
        """Finds the best validation so far among the lines of metrics.jsonl."""
        file = member.logbook.workdir / 'metrics.jsonl'
        for line in file.read_text().splitlines() if file.exists() else ():
            figures = json.loads(line)
            if 'val/loss' in figures:
                self._judge(member, figures['step'], run_result.rank(member.job, figures))

    @staticmethod
    def _judge(member: Member, step: int, rank: list[float]) -> bool:
        """Notes a validation; tells whether it is the best so far."""
        better = member.best_rank is None or [*rank, -step] > member.best_rank
        if better:
            member.best_rank = [*rank, -step]
        return better

    def _place(self, member: int) -> tuple[int, int]:
        """Returns the chunk of a member and its row there."""
        return divmod(member, self._program.size)

    def _live(self) -> list[int]:
        return [i for i, member in enumerate(self._members) if member.live]

    def _live_chunks(self) -> list[int]:
        return sorted({self._place(i)[0] for i in self._live()})

    def train(self) -> None:
        """Trains until all members have ended.

        Raises:
            Stopped: on SIGTERM or SIGINT, after saving.
        """
        program, job = self._program, self._program.job
        length = job.length
        periods = {key: config_lib.every_steps(job.config, key, length) for key in _PERIODS}
        tables = {m.job.config.seed: m.data.tables['train'] for m in self._members}
        batches = program.batches(
            tables, self._step, length.total_steps - self._step, self._resident
        )
        self._logbook.start_progress(self._step, length.total_steps)
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
                due = {
                    key
                    for key, period in periods.items()
                    if self._step % period == 0 or self._step == length.total_steps
                }
                stopped_by = stop.at(self._step)
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
                self._end(ended)
                if stopped_by is not None and self._live():
                    raise Stopped(stopped_by, self._step)
        self._logbook.end_progress()
        self._checkpoints.close()

    def _look_at_losses(self, step: int, losses: Mapping[int, jax.Array]) -> None:
        """Ends members whose loss is not finite, and moves the progress bar."""
        losses = jax.device_get(losses)
        length = self._program.job.length
        finite = []
        for i in self._live():
            chunk, row = self._place(i)
            if chunk not in losses:
                continue
            loss = float(losses[chunk][row])
            if np.isfinite(loss):
                finite.append(loss)
                continue
            message = (
                f'the loss became {loss} at step {step} (epoch {length.epochs(step):.2f}): lower '
                'config.optim.learning_rate; delete the folder to try again'
            )
            folder = self._members[i].logbook.workdir
            write_json(folder / 'failed.json', {'step': step, 'message': message})
            self._logbook.say(f'{self._members[i].name} failed: {message}')
            self._members[i].live = False
        self._logbook.advance(statistics.median(finite) if finite else float('nan'), 1)

    def _validate(self) -> dict[int, dict[str, float]]:
        """Validates the live members; returns figures by member."""
        states, chunks = self._states, self._live_chunks()
        table = self._members[0].data.tables['val']
        variables = {chunk: states[chunk].evaluated for chunk in chunks}
        probabilities = self._program.predict(variables, table, self._resident)
        figures, chosen = {}, {}
        for chunk in chunks:
            remembered = jax.tree.map(np.array, jax.device_get(states[chunk].watch))
            better = np.zeros(self._program.size, bool)
            for i in self._live():
                if self._place(i)[0] != chunk:
                    continue
                row, member = self._place(i)[1], self._members[i]
                figures[i], rank = run_result.validation(
                    member.job, member.data, probabilities[chunk][row]
                )
                chosen[i] = rank[0]
                better[row] = self._judge(member, self._step, rank)
                before = {key: rows[row] for key, rows in remembered.items()}
                for key, value in watch.observe(member.job.config, before, figures[i]).items():
                    remembered[key][row] = value
            self._best[chunk] = self._program.keep(
                better, states[chunk].evaluated, self._best[chunk]
            )
            over_members = NamedSharding(self._program.job.mesh, PartitionSpec('data'))
            states[chunk] = states[chunk].replace(watch=jax.device_put(remembered, over_members))
        if chosen:
            first = max(chosen, key=chosen.get)
            self._logbook.say(
                f'epoch {self._program.job.length.epochs(self._step):6.1f}: {len(chosen)} runs, validation '
                f'accuracy {100 * statistics.median(chosen.values()):.1f} % in the median, '
                f'{100 * chosen[first]:.1f} % at best ({self._members[first].name})'
            )
        return figures

    def _ended(self) -> list[int]:
        """Returns the live members that have come to the end, or stop early."""
        if self._step == self._program.job.length.total_steps:
            return self._live()
        remembered = [jax.device_get(state.watch) for state in self._states]
        return [
            i
            for i in self._live()
            if watch.stopped(self._members[i].job.config, self._row(remembered, i))
        ]

    def _row(self, chunks: Sequence[Any], member: int) -> Any:
        chunk, row = self._place(member)
        return jax.tree.map(lambda x: x[row], chunks[chunk])

    def _log(
        self,
        due: bool,
        ended: Sequence[int],
        outputs: Mapping[int, Mapping[str, jax.Array]],
        figures: Mapping[int, Mapping[str, float]],
    ) -> None:
        """Writes the lines of metrics.jsonl, and begins the sums anew."""
        epoch = self._program.job.length.epochs(self._step)
        sums = [jax.device_get(state.sums) for state in self._states]
        rates = {chunk: jax.device_get(new['learning_rate']) for chunk, new in outputs.items()}
        for i in self._live():
            chunk, row = self._place(i)
            logbook = self._members[i].logbook
            if due or i in ended:
                line = loop.train_figures(self._row(sums, i), rates[chunk][row])
                logbook.write(self._step, epoch, line)
            if i in figures:
                logbook.write(self._step, epoch, figures[i])
        if due:
            self._states = [
                state.replace(sums=jax.tree.map(jnp.zeros_like, state.sums))
                for state in self._states
            ]

    def _end(self, ended: Sequence[int]) -> None:
        """Tests members that have ended, each with the variables that its validation chose."""
        chunks = sorted({self._place(i)[0] for i in ended})
        trained_s = time.monotonic()
        probabilities = {
            part: self._program.predict(
                {chunk: self._best[chunk] for chunk in chunks},
                self._members[0].data.tables[part],
                self._resident,
            )
            for part in ('val', 'test')
        } if ended else {}  # fmt: skip
        for chunk in chunks:
            states = {chunk: jax.device_get(self._states[chunk])}
            best = {chunk: jax.device_get(self._best[chunk])}
            for i in ended:
                if self._place(i)[0] != chunk:
                    continue
                row, member = self._place(i)[1], self._members[i]
                state = self._row(states, i).replace(
                    step=np.int32(self._step), sums=jax.device_get(train.zero_sums())
                )
                run_result.write(
                    member.job,
                    member.data,
                    run_result.Ended(
                        state,
                        self._first_step,
                        int(-member.best_rank[-1]),
                        self._row(best, i),
                        {part: chunks[chunk][row] for part, chunks in probabilities.items()},
                        self._started_s,
                        self._prepared_s,
                        trained_s,
                    ),
                    member.logbook,
                )
                member.live = False
                self._logbook.say(f'{member.name} has ended at step {self._step}')
