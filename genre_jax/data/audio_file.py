"""Audio files, opened: what they announce, and what is wrong with them, by libsndfile or FFmpeg's libraries.

libsndfile decodes what it can and keeps quiet about the rest; `containers` finds what it passes over.
"""

import contextlib
import itertools
import os
import stat
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import soundfile

from genre_jax.data import containers
from genre_jax.errors import BadAudio

AUDIO_SUFFIXES = frozenset(
    ('.wav', '.flac', '.ogg', '.oga', '.opus', '.mp3', '.mpga', '.au', '.snd', '.aif', '.aiff')
)

# What FFmpeg's libraries read, where PyAV brings them.
FFMPEG_SUFFIXES = frozenset(
    '.m4a .m4b .m4r .mp4 .mov .aac .webm .weba .mka .mkv .wma .asf .mp2 .3gp .3g2 .amr .awb .ac3 .ape .wv '
    '.caf'.split()
)

RATES_HZ = (1_000, 768_000)  # that are plausible
_FORMATS = frozenset(('WAV', 'WAVEX', 'RF64', 'FLAC', 'OGG', 'MP3', 'AU', 'AIFF'))
_MP3_PADDING = 4608  # samples of encoder delay and padding that a decoder may leave out


class AudioInfo(NamedTuple):
    """What a file's header says; `format` as libsndfile names it: 'WAV', 'FLAC', 'OGG', 'MP3', ..."""

    sample_rate_hz: int
    channels: int
    duration_s: float
    format: str


def _size(path: str | os.PathLike[str]) -> int:
    """Returns how many bytes a file holds; BadAudio for none, and where there is no regular file."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = 'a directory' if stat.S_ISDIR(status.st_mode) else 'not a regular file'
        raise BadAudio(f'cannot be read: {kind}')
    if status.st_size == 0:
        raise BadAudio('empty file (0 bytes)')
    return status.st_size


def by_ffmpeg(path: str | os.PathLike[str]) -> bool:
    """Tells by its suffix whether a file is read by FFmpeg's libraries."""
    return os.path.splitext(path)[1].lower() in FFMPEG_SUFFIXES


@contextlib.contextmanager
def opened_by_ffmpeg(path: str | os.PathLike[str]) -> Iterator[tuple[AudioInfo, Iterator[np.ndarray]]]:
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
            if not RATES_HZ[0] <= info.sample_rate_hz <= RATES_HZ[1]:
                raise BadAudio(f'its header gives an implausible sample rate of {stream.rate} Hz')
            yield info, blocks()
    except OSError as error:  # PyAV's own errors among them where the system knows their number
        raise BadAudio(f'cannot be read: {error.strerror}') from error
    # ValueError: what changes its layout or its rate on the way.
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error  # without the path
        raise BadAudio(f'not audio, truncated or damaged ({reason})') from error


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[soundfile.SoundFile, int]]:
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
    if not RATES_HZ[0] <= handle.samplerate <= RATES_HZ[1]:
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
