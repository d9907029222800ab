"""Front ends and the resampler against librosa, soxr, closed forms and the adjoint."""

import itertools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import soundfile
import soxr
from jax.sharding import AxisType

from configs import shallow_cnn_gtzan
from genre_jax import config as config_lib
from genre_jax import features, train
from genre_jax.errors import UserError
from genre_jax.features.log_mel import LogMel, hann_window, mel_filters
from genre_jax.features.resample import resample

RATES_HZ = (8000, 11025, 16000, 22050, 32000, 44100, 48000)
PAIRS = tuple(itertools.permutations(RATES_HZ, 2))


# --- log-mel -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('sample_rate_hz', 'n_fft', 'n_mels', 'f_min_hz', 'f_max_hz'),
    [
        (22050, 512, 80, 0.0, 0.0),
        (16000, 1024, 80, 0.0, 0.0),
        (44100, 2048, 128, 50.0, 14000.0),
        (32000, 1024, 64, 50.0, 14000.0),
        (16000, 400, 40, 1500.0, 7600.0),  # above the scale's linear part
        (22050, 511, 40, 0.0, 900.0),  # odd; inside the linear part
    ],
)
def test_mel_filters_are_librosas(sample_rate_hz, n_fft, n_mels, f_min_hz, f_max_hz):
    ours = mel_filters(sample_rate_hz, n_fft, n_mels, f_min_hz, f_max_hz)
    theirs = librosa.filters.mel(
        sr=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, fmin=f_min_hz, fmax=f_max_hz or None,
        dtype=np.float64,
    ).T  # fmt: skip
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-6 * theirs.max()


@pytest.mark.parametrize('n', [2, 400, 511, 512])
def test_hann_window_is_periodic(n):
    np.testing.assert_allclose(hann_window(n), librosa.filters.get_window('hann', n), atol=1e-7)


