"""Layers that more than one model shares."""

from __future__ import annotations

from collections.abc import Callable, Collection

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax import config as config_lib
from genre_jax.errors import UserError


def he_normal(negative_slope: float) -> Callable:
    """Returns He's Gaussian initialiser for leaky ReLU: variance 2 / ((1 + slope^2) fan_in).

    Source: He et al. (2015); `torch.nn.init.kaiming_normal_(a=negative_slope)`.

    Args:
        negative_slope: of the leaky ReLU that follows.
    """
    return nn.initializers.variance_scaling(2 / (1 + negative_slope**2), 'fan_in', 'normal')


class SingleChannelConv(nn.Module):
    """A 'same' convolution of pictures with one channel and a large kernel.

    The same parameters and numbers as `nn.Conv`. The rows of the kernel are laid out as input
    channels first, since XLA on CPU is slow where there is but one: forward and backward of the two
    kernels of the shallow CNN together take about three quarters of the time there
    (`python -m benchmarks.single_channel_conv`).

    Attributes:
        features: output channels.
        kernel_size: rows and columns of the kernel.
        kernel_init: initialiser of the kernel [rows, columns, 1, features].
        bias_cancels: batch normalisation follows, which subtracts the bias again. Its gradient is then
            zero, and said to be zero: the rounding noise that would come out instead, Adam makes into
            full steps, different ones on each number of devices.
    """

    features: int
    kernel_size: tuple[int, int]
    kernel_init: Callable
    bias_cancels: bool = False

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Convolves (batch, height, width) to (batch, height, width, features)."""
        rows, columns = self.kernel_size
        kernel = self.param('kernel', self.kernel_init, (rows, columns, 1, self.features))
        bias = self.param('bias', nn.initializers.zeros, (self.features,))
        if self.bias_cancels:
            bias = jax.lax.stop_gradient(bias)
        height = pictures.shape[1]
        padded = jnp.pad(pictures, ((0, 0), ((rows - 1) // 2, rows // 2), (0, 0)))
        shifted = jnp.stack([padded[:, row : row + height] for row in range(rows)], axis=-1)
        return bias + jax.lax.conv_general_dilated(
            shifted,
            kernel.transpose(2, 1, 0, 3),
            window_strides=(1, 1),
            padding='SAME',
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )


def batch_norm(
    values: jax.Array,
    train: bool,
    *,
    name: str,
    dtype: str = 'float32',
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    use_scale: bool = True,
) -> jax.Array:
    """Normalises the last axis inside the calling module, with the batch's or the running statistics.

    Args:
        values: (..., channels).
        train: whether the batch's statistics are used; frozen layers use the running ones nevertheless
            (genre_jax.finetune).
        name: of the layer.
        dtype: of the result. Statistics are float32 always.
        epsilon: added to the variance; PyTorch's default.
        momentum: share of the old running statistics that stays: PyTorch's 0.1 is 0.9 here.
        use_scale: whether there is a scale besides the bias.
    """
    norm = nn.BatchNorm(
        momentum=momentum, epsilon=epsilon, use_scale=use_scale, dtype=dtype, name=name
    )
    # At the call, not in the constructor: there the freezing of layers can overrule it.
    return norm(values, use_running_average=not train)


class DepthwiseConv(nn.Module):
    """A 'same' convolution of every channel with a kernel of its own, without bias.

    Attributes:
        kernel_size: rows and columns of the kernels.
        kernel_init: initialiser of the kernel [rows, columns, 1, channels].
        stride: of both axes.
        dtype: of the computation.
    """

    kernel_size: tuple[int, int]
    kernel_init: Callable
    stride: int = 1
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, maps: jax.Array) -> jax.Array:
        """Convolves (batch, height, width, channels); a stride of 2 gives ceil(size / 2)."""
        channels = maps.shape[-1]
        kernel = self.param('kernel', self.kernel_init, (*self.kernel_size, 1, channels))
        return jax.lax.conv_general_dilated(
            maps.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(self.stride, self.stride),
            padding='SAME',
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=channels,
        )


def check_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Refuses a value of config.model that is none of the choices.

    Args:
        key: of config.model.
        value: what it is.
        choices: what it may be.

    Raises:
        UserError: it is none of them.
    """
    if value not in choices:
        raise UserError(f'config.model.{key}={value!r}{config_lib.nearest(str(value), choices)}')


def check_dtype(dtype: str) -> None:
    """Refuses a type of computation other than 'float32' and 'bfloat16'.

    Args:
        dtype: config.model.dtype.

    Raises:
        UserError: it is neither.
    """
    check_choice('dtype', dtype, ('float32', 'bfloat16'))


def check_dropout(key: str, rate: float) -> None:
    """Refuses a rate of dropout outside [0, 1).

    Args:
        key: of config.model.
        rate: what it is.

    Raises:
        UserError: it is outside.
    """
    if not 0 <= rate < 1:
        raise UserError(f'config.model.{key}={rate}: expected a number in [0, 1)')


def check_units(key: str, units: Collection[int]) -> None:
    """Refuses widths of layers below 1.

    Args:
        key: of config.model.
        units: the widths.

    Raises:
        UserError: one is below 1.
    """
    if any(width < 1 for width in units):
        raise UserError(f'config.model.{key}={tuple(units)}: expected widths of at least 1')


def check_picture(features: jax.Array, frames: int, bins: int) -> None:
    """Refuses pictures that are too small for the network.

    Args:
        features: (batch, frames, bins).
        frames: least number of frames.
        bins: least number of bins.

    Raises:
        UserError: they are smaller.
    """
    if features.shape[1] < frames or features.shape[2] < bins:
        raise UserError(
            f'config.model needs at least {frames} frames and {bins} bins, and config.windows.window_s '
            f'with config.features gives {features.shape[1]} x {features.shape[2]}'
        )
