"""Which runs the rows of a paper are, each with its folder and the command that does the same."""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence

import ml_collections

from genre_jax import config as config_lib
from genre_jax.errors import UserError
from genre_jax.reproduce import present
from genre_jax.reproduce.paper import (
    PROTOCOLS,
    Blend,
    Classical,
    Network,
    Paper,
    Row,
    Table,
    Trial,
    slug,
)
from genre_jax.reproduce.present import Given
from genre_jax.study import protocols
from genre_jax.sweep import space as search_space

LEFT_OUT = 'left out by --only'
_BLENDED_NETWORKS = 3
BLEND_SETTINGS = {'votes': 'onehot', 'max_weight': 5, 'grow_by': 5}


@dataclasses.dataclass(frozen=True)
class Job:
    """A run, or a sweep."""

    way: Network | Classical | Blend | Trial  # what is run
    folder: pathlib.Path  # of the run; of a sweep that of the whole
    config: ml_collections.ConfigDict | None  # the whole config; of a blend None
    command: tuple[str, ...]  # that does the same
    members: tuple[pathlib.Path, ...] = ()  # folders of what is blended


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row under one protocol."""

    table: Table  # of the row
    row: Row  # of the paper
    protocol: str  # 'paper' or 'grouped'
    # the runs that the row's figures are of, one a seed; none where it is not run
    jobs: tuple[Job, ...] = ()
    before: tuple[Job, ...] = ()  # the runs that those need
    why_not: str = ''  # why it cannot be run, '' if it can
    wanted: bool = False  # whether it is to be run now; what was run before is shown all the same
    other: str = ''  # folder of other data than the paper's, '' for the paper's


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
        try:
            settings[key.removeprefix('config.')] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[key.removeprefix('config.')] = value
    return settings


def make_plan(paper: Paper, wishes: Wishes) -> list[Entry]:
    """Lays out what is run for each row under each protocol.

    A UserError where no row has that name, or a page does not take a setting.
    """
    try:
        wanted = re.compile(wishes.only)
    except re.error as error:
        raise UserError(f'--only={wishes.only}: no regular expression: {error}') from None
    names = [row.name for _, row in paper.rows()]
    if not any(map(wanted.search, names)):
        raise UserError(f'--only={wishes.only}: no row of {paper.name} matches: {"; ".join(names)}')
    entries = []
    for table, row in paper.rows():
        for protocol in wishes.protocols:
            entry = Entry(table, row, protocol)
            if hasattr(row.way, 'reason'):
                entry = dataclasses.replace(entry, why_not=f'not run: {row.way.reason}')
            elif absent := present.missing(paper, row, wishes.data):
                needed = ' and '.join(f'--data={need.key}=PATH' for need in absent)
                entry = dataclasses.replace(entry, why_not=f'data missing: {needed}')
            elif isinstance(row.way, Trial) and present.others(row, wishes.data):
                reason = 'not run: a sweep needs a page for its data (genre_jax/sweep/space.py)'
                entry = dataclasses.replace(entry, why_not=reason)
            else:
                entry = _Planner(paper, wishes, row, protocol).fill(entry)
                entry = dataclasses.replace(entry, wanted=bool(wanted.search(row.name)))
            entries.append(entry)
    return entries


def jobs(entries: Sequence[Entry]) -> list[Job]:
    """Returns all runs that are wanted once: quick ones first, blends after their members."""
    every = [job for entry in entries if entry.wanted for job in (*entry.before, *entry.jobs)]
    order = (Classical, Network, Blend, Trial)
    once = {job.folder: job for job in every}.values()
    return sorted(once, key=lambda job: order.index(type(job.way)))


class _Planner:
    """Makes the jobs of one row under one protocol."""

    def __init__(self, paper: Paper, wishes: Wishes, row: Row, protocol: str) -> None:
        self._paper, self._wishes, self._row = paper, wishes, row
        self._argument = paper.protocols[protocol][0]
        self._data = present.used(row, wishes.data)
        self._home = wishes.workdir / protocol

    def fill(self, entry: Entry) -> Entry:
        """Returns the entry with its jobs."""
        other = ', '.join(present.others(self._row, self._wishes.data))
        before: tuple[Job, ...] = ()
        match self._row.way:
            case Network() as way:
                own = self._networks(way, self._wishes.seeds or way.runs)
            case Classical() as way:
                own = [self._classical(way)]
            case Trial() as way:
                own = [self._sweep(way)]
            case Blend() as way:
                before = (
                    *self._networks(way.network, _BLENDED_NETWORKS),
                    *(self._classical(member) for member in way.classical),
                )
                own = [self._blend(way, [job.folder for job in before])]
        return dataclasses.replace(entry, jobs=tuple(own), before=before, other=other)

    def _config(self, page: str, arguments: str) -> tuple[str, ml_collections.ConfigDict, dict]:
        """Returns the page with its arguments, its config, and what is set in it."""
        arguments = ','.join(filter(None, (arguments, f'protocol={self._argument}')))
        page = f'configs/{page}.py:{arguments}'
        config, values = present.apply(config_lib.load_page(page), self._data)
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
        return page, config, values | dict(self._wishes.settings)

    def _networks(self, way: Network, runs: int) -> list[Job]:
        page, config, values = self._config(way.page, way.arguments)
        made = []
        for number in range(runs):
            one = search_space.apply(config, {'seed': config.seed + number})
            folder = self._home / slug(f'{way.page} {way.arguments}') / f'seed_{number}'
            flags = _flags(values | ({'seed': one.seed} if number else {}))
            command = self._command('main', f'--config={page}', *flags, f'--workdir={folder}')
            made.append(Job(way, folder, one, command))
        return made

    def _classical(self, way: Classical) -> Job:
        page, config, values = self._config(way.page, '')
        home = self._home / f'classical_{way.page}'
        folder = home / config.split.protocol / protocols.ROWS / way.model
        command = self._command(
            'classical', f'--config={page}', *_flags(values), f'--models={way.model}',
            f'--protocols={config.split.protocol}', f'--workdir={home}',
        )  # fmt: skip
        return Job(way, folder, config, command)

    def _sweep(self, way: Trial) -> Job:
        page, config, values = self._config(way.page, way.arguments)
        folder = self._home / slug(f'sweep {way.page} {way.arguments}')
        command = self._command('sweep', f'--config={page}', *_flags(values), f'--workdir={folder}')
        return Job(way, folder, config, command)

    def _blend(self, way: Blend, members: Sequence[pathlib.Path]) -> Job:
        folder = self._home / ('blend_searched_on_test' if way.leaky else 'blend')
        command = self._command(
            'blend', f'--members={",".join(map(str, members))}', f'--workdir={folder}',
            *(['--leaky_fit_on_test'] if way.leaky else []),
        )  # fmt: skip
        return Job(way, folder, None, command, tuple(members))

    def _command(self, program: str, *words: str) -> tuple[str, ...]:
        """Returns the command line; pages of other data exist here alone."""
        if not present.others(self._row, self._wishes.data):
            return ('python', '-m', f'genre_jax.{program}', *words)
        data = [f'--data={each.text}' for each in self._data]
        settings = [f'--set={key}={value}' for key, value in self._wishes.settings.items()]
        only = f'--only=^{re.escape(self._row.name)}$'
        here = [*data, only, *settings, f'--workdir={self._wishes.workdir}']
        return ('python', '-m', 'genre_jax.reproduce', self._paper.name, *here)


def _flags(values: Mapping[str, object]) -> list[str]:
    return [f'--config.{key}={value}' for key, value in values.items()]


def in_words(command: Sequence[str]) -> str:
    """Returns a command line as a shell takes it."""
    return shlex.join(command)


def in_full(paper: Paper, wishes: Wishes, entries: Sequence[Entry]) -> str:
    """Returns the plan as text: every command, what is left out and why, and what is missing."""
    lines = [paper.title]
    for entry in entries:
        where = f'{entry.table.title} | {entry.row.name} | {entry.protocol}'
        if not entry.wanted:
            lines.append(f'\n# {where}: {entry.why_not or LEFT_OUT}')
            continue
        cost = f' ({entry.row.cost})' if entry.row.cost else ''
        lines.append(f'\n# {where}{cost}')
        lines += [in_words(job.command) for job in (*entry.before, *entry.jobs)]
    lines.append(f'\n# {len(jobs(entries))} runs in all')
    for need in paper.needs:
        if need.key not in wishes.data:
            optional = ', optional' if need.optional else ''
            lines.append(f'# missing{optional}: --data={need.key}=PATH, {need.what}: {need.how}')
    return '\n'.join(lines)
