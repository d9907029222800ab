"""The synthetic raags against the grammars as printed, an interval table, and the spectrum of the sound."""

import collections
import dataclasses
import hashlib
import itertools
import math
import os
import pickle
import subprocess
import sys

import librosa
import numpy as np
import pytest
from scipy import stats

from genre_jax.configs.synthetic_raag import get_config
from genre_jax.data.recordings import Recording
from genre_jax.data.request import load_source
from genre_jax.data.synthetic_raag import Source, grammar, melody, sound
from genre_jax.errors import UserError

RATE_HZ = 16000

# Arohana, avarohana, vadi, samvadi and phrases in Bhatkhande's letters: capitals are the upper variant
# (but for Ma: m natural, M sharp), a dot before a note the octave below, ' behind it the octave above.
PUBLISHED = {
    'bhoopali': ("S R G P D S'", "S' D P G R S", 'G', 'D', ['G R S .D S R G', 'P G D P G R S']),
    'deshkar': ("S R G P D S'", "S' D P G R S", 'D', 'G', ['D P G P G R S', "P D S' D P"]),
    'marwa': (
        "S r G M D N D S'", "S' N D M G r S", 'r', 'D', ['D M G r', 'G M G r S', '.N .D r S'],
    ),
    'puriya': (
        "S G M D N r' S'", "S' N D M G r S", 'G', 'N', ['.N r G r S', 'G M D G M G', 'N M G'],
    ),
    'sohni': (
        "S G M D N S'", "S' r' S' N D G M D M G r S", 'D', 'G', ["S' N D N D G", "M D N S'"],
    ),
    'darbari_kanada': (
        "S R g m P d n S'", "S' d n P m P g m R S", 'R', 'P',
        ['g m R S', 'S .d .n .P', '.d .n S R'],
    ),
    'adana': (
        "S R m P d n S'", "S' d n P m P g m R S", 'S', 'P',
        ["S' d n S'", 'd n P m P', 'g m R S'],
    ),
    'jaunpuri': ("S R m P d n S'", "S' n d P m g R S", 'd', 'g', ['m P n d P', 'd m P g R m P']),
    'todi': ("S r g M d N S'", "S' N d P M g r S", 'd', 'g', ['.d .N S r g', 'M g r g r S']),
    'multani': ("S g M P N S'", "S' N d P M g r S", 'P', 'S', ['.N S M g M P', 'M g M g r S']),
    'desh': ("S R m P N S'", "S' n D P m G R S", 'R', 'P', ['R m P n D P', 'P D P m G R G S']),
    'khamaj': ("S G m P D N S'", "S' n D P m G R S", 'G', 'N', ['n D m P D m G']),
    'bhimpalasi': ("S g m P n S'", "S' n D P m g R S", 'm', 'S', ['.n S m', 'm g P m g R S']),
    'yaman': ("S R G M P D N S'", "S' N D P M G R S", 'G', 'N', ['.N R G R S', 'P M G R S']),
    'bhairav': ("S r G m P d N S'", "S' N d P m G r S", 'd', 'r', ['S G m P d P', 'G m r S']),
    'malkauns': ("S g m d n S'", "S' n d m g S", 'm', 'S', ['m g m d n d m g S']),
}  # fmt: skip

SEMITONES = {letter: i for i, letter in enumerate('SrRgGmMPdDnN')}


def read(notes):
    """The reading of the notation that the tests rely on."""
    return [
        SEMITONES[note.strip(".'")] + 12 * note.count("'") - 12 * note.count('.') for note in notes.split()
    ]


def steps(notes):
    """Steps as (note within the octave, signed interval)."""
    return [(a % 12, b - a) for a, b in itertools.pairwise(notes)]


def breaches(phrases, raag):
    """Steps that neither line nor any phrase of a raag has."""
    rising, falling, _, _, pakad = PUBLISHED[raag]
    # The lines go on in the next octave, from the Sa that they end on.
    allowed = {step for line in (rising, falling, *pakad) for step in steps(read(line))}
    return [step for phrase in phrases for step in steps(phrase) if step not in allowed]


def phrases(notes):
    return [
        [note.semitones for note in group]
        for _, group in itertools.groupby(notes, key=lambda note: note.phrase)
    ]


