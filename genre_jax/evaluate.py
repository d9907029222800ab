"""Tests finished models on another labelled dataset.

    python -m genre_jax.evaluate MODEL [MODEL ...] --config=folder --config.data.root=DIR \
        --workdir=runs/elsewhere [--mapping=FILE]

MODEL is as in genre_jax.label. Of the page the dataset is taken; window, front end and classes are the
model's. The dataset's classes are found among the model's by name; --mapping is a CSV with the columns
`label` (there) and `class` (of the model; blank: these recordings are left out).

Writes a folder for each model like that of a run, with result.json, predictions and page: the figures of a
training's test, with their intervals. Models after the first are compared with it, song by song.
"""

import json
import os
import pathlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from absl import flags

from genre_jax import program
from genre_jax.errors import say

_MAPPING = flags.DEFINE_string(
    'mapping', '', 'CSV with columns label,class: which class of the model is meant'
)


def match(labels: Sequence[str], classes: Sequence[str], mapping: Mapping[str, str]) -> dict[str, int | None]:
    """Returns the model's class, by number, of each label of a dataset; None where it is left out.

    A UserError where one is found neither by name nor in the mapping, {label: class}.
    """
    from genre_jax.errors import UserError

    known = {_spelled(name): i for i, name in enumerate(classes)}
    given = {_spelled(label): name for label, name in mapping.items()}
    found, lost = {}, []
    for label in labels:
        name = given.get(_spelled(label), label)
        found[label] = known.get(_spelled(name))
        if name and found[label] is None:
            lost.append(label if name == label else f'{label} -> {name}')
    if lost:
        raise UserError(
            f'the model has no class {", ".join(lost)}. Labels of the dataset: {", ".join(labels)}. Classes '
            f'of the model: {", ".join(classes)}. Say which are meant: --mapping=FILE, a CSV with columns '
            'label,class'
        )
    return found


def read_mapping(path: str) -> dict[str, str]:
    """Returns {label: class} of a CSV; a UserError where it has no such columns, or a label two classes."""
    from genre_jax.data import csv_file
    from genre_jax.errors import UserError

    columns, rows = csv_file.read(path, ('label',))
    if 'class' not in columns:
        raise UserError(f'--mapping={path}, line 1: no column class among {", ".join(columns)}')
    mapping, first = {}, {}
    for line, row in rows:
        other = first.setdefault(_spelled(row['label']), (line, row['class']))
        if other[1] != row['class']:
            raise UserError(
                f'--mapping={path}, line {line}: {row["label"]} is {row["class"]!r}, and {other[1]!r} in '
                f'line {other[0]}: remove one of the two'
            )
        mapping[row['label']] = row['class']
    return mapping


def _spelled(name: str) -> str:
    return unicodedata.normalize('NFC', name).casefold().strip()


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    from genre_jax.errors import UserError

    names = argv[1:]
    if not names:
        raise UserError('expected MODEL; --help says more')
    config, workdir = program.prepare(argv[:1])

    import numpy as np

    from genre_jax.evaluation import paired
    from genre_jax.loading import run_data
    from genre_jax.logbook import summary_lines
    from genre_jax.run import folder as run_folder

    mapping = read_mapping(_MAPPING.value) if _MAPPING.value else {}
    with run_folder.own(workdir):
        dataset = run_data.open_dataset(config)
        if dataset.kind != 'audio':
            raise UserError(
                f'config.data.name={config.data.name!r} holds no audio: models of sound are tested'
            )
        tested = {}
        for number, name in enumerate(names, 1):
            folder = workdir / f'{number}_{pathlib.Path(name).name}'
            result, predictions = _test(name, config, dataset, mapping, folder)
            tested[name] = predictions
            say('', name, *summary_lines(result, folder))
    first, *others = tested
    for other in others:
        # A run is tested on its own test part alone where it was trained on these recordings.
        both = np.intersect1d(tested[first].track, tested[other].track)
        if not len(both):
            say(f'{other} and {first}: no recording was tested by both')
            continue
        rows = (
            each.take(np.flatnonzero(np.isin(each.track, both))) for each in (tested[other], tested[first])
        )
        found = paired.difference(*rows)
        figures = paired.shown(found['song']['difference'], found['song']['difference_ci95'], '+')
        p = found['mcnemar']['p']
        say(f'{other} minus {first}, {len(both)} songs: {figures}, McNemar p {p:.3g}')


