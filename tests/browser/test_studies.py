"""The pages of sweeps, studies and reproductions: what they draw, their controls, that they bar nobody."""

import json
import re

import numpy as np
import pytest

from genre_jax import leak
from genre_jax.blend import run as blend_run
from genre_jax.classical import estimators
from genre_jax.classical import table as classical_report
from genre_jax.config import load_page
from genre_jax.loading import protocols
from genre_jax.reproduce import collect, paper, plan
from genre_jax.reproduce import page as reproduction
from genre_jax.reproduce.present import Given
from genre_jax.sweep import study as sweep_study
from genre_jax.sweep import table as sweep_report
from genre_jax.sweep.space import Choice, IntUniform, LogUniform, Sweep, Uniform
from genre_jax.sweep.study import State
from genre_jax.transfer import table as transfer_report
from tests.blend import test_blend
from tests.browser.conftest import barriers, wider_than_the_window
from tests.program import ROOT
from tests.report.test_report import make_run
from tests.transfer import test_transfer

SPACE = {
    'optim.learning_rate': LogUniform(1e-4, 1e-2),
    'model.dropout': Uniform(0.1, 0.6),
    'windows.eval_per_track': IntUniform(1, 8),
    'model.hidden_units': Choice(((512, 256, 128), (256, 256), (8,))),
}


def write_sweep(home, trials=27, seeds=1, leaky=False, unfinished=False):
    """Plays a sweep in which trials fail and are pruned; with `unfinished` the last one runs still."""
    one = Sweep(SPACE, 'random', trials=trials, metric='val/segment/accuracy')
    study = sweep_study.SharedStudy(
        home, one, {'sweep': one.to_json(), 'config': {}}, prune=True, seeds=seeds
    )
    rng = np.random.default_rng(0)
    while (claim := study.claim()) is not None:
        number = claim.trial.number
        if number % 9 == 4:
            study.end(claim, State.FAIL, reason='the loss became <i>nan</i> at step 12')
        elif number % 9 == 7:
            for validation in range(1, 4):
                study.report(claim, validation, 0.1 * validation)
            study.end(claim, State.PRUNED)
        elif not (unfinished and number == trials - 1):
            value = float(0.8 - 0.1 * abs(np.log10(claim.point['optim.learning_rate']) + 3) ** 2)
            values = [value + 0.02 * float(rng.normal()) for _ in range(seeds)]
            figures = {
                'protocol': 'artist', 'protocol_detail': 'by artist', 'leaky': leaky, 'values': values,
                'ci95': [value - 0.1, value + 0.1] if seeds == 1 else None, 'best_epoch': [3.0] * seeds,
                'epochs': [6.0] * seeds,
            }  # fmt: skip
            study.end(claim, State.COMPLETE, float(np.mean(values)), figures=figures)
    sweep_report.report(study, 'configs/mlp_features.py', load_page('configs/mlp_features.py'))
    return home / 'index.html'


def figure(rng, leaky):
    """Draws an accuracy and a difference, with intervals."""
    share, above = rng.uniform(0.2, 0.9), rng.uniform(-0.1, 0.3)
    return {
        'leaky': leaky, 'accuracy': share, 'accuracy_ci95': [share - 0.1, share + 0.08], 'fit_s': 1.0,
        'above_strictest': above, 'above_ci95': [above - 0.1, above + 0.1],
    }  # fmt: skip


FACTS = {
    'dataset': 'rows of a table', 'songs': 90, 'groups': 30, 'group_key': 'artist', 'classes': 10, 'folds': 3,
}  # fmt: skip


def folders(home, columns, models):
    """Makes the folders of a study's cells, one of which has a page; returns what `cells.places` does."""
    found = {}
    for column in columns:
        for model in models:
            places = [f'{column}/features/{model}/fold_{i}' for i in range(FACTS['folds'])]
            found.setdefault(column, {})[model] = places
            for place in places:
                (home / place).mkdir(parents=True)
                (home / place / 'result.json').write_text('{}')
    (home / places[0] / 'report.html').write_text('<title>a run</title>')
    return found


def write_classical(home):
    rng = np.random.default_rng(1)
    figures = [
        {'model': model, 'protocol': name, 'level': level} | figure(rng, name != 'artist')
        for model in estimators.MODELS
        for name in protocols.WORDS
        for level in ('segment', 'song')
    ]
    of = {name: {'leaky': name != 'artist', 'detail': f'drawn by {name}'} for name in protocols.WORDS}
    result = FACTS | {'features': '', 'protocols': of, 'figures': figures}
    places = folders(home, protocols.WORDS, estimators.MODELS)
    classical_report.write_page(result | {'folders': places}, home)
    return home / 'index.html'


