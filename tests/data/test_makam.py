"""Makams: melodies, stored or rendered, are what the pitch tracks say; the dataset's layouts and faults."""

import functools
import hashlib
import json
import pickle

import librosa
import numpy as np
import pytest

from genre_jax.data import prepare
from genre_jax.data.makam import Source as Melodies
from genre_jax.data.makam import synth
from genre_jax.errors import BadAudio, UserError
from genre_jax.loading import prepared
from tests.program import DATA

HOP_S = 128 / 44100
Source = functools.partial(Melodies, kind='audio')


def mbid(number):
    return f'00000000-0000-4000-8000-{number:012x}'


def annotation(number, makam='Rast', tonic=220.0, **more):
    url = f'http://musicbrainz.org/recording/{mbid(number)}'
    return {
        'mbid': url,
        'makam': makam,
        'tonic': tonic,
        'verified': False,
        'observations': '',
    } | more


def glide(seconds, low_hz=200.0, hop_s=HOP_S):
    """A slow vibrato of an octave with a pause in its middle."""
    frames = round(seconds / hop_s)
    f0_hz = low_hz * 2 ** (0.5 + 0.5 * np.sin(2 * np.pi * np.arange(frames) / frames))
    f0_hz[frames // 2 : frames // 2 + frames // 10] = 0
    return f0_hz


def write_published(root, tracks, metadata=(), annotations=None):
    """Writes {number: (makam, f0_hz or text)} as published."""
    if annotations is None:
        annotations = [annotation(n, makam, 200.0 + n) for n, (makam, _) in tracks.items()]
    root.mkdir(parents=True, exist_ok=True)
    (root / 'annotations.json').write_text(json.dumps(annotations))
    for number, (makam, track) in tracks.items():
        file = root / 'data' / makam / f'{mbid(number)}.pitch'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(track if isinstance(track, str) else ''.join(f'{hertz:.1f}\n' for hertz in track))
    for number, entry in dict(metadata).items():
        makam = tracks[number][0]
        (root / 'data' / makam / f'{mbid(number)}.json').write_text(json.dumps(entry))
    return root


def write_packed(root, tracks, name='melodies_f0_x40_hop1024.npz', **changes):
    root.mkdir(parents=True, exist_ok=True)
    (root / 'annotations.json').write_text(
        json.dumps([annotation(n, makam) for n, (makam, _) in tracks.items()])
    )
    f0 = [np.rint(40 * np.asarray(f0_hz)).astype(np.uint16) for _, f0_hz in tracks.values()]
    arrays = {
        'f0': np.concatenate(f0),
        'offsets': np.cumsum([0, *map(len, f0)]),
        'mbid': np.array([mbid(number) for number in tracks]),
    }
    arrays = {key: value for key, value in (arrays | changes).items() if value is not None}
    np.savez(root / name, **arrays)
    return root


def entry(title='Song', works=(), artists=(), releases=('Album',)):
    return {
        'title': title,
        'works': [{'mbid': f'w{work}', 'title': f'Work {work}'} for work in works],
        'artist_credits': [{'mbid': f'a{artist}', 'name': f'Artist {artist}'} for artist in artists],
        'releases': [{'mbid': f'r{name}', 'title': name} for name in releases],
    }  # fmt: skip


def refusal(root, **settings):
    with pytest.raises(UserError) as caught:
        Source(root=str(root), **settings).recordings()
    assert '\n' not in str(caught.value)
    return str(caught.value)


# Sound


def measured_cents(audio, rate_hz, f0_hz, hop_s, f_max_hz=1100):
    """Returns how far librosa's YIN is from the track, where the track is steady."""
    step = 256
    found = librosa.yin(audio / 32768, fmin=70, fmax=f_max_hz, sr=rate_hz, frame_length=2048, hop_length=step)
    frame = np.arange(len(found)) * step / rate_hz / hop_s
    around = round(1024 / rate_hz / hop_s) + 2
    inside = (frame > around) & (frame < len(f0_hz) - around - 1)
    frame, found = frame[inside], found[inside]
    steady = []
    for middle in frame.astype(int):
        near = f0_hz[middle - around : middle + around + 1]
        steady.append((near > 0).all() and 1200 * np.log2(near.max() / near.min()) < 40)
    wanted = np.interp(frame, np.arange(len(f0_hz)), f0_hz)
    return 1200 * np.log2(found[steady] / wanted[steady])


@pytest.mark.parametrize('hop', [128, 1024])
def test_the_audio_has_the_pitch_of_the_track(hop):
    f0_hz = glide(8.0, hop_s=hop / 44100)
    audio = synth.render(f0_hz, hop / 44100, 44100)
    assert audio.dtype == np.int16 and len(audio) == len(f0_hz) * hop
    cents = measured_cents(audio, 44100, f0_hz, hop / 44100)
    assert len(cents) > 500
    assert np.median(np.abs(cents)) < 2 and np.percentile(np.abs(cents), 99) < 8


def test_the_number_of_periods_is_the_integral_of_the_frequency():
    """Phase is integrated: over 5 s not a fifth of a period is lost, though the pitch moves."""
    f0_hz = 200 * 2 ** (0.5 * np.sin(np.arange(1723) / 100))
    audio = synth.render(f0_hz, HOP_S, 32000) / 32768
    sound = audio[800:-800]  # without the fades
    # A saw's upward zero crossings are one a period.
    crossings = np.flatnonzero((sound[:-1] < 0) & (sound[1:] >= 0))
    time_s = np.arange(len(audio)) / 32000
    frequency_hz = np.interp(time_s, np.arange(len(f0_hz)) * HOP_S, f0_hz)
    periods = frequency_hz[800 + crossings[0] : 800 + crossings[-1]].sum() / 32000
    assert abs(periods - (len(crossings) - 1)) < 0.2


@pytest.mark.parametrize('f0', [110.0, 440.0, 1600.0])
def test_harmonics_and_nothing_else(f0):
    rate_hz = 16000
    audio = synth.render(np.full(2000, f0), HOP_S, rate_hz) / 32768
    middle = audio[len(audio) // 4 : len(audio) // 4 + 32768]
    window = np.blackman(len(middle))
    spectrum = np.abs(np.fft.rfft(middle * window)) * 2 / window.sum()
    frequency_hz = np.fft.rfftfreq(len(middle), 1 / rate_hz)

    def near(hertz):
        return np.abs(frequency_hz - hertz) < 5

    def height(hertz):
        return np.sqrt((spectrum[near(hertz)] ** 2).sum())  # of the whole line: it falls between bins

    for k in range(1, 13):
        if k * f0 < 0.40 * rate_hz:
            assert height(k * f0) / height(f0) == pytest.approx(1 / k, rel=0.01)
        elif k * f0 > 0.45 * rate_hz:
            assert height(k * f0) < 2e-4 * height(f0)
    harmonic = np.any([near(k * f0) for k in range(1, 13)], axis=0)
    assert spectrum[~harmonic].max() < 2e-4 * height(f0)  # what 16 bits leave, -74 dB
    assert np.abs(audio).max() == pytest.approx(0.5, abs=1e-3)


def test_nothing_sounds_beyond_where_harmonics_end():
    """Also while the pitch glides through an octave and jumps: no energy near half the sample rate."""
    f0_hz = glide(6.0, low_hz=500.0)
    audio = synth.render(f0_hz, HOP_S, 16000) / 32768
    power = np.abs(librosa.stft(audio, n_fft=2048, window='blackmanharris')) ** 2
    frequency_hz = librosa.fft_frequencies(sr=16000, n_fft=2048)
    assert power[frequency_hz > 7400].sum() < 1e-6 * power.sum()


def test_unvoiced_frames_are_silent_and_edges_are_soft():
    f0_hz = np.concatenate([np.zeros(100), np.full(400, 300.0), np.zeros(200), np.full(300, 500.0)])
    audio = synth.render(f0_hz, HOP_S, 16000)
    time = np.arange(len(audio)) / 16000 / HOP_S  # in frames
    fade = 0.006 / HOP_S
    for first, last in ((0, 99.5), (499.5, 699.5)):
        assert not audio[(time > first + fade) & (time < last - fade)].any()
    assert audio[(time > 110) & (time < 120)].any()
    # A gate without fades would start the note at once; here its first 2 ms stay quiet.
    start = np.searchsorted(time, 99.5)
    early = np.abs(audio[start - 80 : start - 40].astype(int)).max()
    assert early < 0.2 * np.abs(audio.astype(int)).max()


def test_single_frames_and_extremes():
    lone = np.zeros(50)
    lone[20] = 440.0
    assert synth.render(lone, HOP_S, 16000).any()
    assert len(synth.render(np.array([300.0]), 1024 / 44100, 8000)) == round(1024 / 44100 * 8000)
    # Above the highest harmonic that may sound: silence, not noise.
    assert not synth.render(np.full(100, 7300.0), HOP_S, 16000).any()


# Layouts


def test_as_published(tmp_path):
    tracks = {1: ('Rast', glide(2.0)), 2: ('Saba', glide(3.0)), 3: ('Rast', glide(2.5))}
    metadata = {1: entry('Pesrev', (1,), (1, 2)), 2: entry('Taksim', (), (3,), ())}
    source = Source(root=str(write_published(tmp_path, tracks, metadata)))
    recordings, quarantined = source.recordings()
    assert quarantined == [] and source.sample_rate_hz() == 16000
    seen = [(r.track, r.label, r.tonic_hz, r.title, r.artist, r.album) for r in recordings]
    assert seen == [
        (f'Rast/{mbid(1)}', 'Rast', 201.0, 'Pesrev', 'Artist 1 & Artist 2', 'Album'),
        (f'Saba/{mbid(2)}', 'Saba', 202.0, 'Taksim', 'Artist 3', ''),
        (f'Rast/{mbid(3)}', 'Rast', 203.0, '', '', ''),
    ]
    assert [r.group for r in recordings] == [
        'work:w1',
        f'recording:{mbid(2)}',
        f'recording:{mbid(3)}',
    ]
    for recording, seconds in zip(recordings, (2.0, 3.0, 2.5), strict=True):
        audio = pickle.loads(pickle.dumps(source)).load(recording)
        assert abs(len(audio) / 16000 - seconds) < 0.01 and audio.any()
    assert source.files() == {
        r.path: hashlib.sha256((tmp_path / r.path).read_bytes()).hexdigest() for r in recordings
    }
    assert 'the work and the artist of 1 of 3' in source.notes()[-1]
    assert source.group_key() == 'work, else recording'


def test_packed(tmp_path):
    hop_s = 1024 / 44100
    tracks = {1: ('Rast', glide(20.0, hop_s=hop_s)), 2: ('Saba', glide(30.0, 300.0, hop_s))}
    source = Source(root=str(write_packed(tmp_path, tracks)), max_s=None, sample_rate_hz=22050)
    recordings, quarantined = source.recordings()
    assert quarantined == [] and [r.tonic_hz for r in recordings] == [220.0, 220.0]
    assert {r.path for r in recordings} == {'melodies_f0_x40_hop1024.npz'}
    audio = pickle.loads(pickle.dumps(source)).load(recordings[1])
    assert abs(len(audio) / 22050 - 30) < 0.03
    cents = measured_cents(audio, 22050, np.asarray(tracks[2][1]), hop_s)
    assert len(cents) > 1000 and np.median(np.abs(cents)) < 3
    assert source.group_key() == 'recording' and 'of 2 of 2 recordings are unknown' in source.notes()[1]


def test_melodies_are_stored_as_they_are(tmp_path):
    """Whole, every 23 ms whatever the layout, with their tonics, and to the bit."""
    packed = {1: ('Rast', glide(200.0, hop_s=1024 / 44100)), 2: ('Saba', glide(30.0, 300.0, 1024 / 44100))}
    published = {1: ('Rast', glide(2.0)), 2: ('Saba', glide(3.0))}
    roots = {
        8: (write_published(tmp_path / 'published', published), published, 10),
        1: (write_packed(tmp_path / 'packed', packed), packed, 40),
    }
    for thinned, (root, tracks, scale) in roots.items():
        source = Melodies(root=str(root))
        assert source.kind == 'pitch' and source.sample_rate_hz() == pytest.approx(44100 / 1024)
        dataset = prepared.Dataset(prepare.prepare(source, tmp_path / 'prepared', 1.0))
        assert dataset.stored(0).shape == (max(track['n_samples'] for track in dataset.tracks),)
        assert dataset.column('tonic_hz').tolist() == [r.tonic_hz for r in source.recordings()[0]]
        for row, (_, f0_hz) in enumerate(tracks.values()):
            wanted = (np.rint(scale * f0_hz[::thinned]) / scale).astype(np.float32)
            length = dataset.tracks[row]['n_samples']
            np.testing.assert_array_equal(dataset.read(row, 0, length + 5), np.append(wanted, np.zeros(5)))
    with pytest.raises(UserError, match="kind is 'midi'; expected one of pitch, audio"):
        Melodies(root=str(root), kind='midi')


def test_stretches_are_drawn_by_seed_and_recording(tmp_path):
    frames = round(20 / HOP_S)
    ramp = 200 + 200 * np.arange(frames) / frames  # the pitch tells the place
    write_published(tmp_path, {1: ('Rast', ramp), 2: ('Saba', ramp)})

    def begins_at(seed, number, max_s=2.0):
        source = Source(root=str(tmp_path), seed=seed, max_s=max_s)
        audio = source.load(source.recordings()[0][number])
        assert len(audio) == round(16000 * max_s)
        found = librosa.yin(audio / 32768, fmin=150, fmax=500, sr=16000)
        return (np.median(found[2:-2]) - 200) / 200 * 20 - max_s / 2

    places = [begins_at(seed, number) for seed in range(3) for number in (0, 1)]
    assert begins_at(0, 0) == places[0]
    assert len({round(place, 1) for place in places}) == 6
    assert all(-0.2 < place < 18.2 for place in places)


def test_groups(tmp_path):
    tracks = {n: ('Rast', glide(1.5)) for n in range(1, 8)}
    metadata = {
        1: entry(works=(1,), artists=(1,)), 2: entry(works=(1,), artists=(2,)),
        3: entry(works=(2,), artists=(2,)), 4: entry(works=(3,), artists=(4,)),
        5: entry(works=(3, 4), artists=(5,)), 6: entry(works=(4,), artists=(6,)),
        7: entry(works=(), artists=(1, 7)),
    }  # fmt: skip
    write_published(tmp_path, tracks, metadata)

    def sets(group):
        found = {}
        for number, r in enumerate(Source(root=str(tmp_path), group=group).recordings()[0], 1):
            found.setdefault(r.group, set()).add(number)
        return sorted(map(sorted, found.values()))

    assert sets('work') == [[1, 2], [3], [4, 5, 6], [7]]
    assert sets('artist') == [[1, 7], [2, 3], [4], [5], [6]]
    assert sets('work+artist') == [[1, 2, 3, 7], [4, 5, 6]]
    assert sets('recording') == [[n] for n in range(1, 8)]
    keys = [Source(root=str(tmp_path), group=g).group_key() for g in ('work+artist', 'recording')]
    assert keys == ['work or artist, else recording', 'recording']


def test_fingerprint(tmp_path):
    root = write_published(tmp_path / 'one', {1: ('Rast', glide(1.5)), 2: ('Saba', glide(1.5))})
    seen = {Source(root=str(root)).fingerprint}
    root = root.rename(tmp_path / 'two')
    assert Source(root=str(root)).fingerprint in seen

    def changed(**settings):
        fingerprint = Source(root=str(root), **settings).fingerprint
        assert fingerprint not in seen
        seen.add(fingerprint)

    for settings in ({'seed': 1}, {'max_s': 2.0}, {'max_s': None}, {'sample_rate_hz': 8000}):
        changed(**settings)
    changed(group='recording')
    file = root / 'data' / 'Rast' / f'{mbid(1)}.pitch'
    file.write_text(file.read_text() + '300.0\n')
    changed()
    annotations = json.loads((root / 'annotations.json').read_text())
    annotations[0]['tonic'] = 199.0
    (root / 'annotations.json').write_text(json.dumps(annotations))
    changed()
    file.unlink()
    changed()


# Mistakes


@pytest.mark.parametrize(
    'track, reason',
    [
        ('', 'no frames'),
        ('\n\n', 'no frames'),
        ('0.0\n' * 1000, 'no voiced frame'),
        ('220.0\n-1.0\n', 'frame 2 is no frequency: -1 Hz'),
        ('220.0\nnan\n', 'frame 2 is no frequency: nan Hz'),
        ('220.0\ninf\n', 'frame 2 is no frequency'),
        ('220.0\n44100\n', 'frame 2 is no frequency'),
        ('220.0\n\n1,5\n', "line 3 is no frequency: '1,5'"),
        ('0.0 220.0\n', "line 1 is no frequency: '0.0 220.0'"),
        ('<html>gone</html>', 'line 1 is no frequency'),
        ('220.0\n\u00e9', 'line 2 is no frequency'),
    ],
)
def test_damaged_tracks_are_bad_audio(tmp_path, track, reason):
    write_published(tmp_path, {1: ('Rast', track), 2: ('Saba', glide(1.5))})
    source = Source(root=str(tmp_path))
    first, second = source.recordings()[0]
    with pytest.raises(BadAudio) as caught:
        source.load(first)
    assert str(caught.value).startswith(reason) and '\n' not in str(caught.value)
    assert source.load(second).any()


def test_a_stretch_without_melody_is_bad_audio(tmp_path):
    silent = np.zeros(round(30 / HOP_S))
    silent[-1] = 300.0
    write_published(tmp_path, {1: ('Rast', silent), 2: ('Saba', glide(1.5))})
    source = Source(root=str(tmp_path), max_s=1.0)
    with pytest.raises(BadAudio, match=r'no voiced frame in the 1 s from \d+\.\d s: raise max_s'):
        source.load(source.recordings()[0][0])


def test_a_track_that_vanished(tmp_path):
    write_published(tmp_path, {1: ('Rast', glide(1.5)), 2: ('Saba', glide(1.5))})
    source = Source(root=str(tmp_path))
    first = source.recordings()[0][0]
    (tmp_path / first.path).unlink()
    with pytest.raises(BadAudio, match='cannot be read: No such file'):
        source.load(first)


def test_annotated_recordings_without_a_track_are_quarantined(tmp_path):
    annotations = [annotation(1), annotation(2), annotation(3, 'Saba')]
    write_published(tmp_path, {1: ('Rast', glide(1.5))}, annotations=annotations)
    recordings, quarantined = Source(root=str(tmp_path)).recordings()
    assert [r.track for r in recordings] == [f'Rast/{mbid(1)}']
    assert [(q.path, q.reason) for q in quarantined] == [
        (f'Rast/{mbid(2)}', 'annotated, but there is no pitch track'),
        (f'Saba/{mbid(3)}', 'annotated, but there is no pitch track'),
    ]
    (tmp_path / recordings[0].path).unlink()
    assert 'none of the 3 recordings' in refusal(tmp_path)


@pytest.mark.parametrize(
    'content, parts',
    [
        ('', ('is no JSON',)),
        ('[{"mbid"', ('is no JSON',)),
        ('{}', ('expected a list',)),
        ('[]', ('expected a list',)),
        ('[1]', ('entry 1', 'found 1')),
        ([annotation(1), {'makam': 'Rast', 'tonic': 1.0}], ('entry 2', 'mbid is None')),
        ([annotation(1), annotation(2, mbid='x')], ('entry 2', "mbid is 'x'")),
        ([annotation(1, makam='')], ('entry 1', "makam is ''")),
        ([annotation(1, makam='../x')], ('entry 1', "makam is '../x'")),
        ([annotation(1, tonic=None)], ('entry 1', mbid(1), 'tonic is None')),
        ([annotation(1, tonic='220')], ("tonic is '220'", 'hertz')),
        ([annotation(1, tonic=0)], ('tonic is 0',)),
        ([annotation(1, tonic=-5.0)], ('tonic is -5.0',)),
        ([annotation(1, tonic=float('nan'))], ('tonic is nan',)),
        ([annotation(1, tonic=True)], ('tonic is True',)),
        ([annotation(1), annotation(2), annotation(1)], ('entry 3', mbid(1), 'twice')),
    ],
)
def test_mistakes_in_the_annotations(tmp_path, content, parts):
    write_published(tmp_path, {1: ('Rast', glide(1.5))})
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / 'annotations.json').write_text(text)
    message = refusal(tmp_path)
    assert all(part in message for part in ('annotations.json', *parts)), message


@pytest.mark.parametrize(
    'text', ['', '[]', '"x"', '{"works": [{}]}', '{"releases": [1]}', '{"artist_credits": 5}']
)
def test_damaged_metadata(tmp_path, text):
    write_published(tmp_path, {1: ('Rast', glide(1.5))})
    (tmp_path / 'data' / 'Rast' / f'{mbid(1)}.json').write_text(text)
    message = refusal(tmp_path)
    assert f'{mbid(1)}.json' in message and 'fetch it again' in message


@pytest.mark.parametrize(
    'changes, part',
    [
        ({'f0': None}, 'cannot be read'),
        ({'mbid': None}, 'cannot be read'),
        ({'offsets': np.array([0, 5])}, 'do not fit together'),
        ({'offsets': np.array([0, 70, 60])}, 'do not fit together'),
        ({'f0': np.zeros((2, 5), np.uint16)}, 'do not fit together'),
        ({'f0': np.zeros(100)}, 'do not fit together'),
        ({'mbid': np.array([mbid(1)])}, 'do not fit together'),
        ({'mbid': np.array([{}, {}])}, 'cannot be read'),
    ],
)
def test_damaged_archives(tmp_path, changes, part):
    write_packed(tmp_path, {1: ('Rast', np.full(50, 300.0)), 2: ('Saba', np.full(50, 300.0))}, **changes)
    message = refusal(tmp_path)
    assert part in message and 'melodies_f0_x40_hop1024.npz' in message, message


def test_an_archive_that_was_cut_off(tmp_path):
    write_packed(tmp_path, {1: ('Rast', np.full(5000, 300.0)), 2: ('Saba', np.full(50, 300.0))})
    file = tmp_path / 'melodies_f0_x40_hop1024.npz'
    file.write_bytes(file.read_bytes()[:2000])
    assert 'cannot be read' in refusal(tmp_path)
    file.write_text('text')
    assert 'cannot be read' in refusal(tmp_path)


def test_folders_that_are_not_the_dataset(tmp_path):
    assert 'not set' in refusal('')
    assert 'is no folder' in refusal(tmp_path / 'none')
    assert 'holds no annotations.json' in refusal(tmp_path)
    root = write_packed(tmp_path / 'x', {1: ('Rast', np.full(9, 300.0))}, name='f0.npz')
    assert 'holds no pitch tracks' in refusal(root)
    for name in ('a_f0_x40_hop512.npz', 'b_f0_x10_hop512.npz'):
        write_packed(tmp_path / 'y', {1: ('Rast', np.full(9, 300.0))}, name=name)
    assert 'several archives (a_f0_x40_hop512.npz, b_f0' in refusal(tmp_path / 'y')


def test_wrong_settings(tmp_path):
    write_published(tmp_path, {1: ('Rast', glide(1.5)), 2: ('Saba', glide(1.5))})
    for value in (0, 0.5, -1, float('nan'), float('inf'), 'all'):
        message = refusal(tmp_path, max_s=value)
        assert f'max_s is {value!r}, expected a number from 1 up, or None' in message
    for value in (4000, 0, 1e9, None, '16k'):
        assert f'sample_rate_hz is {value!r}' in refusal(tmp_path, sample_rate_hz=value)
    for value in (-1, 0.5, 'x', None):
        assert f'seed is {value!r}' in refusal(tmp_path, seed=value)
    assert "group is 'makam'" in refusal(tmp_path, group='makam')
    for group in ('artist', 'work+artist'):
        assert 'no artist is known' in refusal(tmp_path, group=group)


# Real data


@pytest.fixture(scope='module')
def real():
    if not (DATA / 'makam').is_dir():
        pytest.skip('GENRE_JAX_DATA/makam absent')
    return Source(root=str(DATA / 'makam'))


def test_the_whole_dataset_is_listed(real):
    """1000 recordings, 50 of each of 20 makams (docs/datasets/makam.md)."""
    recordings, quarantined = real.recordings()
    assert (len(recordings), quarantined) == (1000, [])
    labels, counts = np.unique([r.label for r in recordings], return_counts=True)
    assert len(labels) == 20 and set(counts) == {50}
    annotations = json.loads((DATA / 'makam' / 'annotations.json').read_text())
    for recording, item in zip(recordings, annotations, strict=True):
        assert recording.tonic_hz == item['tonic'] and recording.label == item['makam']
        assert item['mbid'].endswith(recording.track.split('/')[1])


def test_real_melodies_have_the_pitch_of_their_tracks(real):
    with np.load(DATA / 'makam' / 'otmm_makam_f0_x40_hop1024.npz') as archive:
        f0, offsets, mbids = archive['f0'] / 40, archive['offsets'], list(archive['mbid'])
    for recording in real.recordings()[0][::250]:
        place = mbids.index(recording.track.split('/')[1])
        f0_hz = f0[offsets[place] :][:500]
        audio = synth.render(f0_hz, 1024 / 44100, 44100)
        cents = measured_cents(audio, 44100, f0_hz, 1024 / 44100)
        assert len(cents) > 50
        assert np.median(np.abs(cents)) < 5 and np.percentile(np.abs(cents), 90) < 15
    audio = real.load(recording)
    assert len(audio) == 60 * 16000 and np.abs(audio).max() == pytest.approx(16384, abs=2)


def test_real_melodies_end_on_their_tonics(real):
    """The final of a makam is its tonic: so the annotations and the tracks belong together."""
    hits = []
    for recording in real.recordings()[0][::10]:
        f0_hz = real._tracks.f0_hz(recording)
        last = f0_hz[f0_hz > 0][-40:]  # about a second
        cents = 1200 * np.log2(np.median(last) / recording.tonic_hz)
        hits.append(abs((cents + 600) % 1200 - 600) < 50)
    assert np.mean(hits) > 0.6  # by chance 0.08
