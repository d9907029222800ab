"""The 54 runs of a grid packed, beside the same runs one by one.

python -m benchmarks.sweep [--only mlp cnn_gru] [--steps N] [--window_s 3] [--members_at_once N]
    [--cpu_devices N] [--json FILE]

The grid is that of Bu et al.: beta2 0.98 and 0.999, two settings of regularisation at three values each,
weight decay 0.01, 0.02 and 0.03; AdamW 1e-3, batch 16. Audio is pieces of `--window_s` with the log-mel
pictures of their networks; the perceptron, 256-256 on 58 columns, has dropout and label smoothing in the
place of their two rates of dropout. Made-up data are prepared in a temporary folder and read by the loader,
by each run for itself where they train one by one.

Three rows a case: a step of all runs; compilation, once for a pack and for each of the runs otherwise, as in
`genre_jax.sweep`; and, computed from these two, `--grid_steps` steps of every run with compilation. The
longer the runs, the nearer the last one comes to the first.
"""

from __future__ import annotations

import csv
import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import joblib
import ml_collections
import numpy as np
import soundfile

from benchmarks import timing
from genre_jax import run, sharding
from genre_jax.configs import common
from genre_jax.loading import run_data
from genre_jax.loading.feed import Streamed
from genre_jax.sweep.packed import program as pack_program
from genre_jax.training import step as train
from genre_jax.training.job import Job

_CASES = ('mlp', 'cnn_gru', 'cnn_gru_attention')
_STEPS = {'mlp': 50, 'cnn_gru': 2, 'cnn_gru_attention': 2}
_BATCH, _CLASSES, _RATE_HZ = 16, 8, 22050


def grid(case: str) -> list[dict[str, float]]:
    """Returns the 54 points.

    Args:
        case: of _CASES.
    """
    space = {'optim.b2': (0.98, 0.999), 'optim.weight_decay': (0.01, 0.02, 0.03)}
    if case == 'mlp':
        space |= {'model.dropout': (0.2, 0.3, 0.4), 'train.label_smoothing': (0.05, 0.1, 0.2)}
    else:
        space |= dict.fromkeys(('model.cnn_dropout', 'model.classifier_dropout'), (0.2, 0.3, 0.4))
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*space.values())]


def make_config(case: str, folder: pathlib.Path, window_s: float) -> ml_collections.ConfigDict:
    """Makes up data, and returns the config of a run on them.

    Args:
        case: of _CASES.
        folder: where the data are written.
        window_s: length of a piece of audio.
    """
    rng, config = np.random.default_rng(0), common.get_config()
    names = [f'class {i}' for i in range(_CLASSES)]
    if case == 'mlp':
        with (folder / 'table.csv').open('w', newline='') as file:
            table = csv.writer(file)
            table.writerow(['filename', 'label', *(f'column_{i}' for i in range(58))])
            for song in range(1000):
                label = names[song % _CLASSES]
                table.writerow([f'{label}.{song:04}.wav', label, *rng.standard_normal(58)])
        config.data.update(name='feature_table', root=str(folder / 'table.csv'))
        config.features = {'name': 'table'}
        config.model = {'name': 'mlp', 'hidden_units': (256, 256), 'dropout': 0.3}
    else:
        for song in range(4 * _CLASSES):
            (folder / 'songs' / names[song % _CLASSES]).mkdir(parents=True, exist_ok=True)
            noise = 0.1 * rng.standard_normal(round(2 * window_s * _RATE_HZ))
            file = folder / 'songs' / names[song % _CLASSES] / f'{song:02}.wav'
            soundfile.write(file, noise, _RATE_HZ)
        root = str(folder / 'songs')
        config.data.update(name='folder', root=root, sample_rate_hz=_RATE_HZ)
        config.features = {'name': 'fma_mel'}
        config.model = {'name': case, 'cnn_dropout': 0.3, 'classifier_dropout': 0.3}
    config.data.prepared_dir = str(folder / 'prepared')
    config.windows.window_s = window_s
    config.optim.name, config.optim.learning_rate = 'adamw', 1e-3
    config.optim.weight_decay = config.train.label_smoothing = 0.01
    config.train.batch_size = config.eval.batch_size = _BATCH
    return config


