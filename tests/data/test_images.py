"""Folders of pictures: what is read, what is left out, copies, the real pictures, a run."""

import collections
import pickle

import numpy as np
import pytest
from PIL import Image

from genre_jax.data import prepare
from genre_jax.data.images import Source
from genre_jax.errors import BadAudio, UserError
from genre_jax.loading import prepared
from genre_jax.run import look
from tests import program
from tests.program import DATA

HEIGHT, WIDTH = 6, 9


def pixels(seed, height=HEIGHT, width=WIDTH, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)


def save(path, array, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **settings)
    return path


@pytest.fixture
def root(tmp_path):
    """Two classes of three pictures."""
    for seed, name in enumerate(f'{label}/{i}' for label in ('jazz', 'rock') for i in range(3)):
        save(tmp_path / 'pictures' / f'{name}.png', pixels(seed))
    return tmp_path / 'pictures'


def load(root, track):
    source = Source(root=str(root))
    (recording,) = [r for r in source.recordings()[0] if r.track == track]
    return source.load(recording)


def refusal(root, **settings):
    with pytest.raises(UserError) as caught:
        source = Source(root=str(root), **settings)
        for recording in source.recordings()[0]:
            source.load(recording)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_folders_are_classes_and_pictures_are_songs(root):
    (root / 'jazz' / 'notes.txt').write_text('remarks')
    (root / 'jazz' / '.hidden.png').touch()
    (root / '.git').mkdir()
    (root / 'rock' / '2.png').rename(root / 'rock' / 'Z.PNG')
    source = Source(root=str(root))
    recordings, quarantined = source.recordings()
    assert quarantined == []
    assert [(r.track, r.label, r.path) for r in recordings] == [
        ('jazz/0', 'jazz', 'jazz/0.png'), ('jazz/1', 'jazz', 'jazz/1.png'),
        ('jazz/2', 'jazz', 'jazz/2.png'), ('rock/0', 'rock', 'rock/0.png'),
        ('rock/1', 'rock', 'rock/1.png'), ('rock/Z', 'rock', 'rock/Z.PNG'),
    ]  # fmt: skip
    assert len({r.group for r in recordings}) == 6 and source.group_key() == 'recording'
    assert source.kind == 'image' and source.sample_rate_hz() == 1
    sent = pickle.loads(pickle.dumps(source))
    for seed, recording in enumerate(recordings):
        picture = sent.load(recording)
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, pixels(seed)[None])


def test_every_kind_becomes_rgb(root):
    color, alpha = pixels(7), pixels(8, channels=1)
    save(root / 'jazz' / 'rgba.png', np.concatenate([color, alpha], -1))
    np.testing.assert_array_equal(load(root, 'jazz/rgba')[0], color)  # whatever shines through
    grey = pixels(9)[..., 0]
    save(root / 'jazz' / 'grey.png', grey)
    np.testing.assert_array_equal(load(root, 'jazz/grey')[0], np.stack([grey] * 3, -1))
    few = pixels(10) // 128 * 255  # 8 colours
    Image.fromarray(few).quantize(8).save(root / 'jazz' / 'palette.png')
    np.testing.assert_array_equal(load(root, 'jazz/palette')[0], few)
    save(root / 'jazz' / 'lossless.webp', color, lossless=True)
    np.testing.assert_array_equal(load(root, 'jazz/lossless')[0], color)
    save(root / 'jazz' / 'b.bmp', color)
    np.testing.assert_array_equal(load(root, 'jazz/b')[0], color)
    for compression in ('raw', 'tiff_lzw', 'tiff_adobe_deflate'):
        save(root / 'jazz' / 'more' / f'{compression}.tif', color, compression=compression)
        np.testing.assert_array_equal(load(root, f'jazz/more/{compression}')[0], color)


