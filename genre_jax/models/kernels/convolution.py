"""Convolutions that XLA computes slowly on CPUs, in other forms there; the same numbers up to rounding.

Measured beside PyTorch by `python -m benchmarks.models`, beside Flax by `benchmarks.single_channel_conv`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

Pads = tuple[tuple[int, int], tuple[int, int]]

# Columns of the output that one product of matrices yields at once.
_BLOCK = 16
# With more output channels than this XLA's own convolution is the faster one, but for the pictures' gradient.
_FEW_CHANNELS = 32


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def single_channel(pictures: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """Convolves pictures with one channel and a large kernel.

    Pictures are (batch, height, width), kernels (rows, columns, 1, channels). The result (batch, height,
    width, channels) is smaller by the kernel and larger by the pads, zeros before and after, of the rows
    and of the columns. XLA's gradient of the pictures takes up to fifty times as long on a CPU as products
    of matrices, and with few channels the rest takes up to twice as long.
    """
    on_cpu = _by_products if kernel.shape[-1] <= _FEW_CHANNELS else _by_xla
    return _by_platform(on_cpu, _by_xla, pictures, kernel, pads=pads)


def _single_channel_forward(pictures, kernel, pads):
    # The barrier: what follows reads the result several times, and XLA would compute it in each place.
    maps = jax.lax.optimization_barrier(single_channel(pictures, kernel, pads))
    return maps, (pictures, kernel)


def _single_channel_backward(pads, saved, gradient):
    def of_pictures(convolve, pictures, kernel, gradient):
        return jax.vjp(lambda pictures: convolve(pictures, kernel, pads), pictures)[1](gradient)[0]

    def of_kernel(convolve, pictures, kernel, gradient):
        return jax.vjp(lambda kernel: convolve(pictures, kernel, pads), kernel)[1](gradient)[0]

    def choose(gradient_of, on_cpu):
        both = (functools.partial(gradient_of, convolve) for convolve in (on_cpu, _by_xla))
        return _by_platform(*both, *saved, gradient)

    # Wide kernels waste fewer of the Toeplitz matrix's products, which are zeros beside the kernel.
    _, columns, _, channels = saved[1].shape
    few_and_wide = channels <= _FEW_CHANNELS and columns >= _BLOCK
    of_the_kernel = choose(of_kernel, _by_products if few_and_wide else _by_xla)
    return choose(of_pictures, _by_products), of_the_kernel


single_channel.defvjp(_single_channel_forward, _single_channel_backward)


def _by_platform(on_cpu, elsewhere, *arrays, **settings):
    return jax.lax.platform_dependent(
        *arrays,
        cpu=functools.partial(on_cpu, **settings),
        default=functools.partial(elsewhere, **settings),
    )


def _by_xla(pictures, kernel, pads):
    return jax.lax.conv_general_dilated(
        pictures[..., None],
        kernel,
        window_strides=(1, 1),
        padding=pads,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )


def _by_products(pictures, kernel, pads):
    """Multiplies blocks of the pictures by the kernel's Toeplitz matrix.

    A block of rows x (columns + _BLOCK - 1) pixels gives _BLOCK columns of the output.
    """
    rows, columns, _, channels = kernel.shape
    if columns == 1 < rows:  # blocks lie along the axis on which the kernel is long
        turned = _by_products(pictures.swapaxes(1, 2), kernel.swapaxes(0, 1), pads[::-1])
        return turned.swapaxes(1, 2)
    height, width = (
        size + sum(pad) - length + 1
        for size, pad, length in zip(pictures.shape[1:], pads, (rows, columns), strict=True)
    )
    block = min(_BLOCK, width)
    n_blocks = -(-width // block)
    reach = columns + block - 1
    after = pads[1][1] + n_blocks * block - width
    padded = jnp.pad(pictures, ((0, 0), pads[0], (pads[1][0], after)))
    blocks = jnp.stack([padded[:, :, i * block :][..., :reach] for i in range(n_blocks)], axis=2)
    pixels = jnp.concatenate([blocks[:, row : row + height] for row in range(rows)], axis=-1)
    shifted = [jnp.pad(kernel[:, :, 0], ((0, 0), (i, block - 1 - i), (0, 0))) for i in range(block)]
    matrix = jnp.stack(shifted, axis=2).reshape(rows * reach, block * channels)
    maps = pixels @ matrix
    return maps.reshape(*maps.shape[:2], n_blocks * block, channels)[:, :, :width]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(maps: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolves every channel with its own kernel, 'same', and a stride of both axes.

    (batch, height, width, channels) with kernels (rows, columns, 1, channels) give (batch, ceil(height /
    stride), ceil(width / stride), channels). XLA's grouped convolutions are slow on CPUs: a sum of shifted
    maps takes a tenth to a fifth of the time there, with these gradients.
    """
    return _by_platform(_depthwise_shifted, _depthwise_grouped, maps, kernel, stride=stride)


def _depthwise_forward(maps, kernel, stride):
    # The barrier: what follows in training reads the result several times, and XLA would put the sum of
    # shifted maps into each of the loops.
    out = jax.lax.optimization_barrier(depthwise(maps, kernel, stride))
    return out, (maps, kernel)


def _depthwise_backward(stride, saved, gradient):
    gradients = (_depthwise_shifted_gradients, _depthwise_grouped_gradients)
    return _by_platform(*gradients, *saved, gradient, stride=stride)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)


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
        _, pull_back = jax.vjp(lambda maps: _depthwise_shifted(maps, kernel, stride), maps)
        (of_maps,) = pull_back(gradient)
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
