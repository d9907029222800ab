"""Audio Spectrogram Transformer: a vision transformer on overlapping patches of a log-mel picture.

Source: Gong, Chung and Glass, AST: Audio Spectrogram Transformer (2021); layers are named as in its
code (YuanGongND/ast, on timm's distilled DeiT). The front end is the flavour `ast`. Patchout is that of
Koutini, Schlueter, Eghbal-zadeh and Widmer, Efficient Training of Audio Transformers with Patchout (2022).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.models.kernels import pytorch
from genre_jax.models.kernels.attention import attend
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.kernels.rematerialised import rematerialised
from genre_jax.models.network import Network, check_picture, spread

_PATCH = 16
TOKENS = 2  # the class token and the distillation token stand before the patches
SMALL = nn.initializers.truncated_normal(0.02)


class Model(Network):
    """The network. The published one, 527 classes and 1024 x 128 pictures, has 86,594,063 parameters.

    Attributes:
        width: of the tokens; 768 published ('base'), 384 'small', 192 'tiny'.
        depth: number of blocks.
        heads: of the attention; 12, 6 and 3.
        frequency_stride: bins from patch to patch, 16 without overlap.
        time_stride: frames from patch to patch.
        head_dropout: rate of dropout before the output layer.
        patchout_time: columns of patches that each training step leaves out, other ones each time; the same
            of all examples, as in its authors' code.
        patchout_frequency: rows, likewise.
        patchout: single patches of those that are left, likewise.
        layer_norm_epsilon: of the blocks and the last norm; the port in transformers has 1e-12.
        head_norm_epsilon: of the head's norm; likewise.
        remat: compute the blocks' activations again in the backward pass instead of keeping them: memory
            of one block instead of all, for about a third more time. XLA on CPU keeps them all the same.
        positions: names of the parameters that say where a patch lies.
    """

    special_tokens = TOKENS

    # As in Megatron: columns, then rows, so that the hidden units of a layer lie where they are read.
    sharding_rules = (
        ('(attn_qkv|mlp_fc1)/kernel', ('fsdp', 'model')),
        ('(attn_qkv|mlp_fc1)/bias', ('model',)),
        ('(attn_proj|mlp_fc2)/kernel', ('model', 'fsdp')),
    )
    positions = ('pos_embed',)

    width: int = 768
    depth: int = 12
    heads: int = 12
    frequency_stride: int = 10
    time_stride: int = 10
    head_dropout: float = 0.0
    patchout_time: int = 0
    patchout_frequency: int = 0
    patchout: int = 0
    layer_norm_epsilon: float = 1e-6
    head_norm_epsilon: float = 1e-5
    remat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise UserError(f'config.model.width={self.width} cannot be divided among {self.heads} heads')

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        blocks = [[f'blocks_{i}'] for i in range(self.depth)]
        blocks[0] = ['patch_embed', 'cls_token', 'dist_token', *self.positions, *blocks[0]]
        blocks[-1] = [*blocks[-1], 'norm']
        return (*map(tuple, blocks), ('mlp_head_norm', 'mlp_head'))

    def grid(self, frames: int, bins: int) -> tuple[int, int]:
        """Returns how many patches there are along frequency and along time."""
        return ((bins - _PATCH) // self.frequency_stride + 1, (frames - _PATCH) // self.time_stride + 1)

    def over_picture(self, heat: jax.Array, picture: tuple[int, ...]) -> jax.Array:
        """Lays heat of patches, float32 (batch, rows, columns) of the grid, over the pictures."""
        frames, bins = picture
        strides = (self.frequency_stride, self.time_stride)
        return spread(heat, (_PATCH, _PATCH), strides, (bins, frames)).swapaxes(1, 2)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies normalised log-mel pictures, at least 16 x 16; embeds in the mean of two tokens."""
        check_picture(features, _PATCH, _PATCH)
        # Bins before frames: patches are counted along frequency first, as in the checkpoints.
        pictures = features.swapaxes(1, 2)[..., None].astype(self.dtype)
        patches = nn.Conv(
            self.width,
            (_PATCH, _PATCH),
            strides=(self.frequency_stride, self.time_stride),
            padding='VALID',
            dtype=self.dtype,
            name='patch_embed',
        )(pictures)
        batch, rows, columns, width = patches.shape
        patches = patches.reshape(batch, rows * columns, width)
        tokens = [
            jnp.broadcast_to(self.param(name, SMALL, (1, 1, width)), (batch, 1, width))
            for name in ('cls_token', 'dist_token')
        ]
        tokens = jnp.concatenate([*tokens, patches], axis=1) + self.places(rows, columns)
        if train or self.is_initializing():
            self._check_patchout(rows, columns)
        if train and (self.patchout_time or self.patchout_frequency or self.patchout):
            stay = jnp.concatenate([jnp.arange(TOKENS), TOKENS + self._patches_that_stay(rows, columns)])
            tokens = tokens.at[:, stay].get(unique_indices=True, indices_are_sorted=True)
        tokens = tokens.astype(self.dtype)
        block = rematerialised(Block) if self.remat else Block
        for i in range(self.depth):
            tokens = block(self.heads, self.layer_norm_epsilon, self.dtype, name=f'blocks_{i}')(tokens)
        # The other tokens are not needed any more.
        tokens = tokens[:, :TOKENS].astype(jnp.float32)
        tokens = nn.LayerNorm(epsilon=self.layer_norm_epsilon, name='norm')(tokens)
        embedding = tokens.mean(1)
        hidden = nn.LayerNorm(epsilon=self.head_norm_epsilon, name='mlp_head_norm')(embedding)
        hidden = Dropout(self.head_dropout)(hidden, train)
        return nn.Dense(self.num_classes, kernel_init=SMALL, name='mlp_head')(hidden), embedding

    def places(self, rows: int, columns: int) -> jax.Array:
        """Makes the parameters that say where tokens and patches lie, (1, 2 + rows * columns, width)."""
        return self.param('pos_embed', SMALL, (1, TOKENS + rows * columns, self.width))

    @staticmethod
    def refit(name: str, value: jax.Array, source: tuple[int, int], target: tuple[int, int]) -> jax.Array:
        """Fits one of `positions`, learnt on the grid `source`, to another one: cut or stretched."""
        return resize_pos_embed(value, source, target)

    def _check_patchout(self, rows: int, columns: int) -> None:
        left = (rows - self.patchout_frequency) * (columns - self.patchout_time)
        there = {'patchout_time': columns, 'patchout_frequency': rows, 'patchout': left}
        for key, n in there.items():
            if getattr(self, key) >= n:
                raise UserError(
                    f'config.model.{key}={getattr(self, key)}: expected less than {n}, all there are'
                )

    def _patches_that_stay(self, rows: int, columns: int) -> jax.Array:
        """Draws their places in the grid, ascending."""

        def draw(places: jax.Array, n_dropped: int) -> jax.Array:
            if not n_dropped:
                return places
            shuffled = jax.random.permutation(self.make_rng('dropout'), places)
            return jnp.sort(shuffled[: len(places) - n_dropped])

        in_row = draw(jnp.arange(columns), self.patchout_time)
        starts = columns * draw(jnp.arange(rows), self.patchout_frequency)
        return draw((starts[:, None] + in_row).ravel(), self.patchout)


