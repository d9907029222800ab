"""Distributions and surfaces of melodies: closed forms, NumPy's counts, and what a transposition does."""

import functools

import jax
import numpy as np
import pytest

from genre_jax.errors import UserError
from genre_jax.features import melody

RATE_HZ = 43.0
BINS = 53
EITHER = pytest.mark.parametrize('bins', (BINS, 24))  # an even number has a component that is its own mirror


def front_end(bins=BINS, **fields):
    fields = {'delays_s': (0.3, 1.0), 'components': 40} | fields
    return melody.Melody(sample_rate_hz=RATE_HZ, bins_per_octave=bins, **fields)


def walk(seed, frames=1400, unvoiced=0.1):
    """A melody that wanders over an octave and a half about 250 Hz, with pauses."""
    rng = np.random.default_rng(seed)
    octaves = np.cumsum(rng.standard_normal(frames)) / 40
    octaves = 0.7 * np.sin(octaves) + 0.1 * np.sin(np.arange(frames) / 3)
    f0_hz = 250 * 2.0**octaves
    f0_hz[rng.random(frames) < unvoiced] = 0
    f0_hz[: 20 + 7 * seed] = 0
    return f0_hz.astype(np.float32)


FRAMES = 1500


@functools.cache
def compiled(bins=BINS, components=40):
    return jax.jit(front_end(bins, components=components))


def of(f0_hz, bins=BINS, **fields):
    """Features of a melody, which is filled up with silence."""
    rows = compiled(bins, **fields)(np.pad(f0_hz, (0, FRAMES - len(f0_hz)))[None])
    return melody.columns(np.asarray(rows)[0], bins)


def counts(height, weight, origin, n, circular):
    """Linear interpolation between bins `origin`, `origin` + 1, ..., one frame after the other."""
    found = np.zeros(n)
    for each, share in zip(height - origin, weight, strict=True):
        low = int(np.floor(each))
        for place, part in ((low, low + 1 - each), (low + 1, each - low)):
            if circular or 0 <= place < n:
                found[place % n] += share * part
    return found


@pytest.mark.parametrize('seed', range(3))
def test_distributions_are_numpys(seed):
    f0_hz = walk(seed)
    columns = of(f0_hz)
    voiced = np.flatnonzero(f0_hz)
    height = BINS * np.log2(f0_hz[voiced].astype(np.float64) / 55)
    middle = np.median(f0_hz[voiced])
    quarter = np.arange(len(voiced)) * 4 // len(voiced)
    begin, end = voiced[0], voiced[-1] + 1
    ends = round(10 * RATE_HZ)
    masks = [np.ones(len(voiced)), *(quarter == i for i in range(4))]
    masks += [voiced < begin + ends, voiced >= end - ends]
    for grid in range(2):
        lowest = float(columns.lowest[grid])
        assert lowest * 2 == round(lowest * 2)
        above = lowest - (BINS * np.log2(middle / 55) - 0.75 * BINS)
        assert -1e-3 <= above - grid / 2 < 0.5 + 1e-3
        for row, mask in enumerate(masks):
            wanted = counts(height, mask, lowest, BINS, circular=True) / len(voiced)
            np.testing.assert_allclose(columns.folded[grid, row], wanted, atol=2e-6)
            if row < 5:
                wanted = counts(height, mask, lowest - BINS, 4 * BINS - 1, circular=False) / len(voiced)
                np.testing.assert_allclose(columns.unfolded[grid, row], wanted, atol=2e-6)