def reference(waveform, front_end):
    """librosa's log-mel in float64: the first n // hop frames."""
    n_frames = max(1, len(waveform) // front_end.hop_length)
    # librosa warns of a waveform shorter than its window; its zeros beyond the end change nothing.
    waveform = np.pad(waveform.astype(np.float64), (0, front_end.n_fft))
    spectrum = librosa.stft(
        waveform, n_fft=front_end.n_fft, hop_length=front_end.hop_length,
        center=True, pad_mode='constant',
    )  # fmt: skip
    bank = librosa.filters.mel(
        sr=front_end.sample_rate_hz, n_fft=front_end.n_fft, n_mels=front_end.n_mels,
        fmin=front_end.f_min_hz, fmax=front_end.f_max_hz or None, dtype=np.float64,
    )  # fmt: skip
    return np.log(bank @ np.abs(spectrum) + front_end.log_offset).T[:n_frames]


def signal(kind, n=20506, sample_rate_hz=22050):
    rng = np.random.default_rng(0)
    if kind == 'clicks':
        return (np.arange(n) % 3001 == 7).astype(np.float32)
    return {
        'noise': rng.uniform(-1, 1, n),
        'quiet_noise': 1e-3 * rng.standard_normal(n),
        'full_scale_sine': np.sin(2 * np.pi * 997 * np.arange(n) / sample_rate_hz),
        'silence': np.zeros(n),
    }[kind].astype(np.float32)


FRONT_ENDS = (
    LogMel(),
    LogMel(n_fft=1024, hop_length=768),
    LogMel(n_fft=511, hop_length=200, n_mels=40, f_min_hz=50.0, f_max_hz=9000.0),
    LogMel(sample_rate_hz=16000, n_fft=1024, hop_length=1000, log_offset=1e-3),
)


@pytest.mark.parametrize('front_end', FRONT_ENDS, ids=lambda f: f'{f.n_fft}-{f.hop_length}')
@pytest.mark.parametrize('kind', ['noise', 'quiet_noise', 'clicks', 'silence'])
def test_log_mel_is_librosas(front_end, kind):
    waveform = signal(kind)
    np.testing.assert_allclose(
        front_end(waveform), reference(waveform, front_end), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize('front_end', FRONT_ENDS, ids=lambda f: f'{f.n_fft}-{f.hop_length}')
def test_log_mel_of_a_full_scale_sine(front_end):
    # 140 dB lie between its peak and the offset: in the empty bands float32 leaves only its own noise.
    waveform = signal('full_scale_sine')
    ours = np.asarray(front_end(waveform), np.float64)
    theirs = reference(waveform, front_end)
    peak = np.exp(theirs).max()
    np.testing.assert_allclose(np.exp(ours), np.exp(theirs), rtol=0, atol=3e-7 * peak)
    audible = np.exp(theirs) > 1e-3 * peak
    assert 0.01 < audible.mean() < 0.9
    np.testing.assert_allclose(ours[audible], theirs[audible], rtol=0, atol=1e-4)


def test_log_mel_of_real_recordings(real_recordings):
    front_end = LogMel()
    apply = jax.jit(front_end)
    for file in real_recordings:
        waveform, rate_hz = soundfile.read(file, frames=10 * 22050, dtype='float32')
        assert rate_hz == 22050
        ours, theirs = np.asarray(apply(waveform)), reference(waveform, front_end)
        np.testing.assert_allclose(np.exp(ours), np.exp(theirs), rtol=0, atol=3e-6)
        audible = theirs > np.log(1e-6 + 1e-3)  # 60 dB above the offset
        assert audible.mean() > 0.2, file
        np.testing.assert_allclose(ours[audible], theirs[audible], rtol=0, atol=1e-4)


def test_published_picture_is_80_by_80():
    front_end = LogMel()
    n_samples = round(0.93 * 22050)
    assert front_end.frames(n_samples) == 80
    assert front_end(np.zeros(n_samples, np.float32)).shape == (80, 80)


@pytest.mark.parametrize('n', [1, 100, 255, 256, 257, 511, 512, 513, 1000])
def test_any_length(n):
    front_end = LogMel()
    waveform = signal('noise', n)
    out = front_end(waveform)
    assert out.shape == (max(1, n // 256), 80) == (front_end.frames(n), 80)
    np.testing.assert_allclose(out, reference(waveform, front_end), rtol=0, atol=1e-4)


def test_leading_dimensions_are_batches():
    front_end = LogMel()
    waveforms = np.random.default_rng(1).uniform(-1, 1, (2, 3, 3000)).astype(np.float32)
    out = front_end(waveforms)
    assert out.shape == (2, 3, 11, 80) and out.dtype == jnp.float32
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(out[index], front_end(waveforms[index]), rtol=0, atol=1e-5)


def test_mean_and_std_standardise():
    waveform = signal('noise', 4000)
    plain, shifted = LogMel()(waveform), LogMel(mean=-4.0, std=2.5)(waveform)
    np.testing.assert_allclose(shifted, (plain + 4) / 2.5, atol=1e-6)


def test_build_overrides_fields():
    front_end = features.build({'name': 'schindler', 'n_mels': 40, 'f_max_hz': 8000.0})
    assert front_end == LogMel(n_mels=40, f_max_hz=8000.0)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'name': 'schindler', 'n_mel': 40}, r"config\.features\.n_mel; did .*features\.n_mels'"),
        ({'name': 'shindler'}, r"config\.features\.name='shindler'; did you mean 'schindler'\?"),
    ],
)
def test_build_names_the_nearest(settings, message):
    with pytest.raises(UserError, match=message):
        features.build(settings)


@pytest.mark.parametrize(
    'wrong',
    [
        {'n_fft': 0}, {'hop_length': 0}, {'n_mels': -1}, {'sample_rate_hz': 0}, {'log_offset': 0.0},
        {'std': 0.0}, {'std': float('nan')}, {'f_min_hz': -1.0}, {'f_max_hz': 12000.0},
        {'f_max_hz': -5.0}, {'f_min_hz': 5000.0, 'f_max_hz': 4000.0}, {'f_min_hz': 11025.0},
    ],
    ids=str,
)  # fmt: skip
def test_bad_values(wrong):
    with pytest.raises(UserError, match=f'config.features.*{next(iter(wrong))}'):
        LogMel(**wrong)


# --- resampling ----------------------------------------------------------------------------------


def sines(frequencies_hz, rate_hz, n):
    return np.sin(2 * np.pi * np.asarray(frequencies_hz)[:, None] * np.arange(n) / rate_hz)