class Block(nn.Module):
    """Self-attention and a perceptron, each after a norm and around which the input goes on."""

    heads: int
    epsilon: float
    dtype: str
    span: int = 0  # so many tokens attend to each other alone, then the next; 0: all

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Maps (batch, tokens, width) to the same shape."""
        _, n_tokens, width = tokens.shape

        def dense(units: int, name: str) -> nn.Dense:
            return nn.Dense(units, kernel_init=SMALL, dtype=self.dtype, name=name)

        # The norms' statistics are float32 whatever the dtype. Layers get the tokens of all examples as rows
        # of one matrix: else XLA on CPUs transposes what the gradients of their kernels are made of.
        normed = nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name='norm1')(tokens)
        qkv = Heads(self.heads, self.dtype, name='attn_qkv')(normed)
        attended = _within_spans(qkv, self.span or n_tokens)
        tokens = tokens + dense(width, 'attn_proj')(attended.reshape(-1, width)).reshape(tokens.shape)
        normed = nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name='norm2')(tokens)
        hidden = pytorch.gelu(dense(4 * width, 'mlp_fc1')(normed.reshape(-1, width)))
        return tokens + dense(width, 'mlp_fc2')(hidden).reshape(tokens.shape)


def _within_spans(qkv: jax.Array, span: int) -> jax.Array:
    """Attends within spans of tokens, the last perhaps a shorter one: what `Heads` makes, but for the 3."""
    batch, n_tokens, _, *heads = qkv.shape
    whole = n_tokens - n_tokens % span
    parts = [qkv[:, :whole].reshape(-1, span, 3, *heads)] * (whole > 0) + [qkv[:, whole:]] * (
        whole < n_tokens
    )
    attended = [attend(*each_of(part)).swapaxes(1, 2) for part in parts]
    return jnp.concatenate([each.reshape(batch, -1, *heads) for each in attended], axis=1)


def each_of(qkv: jax.Array) -> list[jax.Array]:
    """Returns queries, keys and values, (batch, heads, tokens, width of a head), of what `Heads` makes."""
    # Split, not sliced: gradients of slices are padded and added.
    return [part[:, :, 0].swapaxes(1, 2) for part in jax.lax.split(qkv, (1, 1, 1), axis=2)]


class Heads(nn.Module):
    """A dense layer that makes queries, keys and values; parameters and numbers of `nn.Dense`.

    Devices along `model`, of which each holds some columns of the kernel, send each other less where the
    kernel is divided into heads, not what comes out; XLA on CPUs then copies the kernel, and back.
    """

    heads: int
    dtype: str

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Maps (batch, tokens, width) to (batch, tokens, 3, heads, width of a head)."""
        width = tokens.shape[-1]
        shape = (3, self.heads, width // self.heads)
        kernel = self.param('kernel', SMALL, (width, 3 * width))
        bias = self.param('bias', nn.initializers.zeros, (3 * width,))
        kernel, bias = kernel.astype(self.dtype), bias.astype(self.dtype)
        if jax.sharding.get_abstract_mesh().shape.get('model', 1) > 1:
            return jnp.einsum('btw,wchd->btchd', tokens, kernel.reshape(width, *shape)) + bias.reshape(shape)
        return (tokens.reshape(-1, width) @ kernel + bias).reshape(*tokens.shape[:-1], *shape)


def resize_pos_embed(pos_embed: jax.Array, source: tuple[int, int], target: tuple[int, int]) -> jax.Array:
    """Cuts or stretches positional embeddings to another grid, as the authors' code does.

    They are float32 (1, 2 + rows * columns, width), patches counted along frequency first; grids are
    sizes along frequency and time. Along an axis where the new grid is smaller, its middle is cut out;
    where it is larger, the embeddings are interpolated bilinearly.
    """
    width = pos_embed.shape[-1]
    places = pos_embed[0, TOKENS:].reshape(*source, width)
    for axis in (1, 0):
        old, new = source[axis], target[axis]
        if new < old:
            start = old // 2 - new // 2
            places = jax.lax.slice_in_dim(places, start, start + new, axis=axis)
        elif new > old:
            shape = list(places.shape)
            shape[axis] = new
            places = jax.image.resize(places, shape, 'bilinear')
    flat = places.reshape(1, -1, width)
    return jnp.concatenate([pos_embed[:, :TOKENS], flat], axis=1)
