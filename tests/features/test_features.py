"""Every front end: its contract, and its numbers against librosa, closed forms and published values."""

import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import soundfile
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from genre_jax import features
from genre_jax.errors import UserError
from genre_jax.features import front_end as front_end_lib
from genre_jax.features.kaldi import KaldiFilterBank
from genre_jax.features.mel import hz_to_mel, mel_filters, mel_to_hz
from genre_jax.features.mfcc import dct_matrix
from genre_jax.features.spectrogram import Spectrogram
from genre_jax.features.stft import hann_window
from tests.golden import noisy

pytestmark = pytest.mark.filterwarnings('ignore:n_fft=.*is too large')


# --- references, in float64 ----------------------------------------------------------------------


def librosa_mel(waveform, *, sample_rate_hz, n_fft, hop_length, n_mels, power, **keywords):
    waveform = waveform.astype(np.float64)
    return librosa.feature.melspectrogram(
        y=waveform, sr=sample_rate_hz, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels, power=power,
        dtype=np.float64, **keywords,
    ).T  # fmt: skip


def schindler(waveform):
    mel = librosa_mel(waveform, sample_rate_hz=22050, n_fft=512, hop_length=256, n_mels=80, power=1)
    return np.log(mel[:-1] + 1e-6)


def fma_mel(waveform):
    mel = librosa_mel(waveform, sample_rate_hz=22050, n_fft=2048, hop_length=512, n_mels=128, power=2)
    return librosa.power_to_db(mel, ref=np.max, top_db=80)


def panns(rate_hz, n_fft, hop_length, f_max_hz):
    def reference(waveform):
        mel = librosa_mel(
            waveform, sample_rate_hz=rate_hz, n_fft=n_fft, hop_length=hop_length, n_mels=64, power=2,
            fmin=50, fmax=f_max_hz, pad_mode='reflect',
        )  # fmt: skip
        return librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=None)

    return reference


def musicnn(waveform):
    mel = librosa_mel(waveform, sample_rate_hz=16000, n_fft=512, hop_length=256, n_mels=96, power=2)
    return np.log10(10000 * mel + 1)


def mfcc(n_mfcc):
    def reference(waveform):
        return librosa.feature.mfcc(y=waveform.astype(np.float64), sr=22050, n_mfcc=n_mfcc).T

    return reference


def linear(waveform):
    return np.abs(librosa.stft(waveform.astype(np.float64), n_fft=1024, hop_length=512)).T


def htk_filters(low_hz, high_hz, n_mels, rate_hz=16000, n_fft=512):
    """Triangles straight in mel, of unit height, over the bins of n_fft samples."""

    def mel(hz):
        return 1127 * np.log(1 + hz / 700)

    points = np.linspace(mel(low_hz), mel(high_hz), n_mels + 2)
    bins = mel(np.arange(n_fft // 2 + 1) * rate_hz / n_fft)
    bank = np.zeros((len(bins), n_mels))
    for band in range(n_mels):
        left, centre, right = points[band : band + 3]
        up, down = (bins - left) / (centre - left), (right - bins) / (right - centre)
        bank[:, band] = np.clip(np.minimum(up, down), 0, None)
    return bank


def efficientat(waveform):
    waveform = waveform.astype(np.float64)
    padded = np.pad(waveform[1:] - 0.97 * waveform[:-1], 512, mode='reflect')
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 799), 112)
    frames = [padded[i : i + 1024] * window for i in range(0, len(padded) - 1023, 320)]
    power = np.abs(np.fft.rfft(frames)) ** 2
    return (np.log(power @ htk_filters(0, 15000, 128, 32000, 1024) + 1e-5) + 4.5) / 5


def frames_of_400(waveform):
    return np.stack([waveform[i : i + 400] for i in range(0, len(waveform) - 399, 160)]).astype(np.float64)


def yamnet(waveform):
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    spectrum = np.abs(np.fft.rfft(frames_of_400(waveform) * window, 512))
    return np.log(spectrum @ htk_filters(125, 7500, 64) + 0.001)


