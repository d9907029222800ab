"""What a leak is worth: the same model tested by segment, by song and by artist.

    python -m genre_jax.leak --config=configs/mlp_features.py --config.data.root=features_10_sec.csv \
        --workdir=runs/leak [--folds=5] [--forest] [--json=FILE]

Every protocol is a cross-validation over all songs, so that the very same songs are tested under each of
them, by models of the same size on as many songs. Each fold is a run of its own below --workdir; the same
command continues. `--forest` puts a random forest in the place of the network, for tables of features.

Prints a table and draws leak.png: accuracies with their intervals, and how much less remains under the
protocols that leak less, song by song (bootstrap over the groups of the strictest protocol).
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping

import ml_collections
import numpy as np
from absl import flags

from genre_jax import program
from genre_jax.evaluation import paired
from genre_jax.loading import protocols

# Heavy imports are inside the functions: worker processes import this module too.

_FOLDS = flags.DEFINE_integer('folds', 5, 'folds of each cross-validation', lower_bound=2)
_FOREST = flags.DEFINE_bool('forest', False, 'a random forest instead of the network')
_JSON = flags.DEFINE_string('json', '', 'file for the figures')


def _network(config: ml_collections.ConfigDict, workdir: pathlib.Path):
    """Trains one fold, or finds it trained; returns its test predictions."""
    from genre_jax import run
    from genre_jax.evaluation import evaluate

    run.run(config, workdir)
    return evaluate.Predictions.load(workdir / 'predictions' / 'test.npz')


def _forest(config: ml_collections.ConfigDict, workdir: pathlib.Path):
    """Fits a random forest to one fold's training and validation rows; returns its test predictions."""
    from genre_jax.classical import estimators
    from genre_jax.loading import run_data

    del workdir  # it is fitted in seconds: nothing to continue
    dataset = run_data.open_dataset(config)
    tables = run_data.make_tables(config, dataset, run_data.make_split(config, dataset))
    rows = {part: table.read_all() for part, table in tables.items()}
    forest = estimators.fit(
        'forest',
        estimators.MODELS['forest'].settings,
        estimators.Examples(
            np.concatenate([rows['train'], rows['val']]),
            np.concatenate([tables['train'].labels, tables['val'].labels]),
            np.concatenate([tables['train'].track, tables['val'].track]),
        ),
        dataset.labels,
        config.seed,
    )[0]
    return tables['test'].predictions(estimators.probabilities(forest, rows['test']))


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
    test_one: Callable[[ml_collections.ConfigDict, pathlib.Path], object],
) -> dict:
    """Runs every fold of every protocol, and compares.

    Args:
        config: the whole config; its protocol is replaced.
        workdir: folder for the runs.
        folds: of each cross-validation.
        test_one: trains one fold and returns its test predictions.

    Returns:
        What the JSON file holds.
    """
    from genre_jax.loading import run_data

    dataset = run_data.open_dataset(config)
    tracks = [track['track'] for track in dataset.tracks]
    groups = [track['group'] for track in dataset.tracks]
    tested, leaky = {}, {}
    for protocol in protocols.that_differ(dataset.tracks):
        parts = []
        for fold in range(folds):
            one = ml_collections.ConfigDict(config)
            one.split.update(protocol=protocol, folds=folds, fold=fold, allow_leak=True)
            leaky[protocol] = run_data.make_split(one, dataset).leaky
            print(f'\n{protocol}, fold {fold + 1} of {folds}')
            parts.append(test_one(one, workdir / protocol / f'fold_{fold}'))
        tested[protocol] = paired.count(parts, tracks)
    figures = paired.compare(tested, groups, config.eval.bootstrap_samples)
    return {
        'dataset': dataset.manifest['description'],
        'songs': len(tracks),
        'groups': len(set(groups)),
        'group_key': dataset.manifest['group_key'],
        'folds': folds,
        'protocols': [
            {'protocol': protocol, 'leaky': leaky[protocol], **levels}
            for protocol, levels in figures.items()
        ],
    }


def table(result: Mapping) -> str:
    """Returns the result as text.

    Args:
        result: what `measure` returns.
    """

    def figure(level: Mapping, name: str) -> str:
        low, high = (100 * end for end in level[f'{name}_ci95'])
        sign = '+' if name == 'inflation' else ''
        return f'{100 * level[name]:{sign}5.1f} [{low:{sign}.1f}, {high:{sign}.1f}]'

    strictest = result['protocols'][-1]['protocol']
    lines = [
        f'{result["model"]} on {result["dataset"]}',
        f'{result["songs"]} songs, {result["groups"]} groups ({result["group_key"]}); '
        f'{result["folds"]} folds; accuracy in %, 95 % intervals of a bootstrap over groups',
        f'{"":29} {"segments":22} {f"above {strictest}":24} {"songs":22} above {strictest}',
    ]
    for row in result['protocols']:
        name = f'{protocols.WORDS[row["protocol"]]} ({row["protocol"]})'
        cells = [
            figure(row[level], each)
            for level in ('segment', 'song')
            for each in ('accuracy', 'inflation')
        ]
        mark = ' LEAKY' if row['leaky'] else ''
        lines.append(f'{name:29} {cells[0]:22} {cells[1]:24} {cells[2]:22} {cells[3]}{mark}')
    return '\n'.join(lines)


def draw(result: Mapping, file: pathlib.Path) -> None:
    """Draws the accuracies with their intervals.

    Args:
        result: what `measure` returns.
        file: PNG to write.
    """
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(7, 3.6), layout='constrained')
    axes = figure.subplots()
    rows = result['protocols']
    bars = ((-0.17, 'segment', '#9db8d9', 'black'), (0.17, 'song', '#2f5f98', 'white'))
    for shift, level, colour, ink in bars:
        values = np.array([row[level]['accuracy'] for row in rows])
        ends = np.array([row[level]['accuracy_ci95'] for row in rows]).T
        error = 100 * np.abs(ends - values)
        position = np.arange(len(rows)) + shift
        axes.bar(position, 100 * values, 0.32, yerr=error, capsize=3, color=colour, label=level)
        for x, value in zip(position, values, strict=True):
            axes.text(x, 2, f'{100 * value:.1f}', ha='center', fontsize=9, color=ink)
    names = [
        f'{protocols.WORDS[row["protocol"]]}\n{row["protocol"]}{" LEAKY" if row["leaky"] else ""}'
        for row in rows
    ]
    axes.set_xticks(np.arange(len(rows)), names)
    axes.set_ylim(0, 100)
    axes.set_ylabel('accuracy, %')
    axes.set_title(
        f'{result["model"]}: {result["songs"]} songs, {result["folds"]} folds', fontsize=10
    )
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


def main(argv: list[str]) -> None:
    """Runs what the flags say.

    Args:
        argv: what is left of the command line.
    """
    config, workdir = program.prepare(argv)
    if _FOREST.value:
        _check_table(config)
    result = measure(config, workdir, _FOLDS.value, _forest if _FOREST.value else _network)
    result = {'model': 'random forest' if _FOREST.value else config.model.name} | result
    workdir.mkdir(parents=True, exist_ok=True)
    draw(result, workdir / 'leak.png')
    print(f'\n{table(result)}\n\npicture: {workdir / "leak.png"}')
    if _JSON.value:
        pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    program.run(main)
