"""Ending a training when the system asks for it, after a dispatch that all processes agree on."""

from __future__ import annotations

import itertools
import signal
import threading

import jax
from jax.experimental import multihost_utils


class StopSignal:
    """Remembers that SIGTERM or SIGINT came, so that the loop can save before it ends.

    Used as a context manager. With several processes the signal may reach them at different times; then
    JAX's preemption service agrees on one dispatch for all: the one after the last that any had begun.
    """

    def __init__(self) -> None:
        """Begins without a signal."""
        self._received: int | None = None
        # The service asks for numbers without a gap: steps leave some out where a dispatch has several.
        self._dispatches = itertools.count()

    def __enter__(self) -> StopSignal:
        self._old = {}
        # Handlers belong to the main thread: a training in another one is not stopped by signals.
        in_main = threading.current_thread() is threading.main_thread()
        if jax.process_count() == 1 and in_main:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: object) -> None:
        self._received = number

    def after_dispatch(self) -> int | None:
        """Returns the signal to obey now, or None; to be called after every dispatch, by every process."""
        dispatch = next(self._dispatches)
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(dispatch):
            return signal.SIGTERM
        return self._received