def ast(waveform):
    waveform = waveform.astype(np.float64)
    frames = frames_of_400(waveform - waveform.mean())
    frames -= frames.mean(1, keepdims=True)
    frames -= 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    power = np.abs(np.fft.rfft(frames * window, 512)) ** 2
    bank = np.log(np.maximum(power @ htk_filters(20, 8000, 128), np.finfo(np.float32).eps))
    padded = np.zeros((1024, 128))
    padded[: len(bank)] = bank[:1024]
    return (padded + 4.2677393) / (2 * 4.5689974)


def beats(waveform):
    frames = frames_of_400(32768.0 * waveform.astype(np.float64))
    frames -= frames.mean(1, keepdims=True)
    frames -= 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    power = np.abs(np.fft.rfft(frames * window, 512)) ** 2
    bank = np.log(np.maximum(power @ htk_filters(20, 8000, 128), np.finfo(np.float32).eps))
    return (bank - 15.41663) / (2 * 6.55582)


def dasheng(waveform):
    spectrum = librosa.stft(waveform.astype(np.float64), n_fft=512, hop_length=160, pad_mode='reflect')
    filters = librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, fmax=8000, htk=True, norm=None)
    return librosa.power_to_db(filters @ np.abs(spectrum) ** 2, top_db=120).T


# Unit: 'db' allows 1e-3 within 60 dB of the peak and 0.1 below, everything else 1e-4.
REFERENCES = {
    'schindler': (schindler, 'ln'),
    'fma_mel': (fma_mel, 'db'),
    'panns_32k': (panns(32000, 1024, 320, 14000), 'db'),
    'panns_16k': (panns(16000, 512, 160, 8000), 'db'),
    'panns_8k': (panns(8000, 256, 80, 4000), 'db'),
    'yamnet': (yamnet, 'ln'),
    'musicnn': (musicnn, 'log10'),
    'maest': (lambda waveform: (musicnn(waveform) - 2.0675568) / (2 * 1.2682928), 'log10'),
    'ast': (ast, 'ln'),
    'beats': (beats, 'ln'),
    'dasheng': (dasheng, 'db'),
    'efficientat': (efficientat, 'ln'),
    'mfcc_13': (mfcc(13), 'db'),
    'mfcc_20': (mfcc(20), 'db'),
    'linear': (linear, 'linear'),
}


def signal(kind, rate_hz, n):
    rng = np.random.default_rng(0)
    if kind == 'clicks':
        return (np.arange(n) % 3001 == 7).astype(np.float32)
    return {
        'noise': rng.uniform(-1, 1, n),
        'quiet_noise': 1e-3 * rng.standard_normal(n),
        'full_scale_sine': np.sin(2 * np.pi * 997 * np.arange(n) / rate_hz),
        'silence': np.zeros(n),
    }[kind].astype(np.float32)


def assert_same(ours, theirs, unit):
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape and ours.dtype == np.float32
    if unit == 'db':
        near = theirs > theirs.max() - 60
        np.testing.assert_allclose(ours[near], theirs[near], rtol=0, atol=1e-3)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.1)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@functools.cache
def compiled(flavour):
    """The front end as one program: for each length it is compiled once, not in every test."""
    return jax.jit(features.build({'name': flavour}))


@pytest.mark.parametrize('flavour', REFERENCES)
@pytest.mark.parametrize('kind', ['noise', 'quiet_noise', 'clicks', 'silence', 'full_scale_sine'])
@pytest.mark.parametrize('samples', [4800, 20507])
def test_against_the_reference(flavour, kind, samples):
    front_end = features.build({'name': flavour})
    reference, unit = REFERENCES[flavour]
    waveform = signal(kind, front_end.sample_rate_hz, samples)
    assert_same(compiled(flavour)(waveform), reference(waveform), unit)


