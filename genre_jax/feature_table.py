"""Writes a table of handcrafted features: the columns of GTZAN's features_30_sec.csv, song and group.

    python -m genre_jax.feature_table --root=DIR --out=features.csv [--segment_s=3]

DIR as for configs/folder.py. One row for each recording, or for each whole segment of `segment_s`
seconds; then the names are those of the published 3-second table, NAME.0.wav, NAME.1.wav, ... The columns
song and group keep what belongs together on one side of a split (docs/datasets/feature_table.md).
Files that cannot be used are named at the end.
"""

import collections
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags

from genre_jax import program
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.errors import BadAudio, UserError

# Heavy imports are inside the functions: --help shall be quick.

_ROOT = flags.DEFINE_string('root', '', 'folder with one folder per class, or with a CSV')
_OUT = flags.DEFINE_string('out', 'features.csv', 'table to write')
_SEGMENT_S = flags.DEFINE_float('segment_s', 0.0, 'length of a segment; 0: whole recordings')
_PADDING = flags.DEFINE_enum(
    'padding', 'reflect', ['reflect', 'zeros'], 'librosa before 0.9, as published, or since then'
)
_RATE_HZ = 22050
_BATCH = 8


def _rows(source, segment_s: float, compute) -> tuple[list[list], list[Quarantined]]:
    """Computes the rows of a table, of whole recordings or of segments of `segment_s` seconds.

    Returns filename, length in samples, the features, label, song, group of each, sorted by label, song and
    name; and the files that cannot be used.
    """
    import jax
    import tqdm

    recordings, quarantined = source.recordings()
    table, jitted = [], jax.jit(compute)
    # XLA compiles for each length anew: clips of one length are computed together.
    waiting: dict[int, list[tuple[str, Recording, np.ndarray]]] = collections.defaultdict(list)

    def compute_waiting(length: int) -> None:
        names, recordings, clips = zip(*waiting.pop(length), strict=True)
        for name, of, values in zip(names, recordings, jitted(np.stack(clips)), strict=True):
            table.append([name, length, *map(float, values), of.label, of.track, of.group])

    for recording in tqdm.tqdm(recordings, desc='features', unit='recording'):
        try:
            samples = source.load(recording).astype(np.float32) / 32767
        except BadAudio as error:
            quarantined.append(Quarantined(recording.path, str(error)))
            continue
        length = round(segment_s * _RATE_HZ) or len(samples)
        pieces = len(samples) // length
        if not pieces or length < compute.n_fft:
            reason = f'shorter than {max(length, compute.n_fft) / _RATE_HZ:.3g} s'
            quarantined.append(Quarantined(recording.path, reason))
            continue
        path = pathlib.PurePath(recording.track)
        for i in range(pieces):
            name = f'{path.stem}.{i}{path.suffix}' if segment_s else path.name
            waiting[length].append((name, recording, samples[i * length : (i + 1) * length]))
            if len(waiting[length]) == _BATCH:
                compute_waiting(length)
    for length in list(waiting):
        compute_waiting(length)
    return sorted(table, key=lambda row: (row[-3], row[-2], row[0])), quarantined


def main(argv: Sequence[str]) -> None:
    """Writes the table."""
    from genre_jax.data import folder
    from genre_jax.features.handcrafted import COLUMNS, Handcrafted
    from genre_jax.logbook import write_rows

    program.refuse_words(argv)
    if not _ROOT.value:
        raise UserError('expected --root=DIR')
    if _SEGMENT_S.value < 0:
        raise UserError(f'--segment_s={_SEGMENT_S.value}: expected 0 or more')
    source = folder.Source(root=_ROOT.value, sample_rate_hz=_RATE_HZ)
    table, quarantined = _rows(source, _SEGMENT_S.value, Handcrafted(padding=_PADDING.value))
    out = pathlib.Path(_OUT.value)
    try:
        write_rows(out, [['filename', 'length', *COLUMNS, 'label', 'song', 'group'], *table])
    except OSError as error:
        raise UserError(f'--out={out}: {error.strerror}') from None
    for each in quarantined:
        print(f'left out: {each.path}: {each.reason}')
    print(f'{out}: {len(table)} rows, {len(quarantined)} files left out')


if __name__ == '__main__':
    program.run(main, config=False)
