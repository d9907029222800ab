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
from tests.parity.test_models import close, from_tensors
from tests.parity.test_passt import pictures_of, torch_passt

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


@pytest.mark.usefixtures('parity_code')
@pytest.mark.parametrize(('projections', 'rank', 'alpha'), [('qkv', 3, 7.0), ('qkv|proj|fc1|fc2', 5, 11.0)])
def test_a_transformer_adapts_as_with_peft(projections, rank, alpha):
    """PaSST: outputs and gradients of narrow kernels beside the layers, in training, and merged."""
    theirs, told = torch_passt(96, 66, (10, 10), CLASSES, depth=3)
    converted = from_tensors({key: value.clone() for key, value in theirs.state_dict().items()}, **told)
    target = rf'blocks\.\d+\.(attn|mlp)\.({projections})'
    adapted = peft.get_peft_model(theirs, peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=target))
    optim = common.get_config().optim
    ours_named = '|'.join(f'(?:attn|mlp)_{each}' for each in projections.split('|'))
    optim.update(lora_rank=rank, lora_alpha=alpha, lora_layers=ours_named)
    model = models.build({'name': 'passt', **converted.settings}, CLASSES)
    pictures = pictures_of(66, 96, n=3)
    with lora.dense_layers() as dense:
        jax.eval_shape(lambda: model.init(jax.random.key(0), pictures, train=False))
    variables = flax.traverse_util.unflatten_dict(converted.variables, sep='/')
    params = lora.added(variables['params'], dense, optim, jax.random.key(1))
    flat, partner = flax.traverse_util.flatten_dict(params, sep='/'), {}
    for name, value in adapted.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(value, 0, 0.3)
        if 'lora' in name:
            *_, number, part, layer, kind, _, _ = name.split('.')
            path = f'blocks_{number}/{part}_{layer}/{kind.lower()}'
            flat[path], partner[path] = value.detach().numpy().T.copy(), value
    assert {path for path in flat if lora.is_adapter(path)} == partner.keys()
    params = flax.traverse_util.unflatten_dict(flat, sep='/')

    def total(params):
        with lora.beside(params, optim):
            logits, embedding = model.apply({'params': params}, pictures, train=True)
        return (logits**2).sum(), (logits, embedding)

    (_, found), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    wanted = adapted(torch.tensor(pictures.swapaxes(1, 2)[:, None]))
    (wanted[0] ** 2).sum().backward()
    merged = lora.merged(params, optim)
    also = jax.jit(lambda params: model.apply({'params': params}, pictures, train=False))(merged)
    for each, of_merged, expected in zip(found, also, wanted, strict=True):
        close(each, expected.detach().numpy())
        close(of_merged, expected.detach().numpy())
    without = model.apply(variables, pictures, train=False)[0]
    assert np.abs(without - found[0]).max() > 0.1 * np.abs(found[0]).max()
    gradient = flax.traverse_util.flatten_dict(gradient, sep='/')
    for path, value in partner.items():
        expected = value.grad.numpy().T
        np.testing.assert_allclose(gradient[path], expected, atol=2e-4 * np.abs(expected).max())
