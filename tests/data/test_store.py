"""What is decoded and stored, counted, when names, labels and folders change."""

import concurrent.futures
import errno
import hashlib
import os
import pathlib
import shutil
import time
import unicodedata

import numpy as np
import pytest
import soundfile

from genre_jax.config import keys
from genre_jax.data import audio, prepare
from genre_jax.errors import UserError
from genre_jax.loading import prepared, run_data

RATE_HZ = 8000


@pytest.fixture
def root(tmp_path):
    """Six noisy tones of two classes, which have lain there for a while."""
    folder = tmp_path / 'songs'
    for number, name in enumerate(f'{label}/{i}' for label in ('high', 'low') for i in range(3)):
        write(folder / f'{name}.wav', number)
    return folder


def write(path, seed, seconds=1.5, age_s=60):
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = np.sin(2 * np.pi * (200 + 90 * seed) * np.arange(seconds * RATE_HZ) / RATE_HZ)
    soundfile.write(path, 0.3 * tone + 0.1 * rng.standard_normal(len(tone)), RATE_HZ)
    os.utime(path, (time.time() - age_s,) * 2)


@pytest.fixture
def decoded(monkeypatch):
    """The files that were decoded, in this process."""
    names = []

    def count(path, *arguments):
        names.append(pathlib.Path(path).name)
        return load(path, *arguments)

    load = audio.decode
    monkeypatch.setattr(audio, 'decode', count)
    monkeypatch.setattr(
        'genre_jax.data.decode._decode_here',
        lambda source, clips: [prepare.store.decode._decode_one(source, clip) for clip in clips],
    )
    return names


def settings(root, **more):
    config = keys.get_config()
    config.data.root, config.data.prepared_dir = str(root), str(root.parent / 'prepared')
    for key, value in more.items():
        config.data[key] = value
    return config


def opened(root, **more):
    return prepared.Dataset(prepare.from_settings(settings(root, **more).data))


def sounds(dataset):
    return {track['track']: dataset.read(i, 0, track['n_samples']) for i, track in enumerate(dataset.tracks)}


def n_bytes(root):
    files = (root.parent / 'prepared').rglob('*array_record*')
    return sum(file.stat().st_size for file in files)


def test_a_corrected_label_decodes_and_stores_nothing(root, decoded, monkeypatch):
    before = sounds(opened(root))
    size = n_bytes(root)
    assert sorted(decoded) == sorted([f'{i}.wav' for i in range(3)] * 2)
    monkeypatch.setattr('genre_jax.data.fingerprint.fingerprint', pytest.fail)
    (root / 'low' / '1.wav').rename(root / 'high' / '3.wav')
    decoded.clear()
    dataset = opened(root)
    assert not decoded and n_bytes(root) == size
    after = sounds(dataset)
    np.testing.assert_array_equal(after.pop('high/3.wav'), before.pop('low/1.wav'))
    assert after.keys() == before.keys()
    assert all((after[name] == before[name]).all() for name in after)
    labels = {track['track']: track['label'] for track in dataset.tracks}
    assert labels['high/3.wav'] == 'high' and list(labels.values()).count('low') == 2


def test_the_records_hold_sound_alone(root):
    dataset = opened(root)
    (file,) = (root.parent / 'prepared').rglob('*array_record*')
    content = file.read_bytes()
    assert b'high' not in content and b'low' not in content and b'.wav' not in content
    # ArrayRecord rounds up to blocks of 64 KiB.
    assert n_bytes(root) < sum(2 * track['n_samples'] for track in dataset.tracks) + 2**17


def test_batches_lie_in_any_order(root, decoded):
    """Batches are named by what they hold: one that came later may stand before the others."""
    for number in range(6, 11):
        opened(root)
        write(root / 'low' / f'{number}.wav', number)
    for name, sound in sounds(opened(root)).items():
        np.testing.assert_array_equal(sound, audio.decode(str(root / name), RATE_HZ))


def test_an_added_and_a_changed_file_cost_themselves_alone(root, decoded):
    opened(root)
    decoded.clear()
    write(root / 'low' / 'new.wav', 7)
    write(root / 'low' / '0.wav', 8)
    dataset = opened(root)
    assert sorted(decoded) == ['0.wav', 'new.wav']
    for name, sound in sounds(dataset).items():
        expected = audio.decode(str(root / name), RATE_HZ)
        np.testing.assert_array_equal(sound, expected)
    decoded.clear()
    (root / 'high' / '2.wav').unlink()
    assert len(opened(root).tracks) == 6 and not decoded


def test_a_moved_and_a_copied_folder_decode_nothing(root, decoded):
    fingerprint = opened(root).manifest['fingerprint']
    decoded.clear()
    moved = root.rename(root.with_name('moved'))
    assert opened(moved).manifest['fingerprint'] == fingerprint
    shutil.copytree(moved, moved.with_name('copied'))
    dataset = opened(moved.with_name('copied'))
    assert dataset.manifest['fingerprint'] == fingerprint and not decoded


def test_copies_are_stored_once(root, decoded):
    shutil.copy(root / 'low' / '0.wav', root / 'low' / 'again.wav')
    dataset = opened(root)
    assert len(dataset.tracks) == 7 and len(decoded) == 6
    found = sounds(dataset)
    np.testing.assert_array_equal(found['low/0.wav'], found['low/again.wav'])


