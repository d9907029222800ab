"""Sweeps: what is drawn, who trains what, and that a sweep cut off anywhere ends as an unharmed one."""

import csv
import itertools
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import scipy.stats
import yaml
from absl import logging
from wandb.sdk.launch.sweeps import utils as wandb_agent

from genre_jax import config as config_lib
from genre_jax import run
from genre_jax.config import overrides
from genre_jax.config.keys import METRIC
from genre_jax.errors import UserError
from genre_jax.sweep import __main__ as sweep
from genre_jax.sweep import commands as sweep_commands
from genre_jax.sweep import page as sweep_page
from genre_jax.sweep import space as search_space
from genre_jax.sweep import study as sweep_study
from genre_jax.sweep import table as sweep_report
from genre_jax.sweep.space import Choice, IntUniform, LogUniform, Sweep, Uniform
from genre_jax.sweep.study import State
from tests import program
from tests.report.test_report import Page

PAGE = """
from configs import mlp_features
from genre_jax.sweep.space import Choice, Sweep

def get_config():
    config = mlp_features.get_config()
    config.model.hidden_units = (8,)
    config.train.length = '6 epochs'
    config.train.batch_size = 16
    config.eval.batch_size = 16
    config.eval.every = '1 epochs'
    config.checkpoint.every = '1 epochs'
    config.tracking.wandb = 'off'
    config.report.look = False
    return config

def sweep():
    return Sweep(
        {
            'optim.learning_rate': Choice((0.03, 1e30)),
            'model.hidden_units': Choice(((8,), (4, 4))),
        },
        method='grid',
    )
"""
RATE = 'optim.learning_rate'


