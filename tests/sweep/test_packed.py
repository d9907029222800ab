"""Packed sweeps: every member ends as a run of its own does, whatever the others do."""

import csv
import json
import os
import signal
import sys
import time

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import genre_jax
from genre_jax import features, models, run, sharding
from genre_jax.config import load_page
from genre_jax.configs import mlp_features
from genre_jax.convert import store
from genre_jax.errors import UserError
from genre_jax.evaluation.evaluate import Predictions
from genre_jax.loading import loader, prepared, run_data
from genre_jax.loading.feed import Streamed
from genre_jax.models.kernels.dropout import Dropout
from genre_jax.run import confidence
from genre_jax.sweep import packed
from genre_jax.sweep import space as search_space
from genre_jax.sweep.packed import program as pack_program
from genre_jax.training import step as train
from genre_jax.training.job import make_job
from tests import program

LABELS = ('a', 'b', 'c')
STEPS = 100


def test_dropout_has_the_bits_of_flax():
    values = jnp.asarray(np.random.default_rng(0).standard_normal((4, 5, 6, 7)), jnp.float32)

    class Ours(nn.Module):
        @nn.compact
        def __call__(self, values, rate, axes):
            return Dropout(rate, axes)(values, train=True)

    class Theirs(nn.Module):
        @nn.compact
        def __call__(self, values, rate, axes):
            return nn.Dropout(rate, axes, deterministic=False)(values)

    def draw(module, rate, axes):
        return module().apply({}, values, rate, axes, rngs={'dropout': jax.random.key(3)})

    for axes in ((), (1, 2)):
        traced = jax.jit(lambda rate, axes=axes: draw(Ours, rate, axes))
        for rate in (0.0, 0.3):
            constant, theirs = jax.jit(
                lambda rate=rate, axes=axes: (draw(Ours, rate, axes), draw(Theirs, rate, axes))
            )()
            for ours in (constant, traced(rate)):
                np.testing.assert_allclose(ours, theirs, rtol=1e-6)
                assert ((ours == 0) == (theirs == 0)).all()


# --- Steps ---------------------------------------------------------------------------------------


def table_config():
    config = mlp_features.get_config()
    config.optim.name = 'adamw'
    config.optim.schedule = 'cosine'
    config.optim.warmup = '10 steps'
    config.optim.clip_norm = 5.0
    config.train.batch_size = 16
    config.train.length = f'{STEPS} steps'
    return config, prepared.Stored('table', (20,), 0, LABELS)


def audio_config():
    config = mlp_features.get_config()
    config.data.name = 'folder'
    config.features = {'name': 'fma_mel', 'n_fft': 512, 'n_mels': 16}
    config.windows.window_s = 0.6
    config.model = {
        'name': 'cnn_gru_attention',
        'hidden_units': 4,
        'cnn_dropout': 0.3,
        'classifier_dropout': 0.3,
    }
    config.augment.gaussian_noise = {'sigma': 0.003, 'probability': 0.5}
    config.augment.spec_augment = {'time_width_frames': 4, 'mel_width_bins': 3}
    config.augment.mixup = {'alpha': 0.4}
    config.optim.name = 'adamw'
    config.optim.schedule = 'constant'
    config.train.batch_size = 16
    config.train.length = f'{STEPS} steps'
    return config, prepared.Stored('audio', (round(0.6 * 22050),), 22050, LABELS)


def batches(stored, seed):
    rng = np.random.default_rng(seed)
    while True:
        label = rng.integers(0, len(LABELS), 16).astype(np.int32)
        shape = (16, *stored.shape)
        signal = rng.standard_normal(shape) + label.reshape(-1, *[1] * len(stored.shape))
        scale = 3000 if stored.kind == 'audio' else 1
        yield {stored.kind: (scale * signal).astype(stored.batch(1).dtype), 'label': label}


def job_on(devices, config, stored):
    return make_job(config, stored, 320, sharding.make_mesh(jax.devices()[:devices]))


def alone(job, steps=STEPS):
    """Trains a separate run; returns its losses and parameters."""
    state, step = train.make_state(job), train.make_train_step(job, job.plan.groups(0))
    losses = []
    for _, batch in zip(range(steps), batches(job.stored, job.config.seed), strict=False):
        state, outputs = step(state, sharding.put_batch(batch, job.mesh))
        losses.append(float(outputs['loss']))
    return np.array(losses), jax.device_get(state.params)


