"""Pages, durations, and that every wrong value is named."""

import importlib
import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from genre_jax import config as config_lib
from genre_jax import features, sharding
from genre_jax.config import Length
from genre_jax.configs import common, folder
from genre_jax.data import request
from genre_jax.errors import UserError
from genre_jax.loading import prepared
from genre_jax.training import step as train
from genre_jax.training.job import make_job
from tests import program

PAGES = sorted(
    path.stem for path in (program.ROOT / 'configs').glob('*.py') if path.stem not in ('__init__', 'common')
)
VARIANTS = [(page, None) for page in PAGES] + [('shallow_cnn_gtzan', 'batch_norm=True')]


def load(page, arguments=None):
    get_config = importlib.import_module(f'genre_jax.configs.{page}').get_config
    return get_config(arguments) if arguments else get_config()


# --- every page ----------------------------------------------------------------------------------


@pytest.mark.parametrize(('page', 'arguments'), VARIANTS)
def test_pages_are_locked_and_valid(page, arguments):
    config = load(page, arguments)
    config_lib.validate(config)
    with pytest.raises(AttributeError):
        config.lerning_rate = 1.0
    for section in ('split', 'windows', 'optim', 'train', 'eval', 'checkpoint'):
        with pytest.raises(AttributeError):
            config[section].lerning_rate = 1.0
    with pytest.raises(TypeError):
        config.train.batch_size = 'many'
    # Strict JSON, and nothing is lost on the way.
    text = config_lib.to_json(config)
    saved = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert set(saved) == set(config)
    assert config_lib.differences(saved, json.loads(config_lib.to_json(load(page, arguments)))) == []


