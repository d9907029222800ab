"""PaSST and MAEST: the AST whose patches know their row and their column, each by an embedding of its own.

Source: Koutini, Schlueter, Eghbal-zadeh and Widmer, Efficient Training of Audio Transformers with Patchout
(2022); Alonso-Jimenez, Serra and Bogdanov, Efficient Supervised Training of Audio Transformers for Music
Representation Learning (2023); layers are named as in AST. The front ends are the flavours `efficientat` and
`maest`; the published PaSST saw 1000 x 128 pictures, MAEST 316 to 1876 x 96.
"""

import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.models import ast


class Model(ast.Model):
    """The network, with the settings of `ast`. 527 classes and 1000 x 128 pictures: 85,748,495 parameters.

    Its authors count 405,263 more, of a second head that they do not use. The embedding, the mean of both
    tokens after the last norm, is what hear21passt gives with mode='embed_only', and maest-infer.
    """

    positions = ('new_pos_embed', 'freq_new_pos_embed', 'time_new_pos_embed')

    def places(self, rows: int, columns: int) -> jax.Array:
        """Makes the parameters that say where tokens and patches lie, (1, 2 + rows * columns, width)."""
        shapes = ((1, ast.TOKENS), (1, rows, 1), (1, 1, columns))
        of_tokens, of_rows, of_columns = (
            self.param(name, ast.SMALL, (*shape, self.width))
            for name, shape in zip(self.positions, shapes, strict=True)
        )
        of_patches = (of_rows + of_columns).reshape(1, rows * columns, self.width)
        return jnp.concatenate([of_tokens, of_patches], axis=1)

    @staticmethod
    def refit(name: str, value: jax.Array, source: tuple[int, int], target: tuple[int, int]) -> jax.Array:
        """Takes of the columns the first, as its authors do; more than were learnt are a UserError."""
        if name != 'time_new_pos_embed':
            return value
        if target[1] > source[1]:
            raise UserError(
                f'config.init.checkpoint knows the places of {source[1]} columns of patches, and '
                f'config.windows.window_s makes {target[1]}: take shorter windows, or have the places learnt '
                f'anew: config.init.new={name}'
            )
        return value[:, :, : target[1]]
