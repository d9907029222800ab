"""Transforms by products against NumPy's in float64; what a TPU's compiler is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.augment import outliers, pitch
from genre_jax.features import FLAVOURS, fourier
from genre_jax.features.resample import resample

# Of the front ends, of resampling 44.1 kHz to 16 and back, odd ones, primes, the smallest.
LENGTHS = (400, 512, 2048, 4096, 7056, 2560, 2205, 97, 62, 63, 3, 2, 1)


def relative_error(found, wanted):
    return np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize('n', LENGTHS)
def test_products_are_the_transform(n):
    x = np.random.default_rng(n).standard_normal((2, 3, n))
    spectrum = np.fft.rfft(x)
    # Some roundings of float32, as an FFT has.
    assert relative_error(fourier.rfft_by_products(x.astype(np.float32)), spectrum) < 1e-6
    for bins in {len(spectrum[0, 0]), max(1, n // 4)}:
        some = spectrum[..., :bins].astype(np.complex64)
        wanted = np.fft.irfft(spectrum[..., :bins], n)
        assert relative_error(fourier.irfft_by_products(some, n), wanted) < 1e-6
    # More bins than there are: NumPy cuts as well.
    more = np.concatenate([spectrum, spectrum], -1).astype(np.complex64)
    assert relative_error(fourier.irfft_by_products(more, n), x) < 1e-6


@pytest.mark.parametrize('name', sorted(FLAVOURS))
def test_no_front_end_asks_a_tpu_for_an_fft(name):
    clips = jax.ShapeDtypeStruct((2, 3 * 44100), jnp.float32)
    front_end = FLAVOURS[name]()
    program = jax.jit(lambda x: front_end(resample(x, 44100, front_end.sample_rate_hz))).trace(clips)
    assert 'fft' in program.lower(lowering_platforms=('cuda',)).as_text()
    assert 'fft' not in program.lower(lowering_platforms=('tpu',)).as_text()


@pytest.mark.parametrize(
    ('augment', 'amounts'),
    [
        (pitch.speed, {'max_factor': 1.1}), (pitch.time_stretch, {'max_factor': 1.1}),
        (pitch.pitch_shift, {'max_semitones': 2.0}), (outliers.outliers, {}),
    ],
)  # fmt: skip
def test_no_augmentation_asks_a_tpu_for_an_fft(augment, amounts):
    clip = jax.ShapeDtypeStruct((22050,), jnp.float32)
    program = jax.jit(lambda x: augment(jax.random.key(0), x, **amounts)).trace(clip)
    assert 'fft' not in program.lower(lowering_platforms=('tpu',)).as_text()