@pytest.fixture(autouse=True)
def other_tests_hear_warnings():
    """A sweep silences them after its first trial."""
    before = logging.get_verbosity()
    yield
    logging.set_verbosity(before)


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    """A page, and a table whose three classes lie apart."""
    folder = tmp_path_factory.mktemp('sweep')
    (folder / 'page.py').write_text(PAGE)
    rng = np.random.default_rng(0)
    with (folder / 'table.csv').open('w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['filename', 'label', *'uvwxyz'])
        for song in range(45):
            home = 3 * np.eye(6)[song % 3] + rng.normal(size=6)
            for piece in range(4):
                values = home + 0.2 * rng.normal(size=6)
                table.writerow([f'{"abc"[song % 3]}.{song:05}.{piece}.wav', 'abc'[song % 3], *values])
    return folder


def config_of(places):
    config = config_lib.load_page(str(places / 'page.py'))
    config.data.update(root=str(places / 'table.csv'), prepared_dir=str(places / 'prepared'))
    return config


def make(space, method='grid', **settings):
    return Sweep(space, method, **settings)


def study_of(workdir, one, **settings):
    if not one.metric:
        one = search_space.dataclasses.replace(one, metric='val/segment/accuracy')
    identity = {'sweep': one.to_json(), 'config': {}}
    return sweep_study.SharedStudy(workdir, one, identity, **settings)


def play(study, objective):
    """Ends every trial with a made-up figure."""
    while (claim := study.claim()) is not None:
        study.end(claim, State.COMPLETE, objective(claim.point), figures={})


# --- points --------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_once():
    one = make({RATE: Choice((0.1, 0.01)), 'model.x': Choice(('a', (1, 2), True))})
    points = search_space.make_points(one)
    assert [tuple(point.values()) for point in points] == [
        (0.1, 'a'), (0.1, (1, 2)), (0.1, True), (0.01, 'a'), (0.01, (1, 2)), (0.01, True),
    ]  # fmt: skip
    assert one.size == 6


def test_random_points_are_distributed_as_they_say():
    space = {
        'log': LogUniform(1e-5, 1e-1),
        'even': Uniform(-2, 3),
        'whole': IntUniform(2, 5),
        'choice': Choice(('p', 'q')),
    }
    points = search_space.make_points(make(space, 'random', trials=2000, seed=3))
    column = {key: [point[key] for point in points] for key in space}
    log = scipy.stats.kstest(np.log10(column['log']), scipy.stats.uniform(-5, 4).cdf)
    even = scipy.stats.kstest(column['even'], scipy.stats.uniform(-2, 5).cdf)
    assert log.pvalue > 0.01 and even.pvalue > 0.01
    # Not the plain uniform distribution, and no two hyperparameters drawn from one number.
    assert scipy.stats.kstest(column['log'], scipy.stats.uniform(0, 0.1).cdf).pvalue < 1e-9
    for one, other in itertools.combinations(('log', 'even', 'whole'), 2):
        assert abs(scipy.stats.spearmanr(column[one], column[other]).statistic) < 0.08
    for key, values in (('whole', [2, 3, 4, 5]), ('choice', ['p', 'q'])):
        counts = [column[key].count(value) for value in values]
        assert sum(counts) == 2000 and scipy.stats.chisquare(counts).pvalue > 0.01


def test_random_points_repeat_and_a_longer_search_begins_with_the_shorter():
    def points(trials, seed):
        one = make({RATE: LogUniform(1e-4, 1), 'b': Uniform(0, 1)}, 'random', trials=trials, seed=seed)
        return search_space.make_points(one)

    assert points(5, 0) == points(9, 0)[:5] != points(5, 1)


def test_tpe_looks_where_it_was_good(tmp_path):
    """A planted optimum: TPE is in the better half of the range more often than random search."""

    def share(method, seed):
        one = make({'x': LogUniform(1e-4, 1)}, method, trials=25, seed=seed)
        study = study_of(tmp_path / f'{method}{seed}', one, storage=f'journal:{tmp_path}/{method}{seed}.log')
        play(study, lambda point: -((np.log10(point['x']) + 1) ** 2))
        tried = [np.log10(study.point(trial)['x']) for trial in study.trials()]
        assert len(set(tried)) == 25
        return np.mean([abs(x + 1) < 1 for x in tried])

    tpe = [share('tpe', seed) for seed in range(3)]
    random = [share('random', seed) for seed in range(3)]
    assert abs(np.mean(random) - 0.5) < 0.12
    assert np.mean(tpe) > np.mean(random) + 0.15


@pytest.mark.parametrize('method', ['tpe', 'random'])
def test_what_is_drawn_does_not_depend_on_when_the_program_began(tmp_path, method):
    one = make({'x': Uniform(0, 1), 'y': Choice((1, (2, 3)))}, method, trials=14, seed=5)

    def tried(study):
        return [study.point(trial) for trial in study.trials()]

    def objective(point):
        return point['x']

    def begin(name):
        return study_of(tmp_path / name, one, storage=f'journal:{tmp_path}/{name}.log')

    whole = begin('whole')
    play(whole, objective)
    for number in range(14):  # a program for each trial, and one that dies in each
        claim = begin('pieces').claim()
        claim.lock.close()
        pieces = begin('pieces')
        claim = pieces.claim()
        assert claim.trial.number == number
        pieces.end(claim, State.COMPLETE, objective(claim.point), figures={})
    assert tried(pieces) == tried(whole)
    assert pieces.claim() is None


# --- the study -----------------------------------------------------------------------------------


@pytest.mark.parametrize('storage', ['', 'journal:'])
def test_two_programs_share_the_trials(tmp_path, storage):
    storage += str(tmp_path / 'journal') if storage else ''
    one = make({'x': Choice(tuple(range(5)))})
    first, second = (study_of(tmp_path / 'shared', one, storage=storage) for _ in range(2))
    claims = [study.claim() for study in (first, second, second, first, second)]
    assert [claim.point['x'] for claim in claims] == [0, 1, 2, 3, 4]
    assert first.claim() is None and second.claim() is None  # all are in somebody's hands
    claims[1].lock.close()  # that program dies
    again = first.claim()
    assert (again.trial.number, again.point) == (1, {'x': 1})
    for claim in (claims[0], again, *claims[2:]):
        first.end(claim, State.COMPLETE, 0.5, figures={})
    assert first.claim() is None and sweep_report.ended(second) == 5


def test_a_trial_on_another_machine_is_left_alone_while_it_shows_life(tmp_path):
    one = make({'x': Choice((0, 1))})
    url = f'sqlite:///{tmp_path}/all.db'
    there = study_of(tmp_path / 'there' / 'name', one, storage=url)
    here = study_of(tmp_path / 'here' / 'name', one, storage=url)
    far, near = there.claim(), here.claim()
    assert near.point == {'x': 1} and here.claim() is None
    far.trial.set_user_attr('alive', time.time() - 100)
    assert here.claim() is None
    far.trial.set_user_attr('alive', time.time() - 1000)
    assert here.claim().point == {'x': 0}


def test_signs_of_life_and_the_time_spent(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_study, '_SIGN_OF_LIFE_S', 0.05)
    study = study_of(tmp_path / 's', make({'x': Choice((0,))}))
    claim = study.claim()
    before = study.trials()[0].user_attrs['alive']
    with study.signs_of_life(claim):
        time.sleep(0.4)
        assert study.trials()[0].user_attrs['alive'] > before
    claim.lock.close()
    again = study.claim()
    assert again.earlier_s >= 0.4 and again.seconds >= again.earlier_s


def test_another_sweep_is_refused_and_a_longer_one_is_not(tmp_path):
    one = make({'x': Uniform(0, 1)}, 'random', trials=2)
    play(study_of(tmp_path / 's', one), lambda point: 0.5)
    longer = study_of(tmp_path / 's', make({'x': Uniform(0, 1)}, 'random', trials=3))
    assert longer.claim().trial.number == 2
    for other in (
        make({'x': Uniform(0, 2)}, 'random', trials=2),
        make({'x': Uniform(0, 1)}, 'random', trials=2, seed=1),
        make({'x': Uniform(0, 1)}, 'tpe', trials=2),
    ):
        with pytest.raises(UserError, match=r'--workdir=.*s holds another sweep \(.* -> .*\): use'):
            study_of(tmp_path / 's', other)
    url = f'sqlite:///{tmp_path}/all.db'
    study_of(tmp_path / 'a' / 'name', one, storage=url)
    with pytest.raises(UserError, match="the study 'name' in sqlite.* holds another sweep .*seed"):
        study_of(
            tmp_path / 'b' / 'name',
            make({'x': Uniform(0, 1)}, 'random', trials=2, seed=1),
            storage=url,
        )


@pytest.mark.parametrize(
    ('storage', 'words'),
    [
        ('nonsense', '--storage: expected the URL of a database'),
        ('sqlite:////no/such/folder/x.db', 'cannot be opened'),
        ('nosuchdb://me:secret@host/x', r'nosuchdb://me:\*\*\*@host/x cannot be opened'),
    ],
)
def test_a_storage_that_cannot_be_used(tmp_path, storage, words):
    with pytest.raises(UserError, match=words) as raised:
        study_of(tmp_path / 's', make({'x': Choice((0,))}), storage=storage)
    assert 'secret' not in str(raised.value) and '\n' not in str(raised.value)


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('one', 'words'),
    [
        (make({}), 'expected a space'),
        (make({RATE: Choice((0.1,))}, 'gird'), "method='gird'; did you mean 'grid'?"),
        (make({'optim.lerning_rate': Choice((1,))}), 'did you mean .optim.learning_rate.'),
        (make({'optim': Choice((1,))}), 'unknown key optim'),
        (make({RATE: 0.1}), 'optim.learning_rate=0.1: expected a Choice'),
        (make({RATE: Choice(())}), 'at least one value'),
        (make({RATE: Choice((0.1, 0.1))}), 'values that differ'),
        (make({RATE: Choice((object(),))}), 'expected numbers, booleans'),
        (make({RATE: Uniform(0.1, 0.2)}), 'a grid has no ranges'),
        (make({RATE: Uniform(0.2, 0.1)}, 'random', trials=3), 'expected low below high'),
        (make({RATE: Uniform(0.2, 0.2)}, 'random', trials=3), 'expected low below high'),
        (make({RATE: Uniform('a', 'b')}, 'random', trials=3), 'expected two numbers'),
        (make({RATE: LogUniform(0.0, 0.1)}, 'random', trials=3), 'expected low above 0'),
        (make({'train.batch_size': IntUniform(1, 2.5)}, 'tpe', trials=3), 'two whole numbers'),
        (make({'train.batch_size': Uniform(1, 8.5)}, 'tpe', trials=3), 'cannot be 8.5'),
        (make({RATE: Choice((0.1, -1.0))}), 'optim.learning_rate cannot be -1.0: .*above 0'),
        (make({'optim.schedule': Choice(('cosin',))}), "did you mean 'cosine'"),
        (make({'split.fold': Choice((0, 1))}), 'trials that differ in it cannot be ranked'),
        (make({RATE: LogUniform(0.1, 1)}, 'random'), r'trials=None: .*\(--trials=N\)'),
        (make({RATE: LogUniform(0.1, 1)}, 'random', trials=0), 'trials=0: expected a whole'),
        (make({RATE: Choice((0.1, 1))}, trials=3), 'trials=3, but the grid has 2 points'),
        (make({RATE: Choice((0.1, 1))}, seed=-1), 'seed=-1'),
        (make({RATE: Choice((0.1, 1))}, metric='val/accuracy'), 'a figure of the validation part'),
        (make({RATE: Choice((1, 2))}, metric='test/segment/accuracy'), 'of the validation part'),
    ],
)  # fmt: skip
def test_mistakes_in_a_space(places, one, words):
    with pytest.raises(UserError, match=f'^sweep.. of page.py: .*{words}') as raised:
        search_space.check(one, config_of(places), 'sweep() of page.py')
    assert '\n' not in str(raised.value)