def holds(phrase, part):
    return any(phrase[i : i + len(part)] == part for i in range(len(phrase)))


@pytest.fixture(scope='module')
def melodies():
    """{raag: 20 melodies of 30 s}."""
    source = Source()
    return {raag: [source.melody(f'{raag}/{number:04d}') for number in range(20)] for raag in PUBLISHED}


def environment(**changes):
    """For a program of its own: it finds what this one finds."""
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, 'PYTHONPATH': path, **changes}


def cents(a, b):
    return 1200 * np.log2(a / b)


def spectrum(audio):
    """Frequencies and magnitudes."""
    padded = 4 * len(audio)
    return np.arange(padded // 2 + 1) * RATE_HZ / padded, np.abs(
        np.fft.rfft(audio * np.hanning(len(audio)), padded)
    )


# --- grammar ---------------------------------------------------------------------------------


def test_the_raags_are_those_of_the_books():
    assert {
        name: (raag.arohana, raag.avarohana, raag.vadi, raag.samvadi, list(raag.pakad))
        for name, raag in grammar.RAAGS.items()
    } == PUBLISHED


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_grammar_makes_sense(name):
    raag = grammar.RAAGS[name]
    rising, falling = read(raag.arohana), read(raag.avarohana)
    assert (rising[0], rising[-1], falling[0], falling[-1]) == (0, 12, 12, 0)
    notes = {note % 12 for note in rising + falling}
    assert 5 <= len(notes) <= 8
    assert {SEMITONES[raag.vadi], SEMITONES[raag.samvadi]} <= notes
    assert {SEMITONES[letter] for letter in raag.scale} == notes
    # They answer each other at a fourth or a fifth; Marwa's are the known exception.
    interval = (SEMITONES[raag.samvadi] - SEMITONES[raag.vadi]) % 12
    assert interval in ((5, 7) if name != 'marwa' else (8,))
    low, high = raag.span
    for phrase in raag.pakad:
        assert {note % 12 for note in read(phrase)} <= notes
        assert low <= min(read(phrase)) and max(read(phrase)) <= high


def test_scales_that_are_shared():
    by_scale = collections.defaultdict(set)
    for name, raag in grammar.RAAGS.items():
        by_scale[raag.scale].add(name)
    shared = [names for names in by_scale.values() if len(names) > 1]
    assert sorted(map(sorted, shared)) == [
        ['adana', 'darbari_kanada', 'jaunpuri'],
        ['bhoopali', 'deshkar'],
        ['desh', 'khamaj'],
        ['marwa', 'puriya', 'sohni'],
        ['multani', 'todi'],
    ]


def test_just_intonation():
    # The natural notes make the just major scale; the others are its mirror image, but for Ma.
    natural = {
        'S': 0,
        'R': 203.91,
        'G': 386.31,
        'm': 498.04,
        'P': 701.96,
        'D': 884.36,
        'N': 1088.27,
    }
    others = {'r': 111.73, 'g': 315.64, 'd': 813.69, 'n': 1017.60, 'M': 590.22}
    for letter, expected in (natural | others).items():
        hz = grammar.frequency_hz(SEMITONES[letter], 200.0)
        assert cents(hz, 200.0) == pytest.approx(expected, abs=0.01)
    assert grammar.frequency_hz(-5, 200.0) == pytest.approx(150.0)
    assert grammar.frequency_hz(16, 200.0) == pytest.approx(500.0)


def test_the_first_string_of_the_tanpura():
    strings = {name: raag.drone for name, raag in grammar.RAAGS.items()}
    assert {name for name, note in strings.items() if note != '.P'} == {
        'malkauns',
        'marwa',
        'puriya',
        'sohni',
    }
    assert (strings['malkauns'], strings['marwa']) == ('.m', '.N')


# --- melody ----------------------------------------------------------------------------------


@pytest.mark.parametrize('raag', PUBLISHED)
def test_steps_are_those_of_the_lines_and_phrases(melodies, raag):
    for notes in melodies[raag]:
        assert breaches(phrases(notes), raag) == []
        low, high = grammar.RAAGS[raag].span
        assert low <= min(n.semitones for n in notes) <= max(n.semitones for n in notes) <= high
        assert all(SEMITONES[n.swara] == n.semitones % 12 for n in notes)