@pytest.mark.slow(but='22050')
@pytest.mark.parametrize('stored_hz', [22050, 44100])
@pytest.mark.parametrize(('page', 'arguments'), VARIANTS)
def test_pages_train(page, arguments, stored_hz):
    """The whole step, traced without data: front end, augmentation, model, loss, optimiser."""
    config = load(page, arguments)
    # A share for each of the 8 devices, and CutMix mixes pairs on each.
    config.train.batch_size = -(-config.train.batch_size // 16) * 16
    window = int(np.ceil(config.windows.window_s * stored_hz))
    front_end = features.build(config.features)
    kind = front_end.kind
    if kind == 'pitch':
        stored_hz = front_end.sample_rate_hz
    shape = {'audio': (window,), 'pitch': (3000,), 'image': (288, 432, 3), 'table': (57,)}[kind]
    stored = prepared.Stored(kind, shape, stored_hz, ('Experimental', 'Folk', 'Pop'))
    job = make_job(config, stored, 6400, sharding.make_mesh())
    assert job.length.steps_per_epoch == 6400 // config.train.batch_size
    state = jax.eval_shape(lambda: train.init_state(job))
    batch_size = config.train.batch_size
    batch = {
        kind: stored.batch(batch_size),
        'label': jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        'tonic_hz': jax.ShapeDtypeStruct((batch_size,), jnp.float32),
    }
    pictures = jax.eval_shape(job.featurize, batch)
    if page == 'shallow_cnn_gtzan':
        assert pictures.shape == (batch_size, 80, 80)
    new_state, outputs = jax.eval_shape(train.make_train_step(job, job.plan.groups(0)), state, batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new_state) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert set(outputs) == {'loss', 'gradient_norm', 'learning_rate'}
    for key in ('train.log_every', 'eval.every', 'checkpoint.every'):
        assert config_lib.every_steps(config, key, job.length) >= 1


def test_published_settings():
    config = load('shallow_cnn_gtzan')
    assert (config.optim.learning_rate, config.optim.l1, config.optim.eps) == (5e-5, 1e-4, 1e-8)
    assert (config.optim.b1, config.optim.b2, config.train.batch_size) == (0.9, 0.999, 64)
    assert (config.windows.window_s, config.windows.train_per_track) == (0.93, 15)
    assert (config.model.hidden_units, config.model.dropout) == (200, 0.1)
    assert config.train.length == '200 epochs'
    assert not config.model.batch_norm
    assert load('shallow_cnn_gtzan', 'batch_norm=True').model.batch_norm


def test_sources_take_the_keys_of_their_pages(tmp_path):
    assert request.load_source(load('quickstart').data).name == 'tunes'
    for label in 'ab':
        (tmp_path / label).mkdir()
        (tmp_path / label / 'x.wav').touch()
    for page, name in (
        ('folder', 'folder'),
        ('cnn14_western', 'western'),
        ('ast_raag', 'raag'),
    ):
        config = load(page)
        config.data.root = str(tmp_path)
        assert request.load_source(config.data).name == name
    config.data.rot = 'x'
    with pytest.raises(UserError, match=r"config\.data\.rot; did you mean 'config\.data\.root'"):
        request.load_source(config.data)
    with pytest.raises(UserError, match=r"config\.data\.name='foldr'; did you mean 'folder'"):
        request.load_source({'name': 'foldr'})


# --- arguments of a page -------------------------------------------------------------------------


def test_parse_arguments():
    defaults = {'batch_norm': False, 'folds': 3, 'rate': 0.5, 'model': 'cnn14'}
    assert common.parse_arguments(None, **defaults).to_dict() == defaults
    assert common.parse_arguments('', **defaults).to_dict() == defaults
    parsed = common.parse_arguments('batch_norm=True,folds=7,rate=1e-3,model=ast', **defaults)
    assert parsed.to_dict() == {'batch_norm': True, 'folds': 7, 'rate': 1e-3, 'model': 'ast'}
    choices = {'model': ('ast', 'cnn14'), 'epochs': (200, 100)}
    assert common.parse_arguments('', **choices).to_dict() == {'model': 'ast', 'epochs': 200}
    parsed = common.parse_arguments('epochs=100,model=cnn14', **choices)
    assert parsed.to_dict() == {'model': 'cnn14', 'epochs': 100}


@pytest.mark.parametrize(
    'text',
    ['batch_nrm=True', 'batch_norm', 'batch_norm=yes', 'batch_norm=', 'folds=2.5', 'folds=x', '=3',
     'model=ats', 'epochs=150', 'epochs=x'],
)  # fmt: skip
def test_parse_arguments_refuses(text):
    with pytest.raises(ValueError, match='config argument .*expected') as error:
        common.parse_arguments(text, batch_norm=False, folds=3, model=('ast', 'cnn14'), epochs=(200, 100))
    assert '\n' not in str(error.value)


# --- durations -----------------------------------------------------------------------------------

LENGTH = Length(steps_per_epoch=40, total_steps=1000)


@pytest.mark.parametrize(
    ('text', 'steps'),
    [
        ('3 epochs', 120), ('1 epoch', 40), ('0.5 epochs', 20), ('1.26 epochs', 50),
        ('500 steps', 500), ('1 step', 1), ('0 steps', 0), (' 7  steps ', 7), ('7steps', 7),
        ('5 percent', 50), ('12.5 percent', 125), ('100 percent', 1000),
    ],
)  # fmt: skip
def test_durations(text, steps):
    assert config_lib.duration_steps(text, 'train.length', LENGTH) == steps
    if 'percent' not in text:
        assert config_lib.duration_steps(text, 'train.length', LENGTH.steps_per_epoch) == steps


@pytest.mark.parametrize(
    'text',
    ['', '30', 'epochs', '30 epoch s', '-3 epochs', '3 minutes', '1e3 steps', '3,5 epochs', 'nan steps',
     '5 %', '3 epochs or so', 30, None],
)  # fmt: skip
def test_wrong_durations(text):
    with pytest.raises(UserError, match=r"config\.eval\.every=.* such as '30 epochs'"):
        config_lib.duration_steps(text, 'eval.every', LENGTH)


def test_percent_of_itself():
    with pytest.raises(UserError, match='percent of what'):
        config_lib.duration_steps('5 percent', 'train.length', 40)


def test_resolve_length():
    config = common.get_config()
    config.train.batch_size = 64
    config.train.length = '2.5 epochs'
    length = config_lib.resolve_length(config, 64 * 10 + 63)
    assert length == Length(steps_per_epoch=10, total_steps=25)
    assert length.epochs(25) == 2.5
    assert config_lib.resolve_length(config, 64) == Length(1, 2)
    with pytest.raises(UserError, match=r'63 windows, fewer than config\.train\.batch_size=64'):
        config_lib.resolve_length(config, 63)
    for wrong in ('0 epochs', '0.01 epochs', '0 steps'):
        config.train.length = wrong
        with pytest.raises(UserError, match=r'config\.train\.length=.* less than one step'):
            config_lib.resolve_length(config, 640)


def test_periods_are_at_least_one_step():
    config = common.get_config()
    config.eval.every = '0.001 epochs'
    assert config_lib.every_steps(config, 'eval.every', LENGTH) == 1
    config.eval.every = '2 epochs'
    assert config_lib.every_steps(config, 'eval.every', LENGTH) == 80


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'candidates', 'expected'),
    [
        ('adm', ['adam', 'sgd'], "; did you mean 'adam'?"),
        ('config.lerning_rate', ['config.optim.learning_rate', 'config.seed'],
         "; did you mean 'config.optim.learning_rate'?"),
        ('learning_rate', ['optim.learning_rate', 'seed'], "; did you mean 'optim.learning_rate'?"),
        ('config.optm.b1', ['config.optim.b1', 'config.optim.b2'], "; did you mean 'config.optim.b1'?"),
        ('config.featurs.name', ['config.data.name', 'config.features.name', 'config.model.name'],
         "; did you mean 'config.features.name'?"),
        ('xyz', ['b', 'a'], '; expected one of a, b'),
        # A shared prefix is no likeness.
        ('config.model.zzz', ['config.model.dropout'], '; expected one of config.model.dropout'),
        ('xyz', [], ''),
    ],
)  # fmt: skip
def test_nearest(name, candidates, expected):
    assert config_lib.nearest(name, candidates) == expected


