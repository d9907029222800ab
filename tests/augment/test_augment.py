"""Augmentation: physics, distributions, policies, labels, and the same on any number of devices."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from scipy import signal, stats

from genre_jax.augment import Augmentation, mixing, outliers, picture, pitch, waveform
from genre_jax.errors import UserError

RATE_HZ = 22050
LABELS = ('Blues', 'Experimental', 'Folk')


def tone(hz, seconds=2.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def peak_hz(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 16 * len(samples)))
    return spectrum.argmax() * RATE_HZ / (16 * len(samples))


def level_db(samples):
    return 20 * np.log10(np.sqrt(np.mean(np.square(samples))))


def draw(function, n, example, seed=0, **amounts):
    """Applies an augmentation n times to the same example, each with its own key."""
    keys = jax.random.split(jax.random.key(seed), n)
    apply = jax.vmap(lambda key: function(key, example, **amounts))
    return np.asarray(jax.jit(apply)(keys))


# --- pitch and tempo -----------------------------------------------------------------------------

INNER = slice(6000, -6000)
shift_pitch = jax.jit(pitch.shift_pitch, static_argnums=2)
stretch = jax.jit(pitch.stretch, static_argnums=2)


@pytest.mark.parametrize('hz', [220.0, 440.0, 3000.0])
@pytest.mark.parametrize('semitones', [-12.0, -2.0, -0.5, 0.0, 0.37, 1.0, 2.0, 12.0])
def test_pitch_shift_moves_a_tone(hz, semitones):
    out = np.asarray(shift_pitch(tone(hz), jnp.float32(semitones), 12.0))
    assert out.shape == tone(hz).shape
    assert abs(peak_hz(out[INNER]) - hz * 2 ** (semitones / 12)) < 1.0
    assert abs(level_db(out[INNER]) - level_db(tone(hz)[INNER])) < 1.3


def test_pitch_shift_by_one_semitone_is_466_hz():
    out = np.asarray(shift_pitch(tone(440), jnp.float32(1), 2.0))
    assert abs(peak_hz(out[INNER]) - 466.16) < 1.0


def test_pitch_shift_draws_within_its_bounds():
    out = draw(pitch.pitch_shift, 24, tone(440, 1.0), max_semitones=2.0)
    semitones = np.array([12 * np.log2(peak_hz(x[4000:-4000]) / 440) for x in out])
    assert (np.abs(semitones) < 2.02).all() and semitones.min() < -1 and semitones.max() > 1
    assert len(np.unique(semitones.round(2))) > 15


def test_pitch_shift_up_does_not_alias():
    out = np.asarray(shift_pitch(tone(9000), jnp.float32(12), 12.0))
    assert level_db(out[INNER]) < level_db(tone(9000)) - 60


@pytest.mark.parametrize('factor', [0.5, 0.8, 1.0, 1.25, 2.0])
def test_stretch_keeps_the_pitch_and_moves_onsets(factor):
    seconds = 2.0
    n_samples = int(seconds * factor * RATE_HZ)
    out = np.asarray(stretch(tone(440, seconds), jnp.float32(factor), n_samples))
    assert len(out) == n_samples
    assert abs(peak_hz(out[INNER]) - 440) < 0.5
    burst = np.zeros(int(seconds * RATE_HZ), np.float32)
    burst[RATE_HZ:] = tone(1000, 1.0)  # begins at 1 s
    out = np.asarray(stretch(burst, jnp.float32(factor), n_samples))
    half = np.abs(out[n_samples * 3 // 4 :]).max() / 2
    assert abs(np.flatnonzero(np.abs(out) > half)[0] / RATE_HZ - factor) < 0.05


@pytest.mark.parametrize('n_frames', [1, 2, 9, 10, 646])
def test_phases_add_up_on_tpus(n_frames):
    """By blocks there, whose number and length are the same: against sums of angles in float64."""
    turns = np.random.default_rng(0).uniform(-np.pi, np.pi, (n_frames, 5))
    found = jax.jit(pitch._product_in_blocks)(np.exp(1j * turns).astype(np.complex64))
    np.testing.assert_allclose(found, np.exp(1j * turns.cumsum(0)), rtol=0, atol=1e-4)


def test_time_stretch_keeps_the_length():
    out = draw(pitch.time_stretch, 8, tone(440, 1.0), max_factor=1.25)
    assert out.shape == (8, RATE_HZ)
    for one in out:
        end = np.flatnonzero(np.abs(one) > 0.1)[-1]
        assert end >= 0.79 * RATE_HZ
        assert abs(peak_hz(one[4000 : end - 2000]) - 440) < 1.0


@pytest.mark.parametrize('factor', [0.7, 0.95, 1.0, 1.1, 1.5])
def test_reading_at_a_speed_is_a_sine_of_another_frequency(factor):
    n_samples = 3 * RATE_HZ
    read = jax.jit(pitch.read_at_speed, static_argnums=2)
    out = np.asarray(read(tone(440, 3.0), jnp.float32(factor), n_samples))
    ideal = 0.5 * np.sin(2 * np.pi * 440 * float(np.float32(factor)) * np.arange(n_samples) / RATE_HZ)
    end = min(n_samples, int(n_samples / factor)) - 40
    np.testing.assert_allclose(out[40:end], ideal[40:end], rtol=0, atol=5e-4)
    assert (np.abs(out[int(n_samples / factor) + 40 :]) == 0).all()


@pytest.mark.parametrize('factor', [0.25, 0.97, 1.0, 1.1, 3.99, 4.0])
def test_reading_on_tpus_is_the_same_without_gathers(factor, monkeypatch):
    """A product with ones and zeros takes out the very rows that indices do."""
    clip = np.random.default_rng(0).standard_normal(10_001).astype(np.float32)
    read = functools.partial(pitch.read_at_speed, clip, n_samples=10_001)  # two pieces
    lowered = jax.jit(read).trace(jnp.float32(factor)).lower(lowering_platforms=('tpu',)).as_text()
    sizes = re.findall(r'slice_sizes = array<i64: ([\d, ]+)>', lowered)
    # Whole blocks alone, of the filters' input and of their output.
    assert sizes and all(math.prod(map(int, each.split(', '))) > 32 for each in sizes)
    expected = np.asarray(read(jnp.float32(factor)))
    monkeypatch.setattr(jax.lax, 'platform_dependent', lambda *x, default, tpu: tpu(*x))
    np.testing.assert_allclose(read(jnp.float32(factor)), expected, rtol=0, atol=1e-6)


def test_speed_changes_pitch_and_does_not_alias():
    out = draw(pitch.speed, 8, tone(440, 1.0), max_factor=1.5)
    hz = np.array([peak_hz(x[1000:14000]) for x in out])
    assert (hz > 440 / 1.51).all() and (hz < 440 * 1.51).all() and np.ptp(hz) > 100
    # With the same keys, a tone that the faster ones bring above half the sample rate.
    high = draw(pitch.speed, 8, tone(9500, 1.0), max_factor=1.5)
    for factor, one in zip(hz / 440, high, strict=True):
        body = one[2000:14000]
        if 9500 * factor > RATE_HZ / 2:
            assert level_db(body) < -60
        elif 9500 * factor < 0.95 * RATE_HZ / 2:
            assert abs(peak_hz(body) - 9500 * factor) < 20 and level_db(body) > -12


@pytest.mark.parametrize('n_samples', [1, 2, 100, 511, 512, 513])
def test_clips_shorter_than_a_hop(n_samples):
    clip = np.random.default_rng(0).normal(size=n_samples).astype(np.float32)
    for function, amounts in (
        (pitch.pitch_shift, {'max_semitones': 2.0}),
        (pitch.time_stretch, {'max_factor': 1.2}),
        (pitch.speed, {'max_factor': 1.2}),
    ):
        out = function(jax.random.key(1), clip, **amounts)
        assert out.shape == clip.shape and np.isfinite(out).all()


@pytest.mark.parametrize('semitones', [-1.0, 1.5])
def test_silence_and_clicks_stay_finite(semitones):
    for example in (np.zeros(20000, np.float32), np.eye(1, 20000, 9000, np.float32)[0]):
        out = np.asarray(shift_pitch(example, jnp.float32(semitones), 2.0))
        assert np.isfinite(out).all()
        if example.any():
            assert abs(int(np.abs(out).argmax()) - 9000) < 1200
        else:
            assert not out.any()


# --- level, noise, shift -------------------------------------------------------------------------


def test_gain_is_uniform_in_db():
    out = draw(waveform.gain, 2000, np.ones(1, np.float32), max_db=6.0)[:, 0]
    assert stats.kstest(20 * np.log10(out), stats.uniform(-6, 12).cdf).pvalue > 1e-3


def test_gaussian_noise_has_its_sigma():
    out = draw(waveform.gaussian_noise, 20, np.zeros(5000, np.float32), sigma=0.005)
    assert stats.kstest(out.ravel() / 0.005, 'norm').pvalue > 1e-3
    assert abs(np.corrcoef(out[0], out[1])[0, 1]) < 0.06


@pytest.mark.parametrize('wrap', [False, True])
def test_time_shift(wrap):
    example = np.arange(1, 1001, dtype=np.float32)
    out = draw(waveform.time_shift, 500, example, max_share=0.1, wrap=wrap)
    shifts = []
    for one in out:
        shift = next(s for s in range(-100, 101) if one[500] == example[500 - s])
        ideal = np.roll(example, shift)
        if not wrap:
            ideal[slice(0, shift) if shift > 0 else slice(len(ideal) + shift, None)] = 0
        np.testing.assert_array_equal(one, ideal)
        shifts.append(shift)
    assert stats.kstest(np.array(shifts) / 100, stats.uniform(-1, 2).cdf).pvalue > 1e-3


# --- masks ---------------------------------------------------------------------------------------


def stripes(n, **amounts):
    """Masks drawn over a picture of ones with fill 0: the masked places."""
    off = {'time_stripes': 0, 'mel_stripes': 0}
    ones = np.ones((100, 64), np.float32)
    return draw(picture.spec_augment, n, ones, **{**off, **amounts}, fill=0.0) == 0


def test_spec_augment_widths_and_starts_are_those_of_panns():
    """One stripe: width uniform over 0 ... 15; start over 0 ... total - width - 1 (torchlibrosa)."""
    masked = stripes(4000, time_stripes=1, time_width_frames=16)
    assert (masked.all(2) == masked.any(2)).all()
    rows = masked[:, :, 0]
    widths = rows.sum(1)
    counts = np.bincount(widths, minlength=16)
    assert len(counts) == 16
    assert stats.chisquare(counts).pvalue > 1e-3
    starts = rows.argmax(1)[widths > 0]
    for row, width in zip(rows, widths, strict=True):
        assert width == 0 or row[row.argmax() : row.argmax() + width].all()
    limits = (100 - widths)[widths > 0]
    assert (starts < limits).all()
    assert stats.kstest((starts + 0.5) / limits, 'uniform').pvalue > 1e-3


def test_spec_augment_area_is_that_of_the_formula():
    """PANNs: E[covered share] of two stripes, by the chance that each bin is left free."""
    masked = stripes(3000, mel_stripes=2, mel_width_bins=8)[:, 0]
    cover = np.zeros(64)
    for width in range(8):
        for start in range(64 - width):
            cover[start : start + width] += 1 / 8 / (64 - width)
    np.testing.assert_allclose(masked.mean(0), 1 - (1 - cover) ** 2, atol=0.035)


def test_spec_augment_fills_with_the_mean_or_a_number():
    example = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    for fill, value in (('mean', example.mean()), (0.467, 0.467)):
        out = draw(picture.spec_augment, 20, example, time_width_frames=20, fill=fill)
        changed = out != example
        assert changed.mean() > 0.05
        np.testing.assert_allclose(out[changed], value, atol=1e-5)


def test_spectral_masking_has_its_share():
    ones = np.ones((10, 200), np.float32)
    out = draw(picture.spectral_masking, 1000, ones, min_share=0.02, max_share=0.05, fill=0.0)
    shares = (out[:, 0] == 0).mean(1)
    assert shares.min() >= 0.02 and shares.max() <= 0.05
    assert abs(shares.mean() - 0.035) < 0.001
    assert ((out == 0).all(1) == (out == 0).any(1)).all()
    starts = (out[:, 0] == 0).argmax(1)
    assert starts.min() < 5 and starts.max() > 185


# --- mixing --------------------------------------------------------------------------------------


@pytest.mark.parametrize('alpha', [0.4, 1.0, 10.0])
def test_mixup_draws_beta_and_mixes_in_that_share(alpha):
    keys = jax.random.split(jax.random.key(3), 2000)
    one, other = np.float32([1, 0]), np.float32([0, 1])
    mix = jax.vmap(lambda key: mixing.mixup(key, one, other, alpha=alpha))
    out, share = (np.asarray(x) for x in jax.jit(mix)(keys))
    np.testing.assert_allclose(out, np.stack([share, 1 - share], 1), atol=1e-6)
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize('whole_bins', [False, True])
def test_cutmix_pastes_a_rectangle_and_counts_it(whole_bins):
    keys = jax.random.split(jax.random.key(4), 1000)
    one, other = np.zeros((60, 40), np.float32), np.ones((60, 40), np.float32)
    cut = jax.vmap(lambda key: mixing.cutmix(key, one, other, whole_bins=whole_bins))
    out, share = (np.asarray(x) for x in jax.jit(cut)(keys))
    np.testing.assert_allclose(1 - out.mean((1, 2)), share, atol=1e-6)
    for pasted in out[:200]:
        rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
        if len(rows):
            assert (pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 1).all()
            assert not whole_bins or len(columns) == 40
    # The drawn area is uniform (Beta(1, 1)); clipping at the borders only makes it smaller.
    assert 0.1 < (1 - share).mean() < 0.5 and (1 - share).max() > 0.7


# --- the whole section ---------------------------------------------------------------------------


def section(**keys):
    return ml_collections.ConfigDict(keys)


def apply_waveforms(augmentation, examples, labels=None, seed=0):
    n = len(examples)
    labels = np.zeros(n, np.int32) if labels is None else labels
    apply = jax.jit(augmentation.waveforms)
    return np.asarray(apply(jax.random.key(seed), examples, labels, jnp.arange(n)))


def test_probability_is_how_often():
    augmentation = Augmentation(section(gain={'max_db': 6.0, 'probability': 0.3}), LABELS)
    out = apply_waveforms(augmentation, np.ones((4000, 4), np.float32))
    assert abs((out != 1).any(1).mean() - 0.3) < 0.03


def test_one_of_in_equal_proportions():
    """The four quarters of Bu et al.: nothing, noise, shift, both."""
    settings = section(
        gaussian_noise={'sigma': 0.005}, time_shift={'max_share': 0.5},
        one_of=((), ('gaussian_noise',), ('time_shift',), ('gaussian_noise', 'time_shift')),
    )  # fmt: skip
    out = apply_waveforms(Augmentation(settings, LABELS), np.ones((4000, 400), np.float32))
    shifted = (np.abs(out) < 0.5).any(1)
    noisy = (np.abs(out - 1) > 1e-6).mean(1) > 0.5
    counts = [np.sum((shifted == a) & (noisy == b)) for a in (0, 1) for b in (0, 1)]
    # A shift of under one sample in 400 leaves no trace: 1 in 400.
    assert stats.chisquare(counts).pvalue > 1e-3, counts
    settings.one_of_probability = 0.5
    out = apply_waveforms(Augmentation(settings, LABELS), np.ones((4000, 400), np.float32))
    assert abs((out == 1).all(1).mean() - (0.5 + 0.5 / 4)) < 0.03


def test_emphasised_classes_get_more():
    settings = section(
        gaussian_noise={'sigma': 0.005},
        emphasis={
            'classes': ('Experimental',), 'copies': 1, 'gaussian_noise': {'sigma': 0.01}
        },
    )  # fmt: skip
    augmentation = Augmentation(settings, LABELS)
    labels = np.int32([0, 1, 2, 1])
    out = apply_waveforms(augmentation, np.zeros((4, 20000), np.float32), labels)
    np.testing.assert_allclose(out.std(1), [0.005, 0.01, 0.005, 0.01], rtol=0.03)
    assert augmentation.copies() == {1: 1}


def mixed(settings, stage, examples, targets, seed=0):
    augmentation = Augmentation(settings, LABELS)
    apply = jax.jit(functools.partial(augmentation.mixed, stage))
    index = jnp.arange(len(examples))
    return [np.asarray(x) for x in apply(jax.random.key(seed), examples, targets, index)]


def test_mixing_pairs_neighbours_and_keeps_the_label_mass():
    targets = np.eye(8, dtype=np.float32)
    examples = np.eye(8, dtype=np.float32)  # an example is what it is made of
    settings = section(mixup={'alpha': 1.0, 'on': 'waveform', 'probability': 0.6})
    out, shares = mixed(settings, 'waveform', examples, targets)
    np.testing.assert_allclose(out, shares, atol=1e-6)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert (shares[0, 2:] == 0).all() and (shares[5, :4] == 0).all()
    untouched = mixed(settings, 'picture', examples, targets)
    np.testing.assert_array_equal(untouched[0], examples)


def test_panns_mixup_halves_the_batch():
    eye = np.eye(8, dtype=np.float32)
    out, shares = mixed(section(mixup={'alpha': 1.0, 'halve': True}), 'picture', eye, eye)
    assert out.shape == (4, 8)
    np.testing.assert_allclose(out, shares, atol=1e-6)
    for i in range(4):
        assert shares[i, 2 * i] + shares[i, 2 * i + 1] == pytest.approx(1)
        assert 0 < shares[i, 2 * i] < 1


EVERYTHING = {
    'outliers': {'probability': 0.2},
    'gain': {'max_db': 6.0},
    'speed': {'max_factor': 1.1, 'probability': 0.5},
    'time_stretch': {'max_factor': 1.1, 'probability': 0.5},
    'pitch_shift': {'max_semitones': 2.0, 'probability': 0.5},
    'time_shift': {'max_share': 0.1},
    'gaussian_noise': {'sigma': 0.005},
    'picture_noise': {'sigma': 0.1},
    'spectral_masking': {'min_share': 0.02, 'max_share': 0.05},
    'spec_augment': {'time_width_frames': 5},
    'mixup': {'alpha': 0.4},
    'cutmix': {'probability': 0.5},
}


@pytest.mark.slow
def test_everything_is_the_same_on_one_device_and_on_eight():
    augmentation = Augmentation(section(**EVERYTHING), LABELS)
    rng = np.random.default_rng(0)
    examples = rng.uniform(-1, 1, (16, 12000)).astype(np.float32)
    labels = rng.integers(0, 3, 16).astype(np.int32)

    def augmented(key, examples, labels, index):
        targets = jax.nn.one_hot(labels, 3)
        examples, targets = augmentation.replaced(key, examples, targets, index)
        examples = augmentation.waveforms(key, examples, labels, index)
        pictures = examples.reshape(-1, 120, 100)
        pictures = augmentation.pictures(key, pictures, labels, index)
        return augmentation.mixed('picture', key, pictures, targets, index)

    results = []
    for n_devices in (1, 8):
        mesh = jax.make_mesh(
            (n_devices,), ('data',), axis_types=(AxisType.Auto,),
            devices=jax.devices()[:n_devices],
        )  # fmt: skip
        split = PartitionSpec('data')
        apply = jax.jit(
            jax.shard_map(
                augmented, mesh=mesh, in_specs=(PartitionSpec(), split, split, split),
                out_specs=split,
            )
        )  # fmt: skip
        out = apply(jax.random.key(1), examples, labels, np.arange(16))
        again = apply(jax.random.key(1), examples, labels, np.arange(16))
        np.testing.assert_array_equal(out[0], again[0])
        other = apply(jax.random.key(2), examples, labels, np.arange(16))
        assert np.abs(np.asarray(out[0]) - other[0]).max() > 0.1
        results.append([np.asarray(x) for x in out])
    for one, eight in zip(*results, strict=True):
        np.testing.assert_allclose(eight, one, rtol=0, atol=2e-3)
    np.testing.assert_allclose(results[0][1].sum(1), 1, atol=1e-6)
    assert np.isfinite(results[0][0]).all()


# --- sounds that are no music ------------------------------------------------------------------------


@pytest.mark.parametrize('slope', [1.0, 1.5])
def test_coloured_noise_falls_as_its_slope_says(slope):
    hz, power = signal.welch(
        np.asarray(outliers.coloured_noise(jax.random.key(1), 2**18, slope)), nperseg=8192
    )
    some = (hz > 0.002) & (hz < 0.2)
    falls = -np.polyfit(np.log(hz[some]), np.log(power[some]), 1)[0]
    assert abs(falls - slope) < 0.15


def test_outliers_are_in_range_and_of_many_kinds():
    sounds = draw(outliers.outliers, 200, np.zeros(16384, np.float32), max_db=20.0)
    peak = np.abs(sounds).max(1)
    assert (peak > 0.0999).all() and (peak < 1.0001).all()
    assert abs(np.median(-20 * np.log10(peak)) - 20 / 8) < 1
    spectrum = np.abs(np.fft.rfft(sounds)) ** 2
    # Of a tone or pulsating noise little is spread evenly, of white noise and clicks all.
    flatness = np.exp(np.log(spectrum + 1e-12).mean(1)) / spectrum.mean(1)
    assert (flatness < 0.05).mean() > 0.2 and (flatness > 0.4).mean() > 0.2
    for short in (1, 7):
        assert np.isfinite(draw(outliers.outliers, 20, np.zeros(short, np.float32))).all()


def test_outliers_stand_for_all_classes_alike():
    augmentation = Augmentation(section(outliers={'probability': 0.3}), LABELS)
    examples, targets = np.full((400, 64), 5, np.float32), np.eye(3, dtype=np.float32)[np.arange(400) % 3]
    new, given = jax.jit(augmentation.replaced)(jax.random.key(0), examples, targets, jnp.arange(400))
    replaced = (np.asarray(new) != 5).any(1)
    assert abs(replaced.mean() - 0.3) < 0.08
    np.testing.assert_allclose(given[replaced], 1 / 3, rtol=1e-6)
    np.testing.assert_array_equal(given[~replaced], targets[~replaced])
    other = jax.jit(augmentation.replaced)(jax.random.key(0), examples[8:], targets[8:], jnp.arange(8, 400))
    np.testing.assert_array_equal(other[0], new[8:])


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (
            {'mixpu': {}},
            r"unknown key config\.augment\.mixpu; did you mean 'config\.augment\.mixup'",
        ),
        ({'gain': {'max_bd': 1.0}}, r'config\.augment\.gain\.max_bd; did you mean .*max_db'),
        ({'gain': {}}, r'config\.augment\.gain\.max_db is missing'),
        ({'outliers': {}}, r'config\.augment\.outliers\.probability is missing'),
        (
            {'outliers': {'probability': 0.1}, 'emphasis': {'outliers': {'max_db': 2.0}}},
            r'emphasis\.outliers is the same for all classes',
        ),
        ({'gain': 3.0}, r'config\.augment\.gain=3\.0: expected a section'),
        ({'mixup': 3.0}, r'config\.augment\.mixup=3\.0: expected a section'),
        ({'emphasis': 'Folk'}, r"config\.augment\.emphasis='Folk': expected a section"),
        (
            {'mixup': {'alpha': 1.0}, 'emphasis': {'mixup': {'alpha': 2.0}}},
            r'emphasis\.mixup is the same for all classes',
        ),
        ({'spec_augment': {'mel_stripes': 1.5}}, r'mel_stripes=1\.5: expected a whole number'),
        ({'gain': {'max_db': 3.0, 'probability': 1.5}}, r'probability=1\.5: .* at most 1'),
        ({'gaussian_noise': {'sigma': -1.0}}, r'sigma=-1\.0: expected a number at least 0'),
        ({'time_shift': {'max_share': 1.2}}, r'max_share=1\.2'),
        ({'speed': {'max_factor': 1.0}}, r'max_factor=1\.0: expected a number above 1'),
        ({'mixup': {'alpha': 0.0}}, r'alpha=0\.0'),
        ({'mixup': {'alpha': 1.0, 'on': 'mel'}}, r"mixup\.on='mel'"),
        ({'spec_augment': {'fill': 'zero'}}, r"fill='zero'"),
        ({'spec_augment': {'time_width_frames': 0}}, r'time_width_frames=0'),
        ({'spectral_masking': {'min_share': 0.2, 'max_share': 0.1}}, r'min_share=0\.2 is above'),
        ({'one_of': (('gain',),)}, r"one_of names 'gain': there is no config\.augment\.gain"),
        ({'gain': {'max_db': 1.0}, 'one_of': ('gain',)}, r'expected tuples of names'),
        ({'emphasis': {'classes': ('Experimantal',)}}, r"did you mean 'Experimental'"),
        ({'emphasis': {'copies': -1}}, r'copies=-1'),
        ({'emphasis': {'gain': {'max_db': 2.0}}}, r'there is no config\.augment\.gain'),
        (
            {
                'pitch_shift': {'max_semitones': 1.0},
                'emphasis': {'pitch_shift': {'max_semitones': 2.0}},
            },
            r'max_semitones is the same for all classes',
        ),
    ],
    ids=str,
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        Augmentation(section(**settings), LABELS)


def test_stripes_must_fit_the_picture():
    augmentation = Augmentation(section(spec_augment={'time_width_frames': 90}), LABELS)
    augmentation.check_picture(90, 80)
    with pytest.raises(UserError, match=r'time_width_frames=90 is more than the 80'):
        augmentation.check_picture(80, 80)
    with pytest.raises(UserError, match=r'mel_width_bins=8 is more than the 6'):
        augmentation.check_picture(90, 6)
