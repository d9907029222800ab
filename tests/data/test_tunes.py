"""The embedded dance tunes: notes read by hand, sound against physics, groups by example."""

import dataclasses
import hashlib
import math
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from genre_jax.data.recordings import Recording
from genre_jax.data.tunes import Source, corpus, identity, synth
from genre_jax.errors import UserError

RATE_HZ = 16000
HEADER = 'X:1\nT:{title}\nR:{dance}\nM:{metre}\nL:{unit}\nK:{key}\n'

# Two strains of eight bars each, in G, and the same notes spelt a fifth higher in D.
REEL = """\
|:G2BG dGBG|ABcA dcBA|G2BG dBgB|cABG A2FD|G2BG dGBG|ABcA dcBA|gfed cBAG|FDEF G2D2:|
|:g2bg dgbg|a2fd efge|dBGB cABG|FGAF D2d2|g2bg dgbg|a2fd efge|dcBA GFED|EFGA G2G2:|
"""
REEL_IN_D = """\
|:d2fd adfd|efge agfe|d2fd afd'f|gefd e2cA|d2fd adfd|efge agfe|d'c'ba gfed|cABc d2A2:|
|:d'2f'd' ad'f'd'|e'2c'a bc'd'b|afdf gefd|cdec A2a2|d'2f'd' ad'f'd'|e'2c'a bc'd'b|\
agfe dcBA|Bcde d2d2:|
"""
OTHER_REEL = """\
|:ABAF D2FA|B2dB AFEF|A2de fedB|AFEF D2FA|BAdB AFDF|E2EF GABd|fgfe dBAF|EDEF D2D2:|
|:fdad fdad|gece gece|fgaf edBd|ABde f2ed|fdad fdad|e2ec dcBA|BdAd GdFd|EGFE D2D2:|
"""
JIG = '|:GBd gdB|cec BdB|AFD DEF|GAG G2D|GBd gdB|cec BdB|AFD DEF|G3 G2D:|\n'


def abc(body, *, title='The Tune', dance='reel', metre='C|', unit='1/8', key='G'):
    return HEADER.format(title=title, dance=dance, metre=metre, unit=unit, key=key) + body


def score(title, dance='reel', track='x/1'):
    return corpus.Score('', track, (title,), dance, '')


def notes(*midi, beats=1.0):
    n = len(midi)
    onset = np.arange(n) * beats
    return corpus.Tune(
        np.array(midi),
        onset,
        np.full(n, beats),
        (onset // 2).astype(int),
        onset % 2,
        (2, 4),
        n * beats,
    )


def play(tune, duration_s, seed=0, **performance):
    performance = synth.Performance(**{'beats_per_minute': 60.0, **performance})
    return synth.render(
        tune,
        performance,
        np.random.default_rng(seed),
        duration_s=duration_s,
        sample_rate_hz=RATE_HZ,
    )


def peak_hz(audio):
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 4 * len(audio)))
    return np.argmax(spectrum) * RATE_HZ / (4 * len(audio))


# --- notes -----------------------------------------------------------------------------------


def test_a_beat_is_the_same_whatever_the_notation():
    in_eighths = corpus.parse(abc(REEL))
    in_sixteenths = corpus.parse(abc(REEL, metre='2/4', unit='1/16'))
    jig = corpus.parse(abc(JIG, dance='jig', metre='6/8'))
    slip = corpus.parse(abc('GBd gdB cec|' * 8, dance='slip jig', metre='9/8'))
    np.testing.assert_array_equal(in_eighths.onset_beats, in_sixteenths.onset_beats)
    assert in_eighths.length_beats == 16 * 2
    assert jig.length_beats == pytest.approx(8 * 2)
    assert slip.length_beats == pytest.approx(8 * 3)
    np.testing.assert_allclose(in_eighths.duration_beats[:3], [1 / 2, 1 / 4, 1 / 4])
    np.testing.assert_allclose(jig.duration_beats[:3], [1 / 3] * 3)


