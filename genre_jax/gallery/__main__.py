"""Draws every front end and every augmentation on one clip.

    python -m genre_jax.gallery [--audio=FILE] [--out=docs]

Writes front_ends.png and augmentations.png. Without a file the clip is a public-domain dance tune
from the scores in music21, played by the project's synthesiser.
"""

import pathlib

from absl import flags

from genre_jax import program
from genre_jax.errors import UserError, say

_AUDIO = flags.DEFINE_string('audio', '', 'audio file; empty: a dance tune')
_OUT = flags.DEFINE_string('out', 'docs', 'folder for the pictures')


def main(argv: list[str]) -> None:
    """Writes both pictures."""
    from genre_jax.gallery import pictures

    program.refuse_words(argv)
    folder = pathlib.Path(_OUT.value)
    if folder.is_file() or folder.suffix.lower() in ('.png', '.jpg', '.pdf', '.svg'):
        raise UserError(f'--out={folder}: expected a folder, two pictures are written there')
    folder.mkdir(parents=True, exist_ok=True)
    clip, other = pictures.read_clip(_AUDIO.value), pictures.read_clip('', tune=40)
    front_ends, augmentations = folder / 'front_ends.png', folder / 'augmentations.png'
    pictures.draw_front_ends(clip, front_ends)
    pictures.draw_augmentations(clip, other, augmentations)
    say(f'wrote {front_ends} and {augmentations}')


if __name__ == '__main__':
    program.run(main, config=False)
