"""What a machine or a network does: one line, exit code 75, and nothing is taken for a bad file."""

import builtins
import errno
import os
import pathlib
import sys

import numpy as np
import pytest
import soundfile

from genre_jax.data import audio, digests
from genre_jax.errors import BadAudio, UserError, machine_fault
from tests import program

# Linux gives a real error of input and output to whoever reads here.
BAD_SECTOR = pathlib.Path('/proc/self/mem')


def raised(*errors):
    """Each of the exceptions raised while the one before was handled; returns the last."""
    caught = None
    for error in errors:
        try:
            try:
                if caught is not None:
                    raise caught
            except Exception:
                raise error from None
            raise error
        except Exception as new:
            caught = new
    return caught


@pytest.mark.parametrize(
    ('errors', 'line'),
    [
        ([OSError(errno.EIO, os.strerror(errno.EIO), 'a/b')], 'a/b: Input/output error'),
        ([OSError(errno.ESTALE, os.strerror(errno.ESTALE)), UserError('delete it')], 'Stale file'),
        ([ValueError('tensorstore: OS error 5 Input/output error [x]')], 'Input/output error'),
        ([ConnectionResetError(errno.ECONNRESET, 'Connection reset by peer')], 'reset by peer'),
        ([RuntimeError('UNAVAILABLE: Connection to the coordinator is lost')], 'UNAVAILABLE'),
        (
            [MemoryError('a worker'), KeyError('x'), UserError('lower it')],
            'out of memory: a worker',
        ),
        ([OSError(errno.ENOENT, os.strerror(errno.ENOENT), 'a')], ''),
        ([PermissionError(errno.EACCES, os.strerror(errno.EACCES), 'a'), UserError('chmod')], ''),
        ([OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'a')], ''),
        ([ValueError('RESOURCE_EXHAUSTED: 3 GB')], ''),
        ([MemoryError('Unable to allocate 321. GiB for an array')], ''),
    ],
)
def test_what_is_the_machines(errors, line):
    found = machine_fault(raised(*errors))
    assert line in found and bool(line) == bool(found)


def failing_open(fails):
    def opened(file, *arguments, **keywords):
        if fails(str(file)):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        return builtins.open(file, *arguments, **keywords)

    return opened


def test_a_recording_is_not_bad_because_its_medium_is(tmp_path, monkeypatch):
    file = tmp_path / 'a.flac'
    soundfile.write(file, np.sin(np.arange(40_000) / 9), 16_000)
    file.write_bytes(file.read_bytes()[:9000])
    with pytest.raises(BadAudio):
        audio.decode(file, 16_000)
    # The decoder meets the same end of the file, but because of the medium: its second reading says so.
    monkeypatch.setattr(audio, 'open', failing_open(lambda name: True), raising=False)
    with pytest.raises(OSError, match='Input/output error'):
        audio.decode(file, 16_000)


def test_a_file_that_the_medium_does_not_give_has_no_digest(tmp_path, monkeypatch):
    (tmp_path / 'a').write_bytes(b'x')
    monkeypatch.setattr(digests, 'open', failing_open(lambda name: True), raising=False)
    with pytest.raises(OSError, match='Input/output error'):
        digests.Digests().of(str(tmp_path), ['a'])


@pytest.mark.parametrize(
    ('does', 'code', 'says'),
    [
        (f'open("{BAD_SECTOR}", "rb").read(1)', 75, 'error: [Errno 5] Input/output error; what was'),
        ('open("/nowhere").read()', 2, 'error: /nowhere: No such file or directory; what was'),
        ('[][1]', 1, 'IndexError: list index out of range'),
    ],
)
def test_the_exit_code_tells_whose_fault_it_is(does, code, says):
    program_text = f'from genre_jax import program; program.run(lambda argv: {does}, config=False)'
    ended = program.run([sys.executable, '-c', program_text])
    assert ended.returncode == code, ended.stderr
    assert says in ended.stderr and (code == 1) == ('Traceback' in ended.stderr)


@pytest.mark.slow
@pytest.mark.skipif(not BAD_SECTOR.exists(), reason='needs a file whose reading fails')
def test_a_run_says_so_and_may_be_started_again(tmp_path):
    root, prepared, workdir = (
        program.write_tones(tmp_path / 'tones'),
        tmp_path / 'p',
        tmp_path / 'w',
    )
    words = program.command(workdir, root, prepared)
    page, flags = words.index('-m'), [f'--root={root}', f'--prepared_dir={prepared}']
    made = program.run([*words[:page], '-m', 'genre_jax.data.prepare', 'folder', *flags])
    assert made.returncode == 0, made.stderr
    (manifest,) = prepared.glob('folder/*/manifest.json')
    manifest.unlink()
    manifest.symlink_to(BAD_SECTOR)
    ended = program.run(words)
    assert ended.returncode == 75, ended.stderr
    (line,) = [each for each in ended.stderr.splitlines() if each.startswith('error: ')]
    assert 'Input/output error' in line and 'the same command continues' in line
    assert 'delete' not in ended.stderr and 'Traceback' not in ended.stderr
    assert 'Traceback' in (workdir / 'error.txt').read_text()