@pytest.mark.parametrize(
    ('bar', 'midi', 'quarters'),
    [
        ('G2 A>B c<d e2', [67, 69, 71, 72, 74, 76], [1, 0.75, 0.25, 0.25, 0.75, 1]),
        ('G2 (A>.B) vc<ud "4"e2', [67, 69, 71, 72, 74, 76], [1, 0.75, 0.25, 0.25, 0.75, 1]),
        ('((3GAB) (3cde f2 g2', [67, 69, 71, 72, 74, 76, 78, 79], [1 / 3] * 6 + [1, 1]),
        ('{Bc}G2 [GBd]2 z2 ~f2', [67, 74, 78], [1, 1, 1]),
        ('=f2 f2 ^g2 _b2', [77, 77, 80, 82], [1, 1, 1, 1]),
        ('^gggf _b_aba', [80, 80, 80, 78, 82, 80, 82, 80], [0.5] * 8),
        ('G2-G2 A2-B2', [67, 69, 71], [2, 1, 1]),
        ('G3/2A/2 B/c/d/e/ f4', [67, 69, 71, 72, 74, 76, 78], [0.75, 0.25] + [0.25] * 4 + [2]),
    ],
)
def test_one_bar_read_by_hand(bar, midi, quarters):
    tune = corpus.parse(abc(f'{bar}|' + 'D8|' * 7, metre='4/4'))
    in_first_bar = tune.bar == 0
    np.testing.assert_array_equal(tune.midi[in_first_bar], midi)
    np.testing.assert_allclose(2 * tune.duration_beats[in_first_bar], quarters)


def test_pickups_do_not_move_the_beat():
    body = 'D|' + 'G2A2 B2c2|' * 7 + 'G2A2 B3|:d|' + 'g2a2 b2c2|' * 7 + 'g2a2 b3:|'
    tune = corpus.parse(abc(body))
    pickups = tune.bar == -1
    np.testing.assert_array_equal(tune.midi[pickups], [62, 74])
    np.testing.assert_array_equal(tune.position_beats[pickups], [1.75, 1.75])
    np.testing.assert_array_equal(tune.onset_beats[pickups], [0.0, 16.0])
    on_bar = tune.position_beats == 0
    np.testing.assert_array_equal(tune.onset_beats[on_bar] % 2, np.full(16, 0.25))


def test_second_ending_replaces_the_first():
    body = '|:' + 'G2A2 B2c2|' * 7 + '1 D2D2 D4:|2 d2d2 d4|]' + 'g2a2 b2c2|' * 8
    tune = corpus.parse(abc(body))
    assert tune.length_beats == 16 * 2
    np.testing.assert_array_equal(tune.midi[tune.bar == 7], [74, 74, 74])


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        (abc('G8|' * 4), 'only 8 beats'),
        (abc('G6|' * 12), 'only 0 of 12 bars'),
        (abc('G6|' * 12, metre='3/4'), 'in 3/4'),
        (abc('G8|' * 8 + '\nM:6/8\n' + 'G6|' * 8), 'one metre'),
    ],
)
def test_unusable_tunes_say_why(text, reason):
    with pytest.raises(corpus.BadTune, match=reason):
        corpus.parse(text)


# --- dances, titles, groups ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('spelling', 'dance'),
    [
        ('reel', 'reel'),
        ('Reel', 'reel'),
        (' REEL ', 'reel'),
        ('JIG', 'jig'),
        ('double jig', 'jig'),
        ('Double  Jig', 'jig'),
        ('slipjig', 'slip jig'),
        ('Slip Jig', 'slip jig'),
        ('Hornpipe', 'hornpipe'),
        ('STRATHSPEY', 'strathspey'),
        ('clog', ''),
        ('slide', ''),
        ('highland fling', ''),
        ('air', ''),
        ('', ''),
    ],
)
def test_spellings_of_dances(spelling, dance):
    assert corpus.normalise_dance(spelling) == dance


@pytest.mark.parametrize(
    'titles',
    [
        ('MONEY MUSK -- REEL.', 'Money Musk', 'The Money Musk', 'MONEY MUSK -- STRATHSPEY'),
        ('NIGHT OF FUN -- JIG., THE', 'A Night of Fun', 'Night of Fun, The'),
        (
            "Jackson's Jig",
            'JACKSONS -- JIG No.2.',
            "Jackson's. 2nd Setting.",
            "Jackson's (1st set)",
        ),
        ('Nat:ional -- Hornpipe', 'National'),
    ],
)
def test_titles_of_one_tune_agree(titles):
    assert len({identity.normalise_title(title) for title in titles}) == 1


def test_titles_of_different_tunes_differ():
    titles = ['Money Musk', 'Money in Both Pockets', "Jackson's Fancy", "Jackson's Rambles", 'Jig']
    assert len({identity.normalise_title(title) for title in titles}) == len(titles)
    assert identity.title_keys(('A Favourite Strathspey.',)) == []
    assert identity.title_keys(("Lillibullero, or Protestant Boys' -- Jig", 'Or "Orange and Blue"')) == [
        'lillibullero',
        'protestant boys',
        'orange and blue',
    ]