def test_a_prepared_dataset_needs_no_recordings(root, caplog):
    before = opened(root)
    gone = root.rename(root.with_name('elsewhere'))
    after = opened(root)
    assert f'{root} is gone' in caplog.text and after.folder == before.folder
    same = opened(root, sample_rate_hz=None, group='auto')  # as the defaults say anyway
    assert same.folder == before.folder
    with pytest.raises(UserError, match=f'does not exist.*config.data.prepared={before.folder}'):
        opened(root, sample_rate_hz=4000)  # never prepared
    config = settings(root.with_name('never'))
    config.data.prepared = str(before.folder)
    dataset = run_data.open_dataset(config)
    assert sounds(dataset).keys() == sounds(before).keys()
    config.data.prepared = str(gone)
    with pytest.raises(UserError, match=r'config\.data\.prepared=.*manifest'):
        run_data.open_dataset(config)


def test_files_are_hashed_when_size_or_time_differ(root, monkeypatch):
    hashed = []
    digest = hashlib.file_digest

    def count(file, kind):
        hashed.append(pathlib.Path(file.name).name)
        return digest(file, kind)

    monkeypatch.setattr('genre_jax.data.digests.hashlib.file_digest', count)
    first = opened(root)
    assert len(hashed) == 6
    assert opened(root).folder == first.folder and len(hashed) == 6
    facts = os.stat(root / 'low' / '0.wav')
    write(root / 'low' / '0.wav', 9)
    os.utime(root / 'low' / '0.wav', ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert opened(root).folder == first.folder  # neither differs: not seen,
    verified = prepare.from_settings(settings(root).data, verify=True)
    assert verified != first.folder and len(hashed) == 12  # but for this
    write(root / 'low' / '1.wav', 10, age_s=0)  # as just written: not remembered
    opened(root)
    opened(root)
    assert hashed[12:] == ['1.wav', '1.wav']


def test_damage_is_named_and_mended_by_deleting_what_is_named(root, decoded):
    dataset = opened(root)
    (file,) = (root.parent / 'prepared').rglob('*array_record*')
    batch = dataset.folder.parent / 'records' / next(iter(dataset.manifest['batches']))
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b'half', b''):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=f'{batch}.* delete'):
            sounds(opened(root))
    decoded.clear()
    shutil.rmtree(batch)
    assert len(sounds(opened(root))) == 6 and len(decoded) == 6
    (dataset.folder / 'tracks.arrow').write_bytes(b'ARROW1')
    with pytest.raises(UserError, match=f'delete {dataset.folder}'):
        opened(root)
    shutil.rmtree(dataset.folder)
    decoded.clear()
    assert len(sounds(opened(root))) == 6 and not decoded


def test_pruning_deletes_what_nothing_needs(root, tmp_path, capsys):
    home = tmp_path / 'prepared' / 'folder'
    superseded = opened(root).folder
    (root / 'low' / '1.wav').unlink()
    write(root / 'low' / '0.wav', 8)
    kept = opened(root)
    other = opened(root, sample_rate_hz=4000)  # another setting is another preparation
    shutil.rmtree(other.folder)
    old = home / '0123456789abcdef'
    (old / 'tfds').mkdir(parents=True)
    (old / 'manifest.json').write_text('{}')
    words = ['--prune', f'--prepared_dir={tmp_path / "prepared"}']
    prepare.main(words)
    shown = capsys.readouterr().out
    marked = {line.split()[3] for line in shown.splitlines() if ' prune ' in line}
    (records,) = set(other.manifest['batches'])
    assert marked == {str(superseded), str(old), str(home / 'records' / records)}
    assert old.exists() and '--yes' in shown
    before = sounds(kept)
    prepare.main([*words, '--yes'])
    assert not any(map(os.path.exists, marked))
    assert sounds(opened(root)).keys() == before.keys()
    prepare.main(words)
    assert ' prune ' not in capsys.readouterr().out.split('can be freed')[-2]
    with pytest.raises(UserError, match='no folder'):
        prepare.main(['--prune', f'--prepared_dir={tmp_path / "nowhere"}'])


def test_classes_are_named_in_either_spelling_of_an_accent(root, decoded):
    composed, decomposed = (unicodedata.normalize(form, 'forr\u00f3') for form in ('NFC', 'NFD'))
    (root / 'high').rename(root / decomposed)
    folder = prepare.from_settings(settings(root).data)
    for name in (composed, decomposed):
        assert prepared.Dataset(folder, [name, 'low']).labels == [decomposed, 'low']


def test_a_thread_prepares_as_the_program_does(root):
    """Only the main thread may say what signals do."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        dataset = pool.submit(opened, root).result()
    assert len(dataset.tracks) == 6


def test_a_bucket_that_renames_no_folders_is_refused(root, monkeypatch):
    rename = os.rename

    def of_files(source, target):
        if os.path.isdir(source):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        return rename(source, target)

    monkeypatch.setattr(os, 'rename', of_files)
    with pytest.raises(UserError, match=r'prepared_dir=.*folders cannot be renamed there \(Function'):
        prepare.from_settings(settings(root).data)
