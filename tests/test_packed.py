"""Packed sweeps: every member ends as a run of its own does, whatever the others do."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from configs import mlp_features
from genre_jax import pack_program, prepared, search_space, sharding, train
from genre_jax.job import make_job

LABELS = ('a', 'b', 'c')
STEPS = 100


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
    mesh = jax.make_mesh(
        (devices,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    return make_job(config, stored, 320, mesh)


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
    monkeypatch.setattr(
        pack_program.loader, 'train_batches', lambda table, **_: batches(job.stored, table)
    )
    seeds = {point.get('seed', job.config.seed) for point in points}
    states, losses = made.make_states(), []
    for number, batch_of in made.batches({seed: seed for seed in seeds}, 0, steps, None):
        outputs = []
        for chunk in range(len(made.chunks)):
            states[chunk], new = made.step(
                chunk, states[chunk], number, batch_of(chunk), job.plan.groups(0)
            )
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


@pytest.mark.parametrize('at_once', [None, 1])
@pytest.mark.parametrize(
    'points',
    [
        varied(model__dropout=(0.5, 0.0, 0.2), optim__l2=(0.0, 1e-4, 1e-3)),
        varied(seed=(3, 4, 3), train__label_smoothing=(0.0, 0.1, 0.2)),
    ],
)
def test_a_hundred_steps_of_perceptrons(points, at_once, monkeypatch):
    config, stored = table_config()
    members = together(job_on(8, config, stored), points, monkeypatch, at_once)
    for point, member in zip(points, members, strict=True):
        assert_same(member, alone(job_on(8, search_space.apply(config, point), stored)), 1e-5)


def test_a_hundred_steps_of_cnn_gru_attention(monkeypatch):
    """One at a time, as on CPUs: the program of a separate run, and so the same to the bit.

    Less is not to be had for a hundred steps. Adam makes full steps of the rounding noise that is the
    gradient where batch normalisation or a softmax takes a weight back, and a separate run whose first
    parameters are off by 6e-8 is off by 2e-4 in its loss after fifty.
    """
    config, stored = audio_config()
    points = varied(model__cnn_dropout=(0.2, 0.4, 0.0))[1:]
    members = together(job_on(1, config, stored), points, monkeypatch)
    for point, member in zip(points, members, strict=True):
        assert_same(member, alone(job_on(1, search_space.apply(config, point), stored)), 0)


@pytest.mark.parametrize('at_once', [None, 2])
def test_strengths_of_augmentation_and_seeds_of_networks_on_8_devices(at_once, monkeypatch):
    """Side by side, and on other devices, members agree up to rounding: see above for how long."""
    config, stored = audio_config()
    points = [
        {'augment.gaussian_noise.sigma': 0.01, 'model.cnn_dropout': 0.2, 'seed': 5},
        {'augment.gaussian_noise.sigma': 0.001, 'model.cnn_dropout': 0.4, 'seed': 6},
    ]
    members = together(job_on(8, config, stored), points, monkeypatch, at_once, steps=4)
    for point, (losses, _) in zip(points, members, strict=True):
        own = alone(job_on(1, search_space.apply(config, point), stored), steps=4)
        np.testing.assert_allclose(losses, own[0], atol=1e-5)
    assert np.abs(members[0][0] - members[1][0]).min() > 1e-3
