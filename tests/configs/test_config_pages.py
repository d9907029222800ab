"""The pages of the papers: every command of docs/papers.md, under both protocols, without data."""

import functools
import importlib
import inspect
import itertools
import re

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from genre_jax import config as config_lib
from genre_jax import features, models
from genre_jax.convert.engine import Converted
from genre_jax.errors import UserError
from genre_jax.loading import prepared
from genre_jax.sweep import space as search_space
from genre_jax.training import job as job_lib
from tests.program import ROOT

PAGE = (ROOT / 'docs/papers.md').read_text()
# | experiment | `main page.py:arguments` | the paper's figure | ours | ours |
ROWS = re.findall(r'^\| ([^|]+) \| `(main|sweep) ([^`]+)` \|([^|]*)\|.*\|.*\|$', PAGE, re.MULTILINE)
COMMANDS = sorted({page for _, _, page, _ in ROWS})
PAPERS = {
    'shallow_cnn_gtzan.py', 'bu_models.py', 'bu_tuning.py', 'bu_grid.py', 'bu_final.py',
    'cnn14_western.py', 'cnn14_western_search.py', 'ast_raag.py', 'wu_mlp.py', 'wu_vgg16.py',
    'wu_yamnet.py', 'wu_lstm.py', 'ma_mlp.py', 'ma_keras.py', 'makam_orbit.py',
}  # fmt: skip
FMA = (
    'Electronic',
    'Experimental',
    'Folk',
    'Hip-Hop',
    'Instrumental',
    'International',
    'Pop',
    'Rock',
)
CLASSES = {
    'fma': FMA,
    'western': ('bluegrass', 'country', 'folk'),
    'raag': tuple(map(str, range(61))),
}


def load(page):
    return config_lib.load_page(f'{ROOT}/configs/{page}')


def under_papers_protocol(page):
    path, _, arguments = page.partition(':')
    return f'{path}:{arguments},protocol=paper' if arguments else f'{path}:protocol=paper'


@functools.cache
def published(checkpoint):
    """A stand-in for a published checkpoint: shapes, and positions that can be stretched."""
    name, num_classes, picture, kept, settings = {
        'cnn14': ('cnn14', 527, (1001, 64), '', {}),
        'ast': ('ast', 527, (1024, 128), '', {}),
        'yamnet': ('yamnet', 521, (96, 64), '', {}),
        'vgg16_conv': ('vgg16', 1000, (224, 224, 3), 'block', {'hidden_units': (1,)}),
    }[checkpoint]
    model = models.build({'name': name, **settings}, num_classes)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *picture)), train=False))
    variables = {
        path: np.zeros(leaf.shape, np.float32) if path.endswith('pos_embed') else leaf
        for path, leaf in flax.traverse_util.flatten_dict(shapes, sep='/').items()
        if kept in path
    }
    return Converted(name, name, settings, num_classes, '', picture, variables, [])


@functools.cache
def make_job(page):
    config = load(page)
    kind = features.build(config.features).kind
    rate = {'audio': lambda: config.data.sample_rate_hz, 'pitch': lambda: 44100 / 1024}.get(kind, lambda: 1)()
    shape = {
        'audio': lambda: (round(config.windows.window_s * rate),),
        'pitch': lambda: (2000,),
        'image': lambda: (288, 432, 3),
        'table': lambda: (57 + config.data.use_length,),
    }[kind]()
    classes = CLASSES.get(config.data.name, tuple('0123456789'))
    return job_lib.make_job(
        config,
        prepared.Stored(kind, shape, rate, classes),
        examples=1600,
        mesh=jax.make_mesh((1,), ('data',), axis_types=(AxisType.Auto,)),
        source=published(config.init.checkpoint) if config.init.checkpoint else None,
    )