def test_the_metric_is_what_chooses_the_checkpoint(places):
    config = config_of(places)
    config.eval.select_on = 'song_majority'
    one = search_space.check(make({RATE: Choice((0.1,))}), config, '')
    assert one.metric == 'val/song_majority/accuracy'


def test_pages(places):
    with pytest.raises(UserError, match=r'tiny_page.py: .*no function sweep\(\)'):
        search_space.load(str(program.PAGE))
    page = places / 'arguments.py'
    page.write_text('def sweep(arguments=None):\n    return arguments\n')
    with pytest.raises(UserError, match=r'its sweep\(\) returned str; expected'):
        search_space.load(f'{page}:key=value')
    with pytest.raises(UserError, match='returned NoneType'):
        search_space.load(str(page))
    # A sweep() without a parameter does not get the arguments that get_config() takes.
    assert search_space.load(f'{places / "page.py"}:key=value').size == 4
    (page := places / 'broken.py').write_text('def sweep():\n    return 1 / 0\n')
    with pytest.raises(UserError, match='broken.py, line 2: ZeroDivisionError'):
        search_space.load(str(page))


PAGES = sorted(
    str(path.relative_to(program.ROOT))
    for path in (program.ROOT / 'configs').glob('*.py')
    if 'def sweep(' in path.read_text()
)


