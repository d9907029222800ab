"""Audio files to mono int16, on the host: decode, mix, resample, and say what is wrong with a file.

libsndfile decodes what it can and keeps quiet about the rest; `containers` finds what it passes over.
"""

import contextlib
import itertools
import math
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from genre_jax.data import containers
from genre_jax.errors import BadAudio, machine_fault

AUDIO_SUFFIXES = frozenset(
    ('.wav', '.flac', '.ogg', '.oga', '.opus', '.mp3', '.mpga', '.au', '.snd', '.aif', '.aiff')
)

# What FFmpeg's libraries read, where PyAV brings them.
FFMPEG_SUFFIXES = frozenset(
    '.m4a .m4b .m4r .mp4 .mov .aac .webm .weba .mka .mkv .wma .asf .mp2 .3gp .3g2 .amr .awb .ac3 .ape .wv '
    '.caf'.split()
)

# FFmpeg's names of containers that say how long they are: of others it guesses, by the first bit rate.
_WITH_LENGTH = ('mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm', 'asf', 'caf', 'ape', 'wv')

_FORMATS = frozenset(('WAV', 'WAVEX', 'RF64', 'FLAC', 'OGG', 'MP3', 'AU', 'AIFF'))
_RATES_HZ = (1_000, 768_000)
_SHORTEST_S = 0.1
_LOUDEST = 100.0  # of float samples; integers that were written as floats are louder all through
_SILENCE_PEAK = 1e-4  # -80 dBFS: some ten times the quantisation noise of 16-bit digital silence
# Ends noted by hand are rounded, and decoders disagree about the padding of lossy files.
_END_TOLERANCE_S = 0.5
_BLOCK_SAMPLES = 2**20
_MP3_PADDING = 4608  # samples of encoder delay and padding that a decoder may leave out


class AudioInfo(NamedTuple):
    """What a file's header says; `format` as libsndfile names it: 'WAV', 'FLAC', 'OGG', 'MP3', ..."""

    sample_rate_hz: int
    channels: int
    duration_s: float
    format: str


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
        if _by_ffmpeg(path):
            with _ffmpeg(path) as (info, _):
                return info
        with _opened(path) as (handle, frames):
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
    if not _RATES_HZ[0] <= from_hz <= _RATES_HZ[1]:
        raise BadAudio(f'implausible sample rate of {from_hz} Hz')
    _span(0.0, None, len(samples), from_hz)  # for its errors
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
        if _by_ffmpeg(path):
            yield from _read_mono_by_ffmpeg(path, start_s, end_s, sample_rate_hz)
        else:
            with _opened(path) as (handle, frames):
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