@pytest.mark.parametrize('flavour', REFERENCES)
def test_against_the_reference_on_real_recordings(flavour, real_recordings):
    front_end = features.build({'name': flavour})
    reference, unit = REFERENCES[flavour]
    for file in real_recordings[::3]:
        waveform, rate_hz = soundfile.read(file, frames=6 * 22050, dtype='float32')
        if rate_hz != front_end.sample_rate_hz:
            waveform = librosa.resample(waveform, orig_sr=rate_hz, target_sr=front_end.sample_rate_hz)
        assert_same(compiled(flavour)(waveform), reference(waveform), unit)


# --- published values ----------------------------------------------------------------------------


def tone(rate_hz):
    t = np.arange(rate_hz) / rate_hz
    return 0.5 * np.sin(2 * np.pi * 440 * t) + 0.25 * np.sin(2 * np.pi * 1760 * t)


BINS = [0, 8, 16, 24, 32, 48, 63]


@pytest.mark.parametrize(
    ('flavour', 'rate_hz', 'low', 'high', 'mean', 'frame_50'),
    [
        (
            'panns_32k', 32000, -28.4030, 24.9867, -11.68524,
            [-18.3377, -13.9968, -14.7738, -15.4866, -16.8101, -13.7850, -15.2773],
        ),
        (
            'panns_16k', 16000, -32.1309, 18.4799, -14.69653,
            [-18.5165, 18.0481, -17.0507, -26.4307, 11.1824, -16.4818, -17.8560],
        ),
    ],
)  # fmt: skip
def test_published_values_of_panns(flavour, rate_hz, low, high, mean, frame_50):
    out = np.asarray(features.build({'name': flavour})(noisy(rate_hz)))
    assert out.shape == (101, 64)
    np.testing.assert_allclose([out.min(), out.max(), out.mean()], [low, high, mean], atol=1e-3)
    np.testing.assert_allclose(out[50, BINS], frame_50, atol=1e-3)


def test_published_values_of_ast():
    front_end = KaldiFilterBank(target_frames=0, mean=0.0, std=0.5)
    out = np.asarray(front_end(tone(16000).astype(np.float32)))
    assert out.shape == (98, 128)
    np.testing.assert_allclose([out.min(), out.max(), out.mean()], [-15.9424, 5.6691, -11.4686], atol=1e-3)
    np.testing.assert_allclose(
        out[49, [0, 16, 32, 48, 64, 96, 127]],
        [-14.6689, -7.0261, -8.3652, -14.6478, 3.2358, -15.9424, -15.9424],
        atol=2e-3,  # the published tone leaves quiet bands to float32 rounding
    )
    np.testing.assert_allclose(out[:, 3], -15.9424, atol=1e-4)  # a filter that holds no bin
    standardised = np.asarray(KaldiFilterBank(target_frames=99)(tone(16000).astype(np.float32)))
    np.testing.assert_allclose(standardised[49, 64], 0.82113, atol=1e-4)
    np.testing.assert_allclose(standardised[98], 0.46703, atol=1e-5)  # padding


def test_published_values_of_yamnet():
    padded = np.pad(tone(16000).astype(np.float32), (0, 7280))
    out = np.asarray(features.build({'name': 'yamnet'})(padded))
    assert out.shape == (144, 64)
    np.testing.assert_allclose(
        out[49, BINS], [-4.2673, 4.0890, -3.4952, -4.9794, -1.4540, -6.7630, -6.8848], atol=1e-3
    )
    np.testing.assert_allclose(out[-1], -6.907755, atol=1e-5)


def test_published_sums_of_filter_banks():
    panns_32k = mel_filters(32000, 1024, 64, 50.0, 14000.0)
    assert panns_32k.sum() == pytest.approx(2.048126, abs=1e-5)
    assert panns_32k.max() == pytest.approx(0.018150, abs=1e-6)
    assert np.count_nonzero(panns_32k) == 866
    assert panns_32k.argmax(0)[[0, 31, 63]].tolist() == [3, 71, 424]
    htk = {'scale': 'htk', 'triangles': 'mel', 'unit_area': False}
    assert mel_filters(16000, 512, 128, 20.0, 8000.0, **htk).sum() == pytest.approx(252.61047)
    assert mel_filters(16000, 512, 64, 125.0, 7500.0, **htk).sum() == pytest.approx(230.9136)


