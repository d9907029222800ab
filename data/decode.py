"""Decodes the recordings of a dataset in parallel, so that a call cut off half way can go on."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import io
import multiprocessing
import multiprocessing.resource_tracker
import os
import pathlib
import signal
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm
from absl import logging

from data import duplicates, fingerprint
from data.recordings import Quarantined, Recording, Source
from genre_jax.errors import BadAudio, UserError


def _clip_file(folder: pathlib.Path, recording: Recording) -> pathlib.Path:
    return folder / f'{hashlib.sha256(recording.track.encode()).hexdigest()[:24]}.npy'


def _end_with_parent() -> None:
    """Ends this worker when the program is killed: it would wait for the next job for ever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _decode_one(source: Source, recording: Recording, file: pathlib.Path) -> str:
    """Decodes one recording into `file` (atomically); returns '' or why it is unusable.

    What tells copies of it lies beside it: sha256 and, of audio, its fingerprint.
    """
    if file.exists():
        return ''
    try:
        stored = source.load(recording)
    except BadAudio as error:
        return str(error)
    if source.kind == 'audio':
        marks = fingerprint.fingerprint(stored, source.sample_rate_hz())
    else:
        marks = fingerprint.NOTHING
    known = duplicates.Prints([recording.track], [duplicates.digest(stored)], [marks])
    content = io.BytesIO()  # numpy hides why it could not write to a file
    known.save(content)
    _print_file(file).write_bytes(content.getbuffer())
    content = io.BytesIO()
    np.save(content, stored)
    temporary = file.with_suffix('.tmp')
    temporary.write_bytes(content.getbuffer())
    temporary.rename(file)  # last: where it is, the other file is whole
    return ''


def _print_file(file: pathlib.Path) -> pathlib.Path:
    return file.with_suffix('.npz')


def read_prints(clips: Sequence[tuple[Recording, pathlib.Path]]) -> duplicates.Prints:
    """Collects what tells copies of recordings.

    Args:
        clips: what `decode_all` returned.
    """
    parts = [duplicates.Prints.load(_print_file(file)) for _, file in clips]
    return duplicates.Prints(
        [part.tracks[0] for part in parts],
        [part.digests[0] for part in parts],
        [part.prints[0] for part in parts],
    )


@contextlib.contextmanager
def _ctrl_c_noted() -> Iterator[list[int]]:
    """Collects Ctrl-C in a list: raised while the pool holds a lock, it would leave it locked for ever."""
    came: list[int] = []
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


def decode_all(
    source: Source, recordings: list[Recording], folder: pathlib.Path
) -> tuple[list[tuple[Recording, pathlib.Path]], list[Quarantined]]:
    """Decodes all recordings with one process per core; what an earlier call decoded is kept.

    Args:
        source: what decodes them.
        recordings: of that source.
        folder: where the decoded audio goes, one npy file a recording.

    Returns:
        The usable recordings with their files, and the others with the reasons.

    Raises:
        UserError: none can be used, or a process was killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if source.kind == 'table':  # it is in memory: nothing to decode
        files = [(recording, _clip_file(folder, recording)) for recording in recordings]
        for recording, file in files:
            _decode_one(source, recording, file)
        return files, []
    source.sample_rate_hz()  # found once here, then pickled with the source
    reasons: dict[str, str] = {}
    # spawn: a forked child of a process that runs XLA's threads can deadlock.
    pool = concurrent.futures.ProcessPoolExecutor(
        len(os.sched_getaffinity(0)),
        mp_context=multiprocessing.get_context('spawn'),
        initializer=_end_with_parent,
    )
    with _ctrl_c_noted() as interrupts, pool:
        with _ctrl_c_blocked():
            jobs = {
                pool.submit(
                    _decode_one, source, recording, _clip_file(folder, recording)
                ): recording
                for recording in recordings
            }
        finished = concurrent.futures.as_completed(jobs)
        try:
            for job in tqdm.tqdm(
                finished, f'preparing {source.name}', len(jobs), unit=' recordings'
            ):
                if reason := job.result():
                    reasons[jobs[job].track] = reason
                if interrupts:
                    raise KeyboardInterrupt
        except concurrent.futures.process.BrokenProcessPool:
            raise UserError(
                f'a process that decoded {source.name} was killed (out of memory?): run the same '
                'command again, what is already decoded is kept'
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if interrupts:
        raise KeyboardInterrupt
    usable = [(r, _clip_file(folder, r)) for r in recordings if r.track not in reasons]
    unusable = [
        Quarantined(r.path or r.track, reasons[r.track]) for r in recordings if r.track in reasons
    ]
    for item in unusable:
        logging.warning('quarantined %s: %s', item.path, item.reason)
    if not usable:
        raise UserError(
            f'none of the {len(recordings)} recordings of {source.name} can be used; the first: '
            f'{unusable[0].path}: {unusable[0].reason}'
            if unusable
            else f'{source.name} holds no recordings'
        )
    return usable, unusable
