"""Decoding against closed forms and librosa; every kind of bad file in every container."""

import os
import pathlib
import struct
import subprocess
import sys

import librosa
import numpy as np
import pytest
import soundfile

from genre_jax.data import audio, audio_file
from tests.program import DATA, ROOT

CONTAINERS = {
    'wav': ('WAV', 'PCM_16', 22050),
    'wavex': ('WAVEX', 'PCM_24', 22050),
    'float_wav': ('WAV', 'FLOAT', 22050),
    'rf64': ('RF64', 'PCM_16', 22050),
    'flac': ('FLAC', 'PCM_16', 22050),
    'ogg': ('OGG', 'VORBIS', 22050),
    'opus': ('OGG', 'OPUS', 48000),
    'mp3': ('MP3', 'MPEG_LAYER_III', 22050),
    'au': ('AU', 'PCM_16', 22050),
    'aiff': ('AIFF', 'PCM_16', 22050),
}


def tone(rate_hz: int, duration_s: float, frequency_hz: float = 440.0, amplitude: float = 0.5):
    time_s = np.arange(round(rate_hz * duration_s)) / rate_hz
    return amplitude * np.sin(2 * np.pi * frequency_hz * time_s)


def fit_sine(samples: np.ndarray, rate_hz: int, frequency_hz: float) -> tuple[float, float]:
    """Returns amplitude and signal-to-residual ratio in dB of the best sine at a frequency."""
    phase = 2 * np.pi * frequency_hz * np.arange(len(samples)) / rate_hz
    basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    weights = np.linalg.lstsq(basis, samples, rcond=None)[0]
    residual = samples - basis @ weights
    ratio = np.sum((basis @ weights) ** 2) / max(np.sum(residual**2), 1e-30)
    return float(np.hypot(*weights)), float(10 * np.log10(ratio))


@pytest.fixture(params=CONTAINERS)
def container(request) -> str:
    return request.param


def encode(folder: pathlib.Path, name: str, samples: np.ndarray, **options) -> bytes:
    form, subtype, rate_hz = CONTAINERS[name]
    path = folder / f'encoded_{name}'
    soundfile.write(path, samples, rate_hz, format=form, subtype=subtype, **options)
    return path.read_bytes()


def decode_bytes(folder: pathlib.Path, content: bytes, *args, **kwargs) -> np.ndarray:
    path = folder / 'clip.bin'
    path.write_bytes(content)
    return audio.decode(path, *(args or (22050,)), **kwargs)


def refusal(folder: pathlib.Path, content: bytes, *args, **kwargs) -> str:
    with pytest.raises(audio.BadAudio) as caught:
        decode_bytes(folder, content, *args, **kwargs)
    message = str(caught.value)
    assert str(folder) not in message and '\n' not in message
    return message


@pytest.mark.parametrize(
    'form, subtype',
    [
        ('WAV', 'PCM_24'),
        ('WAV', 'PCM_16'),
        ('WAV', 'PCM_32'),
        ('WAV', 'FLOAT'),
        ('WAV', 'DOUBLE'),
        ('WAVEX', 'PCM_24'),
        ('RF64', 'PCM_16'),
        ('FLAC', 'PCM_24'),
        ('AU', 'PCM_16'),
        ('AU', 'FLOAT'),
        ('AIFF', 'PCM_24'),
    ],
)
def test_stereo_44k_to_mono_22k_keeps_amplitude_and_frequency(tmp_path, form, subtype):
    left = tone(44100, 2.0, 1000, 0.6)
    path = tmp_path / 'tone'
    soundfile.write(path, np.stack([left, left / 3], axis=1), 44100, subtype, format=form)
    result = audio.decode(path, 22050)
    assert result.dtype == np.int16 and result.shape == (44100,)
    inner = result[2000:-2000] / 32767
    amplitude, ratio_db = fit_sine(inner, 22050, 1000.0)
    assert amplitude == pytest.approx(0.4, abs=1e-3)  # mean of 0.6 and 0.2
    assert ratio_db > 60  # any other frequency would leave a residual
    detuned = [fit_sine(inner, 22050, 1000.0 + shift)[1] for shift in (-1, 1)]
    assert max(detuned) < 20