@pytest.mark.parametrize(
    'page',
    [
        *PAGES,
        'configs/finetune.py:model=ast',
        'configs/finetune.py:model=yamnet,pretrained=False',
    ],
)
def test_the_sweeps_of_all_pages_are_sound(page):
    config = config_lib.load_page(page)
    one = search_space.check(search_space.load(page), config, page)
    assert one.size >= 1 and one.metric in METRIC.choices


# --- trials that are trained ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_bad_trial_is_pruned_and_others_have_the_mean_of_their_seeds(places, tmp_path):
    study = study_of(tmp_path / 's', make({RATE: Choice((*range(5), 1e-9, 0.03))}), prune=True, seeds=2)
    for _ in range(5):  # made up: 50 % from the first validation on
        claim = study.claim()
        for validation in range(1, 7):
            assert not study.report(claim, validation, 0.5)
        study.end(claim, State.COMPLETE, 0.5, figures={})
    sweep.run_trials(study, config_of(places))
    bad, good = study.trials()[5:]
    assert bad.state.name == 'PRUNED' and max(bad.intermediate_values) == 3
    assert [folder.exists() for folder in study.run_folders(5)] == [True, False]
    folders = study.run_folders(6)
    assert [json.loads((f / 'config.json').read_text())['seed'] for f in folders] == [0, 1]
    values = [program.result(f)['parts']['val']['segment']['accuracy'] for f in folders]
    assert good.value == pytest.approx(np.mean(values)) and good.value > 0.5
    # What was reported is what the first run wrote, and the model is kept.
    written = [line.get('val/segment/accuracy') for line in program.metrics(folders[0])]
    assert list(good.intermediate_values.values()) == [v for v in written if v is not None]
    for folder in folders:
        assert (folder / 'model').is_dir() and not (folder / 'checkpoints').exists()
    best, *_, last = sweep_report.rows(study)
    assert (last.number, last.status, last.epochs) == (5, 'pruned', '3 validations')
    cells = sweep_report.table([best], study.sweep.metric)
    assert cells[0][2] == 'val/segment/accuracy, mean (sd) over seeds'
    assert cells[1][2] == f'{100 * np.mean(values):.1f} % ({100 * np.std(values, ddof=1):.1f} %)'


@pytest.mark.slow
def test_packed_points_are_those_that_differ_in_numbers_only(places, tmp_path, monkeypatch):
    """With a stand-in that trains one by one what it is given to train together."""
    packs = []

    def stand_in(config, points, folders):
        packs.append((config.model.hidden_units, points, [folder.name for folder in folders]))
        for point, folder in zip(points, folders, strict=True):
            run.run(search_space.apply(config, point), folder)

    module = types.SimpleNamespace(packable=lambda key, value: key in (RATE, 'seed'), run=stand_in)
    monkeypatch.setitem(sys.modules, 'genre_jax.sweep.packed', module)
    monkeypatch.setattr('genre_jax.sweep.packed', module, raising=False)
    space = {'model.hidden_units': Choice(((8,), (4,))), RATE: Choice((0.01, 0.03))}
    study = study_of(tmp_path / 's', make(space))
    config = config_of(places)
    config.train.length = '1 epochs'
    # One of the second pack is there already: the other is no pack.
    run.run(search_space.apply(config, {'model.hidden_units': (4,), RATE: 0.03}), study.folder(3))
    sweep.train_packed(study, config)
    rates = [{'seed': 0, RATE: 0.01}, {'seed': 0, RATE: 0.03}]
    assert packs == [((8,), rates, ['0000', '0001'])]
    before = (study.folder(0) / 'result.json').stat().st_mtime_ns
    sweep.run_trials(study, config)
    assert (study.folder(0) / 'result.json').stat().st_mtime_ns == before
    for trial in study.trials():
        part = program.result(study.folder(trial.number))['parts']['val']
        assert trial.value == part['segment']['accuracy']


