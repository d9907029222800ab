"""Convolutions that XLA computes slowly on CPUs, in other forms there; the same numbers up to rounding.

Measured beside PyTorch by `python -m benchmarks.models`, beside Flax by `benchmarks.single_channel_conv`.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.models.kernels.computed_once import computed_once

Pads = tuple[tuple[int, int], tuple[int, int]]

# Columns of the output that one product of matrices yields at once.
_BLOCK = 16
# Rows of the output that one transform yields, as a multiple of the kernel's.
_ROWS = 4
# Larger kernels are worth computing in other forms.
_SMALL = 3
# With more output channels than this XLA's own convolution is the faster one, but for the pictures' gradient.
_FEW_CHANNELS = 32

_convolve = functools.partial(jax.lax.conv_general_dilated, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


class SingleChannelConv(nn.Module):
    """A convolution of pictures with one channel; parameters and numbers of `nn.Conv`.

    Attributes:
        features: output channels.
        kernel_size: rows and columns of the kernel.
        kernel_init: initialiser of the kernel [rows, columns, 1, features].
        bias_cancels: batch normalisation follows, which subtracts the bias again. Its gradient is then
            zero, and said to be zero: the rounding noise that would come out instead, Adam makes into
            full steps, different ones on each number of devices.
        same_columns: whether columns are padded, so that there are as many afterwards; rows always are.
        dtype: of the computation.
        bias_init: initialiser of the bias.
    """

    features: int
    kernel_size: tuple[int, int]
    kernel_init: Callable
    bias_cancels: bool = False
    same_columns: bool = True
    dtype: str = 'float32'
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Convolves (batch, height, width) to (batch, height, width, features)."""
        kernel = self.param('kernel', self.kernel_init, (*self.kernel_size, 1, self.features))
        bias = self.param('bias', self.bias_init, (self.features,))
        if self.bias_cancels:
            bias = jax.lax.stop_gradient(bias)
        rows, columns = (((n - 1) // 2, n // 2) for n in self.kernel_size)
        pads = (rows, columns if self.same_columns else (0, 0))
        if max(self.kernel_size) > _SMALL:
            maps = single_channel(pictures.astype(self.dtype), kernel.astype(self.dtype), pads)
        else:
            pictures = pictures[..., None].astype(self.dtype)
            maps = _convolve(pictures, kernel.astype(self.dtype), (1, 1), pads)
        return maps + bias.astype(self.dtype)


class DepthwiseConv(nn.Module):
    """A 'same' convolution of every channel with a kernel of its own, without bias.

    Attributes:
        kernel_init: initialiser of the kernel [size, size, 1, channels].
        stride: of both axes.
        dtype: of the computation.
        size: of both axes of the kernel, an odd number.
        centred: see `depthwise`.
    """

    kernel_init: Callable
    stride: int = 1
    dtype: str = 'float32'
    size: int = 3
    centred: bool = False

    @nn.compact
    def __call__(self, maps: jax.Array) -> jax.Array:
        """Convolves (batch, height, width, channels); a stride of 2 gives ceil(size / 2)."""
        kernel = self.param('kernel', self.kernel_init, (self.size, self.size, 1, maps.shape[-1]))
        return depthwise(maps.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.centred)


def unbiased(channels: int, size: int, name: str, dtype: str, stride: int = 1) -> nn.Conv:
    """Makes a convolution without bias, before a normalisation, with Glorot's uniform kernels."""
    init = nn.initializers.glorot_uniform()
    return nn.Conv(channels, (size, size), stride, use_bias=False, kernel_init=init, dtype=dtype, name=name)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def single_channel(pictures: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """Convolves pictures with one channel and a large kernel.

    Pictures are (batch, height, width), kernels (rows, columns, 1, channels). The result (batch, height,
    width, channels) is smaller by the kernel and larger by the pads, zeros before and after, of the rows
    and of the columns. XLA's gradient of the pictures takes up to fifty times as long on a CPU as products
    of matrices, and with few channels the rest takes up to twice as long; ten times where spectra are
    multiplied. TPUs' compiler takes minutes for each of these convolutions, and seconds for the products.
    """
    on_cpu = _by_matrices(kernel) if kernel.shape[-1] <= _FEW_CHANNELS else _by_xla
    return _by_platform(on_cpu, _by_xla, pictures, kernel, on_tpu=_by_products, pads=pads)


def _single_channel_forward(pictures, kernel, pads):
    # What follows in training reads the result several times.
    return computed_once(single_channel(pictures, kernel, pads)), (pictures, kernel)


def _single_channel_backward(pads, saved, gradient):
    def of_pictures(convolve, pictures, kernel, gradient):
        return jax.vjp(lambda pictures: convolve(pictures, kernel, pads), pictures)[1](gradient)[0]

    def of_kernel(convolve, pictures, kernel, gradient):
        return jax.vjp(lambda kernel: convolve(pictures, kernel, pads), kernel)[1](gradient)[0]

    def choose(gradient_of, on_cpu):
        ways = (functools.partial(gradient_of, convolve) for convolve in (on_cpu, _by_xla, _by_products))
        on_cpu, elsewhere, on_tpu = ways
        return _by_platform(on_cpu, elsewhere, *saved, gradient, on_tpu=on_tpu)

    # Wide kernels waste fewer of the Toeplitz matrix's products, which are zeros beside the kernel.
    _, columns, _, channels = saved[1].shape
    few_and_wide = channels <= _FEW_CHANNELS and columns >= _BLOCK
    by_matrices = _by_matrices(saved[1])
    of_the_kernel = choose(of_kernel, by_matrices if few_and_wide else _by_xla)
    return choose(of_pictures, by_matrices), of_the_kernel


single_channel.defvjp(_single_channel_forward, _single_channel_backward)


def pointwise(maps: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves (batch, height, width, inputs) with a kernel (1, 1, inputs, channels), on CPUs as a product.

    For the kernel's gradient XLA transposes all maps there. The product it (jaxlib 0.10.2) does not compile
    for GPUs where batch, height and width are of some sizes.
    """

    def product(maps, kernel):
        return maps @ kernel[0, 0]

    def convolution(maps, kernel):
        return _convolve(maps, kernel, (1, 1), 'VALID')

    return _by_platform(product, convolution, maps, kernel)


def _by_platform(on_cpu, elsewhere, *arrays, on_tpu=None, **settings):
    ways = {'cpu': on_cpu, 'default': elsewhere} | ({'tpu': on_tpu} if on_tpu else {})
    ways = {platform: functools.partial(way, **settings) for platform, way in ways.items()}
    return jax.lax.platform_dependent(*arrays, **ways)


def _by_xla(pictures, kernel, pads):
    return _convolve(pictures[..., None], kernel, (1, 1), pads)


def _by_products(pictures, kernel, pads):
    """Multiplies blocks of the pictures by the kernel's Toeplitz matrix.

    A block of rows x (columns + _BLOCK - 1) pixels gives _BLOCK columns of the output.
    """
    rows, columns, _, channels = kernel.shape
    if columns == 1 < rows:  # blocks lie along the axis on which the kernel is long
        turned = _by_products(pictures.swapaxes(1, 2), kernel.swapaxes(0, 1), pads[::-1])
        return turned.swapaxes(1, 2)
    height, width = _output_size(pictures, kernel, pads)
    block = min(_BLOCK, width)
    padded = jnp.pad(pictures, ((0, 0), pads[0], (pads[1][0], pads[1][1] + -width % block)))
    blocks = _blocks(padded, columns, block)
    pixels = jnp.concatenate([blocks[:, row : row + height] for row in range(rows)], axis=-1)
    matrix = _toeplitz(kernel[:, :, 0], block).reshape(-1, block * channels)
    maps = pixels @ matrix
    return maps.reshape(*maps.shape[:2], -1, channels)[:, :, :width]


def _blocks(pictures, columns, block):
    """Cuts (..., width) into what `block` columns of an output read, (..., blocks, columns + block - 1)."""
    reach = columns + block - 1
    starts = range(0, pictures.shape[-1] - reach + 1, block)
    return jnp.stack([pictures[..., start : start + reach] for start in starts], axis=-2)


def _toeplitz(kernel, block):
    """Maps kernels (..., columns, channels) to matrices (..., columns + block - 1, block * channels)."""
    before = [(0, 0)] * (kernel.ndim - 2)
    shifted = [jnp.pad(kernel, (*before, (i, block - 1 - i), (0, 0))) for i in range(block)]
    matrix = jnp.stack(shifted, axis=-2)
    return matrix.reshape(*matrix.shape[:-2], -1)


def _by_matrices(kernel):
    """Returns what is fastest on CPUs: spectra want tall kernels, and more digits than bfloat16 has."""
    rows, columns = kernel.shape[:2]
    tall = rows >= _BLOCK and columns > 1
    return _by_spectra if tall and kernel.dtype == jnp.float32 else _by_products


def _by_spectra(pictures, kernel, pads):
    """Multiplies Fourier transforms of the rows, in columns blocks by the Toeplitz matrix as `_by_products`.

    A sixth of its products: the kernel's rows are one number of each bin. The transforms are products with
    matrices too, so the pictures are cut where they are much longer than the kernel.
    """
    rows, columns, _, channels = kernel.shape
    height, width = _output_size(pictures, kernel, pads)
    n_cuts = -(-height // (_ROWS * rows))
    new_rows = -(-height // n_cuts)
    n = new_rows + rows - 1
    n += n % 2
    turns = np.exp(-2j * np.pi * (np.outer(np.arange(n // 2 + 1), np.arange(n)) % n) / n)
    cosine, sine = turns.real.astype(np.float32), turns.imag.astype(np.float32)

    block = min(_BLOCK, width)
    after = pads[0][1] + n_cuts * new_rows - height + n - (new_rows + rows - 1)
    padded = jnp.pad(pictures, ((0, 0), (pads[0][0], after), (pads[1][0], pads[1][1] + -width % block)))
    cuts = jnp.stack([padded[:, i * new_rows :][:, :n] for i in range(n_cuts)], axis=1)
    cuts = cuts.reshape(-1, *cuts.shape[2:])
    spectrum = [jnp.einsum('fn,bnw->fbw', part, cuts) for part in (cosine, sine)]
    pixels = jnp.concatenate([_blocks(part, columns, block) for part in spectrum], axis=-1)
    pixels = pixels.reshape(
        len(turns), -1, pixels.shape[-1]
    )  # bins, blocks of all pictures, real and imaginary
    # The conjugate: what networks call a convolution does not turn the kernel round.
    of_kernel = [jnp.einsum('fr,rco->fco', part[:, :rows], kernel[:, :, 0]) for part in (cosine, -sine)]
    real, imag = (_toeplitz(part, block) for part in of_kernel)
    products = pixels @ jnp.concatenate([real, -imag], 1), pixels @ jnp.concatenate([imag, real], 1)
    weights = np.full((len(turns), 1), 2 / n, np.float32)
    weights[[0, -1]] = 1 / n  # these stand for themselves alone
    back = [(weights * part)[:, :new_rows].T for part in (cosine, sine)]
    maps = sum(part @ y.reshape(len(turns), -1) for part, y in zip(back, products, strict=True))
    maps = maps.reshape(new_rows, len(cuts), -1, channels).swapaxes(0, 1)
    return maps.reshape(len(pictures), n_cuts * new_rows, -1, channels)[:, :height, :width]


def _output_size(pictures, kernel, pads):
    sizes = zip(pictures.shape[1:], pads, kernel.shape[:2], strict=True)
    return [size + sum(pad) - length + 1 for size, pad, length in sizes]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(maps: jax.Array, kernel: jax.Array, stride: int, centred: bool = False) -> jax.Array:
    """Convolves every channel with its own kernel, 'same', and a stride of both axes.

    (batch, height, width, channels) with kernels (rows, columns, 1, channels) give (batch, ceil(height /
    stride), ceil(width / stride), channels). `centred` places a kernel of odd size over every pixel that a
    stride comes to, as PyTorch does, else zeros are divided between both ends, as in TensorFlow: with a
    stride of 2 and an even size that is another place. XLA's grouped convolutions are slow on CPUs: a sum of
    shifted maps takes a tenth to a fifth of the time there, with these gradients.
    """
    pads = _depthwise_pads(maps.shape[1:3], kernel.shape[:2], stride, centred)
    return _by_platform(_depthwise_shifted, _depthwise_grouped, maps, kernel, stride=stride, pads=pads)


def _depthwise_forward(maps, kernel, stride, centred):
    # As in `_single_channel_forward`: the sum of shifted maps would stand in each of the loops.
    return computed_once(depthwise(maps, kernel, stride, centred)), (maps, kernel)


def _depthwise_backward(stride, centred, saved, gradient):
    gradients = (_depthwise_shifted_gradients, _depthwise_grouped_gradients)
    maps, kernel = saved
    pads = _depthwise_pads(maps.shape[1:3], kernel.shape[:2], stride, centred)
    return _by_platform(*gradients, maps, kernel, gradient, stride=stride, pads=pads)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _depthwise_pads(size, kernel_size, stride, centred):
    if centred:
        return tuple((n // 2, n // 2) for n in kernel_size)
    return tuple(jax.lax.padtype_to_pads(size, kernel_size, (stride, stride), 'SAME'))


def _depthwise_grouped(maps, kernel, stride, pads):
    strides, groups = (stride, stride), maps.shape[-1]
    return _convolve(maps, kernel, strides, pads, feature_group_count=groups)


def _depthwise_grouped_gradients(maps, kernel, gradient, stride, pads):
    grouped = functools.partial(_depthwise_grouped, stride=stride, pads=pads)
    return jax.vjp(grouped, maps, kernel)[1](gradient)


def _depthwise_shifted(maps, kernel, stride, pads):
    padded = jnp.pad(maps, ((0, 0), *pads, (0, 0)))
    height, width = (-(-size // stride) for size in maps.shape[1:3])
    total = 0.0
    for row, column in np.ndindex(*kernel.shape[:2]):
        shifted = padded[:, row:, column:][:, ::stride, ::stride][:, :height, :width]
        total += shifted * kernel[row, column, 0].astype(jnp.float32)
    return total.astype(maps.dtype)


def _depthwise_shifted_gradients(maps, kernel, gradient, stride, pads):
    rows, columns = kernel.shape[:2]
    if stride == 1 and rows % 2 and columns % 2:
        of_maps = _depthwise_shifted(gradient, kernel[::-1, ::-1], 1, pads)
    else:
        _, pull_back = jax.vjp(lambda maps: _depthwise_shifted(maps, kernel, stride, pads), maps)
        (of_maps,) = pull_back(gradient)
    padded = jnp.pad(maps, ((0, 0), *pads, (0, 0)))
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
