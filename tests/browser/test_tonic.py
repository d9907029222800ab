"""The page of a model that names the tonic: what it holds for likely, song by song."""

import dataclasses
import json
import re

import numpy as np
import pytest

from genre_jax.evaluation import tonic
from genre_jax.evaluation.evaluate import Predictions, number_songs
from genre_jax.report import page as report
from tests.browser.conftest import barriers, wider_than_the_window
from tests.browser.test_run import RUNS, write_run

BINS = 106


@pytest.fixture(scope='module', params=['small', 'leaky'])
def page(request, tmp_path_factory):
    """Songs whose tonic is found, but for every fifth, a fifth too high; one whose tonic is unknown."""
    file = write_run(tmp_path_factory.mktemp('tonic') / 'run', **RUNS[request.param])
    predictions = file.parent / 'predictions' / 'test.npz'
    table = Predictions.load(predictions)
    rng = np.random.default_rng(0)
    _, song = number_songs(table.track)
    place = rng.integers(0, BINS, song.max() + 1)
    true_hz = 110 * 2 ** (place / BINS)
    found = np.where(np.arange(len(place)) % 5, place, place + 62) % BINS
    posterior = np.full((len(song), BINS), 0.1 / (BINS - 1), np.float32)
    posterior[np.arange(len(song)), found[song]] = 0.9
    true_hz[1] = 0
    table = dataclasses.replace(
        table, tonic=posterior, tonic_hz=true_hz[song].astype(np.float32), given=table.probabilities
    )
    table.save(predictions)
    result = json.loads((file.parent / 'result.json').read_text())
    groups = dict(zip(table.track.tolist(), table.group.tolist(), strict=True))
    result['tonic'] = {'test': tonic.score(table, groups)}
    (file.parent / 'result.json').write_text(json.dumps(result))
    return report.write_report(file.parent), table, place


def test_a_song_has_its_tonics_beside_its_classes(reader, page):
    file, table, place = page
    tab = reader.open(file)
    select = tab.locator('#tonic-song')
    texts = select.locator('option').all_inner_texts()
    # A fifth, 62 of 106 bins, is 702 cents: seen from the octave above, 498 below.
    assert '−498 cents' in texts[0] and '+0 cents' in texts[-2] and 'cents' not in texts[-1]
    names = list(dict.fromkeys(table.track.tolist()))
    number = int(select.input_value())
    assert number % 5 == 0 and names[number] in texts[0]
    hz = 55 * 2 ** (place[number] / BINS)
    assert f'{hz:.1f} Hz: −498 cents' in tab.locator('#tonic-words').inner_text()
    select.select_option(str(2))
    assert f'{55 * 2 ** (place[2] / BINS):.1f} Hz: ' in tab.locator('#tonic-words').inner_text()
    label = tab.locator('#tonic-posterior svg').get_attribute('aria-label')
    assert names[2] in label
    likely = tab.locator('#tonic-classes svg').get_attribute('aria-label')
    mean = table.probabilities[table.track == names[2]].mean(0)
    first = float(re.search(r' ([\d.]+) %', likely)[1])
    assert first == pytest.approx(100 * mean.max() / mean.sum(), abs=0.11)
    select.select_option(str(1))
    assert 'not known' in tab.locator('#tonic-words').inner_text()
    errors = tab.locator('#tonic-errors svg').get_attribute('aria-label')
    wrong = len(names[::5])
    assert f'{len(names) - 1 - wrong} songs of {len(names) - 1} within 25 cents' in errors
    assert f'{wrong} near -500' in errors
    assert ('LEAKY' in errors) == ('LEAKY' in tab.title())


@pytest.mark.parametrize(('width', 'scheme'), [(390, 'dark'), (1300, 'light')])
def test_it_bars_nobody(reader, page, width, scheme):
    tab = reader.open(page[0], width, scheme=scheme)
    tab.locator('#tonic-classes svg').wait_for()
    assert barriers(tab) == []
    assert wider_than_the_window(tab) == 0