def test_a_trial_that_fails_is_noted_and_the_sweep_goes_on(places, tmp_path, monkeypatch):
    errors = iter([MemoryError(), UserError('the reason'), RuntimeError('RESOURCE_EXHAUSTED: x')])

    def fail(*arguments):
        raise next(errors)

    monkeypatch.setattr(run, 'run', fail)
    study = study_of(tmp_path / 's', make({RATE: Choice((0.1, 0.2, 0.3))}))
    sweep.run_trials(study, config_of(places))
    reasons = [trial.user_attrs['reason'] for trial in study.trials()]
    assert reasons[1] == 'the reason' and all('out of memory' in reasons[i] for i in (0, 2))
    with pytest.raises(UserError, match='all 3 trials failed; the first: out of memory'):
        sweep_report.report(study, str(places / 'page.py'), config_of(places))


def test_leaky_figures_are_marked_and_nothing_is_tested_before_the_end(places, tmp_path, capsys):
    one = make({RATE: Choice((0.1, 0.2)), 'model.hidden_units': Choice(((8,), (4,)))})
    study = study_of(tmp_path / 's', one)
    leaky = {
        'protocol': 'kfold', 'protocol_detail': 'by song', 'leaky': True, 'values': [0.5],
        'ci95': [0.4, 0.6], 'best_epoch': [3.0], 'epochs': [6.0],
    }  # fmt: skip
    claims = [study.claim() for _ in range(4)]
    for claim, value in zip(claims[:3], (0.5, 0.7, 0.6), strict=True):
        study.end(claim, State.COMPLETE, value, figures=leaky)
    arguments = (study, str(places / 'page.py'), config_of(places))
    sweep_report.report(*arguments)
    said = capsys.readouterr().out
    assert 'validation, protocol kfold: by song LEAKY' in said and 'chosen' not in said
    assert '1 trials are in other hands' in said and not (tmp_path / 's' / 'best.json').exists()
    study.end(claims[3], State.FAIL, reason='the reason')
    sweep_report.report(*arguments)
    said = capsys.readouterr().out
    assert 'chosen by val/segment/accuracy: trial 1, ' in said
    assert 'its run folder, with the test figures, lies on another machine' in said
    page = Page((tmp_path / 's' / 'index.html').read_text())
    assert page.drawn()['mark'] == 'LEAKY' and page.source.count('LEAKY') > 5
    assert '<title>LEAKY' in page.source and 'Compare them with no other' in page.text()
    best = json.loads((tmp_path / 's' / 'best.json').read_text())
    assert best['leaky'] and best['parameters'] == {RATE: 0.1, 'model.hidden_units': [4]}
    assert [row['leaky'] for row in read_csv(tmp_path / 's')] == ['LEAKY'] * 3 + ['']


def test_importance_is_that_of_what_was_planted(tmp_path):
    space = {'much': Uniform(0, 1), 'little': Uniform(0, 1), 'none': Choice((1, 2))}
    one = make(space, 'random', trials=40)
    study = study_of(tmp_path / 's', one, storage=f'journal:{tmp_path}/log')
    play(study, lambda point: point['much'] + 0.1 * point['little'])
    shares = sweep_report.importances(study)
    assert list(shares)[0] == 'much' and shares['much'] > 0.8
    assert sum(shares.values()) == pytest.approx(1) and shares['none'] < 0.1


@pytest.mark.parametrize(
    ('low', 'high', 'ticks'),
    [
        (1e-4, 1e-3, '1e-4 3e-4 1e-3'),
        (1e-4, 5e-3, '1e-4 3e-4 1e-3 3e-3'),
        (1e-5, 1e-1, '1e-5 1e-4 1e-3 1e-2 1e-1'),
        (1e-8, 1.0, '1e-8 1e-6 1e-4 1e-2 1e0'),
        (2e-4, 6e-4, '2e-4 2.9e-4 4.2e-4 6e-4'),
        (10, 1000, '1e1 1e2 1e3'),
        (1.0, 1.001, None),
        (2.2e-4, 2.6e-3, None),
        (0.037, 0.041, None),
    ],
)
def test_logarithmic_axes_can_be_read(low, high, ticks):
    values, texts = sweep_page.log_ticks(low, high)
    assert ticks is None or texts == ticks.split()
    assert 2 < len(values) < 6 and [float(text) for text in texts] == pytest.approx(values, rel=1e-9)
    # Inside of the axis, but for the rounding of what is not a round number, and never close together.
    places = [math.log(value / low) / math.log(high / low) for value in values]
    assert -0.01 < places[0] and places[-1] < 1.01
    assert all(after - before > 0.1 for before, after in itertools.pairwise(places))


