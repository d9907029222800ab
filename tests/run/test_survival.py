"""Killed anywhere, stopped or damaged: the continued run ends in the same bytes as an unharmed one."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import time

import numpy as np
import pytest

from genre_jax.evaluation.evaluate import Predictions
from tests import program


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp('survival')
    program.write_tones(folder / 'tones')
    return folder


@pytest.fixture(scope='module')
def unharmed(places):
    workdir = places / 'unharmed'
    ended = program.run(command(places, workdir))
    assert ended.returncode == 0, ended.stderr
    return workdir


def command(places, workdir):
    return program.command(workdir, places / 'tones', places / 'prepared')


def assert_same_run(workdir, unharmed):
    """Metrics, figures and the digests of parameters and optimiser state agree to the byte."""
    for name in ('metrics.jsonl', 'result.json'):
        assert (workdir / name).read_bytes() == (unharmed / name).read_bytes(), name
    for part in ('val', 'test'):
        one, other = (Predictions.load(w / 'predictions' / f'{part}.npz') for w in (workdir, unharmed))
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def kill_when(words, condition, timeout_s=120):
    """Starts a run and kills it with SIGKILL, children included, once the condition holds."""
    process = program.start(words)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, 'the moment to kill at never came'
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def finish(words):
    ended = program.run(words)
    assert ended.returncode == 0, ended.stderr
    return ended


def saving(workdir: pathlib.Path, count: int):
    """Holds while the save number `count` (from 0) is under way: orbax's folder is there, unnamed."""
    folder = workdir / 'checkpoints'

    def holds():
        if not folder.is_dir():
            return False
        names = [path.name for path in folder.iterdir()]
        whole = sum(name.isdigit() for name in names)
        return whole >= count and any('tmp' in name for name in names)

    return holds


def lines(workdir: pathlib.Path, count: int):
    """Holds once metrics.jsonl has so many lines."""
    file = workdir / 'metrics.jsonl'
    return lambda: file.exists() and file.read_bytes().count(b'\n') >= count


@pytest.mark.slow
def test_the_same_run_twice_gives_the_same_bytes(places, unharmed):
    workdir = places / 'twice'
    finish(command(places, workdir))
    assert_same_run(workdir, unharmed)


@pytest.mark.slow
def test_killed_during_saves_and_between_metrics_and_save(places, unharmed):
    workdir = places / 'killed'
    words = command(places, workdir)
    kill_when(words, saving(workdir, 0))  # nothing is saved yet: begins again
    kill_when(words, saving(workdir, 1))
    kill_when(words, lines(workdir, 7))  # written, not saved: those lines are computed again
    with (workdir / 'metrics.jsonl').open('a') as stream:
        stream.write('{"step": 16, "epo')  # as a kill in the middle of a write leaves it
    ended = finish(words)
    assert 'continuing from step' in ended.stdout
    assert_same_run(workdir, unharmed)


@pytest.mark.slow
def test_killed_with_patchout(places):
    """Which patches are left out follows from the seed and the step."""
    flags = (
        '--config.model.name=ast', '--config.model.width=8', '--config.model.depth=1',
        '--config.model.heads=2', '--config.model.frequency_stride=4', '--config.model.time_stride=2',
        '--config.model.patchout_time=2', '--config.model.patchout=1',
    )  # fmt: skip
    runs = [places / 'patchout_whole', places / 'patchout_killed']
    words = [[*command(places, workdir), *flags] for workdir in runs]
    finish(words[0])
    kill_when(words[1], saving(runs[1], 2))
    assert 'continuing from step' in finish(words[1]).stdout
    assert_same_run(*runs)


