"""Decodes the recordings of a dataset in parallel, so that a call cut off half way can go on."""

import concurrent.futures
import contextlib
import functools
import io
import multiprocessing
import multiprocessing.resource_tracker
import os
import pathlib
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping

import joblib
import numpy as np
import tqdm

from genre_jax.data import duplicates, fingerprint
from genre_jax.data.pipeline import Pipeline
from genre_jax.data.recordings import Recording, Source
from genre_jax.data.storage import Path
from genre_jax.errors import BadAudio, UserError, machine_fault


def _end_with_parent() -> None:
    """Ends this worker when the program is killed: it would wait for the next job for ever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _decode_one(source: Source, clip: tuple[Recording, Path]) -> str:
    """Decodes a recording into its file (atomically), named by its content; returns '' or why it is unusable.

    What tells copies of it lies beside it: sha256 and, of audio, its fingerprint.
    """
    recording, file = clip
    if file.exists():
        return ''
    try:
        stored = source.load(recording)
    except BadAudio as error:
        if machine_fault(error):  # of pictures and tracks of pitch
            raise
        return str(error)
    if source.kind == 'audio':
        marks = fingerprint.fingerprint(stored, source.sample_rate_hz())
    else:
        marks = fingerprint.NOTHING
    known = duplicates.Prints([file.stem], [duplicates.digest(stored)], [marks])
    write(file.with_suffix('.npz'), known.save)
    write(file, lambda content: np.save(content, stored))  # last: where it is, the other is whole
    return ''


def write(file: Path, save: Callable[[io.BytesIO], None]) -> None:
    """Writes a file atomically: a pipeline may give one recording to two workers."""
    content = io.BytesIO()  # numpy hides why it could not write to a file
    save(content)
    temporary = file.with_suffix(f'.{uuid.uuid4().hex}.tmp')
    temporary.write_bytes(content.getbuffer())
    temporary.replace(file)


def read_prints(files: Iterable[Path]) -> duplicates.Prints:
    """Collects what tells copies of contents, by the files that `decode_all` returned."""
    contents = read_all(file.with_suffix('.npz') for file in files)
    prints = [duplicates.Prints.load(io.BytesIO(content)) for content in contents]
    return duplicates.Prints.of(row for each in prints for row in zip(*each, strict=True))


@contextlib.contextmanager
def _ctrl_c_noted() -> Iterator[list[int]]:
    """Collects Ctrl-C in a list: raised while the pool holds a lock, it would leave it locked for ever."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # which alone may have handlers
        yield came
        return
    old = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, old)


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Processes that start in here never get Ctrl-C, which reaches them too: their parent ends them."""
    # It unblocks the signal when it starts, so it must be running already.
    multiprocessing.resource_tracker.ensure_running()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def read_all(files: Iterable[Path], size: int = -1) -> Iterator[bytes]:
    """Yields what is in files, which threads read ahead: it is waiting for storage that takes the time.

    Only reading is theirs: NumPy parses headers with `ast`, which fails in threads now and then (CPython's
    issue 106905, seen with Python 3.11.7). `size`: bytes from the beginning of each, -1 for all.
    """

    def read(file: Path) -> bytes:
        with file.open('rb') as stream:
            return stream.read(size)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        yield from pool.map(read, files)


def decode_all(
    source: Source, contents: Mapping[str, Recording], folder: Path, pipeline: Pipeline | None
) -> tuple[dict[str, Path], dict[str, str]]:
    """Decodes what is not decoded yet into npy files: those that are usable, and why others are not."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {content: folder / f'{content}.npy' for content in contents}
    clips = list(zip(contents.values(), files.values(), strict=True))
    decode_one = functools.partial(_decode_one, source)
    if source.kind == 'table':  # it is in memory: nothing to decode
        reasons = list(map(decode_one, clips))
    elif pipeline:
        reasons = pipeline.map(decode_one, clips, folder, 'decode')
    else:
        reasons = _decode_here(source, clips)
    found = dict(zip(contents, reasons, strict=True))
    usable = {content: file for content, file in files.items() if not found[content]}
    return usable, {content: reason for content, reason in found.items() if reason}


def _script_without_guard() -> str:
    """Returns the script that runs, if processes which it starts would run it again."""
    script = getattr(sys.modules['__main__'], '__file__', None)
    if script is None or sys.modules['__main__'].__spec__ is not None:  # python -m: never run again
        return ''
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return '' if '__main__' in pathlib.Path(script).read_text() else script
    return ''


def _decode_here(source: Source, clips: list[tuple[Recording, Path]]) -> list[str]:
    """Decodes with one process per core; returns '' or the reason for each."""
    # spawn: a forked child of a process that runs XLA's threads can deadlock.
    pool = concurrent.futures.ProcessPoolExecutor(
        joblib.cpu_count(), mp_context=multiprocessing.get_context('spawn'), initializer=_end_with_parent
    )
    with _ctrl_c_noted() as interrupts, pool:
        with _ctrl_c_blocked():
            jobs = [pool.submit(_decode_one, source, clip) for clip in clips]
        finished = concurrent.futures.as_completed(jobs)
        try:
            for job in tqdm.tqdm(finished, f'preparing {source.name}', len(jobs), unit=' recordings'):
                job.result()
                if interrupts:
                    raise KeyboardInterrupt
        except concurrent.futures.process.BrokenProcessPool:
            if script := _script_without_guard():
                raise UserError(
                    f'{script}: each process that decodes runs this file from the top: put what it does '
                    "under if __name__ == '__main__':"
                ) from None
            raise MemoryError(f'a process that decoded {source.name} was killed') from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if interrupts:
        raise KeyboardInterrupt
    return [job.result() for job in jobs]
