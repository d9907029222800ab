"""What a network looks at, against closed forms, NumPy and evidence that was planted."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.signal

from genre_jax import models, sharding
from genre_jax.loading import prepared
from genre_jax.models import vgg16, yamnet
from genre_jax.models.network import Network
from genre_jax.training import saliency
from genre_jax.training.job import Job, make_job
from tests import tiny_page

FRAMES, BINS = 24, 16
# Small versions of every network, and pictures that each takes.
NETWORKS = {
    'shallow_cnn': ({'hidden_units': 4}, (40, 24)),
    'efficient_cnn': ({}, (40, 24)),
    'cnn_gru': ({}, (40, 24)),
    'cnn_gru_attention': ({'recurrence': 'time'}, (40, 24)),
    'cnn_lstm': ({}, (40, 24)),
    'cnn14': ({'variant': 'cnn6'}, (33, 32)),
    'mobilenet_v1': ({}, (40, 32)),
    'vgg16': ({'hidden_units': (4,), 'pool': 'mean'}, (40, 32)),
    'yamnet': ({'lstm_units': (4,), 'hidden_units': (4,)}, (200, 64)),
    'musicnn': ({}, (20, 24)),
    'vgg': ({'filters': 4}, (70, 64)),
    'efficientat': ({'width': 0.1}, (64, 64)),
    'ast': ({'width': 16, 'depth': 2, 'heads': 2, 'remat': True}, (40, 32)),
    'beats': ({'width': 16, 'depth': 2, 'heads': 2, 'hidden_units': 16, 'patch_width': 8}, (40, 32)),
    'dasheng': ({'width': 16, 'depth': 2, 'heads': 2, 'target_frames': 24}, (40, 32)),
    'lstm': ({'hidden_units': (4,), 'dropout': (0.0,)}, (30, 13)),
    'mlp': ({}, (8, 6)),
    'mean_deviation': ({}, (30, 13)),
}
# The maps that Grad-CAM is of; without any, what else.
LAST = {
    'shallow_cnn': ['conv_left', 'conv_right'],
    'cnn14': ['Dropout_3'],
    'mobilenet_v1': ['features_13'],
    'vgg16': ['block5_conv3'],
    'yamnet': ['layer14'],
    'musicnn': ['temporal_1/bn', 'temporal_2/bn', 'temporal_3/bn', 'timbral_1/bn', 'timbral_2/bn'],
    'vgg': ['bn5'],
    'efficientat': ['features_16_1'],
    'beats': ['patch_embedding'],
    'dasheng': ['patch_embed'],
    'lstm': [],
    'mlp': [],
    'mean_deviation': [],
}


def job_of(model):
    """A job that applies a network to pictures, on one device."""
    fields = {field.name: None for field in dataclasses.fields(Job)}
    return Job(**fields | {'model': model})


def pictures_of(shape, count=3, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((count, *shape)), jnp.float32)


def network(name):
    settings, shape = NETWORKS[name]
    model, pictures = models.build({'name': name, **settings}, 3), pictures_of(shape)
    variables = jax.jit(lambda: model.init(jax.random.key(0), pictures, train=False))()
    return job_of(model), variables, pictures


class Averaged(Network):
    """A convolution, ReLU, the mean over all places and a layer: where Grad-CAM is CAM (Zhou et al. 2016)."""

    @nn.compact
    def __call__(self, features, train):
        maps = nn.Conv(3, (3, 3), name='first')(features[..., None])
        maps = Rectified(name='rectified')(nn.Conv(5, (3, 3), name='last')(nn.relu(maps)))
        embedding = maps.mean((1, 2))
        return nn.Dense(self.num_classes, name='output')(embedding), embedding


class Rectified(nn.Module):
    @nn.compact
    def __call__(self, maps):
        return nn.relu(maps)


def test_grad_cam_is_the_closed_form_of_a_network_that_averages():
    job, pictures = job_of(Averaged(num_classes=4)), pictures_of((FRAMES, BINS))
    variables = job.model.init(jax.random.key(1), pictures, train=False)
    classes = np.array([2, 0, 3], np.int32)
    names = saliency.last_maps(job, variables, pictures)
    assert names == ('rectified',)
    ours = saliency.grad_cam(job, variables, pictures, classes, names)

    def convolve(maps, layer):
        kernel, bias = (np.asarray(layer[key], np.float64) for key in ('kernel', 'bias'))
        return np.stack(
            [
                bias[k] + sum(
                    scipy.signal.correlate2d(maps[..., c], kernel[:, :, c, k], 'same')
                    for c in range(maps.shape[-1])
                )
                for k in range(len(bias))
            ],
            axis=-1,
        )  # fmt: skip

    params = variables['params']
    for picture, chosen, heat in zip(np.asarray(pictures, np.float64), classes, ours, strict=True):
        maps = np.maximum(
            convolve(np.maximum(convolve(picture[..., None], params['first']), 0), params['last']), 0
        )
        theirs = np.maximum((maps * np.asarray(params['output']['kernel'])[:, chosen]).sum(-1), 0)
        np.testing.assert_allclose(heat, theirs, atol=1e-4 * theirs.max())


def test_rollout_is_the_product_of_all_attention():
    """As Abnar and Zuidema have it, in NumPy: of matrices whose rows are normed with the identity added."""
    job, variables, pictures = network('ast')
    plain = job.model.clone(remat=False)
    _, taken = plain.apply(
        variables, pictures, train=False,
        capture_intermediates=lambda module, _: module.name == 'attn_qkv',
    )  # fmt: skip
    ours = saliency.rollout(job_of(plain), variables, pictures, np.zeros(3, np.int32))
    product = np.eye(2 + 2 * 3)
    for i in range(2):
        qkv = np.asarray(taken['intermediates'][f'blocks_{i}']['attn_qkv']['__call__'][0], np.float64)
        queries, keys = qkv[:, :, 0], qkv[:, :, 1]
        weights = np.exp(np.einsum('bqhd,bkhd->bhqk', queries, keys) / np.sqrt(8))
        weights = (weights / weights.sum(-1, keepdims=True)).mean(1) + np.eye(8)
        product = weights / weights.sum(-1, keepdims=True) @ product
    of_patches = product[:, :2].mean(1)[:, 2:].reshape(3, 2, 3)  # along bins, then along frames
    total, seen_by = np.zeros((3, 40, 32)), np.zeros((40, 32))
    for row in range(2):
        for column in range(3):
            place = np.s_[10 * column : 10 * column + 16, 10 * row : 10 * row + 16]
            total[(slice(None), *place)] += of_patches[:, row, column, None, None]
            seen_by[place] += 1
    np.testing.assert_allclose(ours, total / np.maximum(seen_by, 1), rtol=1e-4)


def test_occlusion_is_what_a_class_loses():
    job, variables, pictures = network('lstm')
    classes = np.array([0, 1, 2], np.int32)
    ours = saliency.occlusion(job, variables, pictures, classes)
    apply = jax.jit(lambda x: nn.softmax(job.model.apply(variables, x, train=False)[0]))
    for frame, coefficient in ((0, 0), (7, 12), (15, 5), (29, 9)):
        # 30 frames in 16 boxes, 13 bins in 4.
        inside = np.zeros((30, 13), bool)
        for i, j in np.ndindex(30, 13):
            inside[i, j] = i * 16 // 30 == frame * 16 // 30 and j * 4 // 13 == coefficient * 4 // 13
        grey = np.where(inside, np.asarray(pictures).mean((1, 2), keepdims=True), pictures)
        before, without = (np.asarray(apply(x))[np.arange(3), classes] for x in (pictures, grey))
        fall = np.log(before / (1 - before)) - np.log(without / (1 - without))
        np.testing.assert_allclose(ours[:, frame, coefficient], np.maximum(fall, 0), atol=1e-5)
    assert float(ours.max()) > 0


@pytest.mark.slow(but='shallow_cnn')
@pytest.mark.parametrize('name', NETWORKS)
def test_every_network_can_be_looked_into(name):
    """From audio, on eight devices, over all of the picture; the same on one of them."""
    settings, shape = NETWORKS[name]
    config = tiny_page.get_config()
    config.augment = {}
    config.model = {'name': name, **settings}
    config.features.n_mels = shape[1]
    config.features.hop_length = 512
    window = (shape[0] - 1) * 512 + 512
    config.windows.window_s = window / 22050
    stored = prepared.Stored('audio', (window,), 22050, ('a', 'b', 'c'))
    audio = (3000 * np.random.default_rng(0).standard_normal((16, window))).astype(np.int16)
    classes, found = np.arange(16, dtype=np.int32) % 3, []
    for devices in (8, 1):
        job = make_job(config, stored, 160, sharding.make_mesh(jax.devices()[:devices]))
        variables = jax.jit(job.init)(jax.random.key(0))
        kind, look = saliency.program(job)
        batch = sharding.put_batch({'audio': audio, 'class': classes}, job.mesh)
        found.append(jax.device_get(look(variables, batch, batch['class'])))
    (pictures, heat), (one_pictures, one_heat) = found
    names = saliency.last_maps(job, variables, jax.ShapeDtypeStruct((1, *job.picture), jnp.float32))
    if name in LAST:
        assert list(names) == LAST[name]
    assert kind == ('attention_rollout' if name == 'ast' else 'grad_cam' if names else 'occlusion')
    assert pictures.shape == heat.shape == (16, *job.picture) and heat.dtype == np.uint8
    assert (pictures.min((1, 2)) == 0).all() and (pictures.max((1, 2)) == 255).all()
    assert (np.isin(heat.max((1, 2)), (0, 255))).all() and heat.any()
    assert np.abs(pictures.astype(int) - one_pictures).max() <= 1
    assert np.mean(np.abs(heat.astype(int) - one_heat) > 2) < 0.01


# --- planted evidence ----------------------------------------------------------------------------


def planted(rng, count, shape, size):
    """Noise; in those of class 1 a louder rectangle somewhere. Returns pictures, classes, and where it is."""
    pictures = rng.standard_normal((count, *shape)).astype(np.float32)
    classes, where = np.arange(count, dtype=np.int32) % 2, np.zeros((count, *shape), bool)
    for i in np.flatnonzero(classes):
        frame, low = (rng.integers(0, n - k) for n, k in zip(shape, size, strict=True))
        where[i, frame : frame + size[0], low : low + size[1]] = True
    return pictures + 2 * where, classes, where


@pytest.mark.slow(but='shallow_cnn')
@pytest.mark.parametrize(
    ('name', 'settings', 'steps'),
    [
        ('efficient_cnn', {'cnn_dropout': 0.0, 'classifier_dropout': 0.0}, 60),
        ('shallow_cnn', {'hidden_units': 16, 'dropout': 0.0}, 60),
        ('ast', {'width': 32, 'depth': 2, 'heads': 4}, 150),
    ],
)
def test_a_network_that_has_learned_to_see_something_looks_at_it(name, settings, steps):
    rng, shape, size = np.random.default_rng(0), (48, 32), (12, 10)
    model = models.build({'name': name, **settings}, 2)
    variables = model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)
    optimizer = optax.adam(3e-3)
    state = optimizer.init(variables['params'])

    def loss(params, stats, pictures, classes):
        out, new = model.apply(
            {'params': params, 'batch_stats': stats}, pictures, train=True, mutable=['batch_stats'],
            rngs={'dropout': jax.random.key(0)},
        )  # fmt: skip
        return optax.softmax_cross_entropy_with_integer_labels(out[0], classes).mean(), new

    @jax.jit
    def step(variables, state, pictures, classes):
        stats = variables.get('batch_stats', {})
        gradient, new = jax.grad(loss, has_aux=True)(variables['params'], stats, pictures, classes)
        updates, state = optimizer.update(gradient, state)
        params = optax.apply_updates(variables['params'], updates)
        return {'params': params, 'batch_stats': new.get('batch_stats', {})}, state

    variables = {'params': variables['params'], 'batch_stats': variables.get('batch_stats', {})}
    for _ in range(steps):
        variables, state = step(variables, state, *planted(rng, 32, shape, size)[:2])
    pictures, classes, where = planted(rng, 64, shape, size)
    logits, _ = model.apply(variables, pictures, train=False)
    there = classes == 1
    assert (logits.argmax(-1) == classes).mean() > 0.9
    job = job_of(model)
    if name == 'ast':
        heat = saliency.rollout(job, variables, pictures, classes)
    else:
        heat = saliency.grad_cam(
            job, variables, pictures, classes, saliency.last_maps(job, variables, pictures)
        )
    heat, where = np.asarray(heat)[there], where[there]
    # How much hotter a pixel of it is than one beside it.
    inside = (heat * where).sum((1, 2)) / where.sum((1, 2))
    outside = (heat * ~where).sum((1, 2)) / (~where).sum((1, 2))
    assert np.mean(inside > outside) > 0.9


def test_occlusion_finds_the_only_place_that_counts():
    """A perceptron that adds up what lies in one rectangle, in quiet pictures with something loud there."""
    frames, bins = 32, 8
    model = models.build({'name': 'mlp', 'hidden_units': (1,)}, 2)
    inside = np.zeros((frames, bins), np.float32)
    inside[10:14, 4:6] = 1
    dense = {'kernel': inside.reshape(-1, 1), 'bias': np.zeros(1, np.float32)}
    output = {'kernel': np.array([[-1.0, 1.0]], np.float32), 'bias': np.zeros(2, np.float32)}
    variables = {'params': {'dense_1': dense, 'output': output}}
    pictures = 0.1 * pictures_of((frames, bins)) + 3 * inside
    heat = saliency.occlusion(job_of(model), variables, pictures, np.ones(3, np.int32))
    assert (np.asarray(heat)[:, inside > 0] > 1).all()
    assert not np.asarray(heat)[:, inside == 0].any()


# --- where maps lie ------------------------------------------------------------------------------


def test_heat_of_images_lies_over_the_spectrograms_that_became_them():
    blocks = np.asarray(pictures_of((2, 3)))
    pictures = jnp.asarray(np.kron(blocks, np.ones((32, 32), np.float32)))
    image = vgg16.as_image(pictures)[..., 0]
    heat = image.reshape(3, 3, 32, 2, 32).mean((2, 4))  # as five poolings leave it
    model = models.build({'name': 'vgg16', 'hidden_units': (4,)}, 2)
    over = np.asarray(model.over_picture(heat, (64, 96)))[:, 15::32, 15::32]
    for ours, theirs in zip(over, blocks, strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(model.over_picture(heat, (96, 64, 3)).shape, (3, 96, 64))


def test_heat_of_patches_lies_where_they_were_cut():
    pictures = pictures_of((200, 64))
    patches = np.stack([pictures[:, i : i + 96] for i in (0, 48, 96)], axis=1).reshape(9, 96, 64)
    over = yamnet.Model(num_classes=2).over_picture(jnp.asarray(patches), (200, 64))
    np.testing.assert_allclose(over[:, :192], pictures[:, :192], rtol=1e-6)
    assert not over[:, 192:].any()  # what is left over is not seen


@pytest.mark.parametrize(
    ('name', 'shape', 'place', 'seen'),
    [
        ('ast', (2, 3), (1, 2), np.s_[20:36, 10:26]),
        ('musicnn', (40, 8), (5, 3), np.s_[5:6, 3:28]),
    ],
)
def test_a_place_speaks_for_what_it_has_seen(name, shape, place, seen):
    settings, _ = NETWORKS[name]
    heat = np.zeros((1, *shape), np.float32)
    heat[(0, *place)] = 1
    over = models.build({'name': name, **settings}, 2).over_picture(jnp.asarray(heat), (40, 32))
    outside = np.ones((40, 32), bool)
    outside[seen] = False
    assert (np.asarray(over[0])[seen] > 0).all() and not np.asarray(over[0])[outside].any()
