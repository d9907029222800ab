"""Writes a table of handcrafted features: the columns of GTZAN's features_30_sec.csv, song and group.

    python -m genre_jax.feature_table --root=DIR --out=features.csv [--segment_s=3]

DIR as for configs/folder.py. One row for each recording, or for each whole segment of `segment_s`
seconds; then the names are those of the published 3-second table, NAME.0.wav, NAME.1.wav, ... The columns
song and group keep what belongs together on one side of a split (docs/datasets/feature_table.md).
Files that cannot be used are named at the end.
"""

import errno
import math
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags

from genre_jax import program
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.errors import BadAudio, UserError, say

_ROOT = flags.DEFINE_string('root', '', 'folder with one folder per class, or with a CSV')
_OUT = flags.DEFINE_string('out', 'features.csv', 'table to write')
_SEGMENT_S = flags.DEFINE_float('segment_s', 0.0, 'length of a segment; 0: whole recordings')
_PADDING = flags.DEFINE_enum(
    'padding', 'reflect', ['reflect', 'zeros'], 'librosa before 0.9, as published, or since then'
)
_RATE_HZ = 22050
_BATCH = 8


def _programs_length(n_samples: int) -> int:
    """Returns 2 or 3 times a power of two of samples, the next: XLA compiles for each length anew."""
    power = 1 << (n_samples - 1).bit_length()
    return power * 3 // 4 if n_samples <= power * 3 // 4 else power


def _rows(
    source, recordings: Sequence[Recording], segment_s: float, compute, left_out: list[Quarantined]
) -> Iterator[list]:
    """Computes the rows of a table, of whole recordings or of segments of `segment_s` seconds, one by one.

    Yields filename, length in samples, features, label, song, group; unusable files come to `left_out`.
    """
    import jax

    from genre_jax.logbook import progress_bar

    jitted, n = jax.jit(compute), len(recordings)
    for recording in progress_bar(n, 'recordings', 'features', iterable=recordings):
        try:
            samples = source.load(recording).astype(np.float32) / 32767
        except BadAudio as error:
            left_out.append(Quarantined(recording.path, str(error)))
            continue
        length = round(segment_s * _RATE_HZ) or len(samples)
        pieces = samples[: len(samples) // length * length].reshape(-1, length)
        if not len(pieces) or length < compute.n_fft:
            reason = f'shorter than {max(length, compute.n_fft) / _RATE_HZ:.3g} s'
            left_out.append(Quarantined(recording.path, reason))
            continue
        batch, padded = (_BATCH, length) if segment_s else (1, _programs_length(length))
        path, rows = pathlib.PurePath(recording.track), []
        for first in range(0, len(pieces), batch):
            some = pieces[first : first + batch]
            clips = np.pad(some, ((0, batch - len(some)), (0, padded - length)))
            values = np.asarray(jitted(clips, np.full(batch, length, np.int32)))[: len(some)]
            for i, row in enumerate(values.tolist(), first):
                name = f'{path.stem}.{i}{path.suffix}' if segment_s else path.name
                rows.append([name, length, *row, recording.label, recording.track, recording.group])
        yield from sorted(rows, key=lambda row: row[0])


def main(argv: Sequence[str]) -> None:
    """Writes the table."""
    from genre_jax.data import folder
    from genre_jax.features.handcrafted import COLUMNS, Handcrafted
    from genre_jax.logbook import write_rows

    program.refuse_words(argv)
    if not _ROOT.value:
        raise UserError('expected --root=DIR')
    compute = Handcrafted(padding=_PADDING.value)
    least_s = compute.n_fft / _RATE_HZ
    if _SEGMENT_S.value != 0 and not least_s <= _SEGMENT_S.value < math.inf:  # as NaN is not
        raise UserError(f'--segment_s={_SEGMENT_S.value}: expected {least_s:.3f} s, one frame, or more, or 0')
    source = folder.Source(root=_ROOT.value, sample_rate_hz=_RATE_HZ)
    recordings, quarantined = source.recordings()
    recordings = sorted(recordings, key=lambda each: (each.label, each.track))
    out, written = pathlib.Path(_OUT.value), set()

    def rows() -> Iterator[list]:
        yield ['filename', 'length', *COLUMNS, 'label', 'song', 'group']
        for row in _rows(source, recordings, _SEGMENT_S.value, compute, quarantined):
            written.add(row[-3])
            yield row

    try:
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        count = write_rows(out, rows()) - 1
    except OSError as error:
        raise UserError(f'--out={out}: {error.strerror}') from None
    lines = [f'left out: {each.path}: {each.reason}' for each in quarantined]
    lines += [f'note: {note}' for note in source.notes()]
    lost = sorted({each.label for each in recordings} - written)
    lines += [f'note: class {label!r} is left out: none of its recordings can be used' for label in lost]
    lines.append(f'{out}: {count} rows, {len(quarantined)} files left out')
    say(*lines)
    if not count:
        raise UserError(f'--root={_ROOT.value}: no recording in it can be used, so {out} has no row')


if __name__ == '__main__':
    program.run(main, config=False)
