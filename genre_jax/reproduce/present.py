"""Which of a paper's data are there: what --data names, checked before anything is run."""

import dataclasses
import pathlib
import statistics
from collections.abc import Mapping, Sequence

import ml_collections

from genre_jax import config as config_lib
from genre_jax.config.keys import BY_NAME
from genre_jax.data import csv_file, request
from genre_jax.data.gtzan import lists
from genre_jax.data.recordings import Source
from genre_jax.errors import UserError
from genre_jax.reproduce.paper import Need, Paper, Row

_RATE_HZ = 22050  # of GTZAN: the column `length` of its tables counts samples
# What a dataset that is not the paper's does not bring.
_STAND_IN_PROTOCOLS = {'paper': 'stratified', 'official': 'grouped'}


@dataclasses.dataclass(frozen=True)
class Given:
    """Data that are there."""

    need: Need  # what they are given for
    path: str  # where they lie
    dataset: str  # module of data/ that reads them, '' where they are no dataset
    other: bool  # whether they are other data than the paper's
    facts: str = ''  # what is known about them, in words
    fingerprint: str = ''  # of a table, '' of what would take long to read

    @property
    def text(self) -> str:
        """What --data takes."""
        return f'{self.need.key}={f"{self.dataset}:" if self.other else ""}{self.path}'


def parse(paper: Paper, texts: Sequence[str]) -> dict[str, Given]:
    """Checks what --data names, KEY=PATH or KEY=DATASET:PATH: {key: data}; UserError: wrong, or nothing."""
    needs = {need.key: need for need in paper.needs}
    given: dict[str, Given] = {}
    for text in texts:
        key, _, path = text.partition('=')
        if not path:
            raise UserError(f'--data={text}: expected KEY=PATH, with KEY one of {", ".join(needs)}')
        if key not in needs:
            raise UserError(
                f'--data={text}: {paper.name} has no data {key!r}{config_lib.nearest(key, needs)}'
            )
        if key in given:
            raise UserError(f'--data={text}: {key} is given already, as {given[key].path}')
        given[key] = _check(needs[key], text, path)
    if not any(each.dataset for each in given.values()):
        wanted = '; '.join(f'--data={need.key}=PATH ({need.what})' for need in paper.needs if need.dataset)
        raise UserError(f'no data are given, and {paper.name} needs some of: {wanted}')
    return given


def _check(need: Need, text: str, path: str) -> Given:
    """Returns the data, or says what is wrong with them."""
    dataset, other = need.dataset, False
    if not pathlib.Path(path).exists():
        name, separator, rest = path.partition(':')
        if not (separator and pathlib.Path(rest).exists()):
            raise UserError(f'--data={text}: there is no file or folder {path!r}')
        if not dataset:
            raise UserError(f'--data={text}: {need.key} is no dataset: expected {need.key}=PATH')
        request.source_class(name, f'{need.key} of --data')  # for its error
        dataset, path, other = name, rest, True
    whole = str(pathlib.Path(path).absolute())  # the same from wherever it is named
    if not dataset:
        if pathlib.Path(path).is_dir():
            raise UserError(f'--data={text}: {path} is a folder; expected the file: {need.what}')
        if need.config_key == 'data.index':
            lists.read_index(path)  # for its error
        return Given(need, whole, '', False)
    try:
        source = request.load_source({'name': dataset, 'root': path}, 'data')
        if source.kind == 'table':
            facts = _describe_table(source, need, other)
            return Given(need, whole, dataset, other, facts, source.fingerprint)
        recordings, _ = source.recordings()
    except UserError as error:
        raise UserError(f'--data={text}: {error}') from None
    return Given(need, whole, dataset, other, f'{len(recordings):,} recordings')


def _describe_table(source: Source, need: Need, other: bool) -> str:
    """Says which rows a table has; refuses one that is not GTZAN's under its name."""
    recordings, _ = source.recordings()
    strange = {recording.label for recording in recordings} - set(lists.GENRES)
    if strange and not other:
        raise UserError(
            f'{min(strange)!r} is no genre of GTZAN; if these are other data, have them marked so: '
            f'--data={need.key}=feature_table:{source.root}'
        )
    names, lines = csv_file.read(source.root, ('filename', 'label'))
    facts = f'{len(lines):,} rows of {len(recordings):,} songs'
    if 'length' in names:
        samples = [float(row['length']) for _, row in lines]
        facts += f', of {round(statistics.median(samples) / _RATE_HZ):g} s each'
    return facts


def used(row: Row, given: Mapping[str, Given]) -> list[Given]:
    """Returns the data that a row uses."""
    return [given[key] for key in row.way.needs if key in given]


def others(row: Row, given: Mapping[str, Given]) -> list[str]:
    """Returns where the data of a row lie that are other than the paper's."""
    return [each.path for each in used(row, given) if each.other]


def apply(config: ml_collections.ConfigDict, data: Sequence[Given]) -> dict[str, str]:
    """Sets in a page's config where the data are; returns what was set, {config key: value}.

    Other data than the paper's take the place of the whole section config.data, and bring no lists: a draw
    by song stands in for the list `paper`, one by group for the split `official`.
    """
    others = [each for each in data if each.other]
    for each in others:
        takes = request.takes(each.dataset)
        kept = {key: value for key, value in config.data.items() if key in takes or f'data.{key}' in BY_NAME}
        config.data = ml_collections.ConfigDict(kept | {'name': each.dataset, 'root': each.path})
        protocol = config.split.protocol
        config.split.protocol = _STAND_IN_PROTOCOLS.get(protocol, protocol)
    values = {
        each.need.config_key: each.path
        for each in data
        if not (others and each.need.config_key == 'data.index')
    }
    for key, path in values.items():
        section, name = key.split('.')
        config[section][name] = path
    return values
