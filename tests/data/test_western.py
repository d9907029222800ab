"""Bluegrass, country and folk: which folders are taken, and the paper's list."""

import collections

import pytest

from genre_jax.data import prepare
from genre_jax.data.folder import Source as Folder
from genre_jax.data.western import Source, paper_counts
from genre_jax.errors import UserError
from tests import program
from tests.program import DATA

GENRES = ('bluegrass', 'country', 'folk')


def touch(root, **songs):
    """Writes empty files: listing and dividing does not open them."""
    for folder, count in songs.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            (root / folder / f'{number:03d}.wav').touch()
    return root


def refusal(root, **settings):
    with pytest.raises(UserError) as caught:
        source = Source(root=str(root), **settings)
        source.recordings()
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_folders_in_any_case(tmp_path):
    touch(tmp_path, Bluegrass=2, COUNTRY=1, folk=1)
    recordings, quarantined = Source(root=str(tmp_path)).recordings()
    assert quarantined == []
    assert [(r.track, r.label) for r in recordings] == [
        ('Bluegrass/000.wav', 'bluegrass'),
        ('Bluegrass/001.wav', 'bluegrass'),
        ('COUNTRY/000.wav', 'country'),
        ('folk/000.wav', 'folk'),
    ]


def test_a_csv_with_artists(tmp_path):
    touch(tmp_path, songs=4)
    (tmp_path / 'list.csv').write_text(
        'path,label,artist,title\nsongs/000.wav,Folk,Guthrie,One\nsongs/001.wav,Folk,Guthrie,Two\n'
        'songs/002.wav,Country,Cline,\nsongs/003.wav,bluegrass,,\n'
    )
    source = Source(root=str(tmp_path))
    recordings, _ = source.recordings()
    assert [(r.label, r.group, r.title) for r in recordings] == [
        ('folk', 'artist:Guthrie', 'One'),
        ('folk', 'artist:Guthrie', 'Two'),
        ('country', 'artist:Cline', ''),
        ('bluegrass', 'recording:songs/003.wav', ''),
    ]
    assert source.group_key() == 'artist, else recording'


@pytest.mark.parametrize(
    'songs, parts',
    [
        ({'bluegrass': 1, 'country': 1, 'folk': 1, 'rock': 1}, ("'rock'", 'rock/000.wav', *GENRES)),
        ({'bluegrass': 1, 'country': 1, 'folk-rock': 1}, ("'folk-rock'",)),
        ({'bluegrass': 1, 'country': 1}, ('no recording of folk', 'expected all of')),
        ({'bluegrass': 1, 'country': 1, 'folk': 0}, ('no recording of folk',)),
        ({'bluegrass': 1}, ("1 class ('bluegrass')",)),
        ({'Folk': 1, 'folk': 1, 'country': 1, 'bluegrass': 1}, ("'Folk'", "'folk'", 'differ only')),
        ({}, ('no class',)),
    ],
)
def test_other_classes_are_refused(tmp_path, songs, parts):
    touch(tmp_path, **songs)
    message = refusal(tmp_path)
    assert all(part in message for part in (str(tmp_path), *parts)), message


def test_wrong_settings(tmp_path):
    touch(tmp_path, bluegrass=1, country=1, folk=1)
    for seed in (-1, 1.5, 'x', None):
        assert f'paper_seed is {seed!r}' in refusal(tmp_path, paper_seed=seed)
    assert "group is 'band'" in refusal(tmp_path, group='band')
    assert 'does not exist' in refusal(tmp_path / 'nowhere')
    assert 'sample_rate_hz' in refusal(tmp_path, sample_rate_hz=32)
    assert 'not set' in refusal('')


def test_the_papers_shares(tmp_path):
    """360 songs, 75/10/15 % of each genre: 270, 36 and 54 songs (section 3)."""
    touch(tmp_path, **dict.fromkeys(GENRES, 120))
    source = Source(root=str(tmp_path))
    labels = {r.track: r.label for r in source.recordings()[0]}
    paper = source.protocols()['paper']
    assert paper.keys() == labels.keys()
    counts = collections.Counter((labels[track], part) for track, part in paper.items())
    for genre in GENRES:
        assert [counts[genre, part] for part in ('train', 'val', 'test')] == [90, 12, 18]


def test_every_number_of_songs_is_divided_as_closely_as_can_be():
    for n_songs in range(200):
        counts = paper_counts(n_songs)
        assert sum(counts.values()) == n_songs and min(counts.values()) >= 0
        shares = {'train': 0.75 * n_songs, 'val': 0.10 * n_songs, 'test': 0.15 * n_songs}
        # From here on no part would be empty, and the rule is that of largest remainders.
        if n_songs >= 7:
            assert all(abs(counts[part] - share) < 1 for part, share in shares.items())
        if n_songs >= 3:
            assert min(counts.values()) >= 1
    assert paper_counts(3) == {'train': 1, 'val': 1, 'test': 1}
    assert paper_counts(1) == {'train': 1, 'val': 0, 'test': 0}


