"""The trials of a sweep in an Optuna study, which several programs may work on at the same time.

A trial belongs to a number: its point, its folder and what it draws follow from it, so a sweep that is
killed and continued tries what it would have tried. A trial whose program died is still marked as running;
the next program that looks for work continues it, in its folder. Who died is known by a lock on a file
where folder and machine are the same, and by a sign of life that stays out where they are not.
"""

import contextlib
import dataclasses
import json
import pathlib
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np
import optuna
import sqlalchemy
from absl import logging

from genre_jax import config as config_lib
from genre_jax.data.storage import take_lock
from genre_jax.errors import UserError
from genre_jax.logbook import read_json, write_json
from genre_jax.sweep.space import Choice, IntUniform, LogUniform, Sweep, label, make_points

_SIGN_OF_LIFE_S = 30
_DEAD_AFTER_S = 300

State = optuna.trial.TrialState


@dataclasses.dataclass
class Claim:
    """A trial that this program works on."""

    trial: optuna.Trial
    point: dict[str, object]  # config key to value
    earlier_s: float  # seconds that programs which were stopped or killed worked on it
    lock: IO  # held until the program lets go of the trial or dies
    started_s: float  # when this program took it, on the monotonic clock

    @property
    def seconds(self) -> float:
        """Seconds that were worked on it in all."""
        return self.earlier_s + time.monotonic() - self.started_s


