"""What a leak is worth: the same model tested by segment, by song and by artist.

    python -m genre_jax.leak --config=configs/mlp_features.py --config.data.root=features_10_sec.csv \
        --workdir=runs/leak [--folds=5] [--forest] [--json=FILE]
    python -m genre_jax.leak --tonic --config=configs/raag_orbit.py --workdir=runs/tonic [--semitones=-5,3]

Every protocol is a cross-validation over all songs, so that the very same songs are tested under each of
them, by models of the same size on as many songs. Each fold is a run of its own,
WORKDIR/PROTOCOL/SOURCE/MODEL/fold_N, with SOURCE `features` for a table, else the front end's name; the same
command continues. `--forest` puts a random forest in the place of the network, for tables of features.

`--tonic` is the control of modal music: a split by tonic besides, under which no model has heard the tonics
that it is tested with, nor whoever is tested; and every model tested on its own test recordings in other
keys, too (genre_jax/study/transposed.py), with what that changes, song by song.

Prints a table (leak.csv) and writes a page, index.html: accuracies with their intervals, and how much less
remains under the protocols that leak less, song by song (intervals by the groups of the strictest protocol).
"""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

import ml_collections
from absl import flags

from genre_jax import program
from genre_jax.errors import say
from genre_jax.evaluation.paired import shown

_FOLDS = flags.DEFINE_integer('folds', 5, 'folds of each cross-validation', lower_bound=2)
_FOREST = flags.DEFINE_bool('forest', False, 'a random forest instead of the network')
_TONIC = flags.DEFINE_bool('tonic', False, 'tonics apart, too, and test recordings in other keys')
_SEMITONES = flags.DEFINE_list(
    'semitones', ['-5', '-3', '-1', '1', '3', '6'], 'with --tonic: by how many test recordings are transposed'
)
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
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    folds: int,
    model: str,
    fill: Callable,
    semitones: Sequence[float] = (),
) -> dict:
    """Runs every fold of every protocol, below `workdir`, and compares.

    `fill` trains a fold and writes its folder. With `semitones` there is a split by tonic besides, and every
    model is tested on recordings that are transposed by so many. Returns what the JSON holds, and the CSV's
    lines as 'figures'.
    """
    from genre_jax.study import protocols

    heard: dict[str, list] = {}

    def told(fold, model: str, features: Callable) -> None:
        split = fold.config.split
        say('', f'{split.protocol}, fold {split.fold + 1} of {folds}')
        fill(fold, model, features)
        if semitones:
            from genre_jax.study import transposed

            heard.setdefault(split.protocol, []).append(transposed.test(fold, model, semitones))

    more = ('tonic',) if semitones else ()
    result = protocols.measure(config, workdir, (), folds, [model], told, more=more)
    rows: dict[str, dict] = {}
    for figure in result['figures']:
        row = {key: figure[key] for key in ('protocol', 'leaky')}
        rows.setdefault(figure['protocol'], row)[figure['level']] = {
            'accuracy': figure['accuracy'],
            'accuracy_ci95': figure['accuracy_ci95'],
            'inflation': figure['above_strictest'],
            'inflation_ci95': figure['above_ci95'],
        }
    result |= {'protocols': list(rows.values())}
    return _with_keys(result, heard) if semitones else result


def _with_keys(result: Mapping, heard: Mapping[str, Sequence]) -> dict:
    """Adds what the models of each protocol say of songs in other keys: 'keys', and lines of the CSV."""
    from genre_jax.study import transposed

    keys = {protocol: transposed.figures(folds) for protocol, folds in heard.items()}
    recorded = {(figure['protocol'], figure['level']): figure for figure in result['figures']}
    only_recorded = ('above_strictest', 'above_ci95', 'fit_s')
    lines = [
        recorded[protocol, each['level']]
        | ({} if each['semitones'] == '0' else dict.fromkeys(only_recorded))
        | each
        for protocol, found in keys.items()
        for each in found
    ]
    trained = {
        protocol: sum(fold.n_trained for fold in folds) / len(folds) for protocol, folds in heard.items()
    }
    return {**result, 'figures': lines, 'keys': keys, 'songs_trained': trained}


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
        for other in _keys_of(result, row['protocol']):
            of_row = [f'  {_key(other["segment"])}']
            for level in (other['segment'], other['song']):
                of_row.append(shown(level['accuracy'], level['accuracy_ci95']))
                of_row.append(shown(level['above_recorded'], level['above_recorded_ci95'], '+') + ' *')
            cells.append(of_row + ['LEAKY'] * row['leaky'])
    lines = [
        f'{result["model"]} on {result["dataset"]}',
        f'{result["songs"]} songs, {result["groups"]} groups ({result["group_key"]}); '
        f'{result["folds"]} folds; accuracy in %, 95 % intervals by groups',
    ]
    return '\n'.join(lines + aligned(cells) + _words(result))


