"""Pictures of the page of a run, for README and docs: `python -m docs.screenshots RUN`.

Needs requirements-browser.txt and Chromium.
"""

import pathlib
import shutil
import sys

import playwright.sync_api

# Name, width and height in CSS pixels, and what stands at the top.
_SHOTS = (('report.png', 1300, 1000, 'body'), ('report_phone.png', 390, 1100, '#h-confusion'))


def main(run_dir: pathlib.Path) -> None:
    """Writes them beside this file."""
    with playwright.sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which('chromium'))
        for name, width, height, top in _SHOTS:
            tab = browser.new_page(viewport={'width': width, 'height': height})
            tab.goto((run_dir.resolve() / 'report.html').as_uri())
            tab.locator('#confusion svg').wait_for()
            tab.locator(top).evaluate('place => place.scrollIntoView()')
            tab.screenshot(path=pathlib.Path(__file__).with_name(name))
        browser.close()


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]))