def test_a_transposed_and_retitled_tune_is_in_the_group_of_the_original():
    tunes = [
        corpus.parse(text)
        for text in (
            abc(REEL),
            abc(OTHER_REEL, key='D'),
            abc(REEL_IN_D, metre='2/4', unit='1/16', key='D'),
        )
    ]
    assert set(tunes[2].midi - tunes[0].midi) == {7}
    groups = identity.group_names([score('The First'), score('Second'), score('Third')], tunes)
    assert groups == ['tune:first', 'tune:second', 'tune:first']
    ((first, second, kappa),) = identity.melody_pairs(tunes)
    assert (first, second) == (0, 2)
    assert kappa == pytest.approx(1.0)


@pytest.mark.parametrize('semitones', range(-6, 7))
def test_melodies_are_compared_in_every_key(semitones):
    tune = corpus.parse(abc(REEL))
    moved = dataclasses.replace(tune, midi=tune.midi + semitones)
    assert identity.melody_pairs([tune, moved]) == [(0, 1, pytest.approx(1.0))]


@pytest.mark.parametrize('mark', ['>', '<'])
def test_a_dotted_or_snapped_setting_is_the_same_melody(mark):
    bars = [
        'GA Bd ed BA',
        'ce dB AB GE',
        'DG BG dG BG',
        'AB cA FD EF',
        'Gg fg ef de',
        'cd ec dB AG',
        'BA GB AG FA',
        'GE DF GB dg',
    ]
    even, uneven = (
        corpus.parse(abc(''.join(f'{bar}|' for bar in bars)))
        for bars in (bars, [' '.join(mark.join(pair) for pair in bar.split()) for bar in bars])
    )
    assert not np.array_equal(even.duration_beats, uneven.duration_beats)
    assert identity.melody_pairs([even, uneven]) == [(0, 1, pytest.approx(1.0))]


def test_chains_of_titles_are_followed():
    tunes = [corpus.parse(abc(body)) for body in (REEL, OTHER_REEL, 'G2B2 e2B2|' * 8)]
    scores = [
        corpus.Score('', f'x/{i}', titles, 'reel', '')
        for i, titles in enumerate([('Alpha',), ('Beta', 'Gamma'), ('Gamma', 'Alpha')])
    ]
    assert identity.group_names(scores, tunes) == ['tune:alpha'] * 3


def test_a_tune_without_a_name_is_named_by_its_track():
    tunes = [corpus.parse(abc(REEL)), corpus.parse(abc(OTHER_REEL))]
    scores = [score('A Strathspey', track='airds/1'), score('Strathspey', track='airds/2')]
    assert identity.group_names(scores, tunes) == ['tune:airds/1', 'tune:airds/2']


# No test asks that a group holds one label: 'Money Musk' is a reel and a strathspey.
def test_money_musk_the_reel_and_the_strathspey_are_one_group():
    scores = [s for s in corpus.scores(corpus.root())[0] if 'money musk' in identity.title_keys(s.titles)]
    groups = identity.group_names(scores, [corpus.parse(s.abc) for s in scores])
    assert {s.dance for s in scores} == {'reel', 'strathspey'}
    assert {s.track.split('/')[0] for s in scores} == {'ryans', 'oneills'}
    assert set(groups) == {'tune:money musk'}


# --- sound -----------------------------------------------------------------------------------


def test_a4_is_440_hz():
    assert peak_hz(play(notes(69, beats=4.0), 4.0)) == pytest.approx(440.0, abs=1.0)


@pytest.mark.parametrize('semitones', [-12, -5, 3, 7])
def test_transposition(semitones):
    audio = play(notes(69, beats=4.0), 4.0, transpose_semitones=semitones)
    assert peak_hz(audio) == pytest.approx(440.0 * 2 ** (semitones / 12), abs=1.0)


def test_stretched_harmonics():
    stretch = 3e-4
    audio = play(notes(69, beats=4.0), 4.0, amplitudes=(0.0, 0.0, 0.0, 0.0, 1.0), inharmonicity=stretch)
    expected = 5 * 440.0 * math.sqrt((1 + 25 * stretch) / (1 + stretch))
    assert expected - 5 * 440.0 > 5
    assert peak_hz(audio) == pytest.approx(expected, abs=1.0)


def test_harmonics_near_half_the_sample_rate_are_left_out():
    low = play(notes(69, beats=2.0), 2.0, amplitudes=(1.0,), snr_db=math.inf)
    high = play(notes(69, beats=2.0), 2.0, amplitudes=(1.0,) + (0.0,) * 15 + (5.0,))
    np.testing.assert_array_equal(high, low)


