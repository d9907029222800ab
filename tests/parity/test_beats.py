"""BEATs with random weights, against the package deepaudio-x, which holds its authors' code."""

import jax
import numpy as np
import pytest

from benchmarks import published
from genre_jax import features, models
from genre_jax.convert import checkpoint, engine, init_from, tables
from genre_jax.models import beats
from tests.features.test_features import assert_same
from tests.parity.test_front_ends import KINDS, clip
from tests.parity.test_models import close, largest_error, outputs, stepper

pytestmark = pytest.mark.usefixtures('parity_code')

SMALL = {
    'embed_dim': 24, 'encoder_layers': 3, 'encoder_embed_dim': 48, 'encoder_ffn_embed_dim': 80,
    'encoder_attention_heads': 4, 'conv_pos': 16, 'conv_pos_groups': 4, 'num_buckets': 40,
    'max_distance': 100, 'dropout': 0.0, 'attention_dropout': 0.0, 'encoder_layerdrop': 0.0,
    'layer_wise_gradient_decay_ratio': 1.0,
}  # fmt: skip


def torch_network(seed, **config):
    import torch

    torch.manual_seed(seed)
    network = published.beats(**config).eval()
    for key, value in network.state_dict().items():
        if value.ndim == 1 or key.endswith(('grep_a', 'weight_g')):  # scales and biases
            value.add_(torch.randn(value.shape) * (value.abs().mean() / 3 if value.any() else 0.3))
        elif 'relative_attention_bias' in key or 'grep_linear' in key:
            value.copy_(torch.randn(value.shape))
        elif '.0.' in key or 'layers' in key:  # else tokens hardly mind each other
            value.mul_(2)
    return network


def converted_of(network):
    tensors = {key: value.numpy() for key, value in network.state_dict().items()}
    table = engine.recognise(tensors, tables.TABLES, 'memory')
    return engine.convert(tensors, table, {}, 'memory', {'cfg': vars(network.cfg)})


def forward(network, batch):
    """Logits, where there are some, and the mean token; the package's own code has left out the predictor."""
    import torch

    tokens = network(torch.as_tensor(batch)[:, None])
    logits = None if network.predictor is None else network.predictor(tokens).mean(1)
    return logits, tokens.mean(1)


def pictures(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ('config', 'frames', 'bins'),
    [
        ({'finetuned_model': True, 'predictor_class': 527}, 998, 128),
        (SMALL | {'finetuned_model': True, 'predictor_class': 5}, 160, 128),
        (SMALL | {'finetuned_model': True, 'predictor_class': 2, 'deep_norm': False}, 77, 64),
        (SMALL | {'finetuned_model': True, 'predictor_class': 3, 'embed_dim': 48, 'conv_pos': 7}, 16, 16),
        (SMALL | {'finetuned_model': True, 'predictor_class': 3, 'encoder_layers': 1}, 1500, 48),
    ],
)
def test_logits_and_embedding(config, frames, bins):
    import torch

    network = torch_network(frames, **config)
    converted = converted_of(network)
    assert converted.num_classes == config['predictor_class'] and converted.features == 'beats'
    # A length for each tap, which the kernel has taken up; PyTorch counts the shared table once.
    count = sum(value.size for value in converted.variables.values())
    assert count == sum(p.numel() for p in network.parameters()) - network.cfg.conv_pos
    if frames == 998:
        assert count == 90_716_927
    batch = pictures((2, frames, bins))
    with torch.no_grad():
        theirs = [each.numpy() for each in forward(network, batch)]
    for ours, expected in zip(outputs(converted, batch), theirs, strict=True):
        close(ours, expected)
    assert np.abs(theirs[0][0] - theirs[0][1]).max() > 0.01 * np.abs(theirs[0]).max()


