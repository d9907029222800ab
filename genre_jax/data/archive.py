"""Archives as they are downloaded: unpacked beside themselves, once, whole or not at all.

`music.zip` becomes the folder `music.zip.unpacked/`. A note in it says which archive it came from (size
and date of change), so that another archive under the same name is unpacked anew. It lies beside the
archive, not with the prepared data, because a dataset lists its files before anyone asks where the
prepared ones shall go, and because several preparations can share it.
"""

import contextlib
import functools
import hashlib
import json
import lzma
import os
import pathlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO

import tqdm

from genre_jax.data import storage
from genre_jax.errors import UserError

SUFFIXES = ('.zip', '.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tbz2', '.tar.xz', '.txz')

_NOTE = '.unpacked_from.json'
_BLOCK_BYTES = 2**20
_TAR_BLOCK_BYTES = 512
_Opener = Callable[[], IO[bytes]]


def is_archive(path: str) -> bool:
    """Tells whether a file's name says that it is an archive."""
    return path.lower().endswith(SUFFIXES)


def find_folder(root: str, wanted: str, published: Mapping[str, str]) -> tuple[str, list[str]]:
    """Returns the absolute path of the folder that a dataset's `root` means, unpacked where it is an archive.

    And one-line notes: whether an archive that is called like a published one is that, by {name: 'md5:...',
    'sha1:...' or 'sha256:...'}. `wanted` says in messages what is expected there.
    """
    if not root:
        raise UserError(f'the root folder is not set (--source=DIR, config.data.root): {wanted}')
    path = os.path.abspath(os.path.expanduser(root))
    if os.path.isdir(path):
        return path, []
    if not os.path.exists(path):
        raise UserError(f'{root} does not exist; expected a folder or an archive: {wanted}')
    if not is_archive(path):
        raise UserError(f'{root} is neither a folder nor an archive ({", ".join(SUFFIXES)}): {wanted}')
    name = os.path.basename(path)
    expected = published.get(name, '')
    folder, digest = unpacked(path, expected.partition(':')[0])
    if not expected:
        return folder, []
    if digest == expected:
        return folder, [f'{name} is the published archive ({digest})']
    return folder, [
        f'{name} is not the published archive: it has {digest}, expected {expected}; figures '
        'on it need not compare with published ones'
    ]


def unpacked(path: str, algorithm: str = '') -> tuple[str, str]:
    """Unpacks an archive into `<path>.unpacked`, unless that was done before.

    Names that lead out of the folder, links to what is not in the archive, devices and pipes are
    refused. A link to a file in the archive becomes a copy of that file. Modes, owners and dates are
    not taken over. Returns the folder, and 'algorithm:digest' of the whole archive by 'md5', 'sha1' or
    'sha256', '' for none. A UserError where that cannot be.
    """
    folder = pathlib.Path(f'{path}.unpacked')
    status = os.stat(path)
    origin = {'size_bytes': status.st_size, 'changed_ns': status.st_mtime_ns}
    # Without the lock first: what was unpacked once may lie where nothing can be written.
    digests = _known_digests(folder, origin, algorithm)
    if digests is None:
        advice = 'unpack the archive elsewhere and name that folder as root, or move the archive'
        lock = pathlib.Path(f'{folder}.lock')
        with storage.only_one(lock, f'{folder} cannot be written', advice):
            digests = _known_digests(folder, origin, algorithm)
            if digests is None:
                digests = _unpack(path, folder, origin, algorithm)
    return str(folder), digests.get(algorithm, '')


def _known_digests(folder: pathlib.Path, origin: dict, algorithm: str) -> dict[str, str] | None:
    """Returns what is noted of the archive, None if it is not that one, unpacked, with this digest."""
    if not folder.exists():
        return None
    try:
        note = json.loads((folder / _NOTE).read_bytes())
    except (OSError, ValueError):
        raise UserError(
            f'{folder} exists, but was not made by unpacking: name that folder itself as root, or '
            'move it away'
        ) from None
    same = all(note.get(key) == value for key, value in origin.items())
    return note['digests'] if same and (not algorithm or algorithm in note['digests']) else None