@pytest.mark.parametrize(
    ('raag', 'other'),
    [
        ('marwa', 'puriya'),
        ('sohni', 'marwa'),
        ('darbari_kanada', 'jaunpuri'),
        ('darbari_kanada', 'adana'),
        ('todi', 'multani'),
        ('desh', 'khamaj'),
    ],
)
def test_a_raag_breaks_the_rules_of_its_sibling(melodies, raag, other):
    assert all(breaches(phrases(notes), other) for notes in melodies[raag])


@pytest.mark.parametrize('raag', PUBLISHED)
def test_the_pakad_is_quoted(melodies, raag):
    quoted = collections.Counter()
    for notes in melodies[raag]:
        sung = phrases(notes)
        found = [part for part in PUBLISHED[raag][4] if any(holds(phrase, read(part)) for phrase in sung)]
        assert found
        quoted.update(found)
    assert set(quoted) == set(PUBLISHED[raag][4])


@pytest.mark.parametrize('raag', PUBLISHED)
def test_the_vadi_is_dwelt_upon(melodies, raag):
    spent, count = collections.Counter(), collections.Counter()
    for note in itertools.chain(*melodies[raag]):
        spent[note.swara] += note.duration_s
        count[note.swara] += 1
    vadi, samvadi = PUBLISHED[raag][2:4]
    assert vadi in [swara for swara, _ in spent.most_common(2)]
    # A note of the samvadi, too, is longer than one of the rest.
    others = set(spent) - {vadi, samvadi, 'S'}
    mean = {swara: spent[swara] / count[swara] for swara in spent}
    assert min(mean[vadi], mean[samvadi]) > np.mean([mean[swara] for swara in others])


@pytest.mark.parametrize('raag', PUBLISHED)
def test_phrases_end_on_vadi_samvadi_or_sa_unless_quoted(melodies, raag):
    _, _, vadi, samvadi, pakad = PUBLISHED[raag]
    rests = {SEMITONES[letter] for letter in (vadi, samvadi, 'S')}
    for notes in melodies[raag]:
        for phrase in phrases(notes)[:-1]:  # the last one is cut
            assert phrase[-1] % 12 in rests or phrase in [read(part) for part in pakad]


def test_notes_follow_each_other_and_keep_the_tempo(melodies):
    for notes in itertools.chain(*melodies.values()):
        ends = [note.onset_s + note.duration_s for note in notes]
        gaps = [b.onset_s - end for b, end in zip(notes[1:], ends, strict=False)]
        breath = [a.phrase != b.phrase for a, b in itertools.pairwise(notes)]
        assert all(
            (gap > 0.05) if between else abs(gap) < 1e-9 for gap, between in zip(gaps, breath, strict=True)
        )
        assert notes[0].onset_s == 0 and ends[-1] <= 30 + 1e-9
        assert 30 - ends[-1] < 2
        assert all(0 <= note.glide_s <= note.duration_s for note in notes[:-1])
        assert notes[0].glide_s == 0
        assert 1 < len(notes) / 30 < 7


def test_a_longer_melody_begins_like_a_shorter_one():
    short, long = (Source(duration_s=s).melody('desh/0003') for s in (10, 30))
    assert short[:-1] == long[: len(short) - 1]


def test_more_notes_at_a_higher_tempo():
    def count(notes_per_s):
        performance = sound.Performance(tonic_hz=200.0, notes_per_s=notes_per_s)
        rng = np.random.default_rng(0)
        return len(melody.walk(grammar.RAAGS['yaman'], performance, rng, duration_s=120.0))

    assert count(6.0) / count(3.0) == pytest.approx(2, rel=0.2)


# --- sound -----------------------------------------------------------------------------------


def alone(track):
    """A recording's melody and its performance without drone, room and noise."""
    source = Source(duration_s=8)
    bare = {'drone_db': -math.inf, 'room_db': -math.inf, 'snr_db': math.inf}
    return source.melody(track), dataclasses.replace(source.performance(track), **bare)