def _size(path: str | os.PathLike[str]) -> int:
    """Returns how many bytes a file holds; BadAudio for none, and where there is no regular file."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = 'a directory' if stat.S_ISDIR(status.st_mode) else 'not a regular file'
        raise BadAudio(f'cannot be read: {kind}')
    if status.st_size == 0:
        raise BadAudio('empty file (0 bytes)')
    return status.st_size


def _by_ffmpeg(path: str | os.PathLike[str]) -> bool:
    return os.path.splitext(path)[1].lower() in FFMPEG_SUFFIXES


@contextlib.contextmanager
def _ffmpeg(path: str | os.PathLike[str]) -> Iterator[tuple[AudioInfo, Iterator[np.ndarray]]]:
    """Opens a file by PyAV; yields what it announces, and its audio in blocks, float32 [n, channels]."""
    try:
        import av
    except ImportError:
        raise BadAudio('read only with PyAV: pip install av, or convert it to FLAC') from None
    try:
        size = _size(path)
        with av.open(os.fspath(path)) as container:
            # Without a decoder a stream has none of the attributes that are asked for below.
            streams = [each for each in container.streams.audio if each.codec_context]
            if not streams:
                raise BadAudio('it holds no audio, or none that FFmpeg decodes')
            stream = streams[0]
            channels = len(stream.layout.channels)
            duration_s = float((stream.duration or 0) * (stream.time_base or 0))
            if not duration_s and 'matroska' in container.format.name:
                duration_s = (container.duration or 0) / av.time_base

            def blocks() -> Iterator[np.ndarray]:
                resampler = av.AudioResampler(format='flt', layout=stream.layout, rate=stream.rate)
                for frame in itertools.chain(container.decode(stream), [None]):
                    for packed in resampler.resample(frame):
                        yield packed.to_ndarray().reshape(-1, channels)

            if container.format.name == 'asf':
                with open(path, 'rb') as file:
                    containers.check_asf(file, size)
            info = AudioInfo(stream.rate, channels, duration_s, container.format.name)
            if not _RATES_HZ[0] <= info.sample_rate_hz <= _RATES_HZ[1]:
                raise BadAudio(f'its header gives an implausible sample rate of {stream.rate} Hz')
            yield info, blocks()
    except OSError as error:  # PyAV's own errors among them where the system knows their number
        raise BadAudio(f'cannot be read: {error.strerror}') from error
    # ValueError: what changes its layout or its rate on the way.
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error  # without the path
        raise BadAudio(f'not audio, truncated or damaged ({reason})') from error


def _read_mono_by_ffmpeg(
    path: str | os.PathLike[str], start_s: float, end_s: float | None, sample_rate_hz: int
) -> Iterator[np.ndarray]:
    """Yields the span averaged over channels and resampled, float32 [n], as `_read_mono` does."""
    with _ffmpeg(path) as (info, blocks):
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


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[soundfile.SoundFile, int]]:
    """Opens a file after its checks; yields the handle and the number of frames to expect."""
    try:
        size = _size(path)
        with open(path, 'rb') as file:
            source, mp3_frames = containers.check(file, size)
    except OSError as error:
        raise BadAudio(f'cannot be read: {error.strerror}') from error
    with quiet_decoders if mp3_frames is not None else contextlib.nullcontext():
        try:
            handle = soundfile.SoundFile(source or os.fsencode(path))
        except soundfile.LibsndfileError as error:
            # 1 says just this, and 7 calls an .mp3 without any MPEG frame a missing file.
            detail = '' if error.code in (1, 7) else f' ({error.error_string.rstrip(".")})'
            raise BadAudio(f'not audio, or a format that is not read{detail}') from error
        with handle:
            try:
                yield handle, _frames(handle, mp3_frames or 0)
            except soundfile.LibsndfileError as error:
                raise BadAudio('truncated or damaged: it cannot be decoded to its end') from error


def _frames(handle: soundfile.SoundFile, mp3_frames: int) -> int:
    """Returns how many frames an open file must yield, having checked that it can."""
    frames = handle.frames
    if handle.format == 'RAW':
        raise BadAudio('not audio, or a format that is not read')
    if handle.format not in _FORMATS:
        raise BadAudio(f'format {handle.format} is not read: convert it to WAV or FLAC')
    if not _RATES_HZ[0] <= handle.samplerate <= _RATES_HZ[1]:
        raise BadAudio(f'its header gives an implausible sample rate of {handle.samplerate} Hz')
    if not handle.seekable():
        raise BadAudio(f'coding {handle.subtype} is not read: convert it to FLAC, or to WAV in PCM')
    if handle.format == 'FLAC':
        if frames >= 2**36:  # more than the field in STREAMINFO can hold: libsndfile's 'unknown'
            raise BadAudio('a FLAC without its length (written to a pipe): encode it again')
        # Seeking fails where the end that STREAMINFO promises is missing.
        handle.seek(max(0, frames - 1))
        if frames and not len(handle.read(1)):
            raise BadAudio('truncated: the last frame that its header announces is missing')
    if handle.format == 'MP3':
        if not mp3_frames or handle.subtype != 'MPEG_LAYER_III':
            raise BadAudio('not audio, or a format that is not read')
        if frames + _MP3_PADDING < mp3_frames:
            raise BadAudio(
                f'an MP3 with a missing or wrong length header: {frames / handle.samplerate:.1f} '
                f'of its {mp3_frames / handle.samplerate:.1f} s would be read; rewrite it, '
                'e.g. with "ffmpeg -i in.mp3 -c copy out.mp3"'
            )
        frames = min(frames, mp3_frames)
    return frames


class _QuietDecoders:
    """Keeps the notes that libmpg123 writes past Python from the terminal, while anything is in here.

    What Python writes to sys.stderr as it is in here still goes there.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            self._terminal, self._python = os.dup(2), sys.stderr
            if sys.stderr is sys.__stderr__ and sys.stderr is not None:
                sys.stderr = open(self._terminal, 'w', buffering=1, closefd=False)
            with open(os.devnull, 'wb') as null:
                os.dup2(null.fileno(), 2)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                os.dup2(self._terminal, 2)
                sys.stderr = self._python
                os.close(self._terminal)


quiet_decoders = _QuietDecoders()
