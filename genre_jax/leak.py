"""What a leak is worth: the same model tested by segment, by song and by artist.

    python -m genre_jax.leak --config=configs/mlp_features.py --config.data.root=features_10_sec.csv \
        --workdir=runs/leak [--folds=5] [--forest] [--json=FILE]

Every protocol is a cross-validation over all songs, so that the very same songs are tested under each of
them, by models of the same size on as many songs. Each fold is a run of its own,
WORKDIR/PROTOCOL/SOURCE/MODEL/fold_N, with SOURCE `features` for a table, else the front end's name; the same
command continues. `--forest` puts a random forest in the place of the network, for tables of features.

Prints a table (leak.csv) and draws leak.png: accuracies with their intervals, and how much less remains under
the protocols that leak less, song by song (bootstrap over the groups of the strictest protocol).
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import ml_collections
import numpy as np
from absl import flags

from genre_jax import program
from genre_jax.evaluation.paired import shown
from genre_jax.loading import protocols

if TYPE_CHECKING:
    from genre_jax.study.cells import Fold

# Heavy imports are inside the functions: worker processes import this module too.

_FOLDS = flags.DEFINE_integer('folds', 5, 'folds of each cross-validation', lower_bound=2)
_FOREST = flags.DEFINE_bool('forest', False, 'a random forest instead of the network')
_JSON = flags.DEFINE_string('json', '', 'file for the figures')


def _network(fold: Fold, model: str, features: Callable) -> None:
    """Trains one fold, or finds it trained."""
    from genre_jax import run

    del features  # it reads the windows itself
    run.run(fold.config, fold.folder(model))


def _forest(fold: Fold, model: str, features: Callable) -> None:
    """Fits a random forest to one fold's training and validation rows, unless that is done."""
    from genre_jax.classical import estimators
    from genre_jax.study.cells import Answer

    settings, tables = estimators.MODELS['forest'].settings, fold.tables

    def fit(rows: Mapping[str, np.ndarray]) -> tuple[object, list[str]]:
        both = [tables[part] for part in ('train', 'val')]
        examples = estimators.Examples(
            np.concatenate([rows['train'], rows['val']]),
            np.concatenate([table.labels for table in both]),
            np.concatenate([table.track for table in both]),
        )
        return estimators.fit('forest', settings, examples, fold.dataset.labels, fold.config.seed)

    def answer(fitted: tuple[object, list[str]], rows: Mapping[str, np.ndarray]) -> Answer:
        said = estimators.probabilities(fitted[0], rows['test'])
        return Answer({'test': tables['test'].predictions(said)}, fitted[1])

    fold.fill(model, {**settings, 'fitted_to': 'train and val'}, features, fit, answer)


def _check_table(config: ml_collections.ConfigDict) -> None:
    """Refuses a forest on anything but rows of features, before it is prepared."""
    from genre_jax.data import prepare
    from genre_jax.errors import UserError

    kind = prepare.load_source(config.data).kind
    if kind != 'table':
        raise UserError(
            f'--forest: config.data.name={config.data.name!r} holds data of kind {kind!r}; expected a '
            'table of features'
        )


def measure(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    folds: int,
    model: str,
    fill: Callable[[Fold, str, Callable], None],
) -> dict:
    """Runs every fold of every protocol, below `workdir`, and compares.

    `fill` trains one fold and writes its folder; the protocol of the config is replaced. Returns what the
    JSON file holds.
    """
    from genre_jax.loading import run_data
    from genre_jax.study import cells

    dataset = run_data.open_dataset(config)
    source = cells.ROWS if dataset.kind == 'table' else config.features.name
    one = config.copy_and_resolve_references()
    one.split.allow_leak = True
    opened = {
        name: cells.open_folds(
            one, name, folds, cells.protocol_home(workdir, name, source), dataset
        )
        for name in protocols.that_differ(dataset.tracks)
    }

    def told(fold: Fold, model: str, features: Callable) -> None:
        split = fold.config.split
        print(f'\n{split.protocol}, fold {split.fold + 1} of {folds}')
        fill(fold, model, features)

    outcomes = cells.run(opened, [model], told)
    own = {name: outcomes[name, model] for name in opened}
    figures = cells.compare(own, config.eval.bootstrap_samples)
    return cells.describe(dataset, folds) | {
        'protocols': [
            {'protocol': name, 'leaky': own[name].leaky, **figures[name]} for name in opened
        ]
    }


def _title(row: Mapping) -> str:
    return f'{protocols.WORDS[row["protocol"]]} ({row["protocol"]})'


def table(result: Mapping) -> str:
    """Returns what `measure` returns as text."""
    from genre_jax.study.table import aligned

    above = f'above {result["protocols"][-1]["protocol"]}'
    cells = [['', 'segments', above, 'songs', above]]
    for row in result['protocols']:
        of_row = [_title(row)]
        for level in (row['segment'], row['song']):
            of_row.append(shown(level['accuracy'], level['accuracy_ci95']))
            of_row.append(shown(level['inflation'], level['inflation_ci95'], '+'))
        cells.append(of_row + ['LEAKY'] * row['leaky'])
    lines = [
        f'{result["model"]} on {result["dataset"]}',
        f'{result["songs"]} songs, {result["groups"]} groups ({result["group_key"]}); '
        f'{result["folds"]} folds; accuracy in %, 95 % intervals of a bootstrap over groups',
    ]
    return '\n'.join(lines + aligned(cells))


def draw(result: Mapping, file: pathlib.Path) -> None:
    """Draws the accuracies with their intervals, and what the protocols that leak more add to them."""
    from genre_jax.study import draw as study_draw

    rows = result['protocols']
    names = [_title(row) + ' LEAKY' * row['leaky'] for row in rows]
    title = f'{result["model"]}: {result["songs"]} songs, {result["folds"]} folds'
    figure, (left, right) = study_draw.panels(names, 2, (3, 2), title)
    dots = {f'by {level}': [row[level] for row in rows] for level in ('segment', 'song')}
    study_draw.dots(left, dots, 'accuracy')
    study_draw.dots(right, dots, 'inflation')
    left.set(xlabel='accuracy, %', xlim=(0, 100))
    right.axvline(0, color='#999999', linewidth=1)
    right.set(title=f'above {rows[-1]["protocol"]}', xlabel='percentage points')
    study_draw.save(figure, file)


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    config, workdir = program.prepare(argv)

    from genre_jax.run import folder as run_folder
    from genre_jax.study.table import write_csv

    if _FOREST.value:
        _check_table(config)
    model, fill = ('forest', _forest) if _FOREST.value else (config.model.name, _network)
    with run_folder.own(workdir):
        result = measure(config, workdir, _FOLDS.value, model, fill)
        result = {'model': 'random forest' if _FOREST.value else model} | result
        lines = [
            {'protocol': row['protocol'], 'leaky': row['leaky'], 'level': level, **row[level]}
            for row in result['protocols']
            for level in ('segment', 'song')
        ]
        write_csv(lines, workdir / 'leak.csv')
        draw(result, workdir / 'leak.png')
    print(f'\n{table(result)}')
    print(f'\nfigures: {workdir / "leak.csv"}\npicture: {workdir / "leak.png"}')
    if _JSON.value:
        pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    program.run(main)
