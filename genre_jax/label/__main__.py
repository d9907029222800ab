"""Labels recordings with a trained model.

    python -m genre_jax.label MODEL PATHS... [--out=DIR]

MODEL: the folder of a finished run or of a conversion, or the name of a published checkpoint (musicnn_msd).
PATHS: audio files, folders of them, CSVs with a column `path`.

Prints a line a recording. With --out it writes songs.csv (class, probability, share of the windows that
agree), segments.csv (the classes over time), bad.csv (files that cannot be used, and why), label.html (all
of it to look at and to play), and what else --formats names; the same command goes on where it was stopped.
"""

import pathlib
from collections.abc import Iterable

from absl import flags

from genre_jax import program
from genre_jax.errors import say

# Heavy imports are inside the functions, so that --help is quick.

_OUT = flags.DEFINE_string('out', '', 'folder to write to')
_HOP_S = flags.DEFINE_float('hop_s', None, 'seconds from window to window; without: as long as a window is')
_MERGE = flags.DEFINE_bool('merge', True, 'join neighbouring windows of one class')
_TOP = flags.DEFINE_integer('top', 1, 'the most classes of a window', lower_bound=1)
_THRESHOLD = flags.DEFINE_float('threshold', 0.0, 'the least probability of a class of a window')
_FORMATS = flags.DEFINE_list('formats', ['csv', 'html'], 'of csv, jsonl, parquet, tracks (Audacity), html')
_REJECT = flags.DEFINE_bool(
    'reject', False, "say 'none of these' where the model is less sure than in training"
)
_STRICT = flags.DEFINE_bool('strict', False, 'stop at the first file that cannot be used')
_LABELS = flags.DEFINE_string(
    'labels', '', 'names of classes where a model has none: one a line, or a CSV with display_name'
)
_BATCH_SIZE = flags.DEFINE_integer(
    'batch_size', None, 'windows that are computed at a time; without: 32, of long ones fewer', lower_bound=1
)

_PRINTED = 3  # classes of a recording


def main(argv: list[str]) -> None:
    """Labels what the command line names."""
    from genre_jax.errors import UserError
    from genre_jax.label import outputs, recordings

    if len(argv) < 3 or '' in argv[1:]:  # as a variable of the shell that is not set leaves it
        raise UserError('expected MODEL PATHS...; --help says more')
    if not 0 <= _THRESHOLD.value <= 1:
        raise UserError(f'--threshold={_THRESHOLD.value}: expected a probability, from 0 to 1')
    for name in _FORMATS.value or ['']:
        if name not in outputs.FORMATS:
            raise UserError(f'--formats={name}: expected some of {", ".join(outputs.FORMATS)}')
    paths, notes = recordings.find(argv[2:])
    for note in notes:
        say(f'note: {note}')
    program.start_jax()

    from genre_jax.label import files
    from genre_jax.label.classifier import Classifier
    from genre_jax.label.journal import Journal

    classifier = Classifier(argv[1], _read_labels(), _BATCH_SIZE.value)
    hop = classifier.hop(_HOP_S.value)
    if _REJECT.value and not classifier.rejects:
        raise UserError(
            f'--reject: MODEL={argv[1]} is no run on sound, which would have found out when to: leave it out'
        )
    if _OUT.value:
        from genre_jax.run import folder as run_folder

        out = pathlib.Path(_OUT.value).expanduser()
        with run_folder.own(out, '--out'):
            settings = {
                **classifier.identity,
                'hop_s': hop / classifier.sample_rate_hz,
                'batch_size': classifier.batch_size,
            }
            songs, bad = _label(files.label(classifier, paths, hop, Journal(out, settings)))
            model = (
                f'{classifier.title}, parameters {classifier.sha256[:12]}; licence of the weights: '
                f'{classifier.licence or "not told"}'
            )
            written = outputs.write(songs, bad, _FORMATS.value, out, model)
        say(f'written: {", ".join(map(str, written))}')
    else:
        _, bad = _label(files.label(classifier, paths, hop))
    if bad:
        path, reason = bad[0]
        raise UserError(f'{len(bad)} of {len(paths)} files cannot be used, such as {path}: {reason}')


def _label(found: Iterable[tuple]) -> tuple[list, list]:
    """Prints what is found of each file; returns songs with their stretches, and bad files with why."""
    import tqdm

    from genre_jax.errors import BadAudio, UserError
    from genre_jax.label.outputs import Labelled
    from genre_jax.label.song import NONE

    songs, bad = [], []
    for path, song in found:
        if isinstance(song, BadAudio):
            if _STRICT.value:
                raise UserError(f'{path}: {song}')
            bad.append((path, song))
            line = f'{path}: cannot be used: {song}'
        else:
            reject = _REJECT.value
            timeline = song.timeline(_MERGE.value, _TOP.value, _THRESHOLD.value, reject)
            songs.append(Labelled(song, song.decision(reject), timeline))
            none = f'{NONE}; at most ' if reject and not song.known else ''
            top = ', '.join(f'{label} {100 * p:.1f} %' for label, p in song.top(_PRINTED))
            n, agree = len(song.start_s), f'{100 * song.agreement:.0f} %'
            line = f'{path}: {none}{top}; {"one window" if n == 1 else f"{agree} of {n} windows agree"}'
        with tqdm.tqdm.external_write_mode():
            say(line)
    return songs, bad


def _read_labels() -> list[str]:
    from genre_jax.data import csv_file

    if not _LABELS.value:
        return []
    if _LABELS.value.lower().endswith('.csv'):  # as AudioSet's are published
        return [row['display_name'] for _, row in csv_file.read(_LABELS.value, ('display_name',))[1]]
    return [line.strip() for line in csv_file.text(_LABELS.value).splitlines() if line.strip()]


if __name__ == '__main__':
    program.run(main, config=False)
