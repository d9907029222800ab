"""The networks of Bu et al. against PyTorch: outputs, losses and gradients from equal weights.

Run by `make parity`, which installs PyTorch; `make test` leaves this folder out.
"""

import re

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from genre_jax import models
from genre_jax.convert import engine, tables
from genre_jax.training import losses


def to_ours(tensors, name):
    """Converts a state_dict of the network `name`."""
    tensors = {key: value.detach().numpy() for key, value in tensors.items()}
    candidates = tuple(table for table in tables.TABLES if table.model == name)
    table = engine.recognise(tensors, candidates, 'memory')
    converted = engine.convert(tensors, table, {}, 'memory')
    return flax.traverse_util.unflatten_dict(converted.variables, sep='/')


def separable(inputs, outputs):
    """A depthwise separable convolution as the specification describes it."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        torch.nn.BatchNorm2d(inputs),
        torch.nn.ReLU(),
        torch.nn.Conv2d(inputs, outputs, 1, bias=False),
        torch.nn.BatchNorm2d(outputs),
        torch.nn.ReLU(),
    )


class Reference(torch.nn.Module):
    """The specified networks; 'time' keeps the time axis where the authors' code keeps the mel rows."""

    def __init__(self, kind, recurrence, classes):
        super().__init__()
        nn = torch.nn
        self.kind, self.recurrence = kind, recurrence
        self.cnn_features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            separable(32, 64),
            nn.MaxPool2d(2),
            nn.Identity(),  # dropout
            separable(64, 128),
            nn.MaxPool2d(2),
            nn.Identity(),
        )
        if kind == 'efficient':
            self.classifier = nn.Sequential(
                nn.Identity(), nn.Linear(128, 32), nn.ReLU(), nn.Identity(), nn.Linear(32, classes)
            )
            return
        layers = {'gru': nn.GRU, 'lstm': nn.LSTM}[kind](128, 32, 2, batch_first=True)
        setattr(self, kind, layers)
        self.residual_proj = nn.Linear(128, 32)
        self.attention = nn.Sequential(nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 1), nn.Softmax(1))
        self.classifier = nn.Sequential(nn.Identity(), nn.Linear(32, classes))

    def forward(self, pictures):
        maps = self.cnn_features(pictures)  # batch, channels, mel, time
        if self.kind == 'efficient':
            embedding = self.classifier[2](self.classifier[1](maps.mean((2, 3))))
            return self.classifier[4](embedding), embedding
        sequence = maps.mean(3 if self.recurrence == 'mel' else 2).transpose(1, 2)
        states = getattr(self, self.kind)(sequence)[0] + self.residual_proj(sequence)
        embedding = (states * self.attention(states)).sum(1)
        return self.classifier(embedding), embedding


NETWORKS = {
    'efficient_cnn': ('efficient', 'mel', {}),
    'cnn_gru': ('gru', 'mel', {}),
    'cnn_lstm': ('lstm', 'mel', {}),
    'cnn_gru_attention': ('gru', 'mel', {}),
    'cnn_gru_attention over time': ('gru', 'time', {'recurrence': 'time'}),
}


@pytest.mark.parametrize(
    ('seed', 'frames', 'bins', 'classes'),
    [(0, 8, 8, 2), (1, 37, 42, 5)],
)
@pytest.mark.parametrize('network', NETWORKS)
def test_outputs_and_gradients_equal_pytorchs(network, seed, frames, bins, classes):
    kind, recurrence, options = NETWORKS[network]
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    theirs = Reference(kind, recurrence, classes)
    for name, value in theirs.state_dict().items():
        if name.endswith('running_mean'):
            value.uniform_(-0.3, 0.3)
        elif name.endswith('running_var'):
            value.uniform_(0.3, 2)
        elif re.fullmatch(r'cnn_features\.(1|\d\.[14])\.(weight|bias)', name):
            value.uniform_(-0.5, 1.5)  # negative scales too: the pooling must come after them
    pictures = rng.standard_normal((4, frames, bins)).astype(np.float32)
    turned = torch.from_numpy(pictures.transpose(0, 2, 1).copy())[:, None]
    labels = rng.integers(0, classes, 4)
    name = network.split()[0]
    variables = to_ours(theirs.state_dict(), name)
    settings = {'cnn_dropout': 0.0, 'classifier_dropout': 0.0, **options}
    model = models.build({'name': name, **settings}, classes)

    theirs.eval()
    with torch.no_grad():
        expected, expected_embedding = (value.numpy() for value in theirs(turned))
    logits, embedding = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, pictures)
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        embedding, expected_embedding, rtol=0, atol=1e-4 * np.abs(expected_embedding).max()
    )

    # In float64, and small: a ReLU's argument that is zero but for rounding has either gradient.
    theirs.double().train()
    torch_loss = torch.nn.functional.cross_entropy(theirs(turned.double())[0], torch.from_numpy(labels))
    torch_loss.backward()
    gradients = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    trained = to_ours(theirs.state_dict() | gradients, name)
    expected = trained['params']

    @jax.jit
    def step(params):
        def objective(params):
            (logits, _), updates = model.apply(
                {**variables, 'params': params}, pictures, train=True, mutable=['batch_stats']
            )
            return losses.cross_entropy(logits, jax.nn.one_hot(labels, classes)).mean(), updates

        return jax.value_and_grad(objective, has_aux=True)(params)

    (loss, updates), gradients = step(variables['params'])
    assert float(loss) == pytest.approx(torch_loss.item(), rel=1e-5)
    # Zero but for rounding in PyTorch, exactly zero here (see efficient_cnn.Conv).
    noise = 1e-3 * jnp.abs(expected['cnn_features_0']['kernel']).max()
    assert jnp.abs(expected['cnn_features_0'].pop('bias')).max() < noise
    assert jnp.abs(gradients['cnn_features_0'].pop('bias')).max() == 0
    assert jax.tree.structure(gradients) == jax.tree.structure(expected)
    flat = flax.traverse_util.flatten_dict(gradients, sep='/')
    for path, value in flax.traverse_util.flatten_dict(expected, sep='/').items():
        # The bias of a softmax's argument has no gradient but rounding.
        floor = 1e-6 if path == 'attention_2/bias' else 1e-3 * float(jnp.abs(value).max())
        np.testing.assert_allclose(flat[path], value, rtol=0, atol=floor, err_msg=path)
    for layer, value in trained['batch_stats'].items():
        ours = updates['batch_stats'][layer]['mean']
        np.testing.assert_allclose(ours, value['mean'], rtol=1e-4, atol=1e-5)


def test_the_unused_gate_is_left_out():
    final = Reference('gru', 'mel', 8).state_dict()
    gate = {'gate.0.weight': torch.zeros(1, 160), 'gate.0.bias': torch.zeros(1)}
    for ours, theirs in zip(
        jax.tree.leaves(to_ours(final | gate, 'cnn_gru')),
        jax.tree.leaves(to_ours(final, 'cnn_gru')),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