def test_unsigned_8_bit_wav(tmp_path):
    path = tmp_path / 'a.wav'
    soundfile.write(path, tone(8000, 1), 8000, subtype='PCM_U8')
    assert fit_sine(audio.decode(path, 8000) / 32767, 8000, 440)[0] == pytest.approx(0.5, abs=5e-3)


@pytest.mark.parametrize('name, least_db', [('mp3', 30), ('ogg', 25), ('opus', 25)])
def test_lossy_formats_keep_the_tone(tmp_path, name, least_db):
    rate_hz = CONTAINERS[name][2]
    content = encode(tmp_path, name, tone(rate_hz, 3.0))
    result = decode_bytes(tmp_path, content)
    assert len(result) == 3 * 22050
    amplitude, ratio_db = fit_sine(result[4000:-4000] / 32767, 22050, 440.0)
    assert amplitude == pytest.approx(0.5, rel=0.03)
    assert ratio_db > least_db


def test_samples_are_exact_without_resampling(tmp_path):
    samples = np.array([0, 1, -1, 32767, -32768, 12345] * 1000, np.int16)
    path = tmp_path / 'a.wav'
    soundfile.write(path, samples, 16000)
    expected = np.rint(samples / 32768 * 32767)
    np.testing.assert_array_equal(audio.decode(path, 16000), expected)


@pytest.mark.parametrize('peak', [0.25, 1.0, 1.7, 1000.0])
def test_only_audio_above_full_scale_is_divided_by_its_peak(tmp_path, peak):
    samples = np.linspace(-peak, peak / 2, 5000)
    path = tmp_path / 'a.wav'
    soundfile.write(path, samples, 22050, subtype='DOUBLE')
    expected = samples / max(peak, 1.0) * 32767
    np.testing.assert_allclose(audio.decode(path, 22050), expected, atol=0.51)


@pytest.mark.parametrize('channels', [1, 2, 3, 8])
def test_channels_are_averaged(tmp_path, channels):
    samples = np.random.default_rng(0).uniform(-1, 1, (4000, channels))
    path = tmp_path / 'a.wav'
    soundfile.write(path, samples, 22050, subtype='DOUBLE')
    expected = samples.mean(axis=1) * 32767
    np.testing.assert_allclose(audio.decode(path, 22050), expected, atol=0.52)


@pytest.mark.parametrize('rate_hz', [8000, 11025, 16000, 32000, 44100, 48000, 96000])
def test_resampling_is_librosa_soxr_hq(tmp_path, rate_hz):
    samples = np.random.default_rng(1).uniform(-0.4, 0.4, rate_hz + 17).astype(np.float32)
    path = tmp_path / 'a.wav'
    soundfile.write(path, samples, rate_hz, subtype='FLOAT')
    expected = librosa.resample(samples, orig_sr=rate_hz, target_sr=22050, res_type='soxr_hq')
    result = audio.decode(path, 22050)
    assert abs(len(result) - len(expected)) <= 1
    n = min(len(result), len(expected))
    np.testing.assert_allclose(result[:n], expected[:n] * 32767, atol=1.01)


def test_long_files_are_read_in_blocks_without_seams(tmp_path, monkeypatch, container):
    rate_hz = CONTAINERS[container][2]
    rng = np.random.default_rng(2)
    content = encode(tmp_path, container, rng.uniform(-0.3, 0.3, (2 * rate_hz, 2)))
    whole = decode_bytes(tmp_path, content, 16000)
    monkeypatch.setattr(audio, '_BLOCK_SAMPLES', 5000)
    np.testing.assert_allclose(decode_bytes(tmp_path, content, 16000), whole, atol=1)


