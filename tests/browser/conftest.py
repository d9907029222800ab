"""Pages as a reader opens them: from disk, in Chromium, without a network.

Run by `make browser`, which installs what drives it; `make test` leaves this folder out.
"""

import shutil

import axe_playwright_python.sync_playwright
import playwright.sync_api
import pytest

# For audio: every format that Chromium plays goes to a sound card that is none.
_FLAGS = ['--disable-gpu', '--mute-audio']


@pytest.fixture(scope='session')
def chromium():
    """The browser of the machine, without a window."""
    program = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    assert program, 'no Chromium here: apt-get install chromium'
    with playwright.sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


class Reader:
    """Opens pages, and keeps what they complain of and what they ask for besides themselves."""

    def __init__(self, chromium):
        self._chromium, self._contexts, self.complaints, self.requests = chromium, [], [], []

    def open(self, path, width=1300, height=900, scheme='light', **settings):
        """Opens a file at a width in CSS pixels; 'light' or 'dark'."""
        context = self._chromium.new_context(
            viewport={'width': width, 'height': height}, color_scheme=scheme, **settings
        )
        self._contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(10_000)
        tab.on('console', lambda message: self.complaints.append(f'{message.type}: {message.text}'))
        tab.on('pageerror', lambda error: self.complaints.append(f'error: {error}'))
        tab.on('dialog', lambda dialog: (self.complaints.append('a dialog'), dialog.dismiss()))
        tab.on('request', lambda request: self.requests.append(request.url))
        tab.goto(path.as_uri())
        self.requests.remove(path.as_uri())
        return tab

    def close(self):
        for context in self._contexts:
            context.close()


@pytest.fixture
def reader(chromium):
    """A reader who in the end has seen no complaint of any page, nor a request that left the machine."""
    reader = Reader(chromium)
    yield reader
    reader.close()
    assert reader.complaints == []
    assert [url for url in reader.requests if not url.startswith(('file:', 'data:', 'blob:'))] == []


def barriers(tab):
    """Returns what axe-core finds that bars somebody from a page: rule, element, what to do."""
    found = axe_playwright_python.sync_playwright.Axe().run(tab)
    return [
        f'{rule["id"]}: {node["html"]}: {node["failureSummary"]}'
        for rule in found.response['violations']
        for node in rule['nodes']
    ]


def wider_than_the_window(tab):
    """Returns by how many CSS pixels the page must be scrolled sideways."""
    return tab.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