def _unpack(path: str, folder: pathlib.Path, origin: dict, algorithm: str) -> dict[str, str]:
    """Replaces the folder by what the archive holds now; returns the digests."""
    partial = pathlib.Path(f'{folder}.partial')
    digests = {algorithm: f'{algorithm}:{_digest(path, algorithm)}'} if algorithm else {}
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a call that was killed
        partial.mkdir()
        _extract(path, partial)
        (partial / _NOTE).write_text(json.dumps({**origin, 'digests': digests}, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except OSError as error:
        raise UserError(
            f'{path} cannot be unpacked into {folder}: {error.strerror}'
            f'{f" ({error.filename})" if error.filename else ""}'
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return digests


def _digest(path: str, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, 'rb') as file, _bar('checking', path) as bar:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def _bar(what: str, path: str) -> tqdm.tqdm:
    return tqdm.tqdm(
        desc=f'{what} {os.path.basename(path)}', total=os.path.getsize(path),
        unit='B', unit_scale=True, leave=False, disable=None,
    )  # fmt: skip


def _extract(path: str, folder: pathlib.Path) -> None:
    """Writes all members below a new folder; leaves half a folder behind where it fails."""
    kind, members = 'tar', _tar_members
    if path.lower().endswith('.zip'):
        kind, members = 'ZIP', _zip_members
    with open(path, 'rb') as file, _bar('unpacking', path) as bar:
        try:
            for name, content, position in members(path, file):
                target = folder / _safe_name(path, name)
                if content is None:
                    target.mkdir(parents=True, exist_ok=True)
                else:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with content() as source, open(target, 'wb') as copy:
                        shutil.copyfileobj(source, copy, _BLOCK_BYTES)
                bar.update(position - bar.n)
        except (
            OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError
        ) as error:  # fmt: skip
            # gzip and bz2 call bad data an OSError too, but without a number.
            if getattr(error, 'errno', None) is not None:
                raise
            detail = str(error).split('\n')[0].rstrip(':') or type(error).__name__
            raise UserError(
                f'{path} is cut off, damaged, or no {kind} archive ({detail}): download it again'
            ) from error
        except (NotImplementedError, RuntimeError) as error:  # zipfile's, of compression and encryption
            raise UserError(
                f'{path} cannot be unpacked here ({error}): unpack it with another program and name '
                'the folder as root'
            ) from error


def _safe_name(path: str, name: str) -> pathlib.PurePosixPath:
    """Returns a member's path below the folder; refuses one that would lie outside."""
    plain = pathlib.PurePosixPath(name.replace('\\', '/'))  # as some programs for Windows write it
    drive = len(name) > 1 and name[1] == ':'
    if plain.is_absolute() or drive or '..' in plain.parts:
        raise _refusal(path, name, 'would lie outside of the folder')
    return plain


def _tar_members(path: str, file: IO[bytes]) -> Iterator[tuple[str, _Opener | None, int]]:
    """Yields name, what opens the content (None: a folder), and the bytes read so far."""
    with tarfile.open(fileobj=file, mode='r:*') as archive:
        for info in archive:
            if info.isdir():
                yield info.name, None, file.tell()
            elif info.isfile() or info.issym() or info.islnk():
                yield info.name, functools.partial(_tar_content, path, archive, info), file.tell()
            else:
                raise _refusal(path, info.name, 'is a device or a pipe, not a file')
        # tarfile takes a damaged header, or none, for the end; and stops before gzip's checksum.
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(_TAR_BLOCK_BYTES) != bytes(_TAR_BLOCK_BYTES):
            raise EOFError('its end is missing')
        while archive.fileobj.read(_BLOCK_BYTES):
            pass


def _tar_content(path: str, archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    if info.isfile():
        return archive.extractfile(info)
    with contextlib.suppress(KeyError, RecursionError):  # absent; a link to itself
        if content := archive.extractfile(info):
            return content
    raise _bad_link(path, info.name, info.linkname)


def _zip_members(path: str, file: IO[bytes]) -> Iterator[tuple[str, _Opener | None, int]]:
    """Yields name, what opens the content (None: a folder), and the bytes read so far."""
    done = 0
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            done += info.compress_size
            if info.is_dir() or info.filename.endswith('\\'):
                yield info.filename, None, done
            elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                yield info.filename, functools.partial(archive.open, info), done
            elif stat.S_ISLNK(mode):
                yield info.filename, functools.partial(_zip_link, path, archive, info), done
            else:
                raise _refusal(path, info.filename, 'is a device or a pipe, not a file')


def _zip_link(path: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    to = archive.read(info).decode(errors='replace')
    target = os.path.normpath(os.path.join(os.path.dirname(info.filename), to))
    with contextlib.suppress(KeyError):
        named = archive.getinfo(target)
        if not stat.S_ISLNK(named.external_attr >> 16):
            return archive.open(named)
    raise _bad_link(path, info.filename, to)


def _bad_link(path: str, name: str, to: str) -> UserError:
    return _refusal(path, name, f'is a link to {to!r}, which is no file of the archive')


def _refusal(path: str, name: str, why: str) -> UserError:
    return UserError(f'{path} is refused: its member {name!r} {why}')