def test_spans_are_read_in_place(tmp_path, container):
    rate_hz = CONTAINERS[container][2]
    samples = np.random.default_rng(3).uniform(-0.2, 0.2, 3 * rate_hz)
    content = encode(tmp_path, container, samples)
    whole = decode_bytes(tmp_path, content, rate_hz)
    # The first MP3 frame behind a seek may lack bits that stand in frames before it.
    atol = 20 if container == 'mp3' else 1
    first, last = round(0.7 * rate_hz), round(1.9 * rate_hz)
    span = decode_bytes(tmp_path, content, rate_hz, start_s=0.7, end_s=1.9)
    np.testing.assert_allclose(span, whole[first:last], atol=atol)
    tail = decode_bytes(tmp_path, content, rate_hz, start_s=2.5)
    np.testing.assert_allclose(tail, whole[round(2.5 * rate_hz) :], atol=atol)


def test_content_decides_the_format_not_the_suffix(tmp_path, container):
    rate_hz = CONTAINERS[container][2]
    content = encode(tmp_path, container, tone(rate_hz, 1.0))
    expected = decode_bytes(tmp_path, content)
    for suffix in ('.wav', '.mp3', '.FLAC', '.au', '.ogg', ''):
        path = tmp_path / f'renamed{suffix}'
        path.write_bytes(content)
        np.testing.assert_array_equal(audio.decode(path, 22050), expected)


def test_probe_reads_the_header(tmp_path, container):
    form, _, rate_hz = CONTAINERS[container]
    path = tmp_path / 'a'
    path.write_bytes(encode(tmp_path, container, np.zeros((rate_hz * 2, 2)) + 0.1))
    info = audio.probe(path)
    assert (info.sample_rate_hz, info.channels, info.format) == (rate_hz, 2, form)
    assert info.duration_s == pytest.approx(2.0)


@pytest.mark.parametrize(
    'content',
    [
        b'This is no audio, only text.\n' * 400,
        bytes(5000),
        b'\xff' * 5000,
        b'\xff\xd8\xff\xe0' + bytes(range(256)) * 40,
        b'RIFF',
        b'fLaC',
        b'OggS',
        b'ID3',
        b'.snd',
        b'F',
    ],
    ids=['text', 'zeros', 'ones', 'jpeg', 'RIFF', 'fLaC', 'OggS', 'ID3', '.snd', 'F'],
)
@pytest.mark.parametrize('suffix', sorted(audio_file.AUDIO_SUFFIXES))
def test_what_is_no_audio_is_refused(tmp_path, content, suffix):
    path = tmp_path / f'a{suffix}'
    path.write_bytes(content)
    with pytest.raises(audio.BadAudio, match='^(not audio|truncated|no samples)'):
        audio.decode(path, 22050)
    with pytest.raises(audio.BadAudio):
        audio.decode(path, 22050, end_s=1.0)


def test_empty_file(tmp_path):
    for suffix in audio_file.AUDIO_SUFFIXES:
        path = tmp_path / f'a{suffix}'
        path.touch()
        with pytest.raises(audio.BadAudio, match='^empty file'):
            audio.decode(path, 22050)


def test_what_cannot_be_read(tmp_path):
    (tmp_path / 'folder.wav').mkdir()
    (tmp_path / 'dangling.wav').symlink_to(tmp_path / 'nowhere')
    os.mkfifo(tmp_path / 'pipe.wav')  # opening it would wait for ever
    for name, reason in (
        ('folder.wav', 'a directory'),
        ('dangling.wav', 'No such file'),
        ('absent.wav', 'No such file'),
        ('pipe.wav', 'not a regular file'),
    ):
        with pytest.raises(audio.BadAudio, match=f'^cannot be read: {reason}'):
            audio.decode(tmp_path / name, 22050)


def test_no_permission(tmp_path):
    path = tmp_path / 'a.wav'
    soundfile.write(path, tone(22050, 1), 22050)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # who may read every file
        os.seteuid(65534)
    try:
        with pytest.raises(audio.BadAudio, match='^cannot be read: Permission denied'):
            audio.decode(path, 22050)
    finally:
        os.seteuid(user)


def test_an_error_of_the_system_is_a_reason(tmp_path, monkeypatch):
    path = tmp_path / 'a.wav'
    soundfile.write(path, tone(22050, 1), 22050)

    def denied(*args):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('builtins.open', denied)
    with pytest.raises(audio.BadAudio, match='^cannot be read: Permission denied'):
        audio.decode(path, 22050)