@pytest.mark.parametrize('beats_per_minute', [80.0, 112.0])
def test_onsets_keep_the_tempo(beats_per_minute):
    audio = play(notes(*range(60, 76), beats=0.5), 4.0, beats_per_minute=beats_per_minute, legato=0.5)
    sounding = np.convolve(np.abs(audio.astype(float)) > 300, np.ones(200), 'same') > 0
    onset_s = np.flatnonzero(np.diff(sounding.astype(int)) == 1) / RATE_HZ
    assert len(onset_s) >= 8
    np.testing.assert_allclose(np.diff(onset_s), 0.5 * 60 / beats_per_minute, atol=0.003)


def test_the_tune_is_repeated_until_the_time_is_up():
    audio = play(notes(60, 67, 72, 76), 9.0)
    assert len(audio) == 9 * RATE_HZ
    np.testing.assert_array_equal(audio[: 4 * RATE_HZ], audio[4 * RATE_HZ : 8 * RATE_HZ])


@pytest.mark.parametrize('snr_db', [0.0, 15.0, 30.0])
def test_signal_to_noise_ratio(snr_db):
    tune = notes(60, 64, 67, 72)
    clean = play(tune, 8.0).astype(float)
    noisy = play(tune, 8.0, snr_db=snr_db).astype(float)
    signal = clean * (clean @ noisy) / (clean @ clean)
    measured = 10 * np.log10(np.mean(signal**2) / np.mean((noisy - signal) ** 2))
    assert measured == pytest.approx(snr_db, abs=0.3)


@pytest.mark.parametrize('peak_dbfs', [-18.0, -3.0])
def test_level(peak_dbfs):
    audio = play(notes(60, 64, 67, 72), 4.0, peak_dbfs=peak_dbfs, snr_db=10.0)
    assert audio.dtype == np.int16
    assert 20 * np.log10(np.abs(audio.astype(float)).max() / 32767) == pytest.approx(peak_dbfs, abs=0.01)


def test_accents_fall_on_the_beats():
    audio = play(notes(*[69] * 16, beats=0.25), 4.0, accent_db=6.0, legato=0.9).astype(float)
    peaks = np.abs(audio.reshape(16, -1)).max(axis=1)
    bars_db = 20 * np.log10(peaks / peaks[1]).reshape(2, 8)
    np.testing.assert_allclose(bars_db, [[6, 0, 0, 0, 3, 0, 0, 0]] * 2, atol=0.1)


def test_nothing_random_depends_on_the_tune_but_the_transposition():
    reel = corpus.parse(abc(REEL))
    jig = corpus.parse(abc(JIG, dance='jig', metre='6/8'))
    for seed in range(20):
        a, b = (vars(synth.draw(tune, np.random.default_rng(seed))) for tune in (reel, jig))
        assert {key for key in a if a[key] != b[key]} <= {'transpose_semitones'}


def test_drawn_performances_stay_in_their_ranges_and_never_clip():
    tune = corpus.parse(abc(REEL))
    for seed in range(40):
        rng = np.random.default_rng(seed)
        performance = synth.draw(tune, rng)
        assert synth.BEATS_PER_MINUTE[0] <= performance.beats_per_minute <= synth.BEATS_PER_MINUTE[1]
        audio = synth.render(tune, performance, rng, duration_s=2.0, sample_rate_hz=RATE_HZ)
        peak_dbfs = 20 * np.log10(np.abs(audio.astype(float)).max() / 32767)
        assert synth.PEAK_DBFS[0] - 0.01 <= peak_dbfs <= synth.PEAK_DBFS[1] + 0.01


# --- the dataset -----------------------------------------------------------------------------

MONEY_MUSK = Recording(
    track='ryans/MoneyMuskReel',
    label='reel',
    group='tune:money musk',
    path='ryansMammoth/MoneyMuskReel.abc X:6',
)


def test_the_same_bytes_in_every_process():
    program = (
        'import hashlib, sys; from data.recordings import Recording; '
        'from data.tunes import Source; '
        'audio = Source(duration_s=2, seed=5).load(Recording(*sys.argv[1:])); '
        'print(hashlib.sha256(audio.tobytes()).hexdigest())'
    )
    arguments = [MONEY_MUSK.track, MONEY_MUSK.label, MONEY_MUSK.group, MONEY_MUSK.path]
    there = subprocess.run(
        [sys.executable, '-c', program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
            'PYTHONHASHSEED': '123',
        },
    ).stdout.strip()
    audio = Source(duration_s=2, seed=5).load(MONEY_MUSK)
    assert audio.dtype == np.int16
    assert audio.shape == (2 * RATE_HZ,)
    assert hashlib.sha256(audio.tobytes()).hexdigest() == there


