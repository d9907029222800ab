"""Which of a paper's data are there: what --data names, checked before anything is run."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
import statistics
from collections.abc import Mapping, Sequence

import ml_collections

from genre_jax import config as config_lib
from genre_jax.config.keys import BY_NAME
from genre_jax.data import csv_file, request
from genre_jax.data.gtzan import lists
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
    """Reads and checks what --data names, 'KEY=PATH' or 'KEY=DATASET:PATH': {key: data}.

    A UserError where a key is unknown, there is no such path, data are of another format, or none are given.
    """
    keys = [need.key for need in paper.needs]
    given: dict[str, Given] = {}
    for text in texts:
        key, separator, path = text.partition('=')
        if not separator or not path:
            raise UserError(f'--data={text}: expected KEY=PATH, with KEY one of {", ".join(keys)}')
        if key not in keys:
            raise UserError(
                f'--data={text}: {paper.name} has no data {key!r}{config_lib.nearest(key, keys)}'
            )
        if key in given:
            raise UserError(f'--data={text}: {key} is given already, as {given[key].path}')
        given[key] = _check(paper.need(key), text, path)
    if not any(each.dataset for each in given.values()):
        wanted = '; '.join(
            f'--data={need.key}=PATH ({need.what})' for need in paper.needs if need.dataset
        )
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
    if not dataset:
        if pathlib.Path(path).is_dir():
            raise UserError(f'--data={text}: {path} is a folder; expected the file: {need.what}')
        if need.config_key == 'data.index':
            lists.read_index(path)  # for its error
        return Given(need, str(pathlib.Path(path).absolute()), '', False)
    try:
        source = request.load_source({'name': dataset, 'root': path}, 'data')
        recordings, _ = source.recordings()
        facts, fingerprint = f'{len(recordings):,} recordings', ''
        if source.kind == 'table':
            facts = _describe_table(source, need, text, other)
            fingerprint = source.fingerprint
    except UserError as error:
        if str(error).startswith('--data'):
            raise
        raise UserError(f'--data={text}: {error}') from None
    path = str(pathlib.Path(path).absolute())  # the same from wherever it is named
    return Given(need, path, dataset, other, facts, fingerprint)


def _describe_table(source: object, need: Need, text: str, other: bool) -> str:
    """Says which rows a table has; refuses one that is not GTZAN's under its name."""
    recordings, _ = source.recordings()
    labels = {recording.label for recording in recordings}
    if not other and not labels <= set(lists.GENRES):
        strange = sorted(labels - set(lists.GENRES))[0]
        raise UserError(
            f'--data={text}: {strange!r} is no genre of GTZAN; if these are other data, have them marked '
            f'so: --data={need.key}=feature_table:{source.root}'
        )
    names, lines = csv_file.read(source.root, ('filename', 'label'))
    facts = f'{len(lines):,} rows of {len(recordings):,} songs'
    if 'length' in names:
        samples = [float(row['length']) for _, row in lines]
        facts += f', of {round(statistics.median(samples) / _RATE_HZ):g} s each'
    return facts


def missing(paper: Paper, row: Row, given: Mapping[str, Given]) -> list[Need]:
    """Returns the data that a row cannot do without and that are not there."""
    needs = [paper.need(key) for key in row.needs]
    return [need for need in needs if not need.optional and need.key not in given]


def used(row: Row, given: Mapping[str, Given]) -> list[Given]:
    """Returns the data that a row uses."""
    return [given[key] for key in row.needs if key in given]


def others(row: Row, given: Mapping[str, Given]) -> list[str]:
    """Returns where the data of a row lie that are other than the paper's."""
    return [each.path for each in used(row, given) if each.other]


def apply(
    config: ml_collections.ConfigDict, data: Sequence[Given]
) -> tuple[ml_collections.ConfigDict, dict[str, str]]:
    """Sets in a page's config where the data are.

    Other data than the paper's take the place of the whole section config.data, and bring no lists: a draw
    by song stands in for the list `paper`, one by group for the split `official`. Returns the config, and
    what was set, {config key: value}, where a command line can do the same.
    """
    for each in data:
        if each.other:
            takes = inspect.signature(request.source_class(each.dataset).__init__).parameters
            kept = {
                key: value
                for key, value in config.data.items()
                if key in takes or f'data.{key}' in BY_NAME
            }
            config.data = ml_collections.ConfigDict(
                kept | {'name': each.dataset, 'root': each.path}
            )
            protocol = config.split.protocol
            config.split.protocol = _STAND_IN_PROTOCOLS.get(protocol, protocol)
    values = {}
    if any(each.other for each in data):
        data = [each for each in data if each.need.config_key != 'data.index']
    for each in data:
        section, name = each.need.config_key.split('.')
        config[section][name] = values[each.need.config_key] = each.path
    return config, values
