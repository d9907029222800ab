"""The page of a run: every control does what it says, by mouse and by keyboard; it shuts nobody out."""

import json
import re

import numpy as np
import pytest

from genre_jax.evaluation import evaluate
from genre_jax.report import figures
from genre_jax.report import page as report
from tests.browser.conftest import barriers, wider_than_the_window
from tests.report.test_report import class_names, make_run

# Sizes of runs: classes, songs; what is missing, or whether the split leaks.
RUNS = {
    'small': {'n_classes': 4, 'n_songs': 60},
    'leaky': {'n_classes': 12, 'n_songs': 90, 'leaky': True},
    'many': {'n_classes': 61, 'n_songs': 400},
    'most': {'n_classes': 161, 'n_songs': 500},
}
BINS = [{'n': n, 'probability': n / 5, 'accuracy': n / 6} for n in (1, 2, 4)]
SIDES = {side: {'expected_error': 0.1, 'bins': BINS} for side in ('before', 'after')}
CONFIDENCE = {level: {'temperature': 1.5, 'test': SIDES} for level in ('segment', 'song')}
PARTS_S = {'compute': 50.0, 'data': 3.0, 'compile': 9.0, 'evaluate': 4.0, 'save': 1.0, 'other': 0.5}


def write_run(run_dir, n_classes, n_songs, leaky=False):
    """Writes a run whose figures are those of its predictions, and its page; one class is never named."""
    rng = np.random.default_rng(n_classes)
    song = np.repeat(np.arange(n_songs), 6)
    label = (np.arange(n_songs) % n_classes)[song]
    logits = 1.5 * rng.normal(size=(n_songs, n_classes))[song] + rng.normal(size=(len(song), n_classes))
    logits[np.arange(len(song)), label] += 3
    logits[:, 1] -= 20
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = evaluate.Predictions(
        np.array([f'folder/<i>song {i}</i>.wav' for i in song]),
        np.tile(np.arange(6, dtype=np.float32) * 5, n_songs),
        label.astype(np.int32),
        probabilities.astype(np.float32),
        np.array(class_names(n_classes)),
        np.array([f'artist "{i % (n_songs // 3)}"' for i in song]),
    )
    parts = {'test': evaluate.evaluate(table, figures.group_of_track(table))}
    make_run(run_dir, n_classes, leaky, n_songs, parts=parts, audit=['2 titles in train and test'])
    table.save(run_dir / 'predictions' / 'test.npz')
    (run_dir / 'model').mkdir()
    (run_dir / 'model' / 'confidence.json').write_text(json.dumps(CONFIDENCE | {'reject': None}))
    timing = {'prepare_s': 4.0, 'train_s': 67.5, 'evaluate_s': 2.0, 'examples_per_s': 9.0}
    timing['train_parts_s'] = PARTS_S
    (run_dir / 'timing.json').write_text(json.dumps(timing))
    return report.write_report(run_dir)


@pytest.fixture(scope='module', params=RUNS)
def page(request, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp(request.param) / request.param, **RUNS[request.param])


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp('small') / 'small', **RUNS['small'])


def drawn_of(tab):
    return json.loads(tab.locator('#drawn').text_content())


@pytest.mark.parametrize('width, scheme', [(390, 'light'), (1300, 'dark')])
def test_it_bars_nobody(reader, page, scheme, width):
    tab = reader.open(page, width, scheme=scheme)
    tab.locator('#accuracy svg').wait_for()
    for details in tab.locator('details').all():
        details.evaluate('details => details.open = true')
    assert barriers(tab) == []
    assert wider_than_the_window(tab) == 0


def test_every_chart_is_drawn_and_said_in_words(reader, page):
    tab = reader.open(page)
    leaky = drawn_of(tab)['mark'] == 'LEAKY'
    places = tab.locator('.chart').all()
    assert len(places) == 10
    for place in places:
        place.locator('svg').first.wait_for()
        assert place.locator('svg').count() == 1
        svg = place.locator('svg')
        assert svg.get_attribute('role') == 'img'
        words = svg.get_attribute('aria-label')
        assert len(words) > 30 and words.startswith('LEAKY: ') == leaky
        assert not re.search('NaN|undefined|Infinity', words + svg.evaluate('svg => svg.outerHTML'))
        assert ('LEAKY' in svg.locator('text').all_text_contents()) == leaky


def test_charts_follow_the_width(reader, small):
    tab = reader.open(small, 1300)
    svg = tab.locator('#accuracy svg')
    svg.wait_for()
    wide = svg.bounding_box()['width']
    tab.set_viewport_size({'width': 390, 'height': 800})
    tab.wait_for_function("wide => document.querySelector('#accuracy svg').clientWidth < wide - 50", arg=wide)
    assert wider_than_the_window(tab) == 0