def drawn_of(workdir):
    return Page((workdir / 'index.html').read_text()).drawn()


def test_the_page_of_trials_that_ended_in_every_way(places, tmp_path):
    """What is drawn is the study's own; only what is there is linked; the best so far has no test figure."""
    workdir = tmp_path / 'a <b>"sweep"</b>'
    space = {RATE: LogUniform(1e-4, 1e-2), 'train.batch_size': Choice((64, 8)), 'eval.x': IntUniform(1, 9)}
    one = make(space, 'random', trials=6, metric='val/loss')
    study = study_of(workdir, one, prune=True)
    claims = [study.claim() for _ in range(5)]
    figures = {
        'protocol': 'artist', 'protocol_detail': 'by artist', 'leaky': False, 'values': [0.5],
        'ci95': [0.4, 0.6], 'best_epoch': [3.0], 'epochs': [6.0],
    }  # fmt: skip
    for claim, value in zip(claims[:2], (0.5, 0.25), strict=True):
        study.end(claim, State.COMPLETE, value, figures=figures | {'values': [value]})
    for validation, value in enumerate((0.9, 0.7, 0.8), 1):
        study.report(claims[2], validation, value)
    study.end(claims[2], State.PRUNED)
    study.end(claims[3], State.FAIL, reason='<script>alert(1)</script>')
    report = study.folder(1) / 'report.html'
    report.parent.mkdir(parents=True)
    report.touch()
    sweep_report.report(study, str(places / 'page.py'), config_of(places))
    text = (workdir / 'index.html').read_text()
    page, drawn = Page(text), drawn_of(workdir)
    assert [(t['number'], t['status'], t['value']) for t in drawn['trials']] == [
        (1, 'finished', 0.25), (0, 'finished', 0.5), (2, 'pruned', 0.7), (3, 'failed', None),
        (4, 'running', None),
    ]  # fmt: skip
    assert (drawn['lower'], drawn['scale'], drawn['mark']) == (True, 1, '') and 'LEAKY' not in text
    rate, batch, whole = drawn['space']
    assert rate['kind'] == 'log' and batch['values'] == ['8', '64'] and whole['whole']
    for trial in drawn['trials']:
        point = claims[trial['number']].point
        assert trial['point'] == [point[RATE], [8, 64].index(point['train.batch_size']), point['eval.x']]
    assert 'The best trial so far' in page.text() and '0.250' in page.text()
    assert '<script>alert(1)</script>' in page.text()  # as text
    assert '1 trials are in other hands' in page.text() and 'test/loss' not in page.text()
    assert [link for link in page.links() if not link.startswith('#')] == ['trials/0001/report.html']
    rows = page.table('val/loss, with 95 % intervals')[1:]
    assert [row[:3] for row in rows[:3]] == [
        ['1', 'finished', '0.250 [0.400, 0.600]'], ['0', 'finished', '0.500 [0.400, 0.600]'],
        ['2', 'pruned', '0.700'],
    ]  # fmt: skip


def test_the_page_of_trials_of_which_one_has_an_infinite_loss(places, tmp_path):
    study = study_of(tmp_path / 's', make({RATE: Choice((0.1, 0.2))}, metric='val/loss'))
    for claim, value in ((study.claim(), math.inf), (study.claim(), 0.5)):
        facts = {'protocol': 'artist', 'protocol_detail': '', 'leaky': False, 'ci95': None, 'values': [value]}
        study.end(claim, State.COMPLETE, value, figures=facts)
    sweep_report.report(study, str(places / 'page.py'), config_of(places))
    assert [(t['number'], t['value'], t['values']) for t in drawn_of(tmp_path / 's')['trials']] == [
        (1, 0.5, [0.5]), (0, None, []),
    ]  # fmt: skip


def test_the_page_of_trials_of_which_none_has_finished(places, tmp_path):
    study = study_of(tmp_path / 's', make({RATE: Choice((0.1, 0.2))}))
    first, _ = study.claim(), study.claim()
    study.end(first, State.FAIL, reason='the reason')
    sweep_report.report(study, str(places / 'page.py'), config_of(places))
    page = Page((tmp_path / 's' / 'index.html').read_text())
    assert 'No trial has finished yet.' in page.text() and 'the reason' in page.text()
    assert page.places() == []


# --- the program ---------------------------------------------------------------------------------


