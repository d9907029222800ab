"""Low-rank adaptation against PEFT: outputs, gradients, some steps of SGD, and the merged kernels."""

import flax
import jax
import numpy as np
import optax
import peft
import pytest
import torch

from genre_jax import models
from genre_jax.configs import common
from genre_jax.training import freezing, lora

WIDTHS, INPUTS, CLASSES = (24, 16), 20, 5


@pytest.mark.parametrize(('layers', 'rank', 'alpha'), [('dense_1|dense_2', 4, 8.0), ('dense_2', 3, 16.0)])
def test_a_perceptron_trains_as_with_peft(layers, rank, alpha):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, INPUTS)).astype(np.float32)
    labels = rng.integers(0, CLASSES, 12)
    base = torch.nn.Sequential()
    for i, (inputs, units) in enumerate(zip((INPUTS, WIDTHS[0]), WIDTHS, strict=True), 1):
        base.add_module(f'dense_{i}', torch.nn.Linear(inputs, units))
        base.add_module(f'relu_{i}', torch.nn.ReLU())
    base.add_module('output', torch.nn.Linear(WIDTHS[1], CLASSES))
    chosen = layers.split('|')
    settings = peft.LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=chosen, lora_dropout=0.0, modules_to_save=['output']
    )
    theirs = peft.get_peft_model(base, settings)
    for name, parameter in theirs.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(parameter, 0, 0.2)

    optim = common.get_config().optim
    optim.update(lora_rank=rank, lora_alpha=alpha, lora_layers=layers)
    model = models.build({'name': 'mlp', 'hidden_units': WIDTHS}, CLASSES)
    fresh = model.init(jax.random.key(0), x, train=False)['params']
    flat = {
        path: np.array(value)
        for path, value in flax.traverse_util.flatten_dict(
            lora.added(fresh, chosen, optim, jax.random.key(1)), sep='/'
        ).items()
    }
    assert {path.split('/')[0] for path in flat if lora.is_adapter(path)} == set(chosen)
    named = dict(theirs.named_parameters())
    for path in flat:
        flat[path] = named[_theirs(path, chosen)].detach().numpy().copy()
        if flat[path].ndim == 2:
            flat[path] = flat[path].T
    ours = flax.traverse_util.unflatten_dict(flat, sep='/')
    trained = frozenset(path for path in flat if lora.is_adapter(path) or path.startswith('output'))

    def loss(some):
        params = freezing.merge(ours, some)
        with lora.beside(params, optim):
            logits = model.apply({'params': params}, x, train=True)[0]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    descent = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], lr=0.3)
    some = freezing.select(ours, trained)
    for _ in range(5):
        (_, logits), gradient = step(some)
        descent.zero_grad()
        their_logits = theirs(torch.tensor(x))
        torch.nn.functional.cross_entropy(their_logits, torch.tensor(labels)).backward()
        np.testing.assert_allclose(logits, their_logits.detach().numpy(), atol=1e-5)
        for path, value in flax.traverse_util.flatten_dict(gradient, sep='/').items():
            wanted = named[_theirs(path, chosen)].grad.numpy()
            np.testing.assert_allclose(value, wanted.T if value.ndim == 2 else wanted, atol=1e-5)
        descent.step()
        some = jax.tree.map(lambda p, g: p - 0.3 * g, some, gradient)

    merged = lora.merged(freezing.merge(ours, some), optim)
    plain = theirs.merge_and_unload()
    for name in (*chosen, 'output'):
        layer = plain.get_submodule(name)
        np.testing.assert_allclose(merged[name]['kernel'], layer.weight.detach().numpy().T, atol=1e-5)
    found = model.apply({'params': merged}, x, train=False)[0]
    np.testing.assert_allclose(found, plain(torch.tensor(x)).detach().numpy(), atol=1e-5)


def test_narrow_kernels_begin_as_in_peft():
    """A uniform within 1 / sqrt(inputs), by its bounds and its variance; B at 0."""
    base = torch.nn.Sequential()
    base.add_module('dense_1', torch.nn.Linear(400, 300))
    theirs = peft.get_peft_model(base, peft.LoraConfig(r=50, target_modules=['dense_1']))
    wanted = next(p for n, p in theirs.named_parameters() if 'lora_A' in n).detach().numpy()
    optim = common.get_config().optim
    optim.update(lora_rank=50, lora_layers='dense_1')
    params = {'dense_1': {'kernel': np.zeros((400, 300), np.float32)}}
    found = lora.added(params, ['dense_1'], optim, jax.random.key(0))['dense_1']
    assert np.abs(found['lora_a']).max() == pytest.approx(np.abs(wanted).max(), rel=1e-3)
    assert np.std(found['lora_a']) == pytest.approx(np.std(wanted), rel=0.02)
    assert not found['lora_b'].any()


def _theirs(path, chosen):
    layer, key = path.split('/')
    if key.startswith('lora'):
        return f'base_model.model.{layer}.lora_{key[-1].upper()}.default.weight'
    name = {'kernel': 'weight', 'bias': 'bias'}[key]
    inner = {'output': 'modules_to_save.default.'}.get(layer, 'base_layer.' if layer in chosen else '')
    return f'base_model.model.{layer}.{inner}{name}'
