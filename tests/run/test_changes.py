"""What may be otherwise when a run is continued, and what the run says of it."""

import html
import json
import re
import shutil

import pytest

from genre_jax import config as config_lib
from genre_jax.errors import UserError
from genre_jax.run import changes
from genre_jax.run import folder as run_folder
from tests import program, tiny_page


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp('changes')
    program.write_tones(folder / 'tones')
    return folder


def run(places, workdir, *flags):
    return program.run(program.command(workdir, places / 'tones', places / 'prepared', *flags))


def began(workdir, **keys):
    config = tiny_page.get_config()
    config.optim.schedule = 'constant'
    for key, value in keys.items():
        section, name = key.split('__')
        config[section][name] = value
    (workdir / 'config.json').write_text(config_lib.to_json(config))
    return config


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('train.steps_per_dispatch', 4),
        ('eval.batch_size', 8),
        ('eval.every', '2 epochs'),
        ('checkpoint.keep_latest', 5),
        ('checkpoint.every', '3 steps'),
        ('train.length', '7 epochs'),
    ],
)
def test_what_may_change(tmp_path, key, value):
    config = began(tmp_path)
    section, name = key.split('.')
    config[section][name] = value
    noted = changes.of_config(config, tmp_path)
    assert noted in ([], [f'{key}: {tiny_page.get_config()[section][name]!r} -> {value!r}'])


@pytest.mark.parametrize(
    ('page', 'key', 'value', 'said'),
    [
        ({}, 'train.length', '5 epochs', 'the length may only grow, in epochs'),
        ({}, 'train.length', '500 steps', 'the length may only grow, in epochs'),
        ({'optim__schedule': 'cosine'}, 'train.length', '9 epochs', '--config.init.checkpoint='),
        ({'optim__warmup': '5 percent'}, 'train.length', '9 epochs', 'config.optim.warmup='),
        ({'optim__schedule': 'plateau'}, 'eval.every', '2 epochs', 'count evaluations'),
        ({'train__stop_patience': 2}, 'eval.every', '2 epochs', 'count evaluations'),
        ({}, 'optim.learning_rate', 1e-4, 'optim.learning_rate: 0.0005 -> 0.0001'),
        ({}, 'train.batch_size', 8, 'train.batch_size: 16 -> 8'),
    ],
)
def test_what_may_not(tmp_path, page, key, value, said):
    config = began(tmp_path, **page)
    section, name = key.split('.')
    config[section][name] = value
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        changes.of_config(config, tmp_path)
    assert f'{key}: ' in str(raised.value)


def test_other_code_and_machines_are_noted():
    first = {
        'git_commit': 'a', 'python': '3.11', 'packages': {'jax': '1', 'grain': '2'}, 'backend': 'cpu',
        'device_kind': 'cpu', 'devices': 1, 'processes': 1, 'platform': 'Linux-1',
    }  # fmt: skip
    assert changes.note(first, first | {'platform': 'Linux-2'}, []) is None
    second = first | {'git_commit': 'b', 'packages': {'jax': '3', 'grain': '2'}}
    noted = changes.note(first, second, ['optim.learning_rate: 1 -> 2'])
    assert noted['changes'] == [
        'optim.learning_rate: 1 -> 2',
        'git_commit: a -> b',
        'packages.jax: 1 -> 3',
    ]
    # The next continuation is compared with this one.
    assert changes.note(first | {'continued': [noted]}, second, []) is None
    (line,) = changes.warnings({'continued': [noted]})
    assert 'git_commit: a -> b' in line


def test_a_longer_training_that_was_cut_off_at_its_beginning(tmp_path):
    """After the result was put aside and before the config was written the same command goes on."""
    config = began(tmp_path)
    (tmp_path / 'result.json').write_text('{"steps": 18}')
    run_folder.keep_result(tmp_path)
    assert [path.name for path in tmp_path.glob('result*')] == ['result_at_step_18.json']
    config.train.length = '9 epochs'
    assert changes.of_config(config, tmp_path) == ["train.length: '6 epochs' -> '9 epochs'"]


