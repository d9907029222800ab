"""EfficientAT with random weights and statistics, against packages that hold its code.

The network is ssondo's, whose head is that of the authors without two layers that have no parameters; the
front end is hear21passt's, of which theirs is a copy. Neither needs the libraries beside PyTorch's own that
the packages load.
"""

import numpy as np
import pytest

from benchmarks import published
from genre_jax import features
from tests.features.test_features import assert_same
from tests.parity.test_front_ends import KINDS, clip
from tests.parity.test_models import (
    close,
    from_tensors,
    largest_error,
    outputs,
    stepper,
)

pytestmark = pytest.mark.usefixtures('parity_code')

# The authors' names of its head.
HEAD = {'classifier.0': 'classifier.2', 'classifier.3': 'classifier.5'}


def as_published(key):
    for old, new in HEAD.items():
        key = key.replace(old, new)
    return key


def torch_network(width, num_classes, seed):
    import torch

    torch.manual_seed(seed)
    network = published.efficientat(num_classes, width)
    for key, value in network.state_dict().items():
        if value.ndim == 1 and 'running' not in key:  # scales and biases
            value.add_(torch.randn(value.shape) / 10)
        elif '.fc' in key or 'classifier' in key:  # else gates and logits are those of the biases
            value.mul_(3)
    norms = [each for each in network.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    # Statistics near those of a batch, so that what comes in reaches what goes out, and no more of it.
    with torch.no_grad():
        network.train()(torch.randn(4, 1, 128, 64))
    for norm in norms:
        norm.momentum = 0.01
        norm.running_mean.add_(norm.running_var.sqrt() * torch.randn(norm.running_mean.shape) / 10)
        norm.running_var.mul_(torch.rand(norm.running_var.shape) + 0.5)
    return network


def converted_of(network, **told):
    return from_tensors(
        {as_published(key): each.numpy() for key, each in network.state_dict().items()}, **told
    )


def pictures(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def as_theirs(batch):
    """Ours are (batch, frames, bins), theirs (batch, 1, bins, frames)."""
    import torch

    return torch.tensor(batch.swapaxes(1, 2)[:, None])


@pytest.mark.parametrize(
    ('width', 'num_classes', 'frames', 'n_parameters'),
    [
        (1.0, 527, 1000, 4_876_831), (0.4, 527, 301, 983_599), (0.4, 3, 64, None), (2.0, 5, 77, None),
        (0.1, 2, 32, None),
    ],
)  # fmt: skip
def test_logits_and_embedding(width, num_classes, frames, n_parameters):
    import torch

    network = torch_network(width, num_classes, seed=frames).eval()
    converted = converted_of(network)
    assert converted.settings == {'width': width} and converted.num_classes == num_classes
    count = sum(v.size for p, v in converted.variables.items() if p.startswith('params/'))
    assert count == sum(p.numel() for p in network.parameters()) and n_parameters in (None, count)
    batch = pictures((2, frames, 128))
    with torch.no_grad():
        theirs = [each[:, 0].numpy() for each in network(as_theirs(batch))]
    for ours, expected in zip(outputs(converted, batch), theirs, strict=True):
        close(ours, expected)
    assert np.abs(theirs[0][0] - theirs[0][1]).max() > 0.01 * np.abs(theirs[0]).max()


@pytest.mark.parametrize('frames', [96, 151])
def test_gradients_in_training(frames):
    import torch

    network = torch_network(0.4, 5, seed=1).train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    converted = converted_of(network)
    batch, labels = pictures((4, frames, 128)), np.array([0, 3, 1, 3])
    logits = network.double()(as_theirs(batch).double())[0][:, 0]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    gradients = {as_published(key): p.grad.numpy() for key, p in network.named_parameters()}
    places = {key: (path, layout) for key, path, _, layout in converted.rows if path}
    turned = {'torch_conv_mel_first': (3, 2, 1, 0), 'torch_linear': (1, 0), 'same': (0,)}
    theirs = {places[key][0]: value.transpose(turned[places[key][1]]) for key, value in gradients.items()}
    ours_loss, ours = stepper(converted)(batch, labels)
    assert ours_loss == pytest.approx(loss.item(), rel=1e-5)
    assert ours.keys() == theirs.keys()
    # Of single tensors PyTorch's own float32 is as much as 0.015 off.
    assert largest_error(ours, theirs) < 0.03
    assert np.sqrt(sum(((ours[k] - theirs[k]) ** 2).sum() for k in ours)) < 1e-4 * np.sqrt(
        sum((value**2).sum() for value in theirs.values())
    )


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('n', [801, 32000, 50003])
def test_the_front_end(kind, n):
    import torch

    module = published.without_init('hear21passt', 'models.preprocess')
    heard = module.AugmentMelSTFT(freqm=0, timem=0, fmin_aug_range=10, fmax_aug_range=2000).eval()
    waveform = clip(kind, 32000, n)
    theirs = heard(torch.tensor(waveform)[None])[0].numpy().T
    assert_same(features.build({'name': 'efficientat'})(waveform), theirs, 'ln')


@pytest.mark.parametrize(
    ('told', 'frames'), [({'hop_length': 480, 'n_mels': 64}, 667), ({'n_mels': 256}, 1000)]
)
def test_a_file_that_heard_otherwise(told, frames, caplog):
    """As theirs of other hops and bands, of which the file says nothing."""
    import torch

    network = torch_network(0.4, 3, seed=5).eval()
    caplog.set_level('WARNING', 'absl')
    converted = converted_of(network, **told)
    said = [record.getMessage() for record in caplog.records]
    assert converted.picture == (frames, told['n_mels']) and len(said) == len({'hop_length'} - told.keys())
    assert all('hop_length=320 is taken' in line for line in said)
    module = published.without_init('hear21passt', 'models.preprocess')
    settings = {'hopsize': told.get('hop_length', 320), 'n_mels': told['n_mels'], 'freqm': 0, 'timem': 0}
    heard = module.AugmentMelSTFT(**settings, fmin_aug_range=10, fmax_aug_range=2000).eval()
    waveform = clip('music', 32000, 50_003)
    theirs = heard(torch.tensor(waveform)[None])[0].numpy().T
    ours = features.find(converted.features)(**converted.front_end)(waveform)
    assert_same(ours, theirs, 'ln')
    close(outputs(converted, theirs[None])[0], network(as_theirs(theirs[None]))[0][:, 0].detach().numpy())