def count(job, paths=None):
    """Number of parameters, all or those of some paths."""
    shapes = jax.eval_shape(job.init, jax.random.key(0))['params']
    flat = flax.traverse_util.flatten_dict(shapes, sep='/')
    return sum(leaf.size for path, leaf in flat.items() if paths is None or path in paths)


# --- the table -----------------------------------------------------------------------------------


def test_every_page_of_the_papers_is_in_the_table():
    assert {page.partition(':')[0] for page in COMMANDS} == PAPERS
    assert len(ROWS) == PAGE.count('| `main ') + PAGE.count('| `sweep ')
    for page in PAPERS:
        assert (ROOT / 'configs' / page).is_file()


@pytest.mark.parametrize(('what', 'kind', 'page', 'paper'), ROWS, ids=lambda text: text)
def test_pages_say_the_command_and_the_figure(what, kind, page, paper):
    name = page.partition(':')[0]
    text = (ROOT / 'configs' / name).read_text().split('"""')[1]
    assert f'python -m genre_jax.{kind} --config=configs/{name}' in text
    numbers = re.findall(r'\d+(?:\.\d+)(?:e-\d)?', paper)
    for i, number in enumerate(numbers):
        # A loss beside an accuracy stands in genre_jax/reproduce alone.
        assert number in text or (i and float(number) < 2), (
            f'{what}: {number} is not in the docstring of {name}'
        )


@pytest.mark.parametrize('page', COMMANDS)
def test_both_protocols(page):
    config, leaky = load(page), load(under_papers_protocol(page))
    config_lib.validate(config)
    config_lib.validate(leaky)
    own, other = config_lib.flatten(config), config_lib.flatten(leaky)
    assert own['split.protocol'] in ('grouped', 'artist', 'official', 'fault_filtered')
    assert not own['split.allow_leak'] and not own['split.remove_crossing']
    assert other['split.protocol'] in ('paper', 'kfold', 'segment_leaky') and other['split.allow_leak']
    # Nothing else differs: what is between the figures is the split alone.
    assert {key for key in own if own[key] != other[key]} == {'split.protocol', 'split.allow_leak'}
    assert own.keys() == other.keys()


@pytest.mark.parametrize('page', COMMANDS)
def test_commands_fit_together(page):
    job = make_job(page)
    config = job.config
    source = importlib.import_module(f'genre_jax.data.{config.data.name}').Source
    taken = inspect.signature(source.__init__).parameters.keys()
    of_all = {'name', 'prepared_dir', 'prepared', 'classes', 'chunk_s', 'find_copies'}
    assert set(config.data) - of_all <= taken
    labels = jax.ShapeDtypeStruct((config.train.batch_size,), jnp.int32)
    batch = job.stored.heard(config.train.batch_size) | {'label': labels}
    pictures, targets = jax.eval_shape(job.training_examples, jax.random.key(0), batch)
    assert pictures.shape == (config.train.batch_size, *job.picture)
    assert targets.shape == (config.train.batch_size, len(job.stored.labels))


# --- the papers' figures -------------------------------------------------------------------------


def dense(*widths):
    return sum((before + 1) * after for before, after in itertools.pairwise(widths))


_GATE = 161  # that the authors built and never called
_CNN14 = 80_753_615 - dense(2048, 527) + dense(2048, 3)


