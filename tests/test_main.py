"""The program from end to end: what a run leaves behind, and on how many devices and processes."""

import gzip
import json
import shutil
import sys

import numpy as np
import pytest
import soundfile

from genre_jax.evaluation.evaluate import Predictions
from tests import program, test_tracking


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp('program')
    program.write_tones(folder / 'tones')
    # Files of all the kinds that are left out, among those that are used.
    bad = folder / 'tones' / 'low'
    (bad / 'empty.wav').touch()
    (bad / 'text.wav').write_text('This is no audio.')
    soundfile.write(bad / 'silent.flac', np.zeros(22050), 22050)
    whole = (bad / '00.wav').read_bytes()
    (bad / 'cut.wav').write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope='module')
def finished(places):
    """One run with W&B, from the first step to the page, under the emulated guard of accelerators."""
    workdir = places / 'finished'
    flags = ('--config.tracking.wandb=auto', '--config.tracking.tensorboard=True', '--profile=3')
    flags = ('--config.report.look=True', *flags)
    words = program.command(workdir, places / 'tones', places / 'prepared', *flags)
    there = ['tests.other_machine' if word == 'genre_jax.main' else word for word in words]
    outside = {'HOME': str(places), 'NETRC': str(places / 'none'), 'MACHINE': 'guarded,mac'}
    ended = program.run(there, env=program.environment(**outside))
    assert ended.returncode == 0, ended.stderr
    return workdir, ended, words


def test_a_run_leaves_everything_behind(finished):
    workdir, ended, _ = finished
    result = program.result(workdir)
    assert result['protocol'] == 'grouped'
    assert sum(result['n_songs'].values()) == 24
    assert result['chance'] == pytest.approx(1 / 3)
    for kind in ('segment', 'song_max_probability', 'song_majority'):
        figures = result['parts']['test'][kind]
        low, high = figures['accuracy_ci95']
        assert low <= figures['accuracy'] <= high
        assert np.trace(figures['confusion']) / np.sum(figures['confusion']) == figures['accuracy']
    assert set(result) >= {
        'parameters_sha256',
        'state_sha256',
        'majority',
        'quarantined',
        'n_groups',
    }
    assert json.loads((workdir / 'config.json').read_text())['data']['root']
    environment = json.loads((workdir / 'environment.json').read_text())
    assert environment['dataset']['recordings'] == 24 and environment['packages']['jax']
    table = (workdir / 'parameters.txt').read_text()
    assert 'conv_left.kernel' in table and 'total' in table
    assert (workdir / 'report.html').read_text().startswith('<!')
    assert f'page:       {workdir}/report.html' in ended.stdout
    assert 'chance' in ended.stdout and 'majority class' in ended.stdout


def test_the_time_of_the_training_is_accounted_for(finished):
    workdir, ended, _ = finished
    timing = json.loads((workdir / 'timing.json').read_text())
    parts_s = timing['train_parts_s']
    assert set(parts_s) == {'compute', 'data', 'compile', 'evaluate', 'save', 'other'}
    assert min(parts_s.values()) >= 0
    assert sum(parts_s.values()) == pytest.approx(timing['train_s'], abs=0.01)
    (line,) = (line for line in ended.stdout.splitlines() if line.startswith('training: '))
    assert f'compile {100 * parts_s["compile"] / timing["train_s"]:.0f} %' in line
    for file in ('metrics.jsonl', 'result.json'):
        assert '_s"' not in (workdir / file).read_text() and 'gradient' not in (workdir / file).read_text()


def test_a_profile_has_the_steps_after_the_first(finished):
    """One step a dispatch: so many are traced, no fewer and no more."""
    (file,) = (finished[0] / 'profile').glob('plugins/profile/*/*.trace.json.gz')
    events = json.loads(gzip.decompress(file.read_bytes()))['traceEvents']
    steps = [event['args']['step_num'] for event in events if event.get('name') == 'train']
    assert sorted(map(int, steps)) == [1, 2, 3]
    (planes,) = file.parent.glob('*.xplane.pb')
    assert planes.stat().st_size


def test_the_network_learns_the_tones(finished):
    workdir, _, _ = finished
    assert program.result(workdir)['parts']['test']['segment']['accuracy'] > 0.6
    losses = [line['train/loss'] for line in program.metrics(workdir) if 'train/loss' in line]
    assert losses[-1] < losses[0]


def test_predictions_give_the_figures_of_the_result(finished):
    workdir, _, _ = finished
    for part in ('val', 'test'):
        predictions = Predictions.load(workdir / 'predictions' / f'{part}.npz')
        np.testing.assert_allclose(predictions.probabilities.sum(-1), 1, rtol=1e-5)
        hits = predictions.probabilities.argmax(-1) == predictions.label
        assert hits.mean() == program.result(workdir)['parts'][part]['segment']['accuracy']
        assert all(
            track.split('/')[0] == predictions.classes[label]
            for track, label in zip(predictions.track, predictions.label, strict=True)
        )


