"""The package as a user installs it: one top-level name, pages and templates inside, run from elsewhere."""

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile

import pytest

from tests import program


@pytest.mark.slow
def test_an_installed_wheel_trains_beside_packages_of_the_same_names(tmp_path):
    pip = [sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check']
    source = tmp_path / 'source'
    subprocess.run(['git', 'clone', '--quiet', program.ROOT, source], check=True)
    subprocess.run([*pip, 'wheel', '--no-deps', '-w', tmp_path, source], check=True)
    (wheel,) = tmp_path.glob('*.whl')
    with zipfile.ZipFile(wheel) as content:
        tops = {name.split('/')[0] for name in content.namelist()}
    assert tops == {'genre_jax', wheel.name.rsplit('-', 3)[0] + '.dist-info'}
    site = tmp_path / 'site'
    subprocess.run([*pip, 'install', '--no-deps', f'--target={site}', wheel], check=True)
    here = tmp_path / 'here'
    for name in ('data', 'configs', 'launch', 'tests'):
        (here / name).mkdir(parents=True)
        (here / name / '__init__.py').write_text('raise ImportError("not yours")')
    program.write_tones(here / 'tones', songs=6)
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'genre_jax.main', '--config=folder', '--workdir=run'),
            *('--config.data.root=tones', '--config.windows.window_s=1.0', '--config.data.group=auto'),
            *('--config.train.length=1 epochs', '--config.train.batch_size=8'),
            *('--config.eval.batch_size=8', '--config.tracking.wandb=off', '--config.report.look=False'),
        ],
        cwd=here, env=program.environment() | {'PYTHONPATH': str(site)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (here / 'run' / 'report.html').stat().st_size > 10_000
    assert str(program.ROOT) not in done.stderr + done.stdout
    # With the command of the package, a page of labels among what it writes.
    labelled = subprocess.run(
        [site / 'bin' / 'genre-jax', 'label', 'run', 'tones/low', '--out=labels'],
        cwd=here, env=program.environment() | {'PYTHONPATH': str(site)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert labelled.returncode == 0, labelled.stderr
    assert (here / 'labels' / 'label.html').read_text().count('<article>') == 6
    shown = subprocess.run(
        [sys.executable, '-c', 'import genre_jax.config; print(genre_jax.__file__)'],
        cwd=here, env=os.environ | {'PYTHONPATH': str(site)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.startswith(str(site))


def test_the_image_is_made_of_files_that_there_are_and_extras_that_jax_has():
    """Docker builds nothing here: what its lines name is looked up."""
    text = (program.ROOT / 'Dockerfile').read_text().replace('\\\n', ' ')
    extras = set(importlib.metadata.metadata('jax').get_all('Provides-Extra'))
    named = re.findall(
        r'--build-arg=ACCELERATOR=(\w+)', text + (program.ROOT / 'docs/launching.md').read_text()
    )
    assert {'cpu', 'cuda13', 'tpu'} <= set(named) <= extras
    assert re.findall(r'^ARG ACCELERATOR=(\w+)', text, re.MULTILINE) == ['cpu']
    copied = {word for line in re.findall('^COPY (.*)', text, re.MULTILINE) for word in line.split()[:-1]}
    tracked = subprocess.run(
        ['git', 'ls-files', '--', *copied], cwd=program.ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {file.split('/')[0] for file in tracked} == copied
    # What setuptools reads of pyproject.toml is among them.
    described = re.findall(r'(?:file|readme) = "([^"]+)"', (program.ROOT / 'pyproject.toml').read_text())
    assert set(described) <= copied


def test_the_command_lists_programs_and_runs_them():
    for words, said in (
        ([], 'train and evaluate'),
        (['--completion'], 'complete -o default -W "train label'),
        (['label', '--help'], 'MODEL PATHS'),
    ):
        done = program.run([sys.executable, '-c', 'from genre_jax.programs import main; main()', *words])
        assert done.returncode == 0 and said in done.stdout, done.stderr
    done = program.run([sys.executable, '-c', 'from genre_jax.programs import main; main()', 'lable'])
    assert done.returncode == 2 and done.stderr == 'error: lable is no program; did you mean label?\n'