@pytest.mark.parametrize('kind', ['song_max_probability', 'segment', 'song_majority'])
def test_a_cell_lists_its_songs(reader, small, kind):
    tab = reader.open(small)
    drawn = drawn_of(tab)
    songs = drawn['songs']
    tab.locator('select[name=kind]').select_option(kind)
    i, j, n = max((each for each in drawn['confusion'][kind] if each[0] != each[1]), key=lambda each: each[2])
    box = tab.locator('.matrix')
    box.focus()
    for key, times in (('ArrowDown', i), ('ArrowRight', j)):
        for _ in range(times):
            tab.keyboard.press(key)
    assert tab.locator('.readout').text_content().startswith(' '.join(drawn['classes'][i].split()))
    tab.keyboard.press('Enter')
    listed = tab.locator('#confusion-songs li b').all_text_contents()
    column = {'song_max_probability': 'predicted', 'song_majority': 'majority'}.get(kind)
    if column:
        rows = zip(songs['track'], songs['label'], songs[column], strict=True)
        expected = [track for track, *classes in rows if classes == [i, j]]
        assert len(expected) == n
    else:
        rows = zip(songs['track'], songs['label'], songs['votes'], strict=True)
        expected = [track for track, k, votes in rows if k == i and j in votes[::2]]
    assert sorted(listed) == sorted(expected)
    # A click on the cell does the same.
    tab.locator('select[name=unit]').select_option('share')
    assert tab.locator('#confusion-songs li').count() == 0
    cells = tab.locator('.matrix .cell')
    places = cells.evaluate_all('cells => cells.map((cell) => [cell.__data__[0], cell.__data__[1]])')
    cells.nth(places.index([i, j])).click()
    assert tab.locator('#confusion-songs li b').all_text_contents() == listed


def test_the_keyboard_leaves_the_matrix_and_stays_inside_its_edges(reader, small):
    tab = reader.open(small)
    tab.locator('.matrix').focus()
    for _ in range(9):
        tab.keyboard.press('ArrowRight')
    last = drawn_of(tab)['classes'][3]
    assert f'called {" ".join(last.split())}:' in ' '.join(tab.locator('.readout').text_content().split())
    tab.keyboard.press('Tab')
    assert not tab.locator('.matrix').evaluate('box => box === document.activeElement')


def test_numbers_are_counts_or_shares_of_the_row(reader, small):
    tab = reader.open(small)
    cells = {(i, j): n for i, j, n in drawn_of(tab)['confusion']['song_max_probability']}
    texts = tab.locator('.matrix g[text-anchor=middle] text')
    assert sorted(texts.all_text_contents()) == sorted(map(str, cells.values()))
    tab.locator('select[name=unit]').select_option('share')
    sums = {i: sum(n for (k, _), n in cells.items() if k == i) for i, _ in cells}
    expected = [f'{100 * n / sums[i]:.0f}' for (i, _), n in cells.items()]
    assert all(abs(int(a) - int(b)) <= 1 for a, b in zip(texts.all_text_contents(), expected, strict=True))


def test_the_table_of_classes_sorts(reader, page):
    tab = reader.open(page)
    table = tab.locator('table', has=tab.get_by_text('precision, recall and F1'))
    f1 = table.locator('thead button', has_text='F1')

    def column():
        return [float(text) for text in table.locator('tbody tr td:nth-child(6)').all_text_contents()]

    before = column()
    f1.focus()
    tab.keyboard.press('Enter')
    assert column() == sorted(before, reverse=True)
    assert table.locator('th[aria-sort]').get_attribute('aria-sort') == 'descending'
    f1.click()
    assert column() == sorted(before)
    table.locator('thead button', has_text='Class').click()
    names = [' '.join(name.split()).lower() for name in table.locator('tbody th').all_text_contents()]
    assert names == sorted(names) and len(names) == len(before)
    assert table.locator('th[aria-sort]').count() == 1


def test_a_class_is_picked_out_of_the_curves(reader, small):
    tab = reader.open(small)
    there = [i for i, each in enumerate(drawn_of(tab)['thresholds']) if each]
    tab.locator('#threshold-class').select_option('2')
    each = drawn_of(tab)['thresholds'][there[2]]
    assert f'{each["area"]:.3f}' in tab.locator('#roc .legend').text_content()
    assert f'{each["average"]:.3f}' in tab.locator('#precision-recall svg').get_attribute('aria-label')


