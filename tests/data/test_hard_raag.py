"""Hard synthetic raags: the melody under its ornaments, drones that are wrong, and what stays as it was."""

import collections
import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.integrate

from genre_jax.data.synthetic_raag import Source, grammar, sound, tabla
from genre_jax.data.synthetic_raag.sound import Note, Performance
from genre_jax.errors import UserError

RATE_HZ = 16000
ALONE = {
    'second': None, 'breath_db': -math.inf, 'tabla_db': -math.inf, 'drone_db': -math.inf,
    'room_db': -math.inf, 'snr_db': math.inf, 'band_hz': (0.0, math.inf), 'clip_db': math.inf,
}  # fmt: skip
SOURCE = Source(hard=True)


def cents(a, b):
    return 1200 * np.log2(a / b)


def play(notes, performance, duration_s):
    rng = np.random.default_rng(0)
    return sound.render(notes, '.P', performance, rng, duration_s=duration_s, sample_rate_hz=RATE_HZ)


def peak_hz(audio, low_hz, high_hz):
    """Where the spectrum is strongest between two frequencies."""
    padded = 8 * len(audio)
    hz = np.fft.rfftfreq(padded, 1 / RATE_HZ)
    magnitude = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), padded))
    inside = (hz > low_hz) & (hz < high_hz)
    return hz[inside][np.argmax(magnitude[inside])]