def test_flatten():
    config = ml_collections.ConfigDict({'a': {'b': 1, 'c': {'d': (2, 3)}}, 'e': None})
    assert config_lib.flatten(config) == {'a.b': 1, 'a.c.d': (2, 3), 'e': None}


def thing(*, fixed, needed, optional=3):
    return fixed, needed, optional


def test_call_with_section():
    settings = {'name': 'thing', 'needed': 1, 'other': 5}
    call = config_lib.call_with_section
    assert call(thing, 's', settings, skip=('name', 'other'), fixed=0) == (0, 1, 3)
    settings['optional'] = 4
    assert call(thing, 's', settings, skip=('name', 'other'), fixed=0) == (0, 1, 4)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'needed': 1, 'optionl': 2}, r"config\.s\.optionl; did you mean 'config\.s\.optional'"),
        ({'needed': 1, 'fixed': 2}, r'unknown key config\.s\.fixed'),
        ({'needed': 1, 'zzz': 2}, r'config\.s\.zzz; expected one of config\.s\.needed'),
        ({'optional': 1}, r'config\.s\.needed is missing: thing needs it'),
    ],
    ids=str,
)
def test_call_with_section_refuses(settings, message):
    with pytest.raises(UserError, match=message):
        config_lib.call_with_section(thing, 's', settings | {'name': 'thing'}, skip=('name',), fixed=0)