@pytest.mark.slow
def test_killed_on_the_way_to_an_early_stop(places):
    """Plateaus, patience and averages are part of what is saved."""
    flags = (
        '--config.optim.schedule=plateau', '--config.optim.plateau_patience=0',
        '--config.optim.plateau_metric=val/segment/macro_f1', '--config.optim.plateau_factor=0.5',
        '--config.optim.ema_decay=0.8', '--config.train.stop_patience=4',
        '--config.train.stop_metric=val/song_max_probability/accuracy',
        '--config.train.length=40 epochs', '--config.train.log_every=3 epochs',
    )  # fmt: skip
    runs = [places / 'early_whole', places / 'early_killed']
    words = [[*command(places, workdir), *flags] for workdir in runs]
    finish(words[0])
    kill_when(words[1], saving(runs[1], 2))
    assert 'continuing from step' in finish(words[1]).stdout
    assert_same_run(*runs)
    metrics, result = program.metrics(runs[0]), program.result(runs[0])
    values = [m[flags[-3].split('=')[1]] for m in metrics if 'val/loss' in m]
    best = values.index(max(values))
    assert len(values) == best + 5 < 40  # four evaluations without gain
    assert result['stopped_early'] and result['steps'] == metrics[-1]['step']
    rates = [m['train/learning_rate'] for m in metrics if 'train/loss' in m]
    assert metrics[-1]['step'] == max(m['step'] for m in metrics if 'train/loss' in m)
    assert rates[-1] < rates[0]


@pytest.mark.slow
def test_killed_at_random_moments(places, unharmed):
    workdir = places / 'random'
    words = command(places, workdir)
    rng = random.Random(time.time_ns())  # other moments each time; every one must do
    started = time.monotonic()
    finish(command(places, places / 'clock'))
    duration_s = time.monotonic() - started
    for kill in range(3):
        process = program.start(words)
        delay_s = rng.uniform(0.2, 0.9) * duration_s
        try:
            process.communicate(timeout=delay_s)
        except Exception:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        print(f'kill {kill} after {delay_s:.3f} s')
    finish(words)
    assert_same_run(workdir, unharmed)


