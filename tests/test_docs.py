"""README and docs: short, no dead link, no command, page or key that is not there."""

import importlib
import pathlib
import re
import shlex

import pytest

from genre_jax import config as config_lib
from genre_jax.augment import takes as amounts_of
from genre_jax.config import keys, overrides, pages
from genre_jax.config.__main__ import table
from genre_jax.data import command
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
    for path in re.findall(r'`((?:genre_jax|tests|benchmarks|docs|configs)/[\w/]+\.\w+)`', TEXTS[page]):
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


def commands(text):
    """Returns program and words of each command in blocks and inline code, with what is optional."""
    blocks = re.findall(r'^```\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    lines = '\n'.join(blocks).splitlines() + re.findall(r'^    (python .*)$', text, re.MULTILINE)
    for line in lines + re.findall(r'`(python -m [^`\n]+)`', text):
        match = re.search(r'\bpython -m genre_jax\.(\S+)(.*)', line)
        if match:
            words = re.sub(r'\[(-[^\]]*)\]', r'\1', match[2])
            yield match[1], shlex.split(words, comments=True)


def flags(program):
    """Returns the flags that the source of a program defines."""
    stem = ROOT / pathlib.Path('genre_jax', *program.split('.'))
    sources = [stem / '__main__.py' if stem.is_dir() else stem.with_suffix('.py')]
    shared = 'launch/command.py' if program.startswith('launch.') else 'program.py'
    text = '\n'.join(file.read_text() for file in [*sources, ROOT / 'genre_jax' / shared])
    return {'help', *re.findall(r"(?:DEFINE_\w+|add_argument)\(\s*'(?:--)?([\w-]+)'", text)}


@pytest.mark.parametrize('page', TEXTS)
def test_arguments(page):
    for program, words in commands(TEXTS[page].replace('\\\n', ' ')):
        if program in ('data.prepare', 'data.audit'):
            of_program = ('--runner', '--beam_options', '--verify', '--prune', '--yes', '--json')
            words = [word for word in words if not word.startswith(of_program)]
            if words and words[0].islower() and not words[0].startswith('-'):
                command.settings_from(words)
            continue
        own = words[: words.index('--')] if '--' in words else words
        name, assignments, rest = overrides.split(own)
        if re.match('(?!path/to)[a-z]', name.removeprefix('configs/')):
            overrides.load(name, [pair for pair in assignments if pair[0].islower()])
        for word in rest:
            flag = word.removeprefix('--').partition('=')[0]
            assert not word.startswith('-') or flag in flags(program), f'{program} {word}'


@pytest.mark.parametrize('page', TEXTS)
def test_targets_of_make(page):
    known = set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    for targets in re.findall(r'(?:^|`)make ((?:[a-z-]+ ?)+)(?:`|$|  +#)', TEXTS[page], re.MULTILINE):
        assert set(targets.split()) <= known, targets


@pytest.mark.parametrize('page', TEXTS)
def test_keys(page):
    for key in re.findall(r'\bconfig\.((?:\w+\.)*\w+)(?![\w(])', TEXTS[page]):
        section, _, name = key.partition('.')
        if section in ('json', 'py', 'SECTION', 'section', 'features') or not name:
            continue
        if section == 'augment':
            one = name.split('.')[0]
            assert one in ('NAME', 'one_of', 'one_of_probability', 'emphasis') or amounts_of(one), key
        elif section in keys.OPEN:
            assert key in keys.BY_NAME or taken_by_some(section, name), key
        else:
            assert key in keys.BY_NAME, key


def taken_by_some(section, name):
    """Tells whether some page of the package names a thing that takes a key."""
    things = {config_lib.load_page(page)[section].name for page in pages.packaged()}
    takes = importlib.import_module(overrides.sections._ROOMS[section]).takes
    return any(name.split('.')[0] in takes(thing) for thing in things | {'mixture', 'gtzan', 'fma'} & things)


def test_the_table_of_keys_is_the_one_that_configs_are_checked_by():
    assert table() in TEXTS['docs/keys.md']
