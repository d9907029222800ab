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

from genre_jax import losses, models

# Regular expression of the key, path in the variables (None: left out), layout.
TABLE = [
    (r'cnn_features\.0\.weight', r'params/cnn_features_0/kernel', 'torch_conv_mel_first'),
    (r'cnn_features\.0\.bias', r'params/cnn_features_0/bias', 'same'),
    (
        r'cnn_features\.([47])\.([03])\.weight',
        r'params/cnn_features_\1_\2/kernel',
        'torch_conv_mel_first',
    ),
    (r'cnn_features\.1\.weight', r'params/cnn_features_1/scale', 'same'),
    (r'cnn_features\.1\.bias', r'params/cnn_features_1/bias', 'same'),
    (r'cnn_features\.1\.running_(mean|var)', r'batch_stats/cnn_features_1/\1', 'same'),
    (r'cnn_features\.([47])\.([14])\.weight', r'params/cnn_features_\1_\2/scale', 'same'),
    (r'cnn_features\.([47])\.([14])\.bias', r'params/cnn_features_\1_\2/bias', 'same'),
    (
        r'cnn_features\.([47])\.([14])\.running_(mean|var)',
        r'batch_stats/cnn_features_\1_\2/\3',
        'same',
    ),
    (r'.*\.num_batches_tracked', None, ''),
    (r'(gru|lstm)\.weight_ih_(l\d)', r'params/\1_\2/input_kernel', 'torch_linear'),
    (r'(gru|lstm)\.weight_hh_(l\d)', r'params/\1_\2/hidden_kernel', 'torch_linear'),
    (r'(gru|lstm)\.bias_ih_(l\d)', r'params/\1_\2/input_bias', 'same'),
    (r'(gru|lstm)\.bias_hh_(l\d)', r'params/\1_\2/hidden_bias', 'same'),
    (r'residual_proj\.weight', r'params/residual_proj/kernel', 'torch_linear'),
    (r'residual_proj\.bias', r'params/residual_proj/bias', 'same'),
    (r'(attention|classifier)\.(\d)\.weight', r'params/\1_\2/kernel', 'torch_linear'),
    (r'(attention|classifier)\.(\d)\.bias', r'params/\1_\2/bias', 'same'),
    # Built and never called; in the early checkpoints only.
    (r'gate\.0\.(weight|bias)', None, ''),
]

LAYOUTS = {
    'same': lambda value: value,
    'torch_linear': lambda value: value.T,
    'torch_conv_mel_first': lambda value: value.transpose(3, 2, 1, 0),
}


def to_ours(tensors):
    """Renames and lays out a dict of tensors by PyTorch's keys; each matches one rule of the table."""
    flat = {}
    for key, value in tensors.items():
        [(pattern, target, layout)] = [row for row in TABLE if re.fullmatch(row[0], key)]
        if target:
            path = re.match(pattern, key).expand(target)
            assert path not in flat
            flat[path] = jnp.asarray(LAYOUTS[layout](value.detach().numpy().copy()))
    return flax.traverse_util.unflatten_dict(flat, sep='/')


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
        self.attention = nn.Sequential(
            nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 1), nn.Softmax(1)
        )
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
    [(0, 8, 8, 2), (1, 37, 29, 10), (2, 65, 64, 8), (3, 50, 42, 5)],
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
    variables = to_ours(theirs.state_dict())
    settings = {'cnn_dropout': 0.0, 'classifier_dropout': 0.0, **options}
    model = models.build({'name': network.split()[0], **settings}, classes)

    theirs.eval()
    with torch.no_grad():
        expected, expected_embedding = (value.numpy() for value in theirs(turned))
    logits, embedding = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, pictures)
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        embedding, expected_embedding, rtol=0, atol=1e-4 * np.abs(expected_embedding).max()
    )

    theirs.train()
    torch_loss = torch.nn.functional.cross_entropy(theirs(turned)[0], torch.from_numpy(labels))
    torch_loss.backward()
    expected = to_ours({name: p.grad for name, p in theirs.named_parameters()})['params']

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
    for path, value in flax.traverse_util.flatten_dict(expected, sep='/').items():
        ours = flax.traverse_util.flatten_dict(gradients, sep='/')[path]
        # The bias of a softmax's argument has no gradient but rounding.
        floor = 1e-6 if path == 'attention_2/bias' else 1e-3 * float(jnp.abs(value).max())
        np.testing.assert_allclose(ours, value, rtol=0, atol=floor, err_msg=path)
    means = to_ours({n: v for n, v in theirs.state_dict().items() if n.endswith('running_mean')})[
        'batch_stats'
    ]
    for name, value in means.items():
        ours = updates['batch_stats'][name]['mean']
        np.testing.assert_allclose(ours, value['mean'], rtol=1e-4, atol=1e-5)


def test_the_unused_gate_is_left_out():
    early = {'gate.0.weight': torch.zeros(1, 160), 'gate.0.bias': torch.zeros(1)}
    assert to_ours(early) == {}
