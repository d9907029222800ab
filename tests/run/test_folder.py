"""The run folder where the machine is not what the tests' own is."""

import errno
import fcntl
import signal
import threading

from genre_jax.convert import fetch
from genre_jax.data import storage
from genre_jax.run import folder
from genre_jax.training.stop_signal import StopSignal


def test_a_file_system_without_locks_is_used_with_a_note(tmp_path, monkeypatch, caplog):
    """By the run, by preparations, by what is downloaded."""

    def no_locks(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', no_locks)
    with folder.own(tmp_path / 'run'):
        assert (tmp_path / 'run').is_dir()
    with storage.only_one(tmp_path / 'prepared' / 'x.lock', 'refused', 'advice'):
        assert (tmp_path / 'prepared').is_dir()
    with fetch.alone(tmp_path / 'cache'):
        assert (tmp_path / 'cache').is_dir()
    said = 'No locks available: see to it that no other program writes there'
    assert caplog.text.count(said) == 3


def test_a_training_in_a_thread_leaves_signals_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def train():
        with StopSignal() as stop:
            seen.extend([signal.getsignal(signal.SIGTERM), stop.after_dispatch()])

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [before, None]