def test_unusable_files_are_named_and_counted(finished):
    workdir, ended, _ = finished
    reasons = {item['path']: item['reason'] for item in program.result(workdir)['quarantined']['files']}
    assert set(reasons) == {f'low/{name}' for name in ('empty.wav', 'text.wav', 'silent.flac', 'cut.wav')}
    assert 'quarantined: 4 files' in ended.stdout
    for path, reason in reasons.items():
        assert f'quarantined {path}: {reason}' in ended.stderr
        assert path in (workdir / 'report.html').read_text()


def test_wandb_keeps_its_files_for_a_later_sync(finished):
    workdir, ended, _ = finished
    (folder,) = (workdir / 'wandb').glob('offline-run-*')
    (file,) = folder.glob('*.wandb')
    content = file.read_bytes()
    tracked = (b'time/compute_s', b'time/compile_s', b'train/examples_per_s', b'train/gradient_norm')
    ended_with = (b'test/confusion_matrix', b'test/per_class', b'test/map', b'test/sounds', b'report.html')
    for name in (b'val/song_max_probability/accuracy', b'train/loss', *ended_with, *tracked):
        assert name in content, name
    assert f'wandb sync {folder}' in ended.stdout


def test_tensorboard_has_the_lines_of_the_log(finished):
    workdir, _, _ = finished
    scalars = test_tracking.scalars(workdir / 'tensorboard')
    found = {(tag, step): value for tag, step, value in scalars}
    assert len(found) == len(scalars)
    lines = [(line.pop('step'), line) for line in program.metrics(workdir)]
    for step, line in lines:
        for name, value in line.items():
            assert found[name, step] == pytest.approx(value, rel=1e-6)
    test, last = program.result(workdir)['parts']['test'], max(step for step, _ in lines)
    assert found['test/segment/accuracy', last] == pytest.approx(test['segment']['accuracy'])
    assert ('time/compute_s', last) in found


def test_a_finished_run_is_shown_again_and_not_repeated(finished):
    workdir, first, words = finished
    before = (workdir / 'result.json').stat().st_mtime_ns
    again = program.run(words)
    assert again.returncode == 0 and 'holds a finished run' in again.stdout
    assert (workdir / 'result.json').stat().st_mtime_ns == before
    numbers = first.stdout[first.stdout.index('test: ') : first.stdout.index('run folder:')]
    assert numbers in again.stdout


# The published rate, a tenth of the page's. Where rounding decides which of two equal values max pooling
# takes, the gradient jumps, and the losses with it by about 2e-5 at the page's rate, once in a few runs.
_SLOW = '--config.optim.learning_rate=5e-5'


@pytest.fixture(scope='module')
def on_one_device(places):
    workdir = places / 'one_device'
    ended = program.run(program.command(workdir, places / 'tones', places / 'prepared', _SLOW))
    assert ended.returncode == 0, ended.stderr
    return workdir


def losses_agree(one, other):
    pairs = zip(program.metrics(one), program.metrics(other), strict=True)
    figures = [(a[key], b[key]) for a, b in pairs for key in a if 'loss' in key or key.endswith('entropy')]
    assert len(figures) >= 6 * 5
    np.testing.assert_allclose(*zip(*figures, strict=True), rtol=1e-5)