@pytest.mark.slow
def test_sigterm_saves_inside_an_epoch_and_says_so(places, unharmed):
    workdir = places / 'sigterm'
    words = command(places, workdir)
    process = program.start(words)
    while not lines(workdir, 2)():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert 'stopped by SIGTERM, saved at step' in output and 'Traceback' not in output
    finish(words)
    assert_same_run(workdir, unharmed)


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_falls_back_with_a_warning(places, unharmed):
    workdir = places / 'damaged'
    words = command(places, workdir)
    kill_when(words, lines(workdir, 8))
    newest = max((workdir / 'checkpoints').glob('[0-9]*[0-9]'), key=lambda path: int(path.name))
    largest = max((p for p in newest.rglob('*') if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    ended = finish(words)
    assert f'the checkpoint of step {newest.name} is damaged' in ended.stderr
    assert_same_run(workdir, unharmed)


@pytest.mark.slow
def test_preparation_killed_half_way_keeps_what_is_decoded(places, tmp_path):
    shutil.copytree(places / 'tones', tmp_path / 'tones')
    words = program.command(tmp_path / 'run', tmp_path / 'tones', tmp_path / 'prepared')

    def decoded():
        return list((tmp_path / 'prepared').glob('folder/records/*.partial/decoded/*.npy'))

    kill_when(words, lambda: len(decoded()) >= 5)
    kept = {path.name: path.stat().st_mtime_ns for path in decoded()}
    assert not list((tmp_path / 'prepared').glob('folder/*/manifest.json'))
    kill_when(words, lambda: len(decoded()) >= 24)
    assert {p.name: p.stat().st_mtime_ns for p in decoded() if p.name in kept}.items() >= kept.items()
    finish(words)
    assert not decoded()


@pytest.mark.slow
def test_eight_devices_continue_what_one_began(places):
    workdir = places / 'other_devices'
    words = command(places, workdir)
    kill_when(words, lines(workdir, 5))
    ended = program.run(words, env=program.environment(devices=8))
    assert ended.returncode == 0, ended.stderr
    assert 'continuing from step' in ended.stdout


_AST = """
from tests import tiny_page

def get_config():
    config = tiny_page.get_config()
    config.model = {'name': 'ast', 'width': 32, 'depth': 2, 'heads': 4}
    config.optim.schedule = 'constant'
    config.optim.ema_decay = 0.5
    return config
"""


@pytest.mark.slow
def test_a_run_moves_from_hardware_to_hardware(places):
    """One device, eight as a mesh of three axes, two processes whose hosts alternate on it, one device."""
    page = places / 'ast_page.py'
    page.write_text(_AST)

    def trained(workdir, epochs, *flags, processes=1, **variables):
        flags = (f'--config.train.length={epochs} epochs', *flags)
        words = program.command(workdir, places / 'tones', places / 'prepared', *flags, page=page)
        if processes > 1:
            recipe = ['launch/local.py', f'--processes={processes}', '--devices_per_process=2']
            words = [sys.executable, *recipe, '--module=tests.other_machine', '--', *words[3:]]
        ended = program.run(words, env=program.environment(**variables))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    stays, moves = places / 'stays', places / 'moves'
    trained(stays, 4)
    trained(moves, 1)
    eight = (
        '--config.mesh.fsdp=2', '--config.mesh.model=2',
        '--config.train.device_resident=True', '--config.train.steps_per_dispatch=3',
    )  # fmt: skip
    said = trained(moves, 2, *eight, devices=8)
    assert 'continuing from step' in said and 'devices: 1 -> 8' in said
    across = ('--config.mesh.data=1', '--config.mesh.fsdp=-1', '--config.mesh.model=2')
    said = trained(moves, 3, *across, processes=2, MACHINE='interleaved,guarded')
    assert 'devices: 8 -> 4' in said and 'processes: 1 -> 2' in said
    said = trained(moves, 4, '--config.train.loader_workers=2')
    assert 'devices: 4 -> 1' in said and 'processes: 2 -> 1' in said
    for ours, theirs in zip(program.metrics(moves), program.metrics(stays), strict=True):
        assert ours.keys() == theirs.keys()
        for key in ours:
            if 'loss' in key or 'cross_entropy' in key:
                assert ours[key] == pytest.approx(theirs[key], rel=1e-5), (ours['step'], key)
    environment = json.loads((moves / 'environment.json').read_text())
    begun = [environment, *environment['continued']]
    assert [(each['devices'], each['processes']) for each in begun] == [(1, 1), (8, 1), (4, 2), (1, 1)]
    ours, theirs = (program.result(each)['parts']['test'] for each in (moves, stays))
    assert ours['segment']['confusion'] == theirs['segment']['confusion']
    # And another training begins with its weights.
    begins, tuned = f'--config.init.checkpoint={moves}', [places / 'tuned', places / 'tuned_by_two']
    trained(tuned[0], 1, begins)
    trained(tuned[1], 1, begins, *across, processes=2, MACHINE='interleaved,guarded')
    losses = [
        [line[key] for line in program.metrics(each) for key in line if 'loss' in key] for each in tuned
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.slow
def test_two_programs_do_not_share_a_run_folder(places):
    workdir = places / 'shared'
    words = command(places, workdir)
    first = program.start(words)
    while not (workdir / 'config.json').exists():
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # else it may be done before the second looks
    second = program.run(words)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert 'another program is running in it' in second.stderr.splitlines()[-1]
    first.communicate(timeout=120)
    assert first.returncode == 0


def stopped_step(workdir, words):
    """Sends SIGTERM to two processes after a while; returns the step that both stopped at."""
    process = program.start(words)
    while not lines(workdir, 3)():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    steps = re.findall(r'stopped by SIGTERM, saved at step (\d+)', output)
    assert len(steps) == 2 and len(set(steps)) == 1
    return int(steps[0])


@pytest.mark.slow
def test_sigterm_stops_two_processes_with_several_steps_a_dispatch(places):
    """What the processes agree on is a dispatch: the numbers of steps leave most out."""
    workdir = places / 'two_processes_several'
    several = (
        '--config.train.device_resident=True',
        '--config.train.steps_per_dispatch=4',
        '--config.train.length=200 epochs',
    )
    words = [
        sys.executable,
        'launch/local.py',
        '--processes=2',
        '--',
        *command(places, workdir)[3:],
    ]
    step = stopped_step(workdir, [*words, *several])
    assert step % 4 == 0 and step < 800


@pytest.mark.slow
def test_sigterm_stops_two_processes_at_one_step(places, unharmed):
    workdir = places / 'two_processes'
    words = [
        sys.executable,
        'launch/local.py',
        '--processes=2',
        '--',
        *command(places, workdir)[3:],
    ]
    step = stopped_step(workdir, words)
    assert f'continuing from step {step}' in finish(words).stdout
    for ours, theirs in zip(program.metrics(workdir), program.metrics(unharmed), strict=True):
        for key in ours:
            if 'loss' in key:
                assert ours[key] == pytest.approx(theirs[key], rel=1e-5)
