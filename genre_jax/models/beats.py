"""BEATs: a transformer on patches of a log-mel picture, pretrained with acoustic tokenizers.

Source: Chen et al., BEATs: Audio pre-training with acoustic tokenizers (2022), after WavLM (Chen et al.,
2022), whose gated relative positions it has, and DeepNet (Wang et al., 2022); layers are named as in its
checkpoints (microsoft/unilm). The front end is the flavour `beats`. Pictures of any length.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.models.ast import Heads, each_of
from genre_jax.models.kernels import pytorch
from genre_jax.models.kernels.attention import attend_with_bias
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.kernels.grouped_convolution import GroupedConv
from genre_jax.models.network import Network, check_picture, spread

_PATCH = 16
_EPSILON = 1e-5


class Model(Network):
    """The network. The published one, 527 classes, has 90,716,927 parameters.

    Attributes:
        width: of the tokens.
        depth: number of blocks.
        heads: of the attention.
        hidden_units: of the blocks' perceptrons.
        patch_width: of the patches before they become tokens.
        position_taps: patches that the convolution sees which tells where a token is.
        position_groups: of the channels of that convolution.
        buckets: distances between tokens that the attention tells apart, half of them backwards.
        max_distance: between tokens, from which on all are the same to it.
        deep_norm: whether what goes around a layer is multiplied by the fourth root of twice the depth.
        head_dropout: rate of dropout before the output layer.
    """

    # As AST's.
    sharding_rules = (
        ('(self_attn_qkv|fc1)/kernel', ('fsdp', 'model')),
        ('(self_attn_qkv|fc1)/bias', ('model',)),
        ('(self_attn_out_proj|fc2)/kernel', ('model', 'fsdp')),
    )

    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden_units: int = 3072
    patch_width: int = 512
    position_taps: int = 128
    position_groups: int = 16
    buckets: int = 320
    max_distance: int = 800
    deep_norm: bool = True
    head_dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ('heads', 'position_groups'):
            if self.width % getattr(self, key):
                raise UserError(
                    f'config.model.width={self.width} cannot be divided by {key}={getattr(self, key)}'
                )
        if self.buckets < 4 or self.max_distance <= self.buckets // 4:
            raise UserError(
                f'config.model.buckets={self.buckets} with max_distance={self.max_distance}: expected at '
                'least 4 buckets, and a distance above a quarter of them'
            )

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        blocks = [[f'layers_{i}'] for i in range(self.depth)]
        first = ['patch_embedding', 'layer_norm', *['post_extract_proj'] * (self.patch_width != self.width)]
        blocks[0] = [*first, 'pos_conv', 'encoder_layer_norm', 'relative_attention_bias', *blocks[0]]
        return (*map(tuple, blocks), ('predictor',))

    def over_picture(self, heat: jax.Array, picture: tuple[int, ...]) -> jax.Array:
        """Lays heat of patches, float32 (batch, along frames, along bins), over the pictures."""
        return spread(heat, (_PATCH, _PATCH), (_PATCH, _PATCH), picture[:2])

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies standardised log-mel pictures, at least 16 x 16; embeds in the mean of the tokens."""
        check_picture(features, _PATCH, _PATCH)
        patches = nn.Conv(
            self.patch_width,
            (_PATCH, _PATCH),
            strides=_PATCH,
            padding='VALID',
            use_bias=False,
            kernel_init=pytorch.uniform_fan_in(_PATCH**2),
            dtype=self.dtype,
            name='patch_embedding',
        )(features[..., None].astype(self.dtype))
        # Frame by frame of patches, unlike AST's.
        tokens = patches.reshape(len(patches), -1, self.patch_width)
        tokens = _norm(self.dtype, 'layer_norm')(tokens)
        if self.patch_width != self.width:
            tokens = pytorch.dense(tokens, self.width, name='post_extract_proj', dtype=self.dtype)
        init = nn.initializers.normal((4 / (self.position_taps * self.width)) ** 0.5)
        places = GroupedConv(self.position_taps, self.position_groups, init, self.dtype, name='pos_conv')(
            tokens
        )
        tokens = _norm(self.dtype, 'encoder_layer_norm')(tokens + pytorch.gelu(places))
        table = self.param(
            'relative_attention_bias', nn.initializers.normal(0.02), (self.buckets, self.heads)
        )
        bias = by_distance(table, tokens.shape[1], self.max_distance)
        around = (2 * self.depth) ** 0.25 if self.deep_norm else 1.0
        for i in range(self.depth):
            block = Block(self.heads, self.hidden_units, around, self.dtype, name=f'layers_{i}')
            tokens = block(tokens, bias)
        embedding = tokens.astype(jnp.float32).mean(1)
        # The authors' logits are the mean over tokens, which is that of the mean token.
        dropped = Dropout(self.head_dropout)(embedding, train)
        return pytorch.dense(dropped, self.num_classes, name='predictor'), embedding