# --- the contract, for every flavour -------------------------------------------------------------


@pytest.fixture(params=features.FLAVOURS)
def front_end(request):
    return features.build({'name': request.param})


def test_any_leading_dimensions(front_end):
    n = max(front_end.least_samples, 5000) + 1
    waveforms = np.random.default_rng(1).uniform(-1, 1, (2, 3, n)).astype(np.float32)
    apply = jax.jit(front_end)
    out = apply(waveforms)
    assert out.ndim == 4 and out.shape[:2] == (2, 3) and out.dtype == jnp.float32
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(out[index], apply(waveforms[index]), rtol=0, atol=2e-4)


@pytest.mark.slow(but='schindler')
def test_lengths_of_one_frame_and_beyond(front_end):
    least, apply = front_end.least_samples, jax.jit(front_end)
    for n in (least, least + 1, least + 777):
        out = apply(signal('noise', front_end.sample_rate_hz, n))
        assert out.ndim == 2 and len(out) >= 1 and np.isfinite(out).all()
    with pytest.raises(UserError, match=f'clips of {least - 1} samples.*shorter than one frame'):
        front_end(np.zeros(least - 1, np.float32))
    with pytest.raises(UserError, match='config.windows.window_s'):
        front_end.check_length(least - 1)


def test_gradient_is_finite(front_end):
    n = max(front_end.least_samples, 6000)
    gradient = jax.jit(jax.grad(lambda waveform: front_end(waveform).sum()))
    for kind in ('noise', 'silence'):
        assert np.isfinite(gradient(signal(kind, front_end.sample_rate_hz, n))).all(), kind


def test_what_is_no_number_stays_none(front_end):
    """One bad sample is heard in the frames that hold it, never as silence, nor in another clip."""
    n = max(front_end.least_samples, 6000)
    clips = np.stack([signal('noise', front_end.sample_rate_hz, n)] * 3).astype(np.float32)
    clips[1, n // 2], clips[2, n // 2] = np.nan, np.inf
    good, nan, infinite = np.asarray(front_end(clips))
    assert np.isfinite(good).all()
    assert not np.isfinite(nan).all() and not np.isfinite(infinite).all()


@pytest.mark.slow(but='schindler')
def test_large_batches_in_pieces_and_on_many_devices(front_end):
    """More samples than one piece holds, over eight devices, against one clip at a time."""
    n = max(front_end.least_samples, 2**16)
    batch = np.random.default_rng(2).uniform(-1, 1, (16, n)).astype(np.float32)
    mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
    spec = PartitionSpec('data')
    split = jax.jit(jax.shard_map(front_end, mesh=mesh, in_specs=spec, out_specs=spec))(
        jax.device_put(batch, NamedSharding(mesh, spec))
    )
    apply = jax.jit(front_end)
    together = apply(batch)
    for i in (0, 7, 15):
        alone = apply(batch[i])
        np.testing.assert_allclose(together[i], alone, rtol=0, atol=2e-4)
        np.testing.assert_allclose(split[i], alone, rtol=0, atol=2e-4)


@pytest.mark.slow(but='schindler')
@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_what_other_platforms_compute_is_the_same(front_end, platform, monkeypatch):
    """Their branches, taken on a CPU: float32, transforms by products for TPUs, a loop over larger pieces."""
    clips = np.stack([signal('noise', front_end.sample_rate_hz, 9000 + front_end.least_samples)] * 3)
    clips = clips * np.float32([[1.0], [0.3], [0.1]])
    expected = np.asarray(front_end(clips))

    def chosen(*arguments, default=None, **ways):
        return ways.get(platform, default)(*arguments)

    monkeypatch.setattr(jax.lax, 'platform_dependent', chosen)
    monkeypatch.setattr(front_end_lib, '_PIECE_SAMPLES', 2 * clips.shape[1])
    ours = np.asarray(jax.jit(front_end)(clips))
    assert ours.shape == expected.shape
    spread = np.abs(expected).max()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * spread)


