"""Records on the devices: the windows, the order and the results of the streaming loader."""

import jax
import ml_collections
import numpy as np
import pytest

from genre_jax import sharding
from genre_jax.data import prepare
from genre_jax.data.recordings import Recording, Source
from genre_jax.loading import loader, prepared, resident
from tests import program

RATE_HZ, CHUNK_S = 100, 1.0
LENGTHS = (30, 50, 51, 99, 100, 101, 237, 300, 555, 801, 640, 90)
BATCH = 16


class Noise(Source):
    """Tracks of noise, pictures of noise or rows of noise."""

    description, fingerprint = 'Noise.', 'noise'

    def __init__(self, kind):
        self.kind, self.name = kind, f'noise_{kind}'

    def recordings(self):
        return [
            Recording(track=f'{t}', label='cab'[t % 3], group=f'{t}') for t in range(len(LENGTHS))
        ], []

    def sample_rate_hz(self):
        return RATE_HZ if self.kind == 'audio' else 1

    def load(self, recording):
        rng = np.random.default_rng(int(recording.track))
        if self.kind == 'audio':
            n = LENGTHS[int(recording.track)]
            return rng.integers(-(2**15), 2**15, n, endpoint=False).astype(np.int16)
        if self.kind == 'image':
            return rng.integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)
        return rng.standard_normal((1 + int(recording.track) % 4, 7)).astype(np.float32)

    def group_key(self):
        return 'track'


@pytest.fixture(scope='module', params=['audio', 'image', 'table'])
def dataset(request, tmp_path_factory):
    folder = prepare.prepare(Noise(request.param), tmp_path_factory.mktemp('prepared'), CHUNK_S)
    return prepared.Dataset(folder)


@pytest.mark.parametrize('devices', [1, 2, 8])
@pytest.mark.parametrize('window_s', [0.5, 1.0, 2.35])
@pytest.mark.parametrize('draw', ['random', 'grid'])
def test_the_batches_of_the_stream(dataset, draw, window_s, devices):
    windows = ml_collections.ConfigDict(
        {
            'window_s': window_s, 'train_per_track': 4, 'train_draw': draw,
            'eval_per_track': 3, 'eval_draw': 'even', 'balance': 'none',
        }
    )  # fmt: skip
    table = loader.WindowTable(dataset, np.arange(len(LENGTHS)), windows, train=True, seed=3)
    mesh = jax.sharding.Mesh(jax.devices()[:devices], ('data',))
    placed = resident.Resident(dataset, table.stored, mesh)
    keys = {'batch_size': BATCH, 'seed': 5, 'first_step': 1, 'steps': 4}
    batches = zip(
        loader.train_batches(table, **keys),
        loader.train_batches(table, **keys, places=True),
        strict=True,
    )
    for streamed, places in batches:
        batch = placed.batch(places)
        examples = batch[dataset.kind]
        assert examples.sharding.is_equivalent_to(sharding.by_example(mesh), examples.ndim)
        np.testing.assert_array_equal(examples, streamed[dataset.kind])
        assert examples.dtype == streamed[dataset.kind].dtype
        np.testing.assert_array_equal(batch['label'], streamed['label'])
        np.testing.assert_array_equal(places['track'], streamed['track'])


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


@pytest.mark.parametrize('name', ['resident', 'workers'])
def test_a_run_ends_in_the_same_bytes(runs, name):
    assert (runs / name / 'metrics.jsonl').read_bytes() == (
        runs / 'streamed' / 'metrics.jsonl'
    ).read_bytes()
    for key in ('parameters_sha256', 'best_parameters_sha256', 'parts'):
        assert program.result(runs / name)[key] == program.result(runs / 'streamed')[key]


def test_several_steps_in_one_program(runs):
    streamed, several = (program.metrics(runs / name) for name in ('streamed', 'several'))
    assert [line['step'] for line in several] == [line['step'] for line in streamed]
    for one, other in zip(streamed, several, strict=True):
        assert one.keys() == other.keys()
        # Another program, other rounding: as between 1 and 8 devices.
        for key in one:
            assert other[key] == pytest.approx(one[key], rel=1e-4, abs=1e-5), key