def test_another_seed_is_another_performance():
    one, two = (Source(duration_s=2, seed=seed).load(MONEY_MUSK) for seed in (0, 1))
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.5


@pytest.fixture
def small_corpus(tmp_path, monkeypatch):
    files = {
        'ryansMammoth/GoodReel.abc': abc(REEL, title='GOOD -- REEL'),
        'ryansMammoth/OtherNameOfGoodReel.abc': abc(REEL, title='GOOD -- REEL'),
        'ryansMammoth/Confused.abc': abc(OTHER_REEL, title='CONFUSED -- JIG', key='D'),
        'ryansMammoth/MinstrelJig.abc': abc(OTHER_REEL, title='Straight', dance='jig', key='D'),
        'ryansMammoth/Walkaround.abc': abc(REEL, title='Not wanted', dance='walkaround'),
        'oneills1850/0001-0002.abc': '\n'.join(
            [
                abc(REEL_IN_D, title='Good Under Another Name', dance='Hornpipe', key='D'),
                abc('G8|' * 4, title='Stump', dance='Reel').replace('X:1', 'X: 2'),
                abc(OTHER_REEL, title='Other, The', dance='REEL', key='D').replace('X:1', 'X: 3'),
            ]
        ),
        'oneills1850/0001-0002_again.abc': abc(REEL_IN_D, title='x', dance='hornpipe', key='D'),
        'airdsAirs/book1.abc': abc(JIG, title='No Header Jig', metre='6/8').replace('R:reel\n', ''),
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding='utf-8')
    monkeypatch.setattr(corpus, 'root', lambda: tmp_path)


def test_listing(small_corpus):
    recordings, quarantined = Source().recordings()
    assert [(r.track, r.label, r.group) for r in recordings] == [
        ('airds/book1-0001 No Header Jig', 'jig', 'tune:no header'),
        ('oneills/0001 Good Under Another Name', 'hornpipe', 'tune:good'),
        ('oneills/0003 Other The', 'reel', 'tune:other'),
        ('ryans/GoodReel', 'reel', 'tune:good'),
    ]
    assert {(q.path, q.reason) for q in quarantined} == {
        ('ryansMammoth/Confused.abc X:1', 'a reel by its header, a jig by its title'),
        ('ryansMammoth/MinstrelJig.abc X:1', 'a jig in C|'),
        ('oneills1850/0001-0002.abc X:2', 'only 8 beats long, at least 15 are needed'),
    }
    assert '2 second copies of a page in the scores were passed over' in Source().notes()
    source = pickle.loads(pickle.dumps(Source(duration_s=1)))
    for recording in recordings:
        assert source.load(recording).shape == (RATE_HZ,)


def test_at_most_so_many_of_a_class_and_the_seed_decides_which(small_corpus):
    chosen = set()
    for seed in range(12):
        recordings, _ = Source(max_per_class=1, seed=seed).recordings()
        assert sorted(r.label for r in recordings) == ['hornpipe', 'jig', 'reel']
        chosen |= {r.track for r in recordings if r.label == 'reel'}
    assert chosen == {'ryans/GoodReel', 'oneills/0003 Other The'}


def test_the_installed_scores_hold_all_dances():
    scores, _, _ = corpus.scores(corpus.root())
    assert len({s.track for s in scores}) == len(scores)
    assert {s.dance for s in scores} == set(corpus.METRES)
    assert min(sum(s.dance == dance for s in scores) for dance in corpus.METRES) > 80


def test_missing_scores_are_the_users_business(monkeypatch):
    monkeypatch.setattr(corpus.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='music21'):
        corpus.root()


@pytest.mark.parametrize(
    'wrong',
    [
        {'max_per_class': 0},
        {'duration_s': 0.0},
        {'duration_s': math.nan},
        {'seed': -1},
        {'seed': 'x'},
        {'sample_rate_hz': 16},
    ],
)
def test_arguments_out_of_range(wrong):
    (key,) = wrong
    with pytest.raises(UserError, match=key):
        Source(**wrong)


def test_fingerprint_follows_the_arguments():
    variants = [
        Source(),
        Source(max_per_class=5),
        Source(duration_s=5),
        Source(seed=1),
        Source(sample_rate_hz=22050),
    ]
    assert len({source.fingerprint for source in variants}) == len(variants)
    assert Source().fingerprint == Source(duration_s=20).fingerprint
    assert len(bytes.fromhex(Source().fingerprint)) == 32
