"""Pitch and tempo of one waveform: `fn(key, waveform (time,), **amounts) -> (time,)`.

The amounts are continuous and differ from clip to clip, while every shape stays the same.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.features import resample, stft

_N_FFT, _HOP_LENGTH = 2048, 512
# The interpolation filter: taps on each side, the Kaiser window's shape, and the degree of the
# polynomials that stand for it between two half samples.
_TAPS, _KAISER_BETA, _DEGREE = 12, 7.0, 5
_BLOCK = 32
# The fastest reading there is; how many samples of it TPUs compute at once, and take from one stretch.
_FASTEST, _PIECE, _READ_BLOCK = 4, 8192, 16


def pitch_shift(key: jax.Array, waveform: jax.Array, *, max_semitones: float) -> jax.Array:
    """Shifts the pitch by up to +-`max_semitones`, uniform and equal-tempered; tempo and length stay."""
    semitones = jax.random.uniform(key, minval=-1) * max_semitones
    return shift_pitch(waveform, semitones, max_semitones)


def time_stretch(key: jax.Array, waveform: jax.Array, *, max_factor: float) -> jax.Array:
    """Makes the clip up to `max_factor` (above 1) times longer or shorter, the pitch stays.

    The factor is log-uniform. The beginning stays in place; what is longer is cut, what is shorter is
    followed by silence.
    """
    factor = max_factor ** jax.random.uniform(key, minval=-1)
    return stretch(waveform, factor, waveform.shape[0])


def speed(key: jax.Array, waveform: jax.Array, *, max_factor: float) -> jax.Array:
    """Plays the clip up to `max_factor` (above 1) times slower or faster: pitch and tempo change together.

    The factor is log-uniform; ends as in `time_stretch`.
    """
    return play(waveform, max_factor ** jax.random.uniform(key, minval=-1), waveform.shape[0])


def play(waveform: jax.Array, factor: jax.Array, n_samples: int) -> jax.Array:
    """Plays a clip `factor` times as fast, to float32 (n_samples,): pitch and tempo change together."""
    filtered = resample.low_pass(waveform, 1 / jnp.maximum(factor, 1))
    return read_at_speed(jnp.where(factor > 1, filtered, waveform), factor, n_samples)


def shift_pitch(waveform: jax.Array, semitones: jax.Array, max_semitones: float) -> jax.Array:
    """Stretches in time, then plays the result faster; shapes follow from `max_semitones`."""
    factor = 2 ** (semitones / 12)
    longest = math.ceil(waveform.shape[0] * 2 ** (max_semitones / 12))
    # What the faster reading would bring above half the sample rate is left out before.
    stretched = stretch(waveform, factor, longest, kept_share=1 / factor)
    return read_at_speed(stretched, factor, waveform.shape[0])


def stretch(
    waveform: jax.Array, factor: jax.Array, n_samples: int, kept_share: jax.Array | float = 1.0
) -> jax.Array:
    """Changes the duration with a phase vocoder: an onset at t moves to factor * t, silence follows the end.

    Source: Flanagan and Golden (1966), Dolson (1986), as `librosa.phase_vocoder`. Between frames
    magnitudes are interpolated; phases advance from frame to frame as they do in the original, by a
    product of unit vectors, in which whole turns vanish by themselves. Frequencies above `kept_share` of
    half the sample rate are left out.
    """
    missing = max(0, _HOP_LENGTH - waveform.shape[0])  # two frames at least
    waveform = jnp.pad(waveform, (0, missing))
    spectrum = stft.stft(waveform, n_fft=_N_FFT, win_length=_N_FFT, hop_length=_HOP_LENGTH, padding='zeros')
    n_frames = spectrum.shape[0]
    magnitude = jnp.abs(spectrum)
    direction = jnp.where(magnitude > 0, spectrum / jnp.where(magnitude > 0, magnitude, 1), 1)
    turn = direction[1:] * direction[:-1].conj()
    position = jnp.arange(1 + -(-n_samples // _HOP_LENGTH)) / factor
    before = jnp.clip(position.astype(jnp.int32), 0, n_frames - 2)
    share = jnp.clip(position - before, 0, 1)[:, None]
    heard = (position <= n_frames - 1)[:, None]
    between = (1 - share) * magnitude[before] + share * magnitude[before + 1]
    phase = _running_product(jnp.concatenate([direction[:1], turn[before[:-1]]]))
    kept = jnp.arange(spectrum.shape[1]) <= kept_share * (spectrum.shape[1] - 1)
    return stft.inverse(jnp.where(heard & kept, between, 0) * phase, n_samples)


def _running_product(unit_vectors: jax.Array) -> jax.Array:
    """Multiplies complex numbers of magnitude 1 along axis 0, each with all before it."""

    def in_a_tree(vectors: jax.Array) -> jax.Array:
        return jax.lax.associative_scan(lambda a, b: _unit(a * b), vectors)

    return jax.lax.platform_dependent(
        unit_vectors, cpu=_one_by_one, tpu=_product_in_blocks, default=in_a_tree
    )


def _unit(product: jax.Array) -> jax.Array:
    return product / jnp.abs(product)  # rounding would let the magnitude drift


def _one_by_one(vectors: jax.Array) -> jax.Array:
    def step(product: jax.Array, vector: jax.Array) -> tuple[jax.Array, jax.Array]:
        product = _unit(product * vector)
        return product, product

    return jax.lax.scan(step, jnp.ones_like(vectors[0]), vectors)[1]


def _product_in_blocks(vectors: jax.Array) -> jax.Array:
    """Computes `_running_product` in all blocks at once, then across them: trees take longer to compile."""
    n_vectors = len(vectors)
    side = math.isqrt(n_vectors - 1) + 1
    missing = ((0, side**2 - n_vectors), (0, 0))
    blocks = jnp.pad(vectors, missing, constant_values=1).reshape(side, side, -1)
    inside = _one_by_one(blocks.swapaxes(0, 1))  # place in the block, block
    before = jnp.pad(_one_by_one(inside[-1])[:-1], ((1, 0), (0, 0)), constant_values=1)
    return _unit(inside * before).swapaxes(0, 1).reshape(side**2, -1)[:n_vectors]


def read_at_speed(waveform: jax.Array, factor: jax.Array, n_samples: int) -> jax.Array:
    """Reads a waveform at `factor` times its speed, to float32 (n_samples,); silence follows the end.

    Each sample is a product with a Kaiser-windowed sinc of 24 taps, in Farrow's form (1988): between two
    half samples the taps are polynomials of the position, so that filters with their coefficients run over
    the waveform once, and each sample needs one row of their output. Nothing may be in the waveform that
    the faster reading would alias.
    """
    start, fraction = _positions(factor, n_samples)
    value = jax.lax.platform_dependent(waveform, start, fraction, tpu=_read_in_pieces, default=_read)
    return jnp.where(start < waveform.shape[0], value, 0)


def _read(
    waveform: jax.Array,
    start: jax.Array,
    fraction: jax.Array,
    take: Callable[[jax.Array, jax.Array], jax.Array] = lambda rows, index: rows[index],
) -> jax.Array:
    """Reads a waveform at positions, whole samples and fractions; behind its end it may be anything."""
    filters = _farrow_filters()
    taps, columns = filters.shape
    # A convolution as a product with blocks of a Toeplitz matrix, which CPUs do three times as fast.
    toeplitz = np.zeros((taps - 1 + _BLOCK, _BLOCK, columns), np.float32)
    for i in range(_BLOCK):
        toeplitz[i : i + taps, i] = filters
    padding = (taps // 2 - 1, taps // 2 + -waveform.shape[0] % _BLOCK)
    around = stft.frames(jnp.pad(waveform, padding), len(toeplitz), _BLOCK)
    rows = jnp.matmul(around, toeplitz.reshape(len(toeplitz), -1), precision='highest')
    rows = rows.reshape(-1, _DEGREE + 1)
    half = (fraction >= 0.5).astype(jnp.int32)
    index = jnp.minimum(2 * start + half, rows.shape[0] - 1)
    row = take(rows, index)
    position = 2 * fraction - half - 0.5
    return functools.reduce(lambda above, i: above * position + row[:, i], range(_DEGREE, -1, -1), 0)


def _read_in_pieces(waveform: jax.Array, start: jax.Array, fraction: jax.Array) -> jax.Array:
    """Reads piece after piece of the result: TPUs fill up what has few columns to 128 of them."""
    n_samples = len(start)
    missing = (0, -n_samples % _PIECE)
    start = jnp.minimum(start, waveform.shape[0])  # silence from there on
    start, fraction = (jnp.pad(x, missing, mode='edge').reshape(-1, _PIECE) for x in (start, fraction))
    # What the filters reach before and behind a piece is there, too.
    waveform = jnp.pad(waveform, (_TAPS, _FASTEST * _PIECE + 2 * _TAPS))
    window = _FASTEST * _PIECE + 3 * _TAPS

    def one(piece: tuple[jax.Array, jax.Array]) -> jax.Array:
        start, fraction = piece
        around = jax.lax.dynamic_slice_in_dim(waveform, start[0], window)
        return _read(around, start - start[0] + _TAPS, fraction, _rows_by_products)

    return jax.lax.map(one, (start, fraction)).reshape(-1)[:n_samples]


def _rows_by_products(rows: jax.Array, index: jax.Array) -> jax.Array:
    """Returns rows[index] of (time, columns), where `index` rises by at most 2 * _FASTEST a sample.

    What neighbours need lies close together: a product with ones and zeros takes it out of one piece, since
    TPUs fetch single rows one after the other.
    """
    index, n_rows = jnp.pad(index, (0, -len(index) % _READ_BLOCK), mode='edge'), len(index)
    index = index.reshape(-1, _READ_BLOCK)
    reach = 2 * _FASTEST * _READ_BLOCK
    rows = jnp.pad(rows, ((0, reach), (0, 0)))
    pieces = jax.vmap(lambda i: jax.lax.dynamic_slice_in_dim(rows, i, reach))(index[:, 0])
    chosen = index[:, :, None] - index[:, :1, None] == np.arange(reach)
    found = jnp.matmul(chosen.astype(rows.dtype), pieces, precision='highest')
    return found.reshape(-1, rows.shape[1])[:n_rows]


@functools.cache
def _farrow_filters() -> np.ndarray:
    """Fits polynomials to the taps between half samples, float32 [taps, 2 halves x (degree + 1)]."""
    inside = np.linspace(0, 1, 33)  # of the half sample
    filters = np.zeros((2 * _TAPS, 2, _DEGREE + 1))
    for half in range(2):
        fraction = (half + inside) / 2
        distance = np.arange(1 - _TAPS, _TAPS + 1)[:, None] - fraction
        window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (distance / _TAPS) ** 2, 0, 1)))
        taps = np.sinc(distance) * window / np.i0(_KAISER_BETA)
        filters[:, half] = np.polynomial.polynomial.polyfit(inside - 0.5, taps.T, _DEGREE).T
    return filters.reshape(2 * _TAPS, -1).astype(np.float32)


def _positions(factor: jax.Array, n_samples: int) -> tuple[jax.Array, jax.Array]:
    """Splits factor * 0, 1, 2, ... into whole samples and fractions.

    float32 holds 24 bits: the product with a large index would have no bits left for the fraction.
    So the factor is split in two, of which the first times any index below 2**12 is exact.
    """
    block = 1024
    n_blocks = -(-n_samples // block)
    whole = jnp.floor(factor * block)
    rest = factor * block - whole  # samples that a block is longer, below 1
    blocks = jnp.arange(n_blocks)
    carry = blocks * rest
    begin = blocks * whole.astype(jnp.int32) + jnp.floor(carry).astype(jnp.int32)
    inside = (carry - jnp.floor(carry))[:, None] + factor * jnp.arange(block)
    start = begin[:, None] + jnp.floor(inside).astype(jnp.int32)
    fraction = inside - jnp.floor(inside)
    return start.reshape(-1)[:n_samples], fraction.reshape(-1)[:n_samples]