def together(job, points, monkeypatch, at_once=None, steps=STEPS):
    """Trains a pack; returns losses and parameters of each member."""
    made = pack_program.Program(job, points, at_once)
    # Batches are made of the table of a seed; here that is the seed.
    monkeypatch.setattr(pack_program.loader, 'train_batches', lambda table, **_: batches(job.stored, table))
    seeds = {point.get('seed', job.config.seed) for point in points}
    states, losses, feed = made.make_states(), [], Streamed(job.config, job.mesh)
    for number, batch_of in made.batches({seed: seed for seed in seeds}, 0, steps, feed):
        outputs = []
        for chunk in range(len(made.chunks)):
            states[chunk], new = made.step(chunk, states[chunk], number, batch_of(chunk), job.plan.groups(0))
            outputs += made.split(chunk, new['loss'])
        losses.append(outputs)
    members = [one for chunk, state in enumerate(states) for one in made.split(chunk, state)]
    return list(zip(np.array(losses).T, [member.params for member in members], strict=True))


NUMBERS = [
    {'optim.learning_rate': 2e-3, 'optim.b1': 0.9, 'optim.b2': 0.999, 'optim.weight_decay': 0.0},
    {'optim.learning_rate': 5e-4, 'optim.b1': 0.8, 'optim.b2': 0.98, 'optim.weight_decay': 0.1},
    {'optim.learning_rate': 7e-3, 'optim.b1': 0.95, 'optim.b2': 0.9, 'optim.weight_decay': 0.01},
]


def varied(**keys):
    return [
        numbers | {key.replace('__', '.'): values[i] for key, values in keys.items()}
        for i, numbers in enumerate(NUMBERS)
    ]


def assert_same(one, other, tolerance):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('points', 'at_once'),
    [
        (varied(model__dropout=(0.5, 0.0, 0.2), optim__l2=(0.0, 1e-4, 1e-3)), None),
        (varied(seed=(3, 4, 3), train__label_smoothing=(0.0, 0.1, 0.2)), 1),
    ],
)
def test_a_hundred_steps_of_perceptrons(points, at_once, monkeypatch):
    config, stored = table_config()
    members = together(job_on(8, config, stored), points, monkeypatch, at_once)
    for point, member in zip(points, members, strict=True):
        assert_same(member, alone(job_on(1, search_space.apply(config, point), stored)), 1e-5)


def test_three_layers_begin_equal_up_to_rounding(monkeypatch):
    """How far training grows that: docs/sweeps.md. The bound is eight units in the last place."""
    config, stored = table_config()
    config.model.hidden_units = (64, 32, 16)
    points = [{'optim.learning_rate': rate, 'model.dropout': 0.1} for rate in (9e-3, 1e-3)]
    members = together(job_on(1, config, stored), points, monkeypatch, 2, steps=1)
    for point, (losses, _) in zip(points, members, strict=True):
        own, _ = alone(job_on(1, search_space.apply(config, point), stored), steps=1)
        np.testing.assert_allclose(losses, own, rtol=8 * np.finfo(np.float32).eps)


@pytest.mark.slow
def test_a_hundred_steps_of_cnn_gru_attention(monkeypatch):
    """One at a time, as on CPUs: the program of a separate run, and so the same to the bit.

    Less is not to be had for a hundred steps. Adam makes full steps of the rounding noise that is the
    gradient where batch normalisation or a softmax takes a weight back, and a separate run whose first
    parameters are off by 6e-8 is off by 2e-4 in its loss after fifty.
    """
    config, stored = audio_config()
    points = varied(model__cnn_dropout=(0.2, 0.4, 0.3))[1:]
    members = together(job_on(1, config, stored), points, monkeypatch)
    own = alone(job_on(1, search_space.apply(config, points[1]), stored))
    assert_same(members[1], own, 0)