@pytest.mark.slow(but='schindler')
@pytest.mark.parametrize('front_end', sorted(features.FLAVOURS.keys() - {'audio_melody'}), indirect=True)
def test_features_move_with_the_audio(front_end):
    """A frame's content depends on its own samples: silence, then a tone, then silence.

    What `audio_melody` gives is of the whole recording.
    """
    rate_hz = front_end.sample_rate_hz
    n = max(front_end.least_samples, rate_hz)
    burst = signal('full_scale_sine', rate_hz, n)
    burst[: n // 2] = 0
    out = np.asarray(jax.jit(front_end)(burst))
    used = out[: 1 + n // getattr(front_end, 'hop_length', 512)]
    early, late = used[: len(used) // 3], used[2 * len(used) // 3 : -1]
    assert np.abs(early.mean(0) - late.mean(0)).max() > 0.05


# --- settings ------------------------------------------------------------------------------------


def test_published_picture_is_80_by_80():
    front_end = features.build({'name': 'schindler'})
    assert front_end(np.zeros(round(0.93 * 22050), np.float32)).shape == (80, 80)


def test_build_overrides_fields():
    front_end = features.build({'name': 'schindler', 'n_mels': 40, 'f_max_hz': 8000.0})
    waveform = signal('noise', 22050, 5000)
    theirs = librosa_mel(
        waveform, sample_rate_hz=22050, n_fft=512, hop_length=256, n_mels=40, power=1, fmax=8000
    )
    np.testing.assert_allclose(front_end(waveform), np.log(theirs[:-1] + 1e-6), atol=1e-4)


def test_mean_and_std_standardise():
    waveform = signal('noise', 22050, 4000)
    for name in ('schindler', 'mfcc_13'):
        plain = features.build({'name': name})(waveform)
        shifted = features.build({'name': name, 'mean': -4.0, 'std': 2.5})(waveform)
        np.testing.assert_allclose(shifted, (plain + 4) / 2.5, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize('below', [20.0, 60.0])
def test_decibel_below_the_peak(below):
    waveform = signal('full_scale_sine', 22050, 9000)
    out = Spectrogram(compression='db', db_reference='peak', top_db=below)(waveform)
    spectrum = np.abs(librosa.stft(waveform.astype(np.float64), n_fft=1024, hop_length=512)).T ** 2
    assert_same(out, librosa.power_to_db(spectrum, ref=np.max, top_db=below), 'db')
    assert float(out.max()) == 0 and float(out.min()) == -below


@pytest.mark.parametrize('win_length', [300, 401, 512])
def test_short_windows_are_centred_as_in_librosa(win_length):
    waveform = signal('noise', 22050, 5000)
    out = Spectrogram(n_fft=512, win_length=win_length, hop_length=200, power=1)(waveform)
    theirs = librosa.stft(waveform.astype(np.float64), n_fft=512, win_length=win_length, hop_length=200)
    np.testing.assert_allclose(out, np.abs(theirs).T, atol=1e-4)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'name': 'schindler', 'n_mel': 40}, r"config\.features\.n_mel; did .*features\.n_mels'"),
        ({'name': 'shindler'}, r"config\.features\.name='shindler'; did you mean 'schindler'\?"),
        ({'name': 'ast', 'hop_length': 500}, 'hop_length=500 <= frame_length=400'),
        ({'name': 'ast', 'f_max_hz': 9000.0}, 'f_max_hz=9000.0 .*half the sample rate'),
        ({'name': 'ast', 'target_frames': -1}, r'features\.target_frames=-1'),
        ({'name': 'mfcc_20', 'n_mfcc': 200}, r'n_mfcc=200: expected at most n_mels=128'),
        ({'name': 'mfcc_20', 'n_mfcc': 0}, r'features\.n_mfcc=0'),
        ({'name': 'panns_32k', 'sample_rate_hz': 16000}, r'f_max_hz=14000.0 .*8000 Hz'),
        ({'name': 'panns_32k', 'hop_length': 1025}, 'hop_length=1025'),
        ({'name': 'yamnet', 'hop_length': 401}, 'hop_length=401'),
        ({'name': 'yamnet', 'win_length': 600}, 'win_length=600 does not fit into n_fft=512'),
        ({'name': 'linear', 'power': 3}, 'power=3'),
        ({'name': 'linear', 'compression': 'log'}, "compression='log': expected one of 'none'"),
        ({'name': 'linear', 'padding': 'edge'}, "padding='edge'"),
        ({'name': 'schindler', 'n_mels': 300}, 'mel bands hold no FFT bin'),
    ],
    ids=str,
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        features.build(settings)


@pytest.mark.parametrize(
    'wrong',
    [
        {'n_fft': 0}, {'hop_length': 0}, {'n_mels': -1}, {'sample_rate_hz': 0}, {'log_offset': 0.0},
        {'std': 0.0}, {'std': float('nan')}, {'f_min_hz': -1.0}, {'f_max_hz': 12000.0},
        {'f_max_hz': -5.0}, {'f_min_hz': 5000.0, 'f_max_hz': 4000.0}, {'f_min_hz': 11025.0},
        {'top_db': -1.0}, {'win_length': -1}, {'n_fft': 2**40}, {'n_mels': 2**40}, {'n_fft': 512.0},
        {'mean': float('inf')}, {'log_scale': '1'},
    ],
    ids=str,
)  # fmt: skip
def test_bad_values(wrong):
    with pytest.raises(UserError, match=f'config.features.*{next(iter(wrong))}'):
        features.build({'name': 'schindler'} | wrong)


def test_ast_refuses_to_drop_the_end_of_a_window():
    front_end = features.build({'name': 'ast'})
    front_end.check_length(round(10.24 * 16000))
    with pytest.raises(UserError, match=r'target_frames=1024 would drop.*2998 frames'):
        front_end.check_length(30 * 16000)


# --- building blocks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('sample_rate_hz', 'n_fft', 'n_mels', 'f_min_hz', 'f_max_hz'),
    [
        (22050, 512, 80, 0.0, 0.0),
        (16000, 1024, 80, 0.0, 0.0),
        (44100, 2048, 128, 50.0, 14000.0),
        (16000, 400, 40, 1500.0, 7600.0),  # above the scale's linear part
        (22050, 511, 40, 0.0, 900.0),  # odd; inside the linear part
    ],
)
@pytest.mark.parametrize('scale', ['slaney', 'htk'])
@pytest.mark.parametrize('unit_area', [True, False])
def test_mel_filters_are_librosas(sample_rate_hz, n_fft, n_mels, f_min_hz, f_max_hz, scale, unit_area):
    ours = mel_filters(sample_rate_hz, n_fft, n_mels, f_min_hz, f_max_hz, scale=scale, unit_area=unit_area)
    theirs = librosa.filters.mel(
        sr=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, fmin=f_min_hz, fmax=f_max_hz or None,
        htk=scale == 'htk', norm='slaney' if unit_area else None, dtype=np.float64,
    ).T  # fmt: skip
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-6 * theirs.max()


@pytest.mark.parametrize('scale', ['slaney', 'htk'])
def test_mel_scales_are_inverted(scale):
    hz = np.array([0.0, 10, 440, 999, 1000, 1001, 4000, 20000])
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz, scale), scale), hz, rtol=1e-12)


@pytest.mark.parametrize('n', [2, 400, 511, 512])
def test_hann_window(n):
    for periodic in (True, False):
        theirs = librosa.filters.get_window('hann', n, fftbins=periodic)
        np.testing.assert_allclose(hann_window(n, periodic), theirs, atol=1e-12)


def test_dct_is_orthonormal():
    whole = dct_matrix(40, 40)
    np.testing.assert_allclose(whole.T @ whole, np.eye(40), atol=1e-6)
