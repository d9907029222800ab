"""Dasheng with random weights and statistics, against the authors' package."""

import flax
import jax
import numpy as np
import pytest

from benchmarks import published
from genre_jax import features, models
from genre_jax.convert import checkpoint, engine, init_from, tables
from tests.features.test_features import assert_same
from tests.parity.test_front_ends import KINDS, clip
from tests.parity.test_models import close, largest_error

pytestmark = pytest.mark.usefixtures('parity_code')

SMALL = {'embed_dim': 48, 'depth': 3, 'num_heads': 4, 'target_length': 40}
LABELS = ('a', 'b', 'c')


def torch_network(seed, **config):
    import torch

    torch.manual_seed(seed)
    network = published.dasheng(**config).eval()
    for key, value in network.state_dict().items():
        if key.startswith('front_end') or value.ndim == 0:
            continue
        if key == 'init_bn.1.running_mean':  # in dB
            value.copy_(10 * torch.randn(value.shape) - 20)
        elif key == 'init_bn.1.running_var':
            value.copy_(200 * (torch.rand(value.shape) + 0.5))
        elif value.ndim == 1:  # scales and biases
            value.add_(torch.randn(value.shape) / 5)
        elif 'pos_embed' in key:
            value.mul_(20)
    return network


def converted_of(network, **config):
    tensors = {key: value.numpy() for key, value in network.state_dict().items()}
    table = engine.recognise(tensors, tables.TABLES, 'memory')
    return engine.convert(tensors, table, {}, 'memory', {'config': config})


def begun(converted, pictures):
    """A network that begins with the checkpoint, its output layer new."""
    model = models.build({'name': 'dasheng', **converted.settings}, len(LABELS))
    fresh = jax.jit(lambda: model.init(jax.random.key(0), pictures, train=False))()
    kind = {'name': 'dasheng', 'new': '', 'labels': LABELS, 'picture': pictures.shape[1:]}
    variables, notes = init_from.variables(converted, model, fresh, **kind)
    assert notes[0].endswith('new: outputlayer')
    return model, variables


def decibels(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (15 * rng.standard_normal(shape) - 20).astype(np.float32)


def tokens_of(network, batch):
    """Theirs from pictures (batch, frames, bins), before which their forward has a front end."""
    import torch

    # Of strided memory PyTorch 2.13's gradients of the norm are not those of finite differences.
    heard = network.init_bn(torch.as_tensor(batch).swapaxes(1, 2)[:, None].contiguous())
    return network.forward_spectrogram(heard)


@pytest.mark.parametrize(
    ('config', 'frames'),
    [
        ({'num_heads': 12}, 1008), (SMALL, 40), (SMALL, 97), (SMALL, 120), (SMALL, 5),
        (SMALL | {'num_heads': 6, 'depth': 1}, 203),
    ],
)  # fmt: skip
def test_embedding(config, frames):
    """Shorter than a piece, as long, and longer, with and without a rest."""
    import torch

    network = torch_network(frames, **config)
    converted = converted_of(network, **config)
    assert converted.features == 'dasheng' and converted.num_classes == 0
    count = sum(v.size for p, v in converted.variables.items() if p.startswith('params/'))
    assert count == sum(p.numel() for p in network.parameters())
    if frames == 1008:
        assert count == 85_447_808
    batch = decibels((2, frames, 64))
    with torch.no_grad():
        theirs = tokens_of(network, batch).mean(1).numpy()
    model, variables = begun(converted, batch)
    logits, embedding = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, batch)
    close(embedding, theirs)
    head = variables['params']['outputlayer']
    close(logits, theirs @ head['kernel'] + head['bias'])
    assert np.abs(theirs[0] - theirs[1]).max() > 0.01 * np.abs(theirs).max()


def test_gradients_in_training():
    """Of three pieces, the last a short one; the batch's own statistics, too."""
    import torch

    network = torch_network(1, **SMALL)
    converted = converted_of(network, **SMALL)
    batch, weights = decibels((4, 97, 64)), decibels((4, 48), 1)
    network.double().train()
    loss = (torch.tensor(weights) * tokens_of(network, batch.astype(np.float64)).mean(1)).sum()
    loss.backward()
    rows = {key: (path, layout) for key, path, _, layout in converted.rows}
    turned = {
        'torch_conv_mel_first': lambda x: x.transpose(3, 2, 1, 0), 'torch_linear': np.transpose,
        '_along_time': lambda x: x[:, :, 0].transpose(0, 2, 1), 'same': lambda x: x,
    }  # fmt: skip
    theirs = {
        rows[key][0]: turned[rows[key][1]](parameter.grad.numpy())
        for key, parameter in network.named_parameters()
    }
    model, variables = begun(converted, batch)

    @jax.jit
    @jax.value_and_grad
    def objective(params):
        rest = {'batch_stats': variables['batch_stats']}
        (_, embedding), _ = model.apply(rest | {'params': params}, batch, train=True, mutable=['batch_stats'])
        return (weights * embedding).sum()

    ours_loss, ours = objective(variables['params'])
    ours = {
        f'params/{path}': value
        for path, value in flax.traverse_util.flatten_dict(ours, sep='/').items()
        if 'outputlayer' not in path
    }
    assert float(ours_loss) == pytest.approx(loss.item(), rel=1e-4)
    assert ours.keys() == theirs.keys()
    assert largest_error(ours, theirs) < 1e-3


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('n', [512, 16000, 163_111])
def test_the_front_end(kind, n):
    """In float64. Theirs cuts off below the loudest value of a batch: here each clip has its own."""
    import torch

    network = torch_network(0, **SMALL).double()
    waveform = clip(kind, 16000, n)
    theirs = network.front_end(torch.tensor(waveform).double()[None])[0].numpy().T
    assert_same(features.build({'name': 'dasheng'})(waveform), theirs, 'db')


def test_from_their_file_and_audio(tmp_path):
    import torch

    network = torch_network(2, **SMALL)
    torch.save({'model': network.state_dict(), 'config': SMALL | {'patch_size': [64, 4]}}, tmp_path / 'd.pt')
    converted, _ = checkpoint.convert_checkpoint(str(tmp_path / 'd.pt'))
    assert converted.settings == {'width': 48, 'depth': 3, 'heads': 4, 'target_frames': 40}
    waveform = clip('noise', 16000, 20001)
    with torch.no_grad():
        theirs = network(torch.tensor(waveform)[None]).mean(1).numpy()
    heard = features.build({'name': converted.features})(waveform[None])
    model, variables = begun(converted, heard)
    close(jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, heard)[1], theirs)
