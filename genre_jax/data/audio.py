"""Audio files to mono int16, on the host: decode, mix, resample, and say what is wrong with the sound."""

import contextlib
import math
import numbers
import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import soundfile
import soxr

from genre_jax.data import audio_file
from genre_jax.data.audio_file import AudioInfo
from genre_jax.errors import BadAudio, machine_fault

# FFmpeg's names of containers that say how long they are: of others it guesses, by the first bit rate.
_WITH_LENGTH = ('mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm', 'asf', 'caf', 'ape', 'wv')

_SHORTEST_S = 0.1
_LOUDEST = 100.0  # of float samples; integers that were written as floats are louder all through
_SILENCE_PEAK = 1e-4  # -80 dBFS: some ten times the quantisation noise of 16-bit digital silence
# Ends noted by hand are rounded, and decoders disagree about the padding of lossy files.
_END_TOLERANCE_S = 0.5
_BLOCK_SAMPLES = 2**20


@contextlib.contextmanager
def _apart_from_faults(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raises what the medium does, an OSError: a file is not bad because of it."""
    try:
        yield
    except BadAudio:  # decoders do not say
        if not os.path.isfile(path):  # a pipe would be waited for
            raise
        try:
            with open(path, 'rb') as file:
                while file.read(_BLOCK_SAMPLES):
                    pass
        except OSError as error:
            if machine_fault(error):
                raise
        raise


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Reads a file's header; BadAudio for one that is not audio, or holds less than it announces."""
    with _apart_from_faults(path):
        if audio_file.by_ffmpeg(path):
            with audio_file.opened_by_ffmpeg(path) as (info, _):
                return info
        with audio_file.opened(path) as (handle, frames):
            rate = handle.samplerate
            return AudioInfo(rate, handle.channels, frames / rate, handle.format)


def decode(
    path: str | os.PathLike[str], sample_rate_hz: int, start_s: float = 0.0, end_s: float | None = None
) -> np.ndarray:
    """Decodes a file, or a span of it, to mono at the given rate: int16 [n], round(32767 x).

    Channels are averaged. Where the mixed and resampled audio exceeds full scale it is divided by its peak,
    never clipped; quieter audio keeps its level. The content decides the format, not the suffix.

    The span is from second `start_s` to `end_s`, None for the end of the file; up to half a second past the
    end counts as the end. BadAudio: the file cannot be read, is not audio, was cut short or damaged, lacks
    the span, or the span is shorter than 0.1 s, silent, or not finite.
    """
    audio = np.concatenate(list(_mono_blocks(path, sample_rate_hz, start_s, end_s)))
    return _as_int16(audio, _checked_peak(lambda: [audio]))


def of_samples(samples: np.ndarray, from_hz: int, sample_rate_hz: int) -> np.ndarray:
    """Does to samples in memory what `decode` does to a file's: int16 [n].

    `samples` are [n] or [n, channels], float in [-1, 1] or integers of full scale.
    """
    if samples.ndim not in (1, 2) or samples.dtype.kind not in 'fi':
        raise BadAudio(
            f'samples of shape {samples.shape} and type {samples.dtype}: expected [n] or [n, channels], '
            'float in [-1, 1] or integers of full scale'
        )
    low_hz, high_hz = audio_file.RATES_HZ
    if not (isinstance(from_hz, numbers.Real) and low_hz <= from_hz <= high_hz):
        raise BadAudio(f'implausible sample rate of {from_hz} Hz')
    _span(0.0, None, samples.size and len(samples), from_hz)  # for its errors
    scale = 1.0 if samples.dtype.kind == 'f' else -float(np.iinfo(samples.dtype).min)
    mono = samples.reshape(len(samples), -1).mean(axis=1, dtype=np.float64) / scale
    stream = soxr.ResampleStream(from_hz, sample_rate_hz, 1, dtype='float32')
    mono = mono.astype(np.float32)
    audio = mono if from_hz == sample_rate_hz else stream.resample_chunk(mono, last=True)
    return _as_int16(audio, _checked_peak(lambda: [audio]))


def decode_long(path: str | os.PathLike[str], sample_rate_hz: int) -> tuple[int, Iterator[np.ndarray]]:
    """Decodes a file as `decode` does, block by block, so that its length needs no memory.

    Returns the samples per channel, and the blocks, int16 [n]; for their common level the file is decoded
    before. BadAudio is raised at once, and again by the blocks where the file has changed meanwhile.
    """
    n_samples = 0

    def blocks() -> Iterator[np.ndarray]:
        return _mono_blocks(path, sample_rate_hz, 0.0, None)

    def counted() -> Iterator[np.ndarray]:
        nonlocal n_samples
        n_samples = 0
        for block in blocks():
            n_samples += len(block)
            yield block

    peak = _checked_peak(counted)
    return n_samples, (_as_int16(block, peak) for block in blocks())


def _mono_blocks(
    path: str | os.PathLike[str], sample_rate_hz: int, start_s: float, end_s: float | None
) -> Iterator[np.ndarray]:
    """Yields a span averaged over channels and resampled, float32 [n]."""
    with _apart_from_faults(path):
        if audio_file.by_ffmpeg(path):
            yield from _read_mono_by_ffmpeg(path, start_s, end_s, sample_rate_hz)
        else:
            with audio_file.opened(path) as (handle, frames):
                first, last = _span(start_s, end_s, frames, handle.samplerate)
                yield from _read_mono(handle, first, last, sample_rate_hz)


def _checked_peak(blocks: Callable[[], Iterable[np.ndarray]]) -> float:
    """Returns the peak of float audio in blocks, or BadAudio where it cannot be used.

    The blocks are asked for once more where a second look is needed.
    """
    ends = [(block.max(), -block.min()) for block in blocks() if len(block)]
    peak = float(np.max(ends))  # NaN where one is
    if not np.isfinite(peak):
        raise BadAudio('non-finite samples (NaN or infinity)')
    if peak > _LOUDEST:
        sizes = [(len(block), np.count_nonzero(np.abs(block) >= peak / 10_000)) for block in blocks()]
        n_samples, n_loud = np.sum(sizes, 0)
        if n_loud <= 0.001 * n_samples:
            raise BadAudio(f'damaged: some samples are up to {peak:.0e} times full scale, the others are not')
    if peak < _SILENCE_PEAK:
        level = f'{20 * np.log10(peak):.0f} dBFS' if peak else 'digital zero'
        raise BadAudio(f'silent (the peak of its mono mix is {level})')
    return peak


def _as_int16(audio: np.ndarray, peak: float) -> np.ndarray:
    """Returns round(32767 x), divided by a peak above full scale; overwrites the audio."""
    audio *= 32767 / max(peak, 1.0)
    return np.rint(audio).astype(np.int16)


def _span(start_s: float, end_s: float | None, frames: int, rate_hz: int) -> tuple[int, int]:
    """Returns the first frame of the span and the frame after its last one."""
    duration_s = frames / rate_hz
    if frames == 0:
        raise BadAudio('no samples')
    if end_s is not None and not end_s > start_s:
        raise BadAudio(f'its span starts at {start_s:g} s and ends at {end_s:g} s')
    if not 0 <= start_s < duration_s:
        raise BadAudio(f'its span starts at {start_s:g} s, the file lasts {duration_s:.2f} s')
    if end_s is not None and end_s > duration_s + _END_TOLERANCE_S:
        raise BadAudio(f'its span ends at {end_s:g} s, the file lasts {duration_s:.2f} s')
    first = round(start_s * rate_hz)
    last = frames if end_s is None else min(frames, round(end_s * rate_hz))
    if (last - first) / rate_hz < _SHORTEST_S:
        raise BadAudio(f'shorter than {_SHORTEST_S} s ({(last - first) / rate_hz:.3f} s)')
    return first, last


def _read_mono(
    handle: soundfile.SoundFile, first: int, last: int, sample_rate_hz: int
) -> Iterator[np.ndarray]:
    """Yields frames [first, last) averaged over channels and resampled, float32 [n]."""
    resample = sample_rate_hz != handle.samplerate
    stream = soxr.ResampleStream(handle.samplerate, sample_rate_hz, 1, dtype='float32')
    block = max(1, _BLOCK_SAMPLES // handle.channels)
    if handle.seek(first) != first:
        raise BadAudio('truncated or damaged: its span cannot be reached')
    while first < last:
        wanted = min(block, last - first)
        frames = handle.read(wanted, dtype='float32', always_2d=True)
        if len(frames) < wanted:
            raise BadAudio('truncated or damaged: it yields less audio than it announces')
        first += wanted
        with np.errstate(over='ignore', invalid='ignore'):  # what is not finite is refused later
            mono = frames.mean(axis=1)
        yield stream.resample_chunk(mono, last=first == last) if resample else mono


def _read_mono_by_ffmpeg(
    path: str | os.PathLike[str], start_s: float, end_s: float | None, sample_rate_hz: int
) -> Iterator[np.ndarray]:
    """Yields the span averaged over channels and resampled, float32 [n], as `_read_mono` does."""
    with audio_file.opened_by_ffmpeg(path) as (info, blocks):
        rate_hz, frames = info.sample_rate_hz, 0
        stream = soxr.ResampleStream(rate_hz, sample_rate_hz, 1, dtype='float32')
        first, last = round(start_s * rate_hz), math.inf if end_s is None else round(end_s * rate_hz)
        for block in blocks:
            inside = block[max(0, first - frames) : max(0, min(last - frames, len(block)))]
            frames += len(block)
            yield stream.resample_chunk(inside.mean(axis=1))
    if info.format in _WITH_LENGTH and frames / rate_hz + _END_TOLERANCE_S < info.duration_s:
        raise BadAudio(
            f'truncated: {frames / rate_hz:.1f} of the {info.duration_s:.1f} s that it announces are there'
        )
    _span(start_s, end_s, frames, rate_hz)  # for its errors
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
