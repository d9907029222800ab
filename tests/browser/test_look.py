"""Looking and listening on the page of a run: the map, excerpts of sound, what the network looks at."""

import json

import pytest

from genre_jax.evaluation import evaluate
from genre_jax.report import page as report
from tests.browser.conftest import barriers, wider_than_the_window
from tests.browser.test_run import RUNS, write_run
from tests.report import looks

PLAYING = 'audio => !audio.paused && audio.currentTime > 0'


@pytest.fixture(scope='module', params=['inside', 'linked'])
def page(request, tmp_path_factory):
    """A run whose every song has an excerpt of its first segment, and pictures of all."""
    file = write_run(tmp_path_factory.mktemp('look') / 'run', **RUNS['small'])
    table = evaluate.Predictions.load(file.parent / 'predictions' / 'test.npz')
    looks.write(file.parent, table, songs=RUNS['small']['n_songs'])
    return report.write_report(file.parent, request.param)


def drawn_of(tab):
    return json.loads(tab.locator('#drawn').text_content())


def test_a_dot_shows_and_plays_its_segment(reader, page):
    tab = reader.open(page)
    drawn = drawn_of(tab)
    tab.locator('#map svg').wait_for()
    dots = tab.locator('#map svg circle')
    number = drawn['map']['start_s'].index(0.0)
    # Of dots at one place the nearest to the pointer is meant: their order on the page is that of the data.
    dots.nth(number).hover(force=True)
    name = drawn['songs']['track'][drawn['map']['song'][number]]
    assert tab.locator('#map .readout').text_content().startswith(f'{name}, 0:00')
    dots.nth(number).click(force=True)
    panel = tab.locator('#map-segment')
    assert panel.locator('h3').text_content() == name
    tab.wait_for_function(PLAYING, arg=panel.locator('audio').element_handle())
    canvas = panel.locator('canvas')
    assert canvas.evaluate('canvas => [canvas.width, canvas.height]') == [12, 5]
    assert 'third of the frequencies' in canvas.get_attribute('aria-label')
    # Without the overlay it is grey.
    grey = """canvas => {
      const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      return pixels.every((value, i) => i % 4 > 1 || value === pixels[i + 1]);
    }"""
    assert not canvas.evaluate(grey)
    panel.locator('input[type=checkbox]').uncheck()
    assert canvas.evaluate(grey)


def test_the_map_obeys_the_keyboard(reader, page):
    tab = reader.open(page)
    tab.locator('#map svg').wait_for()
    tab.locator('#map [role=application]').focus()
    said = set()
    for key in ('ArrowRight', 'ArrowDown', 'ArrowRight', 'ArrowUp', 'ArrowLeft'):
        tab.keyboard.press(key)
        said.add(tab.locator('#map .readout').text_content())
    assert len(said) >= 3
    tab.keyboard.press('Enter')
    last = tab.locator('#map .readout').text_content()
    assert last.startswith(tab.locator('#map-segment h3').text_content())


def test_the_map_is_coloured_placed_and_picked_as_asked(reader, page):
    tab = reader.open(page)
    drawn = drawn_of(tab)
    dots = tab.locator('#map svg circle')
    tab.locator('#map svg').wait_for()

    def colours():
        return dots.evaluate_all('dots => dots.slice(0, -1).map((dot) => dot.getAttribute("fill"))')

    for value, n in (('true', 4), ('predicted', 3), ('right', 2), ('group', 20)):
        tab.locator('select[name=colour]').select_option(value)
        assert len(set(colours())) == n, value
    before = dots.first.get_attribute('cx')
    tab.locator('select[name=method]').select_option('pca')
    assert dots.first.get_attribute('cx') != before
    tab.locator('select[name=picked]').select_option('2')
    of_class = sum(drawn['songs']['label'][song] == 2 for song in drawn['map']['song'])
    assert len(colours()) - colours().count('var(--rule)') == of_class


def test_mistakes_are_heard_and_one_sound_at_a_time(reader, page):
    tab = reader.open(page)
    players = tab.locator('#wrong audio')
    assert players.count() == tab.locator('#wrong > li').count()
    for number in (0, 1):
        players.nth(number).evaluate('audio => { audio.play(); }')
        tab.wait_for_function(PLAYING, arg=players.nth(number).element_handle())
    assert players.nth(0).evaluate('audio => audio.paused')
    assert players.nth(1).evaluate('audio => audio.duration') == pytest.approx(4, abs=0.05)
    item = tab.locator('#wrong > li').first
    item.locator('summary').click()
    item.locator('canvas').first.wait_for()
    assert item.locator('canvas').count() == 6


def test_a_click_on_a_timeline_plays_that_moment(reader, page):
    tab = reader.open(page)
    item = tab.locator('#wrong > li').first  # of 30 s, whose first 4 s are there
    line = item.locator('.timeline')
    width = line.bounding_box()['width']
    line.click(position={'x': width / 2, 'y': 10})
    assert item.locator('.player .note').text_content() == 'there is no excerpt of 0:15'
    audio = item.locator('audio')
    assert audio.evaluate('audio => audio.paused')
    line.click(position={'x': width / 15, 'y': 10})
    tab.wait_for_function(PLAYING, arg=audio.element_handle())
    assert 1.9 < audio.evaluate('audio => audio.currentTime') < 4


def test_sound_that_is_gone_is_said_to_be(reader, page, tmp_path):
    inside = 'data:audio' in page.read_text()
    (tmp_path / 'moved.html').write_bytes(page.read_bytes())
    tab = reader.open(tmp_path / 'moved.html')
    player = tab.locator('#wrong .player').first
    player.locator('audio').evaluate('audio => { audio.play().catch(() => {}); }')
    if inside:
        tab.wait_for_function(PLAYING, arg=player.locator('audio').element_handle())
    else:
        player.get_by_text('not beside the page').wait_for()
        assert all('ERR_FILE_NOT_FOUND' in message for message in reader.complaints)
        reader.complaints.clear()


@pytest.mark.parametrize('width, scheme', [(390, 'dark'), (1300, 'light')])
def test_it_bars_nobody(reader, page, scheme, width):
    tab = reader.open(page, width, scheme=scheme)
    tab.locator('#map svg').wait_for()
    tab.locator('#map [role=application]').focus()
    tab.keyboard.press('Enter')
    tab.locator('#map-segment h3').wait_for()
    for details in tab.locator('details').all():
        details.evaluate('details => details.open = true')
    assert barriers(tab) == []
    assert wider_than_the_window(tab) == 0
