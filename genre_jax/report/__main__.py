"""Writes the page of a run folder anew, or of several beside one another, and prints its path.

    python -m genre_jax.report RUN
    python -m genre_jax.report RUN RUN ... [--out=comparison.html]

Several finished runs with the same classes are compared on one page: figures, differences song by song,
curves, songs that one has right and another not, and what is noise where runs differ in seed or fold alone.

With --audio=linked the page of a run refers to the excerpts of sound in RUN/look/ and holds none itself.
"""

import pathlib

from absl import flags

from genre_jax import program
from genre_jax.errors import UserError, say

_AUDIO = flags.DEFINE_enum(
    'audio', 'inside', ['inside', 'linked'], 'excerpts of sound: inside the page, or linked beside it'
)
_OUT = flags.DEFINE_string('out', 'comparison.html', 'page of several runs to write')


def main(argv: list[str]) -> None:
    """Writes the page."""
    if len(argv) < 2:
        raise UserError('usage: python -m genre_jax.report RUN [RUN ...], folders of finished runs')
    folders = [pathlib.Path(each).expanduser() for each in argv[1:]]
    if len(folders) == 1:
        from genre_jax.report import page

        say(str(page.write_report(folders[0], _AUDIO.value)))
    else:
        from genre_jax.report import comparison

        say(str(comparison.write(folders, pathlib.Path(_OUT.value).expanduser())))


if __name__ == '__main__':
    program.run(main, config=False)
