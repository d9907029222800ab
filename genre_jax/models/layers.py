"""Layers that more than one model shares."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

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
            (genre_jax.freezing).
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
        shape = (*self.kernel_size, 1, maps.shape[-1])
        kernel = self.param('kernel', self.kernel_init, shape)
        return depthwise_conv(maps.astype(self.dtype), kernel.astype(self.dtype), self.stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_conv(maps: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolves every channel with its own kernel, 'same'.

    XLA's grouped convolutions are slow on CPUs: a sum of shifted maps takes a tenth to a fifth of the time
    there, with these gradients.

    Args:
        maps: (batch, height, width, channels).
        kernel: (rows, columns, 1, channels).
        stride: of both axes.

    Returns:
        (batch, ceil(height / stride), ceil(width / stride), channels).
    """
    return jax.lax.platform_dependent(
        maps,
        kernel,
        cpu=functools.partial(_depthwise_shifted, stride=stride),
        default=functools.partial(_depthwise_grouped, stride=stride),
    )


def _depthwise_forward(maps, kernel, stride):
    # The barrier: what follows in training reads the result several times, and XLA would put the sum of
    # shifted maps into each of the loops.
    out = jax.lax.optimization_barrier(depthwise_conv(maps, kernel, stride))
    return out, (maps, kernel)


def _depthwise_backward(stride, saved, gradient):
    return jax.lax.platform_dependent(
        *saved,
        gradient,
        cpu=functools.partial(_depthwise_shifted_gradients, stride=stride),
        default=functools.partial(_depthwise_grouped_gradients, stride=stride),
    )


depthwise_conv.defvjp(_depthwise_forward, _depthwise_backward)


def _depthwise_grouped(maps, kernel, stride):
    return jax.lax.conv_general_dilated(
        maps,
        kernel,
        window_strides=(stride, stride),
        padding='SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=maps.shape[-1],
    )


def _depthwise_grouped_gradients(maps, kernel, gradient, stride):
    grouped = functools.partial(_depthwise_grouped, stride=stride)
    return jax.vjp(grouped, maps, kernel)[1](gradient)


def _depthwise_shifted(maps, kernel, stride):
    padded = _pad_same(maps, kernel.shape, stride)
    height, width = (-(-size // stride) for size in maps.shape[1:3])
    total = 0.0
    for row, column in np.ndindex(*kernel.shape[:2]):
        shifted = padded[:, row:, column:][:, ::stride, ::stride][:, :height, :width]
        total += shifted * kernel[row, column, 0].astype(jnp.float32)
    return total.astype(maps.dtype)


def _depthwise_shifted_gradients(maps, kernel, gradient, stride):
    rows, columns = kernel.shape[:2]
    if stride == 1 and rows % 2 and columns % 2:
        of_maps = _depthwise_shifted(gradient, kernel[::-1, ::-1], 1)
    else:
        of_maps = jax.vjp(lambda maps: _depthwise_shifted(maps, kernel, stride), maps)[1](gradient)[
            0
        ]
    padded = _pad_same(maps, kernel.shape, stride)
    height, width = gradient.shape[1:3]

    # Row by row: what is read nine times stays in the cache. Sums over the batch come last, since it
    # may lie on several devices.
    def add_row(sums, i):
        window = jax.lax.dynamic_slice_in_dim(padded, stride * i, rows, axis=1)
        row = jax.lax.dynamic_index_in_dim(gradient, i, axis=1, keepdims=False).astype(jnp.float32)
        shifted = [window[:, r, c:][:, ::stride][:, :width] for r, c in np.ndindex(rows, columns)]
        return [old + (new * row).sum(1) for old, new in zip(sums, shifted, strict=True)], None

    zeros = jnp.zeros_like(maps[:, 0, 0], jnp.float32)
    sums, _ = jax.lax.scan(add_row, [zeros] * (rows * columns), jnp.arange(height))
    of_kernel = jnp.stack([total.sum(0) for total in sums]).reshape(kernel.shape)
    return of_maps, of_kernel.astype(kernel.dtype)


def _pad_same(maps, kernel_shape, stride):
    pads = jax.lax.padtype_to_pads(maps.shape[1:3], kernel_shape[:2], (stride, stride), 'SAME')
    return jnp.pad(maps, ((0, 0), *pads, (0, 0)))


def max_pool_2x2(maps: jax.Array) -> jax.Array:
    """Takes the maximum of every 2 x 2 fields; an odd last row or column is left out.

    The gradient of XLA's pooling windows takes over ten times as long on CPUs. The first of equal maxima
    gets it.

    Args:
        maps: (batch, height, width, channels).
    """
    height, width = (size // 2 * 2 for size in maps.shape[1:3])
    fields = [maps[:, row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
    return functools.reduce(_larger, fields)


def _larger(first, second):
    # Not jnp.maximum, whose gradient looks for the field that equals the result: XLA may compute it twice
    # with different rounding, and the gradient was lost. NaN wins.
    return jnp.where((second > first) | jnp.isnan(second), second, first)


def uniform_fan_in(fan_in: int) -> Callable:
    """Returns PyTorch's default initialiser of convolutions, linear layers and biases.

    Uniform in +-1/sqrt(fan_in); `torch.nn.init.kaiming_uniform_(a=sqrt(5))` for kernels. Recurrent
    layers take their number of units for fan_in.

    Args:
        fan_in: number of inputs of one unit.
    """

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return init


def torch_dense(inputs: jax.Array, units: int, *, name: str, dtype: str = 'float32') -> jax.Array:
    """Applies a linear layer with PyTorch's initialisation inside the calling module.

    Args:
        inputs: (..., inputs).
        units: width of the output.
        name: of the layer.
        dtype: of the computation.
    """
    init = uniform_fan_in(inputs.shape[-1])
    return nn.Dense(units, kernel_init=init, bias_init=init, dtype=dtype, name=name)(inputs)


UNROLL = 8  # steps of a recurrent layer that are compiled as one


def product(values: jax.Array, kernel: jax.Array, dtype: str) -> jax.Array:
    """Multiplies matrices in `dtype`; the sums are float32.

    Args:
        values: (..., inputs).
        kernel: (inputs, outputs).
        dtype: of the factors.
    """
    return jnp.matmul(
        values.astype(dtype), kernel.astype(dtype), preferred_element_type=jnp.float32
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
