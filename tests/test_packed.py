"""Packed sweeps: every member ends as a run of its own does, whatever the others do."""

import jax
import numpy as np
import pytest

from configs import mlp_features
from genre_jax import pack_program, prepared, search_space, sharding, train
from genre_jax.job import make_job

RNG = np.random.default_rng(0)
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


def alone(config, stored):
    """Trains a separate run; returns its losses and parameters."""
    job = make_job(config, stored, 320, sharding.make_mesh())
    state, step = train.make_state(job), train.make_train_step(job, job.plan.groups(0))
    losses = []
    for _, batch in zip(range(STEPS), batches(stored, config.seed), strict=False):
        state, outputs = step(state, sharding.put_batch(batch, job.mesh))
        losses.append(float(outputs['loss']))
    return np.array(losses), jax.device_get(state.params)


def together(config, stored, points, monkeypatch, at_once=None):
    """Trains a pack; returns losses and parameters of each member."""
    job = make_job(config, stored, 320, sharding.make_mesh())
    made = pack_program.Program(job, points, at_once)
    # The table of a seed is what its batches are made of; here that is the seed.
    monkeypatch.setattr(
        pack_program.loader, 'train_batches', lambda table, **_: batches(stored, table)
    )
    seeds = {point.get('seed', config.seed) for point in points}
    states, losses = made.make_states(), []
    for number, batch_of in made.batches({seed: seed for seed in seeds}, 0, STEPS, None):
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


@pytest.mark.parametrize(
    'make, points',
    [
        (table_config, varied(model__dropout=(0.5, 0.0, 0.2), optim__l2=(0.0, 1e-4, 1e-3))),
        (table_config, varied(seed=(3, 4, 3), train__label_smoothing=(0.0, 0.1, 0.2))),
        (audio_config, varied(model__cnn_dropout=(0.2, 0.4, 0.0))),
        (audio_config, varied(augment__gaussian_noise__sigma=(0.01, 0.001, 0.0), seed=(5, 6, 5))),
    ],
)
def test_a_hundred_steps_are_those_of_separate_runs(make, points, monkeypatch):
    config, stored = make()
    for point, (losses, params) in zip(
        points, together(config, stored, points, monkeypatch), strict=True
    ):
        their_losses, their_params = alone(search_space.apply(config, point), stored)
        np.testing.assert_allclose(losses, their_losses, atol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, their_params)