def test_differences():
    old = json.loads(config_lib.to_json(folder.get_config()))
    config = folder.get_config()
    config.tracking.wandb = 'off'
    config.tracking.wandb_project = 'other'
    config.data.prepared_dir = '/elsewhere'
    assert config_lib.differences(old, json.loads(config_lib.to_json(config))) == []
    config.optim.learning_rate = 0.25
    config.split.fractions = (0.8, 0.1, 0.1)
    config.data.extra = 1
    new = json.loads(config_lib.to_json(config))
    assert config_lib.differences(old, new) == [
        'data.extra: None -> 1',
        'optim.learning_rate: 0.0005 -> 0.25',
        'split.fractions: [0.7, 0.15, 0.15] -> [0.8, 0.1, 0.1]',
    ]
    assert len(config_lib.differences(new, old)) == 3
    # A run of a version that did not have some key yet.
    del old['data']['classes'], old['init']['other_front_end']
    new = json.loads(config_lib.to_json(folder.get_config()))
    assert config_lib.differences(old, new) == []
    new['data']['classes'] = ['a', 'b']
    assert config_lib.differences(old, new) == ["data.classes: [] -> ['a', 'b']"]


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('key', 'wrong'),
    [
        ('windows.window_s', (0.005, -1.0, float('inf'), float('nan'))),
        ('windows.train_shortest_s', (-1.0, float('inf'), 0.93, 5.0)),  # the window has 0.93 s
        ('eval.excerpts_s', ((0.0,), (-1.0,), (60.0, 60.0), (float('inf'),), ('60',))),
        ('data.chunk_s', (0.0, float('nan'))),
        ('optim.learning_rate', (0.0, -1e-3, float('inf'), float('nan'))),
        ('optim.eps', (0.0, float('nan'))),
        ('windows.train_per_track', (0, -3)),
        ('windows.eval_per_track', (0,)),
        ('train.batch_size', (0, -64)),
        ('eval.batch_size', (0,)),
        ('checkpoint.keep_latest', (1, 0)),
        ('optim.l1', (-1e-4, float('nan'))),
        ('optim.b1', (1.0, -0.1, float('nan'))),
        ('optim.b2', (1.0, 1.5)),
        ('seed', (-1,)),
        ('split.seed', (-1,)),
        ('split.train_share', (0.0, 1.5, float('nan'))),
        ('split.protocol', ('groupd', '')),
        ('windows.train_draw', ('even',)),
        ('windows.balance', ('classes', '')),
        ('windows.eval_draw', ('random',)),
        ('optim.name', ('adamax', 'Adam')),
        ('optim.schedule', ('cosin',)),
        ('optim.plateau_metric', ('val/acc', '')),
        ('optim.plateau_factor', (0.0, 1.0)),
        ('optim.plateau_patience', (-1,)),
        ('optim.halve_every', ('10',)),
        ('optim.momentum', (1.0, -0.1)),
        ('optim.ema_decay', (1.0, -0.1)),
        ('optim.clip_norm', (-1.0, float('inf'))),
        ('optim.l2', (-1e-4, float('nan'))),
        ('optim.weight_decay', (-1e-4, float('nan'))),
        ('train.accumulate', (0, -2)),
        ('train.label_smoothing', (1.0, -0.1)),
        ('train.stop_patience', (-1,)),
        ('train.stop_metric', ('val/song_majority/log_loss', 'loss')),
        ('eval.select_on', ('song', 'loss')),
        ('tracking.wandb', ('online',)),
        (
            'split.fractions',
            ((0.5, 0.5, 0.0), (0.7, 0.3, 0.3), (0.5, 0.5), (), (1.2, -0.1, -0.1)),
        ),
        ('train.length', ('30 epoch s', '5 percent')),
        ('train.log_every', ('often',)),
        ('eval.every', ('0.5',)),
        ('checkpoint.every', ('-1 epochs',)),
        ('optim.warmup', ('5 %',)),
    ],
)
def test_wrong_values_are_refused_before_anything_runs(key, wrong):
    for value in wrong:
        config = common.get_config()
        section, _, name = key.rpartition('.')
        (config[section] if section else config)[name] = value
        with pytest.raises(UserError, match=rf'config\.{key}=') as error:
            config_lib.validate(config)
        assert '\n' not in str(error.value)


def test_a_wrong_choice_names_the_nearest():
    config = common.get_config()
    config.eval.select_on = 'song_majorty'
    with pytest.raises(UserError, match="did you mean 'song_majority'"):
        config_lib.validate(config)
