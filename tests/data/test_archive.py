"""Archives: unpacked whole or not at all, nothing outside their folder, every fault one line."""

import hashlib
import io
import json
import os
import pathlib
import stat
import tarfile
import threading
import warnings
import zipfile

import pytest

from genre_jax.data import archive
from genre_jax.errors import UserError

CONTENT = {'a/1.txt': b'one' * 50_000, 'a/b/2.txt': os.urandom(200_000), 'ä/empty.txt': b''}
TAR_MODES = {'.tar': '', '.tar.gz': 'gz', '.tgz': 'gz', '.tar.bz2': 'bz2', '.tar.xz': 'xz'}


def write_zip(path: pathlib.Path, content: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, 'w', method) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return str(path)


def write_tar(path: pathlib.Path, content: dict[str, bytes | tarfile.TarInfo]) -> str:
    suffix = next(suffix for suffix in TAR_MODES if path.name.endswith(suffix))
    with tarfile.open(path, f'w:{TAR_MODES[suffix]}') as file:
        for name, data in content.items():
            if isinstance(data, tarfile.TarInfo):
                data.name = name
                file.addfile(data)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return str(path)


def special(kind: bytes, linkname: str = '') -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, linkname
    return info


def link_in_zip(file: zipfile.ZipFile, name: str, to: str) -> None:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    file.writestr(info, to)


def held(folder: str) -> dict[str, bytes]:
    files = [path for path in pathlib.Path(folder).rglob('*') if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name != '.unpacked_from.json'
    }


def refusal(path: str) -> str:
    """Returns the message, having made sure that nothing stays that could be taken for whole."""
    before = set(pathlib.Path(path).parent.parent.rglob('*'))
    with pytest.raises(UserError) as caught:
        archive.unpacked(path)
    message = str(caught.value)
    assert '\n' not in message and path in message
    left = set(pathlib.Path(path).parent.parent.rglob('*')) - before
    assert {item.name for item in left} <= {f'{os.path.basename(path)}.unpacked.lock'}
    return message


@pytest.mark.parametrize('suffix', ['.zip', *TAR_MODES])
def test_every_kind_is_unpacked_once(tmp_path, suffix):
    write = write_zip if suffix == '.zip' else write_tar
    path = write(tmp_path / f'set{suffix}', CONTENT)
    folder, digest = archive.unpacked(path)
    assert (folder, digest) == (f'{path}.unpacked', '')
    assert held(folder) == CONTENT
    changed = os.stat(f'{folder}/a/1.txt').st_mtime_ns
    assert archive.unpacked(path) == (folder, '')
    assert os.stat(f'{folder}/a/1.txt').st_mtime_ns == changed
    assert not os.path.exists(f'{folder}.partial')


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_methods(tmp_path, method):
    assert held(archive.unpacked(write_zip(tmp_path / 'x.zip', CONTENT, method))[0]) == CONTENT


def test_names_in_any_case_and_with_backslashes(tmp_path):
    path = write_zip(tmp_path / 'X.ZIP', {'Data\\blues\\1.txt': b'1', 'Data\\jazz\\': b''})
    folder, _ = archive.unpacked(path)
    assert held(folder) == {'Data/blues/1.txt': b'1'}
    assert os.path.isdir(f'{folder}/Data/jazz')


def test_another_archive_of_that_name_is_unpacked_anew(tmp_path):
    path = write_zip(tmp_path / 'x.zip', {'old.txt': b'old'})
    archive.unpacked(path)
    os.remove(path)
    write_zip(tmp_path / 'x.zip', {'new.txt': b'new!'})
    assert held(archive.unpacked(path)[0]) == {'new.txt': b'new!'}


def test_what_a_killed_call_left_is_cleared_away(tmp_path):
    path = write_zip(tmp_path / 'x.zip', CONTENT)
    (tmp_path / 'x.zip.unpacked.partial').mkdir()
    (tmp_path / 'x.zip.unpacked.partial' / 'half.txt').write_text('half')
    assert held(archive.unpacked(path)[0]) == CONTENT


def test_a_folder_of_that_name_which_is_not_ours_is_kept(tmp_path):
    path = write_zip(tmp_path / 'x.zip', CONTENT)
    (tmp_path / 'x.zip.unpacked').mkdir()
    (tmp_path / 'x.zip.unpacked' / 'mine.txt').write_text('mine')
    with pytest.raises(UserError, match='not made by unpacking'):
        archive.unpacked(path)
    assert held(f'{path}.unpacked') == {'mine.txt': b'mine'}