def one_by_one(
    job: Job, data: run_data.Data, points: list[dict[str, float]], steps: int
) -> tuple[Callable, float]:
    """Returns a function that trains each run for some steps, and seconds of compilation.

    Args:
        job: of any of the runs.
        data: what they learn from.
        points: of the runs.
        steps: of each.
    """
    groups = job.plan.groups(0)
    start = time.perf_counter()
    program = train.make_train_step(job, groups)
    state, outputs = program(train.make_state(job), next(batches(job, data, 1)))
    jax.block_until_ready(outputs)
    compile_s = time.perf_counter() - start
    states = [jax.tree.map(jnp.copy, state) for _ in points]

    def run_all() -> None:
        # All runs have the program in common, and a run's numbers take no other time than another's.
        for i in range(len(points)):
            last = None
            for batch in batches(job, data, steps):
                states[i], outputs = program(states[i], batch)
                jax.device_get(last)
                last = outputs['loss']
            jax.device_get(last)

    return run_all, compile_s


def batches(job: Job, data: run_data.Data, steps: int):
    """Yields batches on the devices, as the training loop does.

    Args:
        job: of the run.
        data: what it learns from.
        steps: how many.
    """
    take = Streamed(job.config, job.mesh).train(data.tables['train'], 0, steps)
    for _ in range(steps):
        yield take(1)[1]


def packed(
    job: Job,
    data: run_data.Data,
    points: list[dict[str, float]],
    steps: int,
    at_once: int | None,
) -> tuple[Callable, float]:
    """Returns a function that trains the pack for some steps, and seconds of compilation.

    Args:
        job: of any of the runs.
        data: what they learn from.
        points: of the runs.
        steps: of each.
        at_once: members on one device at once, None: as they are chosen.
    """
    groups, tables = job.plan.groups(0), {job.config.seed: data.tables['train']}
    feed = Streamed(job.config, job.mesh)
    start = time.perf_counter()
    program = pack_program.Program(job, points, at_once)
    states = program.make_states()

    def run_all(steps: int = steps) -> None:
        last = None
        for number, batch_of in program.batches(tables, 0, steps, feed):
            losses = []
            for chunk in range(len(program.chunks)):
                states[chunk], outputs = program.step(chunk, states[chunk], number, batch_of(chunk), groups)
                losses.append(outputs['loss'])
            jax.device_get(last)
            last = losses
        jax.device_get(last)

    run_all(1)
    compile_s = time.perf_counter() - start
    print(f'{"":34} {len(points)} runs in {len(program.chunks)} chunks', flush=True)
    return run_all, compile_s


def main() -> None:
    """Prints three rows for each case."""
    parser = timing.parser(__doc__)
    parser.set_defaults(repeats=5)
    parser.add_argument('--only', nargs='+', choices=_CASES, help='cases')
    parser.add_argument('--steps', type=int, help='steps of each run in a round')
    parser.add_argument('--grid_steps', type=int, default=100, help='steps of each run in the last row')
    parser.add_argument('--members_at_once', type=int, help='instead of what is chosen')
    parser.add_argument('--window_s', type=float, default=3.0, help='length of a piece of audio')
    cores = joblib.cpu_count()
    parser.add_argument(
        '--cpu_devices',
        type=int,
        default=cores,
        help='of the pack; a run by itself has one, and all cores',
    )
    options = parser.parse_args()
    timing.use_device(options.device)
    jax.config.update('jax_num_cpu_devices', options.cpu_devices)
    whole = sharding.make_mesh()
    first = sharding.make_mesh(jax.devices()[:1])
    table = timing.Table()
    for case in options.only or _CASES:
        steps = options.steps or _STEPS[case]
        with tempfile.TemporaryDirectory() as folder:
            config = make_config(case, pathlib.Path(folder), options.window_s)
            data = run_data.open_data(config)
            jobs = {
                mesh: run.open_job(config, data, mesh, *run.check(config, mesh)) for mesh in (whole, first)
            }
            points = grid(case)
            mine, mine_s = packed(jobs[whole], data, points, steps, options.members_at_once)
            theirs, theirs_s = one_by_one(jobs[first], data, points, steps)
            seconds = timing.time_interleaved({'packed': mine, 'alone': theirs}, options.repeats)
        step, their_step = seconds['packed'] / steps, seconds['alone'] / steps
        table.add(f'{case}, a step', step, '54 one by one', their_step)
        table.add(f'{case}, compilation', mine_s, '54 times that of one', 54 * theirs_s)
        n = options.grid_steps
        table.add(
            f'{case}, {n} steps and compilation',
            mine_s + n * step,
            '54 one by one',
            54 * theirs_s + n * their_step,
        )
        jax.clear_caches()
    table.write(options.json)


if __name__ == '__main__':
    main()