def test_the_list_depends_on_names_and_seed_alone(tmp_path):
    touch(tmp_path / 'one', **dict.fromkeys(GENRES, 20))
    touch(tmp_path / 'two', **dict.fromkeys(GENRES, 20))
    (tmp_path / 'two' / 'folk' / 'more.wav').touch()
    for number in range(20):  # other content, another date
        (tmp_path / 'two' / 'country' / f'{number:03d}.wav').write_bytes(bytes([number]))

    def paper(name, **settings):
        return Source(root=str(tmp_path / name), **settings).protocols()['paper']

    one, two = paper('one'), paper('two')
    assert one == paper('one')
    assert all(one[track] == two[track] for track in one if not track.startswith('folk'))
    other = paper('one', paper_seed=1)
    assert other != one
    assert collections.Counter(other.values()) == collections.Counter(one.values())
    # Not the order of the names: 15 of 20 songs train, which are hardly the first 15.
    assert {track for track in one if one[track] == 'train'} != {
        f'{genre}/{number:03d}.wav' for genre in GENRES for number in range(15)
    }
    assert Source(root=str(tmp_path / 'one'), paper_seed=1).fingerprint != (
        Source(root=str(tmp_path / 'one')).fingerprint
    )


def test_stretches_of_a_song_go_together(tmp_path):
    touch(tmp_path, songs=30)
    rows = [
        f'songs/{number:03d}.wav,{GENRES[number % 3]},{start},{start + 20}'
        for number in range(30)
        for start in (0, 20, 40)
    ]
    (tmp_path / 'list.csv').write_text('\n'.join(['path,label,start_s,end_s', *rows]))
    paper = Source(root=str(tmp_path)).protocols()['paper']
    assert len(paper) == 90
    parts = collections.defaultdict(set)
    for track, part in paper.items():
        parts[track.split('#')[0]].add(part)
    assert len(parts) == 30 and all(len(found) == 1 for found in parts.values())


@pytest.mark.slow
def test_the_page_trains(tmp_path):
    """configs/cnn14_western.py from end to end, with the smallest of the networks on short windows."""
    classes = (('Bluegrass', 220), ('country', 660), ('FOLK', 1760))
    program.write_tones(tmp_path / 'songs', sample_rate_hz=16000, classes=classes)
    flags = (
        '--config.data.sample_rate_hz=16000', '--config.windows.window_s=1.',
        '--config.windows.train_per_track=1', '--config.windows.eval_per_track=2',
        '--config.init.checkpoint=', '--config.model.variant=cnn6',
        '--config.optim.warmup=1 steps',
        '--config.train.batch_size=4', '--config.eval.batch_size=8',
        '--config.train.length=3 steps',
        '--config.tracking.wandb=off',
    )  # fmt: skip
    page = program.ROOT / 'configs' / 'cnn14_western.py'
    words = program.command(tmp_path / 'run', tmp_path / 'songs', tmp_path / 'prepared', *flags, page=page)
    ended = program.run(words)
    assert ended.returncode == 0, ended.stderr
    result = program.result(tmp_path / 'run')
    assert sum(result['n_songs'].values()) == 24 and result['protocol'] == 'grouped'
    (manifest,) = (tmp_path / 'prepared' / 'western').glob('*/manifest.json')
    content = prepare.read_manifest(manifest.parent)
    assert content['labels'] == list(GENRES)
    assert len(content['protocols']['paper']) == 24


@pytest.mark.skipif(not (DATA / 'game_music').is_dir(), reason='GENRE_JAX_DATA/game_music absent')
def test_real_folders_under_other_names(tmp_path):
    """Three classes of real recordings are read as data/folder reads them."""
    for name, genre in zip(('nexuiz', 'warzone2100', 'wesnoth_orchestral'), GENRES, strict=True):
        (tmp_path / genre.upper()).symlink_to(DATA.resolve() / 'game_music' / name)
    source, folder = Source(root=str(tmp_path)), Folder(root=str(tmp_path))
    ours, theirs = source.recordings()[0], folder.recordings()[0]
    assert [(r.track, r.group, r.label.upper()) for r in ours] == [
        (r.track, r.group, r.label) for r in theirs
    ]
    assert source.files() == folder.files() and source.sample_rate_hz() == 22050
    assert (source.load(ours[0]) == folder.load(theirs[0])).all()
