"""Which runs the rows of a paper are, each with its folder and the command that does the same."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import itertools
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence

import ml_collections

from genre_jax import config as config_lib
from genre_jax.errors import UserError
from genre_jax.reproduce import paper as paper_lib
from genre_jax.reproduce import present
from genre_jax.reproduce.paper import PROTOCOLS, Paper, Row, Table
from genre_jax.reproduce.present import Given
from genre_jax.study import protocols
from genre_jax.sweep import space as search_space

LEFT_OUT = 'left out by --only'
_BLENDED_NETWORKS = 3
BLEND_SETTINGS = {'votes': 'onehot', 'max_weight': 5, 'grow_by': 5}


@dataclasses.dataclass(frozen=True)
class Job:
    """A run, or a sweep."""

    way: paper_lib.Way  # what is run
    folder: pathlib.Path  # of the run; of a sweep that of the whole
    config: ml_collections.ConfigDict | None  # the whole config; of a blend None
    command: tuple[str, ...]  # that does the same
    members: tuple[Job, ...] = ()  # what is blended


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row under one protocol."""

    table: Table  # of the row
    row: Row  # of the paper
    protocol: str  # 'paper' or 'grouped'
    # the runs that the row's figures are of, one a seed; none where it is not run
    jobs: tuple[Job, ...] = ()
    why_not: str = ''  # why it cannot be run, '' if it can
    wanted: bool = False  # whether it is to be run now; what was run before is shown all the same
    other: str = ''  # folder of other data than the paper's, '' for the paper's

    @property
    def every_job(self) -> tuple[Job, ...]:
        """Those that are blended, and the row's own."""
        return (*(member for job in self.jobs for member in job.members), *self.jobs)


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the command line asks for."""

    workdir: pathlib.Path  # folder of the reproduction
    data: Mapping[str, Given]  # the data that are there
    protocols: Sequence[str]  # of the page
    only: str = ''  # expression of row names; '' for all
    seeds: int = 0  # runs of each network; 0 for the paper's number
    # {config key: value} for every run
    settings: Mapping[str, object] = dataclasses.field(default_factory=dict)


def check_protocols(names: Sequence[str]) -> list[str]:
    """Returns the protocols of --protocols in the order of the page."""
    for name in names:
        if name not in PROTOCOLS:
            hint = config_lib.nearest(name, PROTOCOLS)
            raise UserError(f'--protocols: unknown protocol {name!r}{hint}')
    if not names:
        raise UserError(f'--protocols: expected {" or ".join(PROTOCOLS)}, or both')
    return [name for name in PROTOCOLS if name in names]


def parse_settings(texts: Sequence[str]) -> dict[str, object]:
    """Reads --set=KEY=VALUE, the value as in Python, or a word: 'train.length=2 epochs'."""
    settings = {}
    for text in texts:
        key, separator, value = text.partition('=')
        if not separator or '.' not in key:
            raise UserError(f'--set={text}: expected KEY=VALUE, such as train.batch_size=32')
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
        settings[key.removeprefix('config.')] = value
    return settings


def make_plan(paper: Paper, wishes: Wishes) -> list[Entry]:
    """Lays out what is run for each row and protocol; UserError: no row of that name, or no such setting."""
    try:
        wanted = re.compile(wishes.only)
    except re.error as error:
        raise UserError(f'--only={wishes.only}: no regular expression: {error}') from None
    names = [row.name for _, row in paper.rows()]
    if not any(map(wanted.search, names)):
        raise UserError(f'--only={wishes.only}: no row of {paper.name} matches: {"; ".join(names)}')
    entries = []
    for table, row in paper.rows():
        why_not = _why_not(paper, row, wishes.data)
        others = ', '.join(present.others(row, wishes.data))
        for protocol in wishes.protocols:
            if why_not:
                entries.append(Entry(table, row, protocol, why_not=why_not))
                continue
            own = _Planner(paper, wishes, row, protocol).jobs(row.way, wishes.seeds)
            now = bool(wanted.search(row.name))
            entries.append(Entry(table, row, protocol, tuple(own), wanted=now, other=others))
    return entries


def jobs(entries: Sequence[Entry]) -> list[Job]:
    """Returns all runs that are wanted once: quick ones first, blends after their members."""
    order = (paper_lib.Classical, paper_lib.Network, paper_lib.Blend, paper_lib.Mean, paper_lib.Trial)
    once = {job.folder: job for entry in entries if entry.wanted for job in entry.every_job}
    return sorted(once.values(), key=lambda job: order.index(type(job.way)))


def _why_not(paper: Paper, row: Row, data: Mapping[str, Given]) -> str:
    """Says why a row cannot be run, '' if it can."""
    if isinstance(row.way, paper_lib.NotRun):
        return f'not run: {row.way.reason}'
    needed = [need.key for need in paper.needs if need.key in row.way.needs and not need.optional]
    if absent := [f'--data={key}=PATH' for key in needed if key not in data]:
        return f'data missing: {" and ".join(absent)}'
    if isinstance(row.way, paper_lib.Trial) and present.others(row, data):
        return 'not run: a sweep needs a page for its data (genre_jax/sweep/space.py)'
    return ''


class _Planner:
    """Makes the jobs of one row under one protocol."""

    def __init__(self, paper: Paper, wishes: Wishes, row: Row, protocol: str) -> None:
        self._paper, self._wishes, self._row = paper, wishes, row
        self._argument = paper.protocols[protocol][0]
        self._data = present.used(row, wishes.data)
        self._home = wishes.workdir / protocol

    def jobs(self, way: paper_lib.Way, seeds: int = 0) -> list[Job]:
        """Returns the runs of a way; of a network so many, or 0: as many as the paper's figure is of."""
        if isinstance(way, paper_lib.Blend):
            members = self.jobs(way.network, _BLENDED_NETWORKS)
            members += [job for each in way.classical for job in self.jobs(each)]
            folder = self._home / ('blend_searched_on_test' if way.leaky else 'blend')
            words = [f'--members={",".join(str(job.folder) for job in members)}']
            words += ['--leaky_fit_on_test'] * way.leaky
            return [Job(way, folder, None, self._command('blend', words, folder), tuple(members))]
        if isinstance(way, paper_lib.Mean):
            members = [job for each in way.networks for job in self.jobs(each, seeds=1)]
            folder = self._home / 'mean'
            folds = dict.fromkeys(str(job.folder.parent) for job in members)
            words = [f'--members={",".join(folds)}', '--method=mean', '--level=song']
            return [Job(way, folder, None, self._command('blend', words, folder), tuple(members))]
        if isinstance(way, paper_lib.Classical):
            config, words = self._config(way.page)
            protocol, home = config.split.protocol, self._home / f'classical_{way.page}'
            words += [f'--models={way.model}', f'--protocols={protocol}']
            folder = home / protocol / protocols.ROWS / way.model
            return [Job(way, folder, config, self._command('classical', words, home))]
        config, words = self._config(way.page, way.arguments)
        if isinstance(way, paper_lib.Trial):
            folder = self._home / _slug(f'sweep {way.page} {way.arguments}')
            return [Job(way, folder, config, self._command('sweep', words, folder))]
        made = []
        home = self._home / _slug(f'{way.page} {way.arguments}')
        folds = range(config.split.folds) if way.folded else [None]
        for number, fold in itertools.product(range(seeds or way.runs), folds):
            folder, values = home / f'seed_{number}', {'seed': config.seed + number} if number else {}
            if fold is not None:
                folder, values = folder / f'fold_{fold}', values | {'split.fold': fold}
            one = search_space.apply(config, values)
            own = [f'--config.{key}={value}' for key, value in values.items()]
            made.append(Job(way, folder, one, self._command('main', [*words, *own], folder)))
        return made

    def _config(self, page: str, arguments: str = '') -> tuple[ml_collections.ConfigDict, list[str]]:
        """Returns the config of a page with what is set in it, and the flags that give the same."""
        arguments = ','.join(filter(None, (arguments, f'protocol={self._argument}')))
        page = f'configs/{page}.py:{arguments}'
        config = config_lib.load_page(page)
        values = present.apply(config, self._data) | dict(self._wishes.settings)
        known = config_lib.flatten(config)
        for key, value in self._wishes.settings.items():
            if key not in known:
                raise UserError(
                    f'--set={key}={value}: unknown key {key} of {page}{config_lib.nearest(key, known)}'
                )
            try:
                config = search_space.apply(config, {key: value})
            except (TypeError, ValueError) as error:
                raise UserError(f'--set={key}={value}: {error}') from None
        config_lib.validate(config)
        flags = [f'--config.{key}={value}' for key, value in values.items()]
        return config, [f'--config={page}', *flags]

    def _command(self, program: str, words: Sequence[str], workdir: pathlib.Path) -> tuple[str, ...]:
        """Returns the command line; pages of other data exist here alone."""
        if present.others(self._row, self._wishes.data):
            program, workdir = f'reproduce {self._paper.name}', self._wishes.workdir
            words = [f'--data={each.text}' for each in self._data]
            words.append(f'--only=^{re.escape(self._row.name)}$')
            words += [f'--set={key}={value}' for key, value in self._wishes.settings.items()]
        return ('python', '-m', *f'genre_jax.{program}'.split(), *words, f'--workdir={workdir}')


def in_full(paper: Paper, wishes: Wishes, entries: Sequence[Entry]) -> str:
    """Returns the plan as text: every command, what is left out and why, and what is missing."""
    lines = [paper.title]
    for entry in entries:
        where = f'{entry.table.title} | {entry.row.name} | {entry.protocol}'
        if not entry.wanted:
            lines.append(f'\n# {where}: {entry.why_not or LEFT_OUT}')
            continue
        cost = f' ({entry.row.way.cost})' if entry.row.way.cost else ''
        lines.append(f'\n# {where}{cost}')
        lines += [shlex.join(job.command) for job in entry.every_job]
    lines.append(f'\n# {len(jobs(entries))} runs in all')
    for need in paper.needs:
        if need.key not in wishes.data:
            optional = ', optional' if need.optional else ''
            lines.append(f'# missing{optional}: --data={need.key}=PATH, {need.what}: {need.how}')
    return '\n'.join(lines)


def _slug(text: str) -> str:
    """Returns a text as the name of a folder."""
    return re.sub(r'[^\w=.-]+', '_', text).strip('_')
