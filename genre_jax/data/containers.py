"""What audio containers announce, against what a file holds: finds files that were cut short.

libsndfile keeps quiet about most of it: a WAV, AU, AIFF or OGG that was cut is read up to the cut, an
MP3 of variable bit rate without an index up to a wrong guess.
"""

import io
import struct
import zlib
from typing import BinaryIO

from genre_jax.errors import BadAudio

_MAGIC = (b'RIFF', b'RIFX', b'RF64', b'FORM', b'.snd', b'OggS', b'fLaC')
_ASF_FILE_PROPERTIES = bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365')
_MIRRORED = bytes(int(f'{byte:08b}'[::-1], 2) for byte in range(256))
_MP3_KBPS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def check(file: BinaryIO, size: int) -> tuple[io.BytesIO | None, int | None]:
    """Compares what the container announces with what the file, of so many bytes, holds.

    Returns the bytes to decode where they differ from the file, else None; and the samples per channel of an
    MP3, 0 where no frame was found, None for the other containers.
    """
    start = _id3_size(file)
    file.seek(start)
    magic = file.read(4)
    file.seek(start)
    if magic not in _MAGIC:
        # An MP3 begins within the first bytes; other large files need not be read to their end.
        head = file.read(2**16)
        return None, 0 if _next_mp3_frame(head, 0) is None else _check_mp3(head + file.read())
    source = None
    if start:  # only in front of an MP3 can libsndfile cope with an ID3 tag in every respect
        source = file = io.BytesIO(file.read())
        size -= start
    if magic == b'.snd':
        _check_au(file, size)
    elif magic == b'OggS':
        _check_ogg(file, size)
    elif magic != b'fLaC':
        source = _check_riff(file, size) or source
    if source:
        source.seek(0)
    return source, None


def _id3_size(file: BinaryIO) -> int:
    """Returns the length in bytes of the ID3v2 tags that a file begins with."""
    size = 0
    while True:
        file.seek(size)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b'ID3' or max(tag[6:]) > 127:
            return size
        a, b, c, d = tag[6:]
        size += 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if tag[5] & 0x10 else 0)


def _check_riff(file: BinaryIO, size: int) -> io.BytesIO | None:
    """Checks WAV, RF64 and AIFF; returns a copy with its length put right if that was left 0."""
    file.seek(0)
    magic, riff_size = struct.unpack('<4sI', file.read(8).ljust(8, b'\0'))
    order = '>' if magic in (b'FORM', b'RIFX') else '<'
    position, long_size = 12, None
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(order + '4sI', file.read(8))
        position += 8
        if name == b'ds64':
            long_size = struct.unpack('<Q', file.read(16)[8:].ljust(8, b'\0'))[0]
        if name in (b'data', b'SSND'):
            break
        position += length + length % 2
    else:
        return None
    held = size - position
    if length == 0xFFFFFFFF and long_size:
        length = long_size
    # Programs that write to a pipe put in a huge length, or none, and never come back to correct
    # it. A length of 0 is meant where the outer length says that other chunks follow.
    elif length >= 0xFFFFFF00 or 0x7F000000 <= length <= 0x80000000:
        return None
    elif (magic, name, length) == (b'RIFF', b'data', 0):
        if held and (riff_size + 8 <= position or riff_size == 0xFFFFFFFF):
            file.seek(0)
            data = bytearray(file.read())
            struct.pack_into('<I', data, position - 4, min(held, 0xFFFFFFFF))
            return io.BytesIO(data)
    if length > held:
        raise _truncated(length, held)
    return None


def _check_au(file: BinaryIO, size: int) -> None:
    file.seek(4)
    offset, length = struct.unpack('>II', file.read(8).ljust(8, b'\0'))
    held = max(0, size - offset)
    if held < length < 0xFFFFFFFF:
        raise _truncated(length, held)