@pytest.mark.parametrize(
    ('page', 'parameters', 'trained'),
    [
        ('shallow_cnn_gtzan.py', 2_060_642, 2_060_642),
        ('shallow_cnn_gtzan.py:batch_norm=True', 2_060_706, 2_060_706),
        ('bu_models.py:model=efficient_cnn', 16_456, 16_456),
        ('bu_models.py:model=cnn_gru', 39_050 - _GATE, 39_050 - _GATE),
        ('bu_models.py:model=cnn_lstm', 46_346 - _GATE, 46_346 - _GATE),
        ('bu_models.py:features=chroma', 39_050 - _GATE, 39_050 - _GATE),
        ('bu_final.py', 39_050 - _GATE, 39_050 - _GATE),
        ('bu_final.py:recurrence=time', 39_050 - _GATE, 39_050 - _GATE),
        ('cnn14_western.py:training=1', _CNN14, dense(2048, 2048, 3)),
        ('cnn14_western.py:training=2', _CNN14, _CNN14),
        # The last block of convolutions besides: two kernels, and the norms after them.
        ('cnn14_western.py', _CNN14, dense(2048, 2048, 3) + 9 * 3072 * 2048 + 4 * 2048),
        ('wu_mlp.py', dense(57, 448, 672, 32, 10), dense(57, 448, 672, 32, 10)),
        ('wu_lstm.py', 789_034, 789_034),
        # Not of a paper, with published weights as well.
        ('vgg16_images.py', 14_714_688 + dense(512, 256, 10), dense(512, 256, 10)),
        (
            'wu_vgg16.py',
            14_714_688 + dense(9 * 13 * 512, 3072, 1536, 288, 10),
            dense(9 * 13 * 512, 3072, 1536, 288, 10),
        ),
        (
            'wu_yamnet.py',
            3_729_481 - dense(1024, 521) + dense(2048, 1024, 512, 128, 10),
            dense(2048, 1024, 512, 128, 10),
        ),
        ('ma_mlp.py', dense(58, 258, 258, 10), dense(58, 258, 258, 10)),
        ('ma_mlp.py:hidden=128-256,activation=tanh', *[dense(58, 128, 256, 10)] * 2),
        ('ma_keras.py', *[dense(58, 2048, 1024, 512, 256, 128, 64, 10)] * 2),
    ],
)
def test_parameters(page, parameters, trained):
    job = make_job(page)
    assert count(job) == parameters
    assert count(job, job.plan.first) == trained


def test_what_is_frozen_of_ast():
    first, second = (make_job(page) for page in ('ast_raag.py:training=1', 'ast_raag.py'))
    assert count(first, first.plan.first) == count(first) == count(second)
    block = 4 * 768 * 768 + 4 * 768 + 2 * 4 * 768 * 768 + 5 * 768 + 4 * 768
    # Four blocks, the norm behind them, the head's norm and the head.
    assert count(second, second.plan.first) == 4 * block + 4 * 768 + dense(768, 61)


def test_the_pictures_are_the_papers():
    for page, picture in (
        ('shallow_cnn_gtzan.py', (80, 80)),
        ('bu_models.py', (1292, 128)),
        ('bu_models.py:features=mfcc', (1292, 13)),
        ('bu_models.py:features=chroma', (1292, 12)),
        ('ast_raag.py', (2998, 128)),
        ('ast_raag.py:input=constant_q', (3001, 128)),
        ('ast_raag.py:input=tonic_normalised', (3001, 128)),
        ('wu_vgg16.py', (288, 432, 3)),
    ):
        assert make_job(page).picture == picture


@pytest.mark.parametrize(
    ('page', 'size', 'keys'),
    [
        ('shallow_cnn_gtzan.py:batch_norm=True', 5, {'seed'}),
        ('bu_tuning.py:phase=batch_size', 4, {'train.batch_size'}),
        ('bu_tuning.py:phase=learning_rate', 4, {'optim.learning_rate'}),
        ('bu_tuning.py:phase=optimizer', 2, {'optim.name'}),
        ('bu_tuning.py:phase=scheduler', 2, {'optim.schedule'}),
        (
            'bu_grid.py',
            54,
            {
                'optim.b2',
                'optim.weight_decay',
                'model.cnn_dropout',
                'model.classifier_dropout',
            },
        ),
        ('cnn14_western_search.py:search=learning_rate', 12, {'optim.learning_rate'}),
        (
            'cnn14_western_search.py:search=grid',
            9,
            {'optim.learning_rate', 'optim.weight_decay'},
        ),
        (
            'ast_raag.py',
            72,
            {'optim.learning_rate', 'model.head_dropout', 'optim.freeze'},
        ),
        ('wu_mlp.py', 30, None),
        ('wu_vgg16.py', 30, None),
        ('wu_yamnet.py', 30, None),
        ('wu_yamnet.py:top=lstm', 30, None),
        ('wu_lstm.py', 30, None),
    ],
)
def test_sweeps(page, size, keys):
    path = f'{ROOT}/configs/{page}'
    sweep = search_space.check(search_space.load(path), load(page), page)
    assert sweep.size == size
    assert keys is None or set(sweep.space) == keys
    # What the page settles on was among what was tried.
    config = config_lib.flatten(load(page))
    for key, each in sweep.space.items():
        if isinstance(each, search_space.Choice):
            assert config[key] in each.values or page.startswith(('bu_tuning', 'cnn14'))
        else:
            assert each.low <= config[key] <= each.high


