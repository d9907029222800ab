"""The shallow CNN's training against PyTorch: loss, gradients and Adam steps from equal weights.

Run by `make parity`, which installs PyTorch; `make test` leaves this folder out.
"""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from genre_jax import models
from genre_jax.training import losses

CLASSES = 10
L1 = 1e-4
LEARNING_RATE = 5e-5


class TorchShallowCNN(torch.nn.Module):
    """The network as the paper draws it: two convolutions, two poolings, two dense layers."""

    def __init__(self, batch_norm):
        super().__init__()
        self.conv_left = torch.nn.Conv2d(1, 16, (10, 23), padding='same')
        self.conv_right = torch.nn.Conv2d(1, 16, (21, 20), padding='same')
        norm = torch.nn.BatchNorm2d if batch_norm else torch.nn.Identity
        self.bn_conv_left, self.bn_conv_right = norm(16), norm(16)
        self.fc_1 = torch.nn.Linear(10240, 200)
        self.fc_2 = torch.nn.Linear(200, CLASSES)
        self.batch_norm = batch_norm

    def forward(self, pictures):
        act = torch.nn.LeakyReLU(0.3)
        left = act(self.bn_conv_left(self.conv_left(pictures)))
        left = torch.nn.functional.max_pool2d(left, (1, 20)).flatten(1)
        right = act(self.bn_conv_right(self.conv_right(pictures)))
        right = torch.nn.functional.max_pool2d(right, (20, 1)).flatten(1)
        return self.fc_2(act(self.fc_1(torch.cat([left, right], 1))))


def to_ours(tensors):
    """Renames and transposes a dict of arrays by torch name; mel x time becomes time x mel."""
    flat = {}
    for name, value in tensors.items():
        *path, leaf = name.split('.')
        if leaf == 'num_batches_tracked':
            continue
        value = value.detach().numpy()
        if name == 'fc_1.weight':
            left, right = np.split(value, 2, axis=1)
            left = left.reshape(200, 16, 80, 4).transpose(0, 3, 2, 1).reshape(200, -1)
            right = right.reshape(200, 16, 4, 80).transpose(0, 3, 2, 1).reshape(200, -1)
            value = np.concatenate([left, right], 1)
        if value.ndim == 4:
            value = value.transpose(3, 2, 1, 0)
        elif value.ndim == 2:
            value = value.T
        names = {'running_mean': 'mean', 'running_var': 'var'}
        leaf = names.get(leaf) or {'weight': 'scale' if 'bn' in path[0] else 'kernel'}.get(leaf, leaf)
        flat[(*path, leaf)] = jnp.asarray(value)
    return flax.traverse_util.unflatten_dict(flat)


def largest_difference(ours, theirs):
    """Largest difference of two trees of equal structure, relative to the largest value of each leaf."""
    gaps = jax.tree.map(lambda a, b: jnp.abs(a - b).max() / jnp.abs(b).max(), ours, theirs)
    return float(max(jax.tree.leaves(gaps)))


@pytest.mark.parametrize('batch_norm', [False, True])
def test_five_training_steps_equal_pytorchs(batch_norm):
    torch.manual_seed(0)
    theirs = TorchShallowCNN(batch_norm)
    rng = np.random.default_rng(0)
    batches = [
        (rng.standard_normal((16, 80, 80)).astype(np.float32), rng.integers(0, CLASSES, 16)) for _ in range(5)
    ]
    params = to_ours(dict(theirs.named_parameters()))
    stats = to_ours(dict(theirs.named_buffers())) if batch_norm else {}
    # Dropout 0: the two libraries draw other masks.
    model = models.build(
        {'name': 'shallow_cnn', 'batch_norm': batch_norm, 'dropout': 0.0}, num_classes=CLASSES
    )
    optimizer = optax.adam(LEARNING_RATE)
    opt_state = optimizer.init(params)
    torch_optimizer = torch.optim.Adam(theirs.parameters(), lr=LEARNING_RATE)

    @jax.jit
    def step(params, stats, opt_state, pictures, labels):
        def objective(params):
            (logits, _), updates = model.apply(
                {'params': params, 'batch_stats': stats},
                pictures,
                train=True,
                mutable=['batch_stats'],
            )
            entropy = losses.cross_entropy(logits, jax.nn.one_hot(labels, CLASSES)).mean()
            return entropy + losses.penalty(params, L1, 0.0), updates

        (loss, updates), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        changes, opt_state = optimizer.update(gradients, opt_state)
        params = optax.apply_updates(params, changes)
        return params, updates.get('batch_stats', {}), opt_state, loss, gradients

    for number, (pictures, labels) in enumerate(batches):
        torch_optimizer.zero_grad()
        logits = theirs(torch.from_numpy(pictures.transpose(0, 2, 1).copy())[:, None])
        penalty = sum(p.abs().sum() for name, p in theirs.named_parameters() if name.endswith('weight'))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)) + L1 * penalty
        loss.backward()
        expected = to_ours({name: p.grad for name, p in theirs.named_parameters()})
        torch_optimizer.step()
        params, stats, opt_state, our_loss, gradients = step(params, stats, opt_state, pictures, labels)
        assert float(our_loss) == pytest.approx(loss.item(), rel=1e-5)
        if batch_norm:
            # Zero but for rounding in PyTorch, exactly zero here (see SingleChannelConv).
            for name in ('conv_left', 'conv_right'):
                assert jnp.abs(expected[name].pop('bias')).max() < 1e-6
                assert jnp.abs(gradients[name].pop('bias')).max() == 0
        if number == 0:
            assert largest_difference(gradients, expected) < 1e-3