class Block(nn.Module):
    """Self-attention and a perceptron, each added to what goes around it, then normed.

    Attributes:
        heads: of the attention.
        hidden_units: of the perceptron.
        around: what goes around is multiplied by it.
        dtype: of the computation.
    """

    heads: int
    hidden_units: int
    around: float
    dtype: str

    @nn.compact
    def __call__(self, tokens: jax.Array, bias: jax.Array) -> jax.Array:
        """Maps (batch, tokens, width) to the same shape; `bias` is that of `by_distance`."""
        width = tokens.shape[-1]
        qkv = Heads(self.heads, self.dtype, name='self_attn_qkv')(tokens)
        gate = Gate(self.dtype, name='self_attn_grep')(qkv[:, :, 0])
        attended = attend_with_bias(*each_of(qkv), gate, bias).swapaxes(1, 2)
        # From here on the tokens of all examples are rows of one matrix, as in AST's block.
        attended = self._dense(width, 'self_attn_out_proj')(attended.reshape(-1, width))
        around = self.around * tokens.reshape(-1, width)
        rows = _norm(self.dtype, 'self_attn_layer_norm')(around + attended)
        hidden = pytorch.gelu(self._dense(self.hidden_units, 'fc1')(rows))
        rows = self.around * rows + self._dense(width, 'fc2')(hidden)
        return _norm(self.dtype, 'final_layer_norm')(rows).reshape(tokens.shape)

    def _dense(self, units: int, name: str) -> nn.Dense:
        return nn.Dense(units, kernel_init=nn.initializers.normal(0.02), dtype=self.dtype, name=name)


class Gate(nn.Module):
    """How much a query of each head minds how far away the keys are."""

    dtype: str

    @nn.compact
    def __call__(self, queries: jax.Array) -> jax.Array:
        """Maps (batch, tokens, heads, width of a head) to float32 (batch, heads, tokens)."""
        heads, width = queries.shape[2:]
        kernel = self.param('kernel', nn.initializers.normal(0.02), (width, 8))
        bias = self.param('bias', nn.initializers.zeros, (8,))
        a = self.param('a', nn.initializers.ones, (1, heads, 1, 1))
        # Two gates, each a sum of four units.
        kernel, bias = kernel.reshape(width, 2, 4).sum(-1), bias.reshape(2, 1, 1, 1, 4).sum(-1)
        units = jnp.einsum('bthw,wg->gbht', queries, kernel.astype(self.dtype)).astype(jnp.float32)
        update, reset = nn.sigmoid(units + bias)
        return update * (reset * a[..., 0] - 1) + 2


def by_distance(table: jax.Array, n_tokens: int, max_distance: int) -> jax.Array:
    """Lays out the biases of `bucket`s, (buckets, heads), for queries and keys: (heads, tokens, tokens)."""
    places = np.arange(n_tokens)
    buckets = bucket(places - places[:, None], len(table), max_distance)
    return table.T[:, buckets]


def bucket(distances: np.ndarray, n_buckets: int, max_distance: int) -> np.ndarray:
    """Numbers the buckets of distances, whole numbers from query to key: the nearer, the finer.

    The first half is backwards, the second forwards. Of each the first half are distances one by one; the
    others grow by a factor, as long as they are below `max_distance`.
    """
    half = n_buckets // 2
    exact, far = half // 2, np.abs(distances)
    # In float32, as the authors: their edges are those of its rounding.
    growth = np.log(np.maximum(far, exact).astype(np.float32) / np.float32(exact))
    growth = growth / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    coarse = np.minimum(exact + growth.astype(np.int64), half - 1)
    return np.where(far < exact, far, coarse) + half * (distances > 0)


def _norm(dtype: str, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=_EPSILON, dtype=dtype, name=name)