@pytest.mark.slow
def test_eight_devices_give_the_losses_of_one(on_one_device, places):
    workdir = places / 'eight_devices'
    words = program.command(workdir, places / 'tones', places / 'prepared', _SLOW)
    ended = program.run(words, env=program.environment(devices=8))
    assert ended.returncode == 0, ended.stderr
    assert json.loads((workdir / 'environment.json').read_text())['devices'] == 8
    losses_agree(on_one_device, workdir)


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(on_one_device, places):
    workdir = places / 'two_processes'
    flags = program.command(workdir, places / 'tones', places / 'prepared', _SLOW)[3:]
    words = [
        sys.executable,
        'launch/local.py',
        '--processes=2',
        '--devices_per_process=2',
        '--',
        *flags,
    ]
    ended = program.run(words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    environment = json.loads((workdir / 'environment.json').read_text())
    assert (environment['processes'], environment['devices']) == (2, 4)
    losses_agree(on_one_device, workdir)


@pytest.mark.slow
def test_a_mesh_that_alternates_between_the_hosts_gives_the_same_figures(on_one_device, places):
    """As those of TPU pods do: rows of one host are no neighbours."""
    workdir = places / 'interleaved'
    flags = program.command(workdir, places / 'tones', places / 'prepared', _SLOW)[3:]
    recipe = ['launch/local.py', '--processes=2', '--devices_per_process=2']
    words = [sys.executable, *recipe, '--module=tests.other_machine', '--', *flags]
    ended = program.run(words, env=program.environment(MACHINE='interleaved,guarded'))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    losses_agree(on_one_device, workdir)
    one, other = (program.result(each)['parts']['test'] for each in (on_one_device, workdir))
    assert one['segment']['confusion'] == other['segment']['confusion']


@pytest.mark.slow
@pytest.mark.parametrize('key', ['--workdir', 'config.data.prepared_dir'])
def test_hosts_with_disks_of_their_own_are_found_before_training(places, tmp_path, key):
    shared = {'--workdir': tmp_path / 'w', 'config.data.prepared_dir': places / 'prepared'}
    workdir, prepared = (shared | {key: 'own'}).values()
    flags = program.command(workdir, places / 'tones', prepared, _SLOW)[3:]
    recipe = ['launch/local.py', '--processes=2', '--module=tests.other_machine', '--']
    variables = program.environment(MACHINE='apart', DISKS=str(tmp_path / 'disks'))
    ended = program.run([sys.executable, *recipe, *flags], env=variables)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 2, said
    assert f'error: {key}: process 1 of 2 does not see own/' in said
    assert 'epoch' not in said


@pytest.mark.slow
def test_hosts_may_have_copies_of_the_prepared_data(on_one_device, places, tmp_path):
    for process in '01':
        copy = tmp_path / 'disks' / process / 'own'
        shutil.copytree(next((places / 'prepared' / 'folder').glob('*/manifest.json')).parent.parent, copy)
    (folder,) = (path.parent.name for path in copy.glob('*/manifest.json'))
    flags = program.command(tmp_path / 'w', places / 'tones', places / 'prepared', _SLOW)[3:]
    recipe = ['launch/local.py', '--processes=2', '--module=tests.other_machine', '--']
    variables = program.environment(MACHINE='apart', DISKS=str(tmp_path / 'disks'))
    own = f'--config.data.prepared=own/{folder}'
    ended = program.run([sys.executable, *recipe, *flags, own], env=variables)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    losses_agree(on_one_device, tmp_path / 'w')


def test_a_bucket_that_renames_no_folders_is_refused_before_training(places, tmp_path):
    words = program.command(tmp_path / 'run', places / 'tones', tmp_path / 'prepared')
    words[words.index('-m') + 1] = 'tests.other_machine'
    ended = program.run(words, env=program.environment(MACHINE='flat'))
    assert ended.returncode == 2, ended.stderr
    assert 'error: --workdir=' in ended.stderr and 'folders cannot be renamed' in ended.stderr
    assert not (tmp_path / 'prepared').exists()


@pytest.mark.slow
def test_the_stored_rate_is_resampled_on_the_device(places):
    """44.1 kHz recordings of the same tones train the 22.05 kHz front end as well."""
    program.write_tones(places / 'tones_44100', sample_rate_hz=44100)
    workdir = places / 'resampled'
    ended = program.run(program.command(workdir, places / 'tones_44100', places / 'prepared'))
    assert ended.returncode == 0, ended.stderr
    assert json.loads((workdir / 'environment.json').read_text())['dataset']['sample_rate_hz'] == 44100
    assert program.result(workdir)['parts']['test']['segment']['accuracy'] > 0.6


@pytest.mark.slow  # quick: tests/run/test_leaky_runs.py
def test_a_csv_with_an_official_split(places):
    """The user's own split is kept to the letter; the artist column makes the groups."""
    rows = ['path,label,artist,split']
    for label in ('low', 'mid', 'high'):
        for song in range(8):
            part = 'test' if song < 2 else 'val' if song < 4 else 'train'
            rows.append(f'tones/{label}/{song:02d}.wav,{label},{label} {part} {song % 2},{part}')
    (places / 'songs.csv').write_text('\n'.join(rows))
    workdir = places / 'official'
    flags = ('--config.split.protocol=official', '--config.train.length=1 epochs')
    ended = program.run(program.command(workdir, places / 'songs.csv', places / 'prepared', *flags))
    assert ended.returncode == 0, ended.stderr
    result = program.result(workdir)
    assert result['n_songs'] == {'train': 12, 'val': 6, 'test': 6}
    test = Predictions.load(workdir / 'predictions' / 'test.npz')
    assert set(test.track) == {f'tones/{k}/{i:02d}.wav' for k in ('low', 'mid', 'high') for i in (0, 1)}


@pytest.mark.slow
def test_a_changed_folder_is_noticed(finished, places):
    shutil.copytree(places / 'tones', places / 'changing')
    workdir = places / 'changed'
    flags = ('--config.train.length=1 epochs',)
    words = program.command(workdir, places / 'changing', places / 'prepared', *flags)
    assert program.run(words).returncode == 0
    (workdir / 'result.json').unlink()
    shutil.copy(places / 'changing' / 'mid' / '00.wav', places / 'changing' / 'mid' / '99.wav')
    stopped = program.run(words)
    assert stopped.returncode == 2
    assert 'the data have changed since the run' in stopped.stderr.splitlines()[-1]
    other = program.command(places / 'changed_again', places / 'changing', places / 'prepared', *flags)
    ended = program.run(other)
    assert ended.returncode == 0
    assert '(files: 1 added, 0 removed, 0 changed)' in stopped.stderr
    assert 'byte-identical copies' in ended.stdout
