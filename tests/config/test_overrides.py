"""What a command line sets: keys of the things named, in any order, on every page; pages by name."""

import pathlib
import subprocess
import sys

import pytest

from genre_jax import features, models
from genre_jax.augment import Augmentation
from genre_jax.config import keys, overrides, pages, to_json, validate
from genre_jax.errors import UserError
from genre_jax.programs import PROGRAMS
from tests import program


def load(*words):
    page, assignments, rest = overrides.split(words)
    assert not rest
    config, notes = overrides.load(page, assignments)
    validate(config)
    return config, notes


ON_EVERY_PAGE = (
    (
        '--config.model.name=cnn14',
        '--config.model.dtype=bfloat16',
        '--config.model.embedding_units=64',
    ),
    ('--config.features.name=panns_16k', '--config.features.n_mels=48'),
    ('--config.augment.mixup.alpha=0.4', '--config.augment.spec_augment.time_stripes=3'),
    ('--config.data.name=folder', '--config.data.root=5', '--config.data.sample_rate_hz=16000'),
)


@pytest.mark.parametrize('page', pages.packaged())
def test_every_page_takes_the_keys_of_what_is_named(page):
    for words in ON_EVERY_PAGE:
        one, _ = load(f'--config={page}', *words)
        # In any order: the name may come last, and the page too.
        other, _ = load(*reversed(words), f'--config={page}')
        assert to_json(one) == to_json(other)
    config, _ = load(f'--config={page}', *sum(ON_EVERY_PAGE, ()))
    model = models.build(config.model, 3)
    assert (model.dtype, model.embedding_units) == ('bfloat16', 64)
    front_end = features.build(config.features)
    assert (front_end.n_mels, front_end.hop_length, front_end.n_fft) == (48, 160, 512)  # PANNs' own
    steps = Augmentation(config.augment, None)._steps
    assert steps['mixup'].amounts['alpha'] == 0.4
    assert steps['spec_augment'].amounts['time_stripes'] == 3
    assert (config.data.root, config.data.sample_rate_hz) == ('5', 16000)


def test_another_name_drops_what_the_page_set_for_its_own():
    config, notes = load('--config=quickstart', '--config.features.name=panns_32k')
    assert features.build(config.features) == features.build({'name': 'panns_32k'})
    (note,) = notes
    assert 'panns_32k' in note and 'hop_length' in note
    same, notes = load('--config=quickstart', '--config.features.name=schindler')
    assert same.features.hop_length == 800 and not notes
    config, notes = load('--config=quickstart', '--config.data.name=makam', '--config.data.root=x')
    assert (set(config.data), len(notes)) == (
        {'name', 'prepared_dir', 'prepared', 'classes', 'chunk_s', 'find_copies', 'root'},
        1,
    )


@pytest.mark.parametrize(
    ('words', 'key', 'value'),
    [
        (('--config.model.hidden_units=(64,32)',), 'model.hidden_units', (64, 32)),
        (('--config.model.hidden_units=64',), 'model.hidden_units', (64,)),
        (('--config.model.hidden_units', '64,32'), 'model.hidden_units', (64, 32)),
        (('--config.model.dropout=1e-1',), 'model.dropout', 0.1),
        (('--config.optim.weight_decay=1',), 'optim.weight_decay', 1.0),
        (('--config.optim.factors=fc1=0.5',), 'optim.factors', ('fc1=0.5',)),
        (('--config.split.fold', '-1'), 'split.fold', -1),
        (('--config.split.allow_leak',), 'split.allow_leak', True),
        (('--noconfig.split.allow_leak',), 'split.allow_leak', False),
        (('--config.train.length=3 epochs',), 'train.length', '3 epochs'),
        (('--config.augment.emphasis.copies=2',), 'augment.emphasis', {'copies': 2}),
        (('--config.data.classes=blues,jazz',), 'data.classes', ('blues', 'jazz')),
        (('--config.data.classes=blues, hip hop',), 'data.classes', ('blues', 'hip hop')),
    ],
)
def test_values(words, key, value):
    config, _ = load('--config=mlp_features', *words)
    section, name = key.split('.')
    found = config.to_dict()[section][name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('--config.model.name=cn14',), "did you mean 'cnn14'"),
        (('--config.features.name=panns',), "config.features.name='panns'"),
        (('--config.data.name=gtzn', '--config.data.root=x'), "did you mean 'gtzan'"),
        (('--config.model.dtyp=bfloat16',), "did you mean 'config.model.dtype'"),
        (('--config.augment.mixp.alpha=1',), "did you mean 'config.augment.mixup'"),
        (('--config.augment.mixup.alfa=1',), "did you mean 'config.augment.mixup.alpha'"),
        (('--config.features.n_mels=many',), '--config.features.n_mels=many: expected int'),
        (('--config.train.batch_size',), 'expected a value'),
        (('--config.split=3',), 'config.split is a section'),
    ],
)
def test_mistakes(words, said):
    with pytest.raises(UserError) as caught:
        config, _ = load('--config=folder', *words)
        features.build(config.features)
        models.build(config.model, 2)
    assert said in str(caught.value) and '\n' not in str(caught.value)


