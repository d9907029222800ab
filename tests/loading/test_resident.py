"""Records on the devices: the windows, the order and the results of the streaming loader."""

import math

import jax
import numpy as np
import pytest

from genre_jax import sharding
from genre_jax.config import keys
from genre_jax.data import prepare
from genre_jax.data.recordings import Recording, Source
from genre_jax.loading import feed, loader, prepared, resident
from tests import program

RATE_HZ, CHUNK_S = 100, 1.0
LENGTHS = (30, 50, 51, 99, 100, 101, 237, 300, 555, 801, 640, 90)
BATCH = 16


class Noise(Source):
    """Tracks of noise, pitches of noise, pictures of noise or rows of noise."""

    description, fingerprint = 'Noise.', 'noise'

    def __init__(self, kind):
        self.kind, self.name = kind, f'noise_{kind}'

    def recordings(self):
        rows = range(len(LENGTHS))
        return [Recording(f'{t}', 'cab'[t % 3], group=f'{t}', tonic_hz=50.0 + t) for t in rows], []

    def sample_rate_hz(self):
        return {'audio': RATE_HZ, 'pitch': RATE_HZ / 3}.get(self.kind, 1)

    def load(self, recording):
        rng = np.random.default_rng(int(recording.track))
        if self.kind == 'audio':
            n = LENGTHS[int(recording.track)]
            return rng.integers(-(2**15), 2**15, n, endpoint=False).astype(np.int16)
        if self.kind == 'pitch':
            return rng.uniform(50, 500, LENGTHS[int(recording.track)]).astype(np.float32)
        if self.kind == 'image':
            return rng.integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)
        return rng.standard_normal((1 + int(recording.track) % 4, 7)).astype(np.float32)

    def group_key(self):
        return 'track'


@pytest.fixture(scope='module', params=['audio', 'pitch', 'image', 'table'])
def dataset(request, tmp_path_factory):
    # Of pitch sixty times as long.
    chunk_s = CHUNK_S / 20 if request.param == 'pitch' else CHUNK_S
    folder = prepare.prepare(Noise(request.param), tmp_path_factory.mktemp('prepared'), chunk_s)
    return prepared.Dataset(folder)


def alternating(devices):
    """Returns devices in another order than that of their numbers, which nothing may rely on."""
    return [*devices[::2], *devices[1::2]][::-1]


@pytest.mark.parametrize('shape', [(1, 1, 1), (1, 2, 1), (8, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize('window_s', [0, 0.5, 1.0, 2.35])
@pytest.mark.parametrize('draw', ['random', 'grid'])
def test_the_batches_of_the_stream(dataset, draw, window_s, shape):
    config = keys.get_config()
    config.windows.window_s, config.windows.train_draw = window_s, draw
    if dataset.kind in prepared.OVER_TIME and window_s in (0, 2.35):
        config.windows.train_shortest_s = 0.4
    config.windows.train_per_track, config.windows.eval_per_track = 4, 3
    config.train.batch_size = config.eval.batch_size = BATCH
    config.seed = 5
    table = loader.WindowTable(dataset, np.arange(len(LENGTHS)), config.windows, train=True, seed=3)
    devices = alternating(jax.devices()[: math.prod(shape)])
    mesh = jax.sharding.Mesh(np.reshape(devices, shape), ('data', 'fsdp', 'model'))
    read = list(loader.train_batches(table, batch_size=BATCH, seed=5, first_step=1, steps=4))
    for one in (
        resident.Resident(config, dataset, table.stored, mesh),
        feed.Streamed(config, mesh),
    ):
        take = one.train(table, 1, 5)
        for expected in read:
            steps, batch = take(3)
            assert steps == 1
            examples = batch[dataset.kind]
            assert examples.sharding.is_equivalent_to(sharding.by_example(mesh), examples.ndim)
            np.testing.assert_array_equal(examples, expected[dataset.kind])
            assert examples.dtype == expected[dataset.kind].dtype
            for key in loader.KNOWN:
                np.testing.assert_array_equal(batch[key], expected[key])
        heard = list(one.evaluate(table))
        whole = np.concatenate([batch[dataset.kind] for batch in heard])
        np.testing.assert_array_equal(whole[: len(table)], table.read_all())
        assert (whole[len(table) :] == whole[len(table) - 1]).all()  # filled up with the last window
        tonics = np.concatenate([batch['tonic_hz'] for batch in heard])
        np.testing.assert_array_equal(tonics[: len(table)], table.tonic_hz)


def first_three(stored):
    return stored.reshape(len(stored), -1)[:, :3]


def test_features_that_are_computed_once(dataset):
    """The batches of the stream, as features."""
    config = keys.get_config()
    config.windows.update(window_s=0.5, train_draw='grid', train_per_track=2, eval_per_track=3)
    config.train.batch_size = config.eval.batch_size = BATCH
    table = loader.WindowTable(dataset, np.arange(len(LENGTHS)), config.windows, train=True, seed=3)
    mesh = sharding.make_mesh(jax.devices()[:2])
    streamed = feed.Streamed(config, mesh)
    once = feed.Featured(config, mesh, streamed, lambda batch: first_three(batch[dataset.kind]) * 2.0)
    take, expected = once.train(table, 1, 4), streamed.train(table, 1, 4)
    for _ in range(3):
        (_, batch), (_, stored) = take(1), expected(1)
        wanted = 2.0 * first_three(np.asarray(stored[dataset.kind]))
        np.testing.assert_allclose(batch['features'], wanted, rtol=1e-6)
        for key in loader.KNOWN:
            np.testing.assert_array_equal(batch[key], stored[key])
    for ours, theirs in zip(once.evaluate(table), streamed.evaluate(table), strict=True):
        wanted = 2.0 * first_three(np.asarray(theirs[dataset.kind]))
        np.testing.assert_allclose(ours['features'], wanted, rtol=1e-6)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """The same run streamed, resident, in programs of several steps, and read by worker processes."""
    home = tmp_path_factory.mktemp('resident')
    tones = program.write_tones(home / 'tones', songs=6)
    variants = {
        'streamed': (),
        'resident': ('--config.train.device_resident=True',),
        'several': ('--config.train.device_resident=True', '--config.train.steps_per_dispatch=5'),
        'workers': ('--config.train.loader_workers=2',),
    }
    for name, flags in variants.items():
        words = program.command(
            home / name, tones, home / 'prepared', '--config.train.length=3 epochs', *flags
        )
        done = program.run(words, env=program.environment(devices=2))
        assert done.returncode == 0, done.stderr
    return home


@pytest.mark.slow
@pytest.mark.parametrize('name', ['resident', 'workers'])
def test_a_run_ends_in_the_same_bytes(runs, name):
    assert (runs / name / 'metrics.jsonl').read_bytes() == (runs / 'streamed' / 'metrics.jsonl').read_bytes()
    for key in ('parameters_sha256', 'best_parameters_sha256', 'parts'):
        assert program.result(runs / name)[key] == program.result(runs / 'streamed')[key]


@pytest.mark.slow
def test_several_steps_in_one_program(runs):
    streamed, several = (program.metrics(runs / name) for name in ('streamed', 'several'))
    assert [line['step'] for line in several] == [line['step'] for line in streamed]
    for one, other in zip(streamed, several, strict=True):
        assert one.keys() == other.keys()
        # Another program, other rounding: as between 1 and 8 devices.
        for key in one:
            assert other[key] == pytest.approx(one[key], rel=1e-4, abs=1e-5), key