def _keys_of(result: Mapping, protocol: str) -> list[dict[str, Mapping]]:
    """Returns the figures of other keys under a protocol: {level: figure} of each key."""
    from genre_jax.study.table import nested

    found = nested(result.get('keys', {}).get(protocol, ()), 'semitones', 'level')
    return [figures for semitones, figures in found.items() if semitones != '0']


def _key(figure: Mapping) -> str:
    """Returns a key in words, with how it was come by."""
    if figure['semitones'] == 'all':
        return 'all these keys'
    return f'{figure["semitones"]} semitones ({figure["way"]})'


def _words(result: Mapping) -> list[str]:
    """Returns lines that say what is behind figures of other keys."""
    from genre_jax.study.protocols import title

    if 'keys' not in result:
        return []
    lines = ['* minus the same songs as they were recorded, by the same models']
    for protocol, found in result['keys'].items():
        known = {each['semitones']: f'{100 * each["tonic_known"]:.0f} %' for each in found}
        moved = ', '.join(f'{share} by {key}' for key, share in known.items() if key not in ('0', 'all'))
        lines.append(
            f'{title(protocol, False)}: {result["songs_trained"][protocol]:.0f} songs train; of those tested '
            f'{known["0"]} have a tonic of training; transposed {moved}'
        )
    return lines


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
    others = {row['protocol']: _keys_of(result, row['protocol']) for row in protocols}
    in_keys = [
        (
            _key(each['song']),
            [
                dots.figure(
                    found[number]['song']['above_recorded'],
                    found[number]['song']['above_recorded_ci95'],
                    row['leaky'],
                )
                for row, found in zip(protocols, others.values(), strict=True)
            ],
        )
        for number, each in enumerate(others[protocols[0]['protocol']])
    ]
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
        }
        | (
            {
                'keys': dots.chart(
                    'Transposed: in points above the same songs as they were recorded, by song, with 95 % '
                    'intervals',
                    [{'name': name} for name in names],
                    in_keys,
                    difference=True,
                )
            }
            if in_keys
            else {}
        ),
        words=_words(result)[1:],
        run_columns=['folds'],
        runs=list(zip(names, kept, strict=True)),
    )
    page.write(study, workdir)


def _semitones(texts: Sequence[str]) -> list[float]:
    """Returns the numbers of --semitones, ascending; else a UserError."""
    from genre_jax.errors import UserError

    most = 12  # an octave
    try:
        found = sorted({float(text) for text in texts})
    except ValueError:
        found = []
    if not found or not all(0 < abs(each) <= most for each in found):
        raise UserError(
            f'--semitones={",".join(texts)}: expected numbers from -{most} to {most} other than 0, as in -5,3'
        )
    return found


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    config, workdir = program.prepare(argv)

    from genre_jax.data import recordings, request
    from genre_jax.errors import UserError
    from genre_jax.run import folder as run_folder
    from genre_jax.study.table import write_csv

    kind = request.load_source(config.data).kind if _FOREST.value or _TONIC.value else ''
    if _FOREST.value and kind != 'table':
        raise UserError(
            f'--forest: config.data.name={config.data.name!r} holds data of kind {kind!r}; expected a '
            'table of features'
        )
    if _TONIC.value and kind not in recordings.OVER_TIME:
        raise UserError(
            f'--tonic: config.data.name={config.data.name!r} holds data of kind {kind!r}, which cannot be '
            'transposed; expected recordings, or their melodies'
        )
    semitones = _semitones(_SEMITONES.value) if _TONIC.value else ()
    model, fill = ('forest', _forest) if _FOREST.value else (config.model.name, _network)
    with run_folder.own(workdir):
        result = measure(config, workdir, _FOLDS.value, model, fill, semitones)
        result = {'model': 'random forest' if _FOREST.value else model} | result
        write_csv(result['figures'], workdir / 'leak.csv')
        write_page(result, workdir)
    say('', *table(result).split('\n'))
    say('', f'figures: {workdir / "leak.csv"}', f'page:    {workdir / "index.html"}')
    if _JSON.value:
        del result['figures']
        pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    program.run(main)