def test_every_cut_is_noticed(tmp_path, container):
    rng = np.random.default_rng(4)
    rate_hz = CONTAINERS[container][2]
    envelope = np.linspace(0.1, 1, 2 * rate_hz)
    content = encode(tmp_path, container, 0.3 * envelope * rng.standard_normal(2 * rate_hz))
    lengths = {1, 3, 4, 11, 12, 30, 44, len(content) // 2, len(content) - 1}
    for length in sorted(lengths | set(rng.integers(1, len(content), 40).tolist())):
        message = refusal(tmp_path, content[:length])
        assert message.startswith(('truncated', 'damaged', 'not audio', 'no samples')), length
        if length > len(content) // 2:
            assert message.startswith(('truncated', 'damaged')), length
            with pytest.raises(audio.BadAudio):
                audio.probe(tmp_path / 'clip.bin')
            # The part before the cut is no more to be trusted than the part behind it.
            refusal(tmp_path, content[:length], start_s=0.1, end_s=0.5)


def test_foreign_data_behind_and_tags_before_the_audio_are_ignored(tmp_path, container):
    rate_hz = CONTAINERS[container][2]
    content = encode(tmp_path, container, tone(rate_hz, 1.0))
    expected = decode_bytes(tmp_path, content)
    id3v2 = b'ID3\x03\x00\x00\x00\x00\x10\x00' + bytes(2048)
    for changed in (content + b'TAG' + bytes(125), content + b'junk' * 50_000, id3v2 + content):
        np.testing.assert_allclose(decode_bytes(tmp_path, changed), expected, atol=1)
        span = decode_bytes(tmp_path, changed, start_s=0.25, end_s=0.75)
        assert len(span) == pytest.approx(22050 / 2, abs=1)


def test_odd_chunks_are_fine(tmp_path):
    content = encode(tmp_path, 'wav', tone(22050, 1))
    text = b'LIST' + struct.pack('<I', 17) + b'INFOINAM' + struct.pack('<I', 5) + b'abcd\0' + b'\0'
    np.testing.assert_array_equal(
        decode_bytes(tmp_path, content[:36] + text + content[36:]), decode_bytes(tmp_path, content)
    )
    odd = content[:40] + struct.pack('<I', 44099) + content[44 : 44 + 44099]  # and no pad byte
    assert len(decode_bytes(tmp_path, odd)) == 22049


@pytest.mark.parametrize(
    'outer, size',
    [
        (0, 0),
        (36, 0),
        (0xFFFFFFFF, 0),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x7FFFF024, 0x7FFFF000),
        (0x80000024, 0x80000000),
        (0xFFFFFFFF, 0xFFFFFFDB),
    ],
)
def test_streamed_wav_without_its_length_is_read_to_the_end(tmp_path, outer, size):
    content = bytearray(encode(tmp_path, 'wav', tone(22050, 1)))
    expected = decode_bytes(tmp_path, bytes(content))
    struct.pack_into('<I', content, 4, outer)
    struct.pack_into('<I', content, 40, size)
    np.testing.assert_array_equal(decode_bytes(tmp_path, bytes(content)), expected)


def test_streamed_au_without_its_length_is_read_to_the_end(tmp_path):
    content = bytearray(encode(tmp_path, 'au', tone(22050, 1)))
    struct.pack_into('>I', content, 8, 0xFFFFFFFF)
    assert len(decode_bytes(tmp_path, bytes(content))) == 22050


def test_chunks_behind_an_empty_data_chunk_are_not_taken_for_audio(tmp_path):
    header = encode(tmp_path, 'wav', np.zeros(0))[:44]
    behind = b'LIST' + struct.pack('<I', 40_000) + bytes(range(250)) * 160
    content = b'RIFF' + struct.pack('<I', 36 + len(behind)) + header[8:] + behind
    assert refusal(tmp_path, content) == 'no samples'


