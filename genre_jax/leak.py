"""What a leak is worth: the same model tested by segment, by song and by artist.

    python -m genre_jax.leak --config=configs/mlp_features.py --config.data.root=features_10_sec.csv \
        --workdir=runs/leak [--folds=5] [--forest] [--json=FILE]

Every protocol is a cross-validation over all songs, so that the very same songs are tested under each of
them, by models of the same size on as many songs. Each fold is a run of its own,
WORKDIR/PROTOCOL/SOURCE/MODEL/fold_N, with SOURCE `features` for a table, else the front end's name; the same
command continues. `--forest` puts a random forest in the place of the network, for tables of features.

Prints a table (leak.csv) and writes a page, index.html: accuracies with their intervals, and how much less
remains under the protocols that leak less, song by song (intervals by the groups of the strictest protocol).
"""

import json
import pathlib
from collections.abc import Callable, Mapping

import ml_collections
from absl import flags

from genre_jax import program
from genre_jax.evaluation.paired import shown

_FOLDS = flags.DEFINE_integer('folds', 5, 'folds of each cross-validation', lower_bound=2)
_FOREST = flags.DEFINE_bool('forest', False, 'a random forest instead of the network')
_JSON = flags.DEFINE_string('json', '', 'file for the figures')


def _network(fold, model: str, features: Callable) -> None:
    """Trains one fold, which reads the windows itself, or finds it trained."""
    from genre_jax import run

    run.run(fold.config, fold.folder(model))


def _forest(fold, model: str, features: Callable) -> None:
    """Fits a random forest to one fold's training and validation rows, unless that is done."""
    from genre_jax.classical import estimators, fits

    fits.fill(fold, model, features, estimators.MODELS[model].settings, ('train', 'val'))


def measure(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, folds: int, model: str, fill: Callable
) -> dict:
    """Runs every fold of every protocol, below `workdir`, and compares.

    `fill` trains a fold and writes its folder. Returns what the JSON holds, and the CSV's lines as 'figures'.
    """
    from genre_jax.study import protocols

    def told(fold, model: str, features: Callable) -> None:
        split = fold.config.split
        print(f'\n{split.protocol}, fold {split.fold + 1} of {folds}')
        fill(fold, model, features)

    result = protocols.measure(config, workdir, (), folds, [model], told)
    rows: dict[str, dict] = {}
    for figure in result['figures']:
        row = {key: figure[key] for key in ('protocol', 'leaky')}
        rows.setdefault(figure['protocol'], row)[figure['level']] = {
            'accuracy': figure['accuracy'],
            'accuracy_ci95': figure['accuracy_ci95'],
            'inflation': figure['above_strictest'],
            'inflation_ci95': figure['above_ci95'],
        }
    return result | {'protocols': list(rows.values())}


def table(result: Mapping) -> str:
    """Returns what `measure` returns as text."""
    from genre_jax.study.protocols import title
    from genre_jax.study.table import aligned

    above = f'above {result["protocols"][-1]["protocol"]}'
    cells = [['', 'segments', above, 'songs', above]]
    for row in result['protocols']:
        of_row = [title(row['protocol'], False)]
        for level in (row['segment'], row['song']):
            of_row.append(shown(level['accuracy'], level['accuracy_ci95']))
            of_row.append(shown(level['inflation'], level['inflation_ci95'], '+'))
        cells.append(of_row + ['LEAKY'] * row['leaky'])
    lines = [
        f'{result["model"]} on {result["dataset"]}',
        f'{result["songs"]} songs, {result["groups"]} groups ({result["group_key"]}); '
        f'{result["folds"]} folds; accuracy in %, 95 % intervals by groups',
    ]
    return '\n'.join(lines + aligned(cells))


def write_page(result: Mapping, workdir: pathlib.Path) -> None:
    """Writes index.html: the accuracies, and what the protocols that leak more add to the strictest one's."""
    from genre_jax.report import dots
    from genre_jax.study import page
    from genre_jax.study.protocols import title

    protocols, levels = result['protocols'], ('segment', 'song')
    names = [title(row['protocol'], False) for row in protocols]

    def figures(row: Mapping, key: str) -> list[dict | None]:
        return [dots.figure(row[level][key], row[level][f'{key}_ci95'], row['leaky']) for level in levels]

    accuracy = [(name, figures(row, 'accuracy')) for name, row in zip(names, protocols, strict=True)]
    above = [(name, figures(row, 'inflation')) for name, row in zip(names[:-1], protocols, strict=False)]
    series = [{'name': f'by {level}'} for level in levels]
    chance = dots.line('chance', 1 / result['classes'])
    kept = [list(result['folders'][row['protocol']].values()) for row in protocols]
    study = page.Study(
        program='leak',
        lead=table(result).splitlines()[:2],
        compared='protocol',
        charts={
            'accuracy': dots.chart('Accuracy in %, with 95 % intervals', series, accuracy, lines=[chance]),
            'above': dots.chart(
                f'In points above {names[-1]}, on the same songs, with 95 % intervals',
                series,
                above,
                difference=True,
            ),
        },
        words=[],
        run_columns=['folds'],
        runs=list(zip(names, kept, strict=True)),
    )
    page.write(study, workdir)


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    config, workdir = program.prepare(argv)

    from genre_jax.data import request
    from genre_jax.errors import UserError
    from genre_jax.run import folder as run_folder
    from genre_jax.study.table import write_csv

    if _FOREST.value and (kind := request.load_source(config.data).kind) != 'table':
        raise UserError(
            f'--forest: config.data.name={config.data.name!r} holds data of kind {kind!r}; expected a '
            'table of features'
        )
    model, fill = ('forest', _forest) if _FOREST.value else (config.model.name, _network)
    with run_folder.own(workdir):
        result = measure(config, workdir, _FOLDS.value, model, fill)
        result = {'model': 'random forest' if _FOREST.value else model} | result
        write_csv(result['figures'], workdir / 'leak.csv')
        write_page(result, workdir)
    print(f'\n{table(result)}')
    print(f'\nfigures: {workdir / "leak.csv"}\npage:    {workdir / "index.html"}')
    if _JSON.value:
        del result['figures']
        pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    program.run(main)