def test_pages_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packaged = pages.load_page('folder').to_json_best_effort()
    assert pages.load_page('configs/folder.py').to_json_best_effort() == packaged
    assert pages.load_page('finetune:model=yamnet').model.name == 'yamnet'
    # A file of that name comes first.
    pathlib.Path('folder').write_text(
        'from genre_jax.configs import common\n\n'
        'def get_config():\n    config = common.get_config()\n    config.seed = 7\n    return config\n'
    )
    assert pages.load_page('folder').seed == 7
    with pytest.raises(UserError, match=f"{tmp_path}/foldr'.*did you mean 'folder'"):
        pages.load_page('foldr')


def test_a_packages_own_names_are_nobody_elses(tmp_path):
    """Beside the run lie packages called data, configs and launch: none of them is looked at."""
    for name in ('data', 'configs', 'launch'):
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text('raise ImportError("not yours")')
    done = subprocess.run(
        [sys.executable, '-m', 'genre_jax.main', '--config=folder', '--workdir=x', '--config.data.root=no'],
        cwd=tmp_path, env=program.environment() | {'PYTHONPATH': str(program.ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith('error: no does not exist')


# --- keys ----------------------------------------------------------------------------------------


def test_each_key_is_declared_once_and_its_default_is_allowed():
    assert len(keys.BY_NAME) == len(keys.KEYS)
    for key in keys.KEYS:
        key.check.refuse(key.name, key.default)
        assert key.meaning and key.check.expected


# --- programs ------------------------------------------------------------------------------------


def is_program(name):
    path = program.ROOT / 'genre_jax' / name.replace('.', '/')
    file = path / '__main__.py' if path.is_dir() else path.with_suffix('.py')
    return file.exists() and "\nif __name__ == '__main__':\n" in file.read_text()


def test_the_list_of_programs_is_whole():
    assert all(map(is_program, PROGRAMS))
    modules = [
        '.'.join(path.relative_to(program.ROOT / 'genre_jax').with_suffix('').parts)
        for path in (program.ROOT / 'genre_jax').rglob('*.py')
        if "\nif __name__ == '__main__':\n" in path.read_text()
    ]
    assert {name.removesuffix('.__main__') for name in modules} == set(PROGRAMS)


@pytest.mark.parametrize('name', sorted(PROGRAMS))
def test_help(name):
    done = program.run([sys.executable, '-m', f'genre_jax.{name}', '--help'])
    assert done.returncode == 0 and not done.stderr
    assert f'genre_jax.{name}' in done.stdout or name in ('embed', 'config') or name.startswith('launch')


@pytest.mark.parametrize('name', ['predict', 'training.predict', 'models.cnn14', 'config.keys'])
def test_modules_that_are_no_programs_say_so(name):
    done = program.run([sys.executable, '-m', f'genre_jax.{name}'])
    assert done.returncode == 2 and done.stderr.startswith(f'error: genre_jax.{name} is no program')
    assert done.stderr.count('\n') == 1
