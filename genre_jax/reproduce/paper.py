"""What the file of a paper declares: its tables row by row, and how each row is run here."""

import dataclasses
import importlib
import itertools
from collections.abc import Sequence

from genre_jax import config as config_lib
from genre_jax.errors import UserError

# Whose split: the paper's own, which may leak, and one that cannot.
PROTOCOLS = ('paper', 'grouped')

# The files beside this one.
PAPERS = ('herbert', 'bu', 'kirby_bhateja', 'wu', 'ma', 'makam')


@dataclasses.dataclass(frozen=True)
class Need:
    """Data that rows of the paper need."""

    key: str  # what stands before the path in --data=KEY=PATH
    what: str  # the data, in words
    how: str  # how to get them
    dataset: str = ''  # module of data/ that reads them; '' where they are no dataset of their own
    config_key: str = 'data.root'  # where the path goes
    optional: bool = False  # rows run without them, as `how` says


def weights(key: str, whose: str, megabytes: int, where: str) -> Need:
    """Returns published weights, `where` being a file and its address for whom there is no network."""
    how = f'fetched by itself ({megabytes} MB) where there is a network; else copy {where}'
    return Need(key, whose, how, config_key='init.checkpoint', optional=True)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure that the paper prints, and where ours lies."""

    name: str  # heading of its column
    # below 'parts' of result.json, 'test/segment/accuracy'; 'tonic/...', below 'tonic' there; or 'log/NAME',
    # the last in metrics.jsonl
    path: str
    printed: str = ''  # as the paper prints it; '' where it prints none

    @property
    def is_share(self) -> bool:
        """Whether it is shown in percent."""
        return not self.path.endswith('loss')

    @property
    def value(self) -> float | None:
        """The printed figure, shares as fractions, whether printed so or in percent; None without."""
        if not self.printed:
            return None
        value = float(self.printed)
        return value / 100 if self.is_share and value > 1 else value

    @property
    def shown(self) -> str:
        """The printed figure as tables show it: shares in percent, the digits that were printed."""
        if not self.printed or (self.is_share and float(self.printed) > 1):
            return self.printed
        decimals = len(self.printed.partition('.')[2])
        if not self.is_share:
            return f'{self.value:.{min(decimals, 4)}f}'
        return f'{100 * self.value:.{min(2, max(0, decimals - 2))}f}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """How a row is run here."""

    needs: tuple[str, ...] = ()  # keys of the data, the optional ones too
    cost: str = ''  # known cost of one run, in words


@dataclasses.dataclass(frozen=True)
class Network(Way):
    """Trainings of a config page."""

    page: str  # name in configs/, without '.py'
    arguments: str = ''  # what follows the page's colon, without the protocol
    runs: int = 1  # how many the paper's figure is of
    folded: bool = False  # whether each is one training a fold, and the figures those of all folds together


@dataclasses.dataclass(frozen=True)
class Classical(Way):
    """A model of genre_jax.classical on the data and the split of a page."""

    page: str  # name in configs/, without '.py'
    model: str  # key of MODELS of genre_jax/classical/estimators.py


@dataclasses.dataclass(frozen=True)
class Blend(Way):
    """Integer weights for the votes of other rows' models."""

    network: Network  # trained with three seeds
    classical: tuple[Classical, ...]  # further members
    leaky: bool  # whether the weights are searched on the test part, as the paper did


@dataclasses.dataclass(frozen=True)
class Mean(Way):
    """What networks say on all folds, song by song; all count the same."""

    networks: tuple[Network, ...]


@dataclasses.dataclass(frozen=True)
class Trial(Way):
    """A point of the sweep that a page has."""

    page: str  # name in configs/, without '.py'
    arguments: str = ''  # what follows the page's colon, without the protocol
    # ((config key, value), ...); empty: the trial that validation chose
    point: tuple[tuple[str, object], ...] = ()


@dataclasses.dataclass(frozen=True)
class NotRun(Way):
    """A row that is shown and not run."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table."""

    name: str  # as in the paper, where it has a name there
    way: Way  # how it is run here
    figures: tuple[Figure, ...]  # those of the paper, and ours beside them


class Table:
    """A table or figure of the paper: its rows, and what to know when reading it."""

    def __init__(self, title: str, columns: Sequence[tuple[str, str]], *rows: tuple, note: str = '') -> None:
        """Takes heading and path of the columns, and rows in the paper's order: name, way, printed figures.

        In a path '{row}' is the row's name; what is not run has no columns but those printed.
        """
        self.title, self.columns, self.note = title, [heading for heading, _ in columns], note
        self.rows = []
        for name, way, *printed in rows:
            cells = itertools.zip_longest(columns, printed, fillvalue='')
            if isinstance(way, NotRun):
                cells = zip(columns, printed, strict=False)
            figures = (Figure(head, path.format(row=name), text) for (head, path), text in cells)
            self.rows.append(Row(name, way, tuple(figures)))


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper."""

    name: str  # that of its file
    title: str
    citation: str  # in full
    # of PROTOCOLS, the value of the pages' argument `protocol` and what it does, in words
    protocols: dict[str, tuple[str, str]]
    needs: tuple[Need, ...]
    tables: tuple[Table, ...]  # in the order of the paper
    # what sets our runs apart from the paper's, and what is odd there, a paragraph each
    differences: tuple[str, ...]

    def rows(self) -> list[tuple[Table, Row]]:
        """Returns every row with its table."""
        return [(table, row) for table in self.tables for row in table.rows]


def load(name: str) -> Paper:
    """Returns what the file of a paper declares; a UserError where there is none of that name."""
    if name not in PAPERS:
        raise UserError(f'unknown paper {name!r}{config_lib.nearest(name, PAPERS)}')
    return importlib.import_module(f'genre_jax.reproduce.{name}').PAPER
