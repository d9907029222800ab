"""Runs genre_jax.main as several processes of this machine that share one mesh (CPU or GPU).

    python launch/local.py --processes=2 -- --config=configs/x.py --workdir=runs/x

Process 0 writes to the terminal as usual; each line of process i > 0 begins with `[i] `. Where
standard output is a file or a pipe, lines of different processes never run into each other.
SIGINT, SIGTERM and SIGHUP are passed on to every process; a second one kills them. When one process
fails, the others get `--grace_s` seconds to end by themselves, then they are killed; the exit code
is that of the first that failed (128 + n for signal n). After 75, a fault of the machine, all start again.
"""

import contextlib
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

if __package__ in (None, ''):  # run by path: the repository root is not on sys.path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from genre_jax.errors import MACHINE_FAULT
from genre_jax.launch import command

POLL_S = 0.05
PAUSE_S = 1.0  # before all start again


def free_port() -> int:
    """Asks the system for a TCP port that nobody uses."""
    with socket.create_server(('127.0.0.1', 0)) as probe:
        return probe.getsockname()[1]


def environment(process: int, processes: int, devices: int, port: int) -> dict[str, str]:
    """Makes the variables that tell one process its place in the run, and the coordinator's TCP port."""
    own = range(process * devices, (process + 1) * devices)
    return {
        'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}',
        'JAX_NUM_PROCESSES': str(processes),
        'JAX_PROCESS_ID': str(process),
        # CPUs are made to order, GPUs are shared out: each backend heeds one and ignores the other.
        'JAX_NUM_CPU_DEVICES': str(devices),
        'JAX_LOCAL_DEVICE_IDS': ','.join(map(str, own)),
        # Through a pipe Python would hold back a process's lines until it ends.
        'PYTHONUNBUFFERED': '1',
    }


def start(words: Sequence[str], variables: Mapping[str, str], process: int) -> subprocess.Popen:
    """Starts one process with additions to the environment.

    Process 0 keeps the terminal, where there is one, and its own standard error, for progress bars; the
    others write into a pipe, for `echo`. Each leads its own group: Ctrl-C reaches it through us, once.
    """
    return subprocess.Popen(
        words, env=os.environ | variables, process_group=0, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if process or not sys.stdout.isatty() else None,
        stderr=subprocess.STDOUT if process else None,
    )  # fmt: skip


def echo(source: subprocess.Popen, process: int) -> None:
    """Copies a process's piped lines to standard output, those of process i > 0 with `[i] ` before them."""
    prefix = b'[%d] ' % process if process else b''
    for line in source.stdout:
        # One write a line, whole: the other processes' lines come before or after it.
        sys.stdout.buffer.write(prefix + line.rstrip(b'\n') + b'\n')
        sys.stdout.buffer.flush()


def wait(running: Sequence[subprocess.Popen], received: list[int], grace_s: float) -> int:
    """Waits for all processes, passing a signal on, and for `grace_s` at most once one has failed.

    `received` holds the numbers of the signals that have come in, filled by the signal handlers. Returns 0,
    or the code of the first process that failed, 128 + n where signal n ended it or us.
    """
    code, deadline_s, told = 0, float('inf'), False
    while True:
        codes = [process.poll() for process in running]
        if not code and any(codes):
            failed, code = next((i, c) for i, c in enumerate(codes) if c)
            code = 128 - code if code < 0 else code
            deadline_s = time.monotonic() + grace_s
            if None in codes:
                rest = f'the others have {grace_s:g} s to end by themselves'
                print(f'process {failed} ended with code {code}; {rest}', file=sys.stderr)
        if None not in codes or time.monotonic() > deadline_s:
            return code
        while received:
            number = received.pop(0)
            if told:
                return code or 128 + number
            told = True
            for process in running:
                process.send_signal(number)
        time.sleep(POLL_S)


def kill(process: subprocess.Popen) -> None:
    """Kills whatever is left of a process and its group, data workers included."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(words: Sequence[str], variables: Sequence[Mapping], received: list[int], grace_s: float) -> int:
    """Starts a process for each set of variables and sees them through; returns the exit code, as `wait`."""
    running, echoes = [], []
    try:
        for i, each in enumerate(variables):
            running.append(start(words, each, i))
            if running[i].stdout:
                echoes.append(threading.Thread(target=echo, args=(running[i], i), daemon=True))
                echoes[-1].start()
        return wait(running, received, grace_s)
    finally:
        for process in running:
            kill(process)
        for thread in echoes:
            thread.join(timeout=5)


def main(argv: Sequence[str]) -> int:
    """Starts the processes and sees them through, or prints their commands; returns the exit code."""
    flags = command.parser(__doc__)
    flags.add_argument('--processes', type=int, required=True)
    flags.add_argument('--devices_per_process', type=int, default=1)
    flags.add_argument('--grace_s', type=float, default=15.0)
    flags.add_argument('--max_restarts', type=int, default=10, help='after code 75 (%(default)s)')
    options, arguments = command.parse(flags, argv)
    if options.processes < 1 or options.devices_per_process < 1 or options.max_restarts < 0:
        flags.error('--processes and --devices_per_process must be at least 1, --max_restarts at least 0')

    def variables() -> list[dict[str, str]]:
        processes, devices, port = options.processes, options.devices_per_process, free_port()
        return [environment(i, processes, devices, port) for i in range(processes)]

    words = command.program(options, arguments, sys.executable)
    if options.dry_run:
        for each in variables():
            assignments = [f'{name}={shlex.quote(value)}' for name, value in each.items()]
            print(*assignments, shlex.join(words))
        return 0

    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: received.append(number))
    for left in range(options.max_restarts, -1, -1):
        code = run(words, variables(), received, options.grace_s)
        if code != MACHINE_FAULT or received or not left:
            break
        print(f'code {code}: all start again, {left - 1} more times at most', file=sys.stderr)
        time.sleep(PAUSE_S)
    return code


if __name__ == '__main__':
    command.run_as_program(main)
