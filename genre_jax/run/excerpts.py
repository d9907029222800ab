"""Sound of test songs for the page: what the network heard of them, cut from the prepared records."""

import concurrent.futures
import io
import itertools
import os
import pathlib
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from genre_jax.loading.loader import WindowTable

_LONGEST_S = 30.0
_RATES_HZ = (8000, 12000, 16000, 24000, 48000)  # that Opus knows
# Of libsndfile, from 0 to 1: 28 kbit/s of one channel, nearly the same of all music.
_COMPRESSION = 0.92
_BYTES_PER_S = 3490
_REVERSED = bytes(int(f'{byte:08b}'[::-1], 2) for byte in range(256))


class Excerpt(NamedTuple):
    """A stretch of a track, in samples of its prepared audio."""

    track: int
    start: int
    end: int


def around(table: WindowTable, rows: np.ndarray, row: int) -> Excerpt:
    """Returns the span of a song's windows, `rows` of a table; of a long one the 30 s around one of them."""
    track, rate = int(table.track[row]), table.dataset.sample_rate_hz
    begin, end = int(table.start[rows].min()), int(table.start[rows].max()) + table.window
    end = min(end, table.dataset.tracks[track]['n_samples'])
    longest = round(_LONGEST_S * rate)
    if end - begin > longest:
        middle = int(table.start[row]) + table.window // 2
        begin = min(max(begin, middle - longest // 2), end - longest)
        end = begin + longest
    return Excerpt(track, begin, end)


def write(table: WindowTable, excerpts: Sequence[Excerpt], n_bytes: int, folder: pathlib.Path) -> list[dict]:
    """Writes excerpts as NNNN.opus, in their order, until so many bytes are used up.

    Returns what excerpts.json says of them: the file, its song, and where the excerpt lies in that.
    """
    rate = table.dataset.sample_rate_hz
    lengths_s = [(each.end - each.start) / rate for each in excerpts]
    sizes = itertools.accumulate(_BYTES_PER_S * length_s for length_s in lengths_s)
    likely = list(itertools.takewhile(lambda pair: pair[1] < n_bytes, zip(excerpts, sizes, strict=True)))

    def encode(excerpt: Excerpt) -> bytes:
        track, start, end = excerpt
        return opus(table.dataset.read(track, start, end - start), rate)

    listed, left = [], n_bytes
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        encoded = pool.map(encode, (each for each, _ in likely))
        for number, ((each, _), content) in enumerate(zip(likely, encoded, strict=True)):
            left -= len(content)
            if left < 0:
                break
            (folder / f'{number:04d}.opus').write_bytes(content)
            listed.append(_entry(table, each, f'{number:04d}.opus', each.start / rate))
    return listed


def link(table: WindowTable, excerpts: Sequence[Excerpt], root: pathlib.Path) -> list[dict]:
    """Returns what excerpts.json says of excerpts that are heard in the original files, where these are."""
    home = (root if root.is_dir() else root.parent).absolute()
    listed = []
    for each in excerpts:
        track = table.dataset.tracks[each.track]
        if track['path'] and (home / track['path']).is_file():
            listed.append(_entry(table, each, str(home / track['path']), -track['start_s']))
    return listed


def _entry(table: WindowTable, excerpt: Excerpt, file: str, file_start_s: float) -> dict:
    rate = table.dataset.sample_rate_hz
    return {
        'track': table.dataset.tracks[excerpt.track]['track'],
        'start_s': excerpt.start / rate,
        'end_s': excerpt.end / rate,
        'file': file,
        'file_start_s': file_start_s,  # where in the song the file begins
    }


def opus(audio: np.ndarray, sample_rate_hz: int) -> bytes:
    """Encodes audio, int16 (time,), as Ogg Opus, at the next rate that Opus knows: always the same bytes."""
    rate_hz = next((rate for rate in _RATES_HZ if rate >= sample_rate_hz), _RATES_HZ[-1])
    waveform = soxr.resample(audio.astype(np.float32) / 32768, sample_rate_hz, rate_hz)
    stream = io.BytesIO()
    soundfile.write(stream, waveform, rate_hz, format='OGG', subtype='OPUS', compression_level=_COMPRESSION)
    return _numbered(stream.getvalue())


def _numbered(ogg: bytes) -> bytes:
    """Gives a stream, which libsndfile numbers by the clock, the number 1 (RFC 3533: pages and checksums)."""
    pages, at = bytearray(ogg), 0
    while at < len(pages):
        n_segments = pages[at + 26]
        end = at + 27 + n_segments + sum(pages[at + 27 : at + 27 + n_segments])
        pages[at + 14 : at + 18] = (1).to_bytes(4, 'little')
        pages[at + 22 : at + 26] = bytes(4)
        # zlib has the same polynomial with the bits of a byte the other way round, and two inversions.
        crc = zlib.crc32(bytes(pages[at:end]).translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
        pages[at + 22 : at + 26] = crc.to_bytes(4, 'big').translate(_REVERSED)
        at = end
    return bytes(pages)