def write_leak(home, keys=()):
    rng = np.random.default_rng(2)
    rows = []
    for name in protocols.WORDS:
        row = {'protocol': name, 'leaky': name != 'artist'}
        for level in ('segment', 'song'):
            own = figure(rng, row['leaky'])
            above = {'inflation': own['above_strictest'], 'inflation_ci95': own['above_ci95']}
            row[level] = own | above
        rows.append(row)
    result = FACTS | {'model': 'a <b>forest</b>', 'protocols': rows}
    if keys:  # of --tonic
        result['songs_trained'] = dict.fromkeys(protocols.WORDS, 60.0)
        result['keys'] = {
            name: [
                {'semitones': key, 'way': 'pitch shift', 'level': level, 'tonic_known': rng.uniform()}
                | {'above_recorded': own['above_strictest'], 'above_recorded_ci95': own['above_ci95']}
                | {share: own[share] for share in ('accuracy', 'accuracy_ci95')}
                for key in ('0', *keys)
                for level in ('segment', 'song')
                for own in [figure(rng, False)]
            ]
            for name in protocols.WORDS
        }
    leak.write_page(result | {'folders': folders(home, protocols.WORDS, ['forest'])}, home)
    return home / 'index.html'


def write_transfer(home):
    transfer_report.write_page(test_transfer.write_study(home), home)
    return home / 'index.html'


def write_reproduction(home):
    """Of finished runs whose figures are drawn; the blend is shown by hand."""
    one = paper.load('ma')
    data = {need.key: Given(need, str(home / need.key), need.dataset, False) for need in one.needs}
    wishes = plan.Wishes(home, data, paper.PROTOCOLS, seeds=1)
    entries = plan.make_plan(one, wishes)
    for job in plan.jobs(entries):
        if 'blend' not in job.command[2] and not job.folder.exists():
            make_run(job.folder, n_classes=4, leaky='paper' in str(job.folder.relative_to(home)))
    result = collect.collect(one, wishes, entries, {})
    own = {'accuracy': 0.5, 'accuracy_ci95': [0.4, 0.6]}
    result['gaps'] = [
        {
            'protocol': side, 'leaky_members': side == 'paper', 'members': ['a', '<b>'], 'weights': [1, 2],
            'honest_weights': [2, 1], 'accuracy': own, 'honest': own,
            'difference': {'difference': 0.0, 'difference_ci95': [-0.1, 0.1]},
        }
        for side in paper.PROTOCOLS
    ]  # fmt: skip
    reproduction.write_page(result, home / 'index.html')
    return home / 'index.html'


def write_blend(home):
    probabilities, labels = test_blend.songs_drawn(8, 120)
    names = ('<b>good', 'other', 'useless')
    members = [
        test_blend.write_run(home / 'members' / name, probabilities[i], labels)
        for i, name in enumerate(names)
    ]
    recipe = blend_run.Recipe('integer', {'votes': 'onehot', 'max_weight': 2, 'grow_by': 0}, 'segment', True)
    blend_run.run(members, home / 'blend', recipe)
    return home / 'blend' / 'report.html'


PAGES = {
    'sweep': write_sweep,
    'one_trial': lambda home: write_sweep(home, trials=1),
    'leaky_sweep': lambda home: write_sweep(home, seeds=3, leaky=True, unfinished=True),
    'leak': write_leak,
    'leak_tonic': lambda home: write_leak(home, keys=('-5', '-1', '+1', '+6', 'all')),
    'classical': write_classical,
    'transfer': write_transfer,
    'reproduction': write_reproduction,
    'blend': write_blend,
}
OF_DOTS = ['leak', 'leak_tonic', 'classical', 'transfer', 'reproduction', 'blend']


@pytest.fixture(scope='module', autouse=True)
def from_the_repository():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


@pytest.fixture(scope='module', params=PAGES)
def page(request, tmp_path_factory):
    return PAGES[request.param](tmp_path_factory.mktemp(request.param) / 'study')


@pytest.fixture(scope='module')
def sweep(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp('sweep') / 'study')


@pytest.fixture(scope='module')
def transfer(tmp_path_factory):
    return write_transfer(tmp_path_factory.mktemp('transfer') / 'study')


@pytest.fixture(scope='module')
def classical(tmp_path_factory):
    return write_classical(tmp_path_factory.mktemp('classical') / 'study')


def drawn_of(tab):
    return json.loads(tab.locator('#drawn').text_content())


