"""Layers that more than one model shares."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax import config as config_lib
from genre_jax.errors import UserError
from genre_jax.models.kernels import batch_norm as batch_norm_lib
from genre_jax.models.kernels import convolution


def he_normal(negative_slope: float) -> Callable:
    """He's Gaussian initialiser for the leaky ReLU that follows: variance 2 / ((1 + slope^2) fan_in).

    Source: He et al. (2015); `torch.nn.init.kaiming_normal_(a=negative_slope)`.
    """
    return nn.initializers.variance_scaling(2 / (1 + negative_slope**2), 'fan_in', 'normal')


class SingleChannelConv(nn.Module):
    """A convolution of pictures with one channel and a large kernel; parameters and numbers of `nn.Conv`.

    Attributes:
        features: output channels.
        kernel_size: rows and columns of the kernel.
        kernel_init: initialiser of the kernel [rows, columns, 1, features].
        bias_cancels: batch normalisation follows, which subtracts the bias again. Its gradient is then
            zero, and said to be zero: the rounding noise that would come out instead, Adam makes into
            full steps, different ones on each number of devices.
        same_columns: whether columns are padded, so that there are as many afterwards; rows always are.
        dtype: of the computation.
    """

    features: int
    kernel_size: tuple[int, int]
    kernel_init: Callable
    bias_cancels: bool = False
    same_columns: bool = True
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Convolves (batch, height, width) to (batch, height, width, features)."""
        kernel = self.param('kernel', self.kernel_init, (*self.kernel_size, 1, self.features))
        bias = self.param('bias', nn.initializers.zeros, (self.features,))
        if self.bias_cancels:
            bias = jax.lax.stop_gradient(bias)
        rows, columns = (((n - 1) // 2, n // 2) for n in self.kernel_size)
        pads = (rows, columns if self.same_columns else (0, 0))
        maps = convolution.single_channel(
            pictures.astype(self.dtype), kernel.astype(self.dtype), pads
        )
        return maps + bias.astype(self.dtype)


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

    Where `train` is set the batch's are used, unless the layer is frozen (genre_jax.training.freezing).
    Statistics are float32 always. `epsilon` is PyTorch's default, added to the variance; `momentum` the
    share of the old running statistics that stays: PyTorch's 0.1 is 0.9 here.
    """
    norm = batch_norm_lib.BatchNorm(epsilon, momentum, use_scale, dtype, name=name)
    # At the call, not in the constructor: there the freezing of layers can overrule it.
    return norm(values, use_running_average=not train)


class Dropout(nn.Module):
    """Dropout whose rate may be a traced number: a packed sweep trains members with several rates.

    The bits of `nn.Dropout` under the same key, which comes from the layer's place and name. A rate of 0 that
    is known drops nothing and draws nothing, as there; one that is traced draws, and keeps everything.

    Attributes:
        rate: share of the values that become zero, in [0, 1).
        broadcast_dims: axes along which values are dropped together.
    """

    rate: float | jax.Array
    broadcast_dims: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, values: jax.Array, train: bool) -> jax.Array:
        """Drops values, and divides the others by their share, where `train` is set."""
        known = not isinstance(self.rate, jax.core.Tracer)
        if not train or (known and self.rate == 0):
            return values
        keep = 1 - jnp.asarray(self.rate, jnp.float32)
        shape = [1 if i in self.broadcast_dims else n for i, n in enumerate(values.shape)]
        kept = jax.random.bernoulli(self.make_rng('dropout'), keep, shape)
        return jnp.where(kept, values / keep.astype(values.dtype), jnp.zeros_like(values))


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
        return convolution.depthwise(
            maps.astype(self.dtype), kernel.astype(self.dtype), self.stride
        )


def max_pool_2x2(maps: jax.Array) -> jax.Array:
    """Takes the maximum of every 2 x 2 fields; an odd last row or column is left out.

    Maps are (batch, height, width, channels). The gradient of XLA's pooling windows takes over ten times as
    long on CPUs. The first of equal maxima gets it.
    """
    return functools.reduce(_larger, _fields(maps))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool_along(maps: jax.Array, axis: int, size: int) -> jax.Array:
    """Takes the maximum of every `size` values along axis 1 or 2 of (batch, height, width, channels).

    What is left over at its end is left out. The gradient of XLA's pooling windows takes three times as
    long on CPUs. The first of equal maxima gets it.
    """
    return _windows(maps, axis, size).max(axis + 1)


def _windows(maps, axis, size):
    count = maps.shape[axis] // size
    maps = jax.lax.slice_in_dim(maps, 0, count * size, axis=axis)
    return maps.reshape(*maps.shape[:axis], count, size, *maps.shape[axis + 1 :])


def _max_pool_forward(maps, axis, size):
    # The barrier: the gradient looks for the maximum, which XLA could compute anew with different rounding.
    maps = jax.lax.optimization_barrier(maps)
    highest = max_pool_along(maps, axis, size)
    return highest, (maps, highest)


def _max_pool_backward(axis, size, saved, gradient):
    maps, highest = saved
    windows = _windows(maps, axis, size)
    is_highest = windows == jnp.expand_dims(highest, axis + 1)
    first = jnp.expand_dims(jax.lax.argmax(is_highest, axis + 1, jnp.int32), axis + 1)
    places = jax.lax.broadcasted_iota(jnp.int32, windows.shape, axis + 1)
    spread = jnp.where(places == first, jnp.expand_dims(gradient, axis + 1), 0)
    shape = (*maps.shape[:axis], -1, *maps.shape[axis + 1 :])
    pads = [(0, maps.shape[i] % size if i == axis else 0) for i in range(maps.ndim)]
    return (jnp.pad(spread.reshape(shape), pads),)


max_pool_along.defvjp(_max_pool_forward, _max_pool_backward)


def avg_pool_2x2(maps: jax.Array) -> jax.Array:
    """Takes the mean of every 2 x 2 fields; an odd last row or column is left out.

    Maps are (batch, height, width, channels). XLA would join its pooling windows on CPUs with the convolution
    before them, to something slower.
    """
    return sum(_fields(maps)) / 4


def _fields(maps):
    height, width = (size // 2 * 2 for size in maps.shape[1:3])
    return [maps[:, row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]


def _larger(first, second):
    # Not jnp.maximum, whose gradient looks for the field that equals the result: XLA may compute it twice
    # with different rounding, and the gradient was lost. NaN wins.
    return jnp.where((second > first) | jnp.isnan(second), second, first)


def uniform_fan_in(fan_in: int) -> Callable:
    """PyTorch's default initialiser of convolutions, linear layers and biases.

    `fan_in` is the number of inputs of one unit. Uniform in +-1/sqrt(fan_in);
    `torch.nn.init.kaiming_uniform_(a=sqrt(5))` for kernels. Recurrent layers take their number of units for
    fan_in.
    """

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return init


def torch_dense(inputs: jax.Array, units: int, *, name: str, dtype: str = 'float32') -> jax.Array:
    """Applies a linear layer of PyTorch, (..., inputs) to (..., units), inside the calling module."""
    init = uniform_fan_in(inputs.shape[-1])
    return nn.Dense(units, kernel_init=init, bias_init=init, dtype=dtype, name=name)(inputs)


def check_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Refuses a value of config.model that is none of the choices: a UserError."""
    if value not in choices:
        raise UserError(f'config.model.{key}={value!r}{config_lib.nearest(str(value), choices)}')


def check_dtype(dtype: str) -> None:
    """Refuses a type of computation other than 'float32' and 'bfloat16': a UserError."""
    check_choice('dtype', dtype, ('float32', 'bfloat16'))


def check_dropout(key: str, rate: float) -> None:
    """Refuses a rate of dropout outside [0, 1): a UserError."""
    # A packed sweep has checked the rates of its members before it traces them.
    if not isinstance(rate, jax.core.Tracer) and not 0 <= rate < 1:
        raise UserError(f'config.model.{key}={rate}: expected a number in [0, 1)')


def dropout_rates(rates: float | Collection[float], n_layers: int) -> tuple[float, ...]:
    """Returns the rate of dropout after each of several layers, from one for all or one for each.

    Raises a UserError for another number of rates, or one outside [0, 1).
    """
    if isinstance(rates, int | float | jax.Array):  # a traced number has a length, too
        rates = (rates,) * n_layers
    if len(rates) != n_layers:
        raise UserError(
            f'config.model.dropout={tuple(rates)}: expected one rate, or one for each of {n_layers} layers'
        )
    for rate in rates:
        check_dropout('dropout', rate)
    return tuple(rates)


def check_units(key: str, units: Collection[int]) -> None:
    """Refuses widths of layers below 1: a UserError."""
    if any(width < 1 for width in units):
        raise UserError(f'config.model.{key}={tuple(units)}: expected widths of at least 1')


def check_picture(features: jax.Array, frames: int, bins: int) -> None:
    """Refuses features (batch, frames, bins) with fewer frames or bins than a network needs: a UserError."""
    if features.shape[1] < frames or features.shape[2] < bins:
        raise UserError(
            f'config.model needs at least {frames} frames and {bins} bins, and config.windows.window_s '
            f'with config.features gives {features.shape[1]} x {features.shape[2]}'
        )
