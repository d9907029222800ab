"""What all benchmarks share: interleaved timing, rows of results, and their command line."""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable

import jax

# Thread pools of other libraries go on spinning for a while after a call; the next function timed
# would have to share its cores with them.
_PAUSE_S = 0.25


def parser(description: str) -> argparse.ArgumentParser:
    """Returns a command line with the options of every benchmark.

    Args:
        description: what is measured.
    """
    arguments = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument('--json', type=pathlib.Path, help='also write the rows to this file')
    arguments.add_argument('--repeats', type=int, default=9, help='rounds; medians are reported')
    arguments.add_argument('--device', help="jax platform, such as 'cpu' or 'gpu'")
    return arguments


def use_device(device: str | None) -> None:
    """Chooses the platform that JAX computes on.

    Args:
        device: name of the platform, None for the best there is.
    """
    if device:
        jax.config.update('jax_platforms', {'gpu': 'cuda'}.get(device, device))


def time_interleaved(
    functions: dict[str, Callable[[], object]],
    repeats: int,
    pause_s: float = _PAUSE_S,
    before: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Times functions in turn, so that what else the machine does hits all alike.

    Args:
        functions: by name; called once before for compilation.
        repeats: rounds.
        pause_s: rest before each call, in seconds.
        before: called before each call, untimed.

    Returns:
        Median seconds of each.
    """
    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            time.sleep(pause_s)
            before()
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


class Table:
    """Rows `{name, ours_s, reference, reference_s, ratio}`, printed as they come."""

    def __init__(self) -> None:
        """Begins with the header."""
        self.rows: list[dict[str, object]] = []
        print(f'{"":34} {"ours":>10}   {"reference":24} {"":>10} {"ratio":>7}')

    def add(self, name: str, ours_s: float, reference: str, reference_s: float) -> None:
        """Adds and prints one row.

        Args:
            name: what was timed.
            ours_s: our median, in seconds.
            reference: what it is compared with.
            reference_s: its median, in seconds.
        """
        ratio = reference_s / ours_s
        self.rows.append(
            {
                'name': name,
                'ours_s': ours_s,
                'reference': reference,
                'reference_s': reference_s,
                'ratio': ratio,
            }
        )
        print(
            f'{name:34} {ours_s * 1e3:7.1f} ms   {reference:24} {reference_s * 1e3:7.1f} ms {ratio:7.2f}',
            flush=True,
        )

    def write(self, file: pathlib.Path | None) -> None:
        """Writes the rows as JSON.

        Args:
            file: where to, or None.
        """
        if file:
            file.write_text(json.dumps(self.rows, indent=2) + '\n')
