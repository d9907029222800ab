"""Helpers for tests that run the program as a user does."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import soundfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Real recordings and tables; tests that need them are skipped where they are missing.
DATA = pathlib.Path(os.environ.get('GENRE_JAX_DATA', ROOT.parent / 'shared' / 'data'))
PAGE = pathlib.Path(__file__).with_name('tiny_page.py')


def write_tones(folder, songs=8, sample_rate_hz=22050, classes=(('low', 220), ('mid', 660), ('high', 1760))):
    """Writes one folder per class: noisy tones, each class in a register of its own."""
    rng = np.random.default_rng(0)
    for name, frequency_hz in classes:
        (folder / name).mkdir(parents=True)
        for song in range(songs):
            time_s = np.arange(int(sample_rate_hz * rng.uniform(2, 4))) / sample_rate_hz
            tone = np.sin(2 * np.pi * frequency_hz * rng.uniform(0.8, 1.2) * time_s)
            audio = 0.3 * tone + 0.1 * rng.standard_normal(len(time_s))
            soundfile.write(folder / name / f'{song:02d}.wav', audio, sample_rate_hz)
    return folder


def command(workdir, root, prepared, *flags, page=PAGE):
    """Returns the command line of a run."""
    return [
        *(sys.executable, '-m', 'genre_jax.main', f'--config={page}', f'--workdir={workdir}'),
        *(f'--config.data.root={root}', f'--config.data.prepared_dir={prepared}', *flags),
    ]


def train_on_tones(home, *flags):
    """Trains a run below a folder, on tones beside it; returns the folder."""
    tones = write_tones(home / 'tones')
    done = run(command(home / 'run', tones, home / 'prepared', *flags))
    assert done.returncode == 0, done.stderr
    return home


def environment(devices=1, **variables):
    """Returns the environment of a run on some CPU devices, without what W&B may find outside."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith(('WANDB', 'JAX'))}
    # Most runs of the tests compile the same few programs: the second time they are read.
    cache = {
        'JAX_COMPILATION_CACHE_DIR': str(ROOT / '.pytest_cache' / 'xla'),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    }
    own = {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(devices)}
    return outside | cache | own | variables


def run(words, max_file_bytes=None, **keywords):
    """Runs a command from the repository's root to its end, with a limit on the files it writes."""
    if max_file_bytes:
        words = ['prlimit', f'--fsize={max_file_bytes}:', *words]
    keywords = {'env': environment(), 'timeout': 300} | keywords
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, **keywords)


def start(words, **keywords):
    """Starts a command from the repository's root."""
    keywords = {'env': environment()} | keywords
    return subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, **keywords,
    )  # fmt: skip


def metrics(workdir):
    """Returns the lines of metrics.jsonl."""
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def result(workdir):
    """Returns result.json."""
    return json.loads((workdir / 'result.json').read_text())