@pytest.mark.parametrize('deep_norm', [True, False])
def test_gradients(deep_norm):
    import torch

    config = SMALL | {'finetuned_model': True, 'predictor_class': 5, 'deep_norm': deep_norm}
    network = torch_network(1, **config)
    converted = converted_of(network)
    batch, labels = pictures((4, 100, 64)), np.array([0, 3, 1, 3])
    logits, _ = forward(network.double(), batch.astype(np.float64))
    kernel = network.encoder.pos_conv[0].weight  # what weight normalisation made for this call
    kernel.retain_grad()
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    gradients = {key: p.grad.numpy() for key, p in network.named_parameters()}
    # The path is that of the direction and the length that it was made of.
    gradients['encoder.pos_conv.0.weight_v'] = kernel.grad.numpy()
    del gradients['encoder.pos_conv.0.weight_g']
    turned = {'torch_conv': (2, 3, 1, 0), 'torch_conv_1d': (2, 1, 0), 'torch_linear': (1, 0)}
    order = ('q_proj', 'k_proj', 'v_proj')
    rows = {key: (path, layout) for key, path, _, layout in converted.rows}
    parts = {}
    for key, value in gradients.items():
        path, layout = rows[key]
        part = order.index(key.split('.')[-2]) if 'qkv' in path else 0
        parts.setdefault(path, {})[part] = value.transpose(turned[layout]) if layout in turned else value
    theirs = {
        path: np.concatenate([value for _, value in sorted(found.items())], -1)
        for path, found in parts.items()
    }
    ours_loss, ours = stepper(converted)(batch, labels)
    assert ours_loss == pytest.approx(loss.item(), rel=1e-5)
    assert ours.keys() == theirs.keys()
    assert largest_error(ours, theirs) < 1e-3


@pytest.mark.parametrize(('n_buckets', 'max_distance'), [(320, 800), (32, 128), (41, 100), (4, 2), (8, 1000)])
def test_buckets(n_buckets, max_distance):
    import torch

    network = torch_network(0, **SMALL | {'num_buckets': n_buckets, 'max_distance': max_distance})
    distances = np.arange(-2500, 2501)
    attention = network.encoder.layers[0].self_attn
    theirs = attention._relative_positions_bucket(torch.tensor(distances)).numpy()
    np.testing.assert_array_equal(beats.bucket(distances, n_buckets, max_distance), theirs)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('n', [400, 16000, 163_111])
def test_the_front_end(kind, n):
    import torch

    network = torch_network(0, **SMALL)
    waveform = clip(kind, 16000, n)
    # In float64: their float32 rounds a full-scale sine's quiet bands by 2e-3.
    theirs = network.extract_features(torch.tensor(waveform).double()[None])[0, 0].numpy()
    assert_same(features.build({'name': 'beats'})(waveform), theirs, 'ln')


@pytest.mark.parametrize('finetuned', [True, False])
def test_from_their_file_and_audio(finetuned, tmp_path, monkeypatch):
    """As torch.save writes it, with its configuration and the codes of the classes in their own order."""
    import torch

    monkeypatch.setenv('GENRE_JAX_CACHE', str(tmp_path))
    rows = 'index,mid,display_name\n0,/m/b,B\n1,/m/c,C\n2,/m/a,A\n'
    (tmp_path / 'class_labels_indices.csv').write_text(rows)

    network = torch_network(2, **SMALL | {'finetuned_model': finetuned, 'predictor_class': 3})
    labels = {2: '/m/a', 0: '/m/c', 1: '/m/b'}
    file = {'cfg': vars(network.cfg), 'model': network.state_dict()}
    torch.save(file | ({'label_dict': labels} if finetuned else {}), tmp_path / 'beats.pt')
    converted, _ = checkpoint.convert_checkpoint(str(tmp_path / 'beats.pt'))
    assert converted.settings == {
        'width': 48, 'depth': 3, 'heads': 4, 'hidden_units': 80, 'patch_width': 24, 'position_taps': 16,
        'position_groups': 4, 'buckets': 40, 'max_distance': 100, 'deep_norm': True,
    }  # fmt: skip
    assert converted.labels == (['C', 'B', 'A'] if finetuned else None)
    assert converted.num_classes == (3 if finetuned else 0)
    assert converted.tags is (True if finetuned else None)  # their code takes the sigmoid of each
    if finetuned:  # their order is that of a list, too
        torch.save(file | {'label_dict': ['/m/c', '/m/b', '/m/a']}, tmp_path / 'listed.pt')
        assert checkpoint.convert_checkpoint(str(tmp_path / 'listed.pt'))[0].labels == converted.labels
    waveform = clip('noise', 16000, 40001)
    with torch.no_grad():
        logits, embedding = forward(network, network.extract_features(torch.tensor(waveform)[None])[0])
    # A training on classes of these names takes the output layer over; a pretrained file has none.
    heard = features.build({'name': converted.features})(waveform[None])
    model = models.build({'name': 'beats', **converted.settings}, 3)
    fresh = jax.jit(lambda: model.init(jax.random.key(0), heard, train=False))()
    variables, notes = init_from.variables(
        converted,
        model,
        fresh,
        name='beats',
        new='',
        labels=['C', 'B', 'A'],
        picture=heard.shape[1:],
    )
    assert notes[0].endswith('new: none' if finetuned else 'new: predictor')
    ours = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, heard)
    close(ours[1], embedding.numpy())
    if finetuned:
        close(ours[0], logits.numpy())
