"""PaSST and MAEST with random weights, against hear21passt and maest-infer, from the sound to the logits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import published
from genre_jax import features, models
from genre_jax.convert import checkpoint as convert
from genre_jax.convert import init_from, store
from genre_jax.models import ast
from tests.features.test_features import assert_same
from tests.parity.test_front_ends import KINDS, clip
from tests.parity.test_models import (
    close,
    from_tensors,
    largest_error,
    network,
    outputs,
    stepper,
)

pytestmark = pytest.mark.usefixtures('parity_code')


def torch_passt(bins, frames, strides, num_classes, seed=0, maest=False, **settings):
    """A network of one of both packages, and what its weights leave open."""
    import torch

    torch.manual_seed(seed)
    sizes = {'embed_dim': 48, 'depth': 2, 'num_heads': 3} | settings
    make = published.maest if maest else published.passt
    theirs = make(num_classes, img_size=(bins, frames), stride=strides, **sizes)
    with torch.no_grad():
        # Else blocks change little, and places nothing.
        for key, value in theirs.named_parameters():
            is_matrix = value.ndim > 1 and not key.endswith(('token', 'embed'))
            spread = 1.5 / sizes['embed_dim'] ** 0.5 if is_matrix else 0.3
            value.add_(spread * torch.randn(value.shape))
    told = {
        'heads': sizes['num_heads'], 'bins': bins, 'frequency_stride': strides[0],
        'time_stride': strides[1],
    }  # fmt: skip
    return theirs.eval(), told


def pictures_of(frames, bins, n=2):
    return np.random.default_rng(frames).standard_normal((n, frames, bins)).astype(np.float32)


def their_outputs(theirs, pictures):
    """Logits and embedding; theirs are (batch, 1, bins, frames)."""
    import torch

    with torch.no_grad():
        return [each.numpy() for each in theirs(torch.tensor(pictures.swapaxes(1, 2)[:, None]))]


def cut(converted, frames):
    """The checkpoint as a network of shorter pictures begins with it."""
    converted = dataclasses.replace(converted, labels=[str(i) for i in range(converted.num_classes)])
    settings, picture = {'name': converted.model, **converted.settings}, (frames, converted.picture[1])
    model = models.build(settings, converted.num_classes)
    fresh = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *picture)), train=False))
    variables, _ = init_from.variables(
        converted, model, fresh, name=converted.model, new='', labels=converted.labels, picture=picture
    )
    return jax.jit(lambda pictures: model.apply(variables, pictures, train=False))


PUBLISHED = {'embed_dim': 768, 'depth': 12, 'num_heads': 12}


@pytest.mark.parametrize(
    ('bins', 'frames', 'strides', 'num_classes', 'settings', 'n_parameters'),
    [
        (128, 998, (10, 10), 527, PUBLISHED, 86_153_758),
        (128, 998, (16, 16), 20, {}, None),
        (128, 196, (16, 10), 3, {'num_heads': 8, 'depth': 1}, None),
        (96, 1876, (10, 10), 519, {'maest': True}, None),
        (96, 626, (16, 10), 4, {'maest': True, 'num_heads': 1, 'embed_dim': 32, 'depth': 3}, None),
    ],
)  # fmt: skip
def test_logits_and_embedding(bins, frames, strides, num_classes, settings, n_parameters):
    theirs, told = torch_passt(bins, frames, strides, num_classes, **settings)
    converted = from_tensors(theirs.state_dict(), **told)
    second_head = sum(value.numel() for value in theirs.head_dist.parameters())
    count = sum(value.numel() for value in theirs.parameters())
    assert sum(value.size for value in converted.variables.values()) == count - second_head
    assert n_parameters in (None, count)
    assert converted.features == {128: 'efficientat', 96: 'maest'}[bins]
    pictures = pictures_of(frames, bins)
    expected = their_outputs(theirs, pictures)
    for ours, each in zip(outputs(converted, pictures), expected, strict=True):
        close(ours, each)
    assert np.abs(expected[0][0] - expected[0][1]).max() > 0.01 * np.abs(expected[0]).max()


@pytest.mark.parametrize('maest', [False, True])
@pytest.mark.parametrize('frames', [16, 101, 290])
def test_shorter_pictures(frames, maest):
    bins = 96 if maest else 128
    theirs, told = torch_passt(bins, 300, (10, 10), 7, maest=maest)
    converted = from_tensors(theirs.state_dict(), **told)
    pictures = pictures_of(frames, bins)
    for ours, expected in zip(cut(converted, frames)(pictures), their_outputs(theirs, pictures), strict=True):
        close(ours, expected)


def test_gradients_in_training_with_patchout(monkeypatch):
    """Both shuffle to the reverse, so that both leave out the first ones."""
    import torch

    monkeypatch.setattr(torch, 'randperm', lambda n: torch.arange(n).flip(0))
    monkeypatch.setattr(jax.random, 'permutation', lambda key, places: places[::-1])
    monkeypatch.setattr(ast.Model, 'make_rng', lambda self, name: None)
    left_out = {'s_patchout_t': 4, 's_patchout_f': 3, 'u_patchout': 5}
    theirs, told = torch_passt(128, 156, (10, 10), 5, **left_out)
    theirs.train().double()
    converted = from_tensors(theirs.state_dict(), **told)
    patchout = {'patchout_time': 4, 'patchout_frequency': 3, 'patchout': 5}
    converted = dataclasses.replace(converted, settings=converted.settings | patchout)
    pictures, labels = pictures_of(156, 128, n=3), np.array([0, 4, 1])
    logits, _ = theirs(torch.tensor(pictures.swapaxes(1, 2)[:, None], dtype=torch.float64))
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    gradients = {
        key: torch.zeros_like(value) if value.grad is None else value.grad
        for key, value in theirs.named_parameters()
    }
    ours_loss, ours = stepper(converted)(pictures, labels)
    assert ours_loss == pytest.approx(loss.item(), rel=1e-5)
    assert largest_error(ours, from_tensors(gradients, **told).variables) < 1e-3
    # The first columns were left out, and know nothing of the loss.
    columns = np.abs(ours['params/time_new_pos_embed'][0, 0]).sum(1)
    assert (columns[:4] == 0).all() and (columns[4:] > 0).all()


@pytest.mark.parametrize(('kind', 'n'), [('noise', 96_001), ('music', 50_003)])
def test_passt_from_the_sound(kind, n, monkeypatch):
    """The whole of hear21passt's default model but for its weights: logits and embedding side by side."""
    import torch

    base = published.without_init('hear21passt', 'base')
    theirs, told = torch_passt(128, 998, (10, 10), 6)
    monkeypatch.setattr(base, 'get_model_passt', lambda arch: theirs)
    heard = base.load_model(mode='all').eval()
    waveform = clip(kind, 32000, n)
    expected = base.get_scene_embeddings(torch.tensor(waveform)[None], heard).numpy()
    converted = from_tensors(theirs.state_dict(), **told)
    pictures = features.build({'name': converted.features})(waveform[None])
    logits, embedding = cut(converted, pictures.shape[1])(pictures)
    close(logits, expected[:, :6])
    close(embedding, expected[:, 6:])