class SharedStudy:
    """A study on disk or in a database, and who works on which of its trials."""

    def __init__(
        self,
        workdir: pathlib.Path,
        sweep: Sweep,
        identity: Mapping,
        storage: str = '',
        prune: bool = False,
        seeds: int = 1,
    ) -> None:
        """Opens the study, or begins it; a UserError where that cannot be, or it holds another sweep.

        The name of the folder is the study's. `identity`, {section: nested settings}, has to be the same when
        the sweep is continued. `storage` is the URL of a database, 'journal:FILE', or '' for a file in the
        folder. With `prune`, trials end that are worse than the median of the others at the same validation,
        from the third on and after five trials. Each trial is trained `seeds` times.
        """
        self.workdir, self.sweep, self.seeds = workdir, sweep, seeds
        self._points = [] if sweep.method == 'tpe' else make_points(sweep)
        self._place = f'{socket.gethostname()}:{workdir.resolve()}'
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            (workdir / 'locks').mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f'--workdir={workdir} cannot be used ({error.strerror}): name a folder that can be written'
            ) from None
        shown = _without_password(storage)
        median = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)
        with self.lock('claim'):
            file = workdir / 'sweep.json'
            whole = {**identity, 'study': {'storage': shown}}
            if file.exists():
                _check_same(read_json(file), whole, f'--workdir={workdir}')
            try:
                self.study = optuna.create_study(
                    study_name=workdir.resolve().name,
                    storage=_open_storage(storage, workdir),
                    direction='minimize' if sweep.lower_is_better else 'maximize',
                    pruner=median if prune else optuna.pruners.NopPruner(),
                    load_if_exists=True,
                )
            except Exception as error:  # drivers of databases raise what they like
                reason = (str(error).splitlines() or [''])[0]
                raise UserError(
                    f'the study {shown or workdir / "study.db"} cannot be opened '
                    f'({type(error).__name__}: {reason}): look at --storage'
                ) from None
            stored = self.study.user_attrs.get('sweep')
            if stored is None:
                self.study.set_user_attr('sweep', dict(identity))
            else:
                where = f'the study {self.study.study_name!r} in {shown or workdir / "study.db"}'
                _check_same(stored, identity, where)
            write_json(file, whole)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Holds something, by its name, for this program alone; others wait."""
        with (self.workdir / 'locks' / name).open('w') as file:
            take_lock(file)
            yield

    def folder(self, number: int) -> pathlib.Path:
        """Returns the folder of a trial."""
        return self.workdir / 'trials' / f'{number:04d}'

    def run_folders(self, number: int) -> list[pathlib.Path]:
        """Returns the run folder of each training of a trial."""
        folder = self.folder(number)
        return [folder] if self.seeds == 1 else [folder / f'seed_{i}' for i in range(self.seeds)]

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Returns the trials that there are, by number."""
        return self.study.get_trials(deepcopy=False)[: self.sweep.size]

    def point(self, trial: optuna.trial.FrozenTrial | optuna.Trial) -> dict[str, object]:
        """Returns the values of a trial, as the config takes them."""
        point = {key: trial.params.get(key) for key in self.sweep.space}
        for key, each in self.sweep.space.items():
            if isinstance(each, Choice):
                point[key] = {label(one): one for one in each.values}.get(point[key])
        return point

    def claim(self) -> Claim | None:
        """Takes the next trial: one whose program died, else a new one; None if nothing is left to do."""
        with self.lock('claim'):
            trials = self.trials()
            for frozen in trials:
                if frozen.state == State.RUNNING and (lock := self._take(frozen)):
                    return self._begin(optuna.Trial(self.study, frozen._trial_id), lock)
            if len(trials) >= self.sweep.size:
                return None
            trial = self.study.ask()
            if trial.number >= self.sweep.size:  # another machine took the last one just now
                self.study.tell(trial, state=State.FAIL)
                return None
            return self._begin(trial, self._try_lock(trial.number))

    def _take(self, trial: optuna.trial.FrozenTrial) -> IO | None:
        """Returns the lock of a running trial whose program died, else None."""
        if trial.user_attrs.get('place') != self._place:
            alive = trial.user_attrs.get('alive', trial.datetime_start.timestamp())
            if time.time() - alive < _DEAD_AFTER_S:
                return None
        return self._try_lock(trial.number)

    def _try_lock(self, number: int) -> IO | None:
        file = (self.workdir / 'locks' / f'{number:04d}').open('w')
        if not take_lock(file, wait=False):
            file.close()
            return None
        return file

    def _begin(self, trial: optuna.Trial, lock: IO) -> Claim:
        trial.set_user_attr('place', self._place)
        trial.set_user_attr('alive', time.time())
        # The sampler is new for every trial: what it draws does not depend on who drew before.
        if self.sweep.method == 'tpe':
            (seed,) = np.random.SeedSequence([self.sweep.seed, trial.number]).generate_state(1)
            self.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        else:
            point = {key: label(value) for key, value in self._points[trial.number].items()}
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
                self.study.sampler = optuna.samplers.PartialFixedSampler(
                    point, optuna.samplers.RandomSampler()
                )
        for key, each in self.sweep.space.items():
            if isinstance(each, Choice):
                trial.suggest_categorical(key, [label(value) for value in each.values])
            elif isinstance(each, IntUniform):
                trial.suggest_int(key, each.low, each.high)
            else:
                trial.suggest_float(key, each.low, each.high, log=isinstance(each, LogUniform))
        earlier_s = trial.user_attrs.get('seconds', 0.0)
        return Claim(trial, self.point(trial), earlier_s, lock, time.monotonic())

    @contextlib.contextmanager
    def signs_of_life(self, claim: Claim) -> Iterator[None]:
        """Gives signs of life while a trial is trained."""
        ended = threading.Event()

        def live() -> None:
            while not ended.wait(_SIGN_OF_LIFE_S):
                try:
                    self._note_time(claim)
                # The database may be away for a while; the training goes on.
                except Exception as error:
                    logging.warning('no sign of life to the study: %s', error)

        thread = threading.Thread(target=live, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._note_time(claim)

    def _note_time(self, claim: Claim) -> None:
        claim.trial.set_user_attr('alive', time.time())
        claim.trial.set_user_attr('seconds', claim.seconds)

    def report(self, claim: Claim, validation: int, value: float) -> bool:
        """Notes the metric at a validation, counted from 1; returns whether to end the trial."""
        known = self.study.get_trials(deepcopy=False)[claim.trial.number].intermediate_values
        if validation not in known:  # a continued trial may validate once more where it was cut off
            claim.trial.report(value, validation)
        return claim.trial.should_prune()

    def end(self, claim: Claim, state: State, value: float | None = None, **facts: object) -> None:
        """Notes how a trial ended: COMPLETE with metric and 'figures', FAIL with a 'reason', or PRUNED."""
        for name, fact in facts.items():
            claim.trial.set_user_attr(name, fact)
        self.study.tell(claim.trial, value, state, skip_if_finished=True)
        claim.lock.close()


def _open_storage(storage: str, workdir: pathlib.Path) -> optuna.storages.BaseStorage:
    if storage.startswith('journal:'):
        backend = optuna.storages.journal.JournalFileBackend(storage.removeprefix('journal:'))
        return optuna.storages.JournalStorage(backend)
    own = sqlalchemy.URL.create('sqlite', database=str(workdir / 'study.db'))
    url = sqlalchemy.make_url(storage) if storage else own
    # SQLite lets one program write at a time: the others wait.
    wait = {'connect_args': {'timeout': 60}} if url.drivername.startswith('sqlite') else None
    return optuna.storages.RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=wait)


def _without_password(storage: str) -> str:
    if not storage or storage.startswith('journal:'):
        return storage
    try:
        return sqlalchemy.make_url(storage).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        raise UserError(
            '--storage: expected the URL of a database such as postgresql://user:password@host/name, '
            'sqlite:///FILE, or journal:FILE'
        ) from None


def _check_same(old: Mapping, new: Mapping, where: str) -> None:
    now = json.loads(json.dumps(new))
    changes = [each for section in now for each in config_lib.differences(old.get(section, {}), now[section])]
    if changes:
        raise UserError(
            f'{where} holds another sweep ({"; ".join(changes[:5])}{"; ..." if len(changes) > 5 else ""}): '
            'use another --workdir, or the same command to continue'
        )
