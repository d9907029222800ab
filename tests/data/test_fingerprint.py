"""Copies planted among different recordings: which are found, where, and what is taken for a copy."""

import dataclasses
import io
import itertools

import numpy as np
import pytest
import soundfile
import soxr

from benchmarks import copies as benchmark
from genre_jax.data import duplicates
from genre_jax.data.duplicates import IDENTICAL, NEAR, Prints
from genre_jax.data.fingerprint import UNIT_S, Print, fingerprint
from genre_jax.data.recordings import Recording
from genre_jax.data.tunes import corpus, synth

RATE_HZ = 22050
CLIP_S = 16.0


def melody(seed):
    """A random walk on a scale in quarters and eighths."""
    rng = np.random.default_rng(seed)
    beats = rng.choice([0.5, 0.5, 1.0], 48)
    onset = np.cumsum(beats) - beats
    steps = np.cumsum(rng.choice([-2, -1, 1, 2, 3, -3], 48)) % 14
    midi = 55 + np.array([0, 2, 4, 5, 7, 9, 11])[steps % 7] + 12 * (steps // 7)
    return corpus.Tune(midi, onset, beats, (onset // 4).astype(int), onset % 4, (4, 4), beats.sum())


def play(seed, performance=None, duration_s=CLIP_S):
    rng = np.random.default_rng([seed, 1])
    tune = melody(seed)
    return synth.render(
        tune, performance or synth.draw(tune, rng), rng,
        duration_s=duration_s, sample_rate_hz=RATE_HZ,
    )  # fmt: skip


def music(seed):
    """Two voices and a knock on every beat."""
    rng = np.random.default_rng([seed, 2])
    knocks = np.zeros(round(CLIP_S * RATE_HZ))
    beat = round(rng.uniform(0.4, 0.8) * RATE_HZ)
    for start in range(0, len(knocks) - 2000, beat):
        knocks[start : start + 2000] += rng.standard_normal(2000) * np.exp(-np.arange(2000) / 400)
    mix = play(seed) / 2.0 + play(seed + 1000) / 3.0 + 1500 * knocks
    return np.clip(np.rint(mix), -32768, 32767).astype(np.int16)


def scaled(audio, gain_db):
    return np.clip(np.rint(audio * 10 ** (gain_db / 20)), -32768, 32767).astype(np.int16)


def encoded(audio, container, subtype, level, rate_hz=RATE_HZ):
    """Goes through a lossy codec, a rate of its own where it needs one."""
    file = io.BytesIO()
    audio = soxr.resample(audio, RATE_HZ, rate_hz) if rate_hz != RATE_HZ else audio
    soundfile.write(file, audio, rate_hz, format=container, subtype=subtype, compression_level=level)
    assert len(file.getvalue()) * 8 / (len(audio) / rate_hz) < 60_000  # bits per second
    file.seek(0)
    return soundfile.read(file, dtype='int16')


def noisy(audio, snr_db, seed=0):
    noise = np.random.default_rng(seed).standard_normal(len(audio))
    level = np.sqrt(np.mean(audio.astype(float) ** 2)) * 10 ** (-snr_db / 20)
    return np.clip(np.rint(audio + level * noise), -32768, 32767).astype(np.int16)


def from_second(audio, start_s, length_s=None):
    start = round(start_s * RATE_HZ)
    return audio[start : start + round(length_s * RATE_HZ) if length_s else None]


# What becomes of a copy: (audio, rate in Hz), and where in the original it begins.
MODIFICATIONS = {
    'vorbis': (lambda x: encoded(x, 'OGG', 'VORBIS', 1.0), 0),
    'opus': (lambda x: encoded(x, 'OGG', 'OPUS', 0.95, 24000), 0),
    'mp3': (lambda x: encoded(x, 'MP3', 'MPEG_LAYER_III', 0.99), 0),
    '20 dB softer': (lambda x: (scaled(x, -20), RATE_HZ), 0),
    'louder and clipped': (lambda x: (scaled(x, 3 - peak_dbfs(x)), RATE_HZ), 0),
    '44.1 kHz': (lambda x: (soxr.resample(x, RATE_HZ, 44100), 44100), 0),
    '16 kHz': (lambda x: (soxr.resample(x, RATE_HZ, 16000), 16000), 0),
    '8 kHz': (lambda x: (soxr.resample(x, RATE_HZ, 8000), 8000), 0),
    'starts 0.3 s later': (lambda x: (from_second(x, 0.3), RATE_HZ), 0.3),
    'starts 4.983 s later': (lambda x: (from_second(x, 4.983), RATE_HZ), 4.983),
    'excerpt of 10 s': (lambda x: (from_second(x, 3.217, 10), RATE_HZ), 3.217),
    'noise at 20 dB': (lambda x: (noisy(x, 20), RATE_HZ), 0),
    'noise at 10 dB': (lambda x: (noisy(x, 10), RATE_HZ), 0),
    'excerpt, softer, with noise, as MP3': (
        lambda x: encoded(
            noisy(scaled(from_second(x, 2.5, 10), -10), 20), 'MP3', 'MPEG_LAYER_III', 0.9
        ),
        2.5,
    ),
}  # fmt: skip


def peak_dbfs(audio):
    return 20 * np.log10(np.abs(audio.astype(float)).max() / 32767)


def prints_of(*clips):
    """Prints of clips named '0', '1', ..., each (audio, rate) or audio."""
    clips = [clip if isinstance(clip, tuple) else (clip, RATE_HZ) for clip in clips]
    return Prints(
        [str(i) for i in range(len(clips))],
        [duplicates.digest(audio) for audio, _ in clips],
        [fingerprint(*clip) for clip in clips],
    )


def found(content):
    return {(int(pair.first), int(pair.second)) for pair in duplicates.find(content)}


@pytest.fixture(scope='module')
def originals():
    return [music(seed) for seed in range(8)]


@pytest.fixture(scope='module')
def printed(originals):
    return prints_of(*originals)


def with_copies(printed, copies):
    content = copies if isinstance(copies, Prints) else prints_of(*copies)
    count = len(printed.tracks) + len(content.tracks)
    return Prints(
        [str(i) for i in range(count)],
        printed.digests + content.digests,
        printed.prints + content.prints,
    )


@pytest.mark.parametrize('name', MODIFICATIONS)
def test_planted_copies_are_found_and_nothing_else(originals, printed, name):
    modify, start_s = MODIFICATIONS[name]
    content = with_copies(printed, [modify(clip) for clip in originals[:4]])
    pairs = duplicates.find(content)
    assert {(pair.first, pair.second) for pair in pairs} == {
        (str(i), str(i + len(originals))) for i in range(4)
    }
    for pair in pairs:
        assert pair.kind == NEAR
        assert pair.offset_s == pytest.approx(start_s, abs=0.05)


def assert_all_found(printed, copies, speed, pitch):
    """Finds the copies of the first prints, each from its first second on, and nothing else."""
    content = with_copies(printed, copies)
    pairs = duplicates.find(content)
    assert {(pair.first, pair.second) for pair in pairs} == {
        (str(i), str(i + len(printed.tracks))) for i in range(len(copies.tracks))
    }
    for pair in pairs:
        assert pair.speed == pytest.approx(speed, abs=0.002)
        assert pair.pitch_cents == pytest.approx(1200 * np.log2(pitch), abs=3)
        assert pair.offset_s == pytest.approx(speed, abs=0.1)
        assert pair.end_s - pair.begin_s > 8


@pytest.mark.parametrize('speed', (1.005, 0.97, 1.05, 0.95))
def test_other_speeds(originals, printed, speed):
    copies = [soxr.resample(clip, RATE_HZ * speed, RATE_HZ) for clip in originals[:4]]
    copies = prints_of(*(noisy(from_second(copy, 1.0), 30) for copy in copies))
    assert_all_found(printed, copies, speed, speed)


@pytest.mark.parametrize('speed, pitch', ((1.04, 1), (0.95, 1), (1, 1.05), (1, 0.96), (0.97, 1.03)))
def test_speed_or_pitch_alone(printed, speed, pitch):
    """Peaks moved by hand, not quite exactly; every fourth is lost, and as many are new."""
    copies = []
    for item in printed.prints[:4]:
        rng = np.random.default_rng(len(item.times))
        kept = (rng.uniform(size=len(item.times)) > 0.25) & (item.times > speed / UNIT_S)
        times = item.times[kept] / speed - 1 / UNIT_S + rng.normal(0, 1.5, kept.sum())
        pitches = item.pitches[kept] + 1200 * np.log2(pitch) + rng.normal(0, 2, kept.sum())
        times = np.append(times, rng.uniform(0, times.max(), len(times) // 3))
        pitches = np.append(pitches, rng.uniform(1000, 7000, len(pitches) // 3))
        order = np.argsort(times)
        copies.append(Print(np.uint32(np.maximum(times, 0))[order], np.uint16(pitches)[order]))
    names = [f'copy {i}' for i in range(4)]
    assert_all_found(printed, Prints(names, names, copies), speed, pitch)


def test_a_song_in_two_medleys(originals):
    """In one from 6 s on, in the other from 10 s on, among four other songs."""
    song = originals[0][: 8 * RATE_HZ]
    one = np.concatenate([originals[1][: 6 * RATE_HZ], song, originals[2]])
    other = np.concatenate([originals[3][: 10 * RATE_HZ], song, originals[4]])
    (pair,) = duplicates.find(prints_of(one, other, originals[5]))
    assert (pair.first, pair.second) == ('0', '1')
    assert pair.offset_s == pytest.approx(-4, abs=0.05)
    assert (pair.begin_s, pair.end_s) == pytest.approx((6, 14), abs=0.5)
    assert pair.score > 0.7 and pair.speed == pytest.approx(1, abs=0.001)


def test_an_excerpt_inside_another_recording(originals):
    inside = originals[0].copy()
    inside[5 * RATE_HZ : 11 * RATE_HZ] = originals[1][2 * RATE_HZ : 8 * RATE_HZ]
    content = prints_of(originals[1], inside, *originals[2:])
    (pair,) = duplicates.find(content)
    assert (pair.first, pair.second) == ('0', '1')
    assert (pair.begin_s, pair.end_s) == pytest.approx((2, 8), abs=0.5)


def test_a_jingle_of_two_seconds_makes_no_copies(originals):
    jingle = music(77)[: 2 * RATE_HZ]
    songs = [np.concatenate([clip[: 5 * RATE_HZ], jingle, clip[5 * RATE_HZ :]]) for clip in originals]
    assert found(prints_of(*songs)) == set()


@pytest.mark.parametrize('count', (500, pytest.param(20_000, marks=pytest.mark.slow)))
def test_as_many_are_found_in_a_large_collection(originals, printed, count):
    """The pairs of the small one, and no other: what is simulated shares phrases, and no stretch."""
    changes = [MODIFICATIONS[name][0] for name in ('starts 4.983 s later', 'noise at 10 dB')]
    content = with_copies(printed, [change(clip) for clip in originals for change in changes])
    alone = {(pair.first, pair.second): pair for pair in duplicates.find(content)}
    assert len(alone) >= 2 * len(originals)
    crowd = benchmark.simulated(content.prints, count, 0)
    names = [*content.tracks, *(f'simulated {i}' for i in range(count))]
    within = duplicates.find(Prints(names, names, content.prints + crowd))
    assert {(pair.first, pair.second): pair for pair in within} == alone


def test_a_copy_that_begins_before_has_a_negative_offset(originals):
    content = prints_of(from_second(originals[0], 2.0), noisy(originals[0], 30))
    (pair,) = duplicates.find(content)
    assert pair.offset_s == pytest.approx(-2.0, abs=0.05)


@pytest.mark.parametrize('factor', (2, 4, 8))
def test_a_power_of_two_changes_nothing(originals, factor):
    """It changes no digit of a float, so all peaks are the same."""
    soft = scaled(originals[0], -20 - peak_dbfs(originals[0]))
    once, louder = fingerprint(soft, RATE_HZ), fingerprint(soft * np.int16(factor), RATE_HZ)
    assert len(once.times) > 200
    shared = np.intersect1d(*(item.times * 2.0**16 + item.pitches for item in (once, louder)))
    # Of the softest peaks some only come above the floor of 16-bit rounding when they are louder.
    assert len(shared) > 0.95 * max(len(once.times), len(louder.times))


def test_one_instrument_one_tempo_other_tunes():
    performance = dataclasses.replace(
        synth.draw(melody(0), np.random.default_rng(5)), timing_s=0.0, snr_db=np.inf
    )
    assert found(prints_of(*(play(seed, performance) for seed in range(20)))) == set()


def test_one_drone_other_tunes():
    time_s = np.arange(round(CLIP_S * RATE_HZ)) / RATE_HZ
    drone = sum(np.sin(2 * np.pi * 138.6 * k * time_s) / k for k in range(1, 12))
    drone *= 1 + 0.5 * np.sin(2 * np.pi * 0.7 * time_s)
    clips = [(play(seed) / 2 + 3000 * drone).astype(np.int16) for seed in range(12)]
    assert found(prints_of(*clips)) == set()


def test_one_tune_played_twice():
    """Another key, tempo and instrument: a version, not a copy."""
    clips = []
    for take in range(6):
        rng = np.random.default_rng([9, take])
        performance = synth.draw(melody(3), rng)
        clips.append(synth.render(melody(3), performance, rng, duration_s=CLIP_S, sample_rate_hz=RATE_HZ))
    assert found(prints_of(*clips)) == set()


def test_silence_noise_and_tones_match_nothing():
    rng = np.random.default_rng(0)
    length = round(CLIP_S * RATE_HZ)
    time_s = np.arange(length) / RATE_HZ
    silences = [np.zeros(length, np.int16), np.zeros(length // 2, np.int16)]
    dither = [rng.integers(-1, 2, length).astype(np.int16) for _ in range(4)]
    noises = [(3000 * rng.standard_normal(length)).astype(np.int16) for _ in range(4)]
    tones = [(9000 * np.sin(2 * np.pi * f * time_s)).astype(np.int16) for f in (300, 305, 500, 900)]
    content = prints_of(*silences, *dither, *noises, *tones)
    assert [len(item.times) for item in content.prints[:2]] == [0, 0]
    assert found(content) == set()


@pytest.mark.parametrize('samples', (0, 1, 100, 2800, 3000, 8000))
def test_very_short_recordings_match_nothing(originals, samples):
    """Less than a window gives no peaks; a third of a second of one and the same song too few."""
    clip = originals[0][:samples]
    content = prints_of(clip, scaled(clip, -1), originals[0])
    assert {pair for pair in found(content) if pair != (0, 1) or samples > 1} == set()


def test_a_loop_is_found_in_its_copy(originals):
    """Every hash comes up once a second, in both."""
    loop = np.tile(originals[0][RATE_HZ : 2 * RATE_HZ], 15)
    content = prints_of(loop, noisy(from_second(loop, 0.4), 25), originals[1], originals[2])
    assert found(content) == {(0, 1)}


def test_what_the_index_finds_is_what_comparing_all_finds(originals, monkeypatch):
    names = ('opus', 'starts 4.983 s later', 'noise at 10 dB', 'excerpt of 10 s')
    content = prints_of(
        *originals[:4], *(MODIFICATIONS[name][0](clip) for name in names for clip in originals[:2])
    )
    whole = duplicates.find(content)
    everywhere = range(-round(CLIP_S / UNIT_S), round(CLIP_S / UNIT_S), 250)
    prints = content.prints
    assert found(content) == {
        (i, j)
        for i, j in itertools.combinations(range(len(prints)), 2)
        if any(duplicates.compare(prints[i], prints[j], 0, offset) for offset in everywhere)
    }
    monkeypatch.setattr(duplicates, '_KEYS_AT_ONCE', 10_000)  # in many small pieces
    monkeypatch.setattr(duplicates, '_PEAKS_AT_ONCE', 1000)
    assert duplicates.find(content) == whole


def test_many_copies_hang_together(originals):
    copies = [noisy(originals[0], 25, seed) for seed in range(40)]
    pairs = found(prints_of(*copies, *originals[1:4]))
    reached, before = {0}, 0
    while len(reached) > before:
        before = len(reached)
        reached |= {i for pair in pairs for i in pair if reached & set(pair)}
    assert reached == set(range(40))


def test_long_recordings_are_worked_through_in_pieces(originals):
    """Four minutes: an excerpt over the border of two pieces, a whole number of frames in."""
    song = np.concatenate([music(seed) for seed in range(50, 65)])
    song = soxr.resample(song, RATE_HZ, 8000)
    start = 4000  # frames of 8 units; the border is at 4096
    excerpt = fingerprint(song[start * 256 : (start + 200) * 256], 8000)
    whole = fingerprint(song, 8000)
    assert len(whole.times) > 10 * 240 and 235 < whole.times.max() * UNIT_S < 240
    inside = (excerpt.times > 8 * 25) & (excerpt.times < 8 * 170)
    expected = set(zip((whole.times - 8.0 * start).tolist(), whole.pitches.tolist(), strict=True))
    given = set(zip(excerpt.times[inside].tolist(), excerpt.pitches[inside].tolist(), strict=True))
    assert len(given) > 50 and given <= expected


def test_identical_content(originals, tmp_path):
    same = originals[0]
    content = prints_of(same, originals[1], same.copy(), same.copy(), scaled(same, -6))
    pairs = [(pair.kind, pair.first, pair.second) for pair in duplicates.find(content)]
    assert pairs == [(IDENTICAL, '0', '2'), (IDENTICAL, '0', '3'), (NEAR, '0', '4')]
    content.save(tmp_path / 'prints.npz')
    again = Prints.load(tmp_path / 'prints.npz')
    assert duplicates.find(again) == duplicates.find(content)
    assert (again.tracks, again.digests) == (content.tracks, content.digests)


def test_a_digest_tells_type_shape_and_content():
    zeros = np.zeros((2, 6), np.uint8)
    arrays = (zeros, zeros.reshape(3, 4), zeros.astype(np.int8), zeros + np.uint8(1))
    assert len({duplicates.digest(array) for array in arrays}) == 4
    assert duplicates.digest(zeros) == duplicates.digest(np.zeros((6, 2), np.uint8).T)


def test_groups_of_copies_are_joined_and_noted():
    recordings = [
        Recording(track=track, label=label, group=group, path=path)
        for track, label, group, path in (
            ('1', 'a', 'artist:Z', 'f1'), ('2', 'a', 'artist:A', 'f2'), ('3', 'b', 'artist:Z', 'f3'),
            ('4', 'b', 'artist:Q', 'f4'), ('5', 'b', 'artist:R', 'f5'), ('6', 'a', 'artist:R', 'f6'),
        )
    ]  # fmt: skip
    copies = [duplicates.Pair(NEAR, '1', '2', 0.0, 0.9), duplicates.Pair(NEAR, '2', '4', 0.0, 0.9)]
    same_files = duplicates.Pair(IDENTICAL, '5', '6', 0.0, 1.0)
    joined, notes = duplicates.join_copies(
        recordings, [*copies, same_files], {'f5': 'digest', 'f6': 'digest'}
    )
    assert [item.group for item in joined] == ['artist:A'] * 4 + ['artist:R'] * 2
    first, second = notes
    assert first.startswith('3 recordings are copies') and '2 groups were joined' in first
    assert '1 (a) = 2 (a) = 4 (b)' in second


@pytest.mark.parametrize('name, missed', (('excerpt of 10 s', 0), ('noise at 20 dB', 0), ('vorbis', 1)))
def test_real_recordings(real_recordings, name, missed):
    """One of them, loud and without a tune, loses its peaks in Vorbis at its lowest quality."""
    clips = []
    for file in real_recordings[::2] if name == 'vorbis' else real_recordings[1::2]:
        audio, rate_hz = soundfile.read(file, dtype='int16')
        assert rate_hz == RATE_HZ
        clips.append(audio)
    modify, start_s = MODIFICATIONS[name]
    content = prints_of(*clips, *(modify(clip) for clip in clips))
    pairs = duplicates.find(content)
    planted = {(i, i + len(clips)) for i in range(len(clips))}
    assert found(content) <= planted
    assert len(pairs) >= len(planted) - missed
    assert all(abs(pair.offset_s - start_s) < 0.05 for pair in pairs)