@EITHER
def test_surfaces_are_numpys(bins):
    """Components that are not fitted are Fourier's, of the sheared root of blurred counts of pairs."""
    f0_hz = walk(0)
    columns = of(f0_hz, bins, components=bins * (bins // 2 + 1))
    height = bins * np.log2(np.where(f0_hz > 0, f0_hz, 55).astype(np.float64) / 55)
    for grid in range(2):
        described = np.asarray(columns.surfaces[grid]).reshape(
            2, bins, bins // 2 + 1, 3
        )  # by delay and interval
        lowest = float(columns.lowest[grid])
        for delay, frames in enumerate((13, 43)):
            surface = np.zeros((bins, bins))
            both = (f0_hz[:-frames] > 0) & (f0_hz[frames:] > 0)
            for p, q in zip((height[:-frames] - lowest)[both], (height[frames:] - lowest)[both], strict=True):
                for i in (0, 1):
                    for j in (0, 1):
                        weight = (1 - abs(p - np.floor(p) - i)) * (1 - abs(q - np.floor(q) - j))
                        surface[(int(np.floor(p)) + i) % bins, (int(np.floor(q)) + j) % bins] += weight
            away = np.minimum(np.arange(bins), bins - np.arange(bins))
            blur = np.fft.fft(np.exp(-0.5 * away**2)).real
            blurred = np.fft.ifft2(np.fft.fft2(surface) * np.outer(blur, blur)).real.clip(0)
            root = np.sqrt(blurred / blurred.sum())
            sheared = np.array([[root[p, (p + d) % bins] for d in range(bins)] for p in range(bins)])
            wanted = np.fft.rfft(sheared, axis=0, norm='ortho')
            np.testing.assert_allclose(described[delay, :, :, 0].T, wanted.real, atol=1e-4)
            np.testing.assert_allclose(described[delay, :, :, 1].T, wanted.imag, atol=1e-4)
            np.testing.assert_array_equal(
                described[delay, :, :, 2].T, np.arange(bins // 2 + 1)[:, None] * np.ones(bins)
            )


@EITHER
def test_a_transposition_moves_where_the_features_begin_and_nothing_else(bins):
    f0_hz = walk(1)
    fitted = front_end(bins).fitted([np.stack([walk(seed) for seed in range(4)])])
    half_bins = np.array([0, -4 * bins, -1, 1, 2, 37, bins, 2 * bins])
    steps = np.exp2(half_bins / (2 * bins)).astype(np.float32)
    rows = np.asarray(jax.jit(fitted)(steps[:, None] * f0_hz))
    np.testing.assert_allclose(
        rows[:, :, 1:], np.broadcast_to(rows[:1, :, 1:], rows[:, :, 1:].shape), atol=1e-5
    )
    np.testing.assert_allclose(rows[:, 0, 0] - rows[0, 0, 0], half_bins / 2, atol=1e-4)


def test_a_steady_note_is_one_bin():
    """In the middle of a bin all of it, between two half in each; every pair of frames is that pair."""
    for offset in (0.0, 0.5):
        f0_hz = np.full(400, 55 * 2 ** ((100 + offset) / BINS), np.float32)
        columns = of(f0_hz)
        for grid in range(2):
            place = (100 + offset - float(columns.lowest[grid])) % BINS
            wanted = np.maximum(0, 1 - np.abs((np.arange(BINS) - place + 26.5) % BINS - 26.5))
            np.testing.assert_allclose(columns.folded[grid, 0], wanted, atol=1e-3)
            np.testing.assert_allclose(columns.folded[grid, 1:5].sum(0), wanted, atol=1e-3)


def test_silence_behind_a_melody_changes_nothing():
    f0_hz = walk(2)
    longer = np.asarray(jax.jit(front_end())(np.pad(f0_hz, (0, 5000))[None]))[0]
    for one, other in zip(of(f0_hz), melody.columns(longer, BINS), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert all(np.isfinite(each).all() for each in of(np.zeros(300, np.float32)))


@EITHER
def test_the_basis_is_the_principal_components(bins):
    """By frequency; what is kept is the largest share of what the training part's surfaces hold."""
    tracks = np.stack([walk(seed) for seed in range(6)])
    padded = np.pad(tracks, ((0, 0), (0, FRAMES - tracks.shape[1])))
    rows = [compiled(bins, bins * (bins // 2 + 1))(each[None])[0] for each in padded]
    rows = melody.columns(np.stack(rows), bins).surfaces
    spectra = np.asarray(rows[..., 0] + 1j * rows[..., 1]).reshape(
        -1, 2, bins, bins // 2 + 1
    )  # turned, as if moments
    fitted = front_end(bins).fitted([tracks[:4], tracks[4:]])
    frequencies, basis = fitted._basis()
    for delay in range(2):
        energies = np.concatenate(
            [
                (1 + (2 * k % bins > 0)) * np.linalg.svd(spectra[:, delay, :, k], compute_uv=False) ** 2
                for k in range(bins // 2 + 1)
            ]
        )
        own = slice(40 * delay, 40 * (delay + 1))
        kept = sum(
            (1 + (2 * k % bins > 0)) * np.abs(spectra[:, delay, :, k] @ vector.conj()) ** 2
            for k, vector in zip(frequencies[own], basis[own], strict=True)
        ).sum()
        assert kept == pytest.approx(np.sort(energies)[-40:].sum(), rel=1e-4)


@pytest.mark.parametrize(
    'fields, part',
    [
        ({'delays_s': (0.3, 0.0)}, 'delays_s'),
        ({'components': 9999}, 'components=9999'),
    ],
)
def test_mistakes(fields, part):
    with pytest.raises(UserError, match=part):
        front_end(**fields)
