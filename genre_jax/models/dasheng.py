"""Dasheng: a vision transformer on columns of four frames, pretrained as a masked autoencoder.

Source: Dinkel et al., Scaling up masked audio encoder learning for general audio classification (2024);
layers are named as in its checkpoints (package dasheng). The front end is the flavour `dasheng`. Longer
pictures than it was trained on are cut into pieces, which know nothing of each other, as there.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.models.ast import Block
from genre_jax.models.kernels import pytorch
from genre_jax.models.kernels.batch_norm import BatchNorm
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.network import Network, check_picture, spread

PATCH = 4  # frames of a column
_EPSILON = 1e-6


class Model(Network):
    """The network. The base model has 85,447,808 parameters before the output layer.

    Attributes:
        width: of the tokens; 768 published ('base'), 1280 '0.6B', 1536 '1.2B'.
        depth: number of blocks; 12, 32 and 40.
        heads: of the attention; 12, 16 and 24.
        target_frames: of a piece: tokens attend within their piece, and know their place in it.
        head_dropout: rate of dropout before the output layer.
    """

    # As AST's.
    sharding_rules = (
        ('(attn_qkv|mlp_fc1)/kernel', ('fsdp', 'model')),
        ('(attn_qkv|mlp_fc1)/bias', ('model',)),
        ('(attn_proj|mlp_fc2)/kernel', ('model', 'fsdp')),
    )

    width: int = 768
    depth: int = 12
    heads: int = 12
    target_frames: int = 1008
    head_dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise UserError(f'config.model.width={self.width} cannot be divided among {self.heads} heads')
        if self.target_frames < PATCH:
            raise UserError(f'config.model.target_frames={self.target_frames}: expected at least {PATCH}')

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        blocks = [[f'blocks_{i}'] for i in range(self.depth)]
        blocks[0] = ['init_bn', 'patch_embed', 'time_pos_embed', 'freq_pos_embed', *blocks[0]]
        blocks[-1] = [*blocks[-1], 'norm']
        return (*map(tuple, blocks), ('outputlayer',))

    def over_picture(self, heat: jax.Array, picture: tuple[int, ...]) -> jax.Array:
        """Lays heat of columns, float32 (batch, columns, 1), over the pictures."""
        window = (PATCH, picture[1])
        return spread(heat, window, window, picture[:2])

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies mel pictures in dB, at least 4 frames long; embeds in the mean of the tokens."""
        check_picture(features, PATCH, 1)
        bins = features.shape[2]
        pictures = BatchNorm(epsilon=1e-5, momentum=0.99, name='init_bn')(features, train)
        init = pytorch.uniform_fan_in(PATCH * bins)
        columns = nn.Conv(
            self.width,
            (PATCH, bins),
            strides=(PATCH, bins),
            padding='VALID',
            kernel_init=init,
            bias_init=init,
            dtype=self.dtype,
            name='patch_embed',
        )(pictures[..., None].astype(self.dtype))
        tokens = columns[:, :, 0].astype(jnp.float32)
        piece, small = self.target_frames // PATCH, nn.initializers.normal(0.02)
        times = self.param('time_pos_embed', small, (1, piece, self.width))
        pieces = -(-tokens.shape[1] // piece)
        tokens += jnp.tile(times, (1, pieces, 1))[:, : tokens.shape[1]]
        tokens += self.param('freq_pos_embed', small, (1, 1, self.width))
        tokens = tokens.astype(self.dtype)
        for i in range(self.depth):
            tokens = Block(self.heads, _EPSILON, self.dtype, piece, name=f'blocks_{i}')(tokens)
        tokens = nn.LayerNorm(epsilon=_EPSILON, name='norm')(tokens.astype(jnp.float32))
        embedding = tokens.mean(1)
        dropped = Dropout(self.head_dropout)(embedding, train)
        return pytorch.dense(dropped, self.num_classes, name='outputlayer'), embedding