def check_asf(file: BinaryIO, size: int) -> None:
    """Compares the size in the header of ASF (Windows Media) with a file's, which tags may have changed.

    FFmpeg disregards the duration beside it where they differ by more than 5 %.
    """
    head = file.read(2**16)
    at = head.find(_ASF_FILE_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return
    (announced,), (flags,) = struct.unpack_from('<Q', head, at + 40), struct.unpack_from('<I', head, at + 88)
    is_live = flags & 1
    if not is_live and size < announced / 1.05:
        raise _truncated(announced, size)


def _truncated(announced: int, held: int) -> BadAudio:
    return BadAudio(f'truncated: its header announces {announced} bytes of audio, it holds {held}')


def _check_ogg(file: BinaryIO, size: int) -> None:
    """Walks the pages to the end of the stream: decoders leave out those of wrong checksum, silently."""
    position, flags, serial = 0, 0, b''
    while not flags & 4:
        file.seek(position)
        page = file.read(27 + 255)
        if page[:4] != b'OggS':
            what = 'truncated: the end of its Ogg stream is missing'
            raise BadAudio(what if not page else f'damaged: no Ogg page at byte {position}')
        table = page[27 : 27 + page[26]] if len(page) >= 27 else b''
        length = 27 + len(table) + sum(table)
        if len(page) < 27 or len(table) < page[26] or position + length > size:
            raise BadAudio('truncated: its last Ogg page is cut')
        file.seek(position)
        if not _ogg_page_is_whole(file.read(length)):
            raise BadAudio(f'damaged: the Ogg page at byte {position} has a wrong checksum')
        flags, serial = page[5], serial or page[14:18]
        position += length
        file.seek(position)
        if page[14:18] != serial or (flags & 4 and file.read(4) == b'OggS'):
            raise BadAudio('several Ogg streams in one file: only a single audio stream is read')


def _ogg_page_is_whole(page: bytes) -> bool:
    """Compares the checksum of a page (RFC 3533): zlib's, but for the order of bits and the inversions."""
    bare = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(bare.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f'{mirrored:032b}'[::-1], 2) == struct.unpack_from('<I', page, 22)[0]


def _check_mp3(data: bytes) -> int:
    """Counts the frames of an MP3, compares the number with its header, returns the samples."""
    first = position = _next_mp3_frame(data, 0)
    count = 0
    while position is not None:
        frame = _mp3_frame(data, position)
        if not frame:
            position = _next_mp3_frame(data, position)
        elif position + frame[0] > len(data):
            break
        else:
            position += frame[0]
            count += 1
    length, samples, _ = _mp3_frame(data, first)
    announced = _mp3_announced(data[first : first + length])
    if announced is None:
        return count * samples
    # Some encoders count the header's own frame; a frame that is cut is no matter of counting.
    missing = announced - (count - 1)
    if missing > 1 or (missing == 1 and position is not None):
        raise BadAudio(
            f'truncated or damaged: its header announces {announced} MP3 frames, the file holds {count - 1}'
        )
    return (count - 1) * samples


def _mp3_frame(data: bytes, position: int) -> tuple[int, int, tuple[int, int]] | None:
    """Returns the bytes of an MPEG layer III frame, its samples per channel, and version and rate, which
    all frames of a stream share; None if there is no such frame at the position.
    """
    header = data[position : position + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate, bitrate = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate == 3 or bitrate in (0, 15):
        return None
    samples = 1152 if version == 3 else 576
    rate_hz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits_per_s = 1000 * _MP3_KBPS[version == 3][bitrate - 1]
    padding = header[2] >> 1 & 1
    return samples // 8 * bits_per_s // rate_hz + padding, samples, (version, rate)


def _next_mp3_frame(data: bytes, position: int) -> int | None:
    """Returns where the next frame begins that one of the same kind follows, None without one."""
    while (position := data.find(0xFF, position)) >= 0:
        frame = _mp3_frame(data, position)
        follower = _mp3_frame(data, position + frame[0]) if frame else None
        if follower and follower[2] == frame[2]:
            return position
        position += 1
    return None


def _mp3_announced(frame: bytes) -> int | None:
    """Returns the number of frames that a Xing, Info or VBRI header announces."""
    for tag, offset in ((b'Xing', 8), (b'Info', 8), (b'VBRI', 14)):
        at = frame.find(tag, 4, 48)
        if at < 0 or len(frame) < at + offset + 4:
            continue
        if tag == b'VBRI' or frame[at + 7] & 1:
            return struct.unpack_from('>I', frame, at + offset)[0] or None
    return None