@pytest.mark.slow
def test_a_longer_training_is_the_one_that_was_longer_from_the_start(places):
    constant = '--config.optim.schedule=constant'
    long = places / 'long'
    assert run(places, long, constant, '--config.train.length=6 epochs').returncode == 0
    short = places / 'short'
    assert run(places, short, constant, '--config.train.length=3 epochs').returncode == 0
    before = program.result(short)
    ended = run(places, short, constant, '--config.train.length=6 epochs')
    assert ended.returncode == 0, ended.stderr
    assert 'continuing from step' in ended.stdout
    one, other = program.result(long), program.result(short)
    assert one['parameters_sha256'] == other['parameters_sha256']
    assert program.metrics(long) == program.metrics(short)
    (warning,) = set(other['warnings']) - set(one['warnings'])
    assert "train.length: '3 epochs' -> '6 epochs'" in warning
    assert 'its test part had been opened before' in warning
    assert json.loads((short / f'result_at_step_{before["steps"]}.json').read_text()) == before
    # Shown again by the same command, and where nothing but how often to evaluate is otherwise.
    for flags in ((), ('--config.eval.every=2 epochs',)):
        ended = run(places, short, constant, '--config.train.length=6 epochs', *flags)
        assert ended.returncode == 0 and 'holds a finished run' in ended.stdout
    assert program.result(short) == other
    assert json.loads((short / 'config.json').read_text())['train']['length'] == '6 epochs'


@pytest.mark.slow
@pytest.mark.parametrize('warmup', ['0 steps', '8 steps'])
def test_a_training_that_diverged_goes_on_with_a_lower_rate(places, warmup):
    """Weights of 1e29 are numbers, but no loss is one with them: what was saved then counts for nothing."""
    workdir = places / f'diverged_{warmup[0]}'
    flags = (
        '--config.optim.schedule=constant', '--config.checkpoint.every=1 steps',
        f'--config.optim.warmup={warmup}', '--config.optim.name=sgd',
    )  # fmt: skip
    ended = run(places, workdir, *flags, '--config.optim.learning_rate=1e30')
    assert ended.returncode == 2
    *_, said = ended.stderr.splitlines()
    # With a warm-up from zero the first step changes nothing.
    sound = {'0': 'nothing was saved before', '8': 'sound at step 1, saved'}[warmup[0]]
    assert re.search(rf'the (loss|weights) .* step [23].*; {sound}: .*learning_rate', said)
    ended = run(places, workdir, *flags, '--config.optim.learning_rate=1e-3', '--config.optim.clip_norm=1')
    assert ended.returncode == 0, ended.stderr
    assert ('continuing from step 1 of' in ended.stdout) == (warmup == '8 steps')
    assert not (workdir / changes.DIVERGED).exists()  # nothing else may change now
    warnings = ' '.join(program.result(workdir)['warnings'])
    assert 'optim.learning_rate: 1e+30 -> 0.001' in warnings
    assert 'optim.clip_norm: 0.0 -> 1.0' in warnings


@pytest.mark.slow
def test_a_lost_best_checkpoint_is_told(places):
    """The log has a validation that no checkpoint has any more."""
    workdir = places / 'lost'
    assert run(places, workdir).returncode == 0
    kept = program.result(workdir)['best_step']
    metrics = program.metrics(workdir)
    lost = next(line for line in metrics if 'val/loss' in line and line['step'] != kept)
    lost['val/song_max_probability/accuracy'] = 1.1
    (workdir / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in metrics))
    (workdir / 'result.json').unlink()
    assert run(places, workdir).returncode == 0
    (warning,) = (w for w in program.result(workdir)['warnings'] if 'the best by validation' in w)
    assert f'step {lost["step"]}, ' in warning and f'those of step {kept}, ' in warning
    assert warning in html.unescape((workdir / 'report.html').read_text())


@pytest.mark.slow
def test_a_split_by_other_code_is_refused(places):
    workdir = places / 'other_split'
    assert run(places, workdir).returncode == 0
    (workdir / 'result.json').unlink()
    file = workdir / 'environment.json'
    began_with = json.loads(file.read_text())
    file.write_text(json.dumps(began_with | {'git_commit': 'f00', 'split_fingerprint': '0' * 64}))
    ended = run(places, workdir)
    assert ended.returncode == 2
    assert 'the split of the data is another' in ended.stderr and 'f00' in ended.stderr
    # Another commit that makes the same split: told, and kept.
    file.write_text(json.dumps(began_with | {'git_commit': 'f00'}))
    ended = run(places, workdir)
    assert ended.returncode == 0, ended.stderr
    assert 'git_commit: f00 -> ' in ended.stdout
    assert any('git_commit: f00 -> ' in line for line in program.result(workdir)['warnings'])
    shutil.rmtree(workdir)