@pytest.mark.parametrize('width, scheme', [(390, 'light'), (1300, 'dark')])
def test_it_bars_nobody(reader, page, scheme, width):
    tab = reader.open(page, width, scheme=scheme)
    tab.locator('.chart svg').first.wait_for()
    for details in tab.locator('details').all():
        details.evaluate('details => details.open = true')
    assert barriers(tab) == []
    assert wider_than_the_window(tab) == 0


@pytest.mark.parametrize('width', [390, 1300])
def test_every_chart_is_drawn_and_said_in_words(reader, page, width):
    tab = reader.open(page, width)
    mark = drawn_of(tab)['mark']
    places = tab.locator('.chart:visible').all()
    assert places
    for place in places:
        place.locator('svg').first.wait_for()
        svg = place.locator('svg')
        words = svg.get_attribute('aria-label')
        assert svg.get_attribute('role') == 'img' and len(words) > 30
        assert words.startswith('LEAKY: ') == bool(mark)
        assert not re.search('NaN|undefined|Infinity', words + svg.evaluate('svg => svg.outerHTML'))
        if mark:
            assert 'LEAKY' in svg.locator('text').all_text_contents()


@pytest.mark.parametrize('page', OF_DOTS, indirect=True)
def test_what_leaks_is_hollow_and_marked(reader, page):
    """In every chart of dots: as many rings and marks as figures that leak, the others are filled."""
    tab = reader.open(page)
    for place, chart in drawn_of(tab)['charts'].items():
        svg = tab.locator(f'#{place} svg')
        svg.wait_for()
        figures = [figure for row in chart['rows'] for figure in row['figures'] if figure]
        leaky = [figure for figure in figures if figure['mark']]
        texts = svg.locator('text').all_text_contents()
        assert texts.count('LEAKY') == len(leaky) + bool(drawn_of(tab)['mark'])
        hollow = svg.evaluate(
            """svg => Array.from(svg.querySelectorAll('path, circle'))
                .filter((each) => each.getAttribute('fill') === 'var(--paper)').length"""
        )
        assert hollow == len(leaky)
        for figure in figures:
            text = f'{100 * figure["value"]:.1f}'.replace('-', '−')
            assert any(text in each for each in texts)


def test_charts_follow_the_width(reader, classical):
    tab = reader.open(classical, 1300)
    svg = tab.locator('#accuracy-song svg')
    svg.wait_for()
    wide = svg.bounding_box()['width']
    tab.set_viewport_size({'width': 390, 'height': 800})
    tab.wait_for_function(
        "wide => document.querySelector('#accuracy-song svg').clientWidth < wide - 50", arg=wide
    )
    assert wider_than_the_window(tab) == 0


@pytest.mark.parametrize('page', OF_DOTS, indirect=True)
@pytest.mark.parametrize('width', [390, 1300])
def test_texts_of_a_chart_do_not_overlap(reader, page, width):
    """Numbers, names and ticks of the charts of dots stand apart."""
    tab = reader.open(page, width)
    for place in drawn_of(tab)['charts']:
        tab.locator(f'#{place} svg').wait_for()
        boxes = tab.locator(f'#{place} svg').evaluate(
            """svg => Array.from(svg.querySelectorAll('text'))
                .filter((text) => text.textContent && !text.querySelector('tspan'))
                .map((text) => text.getBoundingClientRect()).map((r) => [r.left, r.right, r.top, r.bottom])"""
        )
        assert len(boxes) > 3
        for i, (left, right, top, bottom) in enumerate(boxes):
            for other in boxes[:i]:
                apart = right <= other[0] + 1 or other[1] <= left + 1
                assert apart or bottom <= other[2] + 5 or other[3] <= top + 5, (place, i)


def test_tables_sort_by_mouse_and_keyboard(reader, classical):
    tab = reader.open(classical)
    table = tab.locator('table.sortable').first
    button = table.locator('thead button').nth(1)

    def column():
        return [float(v) for v in table.locator('tbody tr td:nth-child(2)').evaluate_all(
            'cells => cells.map((cell) => cell.dataset.value)'
        )]  # fmt: skip

    before = column()
    button.focus()
    tab.keyboard.press('Enter')
    assert column() == sorted(before, reverse=True) != before
    button.click()
    assert column() == sorted(before)


def test_links_lead_to_runs(reader, classical):
    tab = reader.open(classical)
    hrefs = tab.locator('section a').evaluate_all('links => links.map((link) => link.getAttribute("href"))')
    assert len(hrefs) == 8 * len(protocols.WORDS) * FACTS['folds']
    assert all((classical.parent / href).exists() for href in hrefs)
    (own,) = [href for href in hrefs if href.endswith('report.html')]
    tab.locator(f'a[href="{own}"]').click()
    tab.wait_for_url('**/report.html')