def test_groups_it_never_gets_right(reader, page):
    tab = reader.open(page)
    groups = drawn_of(tab)['groups']
    rows = list(zip(groups['name'], groups['songs'], groups['right'], strict=True))
    never = [name for name, _, right in rows if not right]
    said = tab.locator('#groups-words').text_content()
    assert said.startswith(f'Of {len(never)} of {len(rows)} groups' if never else f'Of each of {len(rows)}')
    for value, chosen in (
        ('never', never),
        ('always', [name for name, songs, right in rows if songs == right]),
        ('some', [name for name, songs, right in rows if 0 < right < songs]),
        ('all', [name for name, *_ in rows]),
    ):
        tab.locator('#groups-shown').select_option(value)
        assert sorted(tab.locator('#groups-table tbody th').all_text_contents()) == sorted(chosen)


def test_mistakes_are_filtered_ordered_and_shown_on_demand(reader, page):
    tab = reader.open(page)
    drawn = drawn_of(tab)
    songs = drawn['songs']
    names = [songs['track'][each['song']] for each in drawn['wrong']]
    heads = tab.locator('#wrong .song-head b')
    assert heads.all_text_contents() == names[:20]
    while tab.locator('#wrong-more').is_visible() and heads.count() < 60:
        before = heads.count()
        tab.locator('#wrong-more').click()
        assert heads.count() == min(before + 20, len(names))
        assert tab.locator('#wrong > li').nth(before).evaluate('item => item === document.activeElement')
    words = tab.locator('input[name=words]')
    words.fill('SONG 11<')
    assert heads.all_text_contents() == [name for name in names if 'song 11<' in name]
    words.fill('artist "3"')
    group = drawn['groups']['name'].index('artist "3"')
    assert heads.count() == sum(drawn['groups']['of_song'][each['song']] == group for each in drawn['wrong'])
    words.fill('')
    tab.locator('select[name=order]').select_option('close')
    assert heads.all_text_contents() == names[::-1][:20]
    tab.locator('select[name=order]').select_option('name')
    assert heads.first.text_content() == min(names)


def test_a_timeline_is_as_high_as_the_probabilities(reader, small):
    """Of the first mistake's first segment: the true class on the ground, the predicted one from the top."""
    tab = reader.open(small)
    drawn = drawn_of(tab)
    table = evaluate.Predictions.load(small.parent / 'predictions' / 'test.npz')
    each = drawn['wrong'][0]
    row = np.flatnonzero(table.track == drawn['songs']['track'][each['song']])[0]
    paths = tab.locator('#wrong svg').first.locator('path')
    for c, number in enumerate(each['classes'][:2]):
        x, low, high = map(
            float, re.match(r'M([\d.]+),([\d.]+)V([\d.]+)H', paths.nth(c).get_attribute('d')).groups()
        )
        assert x == 0
        assert low - high == pytest.approx(100 * table.probabilities[row, number], abs=0.5)
        assert (low, high)[c] == pytest.approx((100, 0)[c], abs=0.02)


def test_on_paper_everything_is_open(reader, small):
    tab = reader.open(small)
    tab.locator('#accuracy svg').wait_for()
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator('details:not([open])').count() == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator('details[open]').count() == 0
    assert tab.pdf().startswith(b'%PDF')


@pytest.mark.parametrize(
    'missing',
    ['predictions/test.npz', 'model/confidence.json', 'timing.json', 'metrics.jsonl', 'environment.json'],
)
def test_an_older_folder_has_a_page_too(reader, tmp_path, missing):
    page = write_run(tmp_path / 'run', **RUNS['small'])
    (page.parent / missing).unlink()
    tab = reader.open(report.write_report(page.parent))
    tab.locator('#accuracy svg').wait_for()
    tab.locator('#confusion svg').wait_for()
    assert barriers(tab) == []


def test_a_model_without_steps_has_a_page_too(reader, tmp_path):
    page = write_run(tmp_path / 'run', **RUNS['small'])
    file = page.parent / 'result.json'
    result = json.loads(file.read_text())
    for key in (
        'steps',
        'epochs',
        'best_step',
        'best_epoch',
        'selected_on',
        'parameters_sha256',
        'state_sha256',
        'best_parameters_sha256',
    ):
        del result[key]
    file.write_text(json.dumps(result))
    (page.parent / 'metrics.jsonl').unlink()
    tab = reader.open(report.write_report(page.parent))
    tab.locator('#confusion svg').wait_for()
    assert tab.locator('#h-curves').count() == 0
    assert barriers(tab) == []
