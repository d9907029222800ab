"""The handcrafted features against GTZAN's published table, published values, librosa and scipy."""

import csv

import jax
import librosa
import numpy as np
import pytest
import scipy.ndimage
import soundfile

from genre_jax.errors import UserError
from genre_jax.features import handcrafted, hpss, stft
from genre_jax.features.chroma import Chroma, chroma_filters, estimate_tuning
from genre_jax.features.handcrafted import COLUMNS, Handcrafted
from genre_jax.features.tempo import onset_strength, tempo
from tests.features.test_features import signal
from tests.golden import u
from tests.program import DATA


def real_clip(seconds=6):
    files = sorted((DATA / 'game_music').glob('*/*.ogg'))
    if not files:
        pytest.skip(f'no recordings below {DATA}: set GENRE_JAX_DATA')
    return soundfile.read(files[len(files) // 2], frames=seconds * 22050, dtype='float32')[0]


# --- the published table -------------------------------------------------------------------------


@pytest.fixture(scope='module')
def table():
    path = DATA / 'gtzan/features_30_sec.csv'
    if not path.exists():
        pytest.skip(f'no {path}: set GENRE_JAX_DATA')
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == ('filename', 'length', *COLUMNS, 'label')
    return {row['filename']: np.array([float(row[c]) for c in COLUMNS]) for row in rows}


@pytest.mark.slow
def test_published_rows(table):
    files = sorted((DATA / 'gtzan/genres_original').glob('*/*.wav'))
    if not files:
        pytest.skip(f'no recordings below {DATA}/gtzan/genres_original: set GENRE_JAX_DATA')
    spread = np.std(list(table.values()), axis=0)
    compute = jax.jit(Handcrafted())
    for file in files:
        waveform, rate_hz = soundfile.read(file, dtype='float32')
        assert rate_hz == 22050
        theirs = table[file.name]
        error = np.abs(np.asarray(compute(waveform)) - theirs)
        allowed = 1e-4 * np.maximum(np.abs(theirs), spread)
        worst = (error / allowed).argmax()
        assert (error <= allowed).all(), (file.name, COLUMNS[worst], error[worst], theirs[worst])


# --- published values ----------------------------------------------------------------------------

BEFORE_0_9 = {
    'chroma_stft_mean': 0.1182022, 'chroma_stft_var': 0.07624649, 'rms_mean': 0.3997029,
    'rms_var': 1.596662e-06, 'spectral_centroid_mean': 3874.012, 'spectral_centroid_var': 29447.41,
    'spectral_bandwidth_mean': 3403.109, 'spectral_bandwidth_var': 2551.817,
    'rolloff_mean': 8457.414, 'rolloff_var': 53168.3, 'zero_crossing_rate_mean': 0.09742713,
    'zero_crossing_rate_var': 4.862341e-05, 'harmony_mean': 2.27602e-05, 'harmony_var': 0.156302,
    'perceptr_mean': 8.48083e-05, 'perceptr_var': 0.001159592, 'tempo': 86.13281,
    'mfcc1_mean': -59.29591, 'mfcc1_var': 60.93544, 'mfcc2_mean': 11.2034, 'mfcc2_var': 71.8618,
    'mfcc20_mean': -6.245616, 'mfcc20_var': 10.03649,
}  # fmt: skip
SINCE_0_9 = {
    'chroma_stft_mean': 0.1174015, 'chroma_stft_var': 0.07601248, 'rms_mean': 0.3972682,
    'rms_var': 0.0002192926, 'spectral_centroid_mean': 3882.98, 'spectral_centroid_var': 16033.53,
    'spectral_bandwidth_mean': 3405.223, 'spectral_bandwidth_var': 1633.083,
    'rolloff_mean': 8469.092, 'rolloff_var': 30976.41, 'zero_crossing_rate_mean': 0.09742713,
    'harmony_mean': 4.175118e-05, 'harmony_var': 0.1567221, 'perceptr_mean': 6.152969e-05,
    'perceptr_var': 0.0009545661, 'tempo': 86.13281, 'mfcc1_mean': -60.05226,
    'mfcc1_var': 15.03039, 'mfcc2_var': 44.66627, 'mfcc20_var': 9.979421,
}  # fmt: skip


@pytest.mark.parametrize(('padding', 'published'), [('reflect', BEFORE_0_9), ('zeros', SINCE_0_9)])
def test_published_values(padding, published):
    t = np.arange(66149) / 22050
    waveform = 0.5 * np.sin(2 * np.pi * 440 * t) + 0.25 * np.sin(2 * np.pi * 1760 * t)
    waveform += 0.1 * u('noise', t.shape)
    row = jax.jit(Handcrafted(padding=padding))(waveform.astype(np.float32))
    ours = dict(zip(COLUMNS, row, strict=True))
    for column, value in published.items():
        assert float(ours[column]) == pytest.approx(value, rel=2e-5), column


# --- whole rows against librosa ------------------------------------------------------------------


def librosa_row(waveform):
    """The same columns by librosa >= 0.9 with its defaults."""
    spectrum = librosa.stft(waveform)
    magnitude = np.abs(spectrum)
    harmonic, percussive = librosa.effects.hpss(waveform)
    over_time = [
        librosa.feature.chroma_stft(y=waveform, sr=22050),
        librosa.feature.rms(y=waveform, pad_mode='constant'),
        librosa.feature.spectral_centroid(S=magnitude, sr=22050),
        librosa.feature.spectral_bandwidth(S=magnitude, sr=22050),
        librosa.feature.spectral_rolloff(S=magnitude, sr=22050),
        librosa.feature.zero_crossing_rate(waveform),
        harmonic,
        percussive,
    ]
    row = [statistic for values in over_time for statistic in (values.mean(), values.var())]
    row.append(np.squeeze(librosa.beat.beat_track(y=waveform, sr=22050)[0]))
    for coefficient in librosa.feature.mfcc(y=waveform, sr=22050, n_mfcc=20):
        row += [coefficient.mean(), coefficient.var()]
    return np.array(row, np.float64)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['music', 'noise', 'silence', 'full_scale_sine'])
def test_rows_are_librosas(kind):
    waveform = real_clip() if kind == 'music' else signal(kind, 22050, 100001)
    ours = np.asarray(jax.jit(Handcrafted(padding='zeros'))(waveform), np.float64)
    theirs = librosa_row(waveform)
    # A variance of values that hardly vary is rounding: it is compared with the mean's square.
    scale = np.abs(theirs)
    mean = np.array([column.endswith('_mean') for column in COLUMNS])
    for i in np.flatnonzero(mean):
        scale[i + 1] = max(scale[i + 1], 1e-3 * theirs[i] ** 2)
        scale[i] = max(scale[i], np.sqrt(theirs[i + 1]))
    # The coefficients are sums over bands that float32 rounds in proportion to the first, the level.
    first = COLUMNS.index('mfcc1_mean')
    scale[first:] = np.maximum(scale[first:], 1e-3 * abs(theirs[first]))
    error = np.abs(ours - theirs) / np.maximum(scale, 1e-6)
    assert (error <= 1e-3).all(), (COLUMNS[error.argmax()], error.max())


@pytest.mark.slow
def test_batches_are_clips_and_short_ones_are_refused():
    clips = np.random.default_rng(0).uniform(-1, 1, (2, 2, 30000)).astype(np.float32)
    compute = jax.jit(Handcrafted())
    rows = compute(clips)
    assert rows.shape == (2, 2, len(COLUMNS)) == (2, 2, 57)
    np.testing.assert_allclose(rows[1, 0], compute(clips[1, 0]), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match='2047 samples is shorter than one frame of 2048'):
        Handcrafted()(clips[..., :2047])


@pytest.mark.slow
@pytest.mark.parametrize('padding', ['reflect', 'zeros'])
def test_zeros_behind_a_clip_change_nothing(padding):
    compute = Handcrafted(padding=padding)
    clips = [signal('noise', 22050, n) for n in (2048, 9000, 40000)]
    padded = np.stack([np.pad(clip, (0, 40000 - len(clip))) for clip in clips])
    rows = jax.jit(compute)(padded, np.array([2048, 9000, 40000]))
    for row, clip in zip(rows, clips, strict=True):
        np.testing.assert_allclose(row, jax.jit(compute)(clip), rtol=1e-4, atol=1e-5)


# --- parts ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize('shape', [(1, 40), (31, 7), (90, 130), (200, 65)])
@pytest.mark.parametrize('axis', [0, 1])
def test_running_median_is_scipys(shape, axis):
    rng = np.random.default_rng(1)
    for values in (
        rng.uniform(0, 1, shape),
        rng.integers(0, 4, shape),  # ties
        np.where(rng.uniform(size=shape) < 0.6, 0, 1e-38 * rng.uniform(size=shape)),
    ):
        values = values.astype(np.float32)
        size = (31, 1) if axis == 0 else (1, 31)
        theirs = scipy.ndimage.median_filter(values, size=size, mode='reflect')
        np.testing.assert_array_equal(hpss.median_filter_31(values, axis), theirs)


@pytest.mark.slow
def test_soft_masks_are_librosas():
    for waveform in (real_clip(4), signal('clicks', 22050, 50000), signal('silence', 22050, 30000)):
        magnitude = np.abs(librosa.stft(waveform))
        masks = librosa.decompose.hpss(magnitude, mask=True)
        for ours, theirs in zip(hpss.soft_masks(magnitude.T), masks, strict=True):
            np.testing.assert_allclose(ours.T, theirs, atol=1e-5)


@pytest.mark.parametrize('n_samples', [2048, 9999, 20480])
def test_inverse_stft_gives_the_waveform_back(n_samples):
    waveform = signal('noise', 22050, n_samples)
    spectrum = librosa.stft(waveform).T
    np.testing.assert_allclose(stft.inverse(spectrum, n_samples), waveform, rtol=0, atol=1e-5)


@pytest.mark.parametrize('kind', ['noise', 'clicks', 'silence', 'full_scale_sine'])
@pytest.mark.parametrize('n_samples', [2048, 33333])
def test_parts_are_librosas(kind, n_samples):
    waveform = signal(kind, 22050, n_samples)
    magnitude = np.abs(librosa.stft(waveform))
    centroid, bandwidth, rolloff = handcrafted.spectral_shape(magnitude.T, 22050)
    theirs = librosa.feature.spectral_centroid(S=magnitude, sr=22050)[0]
    np.testing.assert_allclose(centroid, theirs, rtol=1e-5)
    theirs = librosa.feature.spectral_bandwidth(S=magnitude, sr=22050)[0]
    np.testing.assert_allclose(bandwidth, theirs, rtol=1e-4)
    theirs = librosa.feature.spectral_rolloff(S=magnitude, sr=22050)[0]
    np.testing.assert_allclose(rolloff, theirs, atol=22050 / 2048 * 1.01)  # a bin, by rounding
    assert np.mean(np.abs(rolloff - theirs) > 1e-3) < 0.02
    theirs = librosa.feature.zero_crossing_rate(waveform)[0]
    np.testing.assert_allclose(
        handcrafted.zero_crossing_rate(np.pad(waveform, 1024, mode='edge'), 2048),
        theirs,
        rtol=1e-6,
        atol=0,
    )
    for mode in ('constant', 'reflect'):
        theirs = librosa.feature.rms(y=waveform, pad_mode=mode)[0]
        np.testing.assert_allclose(
            handcrafted.rms(np.pad(waveform, 1024, mode=mode), 2048), theirs, rtol=1e-5, atol=1e-7
        )


def clicks_at(bpm, seconds=20):
    waveform = np.zeros(seconds * 22050, np.float32)
    for beat in np.arange(0, seconds, 60 / bpm):
        start = int(beat * 22050)
        burst = np.random.default_rng(int(beat * 1000)).uniform(-1, 1, 800)
        waveform[start : start + 800] = burst[: len(waveform) - start]
    return waveform


@pytest.mark.parametrize('bpm', [72, 97, 120, 151])
def test_tempo_of_a_metronome(bpm):
    mel_db = librosa.power_to_db(librosa.feature.melspectrogram(y=clicks_at(bpm), sr=22050)).T
    onsets = onset_strength(mel_db, 2048, 512)
    theirs = librosa.onset.onset_strength(y=clicks_at(bpm), sr=22050, aggregate=np.median)
    np.testing.assert_allclose(onsets, theirs, atol=1e-3)
    assert float(tempo(onsets, 22050, 512)) == pytest.approx(bpm, rel=0.03)
    assert float(tempo(np.zeros(500, np.float32), 22050, 512)) == 0


# --- chroma --------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['music', 'noise', 'silence', 'full_scale_sine'])
@pytest.mark.parametrize(('rate_hz', 'padding'), [(16000, 'reflect'), (22050, 'zeros'), (44100, 'zeros')])
def test_chroma_is_librosas(kind, rate_hz, padding):
    waveform = real_clip(3) if kind == 'music' else signal(kind, rate_hz, 30001)
    mode = 'constant' if padding == 'zeros' else padding
    theirs = librosa.feature.chroma_stft(y=waveform, sr=rate_hz, pad_mode=mode).T
    ours = jax.jit(Chroma(sample_rate_hz=rate_hz, padding=padding))(waveform)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_chroma_of_clicks_at_a_given_tuning():
    # The spectrum of a click is flat: its peaks, and the tuning found from them, would be rounding.
    waveform = signal('clicks', 22050, 30001)
    theirs = librosa.feature.chroma_stft(y=waveform, sr=22050, tuning=0.13).T
    np.testing.assert_allclose(Chroma(tuning=0.13)(waveform), theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize('deviation', [-0.45, -0.2, 0.0, 0.17, 0.4])
def test_chroma_follows_the_tuning(deviation):
    """A detuned scale has the chroma of the scale in tune."""
    t = np.arange(22050) / 22050

    def scale(shift):
        hz = 440 * 2 ** ((np.array([0, 2, 4, 5, 7, 9, 11]) + shift) / 12)
        return np.concatenate([np.sin(2 * np.pi * f * t) for f in hz]).astype(np.float32)

    # A note lasts 43 frames; those at its ends hold two notes, or the click between them.
    inside = np.arange(7 * 43) % 43
    inside = np.flatnonzero((inside > 4) & (inside < 39))
    chroma = jax.jit(Chroma())
    detuned, in_tune = chroma(scale(deviation)), chroma(scale(0))
    np.testing.assert_allclose(detuned[inside], in_tune[inside], atol=0.12)
    assert int(detuned[10].argmax()) == 9  # A


def test_tuning_is_librosas_on_real_recordings():
    """Exactly: the fullest cell of its histogram is often one peak ahead of the next."""
    folders = [DATA / name for name in ('hindustani', 'game_music')]
    files = [file for folder in folders for file in sorted(folder.glob('*/*.ogg'))][::5]
    if not files:
        pytest.skip(f'no recordings below {DATA}: set GENRE_JAX_DATA')

    @jax.jit
    def estimate(waveform):
        spectrum = stft.stft(
            waveform, n_fft=2048, win_length=2048, hop_length=512, padding='zeros', float64=True
        )
        return estimate_tuning(spectrum.real**2 + spectrum.imag**2, 22050, 12)

    for file in files:
        waveform = soundfile.read(file, frames=10 * 22050, fill_value=0.0, dtype='float32')[0]
        theirs = librosa.estimate_tuning(S=np.abs(librosa.stft(waveform)) ** 2, sr=22050)
        assert int(estimate(waveform)) / 100 - 0.5 == pytest.approx(theirs, abs=1e-6), file.name


@pytest.mark.parametrize('n_chroma', [12, 24])
@pytest.mark.parametrize('tuning', [-0.5, 0.0, 0.31])
def test_chroma_filters_are_librosas(n_chroma, tuning):
    theirs = librosa.filters.chroma(sr=22050, n_fft=2048, tuning=tuning, n_chroma=n_chroma).T
    np.testing.assert_allclose(chroma_filters(22050, 2048, n_chroma, tuning), theirs, atol=1e-6)


def test_chroma_mistakes():
    with pytest.raises(UserError, match=r'config\.features\.hop_length=4096'):
        Chroma(hop_length=4096)
    with pytest.raises(UserError, match=r'config\.features\.n_chroma=0'):
        Chroma(n_chroma=0)


@pytest.mark.slow  # quick: of each front end, test_features.py
def test_what_is_no_number_stays_none():
    clip = signal('noise', 22050, 22050).astype(np.float32)
    clip[10_000] = np.nan
    assert np.isnan(Handcrafted()(clip)).all()