def test_no_samples(tmp_path):
    for name in ('wav', 'wavex', 'float_wav', 'rf64', 'au', 'aiff'):
        assert refusal(tmp_path, encode(tmp_path, name, np.zeros(0))) == 'no samples', name


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('rate_hz', [22050, 16000])
def test_non_finite_samples(tmp_path, value, rate_hz):
    samples = tone(22050, 1.0)
    samples[15000] = value
    content = encode(tmp_path, 'float_wav', np.stack([samples, samples], axis=1))
    assert refusal(tmp_path, content, rate_hz).startswith('non-finite')
    assert len(decode_bytes(tmp_path, content, rate_hz, end_s=0.4)) == round(0.4 * rate_hz)


@pytest.mark.parametrize('level', [0.0, 5e-5])
def test_silence(tmp_path, level):
    for name in ('wavex', 'float_wav', 'flac', 'ogg', 'mp3'):
        content = encode(tmp_path, name, tone(22050, 1.0, amplitude=level))
        assert refusal(tmp_path, content).startswith('silent'), name
    assert decode_bytes(tmp_path, encode(tmp_path, 'wavex', tone(22050, 1, 440, 2e-4))).max() > 5


def test_silence_is_judged_by_the_span_and_after_mixing(tmp_path):
    half = np.concatenate([np.zeros(22050), tone(22050, 1.0)])
    content = encode(tmp_path, 'wav', half)
    assert refusal(tmp_path, content, end_s=1.0).startswith('silent')
    assert len(decode_bytes(tmp_path, content)) == 44100
    opposed = np.stack([half, -half], axis=1)
    assert refusal(tmp_path, encode(tmp_path, 'wav', opposed)).startswith('silent')


def test_shortest(tmp_path):
    assert 'shorter than 0.1 s' in refusal(tmp_path, encode(tmp_path, 'wav', tone(22050, 0.099)))
    assert len(decode_bytes(tmp_path, encode(tmp_path, 'wav', tone(22050, 0.1)))) == 2205


@pytest.mark.parametrize(
    'start_s, end_s, numbers',
    [
        (2.0, None, ('2 s', '2.00 s')),
        (5.5, None, ('5.5 s', '2.00 s')),
        (1.0, 1.0, ('1 s',)),
        (1.5, 0.5, ('1.5 s', '0.5 s')),
        (0.0, 2.6, ('2.6 s', '2.00 s')),
        (-1.0, None, ('-1 s',)),
        (float('nan'), None, ('nan s',)),
        (1.95, None, ('0.050 s',)),
    ],
)
def test_impossible_spans_name_their_numbers(tmp_path, start_s, end_s, numbers):
    content = encode(tmp_path, 'wav', tone(22050, 2.0))
    message = refusal(tmp_path, content, start_s=start_s, end_s=end_s)
    assert all(number in message for number in numbers), message


def test_an_end_rounded_up_is_the_end(tmp_path):
    content = encode(tmp_path, 'wav', tone(22050, 1.9))
    assert len(decode_bytes(tmp_path, content, end_s=2.0)) == round(1.9 * 22050)