def command(places, workdir, *flags):
    return [
        *(sys.executable, '-m', 'genre_jax.sweep', f'--config={places / "page.py"}'),
        *(f'--workdir={workdir}', f'--config.data.root={places / "table.csv"}'),
        *(f'--config.data.prepared_dir={places / "prepared"}', *flags),
    ]


@pytest.fixture(scope='module')
def unharmed(places):
    workdir = places / 'unharmed'
    ended = program.run(command(places, workdir))
    assert ended.returncode == 0, ended.stderr
    return workdir, ended


def read_csv(workdir):
    with (workdir / 'sweep.csv').open(newline='') as file:
        return [{k: v for k, v in row.items() if k != 'seconds'} for row in csv.DictReader(file)]


def test_the_table_of_a_sweep(unharmed, places):
    workdir, ended = unharmed
    rows = read_csv(workdir)
    metric = 'val/song_max_probability/accuracy'
    assert sorted((float(row[RATE]), row['model.hidden_units']) for row in rows) == sorted(
        itertools.product((0.03, 1e30), ('[8]', '[4, 4]'))
    )
    assert [row['status'] for row in rows] == ['finished'] * 2 + ['failed'] * 2
    assert float(rows[0][metric]) >= float(rows[1][metric]) > 0.6
    for row in rows:
        folder = workdir / 'trials' / f'{int(row["trial"]):04d}'
        saved = json.loads((folder / 'config.json').read_text())
        assert saved['optim']['learning_rate'] == float(row[RATE])
        assert saved['model']['hidden_units'] == json.loads(row['model.hidden_units'])
        if row['status'] == 'failed':
            assert float(row[RATE]) == 1e30 and 'the loss became' in row['reason']
            assert row['reason'] in ended.stdout
            continue
        part = program.result(folder)['parts']['val']['song_max_probability']
        assert float(row[metric]) == part['accuracy'] and row['protocol'] == 'grouped'
        assert [float(row[f'{metric}_{end}']) for end in ('low', 'high')] == part['accuracy_ci95']


def test_test_figures_are_those_of_the_chosen_trial_alone(unharmed):
    workdir, ended = unharmed
    best = json.loads((workdir / 'best.json').read_text())
    rows = read_csv(workdir)
    assert best['trial'] == int(rows[0]['trial'])
    test = program.result(pathlib.Path(best['folder']))['parts']['test']['song_max_probability']
    assert best['test'] == [{'value': test['accuracy'], 'ci95': test['accuracy_ci95']}]
    metric = 'val/song_max_probability/accuracy'
    column = 'test/song_max_probability/accuracy of the chosen one'
    assert [bool(row[column]) for row in rows] == [True] + 3 * [False]
    low, high = (100 * end for end in test['accuracy_ci95'])
    shown = f'{100 * test["accuracy"]:.1f} % [{low:.1f}, {high:.1f}], protocol grouped'
    assert f'test/song_max_probability/accuracy: {shown}\n' in ended.stdout
    assert ended.stdout.count('one segment') == 1 and 'LEAKY' not in ended.stdout
    assert 'is the best of 4 trials on the validation part' in ended.stdout
    assert '4 of 4 trials, best val/' in ended.stdout and '0:00:00 left' in ended.stdout
    assert '(index.html)' in (workdir / 'sweep.md').read_text()
    page = Page((workdir / 'index.html').read_text())
    assert shown in page.text() and page.text().count('test/song_max_probability') == 1
    drawn = page.drawn()['trials']
    assert [trial['value'] for trial in drawn] == [
        float(row[metric]) if row[metric] else None for row in rows
    ]
    assert {key for trial in drawn for key in trial} == {
        'number', 'status', 'point', 'value', 'values',
    }  # fmt: skip
    links = [link for link in page.links() if not link.startswith('#')]
    assert links == [f'trials/{int(row["trial"]):04d}/report.html' for row in rows[:2]]
    assert all((workdir / link).exists() for link in links)


