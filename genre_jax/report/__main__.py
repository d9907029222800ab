"""Writes the page of a run folder anew, and prints its path: `python -m genre_jax.report RUN`."""

import pathlib

from genre_jax import program
from genre_jax.errors import UserError


def main(argv: list[str]) -> None:
    """Writes the page."""
    if len(argv) != 2:
        raise UserError('usage: python -m genre_jax.report RUN, the folder of a finished run')

    from genre_jax.report import page as report

    print(report.write_report(pathlib.Path(argv[1])))


if __name__ == '__main__':
    program.run(main, config=False)