def test_damage_inside_flac_and_ogg(tmp_path):
    rng = np.random.default_rng(5)
    for name in ('flac', 'ogg'):
        content = bytearray(encode(tmp_path, name, 0.2 * rng.standard_normal(10 * 22050)))
        content[len(content) // 2] ^= 0xFF
        assert 'damaged' in refusal(tmp_path, bytes(content)), name


def test_flac_promising_more_than_it_holds(tmp_path):
    content = bytearray(encode(tmp_path, 'flac', tone(22050, 2)))
    struct.pack_into('>I', content, 22, 3 * 22050)  # low 32 bits of STREAMINFO's total
    assert refusal(tmp_path, bytes(content)).startswith('truncated')
    struct.pack_into('>I', content, 22, 0)
    assert 'without its length' in refusal(tmp_path, bytes(content))


def test_chained_ogg_is_refused_not_half_read(tmp_path):
    content = encode(tmp_path, 'ogg', tone(22050, 2))
    other = encode(tmp_path, 'ogg', tone(22050, 2, 300))
    assert 'several Ogg streams' in refusal(tmp_path, content + other)


def second_frame(content: bytes) -> int:
    return content.find(content[:2], 4)


def test_mp3_without_its_length_header(tmp_path):
    signal = tone(44100, 5) * (np.arange(5 * 44100) % 44100 < 15000)
    for mode in ('CONSTANT', 'VARIABLE'):
        path = tmp_path / f'{mode}.mp3'
        soundfile.write(path, signal, 44100, bitrate_mode=mode, compression_level=0.5)
        content = path.read_bytes()
        assert len(decode_bytes(tmp_path, content)) == 5 * 22050
        bare = content[second_frame(content) :]
        if mode == 'CONSTANT':  # whole frames of 1152 samples, one of them padding
            duration_s = len(decode_bytes(tmp_path, bare)) / 22050
            assert 5.0 <= duration_s < 5.1
        else:  # libsndfile would stop at its guess, after a part of the file
            assert 'length header' in refusal(tmp_path, bare)
        # Two files in one: the header of the first stands for half of it.
        assert 'length header' in refusal(tmp_path, content + content)


@pytest.mark.parametrize('tag', [b'Xing', b'Info', b'VBRI'])
def test_mp3_announcing_more_frames_than_it_holds(tmp_path, tag):
    path = tmp_path / 'a.mp3'
    soundfile.write(path, tone(44100, 3), 44100, bitrate_mode='CONSTANT', compression_level=0.5)
    bare = path.read_bytes()[second_frame(path.read_bytes()) :]
    length = second_frame(bare)
    frames = len(bare) // length

    def headed(count: int) -> bytes:
        field = tag + (bytes(10) if tag == b'VBRI' else struct.pack('>I', 1))
        frame = bare[:4] + bytes(32 if tag == b'VBRI' else 17) + field + struct.pack('>I', count)
        return frame.ljust(length, b'\0') + bare

    assert len(decode_bytes(tmp_path, headed(frames - 1))) > 2.9 * 22050
    assert 'announces' in refusal(tmp_path, headed(frames + 20))


def test_native_messages_do_not_reach_the_terminal(tmp_path):
    content = encode(tmp_path, 'mp3', tone(22050, 3))
    (tmp_path / 'a.mp3').write_bytes(content[: len(content) // 2])
    (tmp_path / 'b.mp3').write_bytes(b'text, no audio ' * 999)
    broken = bytearray(content)
    broken[4000:6000] = bytes(2000)
    (tmp_path / 'c.mp3').write_bytes(broken)
    program = (
        'import sys; from genre_jax.data import audio\n'
        'for path in sys.argv[1:]:\n'
        '    try: audio.decode(path, 22050)\n'
        '    except audio.BadAudio as error: print(error)\n'
        'print("seen", file=sys.stderr); assert "jax" not in sys.modules\n'
    )
    paths = [str(tmp_path / name) for name in ('a.mp3', 'b.mp3', 'c.mp3')]
    done = subprocess.run(
        [sys.executable, '-c', program, *paths],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stderr == 'seen\n'
    assert len(done.stdout.splitlines()) == 3


def test_flipped_and_cut_bytes_never_crash(tmp_path, container):
    rng = np.random.default_rng(6)
    rate_hz = CONTAINERS[container][2]
    content = encode(tmp_path, container, 0.2 * rng.standard_normal((rate_hz, 2)))
    for _ in range(60):
        changed = bytearray(content)
        reach = len(content) if rng.random() < 0.4 else 120
        for at in rng.integers(0, reach, rng.integers(1, 6)):
            changed[at] = rng.integers(256)
        if rng.random() < 0.3:
            at = int(rng.integers(len(content)))
            del changed[at : at + int(rng.integers(3000))]
        try:
            result = decode_bytes(tmp_path, bytes(changed))
        except audio.BadAudio:
            continue
        assert result.dtype == np.int16 and result.ndim == 1 and np.any(result)


@pytest.mark.skipif(not (DATA / 'game_music').is_dir(), reason='GENRE_JAX_DATA/game_music absent')
def test_real_ogg_clips_equal_librosa():
    for path in sorted((DATA / 'game_music').glob('*/*.ogg'))[::15]:
        native, rate_hz = soundfile.read(path, dtype='float32')
        scaled = native / max(1.0, np.abs(native).max()) * 32767
        np.testing.assert_allclose(audio.decode(path, rate_hz), scaled, atol=0.51)
        expected = librosa.load(path, sr=16000, res_type='soxr_hq')[0]
        expected = expected / max(1.0, np.abs(expected).max()) * 32767
        result = audio.decode(path, 16000)
        assert abs(len(result) - len(expected)) <= 1
        n = min(len(result), len(expected))
        np.testing.assert_allclose(result[:n], expected[:n], atol=1.01)


@pytest.mark.parametrize(
    'pattern', ['game_music/*/*.ogg', 'hindustani/*/*.ogg', 'gtzan/genres_original/*/*.wav']
)
def test_no_real_file_is_refused(pattern):
    paths = sorted(DATA.glob(pattern))
    if not paths:
        pytest.skip(f'GENRE_JAX_DATA/{pattern} absent')
    for path in paths:
        info = audio.probe(path)
        expected = soundfile.info(path)
        assert (info.sample_rate_hz, info.duration_s) == (expected.samplerate, expected.duration)
        assert np.any(audio.decode(path, info.sample_rate_hz, end_s=2.0))


# --- what FFmpeg reads ------------------------------------------------------------------------------


def encode_by_av(path: pathlib.Path, codec: str, rate_hz: int = 48000, seconds: float = 3.0):
    """Writes a tone in two channels; the second is half as loud."""
    av = pytest.importorskip('av')
    samples = tone(rate_hz, seconds).astype(np.float32)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate_hz, layout='stereo', bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(np.stack([samples, samples / 2]), 'fltp', 'stereo')
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(stream.format, 'stereo', rate_hz, stream.codec_context.frame_size)
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ('name', 'codec'),
    [('a.m4a', 'aac'), ('a.M4B', 'aac'), ('a.webm', 'libopus'), ('a.mka', 'libopus'), ('a.wma', 'wmav2'),
     ('a.mp2', 'mp2'), ('a.ac3', 'ac3'), ('a.mov', 'aac'), ('a.mkv', 'libopus')],
)  # fmt: skip
def test_formats_of_ffmpeg(tmp_path, name, codec):
    path = encode_by_av(tmp_path / name.lower(), codec).rename(tmp_path / name)
    info = audio.probe(path)
    assert (info.sample_rate_hz, info.channels) == (48000, 2)
    assert info.duration_s == pytest.approx(3.0, abs=0.1)
    samples = audio.decode(path, 22050, start_s=0.5, end_s=2.5) / 32767
    assert len(samples) == 2 * 22050
    amplitude, ratio_db = fit_sine(samples, 22050, 440.0)
    assert amplitude == pytest.approx(0.375, rel=0.03) and ratio_db > 25  # the mean of both channels


def test_a_stream_without_its_length_is_read_to_the_end(tmp_path):
    """FFmpeg guesses how long it is by its beginning: quiet music that becomes loud seemed to be cut."""
    av = pytest.importorskip('av')
    seconds, quiet = 10, tone(48000, 10, 440.0) / 400
    samples = np.concatenate([quiet, 0.3 * np.random.default_rng(0).standard_normal(len(quiet))])
    path = tmp_path / 'a.aac'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=48000, layout='mono')
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), 'fltp', 'mono')
        frame.sample_rate = 48000
        resampler = av.AudioResampler(stream.format, 'mono', 48000, stream.codec_context.frame_size)
        for each in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(each))
    assert audio.probe(path).duration_s > 2 * seconds + 1
    assert len(audio.decode(path, 22050)) / 22050 == pytest.approx(2 * seconds, abs=0.1)