def heard(audio, hz, lag_s=0.0):
    """Share of a melody's frames whose autocorrelation has it within a third of a semitone, and how many."""
    frame, hop = 1024, 256
    frames = np.lib.stride_tricks.sliding_window_view(audio.astype(float), 2 * frame)[::hop]
    # One half against the other, moved by up to a frame.
    still, moved = np.fft.rfft(frames[:, :frame], 4 * frame), np.fft.rfft(frames, 4 * frame)
    power = np.cumsum(np.pad(np.square(frames), ((0, 0), (1, 0))), 1)
    power = power[:, frame : 2 * frame] - power[:, :frame]
    likeness = np.fft.irfft(moved * still.conj())[:, :frame] / np.sqrt(power * power[:, :1] + 1e-9)
    lags = slice(RATE_HZ // 1000, RATE_HZ // 60)
    inner = likeness[:, lags]
    peaks = (inner > likeness[:, 15:265]) & (inner >= likeness[:, 17:267])
    first = np.argmax(peaks & (inner > 0.9 * inner.max(1, keepdims=True)), 1) + lags.start
    rows = np.arange(len(first))
    before, at, after = (likeness[rows, first + step] for step in (-1, 0, 1))
    found = RATE_HZ / (first + (after - before) / 2 / np.maximum(2 * at - before - after, 1e-9))
    places = np.arange(len(found)) * hop + frame // 2 - round(lag_s * RATE_HZ)
    around = [places + step for step in (-frame // 2, 0, frame)]
    inside = (around[0] >= 0) & (around[-1] < len(hz))
    low, true, high = (hz[each[inside]] for each in around)
    # Where a window holds one pitch, or nearly.
    steady = (np.minimum(low, high) > 0) & (np.abs(cents(np.maximum(low, 1), np.maximum(high, 1))) < 30)
    return np.mean(np.abs(cents(found[inside][steady], true[steady])) < 33), steady.sum()


def test_the_melody_that_is_given_is_the_one_that_is_heard():
    played = collections.Counter()
    source = Source(hard=True, duration_s=12)
    for track in ('yaman/0000', 'todi/0002', 'adana/0006'):
        notes = source.melody(track)
        performance = dataclasses.replace(source.performance(track), **ALONE)
        share, frames = heard(play(notes, performance, 12.0), sound.contour(notes, 12.0, RATE_HZ))
        assert share > 0.9 and frames > 100, track
        played['sung' if performance.tract else 'played'] += 1
        played.update(
            kan=sum(note.from_hz > 0 for note in notes), swings=sum(note.swing_hz > 0 for note in notes)
        )
    assert min(played[key] for key in ('sung', 'played', 'kan', 'swings')) >= 1


def test_grace_notes_and_swings_in_closed_form():
    note = Note(
        0.0, 3.0, 'S', 0, 200.0, 0, glide_s=1.0, from_hz=225.0, swing_cents=(-100.0, 300.0), swing_hz=2.0
    )
    hz = sound.contour([note], 3.0, RATE_HZ)
    np.testing.assert_allclose(hz[[0, RATE_HZ // 2]], [225, math.sqrt(200 * 225)], rtol=1e-3)
    swing = cents(hz[RATE_HZ:], 200)
    assert swing[0] == pytest.approx(0, abs=1e-6)
    assert (swing.min(), swing.max()) == (pytest.approx(-100, abs=0.01), pytest.approx(300, abs=0.01))
    np.testing.assert_allclose(swing[: RATE_HZ // 2], swing[RATE_HZ // 2 : RATE_HZ], atol=1e-6)


def test_ornaments_keep_to_the_notes_of_the_raag():
    plain = Source()
    for raag in grammar.RAAGS:
        scale = {grammar.SWARAS.index(letter) for letter in grammar.RAAGS[raag].scale}
        track = f'{raag}/0003'
        tonic_hz = SOURCE.performance(track).tonic_hz
        notes = SOURCE.melody(track)
        for note in notes:
            assert note.semitones % 12 in scale
            swung = [note.frequency_hz * 2 ** (each / 1200) for each in note.swing_cents]
            touched = [note.from_hz] * (note.from_hz > 0) + swung * (max(map(abs, note.swing_cents)) > 50)
            for hz in touched:
                # Just intonation lies up to 18 cents beside the keys of a piano, intonation 15 more.
                away = cents(hz, tonic_hz) - 100 * round(cents(hz, tonic_hz) / 100)
                assert round(cents(hz, tonic_hz) / 100) % 12 in scale and abs(away) < 70
        assert {note.swara for note in notes} <= grammar.RAAGS[raag].scale
        assert plain.performance(track).tonic_hz == tonic_hz


def test_a_longer_melody_begins_like_a_shorter_one():
    short, long = (Source(duration_s=s, hard=True).melody('desh/0003') for s in (10, 30))
    assert short[:-1] == long[: len(short) - 1]


def test_an_alap_is_slow_and_a_gat_fast():
    performance = Performance(200.0, notes_per_s=4.0, alap_s=10.0, gat_s=20.0)
    assert performance.tempo(5.0) < performance.tempo(15.0) < performance.tempo(25.0)
    spent = collections.defaultdict(list)
    for track in (f'{raag}/{number:04d}' for raag in ('yaman', 'adana') for number in range(20)):
        drawn = SOURCE.performance(track)
        for note in SOURCE.melody(track):
            spent[(note.onset_s >= drawn.alap_s) + (note.onset_s >= drawn.gat_s)].append(note.duration_s)
    alap, jor, gat = (np.median(spent[part]) for part in range(3))
    assert alap > 1.5 * jor and jor > 1.2 * gat


def test_beats_follow_the_tempo():
    performance = Performance(200.0, notes_per_s=4.0, acceleration_per_s=0.03, gat_s=5.0)
    beats_s = sound.beats_s(performance, 30.0)
    assert beats_s[0] == 5.0 and 30.0 - beats_s[-1] < 1
    for begin, end in itertools.pairwise(beats_s):
        assert scipy.integrate.quad(performance.tempo, begin, end)[0] == pytest.approx(2, abs=1e-6)
    rng = np.random.default_rng(0)
    wave = tabla.play(beats_s, 400.0, rng, 30 * RATE_HZ, RATE_HZ)
    assert not wave[: 5 * RATE_HZ].any()
    for beat in beats_s:
        before, after = (wave[round((beat + s) * RATE_HZ) :][:80] for s in (-0.01, 0.0))
        assert np.square(after).sum() > np.square(before).sum()


@pytest.mark.parametrize(('vowel', 'formant_hz'), [('a', 730), ('i', 270), ('o', 570)])
def test_a_vowel_is_loudest_at_its_formant(vowel, formant_hz):
    note = Note(0.0, 2.0, 'S', 0, 90.0, 0, vowel=vowel)
    audio = play([note], Performance(tonic_hz=90.0, tract=1.0), 2.0)
    # The source falls with frequency, so the strongest harmonic may be one below.
    assert -130 < peak_hz(audio[8000:24000], 150, 1200) - formant_hz < 60


def test_a_second_instrument_follows_and_one_that_answers():
    notes = Source(hard=True, duration_s=12).melody('yaman/0000')
    hz = sound.contour([dataclasses.replace(n, swing_hz=0.0, from_hz=0.0) for n in notes], 12.0, RATE_HZ)
    pipe = Performance(tonic_hz=200.0, amplitudes=(1.0, 0.5, 0.3))
    lead = dataclasses.replace(pipe, second=pipe, second_db=60.0, second_lag_s=0.7)
    audio = play(notes, lead, 12.0)
    assert heard(audio, hz, 0.7)[0] > 0.9 > 0.5 > heard(audio, hz, 0.0)[0]
    answers = play(notes, dataclasses.replace(lead, second_lag_s=0.0), 12.0).astype(float)
    for note in notes:
        begin, end = (round(s * RATE_HZ) for s in (note.onset_s, note.onset_s + note.duration_s))
        assert (np.abs(answers[begin:end]).max() > 1000) == bool(note.phrase % 2)


@pytest.mark.parametrize(('string', 'off'), [('.P', 20.0), ('.m', -13.0), ('.N', 317.0)])
def test_a_wrong_drone_sounds_where_it_is_said_to(string, off):
    notes = Source(hard=True, duration_s=8).melody('bhoopali/0001')
    tuned = {**ALONE, 'drone': string, 'drone_cents': off, 'drone_db': 50.0, 'tonic_hz': 200.0}
    audio = play(notes, dataclasses.replace(SOURCE.performance('bhoopali/0001'), **tuned), 8.0)
    ratio = {'.P': 3 / 4, '.m': 2 / 3, '.N': 15 / 16}[string]
    for true_hz in (each * 200 * 2 ** (off / 1200) for each in (1 / 2, ratio, 1)):
        assert abs(cents(peak_hz(audio, true_hz * 0.98, true_hz * 1.02), true_hz)) < 4


def test_drones_tell_no_raag_and_are_mostly_wrong():
    found = collections.Counter()
    for recording in SOURCE.recordings()[0]:
        drawn = SOURCE.performance(recording.track)
        if drawn.drone_db == -math.inf:
            found['none'] += 1
        elif abs(drawn.drone_cents) > 20:
            found['elsewhere'] += 1
        else:
            found['string' if drawn.drone else 'right'] += 1
    assert sum(found.values()) == 320
    assert min(found.values()) > 40 and found['right'] < 130


def test_a_recording_keeps_its_band_and_is_clipped():
    notes = [Note(0.0, 2.0, 'S', 0, 150.0, 0)]
    organ = Performance(tonic_hz=150.0, amplitudes=(1.0,) * 40)
    narrow = dataclasses.replace(organ, band_hz=(0.0, 2000.0))
    power = [
        np.abs(np.fft.rfft(play(notes, each, 2.0).astype(float)))[[2 * 1200, 2 * 4500]]
        for each in (organ, narrow)
    ]
    lost_db = 20 * np.log10(power[0] / power[1])
    assert lost_db[1] - lost_db[0] == pytest.approx(20 * 6 * math.log10(4500 / 2000), abs=1)
    crest = [
        np.abs(audio).max() / np.sqrt(np.mean(audio**2))
        for clip_db in (math.inf, -6.0)
        for audio in [play(notes, dataclasses.replace(organ, clip_db=clip_db), 2.0).astype(float)]
    ]
    # tanh's: no peak above the clipping magnitude, and a mean power close to it.
    assert crest[1] < 0.6 * crest[0]


def test_a_musician_keeps_habits_and_has_a_tonic_for_the_day():
    a, b, other = (SOURCE.performance(track) for track in ('yaman/0004', 'desh/0004', 'yaman/0005'))
    differing = {key for key in vars(a) if vars(a)[key] != vars(b)[key]}
    of_the_day = {'tonic_hz', 'notes_per_s', 'snr_db', 'peak_dbfs', 'alap_s', 'gat_s', 'band_hz', 'clip_db'}
    assert of_the_day <= differing <= of_the_day | {'drone', 'drone_cents', 'drone_db'}
    assert (a.kan, a.gamak, a.room_s) != (other.kan, other.gamak, other.room_s)


def test_hard_is_another_dataset_and_whole():
    assert Source(hard=True).fingerprint != Source().fingerprint == Source(hard=False).fingerprint
    assert [r.group for r in SOURCE.recordings()[0]] == [r.group for r in Source().recordings()[0]]
    short, other = (Source(hard=True, duration_s=1, sample_rate_hz=11025, seed=seed) for seed in (0, 1))
    for recording in short.recordings()[0][::40]:
        audio = short.load(recording)
        assert audio.shape == (11025,) and audio.dtype == np.int16
        assert 0.1 < np.abs(audio / 32767).max() <= 10 ** (-3 / 20) + 1e-3
        assert not np.array_equal(audio, other.load(recording))
    with pytest.raises(UserError, match='hard is 1, expected True or False'):
        Source(hard=1)