def test_the_chosen_config_can_be_trained_again(unharmed, places):
    workdir, ended = unharmed
    best = json.loads((workdir / 'best.json').read_text())
    saved = json.loads((pathlib.Path(best['folder']) / 'config.json').read_text())
    assert json.loads((workdir / 'best_config.json').read_text()) == saved
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith('again: ')]
    words = subprocess.run(
        f'printf "%s\\n" {line.removeprefix("again:")}', shell=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert words[:3] == ['python', '-m', 'genre_jax.main']
    assert parsed([word for word in words if word.startswith('--config')]) == saved


def parsed(words):
    """Returns what genre_jax.main makes of flags."""
    page, assignments, _ = overrides.split(words)
    return json.loads(config_lib.to_json(overrides.load(page, assignments)[0]))


def wait_for(condition, process, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def lines_written(workdir, trial, count):
    file = workdir / 'trials' / trial / 'metrics.jsonl'
    return lambda: file.exists() and file.read_bytes().count(b'\n') >= count


@pytest.mark.slow
def test_stopped_killed_and_continued_by_two_programs(unharmed, places):
    """The table, the parameters and the bytes of every trial are those of the unharmed sweep."""
    workdir = places / 'harmed' / 'unharmed'  # the name of the study is that of the folder
    words = command(places, workdir)
    process = program.start(words)
    wait_for(lines_written(workdir, '0000', 3), process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 143 and 'the same command continues' in output
    process = program.start(words)
    wait_for(lines_written(workdir, '0001', 5), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    both = [program.start(words) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    taken = [re.findall(r'^trial (\d+): ', output, re.MULTILINE) for output in outputs]
    assert sorted(taken[0] + taken[1]) == [str(number) for number in range(1, 4)]
    assert all(taken)
    assert read_csv(workdir) == read_csv(unharmed[0])
    for number in range(2):
        one, other = (folder / 'trials' / f'{number:04d}' for folder in (workdir, unharmed[0]))
        for name in ('metrics.jsonl', 'result.json'):
            assert (one / name).read_bytes() == (other / name).read_bytes()
    assert 'continuing from step' in (workdir / 'trials' / '0001' / 'log.txt').read_text()


@pytest.mark.slow
def test_a_finished_sweep_is_shown_again(unharmed, places):
    workdir, first = unharmed
    before = (workdir / 'trials' / '0000' / 'result.json').stat().st_mtime_ns
    again = program.run(command(places, workdir))
    assert again.returncode == 0 and 'trial 0:' not in again.stdout
    assert again.stdout.strip() == first.stdout[first.stdout.index('\n\ntrial  optim') :].strip()
    assert (workdir / 'trials' / '0000' / 'result.json').stat().st_mtime_ns == before
    other = program.run(command(places, workdir, '--config.optim.b1=0.8', '--seeds=2'))
    (line,) = [line for line in other.stderr.splitlines() if line.startswith('error: ')]
    assert other.returncode == 2 and other.stderr.splitlines()[-1] == line
    assert 'holds another sweep (seeds: 1 -> 2; optim.b1: 0.9 -> 0.8)' in line


# --- W&B -----------------------------------------------------------------------------------------


def test_agents_of_wandb_start_the_runs(places, tmp_path):
    config = config_of(places)
    config.optim.b1 = 0.8
    space = {
        RATE: LogUniform(1e-4, 1e-2),
        'model.dropout': Uniform(0, 1),
        'train.batch_size': IntUniform(8, 32),
        'model.hidden_units': Choice(((8,), (4, 4))),
        'train.device_resident': Choice((False, True)),
    }
    one = search_space.check(make(space, 'tpe', trials=9, metric='val/loss'), config, '')
    page, workdir = str(places / 'page.py'), tmp_path / 'with space'
    content = yaml.safe_load(sweep_commands.wandb_yaml(one, page, config, workdir))
    assert content['method'] == 'bayes' and content['run_cap'] == 9
    assert content['metric'] == {'name': 'val/loss', 'goal': 'minimize'}
    assert content['parameters'] == {
        'config.optim.learning_rate': {
            'distribution': 'log_uniform_values', 'min': 1e-4, 'max': 1e-2,
        },
        'config.model.dropout': {'distribution': 'uniform', 'min': 0.0, 'max': 1.0},
        'config.train.batch_size': {'distribution': 'int_uniform', 'min': 8, 'max': 32},
        'config.model.hidden_units': {'values': ['(8,)', '(4, 4)']},
        'config.train.device_resident': {'values': [False, True]},
    }  # fmt: skip
    # As wandb's own agent fills the command in; a `python` that only shows its arguments.
    drawn = [0.00123, 0.25, 24, '(4, 4)', True]
    arguments = wandb_agent.create_sweep_command_args(
        {'args': {key: {'value': v} for key, v in zip(content['parameters'], drawn, strict=True)}}
    )
    filled = {'${env}': ['/usr/bin/env'], '${args}': arguments['args']}
    words = wandb_agent.create_sweep_command(content['command'])
    words = [each for word in words for each in filled.get(word, [word])]
    (tmp_path / 'python').write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / 'python').chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    shown = subprocess.run(
        words,
        env={'PATH': path, 'WANDB_RUN_ID': 'abc123'},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert shown[:2] == ['-m', 'genre_jax.main'] and f'--workdir={workdir}/abc123' in shown
    expected = search_space.apply(config, dict(zip(space, [0.00123, 0.25, 24, (4, 4), True], strict=True)))
    found = parsed([word for word in shown if word.startswith('--config')])
    assert found == json.loads(config_lib.to_json(expected))