@pytest.mark.slow
def test_strengths_of_augmentation_and_seeds_of_networks_on_two_devices(monkeypatch):
    """Side by side, and on other devices, members agree up to rounding: see above for how long."""
    config, stored = audio_config()
    config.model = {'name': 'efficient_cnn', 'cnn_dropout': 0.3, 'classifier_dropout': 0.3}
    points = [
        {'augment.gaussian_noise.sigma': 0.01, 'model.cnn_dropout': 0.2, 'seed': 5},
        {'augment.gaussian_noise.sigma': 0.001, 'model.cnn_dropout': 0.4, 'seed': 6},
        {'augment.gaussian_noise.sigma': 0.003, 'model.cnn_dropout': 0.3, 'seed': 5},
    ]
    # Two on each device: the last place is filled up.
    members = together(job_on(2, config, stored), points, monkeypatch, at_once=2, steps=4)
    own, _ = alone(job_on(1, search_space.apply(config, points[1]), stored), steps=4)
    np.testing.assert_allclose(members[1][0], own, atol=1e-5)
    assert np.abs(members[0][0] - own).min() > 1e-3


# --- Whole runs ----------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    """A table in which the columns tell the class, up to noise, of one piece a song."""
    folder = tmp_path_factory.mktemp('packed')
    rng = np.random.default_rng(0)
    with (folder / 'table.csv').open('w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['filename', 'label', *'uvwxyz'])
        for song in range(120):
            values = rng.normal(size=6) + 0.8 * np.eye(6)[song % 3]
            table.writerow([f'{LABELS[song % 3]}.{song:04}.wav', LABELS[song % 3], *values])
    return folder


def page(places):
    config = mlp_features.get_config()
    config.data.root = str(places / 'table.csv')
    config.data.prepared_dir = str(places / 'prepared')
    config.model.hidden_units = (8,)
    config.train.batch_size = 16
    config.eval.batch_size = 16
    config.eval.every = '1 epochs'
    config.checkpoint.every = '3 epochs'
    config.optim.learning_rate = 0.02
    config.optim.schedule = 'plateau'
    config.optim.plateau_patience = 1
    config.train.length = '8 epochs'
    config.tracking.wandb = 'off'
    config.report.look = False
    return config


POINTS = [
    {'optim.learning_rate': 0.05, 'train.stop_patience': 2, 'optim.plateau_factor': 0.5},
    {'optim.learning_rate': 0.01, 'train.stop_patience': 5, 'seed': 3},
    {'optim.learning_rate': 0.02, 'model.dropout': 0.0, 'optim.ema_decay': 0.5},
    {'optim.learning_rate': 0.30, 'train.stop_patience': 2, 'optim.weight_decay': 0.1},
    {'optim.learning_rate': 0.20, 'model.hidden_units': (5,), 'train.stop_patience': 1},
]


@pytest.fixture(scope='module')
def folders(places):
    folders = [places / 'together' / f'{i}' for i in range(len(POINTS))]
    packed.run(page(places), POINTS, folders)
    return folders


@pytest.mark.slow
def test_members_leave_what_separate_runs_leave(places, folders):
    early = []
    for i, (point, folder) in enumerate(zip(POINTS, folders, strict=True)):
        own = places / 'alone' / f'{i}'
        run.run(search_space.apply(page(places), point), own)
        names = {path.name for path in own.iterdir()}
        assert {path.name for path in folder.iterdir()} == names - {
            'checkpoints',
            'checkpoints_sha256',
        } | {'pack.json'}
        for name in ('config.json', 'environment.json', 'parameters.txt'):
            assert (folder / name).read_bytes() == (own / name).read_bytes()
        ours, theirs = program.result(folder), program.result(own)
        close(ours, theirs)
        for mine, other in zip(program.metrics(folder), program.metrics(own), strict=True):
            close(mine, other)
        for part in ('val', 'test'):
            a, b = (Predictions.load(w / 'predictions' / f'{part}.npz') for w in (folder, own))
            np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-5)
            assert a.track.tolist() == b.track.tolist()
        early.append(ours['stopped_early'])
    assert True in early and False in early
    assert not list((places / 'together').glob('.pack*'))


def close(one, other):
    """Figures agree; digests are those of numbers that were rounded otherwise."""
    one, other = (jax.tree_util.tree_leaves_with_path(each) for each in (one, other))
    for (path, value), (their_path, theirs) in zip(one, other, strict=True):
        assert path == their_path
        if isinstance(value, float):
            assert value == pytest.approx(theirs, abs=1e-5), path
        elif 'sha256' not in jax.tree_util.keystr(path):
            assert value == theirs, path


