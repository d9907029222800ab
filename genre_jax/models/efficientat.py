"""EfficientAT: MobileNetV3 with squeeze-and-excitation on log-mel pictures, taught by transformers.

Source: Schmid, Koutini and Widmer, Efficient large-scale audio tagging via transformer-to-CNN knowledge
distillation (2023), after Howard et al., Searching for MobileNetV3 (2019); layers are named as in its
checkpoints (fschmid56/EfficientAT). The gates are sigmoids, not MobileNetV3's hard ones. The front end
is the flavour `efficientat`; the published networks saw 1000 frames.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.models.kernels.batch_norm import BatchNorm
from genre_jax.models.kernels.convolution import DepthwiseConv
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.models.network import Network, check_picture

# Kernel, channels within and after, gate, hard swish for ReLU, stride: at a width of 1.
_BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
)  # fmt: skip
_FIRST, _HIDDEN = 16, 1280


class Model(Network):
    """The network. 4,876,831 parameters with 527 classes (`mn10`), 983,599 at a width of 0.4 (`mn04`).

    Attributes:
        width: of all layers, as a multiple of those of MobileNetV3; published are 0.1 to 4.
        dropout: rate of dropout before the output layer.
    """

    width: float = 1.0
    dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.width < 100:
            raise UserError(f'config.model.width={self.width}: expected a number above 0, below 100')

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers from input to output, for freezing."""
        last = 1 + len(_BLOCKS)
        inner = [(f'features_{i}',) for i in range(1, last)]
        ends = [(f'features_{i}_0', f'features_{i}_1') for i in (0, last)]
        return (ends[0], *inner, ends[1], ('classifier_2',), ('classifier_5',))

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Classifies log-mel pictures, at least 32 x 32. The embedding has 960 units at a width of 1."""
        check_picture(features, 32, 32)

        def conv(maps: jax.Array, channels: int, size: int, stride: int, name: str) -> jax.Array:
            maps = _conv(channels, size, stride, self.dtype, f'{name}_0')(maps)
            return nn.hard_swish(_Norm(dtype=self.dtype, name=f'{name}_1')(maps, train))

        maps = conv(features[..., None].astype(self.dtype), rounded(_FIRST * self.width), 3, 2, 'features_0')
        for i, (size, within, after, gate, hard_swish, stride) in enumerate(_BLOCKS, 1):
            widths, name = [rounded(n * self.width) for n in (within, after)], f'features_{i}'
            block = InvertedResidual(*widths, size, stride, gate, hard_swish, self.dtype, name=name)
            maps = block(maps, train)
        maps = conv(maps, 6 * maps.shape[-1], 1, 1, f'features_{1 + len(_BLOCKS)}')
        embedding = maps.astype(jnp.float32).mean((1, 2))
        hidden = nn.hard_swish(_dense(rounded(_HIDDEN * self.width), 'classifier_2')(embedding))
        return _dense(self.num_classes, 'classifier_5')(Dropout(self.dropout)(hidden, train)), embedding


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, gate and projection, and what came in once more where it fits.

    Attributes:
        within: channels of the depthwise convolution; as many as come in: there is no expansion.
        after: channels that go out.
        size: of the depthwise kernel.
        stride: of both axes.
        gate: whether a gate of squeeze-and-excitation (Hu et al., 2018) weighs the channels.
        hard_swish: activation, else ReLU.
        dtype: of the computation.
    """

    within: int
    after: int
    size: int
    stride: int
    gate: bool
    hard_swish: bool
    dtype: str

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool) -> jax.Array:
        """Maps (batch, frames, bins, inputs) to (batch, frames / stride, bins / stride, after); rounds up."""
        activate = nn.hard_swish if self.hard_swish else nn.relu
        inputs, place = maps, 0
        if self.within != maps.shape[-1]:
            maps = _conv(self.within, 1, 1, self.dtype, 'block_0_0')(maps)
            maps = activate(_Norm(dtype=self.dtype, name='block_0_1')(maps, train))
            place = 1
        depthwise = DepthwiseConv(
            _INIT, self.stride, self.dtype, self.size, centred=True, name=f'block_{place}_0'
        )
        maps = activate(_Norm(dtype=self.dtype, name=f'block_{place}_1')(depthwise(maps), train))
        if self.gate:
            place += 1
            squeezed = rounded(self.within // 4)
            gate = maps.astype(jnp.float32).mean((1, 2))
            gate = nn.relu(_dense(squeezed, f'block_{place}_fc1')(gate))
            gate = nn.sigmoid(_dense(self.within, f'block_{place}_fc2')(gate))
            maps = (maps * gate[:, None, None]).astype(self.dtype)
        maps = _conv(self.after, 1, 1, self.dtype, f'block_{place + 1}_0')(maps)
        maps = _Norm(dtype=self.dtype, name=f'block_{place + 1}_1')(maps, train)
        return maps + inputs if self.stride == 1 and inputs.shape[-1] == self.after else maps


def rounded(channels: float) -> int:
    """Rounds a number of channels to a multiple of 8, down by a tenth at most."""
    whole = max(8, int(channels + 4) // 8 * 8)
    return whole if whole >= 0.9 * channels else whole + 8


_INIT = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')
_Norm = functools.partial(BatchNorm, epsilon=1e-3, momentum=0.99)


def _conv(channels: int, size: int, stride: int, dtype: str, name: str) -> nn.Conv:
    # PyTorch's padding, the same on both sides, whatever the size and the stride.
    pads = [(size // 2, size // 2)] * 2
    kernel = {'kernel_init': _INIT, 'use_bias': False}
    return nn.Conv(channels, (size, size), stride, padding=pads, dtype=dtype, name=name, **kernel)


def _dense(units: int, name: str) -> nn.Dense:
    return nn.Dense(units, kernel_init=nn.initializers.normal(0.01), name=name)