@pytest.mark.parametrize('share', [0.1, 0.3, 0.5, 0.7, 0.9])
def test_windows_media_that_is_cut_between_packets(tmp_path, share):
    path = encode_by_av(tmp_path / 'a.wma', 'wmav2')
    content = path.read_bytes()
    for cut in range(int(share * len(content)), int(share * len(content)) + 4000, 200):
        path.write_bytes(content[:cut])
        with pytest.raises(audio.BadAudio):
            audio.decode(path, 22050)


@pytest.mark.parametrize('suffix', ['m4a', 'webm', 'wma'])
def test_pipes_and_empty_files_of_ffmpeg(tmp_path, suffix):
    pytest.importorskip('av')
    (tmp_path / f'empty.{suffix}').touch()
    os.mkfifo(tmp_path / f'pipe.{suffix}')
    for name, said in (('empty', r'empty file \(0 bytes\)'), ('pipe', 'not a regular file')):
        for read in (audio.probe, lambda path: audio.decode(path, 22050)):
            with pytest.raises(audio.BadAudio, match=said):
                read(tmp_path / f'{name}.{suffix}')


def test_damaged_and_unreadable_files_of_ffmpeg(tmp_path, monkeypatch):
    content = encode_by_av(tmp_path / 'a.webm', 'libopus').read_bytes()
    (tmp_path / 'cut.webm').write_bytes(content[: len(content) // 2])
    (tmp_path / 'noise.m4a').write_bytes(np.random.default_rng(0).bytes(4000))
    for name, said in (
        ('cut.webm', 'truncated: '),
        ('noise.m4a', 'not audio'),
        ('none.wma', 'No such'),
    ):
        with pytest.raises(audio.BadAudio, match=said):
            audio.decode(tmp_path / name, 22050)
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(audio.BadAudio, match='pip install av'):
        audio.decode(tmp_path / 'a.webm', 22050)


@pytest.mark.parametrize(
    ('name', 'codec'),
    [('a.m4a', 'aac'), ('a.webm', 'libopus'), ('a.wma', 'wmav2'), ('a.mp2', 'mp2')],
)
def test_flipped_and_cut_bytes_of_ffmpeg_never_crash(tmp_path, name, codec):
    content = encode_by_av(tmp_path / name, codec, seconds=1.0).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content[: rng.integers(1, len(content) + 1)])
        for place in rng.integers(0, min(len(damaged), 2000), 5):
            damaged[place] = rng.integers(256)
        (tmp_path / name).write_bytes(damaged)
        try:
            audio.probe(tmp_path / name)
            samples = audio.decode(tmp_path / name, 22050)
        except audio.BadAudio as error:
            assert str(tmp_path) not in str(error)
        else:
            assert samples.dtype == np.int16 and len(samples) <= 2 * 22050


def test_a_coding_that_cannot_be_read_from_any_place(tmp_path):
    soundfile.write(tmp_path / 'a.wav', tone(8000, 1), 8000, subtype='GSM610')
    with pytest.raises(audio.BadAudio, match='coding GSM610 is not read: convert it'):
        audio.decode(tmp_path / 'a.wav', 8000)


@pytest.mark.parametrize('name', ['ogg', 'opus'])
def test_a_flipped_byte_in_the_last_page(tmp_path, name):
    """Decoders leave out the whole page, which may be a third of a short file."""
    path = tmp_path / 'a.ogg'
    content = bytearray(encode(tmp_path, name, tone(CONTAINERS[name][2], 2)))
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(audio.BadAudio, match='wrong checksum'):
        audio.decode(path, 22050)


def test_one_float_sample_far_beyond_the_others(tmp_path):
    samples = tone(22050, 1)
    samples[100] = 1e30
    soundfile.write(tmp_path / 'a.wav', samples, 22050, subtype='FLOAT')
    with pytest.raises(audio.BadAudio, match=r'some samples are up to 1e\+30 times full scale'):
        audio.decode(tmp_path / 'a.wav', 22050)
    # Integers that were written as floats are loud all through.
    soundfile.write(tmp_path / 'b.wav', 32767 * tone(22050, 1), 22050, subtype='FLOAT')
    assert audio.decode(tmp_path / 'b.wav', 22050).max() == 32767
