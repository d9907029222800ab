"""musicnn's sister VGG with its published weights, against the code of the package that holds them.

The package needs TensorFlow 1's layers: what its code calls of them is computed by PyTorch here.
"""

import itertools
import types
import zipfile

import numpy as np
import pytest

from genre_jax import program
from genre_jax.convert import checkpoint as convert
from genre_jax.convert import engine, fetch, read, tables
from tests.parity.test_models import close, largest_error, outputs, stepper


class Layers:
    """tf.layers for arrays (batch, rows, columns, channels): Keras' names and constants of that time.

    `found` are the variables by their names in the checkpoint.
    """

    def __init__(self, found):
        self.found, self.norms = found, itertools.count()

    def batch_normalization(self, x, training):
        import torch

        number = next(self.norms)
        name = f'batch_normalization_{number}' if number else 'batch_normalization'
        own = [self.found[f'{name}/{key}'] for key in ('gamma', 'beta', 'moving_mean', 'moving_variance')]
        scale, bias, mean, variance = own
        if training:
            variance, mean = torch.var_mean(x, (0, 1, 2), correction=0)
        return (x - mean) / (variance + 1e-3) ** 0.5 * scale + bias

    def conv2d(self, inputs, filters, kernel_size, padding, activation, name):
        import torch

        kernel = self.found[f'{name}/kernel'].permute(3, 2, 0, 1)
        assert kernel.shape[0] == filters and list(kernel.shape[2:]) == kernel_size
        x = inputs.permute(0, 3, 1, 2)
        maps = torch.nn.functional.conv2d(x, kernel, self.found[f'{name}/bias'], padding=padding)
        return activation(maps.permute(0, 2, 3, 1))

    def max_pooling2d(self, inputs, pool_size, strides):
        import torch

        x = inputs.permute(0, 3, 1, 2)
        return torch.nn.functional.max_pool2d(x, pool_size, strides).permute(0, 2, 3, 1)

    def dropout(self, x, rate, training):
        return x

    def flatten(self, x):
        return x.reshape(len(x), -1)

    def dense(self, inputs, activation, units):
        assert activation is None and self.found['dense/bias'].shape == (units,)
        self.last = inputs
        return inputs @ self.found['dense/kernel'] + self.found['dense/bias']


def theirs(found, pictures, training):
    """Logits of the package's `vgg`, and what its output layer reads."""
    import torch

    layers = Layers(found)
    tensorflow = types.SimpleNamespace(
        expand_dims=torch.unsqueeze,
        nn=types.SimpleNamespace(relu=torch.relu),
        compat=types.SimpleNamespace(v1=types.SimpleNamespace(layers=layers)),
    )
    with zipfile.ZipFile(program.cache() / fetch.PUBLISHED['vgg_msd'].file) as wheel:
        source = wheel.read('musicnn/models.py').decode()
    code = {'tf': tensorflow}
    exec(source[source.index('def vgg') :], code)
    return code['vgg'](pictures, training, 50, 128)[0], layers.last


@pytest.mark.parametrize('name', ['vgg_msd', 'vgg_mtt'])
def test_vgg_is_the_packages(name):
    import torch

    converted, _ = convert.convert_checkpoint(name)
    params = [path for path in converted.variables if path.startswith('params/')]
    assert sum(converted.variables[path].size for path in params) == 605748
    assert len(fetch.labels(name)) == converted.num_classes == 50
    found = read.read_checkpoint(fetch.fetch(name))
    found = {key: torch.tensor(value) for key, value in found.items()}
    for frames in (187, 188, 130, 193):  # more or fewer have another output layer
        rng = np.random.default_rng(frames)
        pictures = rng.gamma(1.0, 0.7, (3, frames, 96)).astype(np.float32)
        ours = outputs(converted, pictures)
        for own, other in zip(ours, theirs(found, torch.tensor(pictures), False), strict=True):
            close(own, other)


def test_vgg_trains_as_the_packages():
    """Loss and gradients of a step with weights near the published ones, against float64."""
    import torch

    names = read.read_checkpoint(fetch.fetch('vgg_mtt'))
    errors = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        found = {
            key: value * np.exp(0.3 * rng.standard_normal(value.shape))
            for key, value in names.items()
            if 'Adam' not in key and '_power' not in key
        }
        pictures = rng.gamma(1.0, 0.7, (3, 187, 96)).astype(np.float32)
        labels = rng.integers(0, 50, 3)
        converted = from_bundle(found)
        tensors = {key: torch.tensor(value, requires_grad=True) for key, value in found.items()}
        logits, _ = theirs(tensors, torch.tensor(pictures, dtype=torch.float64), True)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
        loss.backward()
        expected = {
            key: found[key] if value.grad is None else value.grad.numpy() for key, value in tensors.items()
        }
        our_loss, gradients = stepper(converted)(pictures, labels)
        np.testing.assert_allclose(our_loss, loss.item(), rtol=1e-4)
        errors.append(largest_error(gradients, from_bundle(expected).variables))
    # As of CNN14: in some batches rounding decides where a maximum or a ReLU is.
    assert sorted(errors)[1] < 1e-3, errors


def from_bundle(tensors):
    tensors = {key: np.asarray(value) for key, value in tensors.items()}
    return engine.convert(tensors, engine.recognise(tensors, tables.TABLES, 'memory'), {}, 'memory')
