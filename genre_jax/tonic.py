"""Finds the tonic of recordings with a model that names it.

    python -m genre_jax.tonic RUN PATHS... [--out=FILE.csv]

RUN: the folder of a finished run whose model is `orbit` on sound (configs/raag_orbit.py). PATHS: as those
of genre_jax.label.

Prints a line a recording: the likeliest tonic in hertz, in the octave from 55 Hz, the note next to it with
the cents above it, and how likely it is that the tonic lies within 25 cents; then the others that are
likely. With --out it writes them to a CSV, the likeliest first.
"""

import pathlib

from absl import flags

from genre_jax import program
from genre_jax.errors import say

# Heavy imports are inside the functions, so that --help is quick.

_OUT = flags.DEFINE_string('out', '', 'CSV to write')
_COLUMNS = ('path', 'tonic_hz', 'note', 'cents', 'probability')


def main(argv: list[str]) -> None:
    """Finds the tonics of what the command line names."""
    import tqdm

    from genre_jax.errors import BadAudio, UserError
    from genre_jax.label import recordings

    if len(argv) < 3:
        raise UserError('expected RUN PATHS...; --help says more')
    paths, notes = recordings.find(argv[2:])
    for note in notes:
        say(f'note: {note}')
    program.start_jax()

    from genre_jax.data.files import readable
    from genre_jax.evaluation.tonic import likeliest
    from genre_jax.label import files
    from genre_jax.label.classifier import Classifier
    from genre_jax.logbook import write_rows

    classifier = Classifier(argv[1])
    if not classifier.names_tonic:
        raise UserError(
            f'RUN={argv[1]} names no tonics: expected a run whose config.model.name is orbit, such as one of '
            'configs/raag_orbit.py'
        )
    rows, bad = [], []
    for path, song in files.label(classifier, paths, classifier.hop(None)):
        if isinstance(song, BadAudio):
            bad.append(f'{path}: {song}')
            line = f'{path}: cannot be used: {song}'
        else:
            found = likeliest(song.tonic)
            rows += [
                (readable(path), f'{hz:.2f}', note, f'{cents:.1f}', f'{p:.6f}')
                for hz, note, cents, p in found
            ]
            words = [f'{hz:.1f} Hz ({note} {cents:+.0f}) {100 * p:.0f} %' for hz, note, cents, p in found]
            line = f'{path}: {", ".join(words)}'
        with tqdm.tqdm.external_write_mode():
            say(line)
    if _OUT.value:
        out = pathlib.Path(_OUT.value).expanduser()
        write_rows(out, [_COLUMNS, *rows])
        say(f'written: {out}')
    if bad:
        raise UserError(f'{len(bad)} of {len(paths)} files cannot be used, such as {bad[0]}')


if __name__ == '__main__':
    program.run(main, config=False)