def test_what_has_finished_is_left_alone(places, folders):
    before = {path: path.stat().st_mtime_ns for f in folders for path in f.rglob('*.[jn]*')}
    packed.run(page(places), POINTS, folders)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_loss_that_is_not_finite_ends_one_member_only(places, folders, capsys):
    mine = [places / 'failing' / f'{i}' for i in range(2)]
    points = [POINTS[3], POINTS[3] | {'optim.learning_rate': 1e38}]
    packed.run(page(places), points, mine)
    failed = json.loads((mine[1] / 'failed.json').read_text())
    assert failed['step'] <= 3 and 'the loss became' in failed['message']
    assert f'{mine[1]} failed: the loss became' in capsys.readouterr().out
    assert not (mine[1] / 'result.json').exists()
    close(program.result(mine[0]), program.result(folders[3]))


def start_pack(places, folder):
    """Starts the pack of POINTS as a program of its own, on one device."""
    code = (
        'import pathlib, sys; sys.path[:0] = ["tests/sweep"]; import test_packed as t; '
        'places, folder = map(pathlib.Path, sys.argv[1:]); '
        't.packed.run(t.page(places), t.POINTS, [folder / str(i) for i in range(len(t.POINTS))])'
    )
    return program.start([sys.executable, '-c', code, str(places), str(folder)])


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_a_killed_pack_goes_on_to_the_same_bytes(places, tmp_path):
    unharmed = places / 'unharmed'
    finish(start_pack(places, unharmed))
    process = start_pack(places, tmp_path)
    file, deadline = tmp_path / '1' / 'metrics.jsonl', time.monotonic() + 200
    while not (file.exists() and file.read_bytes().count(b'\n') >= 11):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / '1' / 'result.json').exists()
    output = finish(start_pack(places, tmp_path))
    # Checkpoints are saved every 3 epochs of 5 steps; a validation's two lines come every epoch.
    assert 'continuing from step 15' in output
    for i in range(len(POINTS)):
        for name in ('metrics.jsonl', 'result.json', 'config.json'):
            ours, theirs = (folder / str(i) / name for folder in (tmp_path, unharmed))
            assert ours.read_bytes() == theirs.read_bytes(), ours


@pytest.mark.slow
def test_members_know_when_to_answer_none_of_these(tmp_path):
    """The rule of each is that by hand, of its own model and its own validation part."""
    config = load_page(str(program.PAGE))
    config.data.update(
        root=str(program.write_tones(tmp_path / 'tones')), prepared_dir=str(tmp_path / 'prepared')
    )
    points = [{'optim.learning_rate': 3e-3}, {'optim.learning_rate': 3e-4, 'seed': 1}]
    members = [tmp_path / str(i) for i in range(2)]
    packed.run(config, points, members)
    found = []
    for point, folder in zip(points, members, strict=True):
        model = genre_jax.load(str(folder))
        assert model.rejects
        kept = json.loads((folder / 'model' / 'confidence.json').read_text())['reject']
        wanted = rule_by_hand(search_space.apply(config, point), folder, kept['rule'])
        for key, (low, deviation) in wanted['scales'].items():
            assert kept['scales'][key] == pytest.approx([low, deviation], rel=1e-3, abs=1e-4), key
        assert kept['least'] == pytest.approx(wanted['least'], rel=1e-3, abs=1e-3)
        assert kept['parts']['val']['kept'] == pytest.approx(wanted['kept'])
        assert kept['no_music_turned_away'] == pytest.approx(wanted['turned_away'], abs=0.02)
        found.append(kept['least']['song'])
    assert abs(found[0] - found[1]) > 1e-3


