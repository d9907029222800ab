"""What the user is told in lines: the exceptions that become one, without a traceback."""

import errno
import os
import signal

# The exit code of a machine's fault (sysexits.h: a failure that may pass); every launcher starts again.
MACHINE_FAULT = 75
# What a machine or a network does, in the words of the system and of jax: the same command may work again.
_FAULTS = (
    *(
        os.strerror(getattr(errno, name))
        for name in 'EIO ESTALE ECONNRESET ECONNABORTED ENETRESET ENETDOWN EHOSTDOWN ENOTCONN ETIMEDOUT '
        'EREMOTEIO ENOMEM'.split()
        if hasattr(errno, name)
    ),
    'UNAVAILABLE: ',
    'DEADLINE_EXCEEDED: ',
    'heartbeat timeout',
)


def printable(text: str) -> str:
    r"""Returns a text of one line without what moves a terminal's cursor: '\n', '\x1b' are written out."""
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def say(*lines: str) -> None:
    """Prints lines to stdout at once, each `printable`: the names of files and classes may hold anything."""
    print('\n'.join(map(printable, lines)), flush=True)


def machine_fault(error: BaseException | None) -> str:
    """Returns what a machine or a network did that is behind an error, in one line; '' where nothing is.

    By the words, of the error and of what it was raised from: libraries have exceptions of their own for it.
    """
    found = ''
    while error is not None:
        text = ' '.join(str(error).split())
        # More than any machine has is asked for by a config.
        if isinstance(error, MemoryError) and 'Unable to allocate' not in text:
            found = f'out of memory: {text}'
        elif any(words in text for words in _FAULTS):
            named = isinstance(error, OSError) and error.filename
            found = f'{error.filename}: {error.strerror}' if named else text[:300]
        error = error.__cause__ or error.__context__
    return found


class UserError(Exception):
    """What the user can put right: one line names file, key or value, what was expected and what to do."""

    def __init__(self, message: str) -> None:
        """Takes the message; names of files, tensors and labels in it may hold anything."""
        super().__init__(printable(message))


class Diverged(UserError):
    """A loss, or weights, that are no numbers any more, first after `step` steps."""

    def __init__(self, message: str, step: int) -> None:
        """Notes why, and since when."""
        super().__init__(message)
        self.step = step


class BadAudio(Exception):
    """A recording that cannot be used: it goes to the quarantine list; the message is the reason alone."""

    def __init__(self, reason: str) -> None:
        """Takes the reason, which libraries may have worded."""
        super().__init__(printable(reason))


class Pruned(Exception):
    """A trial of a sweep that is worse than others were at the same time: it trains no further."""


class Stopped(Exception):
    """The run was asked to stop, and saved first; `exit_code` is 128 plus the signal's number."""

    def __init__(self, number: int, step: int) -> None:
        """Notes the signal, and the step that was saved."""
        super().__init__(
            f'stopped by {signal.Signals(number).name}, saved at step {step}: the same command continues'
        )
        self.exit_code = 128 + number