def test_two_at_a_time(tmp_path):
    path = write_tar(tmp_path / 'x.tar.xz', CONTENT)
    results = []
    threads = [threading.Thread(target=lambda: results.append(archive.unpacked(path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(f'{path}.unpacked', '')] * 4 and held(f'{path}.unpacked') == CONTENT


def test_a_place_that_cannot_be_written(tmp_path):
    path = write_zip(tmp_path / 'x.zip', CONTENT)
    (tmp_path / 'x.zip.unpacked.lock').mkdir()  # permissions do not stop root
    with pytest.raises(UserError, match=r'x\.zip\.unpacked cannot be written .*elsewhere'):
        archive.unpacked(path)


@pytest.mark.parametrize('suffix', ['.zip', *TAR_MODES])
@pytest.mark.parametrize('share', [0, 0.3, 0.9, 0.999])
def test_cut_downloads(tmp_path, suffix, share):
    write = write_zip if suffix == '.zip' else write_tar
    (tmp_path / 'sub').mkdir()
    path = write(tmp_path / 'sub' / f'set{suffix}', CONTENT)
    whole = pathlib.Path(path).read_bytes()
    end = len(whole)
    if suffix == '.tar':  # the padding behind the last member is no loss
        with tarfile.open(path) as file:
            file.getmembers()
            end = file.offset
    pathlib.Path(path).write_bytes(whole[: int(share * end)])
    assert 'cut off, damaged' in refusal(path)


def test_a_tar_that_ends_between_two_members(tmp_path):
    (tmp_path / 'sub').mkdir()
    path = write_tar(tmp_path / 'sub' / 'x.tar', {'1.txt': b'1' * 512, '2.txt': b'2' * 512})
    pathlib.Path(path).write_bytes(pathlib.Path(path).read_bytes()[:1024])
    with tarfile.open(path) as file:  # which tarfile itself takes for whole
        assert file.getnames() == ['1.txt']
    assert 'its end is missing' in refusal(path)


@pytest.mark.parametrize('suffix', ['.zip', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz'])
@pytest.mark.parametrize('share', [0.4, 0.5, 0.6])
def test_one_flipped_bit_is_found(tmp_path, suffix, share):
    write = write_zip if suffix == '.zip' else write_tar
    (tmp_path / 'sub').mkdir()
    path = write(tmp_path / 'sub' / f'set{suffix}', {'a/2.txt': CONTENT['a/b/2.txt']})
    raw = bytearray(pathlib.Path(path).read_bytes())
    raw[int(share * len(raw))] ^= 4
    pathlib.Path(path).write_bytes(raw)
    assert 'cut off, damaged' in refusal(path)


@pytest.mark.parametrize('name', ['x.zip', 'x.tar', 'x.tar.gz', 'x.txz'])
def test_a_web_page_instead_of_the_archive(tmp_path, name):
    (tmp_path / 'sub').mkdir()
    path = tmp_path / 'sub' / name
    path.write_text('<html>404 Not Found</html>' * 100)
    message = refusal(str(path))
    assert 'download it again' in message and len(message) < 300


@pytest.mark.parametrize('name', ['../out.txt', '/tmp/out.txt', 'a/../../out.txt', '..\\out.txt'])
def test_names_that_lead_out(tmp_path, name):
    (tmp_path / 'sub').mkdir()
    for path in (
        write_zip(tmp_path / 'sub' / 'x.zip', {'ok.txt': b'1', name: b'2'}),
        write_tar(tmp_path / 'sub' / 'x.tar.gz', {'ok.txt': b'1', name: b'2'}),
    ):
        message = refusal(path)
        assert repr(name) in message and 'outside' in message


def test_a_drive_letter(tmp_path):
    (tmp_path / 'sub').mkdir()
    assert 'outside' in refusal(write_zip(tmp_path / 'sub' / 'x.zip', {'C:\\out.txt': b'1'}))


@pytest.mark.parametrize('to', ['/etc/passwd', '../../secret.txt', 'nothing.txt', 'folder', 'link'])
@pytest.mark.parametrize('kind', [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_out_of_a_tar(tmp_path, to, kind):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'secret.txt').write_text('secret')
    path = write_tar(
        tmp_path / 'sub' / 'x.tar',
        {'folder': special(tarfile.DIRTYPE), 'link': special(kind, to)},
    )
    assert "'link' is a link to" in refusal(path)


def test_a_file_behind_a_linked_folder(tmp_path):
    (tmp_path / 'sub').mkdir()
    path = write_tar(tmp_path / 'sub' / 'x.tar', {'a': special(tarfile.SYMTYPE, '..'), 'a/out.txt': b'1'})
    assert "'a' is a link to '..'" in refusal(path)


@pytest.mark.parametrize('to', ['/etc/passwd', '../secret.txt', 'nothing.txt', 'a/link'])
def test_links_out_of_a_zip(tmp_path, to):
    (tmp_path / 'sub').mkdir()
    with zipfile.ZipFile(tmp_path / 'sub' / 'x.zip', 'w') as file:
        link_in_zip(file, 'a/link', to)
    assert "'a/link' is a link to" in refusal(str(tmp_path / 'sub' / 'x.zip'))


def test_links_inside_become_copies(tmp_path):
    path = write_tar(
        tmp_path / 'x.tar.gz',
        {
            'a/1.txt': b'1',
            'soft.txt': special(tarfile.SYMTYPE, 'a/1.txt'),
            'b/up.txt': special(tarfile.SYMTYPE, '../a/1.txt'),
            'hard.txt': special(tarfile.LNKTYPE, 'a/1.txt'),
        },
    )
    expected = dict.fromkeys(['a/1.txt', 'soft.txt', 'b/up.txt', 'hard.txt'], b'1')
    folder, _ = archive.unpacked(path)
    assert held(folder) == expected
    with zipfile.ZipFile(tmp_path / 'x.zip', 'w') as file:
        file.writestr('a/1.txt', b'1')
        link_in_zip(file, 'b/up.txt', '../a/1.txt')
    zipped, _ = archive.unpacked(str(tmp_path / 'x.zip'))
    assert held(zipped) == {'a/1.txt': b'1', 'b/up.txt': b'1'}
    assert not any(path.is_symlink() for path in tmp_path.rglob('*'))


@pytest.mark.parametrize('kind', [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices(tmp_path, kind):
    (tmp_path / 'sub').mkdir()
    message = refusal(write_tar(tmp_path / 'sub' / 'x.tar', {'dev/zero': special(kind)}))
    assert "'dev/zero' is a device or a pipe" in message


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / 'sub').mkdir()
    assert 'cannot be unpacked' in refusal(write_zip(tmp_path / 'sub' / 'x.zip', {'a': b'1', 'a/b': b'2'}))


def test_programs_and_owners_are_not_taken_over(tmp_path):
    info = tarfile.TarInfo('run.sh')
    info.mode, info.uid, info.size = 0o4777, 12345, 0
    folder, _ = archive.unpacked(write_tar(tmp_path / 'x.tar', {'run.sh': info}))
    status = os.stat(f'{folder}/run.sh')
    assert not status.st_mode & 0o7111 and status.st_uid == os.getuid()


def test_an_encrypted_zip(tmp_path):
    (tmp_path / 'sub').mkdir()
    path = write_zip(tmp_path / 'sub' / 'x.zip', {'1.txt': b'12345'}, zipfile.ZIP_STORED)
    raw = bytearray(pathlib.Path(path).read_bytes())
    raw[6] |= 1  # the flag of encryption, in the member's header and in the directory
    raw[raw.index(b'PK\x01\x02') + 8] |= 1
    pathlib.Path(path).write_bytes(raw)
    message = refusal(path)
    assert 'encrypted' in message and 'another program' in message


# What a dataset calls


def test_root_that_is_none(tmp_path):
    (tmp_path / 'list.csv').write_text('x')
    for root, part in (
        ('', 'not set'),
        (str(tmp_path / 'nowhere.zip'), 'does not exist'),
        (str(tmp_path / 'list.csv'), 'neither a folder nor an archive'),
    ):
        with pytest.raises(UserError, match=part) as caught:
            archive.find_folder(root, 'some music', {})
        assert 'some music' in str(caught.value)
    assert archive.find_folder(str(tmp_path), '', {}) == (str(tmp_path), [])


def test_published_archives_are_recognised(tmp_path, monkeypatch):
    path = write_zip(tmp_path / 'set.zip', CONTENT)
    for algorithm in ('md5', 'sha1', 'sha256'):
        digest = hashlib.new(algorithm, pathlib.Path(path).read_bytes()).hexdigest()
        folder, notes = archive.find_folder(path, '', {'set.zip': f'{algorithm}:{digest}'})
        assert notes == [f'set.zip is the published archive ({algorithm}:{digest})']
        assert held(folder) == CONTENT
        note = json.loads((pathlib.Path(folder) / '.unpacked_from.json').read_text())
        assert note['digests'] == {algorithm: f'{algorithm}:{digest}'}
    monkeypatch.setattr(archive, '_digest', lambda *_: pytest.fail('computed a second time'))
    _, notes = archive.find_folder(path, '', {'set.zip': f'sha256:{"0" * 64}'})
    assert len(notes) == 1 and f'sha256:{digest}' in notes[0] and '0' * 64 in notes[0]
    assert 'not the published' in notes[0]
    assert archive.find_folder(path, '', {'other.zip': 'md5:x'})[1] == []


def test_nothing_is_warned_about(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        archive.unpacked(write_tar(tmp_path / 'x.tar.gz', CONTENT))
        archive.unpacked(write_zip(tmp_path / 'x.zip', CONTENT))