# --- a sweep -------------------------------------------------------------------------------------


def shown_trials(tab):
    rows = tab.locator('#trials tbody tr:visible')
    return sorted(rows.evaluate_all('rows => rows.map((row) => +row.dataset.trial)'))


def test_trials_are_filtered_by_keyboard_and_mouse(reader, sweep):
    tab = reader.open(sweep)
    trials = drawn_of(tab)['trials']
    everything = sorted(trial['number'] for trial in trials)
    assert shown_trials(tab) == everything
    # By status, with a click.
    tab.locator('input[value=failed]').uncheck()
    assert shown_trials(tab) == sorted(t['number'] for t in trials if t['status'] != 'failed')
    tab.locator('input[value=failed]').check()
    # The best few, with keys.
    tab.locator('input[name=most]').focus()
    tab.keyboard.type('5')
    best = sorted(trials, key=lambda t: -(t['value'] or 0) if t['status'] == 'finished' else 1)[:5]
    assert shown_trials(tab) == sorted(t['number'] for t in best)
    assert tab.locator('#sweep-count').text_content().startswith(f'5 of {len(trials)} trials shown')
    assert '5 trials over' in tab.locator('#parallel svg').get_attribute('aria-label')
    tab.locator('input[name=most]').fill('')
    # By the values of a range and of a choice.
    tab.locator('details summary', has_text='Only these values').press('Enter')
    tab.locator('input[name=from-0]').fill('1e-3')
    above = [t for t in trials if t['point'][0] >= 1e-3]
    assert shown_trials(tab) == sorted(t['number'] for t in above)
    tab.locator('select[name=choice-3]').select_option('1')
    both = [t for t in above if t['point'][3] == 1]
    assert shown_trials(tab) == sorted(t['number'] for t in both) and 0 < len(both) < len(above)
    with_value = [t for t in both if t['value'] is not None]
    words = tab.locator('#effect-0 svg').get_attribute('aria-label')
    assert f', {len(with_value)} trial' in words


def test_a_trial_is_picked_out(reader, sweep):
    tab = reader.open(sweep)
    trial = drawn_of(tab)['trials'][3]
    thick = tab.locator('#parallel path[stroke-width="3.5"], #parallel g[stroke-width="3.5"] path')
    tab.locator('#parallel svg').wait_for()
    before = thick.first.get_attribute('d')
    tab.locator('select[name=picked]').select_option(str(trial['number']))
    said = tab.locator('#sweep-picked').text_content()
    assert said.startswith(f'trial {trial["number"]}, {trial["status"]}: val/segment/accuracy ')
    assert f'{100 * trial["value"]:.1f} %' in said and 'optim.learning_rate' in said
    assert thick.first.get_attribute('d') != before


def test_the_line_of_the_best_so_far_is_the_running_maximum(reader, sweep):
    tab = reader.open(sweep)
    trials = sorted(drawn_of(tab)['trials'], key=lambda t: t['number'])
    best = max(t['value'] for t in trials if t['status'] == 'finished')
    first = next(t['number'] for t in trials if t['value'] == best)
    tab.locator('#progress svg').wait_for()
    words = tab.locator('#progress svg').get_attribute('aria-label')
    assert f'the best, {100 * best:.1f} %, since trial {first}; 3 failed' in words


# --- transfer ------------------------------------------------------------------------------------


def test_what_the_attention_looks_at_is_chosen(reader, transfer):
    tab = reader.open(transfer)
    attention = drawn_of(tab)['attention']
    select = tab.locator('select[name=fold]')
    assert select.locator('option').count() == len(attention) == 6
    tab.locator('#attention-0 svg').wait_for()
    captions = tab.locator('#attention figcaption')
    for number in (0, 3):
        select.select_option(str(number))
        songs = attention[number]['songs']
        assert captions.count() == len(songs) == 6
        for caption, song in zip(captions.all_text_contents(), songs, strict=True):
            assert song['track'] in caption and caption.startswith('LEAKY') == (number == 0)
            assert caption.endswith(
                f'{song["true"]}, right' if song['true'] == song['said'] else f'taken for {song["said"]}'
            )
        words = tab.locator('#attention-1 svg').get_attribute('aria-label')
        assert f'{max(songs[1]["mean"]):.3f}' in words
    select.focus()
    tab.keyboard.press('ArrowDown')
    assert captions.first.text_content().startswith(attention[4]['songs'][0]['track'])
