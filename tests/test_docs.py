"""README and docs: short, no dead link, no command, page or key that is not there."""

import importlib
import re

import pytest

from genre_jax import config as config_lib
from genre_jax.augment import takes as amounts_of
from genre_jax.config import keys, overrides, pages
from genre_jax.config.__main__ import table
from genre_jax.programs import PROGRAMS
from tests.program import ROOT

PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}


def test_readme_is_two_screens():
    assert TEXTS['README.md'].count('\n') <= 180


@pytest.mark.parametrize('page', TEXTS)
def test_links(page):
    for target in re.findall(r'\]\(([^)\s#]+)[^)]*\)', TEXTS[page]):
        if not target.startswith('http'):
            assert ((ROOT / page).parent / target).exists(), target
    # Files are also named without a link, as code.
    for path in re.findall(
        r'`((?:genre_jax|tests|benchmarks|docs|configs)/[\w/]+\.\w+)`', TEXTS[page]
    ):
        assert 'NAME' in path or (ROOT / path).exists(), path


@pytest.mark.parametrize('page', TEXTS)
def test_commands(page):
    text = TEXTS[page].replace('\\\n', ' ')
    for module in re.findall(r'python -m ((?:genre_jax|benchmarks|data|launch)[\w.]*)', text):
        package, _, name = module.partition('.')
        if package == 'genre_jax':
            assert name in PROGRAMS, module
        else:
            assert package == 'benchmarks', f'{module}: installed it is genre_jax.{module}'
            assert (ROOT / f'{module.replace(".", "/")}.py').exists()
    for name in re.findall(r'--config=([\w./]+(?::[\w=,.]+)?)', text):
        if not re.fullmatch('[A-Z./]*(page.py)?|path/to/page.py|configs/PAGE', name):
            pages.load_page(name)


@pytest.mark.parametrize('page', TEXTS)
def test_keys(page):
    for key in re.findall(r'\bconfig\.((?:\w+\.)*\w+)(?![\w(])', TEXTS[page]):
        section, _, name = key.partition('.')
        if section in ('json', 'py', 'SECTION', 'section', 'features') or not name:
            continue
        if section == 'augment':
            one = name.split('.')[0]
            assert one in ('NAME', 'one_of', 'one_of_probability', 'emphasis') or amounts_of(one), (
                key
            )
        elif section in keys.OPEN:
            assert key in keys.BY_NAME or taken_by_some(section, name), key
        else:
            assert key in keys.BY_NAME, key


def taken_by_some(section, name):
    """Tells whether some page of the package names a thing that takes a key."""
    things = {config_lib.load_page(page)[section].name for page in pages.packaged()}
    takes = importlib.import_module(overrides.sections._ROOMS[section]).takes
    return any(
        name.split('.')[0] in takes(thing)
        for thing in things | {'mixture', 'gtzan', 'fma'} & things
    )


def test_the_table_of_keys_is_the_one_that_configs_are_checked_by():
    assert table() in TEXTS['docs/keys.md']
