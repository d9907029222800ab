"""Windows of recordings against slices of the whole, and timelines against ones drawn by hand."""

import numpy as np
import pytest
import soundfile

from genre_jax.data import audio
from genre_jax.errors import BadAudio
from genre_jax.label import windows
from genre_jax.label.song import Song


@pytest.mark.parametrize('n_samples', [1, 9, 10, 11, 25, 26, 40, 97])
@pytest.mark.parametrize('hop', [1, 4, 10, 17])
@pytest.mark.parametrize('block', [1, 7, 1000])
def test_windows_are_slices_of_the_recording(n_samples, hop, block):
    whole = np.random.default_rng(n_samples).integers(-9, 9, n_samples, np.int16)
    blocks = (whole[i : i + block] for i in range(0, n_samples, block))
    found = list(windows.cut((n_samples, blocks), 10, hop))
    padded = np.pad(whole, (0, 10))
    starts = windows.starts(n_samples, 10, hop)
    assert np.array_equal(found, [padded[start : start + 10] for start in starts])


@pytest.mark.parametrize(
    'n_samples, hop, expected',
    [
        (5, 10, [0]),  # shorter than a window
        (30, 10, [0, 10, 20]),
        (35, 10, [0, 10, 20]),  # half a hop is left over
        (36, 10, [0, 10, 20, 26]),  # more than half: one that ends with the recording
        (20, 4, [0, 4, 8]),
        (21, 4, [0, 4, 8, 11]),
    ],
)
def test_where_windows_start(n_samples, hop, expected):
    assert windows.starts(n_samples, 10, hop).tolist() == expected


def test_a_file_that_becomes_shorter_is_said_to():
    with pytest.raises(BadAudio, match='shorter'):
        list(windows.cut((50, iter([np.zeros(20, np.int16)])), 10, 10))


@pytest.mark.parametrize(
    'suffix, peak', [('wav', 0.5), ('flac', 0.9), ('ogg', 0.8), ('mp3', 0.8), ('m4a', 0.6)]
)
@pytest.mark.parametrize('rate_hz', [8000, 22050])
def test_a_long_recording_is_decoded_to_the_same_samples(tmp_path, suffix, peak, rate_hz, monkeypatch):
    file = tmp_path / f'x.{suffix}'
    noise = np.random.default_rng(0).uniform(-peak, peak, (7 * 22050, 2))
    if suffix == 'm4a':
        _write_aac(file, noise)
    else:
        soundfile.write(file, noise, 22050)
    monkeypatch.setattr(audio, '_BLOCK_SAMPLES', 2**14)
    n_samples, blocks = audio.decode_long(file, rate_hz)
    whole = audio.decode(file, rate_hz)
    assert n_samples == len(whole)
    assert np.array_equal(np.concatenate(list(blocks)), whole)


def test_a_long_recording_above_full_scale_is_divided_by_its_peak(tmp_path):
    loud = np.sin(np.arange(3 * 2**20) / 9) * np.linspace(0, 3, 3 * 2**20)
    soundfile.write(tmp_path / 'x.wav', loud, 44100, 'FLOAT')
    n_samples, blocks = audio.decode_long(tmp_path / 'x.wav', 44100)
    decoded = np.concatenate(list(blocks))
    assert len(decoded) == n_samples == len(loud)
    assert np.abs(decoded - np.rint(32767 * loud / np.abs(loud).max())).max() <= 1


@pytest.mark.parametrize('samples', [np.zeros(9000), np.full(9000, np.nan)])
def test_long_recordings_that_cannot_be_used_are_refused_at_once(tmp_path, samples):
    soundfile.write(tmp_path / 'x.wav', samples, 8000, 'FLOAT')
    with pytest.raises(BadAudio):
        audio.decode_long(tmp_path / 'x.wav', 8000)


def test_samples_in_memory_are_as_those_of_a_file(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (30000, 2)).astype(np.float32)
    soundfile.write(tmp_path / 'x.wav', noise, 44100, 'FLOAT')
    assert np.array_equal(audio.of_samples(noise, 44100, 16000), audio.decode(tmp_path / 'x.wav', 16000))
    whole = np.rint(noise[:, 0] * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
    soundfile.write(tmp_path / 'y.wav', whole, 44100)
    assert np.array_equal(audio.of_samples(whole, 44100, 44100), audio.decode(tmp_path / 'y.wav', 44100))
    with pytest.raises(BadAudio, match='shape'):
        audio.of_samples(noise[None], 44100, 44100)


def song(winners, hop_s=1.0, window_s=1.0):
    """A song of windows that each give 0.75 to one of three classes, by number."""
    start_s = hop_s * np.arange(len(winners))
    probabilities = np.full((len(winners), 3), 0.125)
    probabilities[np.arange(len(winners)), winners] = 0.75
    return Song(
        'x',
        start_s[-1] + window_s,
        ('a', 'b', 'c'),
        start_s,
        start_s + window_s,
        probabilities,
        probabilities.mean(0),
    )


def test_neighbours_of_one_class_are_one_stretch():
    found = song([0, 0, 1, 0, 2, 2, 2]).timeline()
    assert found == [(0, 2, 'a', 0.75), (2, 3, 'b', 0.75), (3, 4, 'a', 0.75), (4, 7, 'c', 0.75)]
    assert len(song([0, 0, 1]).timeline(merge=False)) == 3


def test_a_window_answers_until_the_next_begins():
    assert song([0, 1, 1], hop_s=1, window_s=4).timeline() == [(0, 1, 'a', 0.75), (1, 6, 'b', 0.75)]
    # Where windows do not touch, nobody answers for what is between.
    apart = song([0, 0], hop_s=3, window_s=1).timeline()
    assert apart == [(0, 1, 'a', 0.75), (3, 4, 'a', 0.75)]


def test_several_classes_of_a_window_and_a_threshold():
    found = song([0, 0, 1]).timeline(top=2)
    assert found == [(0, 3, 'a', (0.75 + 0.75 + 0.125) / 3), (0, 3, 'b', (0.125 + 0.125 + 0.75) / 3)]
    assert song([0, 0, 1]).timeline(top=3, threshold=0.5) == [(0, 2, 'a', 0.75), (2, 3, 'b', 0.75)]


def test_a_song_is_the_mean_of_its_windows():
    one = song([0, 0, 1])
    assert one.label == 'a'
    assert np.allclose(one.probability, [(0.75 * 2 + 0.125) / 3, (0.75 + 0.25) / 3, 0.125])
    assert one.agreement == pytest.approx(2 / 3)
    assert [label for label, _ in one.top(2)] == ['a', 'b']


def _write_aac(file, samples):
    av = pytest.importorskip('av')
    with av.open(str(file), 'w') as container:
        stream = container.add_stream('aac', rate=22050, layout='stereo')
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T, np.float32), format='fltp', layout='stereo'
        )
        frame.sample_rate = 22050
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
