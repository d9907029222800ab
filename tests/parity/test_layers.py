"""Layers of AST against the hidden states of transformers."""

import flax
import jax
import numpy as np
import pytest

from genre_jax import models
from genre_jax.models import layers
from tests.parity.test_models import from_tensors, transformers_ast


@pytest.mark.parametrize('remat', [False, True])
def test_layers_are_hidden_states_of_transformers(remat):
    import torch

    theirs = transformers_ast(0, 150, 4).eval()
    converted = from_tensors(theirs.state_dict(), theirs.config.to_dict())
    pictures = np.random.default_rng(1).standard_normal((2, 150, 128)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor(pictures), output_hidden_states=True).hidden_states
    model = models.build({'name': 'ast', **converted.settings, 'remat': remat}, 4)
    variables = flax.traverse_util.unflatten_dict(converted.variables, sep='/')
    assert len(expected) == 1 + len(layers.numbers(model, 'mean'))

    @jax.jit
    def read(variables, pictures):
        calls = layers.Calls(model)
        with calls.noted():
            model.apply(variables, pictures, train=False)
        return [calls.pooled(range(3), 2, pooling) for pooling in layers.POOLINGS]

    for pooling, ours in zip(layers.POOLINGS, read(variables, pictures), strict=True):
        for i, state in enumerate(expected[1:]):
            state = state.numpy()
            parts = {'mean': [state[:, 2:].mean(1)], 'class': [state[:, 0]]}
            parts['tokens'] = [state[:, 0], state[:, 1], state[:, 2:].mean(1)]
            by_hand = np.concatenate(parts[pooling], axis=1)
            np.testing.assert_allclose(ours[i], by_hand, rtol=1e-4, atol=1e-4)