def play(notes, performance, duration_s, drone='.P'):
    return sound.render(
        notes,
        drone,
        performance,
        np.random.default_rng(0),
        duration_s=duration_s,
        sample_rate_hz=RATE_HZ,
    )


def family(performance):
    return performance.decay_s < 10, performance.meend > 0


def test_the_pitch_that_is_heard_is_the_pitch_that_is_given():
    heard = set()
    for track in ('yaman/0000', 'todi/0003', 'adana/0006', 'puriya/0011'):
        notes, performance = alone(track)
        audio = play(notes, performance, 8).astype(np.float32) / 32768
        hop = 256
        f0_hz = librosa.yin(audio, fmin=60, fmax=1000, sr=RATE_HZ, frame_length=2048, hop_length=hop)
        compared = 0
        for note in notes:
            # Frames that lie inside the part where the pitch stays.
            first = note.onset_s + note.glide_s + 1024 / RATE_HZ
            last = note.onset_s + note.duration_s - 0.05 - 1024 / RATE_HZ
            frames = f0_hz[math.ceil(first * RATE_HZ / hop) : int(last * RATE_HZ / hop)]
            if len(frames) > 2:
                assert abs(cents(np.median(frames), note.frequency_hz)) < 10
                compared += 1
        assert compared > 5
        heard.add(family(performance))
    assert heard == {(True, True), (False, True), (False, False)}  # sitar, bansuri, harmonium