def rule_by_hand(config, folder, rule):
    """What `confidence.json` says of a rule, from the model that lies in a folder, with numpy."""
    data = run_data.open_data(config)
    network, front_end = models.build(config.model, 3), features.build(config.features)
    variables = flax.traverse_util.unflatten_dict(store.load(folder / 'model').variables, sep='/')

    @jax.jit
    def apply(windows):
        return network.apply(variables, front_end(windows.astype(jnp.float32) / 32767), train=False)

    def heard(windows):
        return [np.asarray(each, np.float64) for each in apply(windows)]

    def distance(points, places, inverse):
        gaps = points[:, None] - places
        return np.sqrt(np.einsum('pci,ij,pcj->pc', gaps, inverse, gaps).min(1))

    own = {'train': False, 'seed': config.split.seed}
    train_table = loader.WindowTable(data.dataset, data.split.tracks['train'], config.windows, **own)
    val, sounds = data.tables['val'], np.stack(list(confidence.no_music(22050, 13230)))
    _, taught = heard(train_table.read_all())
    logits, points = (np.concatenate(each) for each in zip(heard(val.read_all()), heard(sounds), strict=True))
    n_val = len(val)
    noise, tried = points[n_val::2], np.r_[:n_val, n_val + 1 : len(points) : 2]
    means = np.stack([taught[train_table.labels == c].mean(0) for c in range(3)])
    rest = taught - means[train_table.labels]
    covariance = rest.T @ rest / len(rest)
    units = len(covariance)
    inverse = np.linalg.inv((covariance + np.eye(units) * np.trace(covariance) / units) / 2)
    powers = np.exp(logits)
    near = distance(points, means, inverse)
    sure = {
        'probability': powers.max(1) / powers.sum(1),
        'energy': np.log(powers.sum(1)),
        'distance': -near,
        'music': distance(points, noise, inverse) - near,
    }
    scales = {key: (np.quantile(each[:n_val], 0.05), each[:n_val].std()) for key, each in sure.items()}
    least = np.min([(sure[key] - scales[key][0]) / scales[key][1] for key in (rule, 'distance', 'music')], 0)
    songs = np.sort([least[:n_val][val.track == track].mean() for track in np.unique(val.track)])
    lowest = songs[int(0.05 * (len(songs) - 1))]
    return {
        'scales': scales,
        'least': {'song': lowest, 'window': np.sort(least[:n_val])[int(0.05 * (n_val - 1))]},
        'kept': (songs >= lowest).mean(),
        'turned_away': (least[tried[n_val:]] < lowest).mean(),
    }


# --- Mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'point, message',
    [
        ({'optim.learning_rat': 0.1}, r"config.optim.learning_rat; did you mean .*learning_rate'"),
        ({'optim.learning_rate': 'fast'}, r"\{'optim.learning_rate': 'fast'\}: .*float"),
        ({'optim.learning_rate': -1.0}, r'config.optim.learning_rate=-1.0: expected a number'),
        ({'model.dropout': 1.5}, r'config.model.dropout=1.5: expected'),
        ({'mesh.fsdp': 2}, r'config.mesh: a packed sweep spreads its runs along data: expected fsdp=1'),
        ({'eval.excerpts_s': (1.0,)}, r'config.eval.excerpts_s=\(1.0,\): a packed sweep tests whole windows'),
        ({'mesh.fsdp': 3}, r'config.mesh \(data=-1, fsdp=3, model=1\) does not fit 8 devices'),
    ],
)
def test_a_point_that_cannot_be(places, tmp_path, point, message):
    with pytest.raises(UserError, match=message):
        packed.run(page(places), [POINTS[0], point], [tmp_path / 'a', tmp_path / 'b'])
    assert not list(tmp_path.iterdir())


def test_folders_with_other_runs(places, folders, tmp_path):
    with pytest.raises(UserError, match=r'together/0 holds a run with another config'):
        packed.run(page(places), POINTS[1:2], folders[:1])
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'config.json').write_text((folders[0] / 'config.json').read_text())
    with pytest.raises(UserError, match=r'run holds a run that was begun by itself'):
        packed.run(page(places), POINTS[:1], [tmp_path / 'run'])


def test_what_is_packable():
    for key, value in (
        ('optim.learning_rate', 0.1), ('seed', 3), ('model.cnn_dropout', 0.2), ('optim.l1', 1),
        ('augment.gaussian_noise.sigma', 0.1), ('train.stop_patience', 3),
        ('train.label_smoothing', 0.1), ('augment.one_of_probability', 0.5),
    ):  # fmt: skip
        assert packed.packable(key, value), key
    for key, value in (
        ('model.hidden_units', (8,)), ('train.batch_size', 16), ('optim.name', 'adam'),
        ('model.dropout', (0.1, 0.2)), ('augment.pitch_shift.max_semitones', 2.0),
        ('train.length', '3 epochs'), ('model.name', 'mlp'), ('optim.layer_decay', 0.5),
        ('augment.spec_augment.time_stripes', 2), ('split.seed', 1),
    ):  # fmt: skip
        assert not packed.packable(key, value), key
