"""The page of several runs: what the reader chooses is what is shown; it shuts nobody out."""

import json

import numpy as np
import pytest

from genre_jax.evaluation.evaluate import Predictions, pool_songs
from genre_jax.report import comparison
from tests.browser.conftest import barriers, wider_than_the_window
from tests.browser.test_run import write_run

NAMES = ('first', 'a very long name of a run <b>with "what" & not', 'third', 'leaky')


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Four runs on the same songs, two of them of one setting, one leaky, one of fewer songs."""
    home = tmp_path_factory.mktemp('runs')
    for i, name in enumerate(NAMES):
        write_run(home / name, n_classes=4, n_songs=60, leaky=name == 'leaky')
        file, rng = home / name / 'predictions' / 'test.npz', np.random.default_rng(i)
        table = Predictions.load(file)
        logits = np.log(table.probabilities) + 2.5 * rng.standard_normal((60, 4))[np.arange(360) // 6]
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        changed = Predictions(**vars(table) | {'probabilities': shares.astype(np.float32)})
        (changed.take(np.arange(240)) if name == 'third' else changed).save(file)
        config = json.loads((home / name / 'config.json').read_text())
        config['seed'] = i % 2
        config['optim']['learning_rate'] = 0.1 * (i // 2 + 1)
        (home / name / 'config.json').write_text(json.dumps(config))
    return [home / name for name in NAMES]


@pytest.fixture(scope='module')
def page(folders):
    return comparison.write(folders, folders[0].parent / 'comparison.html')


def right_of(folders):
    """What each run has right of each song, by name."""
    found = []
    for folder in folders:
        songs = pool_songs(Predictions.load(folder / 'predictions' / 'test.npz'))
        found.append(dict(zip(songs.track.tolist(), songs.max_probability() == songs.label, strict=True)))
    return found


@pytest.mark.parametrize(('width', 'scheme'), [(390, 'light'), (1300, 'dark')])
def test_it_shuts_nobody_out(reader, page, width, scheme):
    tab = reader.open(page, width=width, scheme=scheme)
    assert tab.locator('svg[role=img]').count() == 5  # two of dots, three of curves
    assert barriers(tab) == []
    assert wider_than_the_window(tab) <= 0


def test_the_reference_is_chosen(reader, page, folders):
    tab, right = reader.open(page), right_of(folders)
    tab.get_by_label('Compared with').select_option('third')
    rows = tab.locator('#differences-table tbody tr')
    assert rows.count() == 3
    cells = rows.nth(0).locator('th, td').all_inner_texts()
    both = right[0].keys() & right[2].keys()
    only = [sum(right[i][song] and not right[j][song] for song in both) for i, j in ((0, 2), (2, 0))]
    assert (cells[0], int(cells[1]), [int(each) for each in cells[4:6]]) == ('first', 40, only)
    points = 100 * (only[0] - only[1]) / 40
    assert float(cells[2].split()[0].replace('−', '-')) == pytest.approx(points, abs=0.051)
    assert 'minus that of third' in tab.locator('#differences-caption').inner_text()
    described = tab.locator('#differences svg').get_attribute('aria-label')
    assert described.count('first') == 2 and 'LEAKY' in described
    tab.get_by_label('Compared with').select_option('first')
    turned = rows.nth(1).locator('th, td').all_inner_texts()
    assert [int(each) for each in turned[4:6]] == only[::-1]


def test_songs_of_two_runs(reader, page, folders):
    tab, right = reader.open(page), right_of(folders)
    wanted = {
        'only the first has right': lambda a, b: a and not b,
        'only the second has right': lambda a, b: b and not a,
        'neither has right': lambda a, b: not a and not b,
        'both have right': lambda a, b: a and b,
    }
    for first, second in ((0, 1), (3, 2)):
        tab.get_by_label('First run').select_option(NAMES[first])
        tab.get_by_label('Second run').select_option(NAMES[second])
        for words, chosen in wanted.items():
            tab.locator('#songs-controls select[name=which]').select_option(words)
            both = right[first].keys() & right[second].keys()
            expected = {song for song in both if chosen(right[first][song], right[second][song])}
            while tab.locator('#songs-more').is_visible():
                tab.locator('#songs-more').press('Enter')
            assert set(tab.locator('#songs b').all_inner_texts()) == expected
    tab.get_by_label('First run').select_option(NAMES[2])
    assert 'two different runs' in tab.locator('#songs-count').inner_text()
    assert tab.locator('#songs > li').count() == 0


def test_a_run_comes_to_the_front_and_tables_sort(reader, page):
    tab = reader.open(page)
    strokes = '#curve-0 svg g[stroke]'
    before = {each.get_attribute('stroke') for each in tab.locator(strokes).all()}
    tab.get_by_label('Run in front').select_option('third')
    after = {each.get_attribute('stroke') for each in tab.locator(strokes).all()}
    assert before != after
    header = tab.locator('section[aria-labelledby=h-classes] th button').nth(1)
    header.focus()
    header.press('Enter')
    shares = tab.locator('section[aria-labelledby=h-classes] tbody td:nth-child(2)').all_inner_texts()
    numbers = [float(share) for share in shares if share != '–']
    assert numbers == sorted(numbers, reverse=True)
    assert (
        tab.locator('section[aria-labelledby=h-figures] a')
        .first.get_attribute('href')
        .endswith('report.html')
    )


def test_seeds_are_told_from_songs(reader, page):
    text = reader.open(page).locator('section[aria-labelledby=h-noise]').inner_text()
    assert 'setting 1: first' in text and 'setting 2: third' in text
    assert 'other seeds [' in text