def amplitude(samples, frequency_hz, rate_hz):
    phase = 2 * np.pi * frequency_hz * np.arange(len(samples)) / rate_hz
    basis = np.stack([np.sin(phase), np.cos(phase)], 1)
    return np.hypot(*np.linalg.lstsq(basis, samples, rcond=None)[0])


def interior(n_out, from_hz, to_hz):
    """Output samples whose filters do not reach beyond the ends."""
    margin = int(np.ceil(75 * to_hz / min(from_hz, to_hz)))
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
    kept_hz = [1000, *(np.array([0.02, 0.3, 0.6, 0.8, 0.87, 0.9]) * lower / 2)]
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
    assert np.abs(out[0] - tone)[inner].max() < 1e-4
    for row, frequency_hz in enumerate(kept_hz):
        gain_db = 20 * np.log10(amplitude(out[row, inner], frequency_hz, to_hz))
        assert abs(gain_db) < 0.01, frequency_hz
    for row in range(len(kept_hz), len(kept_hz) + len(lost_hz)):
        assert 20 * np.log10(np.abs(out[row, inner]).max()) < -80, lost_hz[row - len(kept_hz)]
    theirs = soxr.resample(noise, from_hz, to_hz, 'VHQ')
    shared = slice(inner.start, min(inner.stop, len(theirs) - inner.start))
    assert np.abs(out[-1, shared] - theirs[shared]).max() < 3e-4


def test_resample_to_the_same_rate_changes_nothing():
    waveform = jnp.float32(signal('noise', 100))
    assert resample(waveform, 16000, 16000) is waveform


@pytest.mark.parametrize(('from_hz', 'to_hz'), [(44100, 16000), (16000, 22050), (44100, 22050)])
def test_resample_is_linear_and_time_is_the_last_axis(from_hz, to_hz):
    rng = np.random.default_rng(3)
    a, b = rng.uniform(-1, 1, (2, 2, 3, 700)).astype(np.float32)
    together = resample(jnp.asarray(2 * a - 3 * b), from_hz, to_hz)
    apart = 2 * resample(jnp.asarray(a), from_hz, to_hz) - 3 * resample(
        jnp.asarray(b), from_hz, to_hz
    )
    assert together.shape == (2, 3, -(-700 * to_hz // from_hz))
    np.testing.assert_allclose(together, apart, atol=1e-5)
    alone = resample(jnp.asarray(a[1, 2]), from_hz, to_hz)
    np.testing.assert_allclose(resample(jnp.asarray(a), from_hz, to_hz)[1, 2], alone, atol=1e-6)


@pytest.mark.parametrize('n', [1, 2, 63, 64, 129])
@pytest.mark.parametrize(('from_hz', 'to_hz'), [(44100, 16000), (8000, 48000)])
def test_resample_of_short_waveforms_is_that_of_padded_ones(n, from_hz, to_hz):
    waveform = jnp.float32(signal('noise', n))
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
    assert np.isfinite(jax.grad(lambda y: LogMel()(y).sum())(jnp.asarray(x))).all()


@pytest.mark.parametrize('stored_hz', [22050, 44100, 16000])
def test_featurize_is_the_same_on_one_device_and_on_eight(stored_hz):
    config = shallow_cnn_gtzan.get_config()
    window = int(np.ceil(config.windows.window_s * stored_hz))
    audio = np.random.default_rng(5).integers(-32768, 32767, (16, window), np.int16)
    results = []
    for n_devices in (1, 8):
        mesh = jax.make_mesh(
            (n_devices,),
            ('data',),
            axis_types=(AxisType.Auto,),
            devices=jax.devices()[:n_devices],
        )
        job = train.Job(
            config=config, length=config_lib.Length(1, 1), mesh=mesh, model=None,
            front_end=features.build(config.features), stored_hz=stored_hz, window=window,
        )  # fmt: skip
        pictures = jax.jit(job.featurize)(audio)
        assert pictures.shape == (16, 80, 80)
        assert len(pictures.sharding.device_set) == n_devices
        results.append(np.asarray(pictures))
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-5)
    if stored_hz == 22050:
        theirs = reference(audio[3] / 32767, LogMel())[:80]
        np.testing.assert_allclose(results[0][3], theirs, rtol=0, atol=1e-4)