def _test(name: str, config, dataset, mapping: Mapping[str, str], folder: pathlib.Path) -> tuple:
    """Tests one model and writes its folder; returns what result.json holds, and the predictions."""
    import numpy as np

    from genre_jax import config as config_lib
    from genre_jax.data import audio, digests
    from genre_jax.errors import BadAudio, UserError
    from genre_jax.evaluation import evaluate
    from genre_jax.label.classifier import Classifier
    from genre_jax.logbook import environment, progress_bar, write_json
    from genre_jax.report import page
    from genre_jax.run import folder as run_folder

    classifier = Classifier(name)
    if classifier.kind != 'audio':
        raise UserError(f'{name} hears no sound, but pitch: models of sound are tested')
    classes = match(dataset.labels, classifier.labels, mapping)
    tracks, notes, leaky = _unseen(name, config, dataset)
    tracks = [i for i in tracks if classes[dataset.tracks[i]['label']] is not None]
    if classifier.tags:
        notes.append(f'{name} answers yes or no for each class by itself: log losses do not say much')
    if left_out := [label for label, number in classes.items() if number is None]:
        notes.append(f'left out by --mapping: {", ".join(left_out)}')
    there = set(map(_spelled, classes))
    if unused := [label for label in mapping if _spelled(label) not in there]:
        notes.append(f'--mapping names labels that the dataset does not have: {", ".join(unused)}')

    def decoded(bar) -> Iterator[tuple | BadAudio]:
        for i in tracks:
            pcm = dataset.read(i, 0, dataset.tracks[i]['n_samples'])
            bar.update()
            try:
                if dataset.sample_rate_hz != classifier.sample_rate_hz:
                    pcm = audio.of_samples(pcm, dataset.sample_rate_hz, classifier.sample_rate_hz)
                yield len(pcm), [pcm]
            except BadAudio as error:
                yield error

    parts, bad = [], []
    with progress_bar(len(tracks), 'songs', 'testing') as bar:
        for i, heard in zip(tracks, classifier.hear(decoded(bar), classifier.window), strict=True):
            track = dataset.tracks[i]
            if isinstance(heard, BadAudio):
                bad.append({'path': track['track'], 'reason': str(heard)})
                continue
            song = classifier.song(track['track'], heard[0], classifier.window)
            n, number = len(song.start_s), classes[track['label']]
            facts = [
                np.full(n, track['track']),
                song.start_s.astype(np.float32),
                np.full(n, number, np.int32),
            ]
            parts.append([*facts, song.probabilities.astype(np.float32), np.full(n, track['group'])])
    if not parts:
        why = f'; {bad[0]["path"]}: {bad[0]["reason"]}' if bad else ''
        raise UserError(f'{name}: none of the {len(dataset.tracks)} recordings is left to test{why}')
    track, start_s, label, probabilities, group = (np.concatenate(each) for each in zip(*parts, strict=True))
    predictions = evaluate.Predictions(
        track, start_s, label, probabilities, np.asarray(classifier.labels), group
    )
    groups = dict(zip(track.tolist(), group.tolist(), strict=True))
    first, _ = evaluate.number_songs(track)
    quarantined = [*dataset.manifest['quarantined'], *bad]
    counts = np.bincount(label[first], minlength=len(classifier.labels))
    result = {
        'protocol': 'elsewhere',
        'protocol_detail': f'{len(first)} recordings of {dataset.manifest["name"]}, tested by {name}',
        'leaky': leaky,
        'classes': list(classifier.labels),
        'n_songs': {'train': 0, 'val': 0, 'test': len(first)},
        'n_groups': {'train': 0, 'val': 0, 'test': len(set(groups.values()))},
        'n_segments': {'train': 0, 'val': 0, 'test': len(track)},
        'songs_per_class': {
            each: {'train': 0, 'val': 0, 'test': int(n)}
            for each, n in zip(classifier.labels, counts, strict=True)
        },
        'chance': 1 / len(classifier.labels),
        'quarantined': {'count': len(quarantined), 'files': quarantined},
        'warnings': [*dataset.manifest['notes'], *notes],
        'parts': {'test': evaluate.evaluate(predictions, groups)},
        'majority': evaluate.majority_class(label[first], predictions, groups),
    }
    folder.mkdir(parents=True, exist_ok=True)
    predictions.save(folder / 'predictions' / 'test.npz')
    settings = json.loads(config_lib.to_json(config))
    settings |= {'model': {'name': classifier.title}, 'features': {'name': classifier.features}}
    write_json(folder / 'config.json', settings)
    weights = run_folder.about_weights(classifier.title, classifier.sha256, classifier.licence)
    facts = {'dataset': run_folder.about(dataset), 'init': weights}
    facts['split_fingerprint'] = digests.of_text('\n'.join(sorted(set(track.tolist())))).hex()
    write_json(folder / 'environment.json', environment() | facts)
    write_json(folder / 'result.json', result)
    page.write_report(folder)
    return result, predictions