def test_a_glide_passes_through_every_pitch_between():
    low, high = (
        sound.Note(onset_s, 1.0, letter, SEMITONES[letter], 200.0 * ratio, 0, glide_s)
        for onset_s, letter, ratio, glide_s in ((0.0, 'S', 1.0, 0.0), (1.0, 'P', 1.5, 0.5))
    )
    hz = sound.contour([low, high], 3.0, RATE_HZ)
    np.testing.assert_allclose(hz[:RATE_HZ], 200)
    np.testing.assert_allclose(hz[RATE_HZ + RATE_HZ // 4], math.sqrt(200 * 300), rtol=1e-6)
    np.testing.assert_allclose(hz[RATE_HZ * 3 // 2 : 2 * RATE_HZ], 300)
    assert not hz[2 * RATE_HZ :].any()
    assert (np.diff(hz[: 2 * RATE_HZ]) >= 0).all()
    assert np.abs(np.diff(np.log2(hz[: 2 * RATE_HZ]))).max() < 0.001


@pytest.mark.parametrize(('raag', 'first'), [('yaman', 3 / 4), ('malkauns', 2 / 3), ('marwa', 15 / 16)])
def test_the_drone_sounds_the_tonic(raag, first):
    notes, performance = alone(f'{raag}/0000')
    performance = dataclasses.replace(performance, drone_db=50.0)
    hz, magnitude = spectrum(play(notes, performance, 8, grammar.RAAGS[raag].drone))
    for ratio in (1 / 2, first, 1):
        near = np.abs(cents(np.maximum(hz, 1), ratio * performance.tonic_hz)) < 50
        peak_hz = hz[near][np.argmax(magnitude[near])]
        assert abs(cents(peak_hz, ratio * performance.tonic_hz)) < 5
        assert magnitude[near].max() > 20 * np.median(magnitude)


def test_the_drone_is_as_loud_as_asked():
    notes, performance = alone('yaman/0000')
    quiet = play(notes, performance, 8).astype(float)
    both = play(notes, dataclasses.replace(performance, drone_db=-10.0), 8).astype(float)
    melody_part = quiet * (quiet @ both) / (quiet @ quiet)
    measured = 10 * np.log10(np.mean((both - melody_part) ** 2) / np.mean(melody_part**2))
    assert measured == pytest.approx(-10, abs=1)


def test_harmonics_above_half_the_sample_rate_do_not_come_back():
    note = sound.Note(0.0, 2.0, 'S', 12, 500.0, 0)
    performance = sound.Performance(tonic_hz=250.0, amplitudes=(1.0,) * 20)
    audio = play([note], performance, 2.0)
    hz, magnitude = spectrum(audio[RATE_HZ // 2 : RATE_HZ * 3 // 2].astype(float))
    away = np.abs(hz / 500 - np.round(hz / 500)) * 500 > 20
    assert magnitude[away].max() < 1e-3 * magnitude.max()


def test_the_room_rings_on_for_its_time():
    note = sound.Note(0.0, 1.0, 'S', 0, 250.0, 0)
    performance = sound.Performance(tonic_hz=250.0, room_db=-3.0, room_s=1.0)
    audio = play([note], performance, 3.0).astype(float)
    level_db = [10 * np.log10(np.mean(audio[round(s * RATE_HZ) :][: RATE_HZ // 10] ** 2)) for s in (1.1, 1.5)]
    assert level_db[0] - level_db[1] == pytest.approx(0.4 * 60, abs=6)
    assert not play([note], dataclasses.replace(performance, room_db=-math.inf), 3.0)[RATE_HZ + 100 :].any()


# --- the dataset -----------------------------------------------------------------------------


def test_listing():
    recordings, quarantined = Source().recordings()
    assert quarantined == []
    assert len({r.track for r in recordings}) == len(recordings) == 16 * 20
    assert [r.track for r in recordings] == sorted(r.track for r in recordings)
    assert collections.Counter(r.label for r in recordings) == dict.fromkeys(PUBLISHED, 20)
    # Every musician plays every raag once: who plays says nothing about what.
    assert set(collections.Counter((r.group, r.label) for r in recordings).values()) == {1}
    assert len({r.group for r in recordings}) == 20
    assert Source().group_key() == 'musician'


def test_a_musician_is_recognised_and_the_raag_is_not():
    source = Source()
    a, b = (source.performance(f'{raag}/0004') for raag in ('yaman', 'desh'))
    other = source.performance('yaman/0005')
    differing = {'tonic_hz', 'notes_per_s', 'snr_db', 'peak_dbfs'}
    assert {key for key in vars(a) if vars(a)[key] != vars(b)[key]} == differing
    assert abs(cents(a.tonic_hz, b.tonic_hz)) <= 200
    assert a.amplitudes != other.amplitudes
    assert (
        Source(musicians=3).performance('yaman/0007').amplitudes
        == Source(musicians=3).performance('desh/0001').amplitudes
    )


def test_tonics_are_spread_evenly_over_the_whole_range():
    recordings, _ = Source(raags=('yaman', 'desh'), per_class=400, musicians=400).recordings()
    tonics = np.array([r.tonic_hz for r in recordings if r.label == 'yaman'])
    assert 110 <= tonics.min() < 120 and 270 < tonics.max() <= 300
    between_semitones = (12 * np.log2(tonics / 440)) % 1
    assert stats.kstest(between_semitones, 'uniform').pvalue > 0.05
    inside = (np.log2(tonics) - math.log2(110)) / math.log2(300 / 110)
    assert stats.kstest(inside, 'uniform').statistic < 0.1


def test_a_fixed_tonic():
    source = Source(tonic_hz=146.83, per_class=2)
    assert {r.tonic_hz for r in source.recordings()[0]} == {146.83}
    for note in source.melody('bhairav/0001'):
        assert note.frequency_hz == pytest.approx(grammar.frequency_hz(note.semitones, 146.83))


def test_the_numbers_of_recordings_and_raags_change_no_recording():
    few, many = (
        Source(per_class=2, raags=('desh',), duration_s=2),
        Source(per_class=5, duration_s=2),
    )
    listed = {r.track: r for r in many.recordings()[0]}
    for recording in few.recordings()[0]:
        assert listed[recording.track] == recording
        np.testing.assert_array_equal(few.load(recording), many.load(recording))


def test_levels_lengths_and_types():
    source = pickle.loads(pickle.dumps(Source(duration_s=3.3, per_class=1, sample_rate_hz=11025)))
    for recording in source.recordings()[0]:
        audio = source.load(recording)
        assert audio.dtype == np.int16
        assert audio.shape == (round(3.3 * 11025),)
        assert 10 ** (-18 / 20) - 1e-3 <= np.abs(audio / 32767).max() <= 10 ** (-3 / 20) + 1e-3


@pytest.mark.parametrize('hard', [False, True])
def test_the_same_bytes_in_every_process(hard):
    program = (
        'import hashlib; from data.recordings import Recording; '
        'from data.synthetic_raag import Source; '
        f"audio = Source(duration_s=2, seed=5, hard={hard}).load(Recording('todi/0002', 'todi', '')); "
        'print(hashlib.sha256(audio.tobytes()).hexdigest())'
    )
    there = subprocess.run(
        [sys.executable, '-c', program],
        capture_output=True,
        text=True,
        check=True,
        env=environment(PYTHONHASHSEED='123'),
    ).stdout.strip()
    recording = Recording('todi/0002', 'todi', '')
    audio = Source(duration_s=2, seed=5, hard=hard).load(recording)
    assert hashlib.sha256(audio.tobytes()).hexdigest() == there
    assert not np.array_equal(audio, Source(duration_s=2, seed=6, hard=hard).load(recording))


def test_fingerprint_follows_the_arguments():
    variants = [
        Source(),
        Source(per_class=5),
        Source(duration_s=5),
        Source(seed=1),
        Source(sample_rate_hz=22050),
        Source(raags=('desh', 'khamaj')),
        Source(tonic_hz=200),
        Source(musicians=5),
        Source(hard=True),
    ]
    assert len({source.fingerprint for source in variants}) == len(variants)
    assert Source().fingerprint == Source(duration_s=30, raags=tuple(PUBLISHED)).fingerprint


@pytest.mark.parametrize(
    ('wrong', 'part'),
    [
        ({'per_class': 0}, 'a whole number from 1 to 10000'),
        ({'per_class': 2.5}, 'a whole number'),
        ({'per_class': 'many'}, "'many'"),
        ({'per_class': True}, 'True'),
        ({'duration_s': 0.5}, 'a number from 1 to 3600'),
        ({'duration_s': math.nan}, 'nan'),
        ({'sample_rate_hz': 4000}, 'from 8000'),
        ({'seed': -1}, 'from 0 up'),
        ({'tonic_hz': 20.0}, 'from 55 to 600'),
        ({'tonic_hz': 'C#'}, "'C#'"),
        ({'musicians': 0}, 'from 1'),
        ({'raags': ('desh', 'yamann')}, "did you mean 'yaman'"),
        ({'raags': ('desh', 7)}, '7'),
        ({'raags': ('desh', 'desh')}, 'twice'),
        ({'raags': 'desh'}, 'several names'),
        ({'raags': 5}, 'several names'),
    ],
)
def test_arguments_that_cannot_be(wrong, part):
    (key,) = wrong
    with pytest.raises(UserError) as caught:
        Source(**wrong)
    message = str(caught.value)
    assert key in message and part in message and '\n' not in message


@pytest.mark.parametrize('track', ['yaman', 'yaman/', 'yaman/x', 'jog/0001', ''])
def test_tracks_that_cannot_be(track):
    for ask in (Source().melody, Source().performance):
        with pytest.raises(UserError, match='no track'):
            ask(track)


def test_the_page_and_its_keys():
    settings = get_config().data
    assert load_source(settings).fingerprint == Source().fingerprint
    settings.raags, settings.tonic_hz = ('desh', 'khamaj'), 200.0
    recordings, _ = load_source(settings).recordings()
    assert {(r.label, r.tonic_hz) for r in recordings} == {('desh', 200.0), ('khamaj', 200.0)}


def test_a_wrong_key_in_the_config():
    with pytest.raises(UserError, match="did you mean 'config.data.tonic_hz'"):
        load_source({'name': 'synthetic_raag', 'tonic': 200.0})


def test_the_picture(tmp_path):
    def draw(*arguments):
        return subprocess.run(
            [sys.executable, '-m', 'data.synthetic_raag', *arguments],
            capture_output=True,
            text=True,
            env=environment(),
        )

    assert draw(f'--out={tmp_path}/picture.png').returncode == 0
    assert (tmp_path / 'picture.png').read_bytes().startswith(b'\x89PNG')
    refused = draw('--track=yaman')
    assert refused.returncode == 2
    assert "no track 'yaman'" in refused.stderr and len(refused.stderr.splitlines()) == 1