@pytest.mark.parametrize('kind', KINDS)
def test_maest_from_the_sound(kind):
    """maest-infer mirrors the ends, where MAEST was trained with zeros beyond them, as `maest` hears."""
    import torch

    theirs, told = torch_passt(96, 316, (10, 10), 5, maest=True)
    theirs.init_melspectrogram()
    waveform = clip(kind, 16000, 80_003)
    picture = theirs.melspectrogram(torch.tensor(waveform)).numpy().T
    mirrored = features.build({'name': 'maest', 'padding': 'reflect'})(waveform)
    assert_same(mirrored, picture, 'log10')
    inner = slice(1, -1)
    assert_same(np.asarray(features.build({'name': 'maest'})(waveform))[inner], picture[inner], 'log10')
    with torch.no_grad():
        expected = [each.numpy() for each in theirs(torch.tensor(waveform))]
    converted = from_tensors({k: v for k, v in theirs.state_dict().items() if 'melspec' not in k}, **told)
    for ours, each in zip(cut(converted, len(picture))(mirrored[None]), expected, strict=True):
        close(ours, each)


@pytest.mark.parametrize('wrapped', [False, True])
def test_files_and_folders(wrapped, tmp_path):
    """A state dict, or the checkpoint of a training with Lightning, read without PyTorch."""
    import torch

    theirs, told = torch_passt(128, 106, (16, 10), 3)
    tensors = theirs.state_dict()
    if wrapped:
        inner = {f'net.{key}': value for key, value in tensors.items()}
        tensors = {'epoch': 3, 'state_dict': inner | {'mel.window': torch.hann_window(8)}}
    torch.save(tensors, tmp_path / 'x.pt')
    found, source = convert.convert_checkpoint(str(tmp_path / 'x.pt'), None, told)
    assert found.sha256 == from_tensors(theirs.state_dict(), **told).sha256
    store.save(found, tmp_path / 'kept', source)
    kept = init_from.find(str(tmp_path / 'kept'))
    pictures = pictures_of(106, 128)
    for ours, each in zip(outputs(kept, pictures), their_outputs(theirs, pictures), strict=True):
        close(ours, each)
    assert network(kept)[0].frequency_stride == 16
