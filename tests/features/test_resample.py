"""The resampler against soxr, closed forms and the adjoint."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soxr

from genre_jax.features.resample import low_pass, resample

RATES_HZ = (8000, 11025, 16000, 22050, 32000, 44100, 48000)
PAIRS = tuple(itertools.permutations(RATES_HZ, 2))


def noise(n):
    return np.random.default_rng(0).uniform(-1, 1, n).astype(np.float32)


def sines(frequencies_hz, rate_hz, n):
    return np.sin(2 * np.pi * np.asarray(frequencies_hz)[:, None] * np.arange(n) / rate_hz)


def amplitude(samples, frequency_hz, rate_hz):
    phase = 2 * np.pi * frequency_hz * np.arange(len(samples)) / rate_hz
    basis = np.stack([np.sin(phase), np.cos(phase)], 1)
    return np.hypot(*np.linalg.lstsq(basis, samples, rcond=None)[0])


def interior(n_out, from_hz, to_hz):
    """Output samples whose filters do not reach beyond the ends."""
    margin = int(np.ceil(100 * to_hz / min(from_hz, to_hz)))
    return slice(margin, n_out - margin)


def band_limited_noise(n, share):
    """White noise up to a share of the Nyquist frequency, peak 1."""
    spectrum = np.fft.rfft(np.random.default_rng(2).standard_normal(n))
    spectrum[int(share * len(spectrum)) :] = 0
    noise = np.fft.irfft(spectrum, n)
    return noise / np.abs(noise).max()


@pytest.mark.parametrize(('from_hz', 'to_hz'), PAIRS)
def test_resample(from_hz, to_hz):
    n = from_hz // 4 + 13
    lower = min(from_hz, to_hz)
    kept_hz = [1000, *(np.array([0.02, 0.3, 0.6, 0.8, 0.87, 0.91]) * lower / 2)]
    # What cannot be kept, from just above the new Nyquist frequency to the old one.
    lost_hz = np.linspace(to_hz / 2 * 1.001, from_hz / 2 * 0.999, 8) if to_hz < from_hz else []
    noise = band_limited_noise(n, 0.88 * lower / from_hz)
    batch = np.concatenate([sines([*kept_hz, *lost_hz], from_hz, n), noise[None]])

    apply = jax.jit(resample, static_argnums=(1, 2))
    out = np.asarray(apply(batch.astype(np.float32), from_hz, to_hz), np.float64)

    n_out = -(-n * to_hz // from_hz)
    assert out.shape == (len(batch), n_out)
    inner = interior(n_out, from_hz, to_hz)
    tone = sines([1000], to_hz, n_out)[0]
    assert np.abs(out[0] - tone)[inner].max() < 1e-5
    for row, frequency_hz in enumerate(kept_hz):
        gain_db = 20 * np.log10(amplitude(out[row, inner], frequency_hz, to_hz))
        assert abs(gain_db) < 1e-4, frequency_hz
    for row in range(len(kept_hz), len(kept_hz) + len(lost_hz)):
        assert 20 * np.log10(np.abs(out[row, inner]).max()) < -120, lost_hz[row - len(kept_hz)]
    theirs = soxr.resample(noise, from_hz, to_hz, 'VHQ')
    shared = slice(inner.start, min(inner.stop, len(theirs) - inner.start))
    assert np.abs(out[-1, shared] - theirs[shared]).max() < 3e-4


def test_resample_to_the_same_rate_changes_nothing():
    waveform = jnp.float32(noise(100))
    assert resample(waveform, 16000, 16000) is waveform


@pytest.mark.parametrize(('from_hz', 'to_hz'), [(44100, 16000), (16000, 22050), (44100, 22050)])
def test_resample_is_linear_and_time_is_the_last_axis(from_hz, to_hz):
    rng = np.random.default_rng(3)
    a, b = rng.uniform(-1, 1, (2, 2, 3, 700)).astype(np.float32)
    together = resample(jnp.asarray(2 * a - 3 * b), from_hz, to_hz)
    apart = 2 * resample(jnp.asarray(a), from_hz, to_hz) - 3 * resample(jnp.asarray(b), from_hz, to_hz)
    assert together.shape == (2, 3, -(-700 * to_hz // from_hz))
    np.testing.assert_allclose(together, apart, atol=1e-5)
    alone = resample(jnp.asarray(a[1, 2]), from_hz, to_hz)
    np.testing.assert_allclose(resample(jnp.asarray(a), from_hz, to_hz)[1, 2], alone, atol=1e-6)


@pytest.mark.parametrize('n', [1, 2, 63, 64, 129])
@pytest.mark.parametrize(('from_hz', 'to_hz'), [(44100, 16000), (8000, 48000)])
def test_resample_of_short_waveforms_is_that_of_padded_ones(n, from_hz, to_hz):
    waveform = jnp.float32(noise(n))
    n_out = -(-n * to_hz // from_hz)
    out = resample(waveform, from_hz, to_hz)
    assert out.shape == (n_out,)
    longer = resample(jnp.pad(waveform, (0, 1000)), from_hz, to_hz)
    np.testing.assert_allclose(out, longer[:n_out], atol=1e-6)


def test_gradient_is_the_adjoint():
    rng = np.random.default_rng(4)
    x, v = rng.standard_normal((2, 800)).astype(np.float32)
    weights = rng.standard_normal(-(-800 * 16000 // 22050)).astype(np.float32)
    gradient = jax.grad(lambda y: (resample(y, 22050, 16000) * weights).sum())(jnp.asarray(x))
    # <A'w, v> = <w, Av>
    expected = np.dot(weights, resample(jnp.asarray(v), 22050, 16000))
    np.testing.assert_allclose(np.dot(gradient, v), expected, rtol=1e-4)


@pytest.mark.parametrize('cutoff', [0.5, 0.7, 1 / 1.1, 1.0])
def test_low_pass_by_sines(cutoff):
    """Flat up to 2.5 % of half the rate below the cutoff, from there on 100 dB down; blocks have no seams."""
    nyquist_hz, n = 11025, 20_000
    below = [share * nyquist_hz for share in (0.01, 0.3, cutoff - 0.03)]
    inside = slice(300, n - 300)
    for wave in sines(below, 22050, n):
        filtered = np.asarray(low_pass(jnp.float32(wave), jnp.float32(cutoff)))
        np.testing.assert_allclose(filtered[inside], wave[inside], rtol=0, atol=3e-5)
    above = [share * nyquist_hz for share in (cutoff, cutoff + 0.05, 0.99) if cutoff <= share < 1]
    for wave in sines(above, 22050, n):
        filtered = np.asarray(low_pass(jnp.float32(wave), jnp.float32(cutoff)))
        assert np.abs(filtered[inside]).max() < 2e-5


@pytest.mark.parametrize('n', [1, 2, 255, 3584, 3585])
def test_low_pass_of_short_waveforms_is_that_of_padded_ones(n):
    wave = noise(n)
    padded = low_pass(jnp.asarray(np.pad(wave, (0, 5000))), jnp.float32(0.8))
    np.testing.assert_allclose(low_pass(jnp.asarray(wave), jnp.float32(0.8)), padded[:n], rtol=0, atol=1e-6)