def test_the_listed_trainings():
    """The paper's lists: batch, L2, warm-up, halving, dropout, stripes, unfrozen layers."""
    found = []
    for number in range(1, 7):
        config = load(f'cnn14_western.py:training={number}')
        stripes = config.augment.spec_augment
        found.append((
            config.train.batch_size, config.optim.weight_decay, config.optim.warmup, config.optim.halve_every,
            config.model.head_dropout, stripes.time_stripes + stripes.mel_stripes, config.optim.freeze,
        ))  # fmt: skip
    assert found == [
        (64, 4.76e-5, '0 steps', '10 epochs', 0.3, 4, 'all but last 2'),
        (64, 5.76e-5, '250 steps', '15 epochs', 0.4, 8, ''),
        (64, 4.76e-5, '250 steps', '10 epochs', 0.3, 8, 'all but last 2'),
        (64, 5.76e-5, '500 steps', '15 epochs', 0.3, 16, 'all but last 2'),
        (128, 5.76e-5, '500 steps', '15 epochs', 0.4, 24, 'all but last 2'),
        (128, 8.76e-5, '500 steps', '15 epochs', 0.4, 24, 'all but last 3'),
    ]


def test_augmentation_of_one_class():
    """Table VII, and what the code does instead."""
    report, code, alike = (
        load(f'bu_final.py:{arguments}').augment
        for arguments in ('recipe=report', 'recipe=code', 'strong=False')
    )
    assert report.picture_noise.sigma == 0.005 and report.emphasis.picture_noise.sigma == 0.01
    assert (report.time_shift.max_share, report.emphasis.time_shift.max_share) == (0.10, 0.15)
    masked = [section.spectral_masking for section in (report, report.emphasis)]
    assert [(each.min_share, each.max_share) for each in masked] == [(0.02, 0.05), (0.05, 0.10)]
    assert (report.emphasis.classes, report.emphasis.copies) == (('Experimental',), 1)
    assert (code.emphasis.classes, code.emphasis.copies) == (('Pop',), 2)
    assert (code.time_shift.max_share, code.emphasis.time_shift.max_share) == (0.05, 0.20)
    assert 'spectral_masking' not in code and 'emphasis' not in alike


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('page', 'expected'),
    [
        ('bu_final.py:protocol=grouped', 'expected one of official, paper'),
        ('wu_mlp.py:protocol=papr', 'expected one of grouped, paper'),
        ('ma_mlp.py:hidden=64', 'expected one of 258-258, 256-256, 128-128, 128-256, 128'),
        ('cnn14_western.py:training=7', 'expected one of 6, 1, 2, 3, 4, 5'),
        ('bu_models.py:recurrence=time', 'only model=cnn_gru_attention has the choice'),
        ('shallow_cnn_gtzan.py:epochs=150', 'expected one of 200, 100'),
    ],
)
def test_wrong_arguments(page, expected):
    with pytest.raises(UserError, match=f'{re.escape(page)}.*{expected}') as error:
        load(page)
    assert '\n' not in str(error.value)