def test_nothing_below_the_root_vanishes(root):
    save(root / 'jazz' / 'takes' / '1.TIFF', pixels(30))
    save(root / 'top.png', pixels(31))
    for name in ('readme.md', 'jazz/notes.txt', 'pop/a.svg', 'pop/old/b.SVG'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('x')
    (root / 'blues').mkdir()
    source = Source(root=str(root))
    recordings, quarantined = source.recordings()
    (deeper,) = [r for r in recordings if r.track == 'jazz/takes/1']
    assert deeper.label == 'jazz' and deeper.path == 'jazz/takes/1.TIFF'
    assert {(q.path, q.reason) for q in quarantined} == {
        ('top.png', 'not inside a class folder'),
        ('pop/a.svg', 'format .svg is not read: convert it to PNG'),
        ('pop/old/b.SVG', 'format .svg is not read: convert it to PNG'),
    }
    assert source.notes()[:3] == [
        '2 files are no pictures by their suffix, and are not read: 1 .txt, 1 .md',
        "class 'blues' is left out: no file in it is read",
        "class 'pop' is left out: 2 files, format .svg is not read: convert it to PNG",
    ]


def test_folders_of_parts_are_the_official_split(root):
    for part in ('train', 'test'):
        for label in ('jazz', 'rock'):
            save(root.parent / 'parts' / part / label / f'{part}.png', pixels(len(part)))
    recordings, _ = Source(root=str(root.parent / 'parts')).recordings()
    assert {(r.label, r.split) for r in recordings} == {
        (label, part) for label in ('jazz', 'rock') for part in ('train', 'test')
    }


def bad_pictures(root):
    """Writes pictures that cannot be used; returns what is said about each."""
    save(root / 'jazz' / 'wide.png', pixels(20, width=WIDTH + 1))
    whole = save(root / 'jazz' / 'cut.png', pixels(21)).read_bytes()
    (root / 'jazz' / 'cut.png').write_bytes(whole[: len(whole) - 40])
    (root / 'rock' / 'head.png').write_bytes(whole[:20])
    (root / 'rock' / 'text.png').write_text('not a picture')
    (root / 'rock' / 'none.png').touch()
    deep = (pixels(22, channels=1)[..., 0].astype(np.uint16)) * 256
    save(root / 'rock' / 'deep.png', deep)
    damaged = bytearray(whole)
    damaged[60] ^= 0xFF
    (root / 'rock' / 'flipped.png').write_bytes(damaged)
    return {
        'jazz/wide.png': f'{WIDTH + 1} x {HEIGHT} pixels, where most have {WIDTH} x {HEIGHT}',
        'jazz/cut.png': 'damaged or unreadable: ',
        'rock/head.png': '',
        'rock/text.png': 'not a picture, or a format that is not read',
        'rock/none.png': 'not a picture, or a format that is not read',
        'rock/deep.png': 'grey values of more than 8 bits',
        'rock/flipped.png': 'damaged or unreadable: ',
    }


def test_bad_pictures_are_quarantined_with_the_reason(root, tmp_path):
    expected = bad_pictures(root)
    source = Source(root=str(root))
    for recording in source.recordings()[0]:
        if recording.path in expected:
            with pytest.raises(BadAudio) as caught:
                source.load(recording)
            assert expected[recording.path] in str(caught.value), recording.path
            assert str(root) not in str(caught.value) and '\n' not in str(caught.value)
    folder = prepare.prepare(source, tmp_path / 'prepared', 5.0)
    dataset = prepared.Dataset(folder)
    assert {item['path'] for item in dataset.manifest['quarantined']} == set(expected)
    assert dataset.stored(1.0).shape == (HEIGHT, WIDTH, 3)
    for seed, number in enumerate(range(len(dataset.tracks))):
        np.testing.assert_array_equal(dataset.read(number, 0, 1), pixels(seed))
    assert 'pictures' in prepare.summary(dataset.manifest)


def test_what_other_programs_would_open_is_no_picture(root, tmp_path):
    """PostScript is a program, which Pillow would have Ghostscript run, whatever the file is called."""
    save(tmp_path / 'a.eps', pixels(9)).rename(root / 'jazz' / 'eps.png')
    with pytest.raises(BadAudio, match='not a picture, or a format that is not read'):
        load(root, 'jazz/eps')


def test_copies_share_a_group_across_classes_and_formats(root, tmp_path):
    save(root / 'rock' / '1.png', pixels(0))
    save(root / 'rock' / 'web.webp', pixels(1), lossless=True)  # jazz/1 in another format
    again = (root / 'jazz' / '2.png').read_bytes()
    (root / 'jazz' / 'again.png').write_bytes(again)
    manifest = prepare.read_manifest(prepare.prepare(Source(root=str(root)), tmp_path / 'prepared', 5.0))
    groups = {track['track']: track['group'] for track in manifest['tracks']}
    assert groups['jazz/0'] == groups['rock/1']
    assert groups['jazz/1'] == groups['rock/web']
    assert groups['jazz/2'] == groups['jazz/again']
    assert len(set(groups.values())) == 5
    assert any('jazz/0.png (jazz) = rock/1.png (rock)' in note for note in manifest['notes'])
    assert any('jazz/1 (jazz) = rock/web (rock)' in note for note in manifest['notes'])


def test_artists_from_the_index(root, tmp_path):
    (root / 'jazz' / '0.png').rename(root / 'jazz' / 'jazz00000.png')
    (root / 'jazz' / '1.png').rename(root / 'jazz' / 'jazz.00001.png')
    index = tmp_path / 'index.txt'
    index.write_text('jazz.00000.wav ::: Ella ::: A\njazz.00001.wav ::: Ella ::: B\n')
    source = Source(root=str(root), index=str(index))
    artists = {r.track: (r.artist, r.group) for r in source.recordings()[0]}
    assert artists['jazz/jazz00000'] == artists['jazz/jazz.00001'] == ('Ella', 'artist:Ella')
    assert source.group_key() == 'artist, else recording'


def test_mistakes(root, tmp_path):
    assert 'config.data.root is no folder' in refusal('')
    assert 'nowhere is no folder' in refusal(tmp_path / 'nowhere')
    assert '0.png is no folder' in refusal(root / 'jazz' / '0.png')
    assert 'no class with pictures in it' in refusal(root / 'jazz')
    (tmp_path / 'one' / 'empty').mkdir(parents=True)
    save(tmp_path / 'one' / 'jazz' / 'a.png', pixels(0))
    assert "holds 1 class ('jazz')" in refusal(tmp_path / 'one')
    assert "class 'empty' is left out: no file in it is read" in refusal(tmp_path / 'one')
    save(tmp_path / 'one' / 'Jazz' / 'a.png', pixels(1))
    assert "'Jazz' and 'jazz' differ only" in refusal(tmp_path / 'one')
    for label in 'ab':
        (tmp_path / 'text' / label).mkdir(parents=True)
        (tmp_path / 'text' / label / 'x.png').write_text('not a picture')
    assert 'none of the 2 files' in refusal(tmp_path / 'text')
    save(root / 'rock' / '1.jpg', pixels(0))
    assert '2 pictures are called rock/1 but for their suffix' in refusal(root)
    assert 'none.txt is no file' in refusal(root, index=str(tmp_path / 'none.txt'))


# --- the real pictures ---------------------------------------------------------------------------


@pytest.mark.slow
def test_pairs_among_the_pictures_of_gtzan(tmp_path):
    folder = DATA / 'gtzan/images_original'
    if not folder.is_dir():
        pytest.skip(f'no {folder}: set GENRE_JAX_DATA')
    (tmp_path / 'some').mkdir()
    for label in ('hiphop', 'metal', 'rock'):
        (tmp_path / 'some' / label).symlink_to(folder / label)
    source = Source(root=str(tmp_path / 'some'))
    manifest = prepare.read_manifest(prepare.prepare(source, tmp_path / 'prepared', 5.0))
    assert len(manifest['tracks']) == 300 and not manifest['quarantined']
    groups = collections.defaultdict(set)
    for track in manifest['tracks']:
        groups[track['group']].add(track['track'].split('/')[1])
    pairs = [names for names in groups.values() if len(names) > 1]
    for pair in (
        {'metal00058', 'rock00016'}, {'hiphop00039', 'hiphop00045'}, {'metal00040', 'metal00061'},
    ):  # fmt: skip
        assert pair in pairs
    assert all(len(names) == 2 for names in pairs)
    # All of them, by Pillow alone.
    everything = collections.Counter()
    for path in sorted(folder.glob('*/*')):
        with Image.open(path) as picture:
            assert picture.size == (432, 288)
            everything[picture.convert('RGB').tobytes()] += 1
    assert sum(everything.values()) == 999 and collections.Counter(everything.values())[2] == 14


def test_the_published_pngs_are_the_pictures():
    folder, sample = (DATA / 'gtzan' / name for name in ('images_original', 'images_png_sample'))
    if not sample.is_dir():
        pytest.skip(f'no {sample}: set GENRE_JAX_DATA')
    source = Source(root=str(folder))
    recordings = {r.track.split('/')[1]: r for r in source.recordings()[0]}
    for path in sorted(sample.glob('*.png')):
        with Image.open(path) as picture:
            assert picture.mode == 'RGBA'
            theirs = np.asarray(picture)[..., :3]
        np.testing.assert_array_equal(source.load(recordings[path.stem])[0], theirs)


# --- training ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run(tmp_path):
    # Dark and bright pictures, with alpha as GTZAN's.
    for number, label in enumerate(('bright', 'dark')):
        for song in range(8):
            picture = pixels([number, song], 36, 40, 4) // 2 + 127 * (label == 'bright')
            save(tmp_path / 'pictures' / label / f'{song:02}.png', picture.astype(np.uint8))
    (tmp_path / 'pictures' / 'dark' / 'broken.png').write_text('not a picture')
    words = program.command(
        tmp_path / 'run', tmp_path / 'pictures', tmp_path / 'prepared',
        '--config.init.checkpoint=', '--config.optim.freeze=', '--config.features.height=32',
        '--config.features.width=32', '--config.model.hidden_units=(4,)',
        '--config.train.batch_size=8', '--config.train.length=1 epochs', '--config.eval.batch_size=8',
        '--config.tracking.wandb=off', page=program.ROOT / 'configs/vgg16_images.py',
    )  # fmt: skip
    done = program.run(words)
    assert done.returncode == 0, done.stderr
    result = program.result(tmp_path / 'run')
    assert result['classes'] == ['bright', 'dark']
    assert result['n_songs'] == result['n_segments'] and sum(result['n_songs'].values()) == 16
    assert result['quarantined']['count'] == 1
    assert np.isfinite(result['parts']['test']['song_max_probability']['log_loss'])
    pictures = look.Pictures.load(tmp_path / 'run' / 'look' / 'pictures.npz')
    assert pictures.kind == 'grad_cam' and pictures.saliency.shape[1:] == (32, 32)
    assert not (tmp_path / 'run' / 'look' / 'excerpts.json').exists()
