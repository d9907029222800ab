"""The page of labels: it plays, filters, obeys the keyboard, and shuts nobody out."""

import numpy as np
import pytest
import soundfile

from genre_jax.label import outputs
from genre_jax.label.song import Song
from tests.browser.conftest import barriers, wider_than_the_window

LABELS = ('<script>alert(1)</script>', 'राग यमन', '"quoted" & \'so\'\nover lines')
# Any bytes but the slash and 0 may be in a name.
NAMES = (
    'plain.wav',
    '</script><script>alert(2)</script>.wav',
    'a "b" #1 50%41?.wav',
    'two\nlines.wav',
    '\udcff.wav',
)
RATE_HZ, DURATION_S = 8000, 6.0


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """A page of five recordings of six seconds: windows of two seconds, a class each."""
    home = tmp_path_factory.mktemp('label')
    songs = []
    for number, name in enumerate(NAMES):
        path = home / 'music' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        time_s = np.arange(int(RATE_HZ * DURATION_S)) / RATE_HZ
        with path.open('wb') as file:
            soundfile.write(file, 0.2 * np.sin(2 * np.pi * 440 * time_s), RATE_HZ, format='WAV')
        probabilities = np.roll(np.eye(3) * 0.7 + 0.1, number, axis=1)
        starts = np.array([0.0, 2.0, 4.0])
        mean = np.array([0.5, 0.3, 0.2])[np.roll(np.arange(3), number)]
        song = Song(str(path), DURATION_S, LABELS, starts, starts + 2, probabilities, mean)
        songs.append(outputs.Labelled(song, song.label, song.timeline()))
    [file] = outputs.FORMATS['html'](songs, home, 'a <b>bold</b> model')
    return file


@pytest.mark.parametrize('number', range(len(NAMES)))
def test_a_stretch_plays_from_its_start(reader, page, number):
    tab = reader.open(page)
    tab.get_by_text('By a <b>bold</b> model', exact=True).wait_for()
    article = tab.locator('article').nth(number)
    article.locator('.timeline button').nth(1).click()
    audio = article.locator('audio')
    playing = 'audio => !audio.paused && audio.readyState >= 2 && audio.currentTime > 2.05'
    tab.wait_for_function(playing, arg=audio.element_handle())
    assert audio.evaluate('audio => audio.currentTime') < 4
    assert abs(audio.evaluate('audio => audio.duration') - DURATION_S) < 0.01
    # Another stretch of the same, while it plays; then of another recording, which stops the first.
    article.locator('.timeline button').nth(2).click()
    tab.wait_for_function('audio => audio.currentTime > 4.05', arg=audio.element_handle())
    other = tab.locator('article').nth((number + 1) % len(NAMES))
    other.locator('.timeline button').first.click()
    tab.wait_for_function('audio => !audio.paused', arg=other.locator('audio').element_handle())
    assert audio.evaluate('audio => audio.paused')
    assert [url.startswith('file:') for url in reader.requests]


@pytest.mark.parametrize('by', ['stretch', 'player'])
def test_a_recording_that_cannot_be_played_says_so(reader, page, tmp_path, by):
    (tmp_path / 'label.html').write_text(page.read_text().replace('/plain.wav"', '/gone.wav"'))
    article = reader.open(tmp_path / 'label.html').locator('article').first
    if by == 'stretch':
        article.locator('.timeline button').first.click()
    else:
        article.locator('audio').focus()
        article.page.keyboard.press('Space')
    article.get_by_text('no longer there').wait_for()
    assert [message.rsplit(' ', 1)[1] for message in reader.complaints] == ['net::ERR_FILE_NOT_FOUND']
    reader.complaints.clear()


def test_the_keyboard_does_what_the_mouse_does(reader, page):
    tab = reader.open(page)
    tab.locator('#filter').focus()
    for _ in range(40):
        tab.keyboard.press('Tab')
        if tab.evaluate('document.activeElement.dataset.start') == '4.0':
            break
    outline = tab.evaluate('getComputedStyle(document.activeElement).outlineStyle')
    assert outline != 'none'
    tab.keyboard.press('Enter')
    audio = tab.locator('audio').first
    tab.wait_for_function('audio => !audio.paused && audio.currentTime > 4.05', arg=audio.element_handle())


def test_the_filter_shows_paths_and_labels_that_hold_its_words(reader, page):
    tab = reader.open(page)

    def shown(words):
        tab.locator('#filter').fill(words)
        return [name.inner_text() for name in tab.locator('article:visible h2').all()]

    assert len(shown('')) == len(NAMES)
    assert [name.endswith('plain.wav') for name in shown('PLAIN')] == [True]
    assert len(shown('</script><script>alert(2)')) == 1
    assert len(shown('no such recording')) == 0
    assert len(shown('alert(1)')) == len(NAMES)  # a class of each


def test_names_are_shown_as_they_are(reader, page):
    tab = reader.open(page)
    names = [name.text_content() for name in tab.locator('article h2').all()]
    assert [name.rsplit('music/', 1)[1] for name in names[:4]] == list(NAMES[:4])
    buttons = tab.locator('.timeline button').all()
    assert {button.text_content() for button in buttons} == set(LABELS)
    assert tab.locator('script').count() == 1


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [390, 1300])
def test_it_bars_nobody(reader, page, scheme, width):
    tab = reader.open(page, width, scheme=scheme)
    assert barriers(tab) == []
    assert wider_than_the_window(tab) == 0