def _unseen(name: str, config, dataset) -> tuple[list[int], list[str], bool]:
    """Returns which tracks a model was not made with, remarks, and whether it may know others.

    A run on the same recordings is tested on its own test part, and no model on copies of what it was made
    with. On others from the same place a UserError. With config.split.allow_leak it is tested on all.
    """
    from genre_jax.errors import UserError
    from genre_jax.evaluation.evaluate import Predictions
    from genre_jax.logbook import read_json
    from genre_jax.run import heard

    everything, run = list(range(len(dataset.tracks))), pathlib.Path(name)
    folder = run / 'model' if (run / 'model').exists() else run
    if run.name == 'model' and (run.parent / 'result.json').exists():  # what a run keeps of it
        run = run.parent
    if (run / 'result.json').exists():
        environment, trained = (
            read_json(run / f'{each}.json', 'restore it') for each in ('environment', 'config')
        )
        if environment['dataset']['fingerprint'] == dataset.manifest['fingerprint']:
            test = set(Predictions.read(run / 'predictions' / 'test.npz', 'restore it').track.tolist())
            own = [i for i in everything if dataset.tracks[i]['track'] in test]
            return own, [f'{name} was trained on these recordings: its own test part is tested'], False
        root, other = config.data.get('root'), trained['data'].get('root')
        if root and other and os.path.realpath(root) == os.path.realpath(os.path.expanduser(other)):
            if not config.split.allow_leak:
                raise UserError(
                    f'config.data.root={root}: {name} was trained on recordings from there, which are others '
                    'by now: it may know their artists; name other recordings, or set '
                    'config.split.allow_leak=True to have every figure marked LEAKY'
                )
            return everything, [f'{name} was trained on recordings from {root}'], True
    copies = heard.copies(folder, dataset, everything)
    if copies is None:
        return everything, [f'what {name} was trained on is not known here'], False
    if not copies:
        return everything, [], False
    first, known_as = next(iter(copies.items()))
    what = (
        f'{len(copies)} recordings that {name} was made with ({dataset.tracks[first]["track"]} = {known_as})'
    )
    if config.split.allow_leak:
        return everything, [f'among those tested are {what}'], True
    return [i for i in everything if i not in copies], [f'left out: {what}'], False


if __name__ == '__main__':
    program.run(main)
