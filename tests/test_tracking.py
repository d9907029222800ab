"""What Weights & Biases and TensorBoard are told, read by the format's own rules."""

import json
import struct
import types

import google_crc32c
import numpy as np
import pytest
import wandb
from tensorboardX.proto import event_pb2

from genre_jax import tracking
from genre_jax.config import keys

CLASSES = ['a | b', '</script>$x$', 'c']


def masked(data):
    """The checksum of a TFRecord: CRC-32C, turned and shifted."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(folder):
    """Reads all event files of a folder in the order of their names, and checks the checksums."""
    found = []
    for file in sorted(folder.glob('*events*')):
        content, at = file.read_bytes(), 0
        while at < len(content):
            length, of_length = struct.unpack_from('<QI', content, at)
            data = content[at + 12 : at + 12 + length]
            (of_data,) = struct.unpack_from('<I', content, at + 12 + length)
            assert (of_length, of_data) == (masked(content[at : at + 8]), masked(data))
            found.append(event_pb2.Event.FromString(data))
            at += 16 + length
    return found


def scalars(folder):
    return [
        (value.tag, event.step, value.simple_value)
        for event in events(folder)
        for value in event.summary.value
        if value.HasField('simple_value')
    ]


def result_of(steps=8):
    confusion = [[2, 1, 0], [0, 3, 0], [1, 0, 0]]
    figures = {'accuracy': 0.5, 'macro_f1': 0.4, 'log_loss': 1.5, 'confusion': confusion}
    per_class = {name: {'precision': 0.5, 'recall': 0.25, 'f1': 1 / 3, 'support': 3} for name in CLASSES}
    song = figures | {'per_class': per_class}
    parts = {'segment': song, 'song_max_probability': song, 'song_majority': song | {'log_loss': None}}
    return {
        'steps': steps, 'classes': CLASSES, 'parts': {'test': parts}, 'protocol': 'grouped', 'chance': 1 / 3,
        'parameters_sha256': '0' * 64,
    }  # fmt: skip


def folder_of_a_run(workdir):
    """Puts what a run leaves for its page into a folder."""
    (workdir / 'look').mkdir(parents=True)
    (workdir / 'predictions').mkdir()
    n = 12
    np.savez(
        workdir / 'predictions' / 'test.npz', classes=np.array(CLASSES), label=np.arange(n) % 3,
        probabilities=np.eye(3)[np.arange(n) % 2], track=np.array([f'song {i}' for i in range(n)]),
        start_s=np.arange(n, dtype=np.float32),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    places = rng.standard_normal((6, 2)).astype(np.float32)
    np.savez(workdir / 'look' / 'map.npz', row=np.arange(0, n, 2, dtype=np.int32), pca=places, tsne=places)
    (workdir / 'look' / '0000.opus').write_bytes(b'OggS')
    sound = {'track': 'song 0', 'start_s': 0.0, 'end_s': 1.0, 'file': '0000.opus', 'file_start_s': 0.0}
    (workdir / 'look' / 'excerpts.json').write_text(json.dumps([sound]))
    (workdir / 'report.html').write_text('<!doctype html>')
    (workdir / 'result.json').write_text(json.dumps(result_of()))


@pytest.fixture
def config():
    config = keys.get_config()
    config.tracking.wandb, config.tracking.tensorboard = 'off', True
    return config


def test_tensorboard_has_every_step_once_however_often_a_run_was_cut_off(tmp_path, config):
    (book,) = tracking.start(tmp_path, config)
    book.rewind(0)
    for step in (2, 4, 6):
        book.log({'train/loss': 1 / step, 'epoch': step / 2}, step)
        book.log({'epoch': step / 2}, step)  # as the line of a validation does
    book.close()
    (file,) = (tmp_path / 'tensorboard').glob('events.*')
    before = {event.step: event.wall_time for event in events(file.parent)}
    with file.open('ab') as stream:  # as a kill in the middle of a write leaves it
        stream.write(struct.pack('<QI', 1000, 0) + b'cut')
    (book,) = tracking.start(tmp_path, config)
    book.rewind(4)
    for step in (6, 8):
        book.log({'train/loss': 1 / step, 'epoch': step / 2}, step)
    book.close()
    assert len(list((tmp_path / 'tensorboard').iterdir())) == 2
    expected = [(name, step) for step in (2, 4, 6, 8) for name in ('train/loss', 'epoch')]
    found = scalars(tmp_path / 'tensorboard')
    assert [(tag, step) for tag, step, _ in found] == expected
    for tag, step, value in found:
        assert value == pytest.approx(1 / step if tag == 'train/loss' else step / 2)
    after = {event.step: event.wall_time for event in events(tmp_path / 'tensorboard')}
    assert after[2] == before[2] and after[6] > before[6]


def test_tensorboard_has_the_end_of_a_run(tmp_path, config):
    folder_of_a_run(tmp_path)
    (book,) = tracking.start(tmp_path, config)
    book.rewind(0)
    book.finish(result_of())
    book.keep_page()
    book.close()
    found = {(tag, step): value for tag, step, value in scalars(tmp_path / 'tensorboard')}
    assert found['test/song_max_probability/accuracy', 8] == 0.5
    assert ('test/song_majority/log_loss', 8) not in found
    values = {value.tag: value for event in events(tmp_path / 'tensorboard') for value in event.summary.value}
    for name in ('test/confusion_matrix', 'test/map'):
        assert values[name].image.encoded_image_string.startswith(b'\x89PNG')
        assert values[name].image.width > 100
    text = values['test/per_class/text_summary'].tensor.string_val[0].decode()
    assert '| a &#124; b | 0.5 | 0.25 |' in text
    settings = values['_hparams_/session_start_info'].metadata.plugin_data.content
    assert b'optim.learning_rate' in settings and b'shallow_cnn' in settings


def test_what_nobody_asked_for_leaves_nothing_behind(tmp_path, config):
    config.tracking.tensorboard = False
    assert tracking.start(tmp_path, config) == []
    assert list(tmp_path.iterdir()) == []


def test_wandb_keeps_tables_sound_and_the_page_offline(tmp_path, config, monkeypatch):
    """In the files that `wandb sync` uploads, and which name the run folder's own for the page."""
    for name in ('WANDB_MODE', 'WANDB_API_KEY', 'WANDB_BASE_URL'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('WANDB_DATA_DIR', str(tmp_path / 'data'))
    monkeypatch.setenv('WANDB_CONFIG_DIR', str(tmp_path / 'config'))
    monkeypatch.setenv('WANDB_CACHE_DIR', str(tmp_path / 'cache'))
    workdir = tmp_path / 'run'
    folder_of_a_run(workdir)
    config.tracking.wandb, config.tracking.tensorboard = 'offline', False
    (book,) = tracking.start(workdir, config)
    book.rewind(0)
    book.log({'train/loss': 0.5}, 2)
    book.finish(result_of())
    book.keep_page()
    book.close()
    wandb.teardown()  # it writes in a process of its own
    (folder,) = (workdir / 'wandb').glob('offline-run-*')
    (file,) = folder.glob('*.wandb')
    content = file.read_bytes()
    for name in (b'test/confusion_matrix', b'test/per_class', b'test/map', b'test/sounds', b'page-'):
        assert name in content, name
    for name in ('report.html', 'result.json', 'look/map.npz', 'look/0000.opus'):
        assert str(workdir / name).encode() in content, name
    tables = {path.name.split('_')[0]: json.loads(path.read_text()) for path in folder.rglob('*.table.json')}
    assert tables['map']['columns'] == ['x', 'y', 'true', 'predicted', 'song', 'start_s']
    assert [row[2:] for row in tables['map']['data']][1] == ['c', 'a | b', 'song 2', 2.0]
    (row,) = (row for row in tables['per']['data'] if row[0] == 'c')
    assert row == ['c', 0.5, 0.25, pytest.approx(1 / 3), 3]
    (sound,) = folder.rglob('*.opus')
    assert sound.read_bytes() == b'OggS'


def test_a_mode_that_wandb_does_not_have(tmp_path, config, monkeypatch, caplog):
    monkeypatch.setenv('WANDB_MODE', 'onlin')
    config.tracking.wandb, config.tracking.tensorboard = 'auto', False
    assert tracking.start(tmp_path, config) == []
    assert 'WANDB_MODE=onlin: expected one of online, offline, disabled' in caplog.text


def test_what_fails_ends_tracking_and_not_the_run(tmp_path, config, caplog):
    from genre_jax.logbook import Logbook

    config.tracking.tensorboard = False
    book = Logbook(tmp_path, config)
    told = []
    bad = types.SimpleNamespace(name='bad', log=lambda *_: 1 / 0)
    good = types.SimpleNamespace(name='good', log=lambda values, step: told.append(step))
    book._trackers = [bad, good]
    book.write(1, 0.5, {})
    book.write(2, 1.0, {})
    assert told == [1, 2] and caplog.text.count('bad is off from here on') == 1
