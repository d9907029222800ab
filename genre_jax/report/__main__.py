"""Writes the page of a run folder anew, and prints its path: `python -m genre_jax.report RUN`.

With --audio=linked the page refers to the excerpts of sound in RUN/look/ and holds none itself.
"""

import pathlib

from absl import flags

from genre_jax import program
from genre_jax.errors import UserError

_AUDIO = flags.DEFINE_enum(
    'audio', 'inside', ['inside', 'linked'], 'excerpts of sound: inside the page, or linked beside it'
)


def main(argv: list[str]) -> None:
    """Writes the page."""
    if len(argv) != 2:
        raise UserError('usage: python -m genre_jax.report RUN, the folder of a finished run')

    from genre_jax.report import page as report

    print(report.write_report(pathlib.Path(argv[1]), _AUDIO.value))


if __name__ == '__main__':
    program.run(main, config=False)
