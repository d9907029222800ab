"""Layers that more than one model shares."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


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
