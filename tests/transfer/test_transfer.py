"""Transfer: attention against NumPy, heads against scikit-learn, the study on planted and on small data."""

import csv
import dataclasses
import json
import pathlib
import shutil
import sys
import urllib.parse

import jax
import numpy as np
import pytest
import sklearn.linear_model
import sklearn.preprocessing

from genre_jax import features, models
from genre_jax.blend import members as blend_members
from genre_jax.blend import run as blend_run
from genre_jax.config import load_page
from genre_jax.convert import init_from
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate, paired
from genre_jax.transfer import attention_pool
from genre_jax.transfer import fits as transfer_fits
from genre_jax.transfer import heads as transfer_heads
from genre_jax.transfer import sources as transfer_sources
from genre_jax.transfer import table as transfer_report
from genre_jax.transfer.attention import Attention
from tests import program
from tests.convert import test_convert_ast
from tests.report.test_report import Page

RECIPE = attention_pool.Recipe(16, learning_rate=0.03, epochs=40, patience=10)


# --- attention -----------------------------------------------------------------------------------


def ragged(rng, sizes, units):
    """Returns embeddings of bags of those sizes, with labels by bag and the bag of each."""
    bag = np.repeat(np.arange(len(sizes)), sizes)
    label = rng.integers(0, 3, len(sizes))
    return rng.normal(size=(len(bag), units)).astype(np.float32), label[bag], bag


def parameters(model, units, seed=0):
    shapes = np.zeros((1, 1, units), np.float32), np.ones((1, 1), bool)
    return model.init(jax.random.key(seed), *shapes)['params']


def numpy_attention(params, instances):
    """Equations 7 and 9 of Ilse et al. for one bag, and the linear layer."""
    layer = {
        name: {key: np.asarray(value, np.float64) for key, value in values.items()}
        for name, values in params.items()
    }

    def dense(name, x):
        return x @ layer[name]['kernel'] + layer[name].get('bias', 0.0)

    content, gate = (dense(name, instances) for name in ('attention_v', 'attention_u'))
    scores = dense('attention_w', np.tanh(content) / (1 + np.exp(-gate)))[:, 0]
    weights = np.exp(scores) / np.exp(scores).sum()
    return dense('output', weights @ instances), weights


def test_attention_is_that_of_numpy_whatever_is_filled_up():
    rng = np.random.default_rng(0)
    embedding, label, bag = ragged(rng, [1, 5, 3, 8], units=6)
    model = attention_pool.AttentionPool(num_classes=3, hidden_units=7)
    params = parameters(model, 6)
    params = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape), params)  # no bias is zero
    bags = attention_pool.make_bags(embedding, label, bag)
    assert bags.instances.shape == (4, 8, 6) and bags.mask.sum(1).tolist() == [1, 5, 3, 8]
    junk = np.where(bags.mask[..., None], bags.instances, 1e6).astype(np.float32)
    for instances in (bags.instances, junk):
        logits, weights = model.apply({'params': params}, instances, bags.mask)
        for i in range(4):
            expected_logits, expected_weights = numpy_attention(params, embedding[bag == i])
            np.testing.assert_allclose(logits[i], expected_logits, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(weights[i][bags.mask[i]], expected_weights, rtol=1e-4, atol=1e-6)
        assert not np.asarray(weights)[~bags.mask].any()


def test_the_order_of_windows_does_not_matter():
    rng = np.random.default_rng(1)
    embedding, label, bag = ragged(rng, [4, 7, 2], units=5)
    order = rng.permutation(len(bag))
    one = attention_pool.make_bags(embedding, label, bag)
    other = attention_pool.make_bags(embedding[order], label[order], bag[order])
    np.testing.assert_array_equal(one.instances[one.bag, one.place], embedding)
    np.testing.assert_array_equal(other.instances[other.bag, other.place], embedding[order])
    model = attention_pool.AttentionPool(3)
    params = jax.tree.map(lambda x: x[None, None], parameters(model, 5))
    fitted = attention_pool.Fitted(model, params, np.zeros(5), np.ones(5), np.ones((1, 1), int))
    probabilities, weights = fitted.apply(one)
    moved_probabilities, moved_weights = fitted.apply(other)
    np.testing.assert_allclose(moved_probabilities, probabilities, atol=1e-6)
    np.testing.assert_allclose(moved_weights, weights[..., order], atol=1e-6)
    np.testing.assert_allclose(np.bincount(bag, weights[0, 0]), 1, atol=1e-6)


def planted(rng, n_bags, size=12, units=8):
    """Bags of loud noise in which one window carries a mark, and says of which class the bag is."""
    label = np.arange(n_bags) % 3
    embedding = rng.normal(size=(n_bags, size, units)).astype(np.float32)
    embedding[..., 0] = -1.0  # the mark
    embedding[..., 1:4] *= 3.0
    at = rng.integers(0, size, n_bags)
    embedding[np.arange(n_bags), at, 0] = 1.0
    embedding[np.arange(n_bags), at, 1:4] = 4.0 * np.eye(3)[label]
    bag = np.repeat(np.arange(n_bags), size)
    return embedding.reshape(-1, units), label[bag].astype(np.int32), bag, at


def windows(embedding, label, bag, prefix=''):
    names = np.array([f'{prefix}{i:03}' for i in bag])
    return transfer_heads.Windows(embedding, label, names, names)


@pytest.fixture(scope='module')
def planted_parts():
    rng = np.random.default_rng(2)
    drawn = {part: planted(rng, n) for part, n in (('train', 90), ('val', 45), ('test', 90))}
    parts = {part: windows(*each[:3], part) for part, each in drawn.items()}
    return parts, drawn['test'][3]


def accuracy(head, parts):
    rows = head.rows['test']
    answers = evaluate.Predictions(
        parts['test'].song[rows], np.zeros(len(rows)), parts['test'].label[rows],
        head.probabilities['test'], np.arange(3),
    )  # fmt: skip
    songs = evaluate.pool_songs(answers)
    return (songs.max_probability() == songs.label).mean()


@pytest.mark.slow  # quick: against NumPy, below
def test_attention_finds_the_window_that_tells(planted_parts):
    parts, at = planted_parts
    attention, mean = (
        transfer_heads.fit(name, parts, ['a', 'b', 'c'], [0, 1]) for name in ('attention', 'mean_logistic')
    )
    assert accuracy(attention, parts) > 0.95
    assert accuracy(mean, parts) < 0.75
    assert attention.weights.shape == (90 * 12, 2)
    looked_at = attention.weights.mean(1).reshape(90, 12)
    assert (looked_at.argmax(1) == at).mean() > 0.95
    assert looked_at.max(1).mean() > 0.6
    np.testing.assert_allclose(looked_at.sum(1), 1, atol=1e-5)
    # The answer is the mean over the seeds, one for each song.
    np.testing.assert_allclose(attention.seeds['test'].mean(0), attention.probabilities['test'])
    assert len(attention.rows['test']) == 90
    assert attention.chosen['seeds'] == [0, 1] and len(attention.chosen['best_epochs']) == 2


@pytest.mark.slow
def test_members_that_train_together_are_those_that_train_alone():
    rng = np.random.default_rng(3)
    train, val = (attention_pool.make_bags(*ragged(rng, rng.integers(1, 6, n), 4)) for n in (21, 9))
    together = attention_pool.fit(train, val, 3, (1.0, 0.1), (4, 5), RECIPE)
    alone = attention_pool.fit(train, val, 3, (0.1,), (5,), RECIPE)
    assert together.best_epoch[1, 1] == alone.best_epoch[0, 0]
    for one, other in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(one[1, 1], other[0, 0], atol=1e-5)
    assert not np.allclose(together.apply(val)[0][1, 0], together.apply(val)[0][1, 1], atol=1e-3)


@pytest.mark.slow
def test_the_epoch_that_is_kept_has_the_lowest_validation_loss():
    """The same training, ended at each epoch: none of them is better on val."""
    rng = np.random.default_rng(4)
    train, val = (attention_pool.make_bags(*ragged(rng, [3] * n, 4)) for n in (12, 9))

    def loss(epochs):
        recipe = attention_pool.Recipe(16, 0.03, 4, epochs, patience=40)
        fitted = attention_pool.fit(train, val, 3, (0.1,), (0,), recipe)
        loss = evaluate.log_losses(val.label, fitted.apply(val)[0][0, 0]).mean()
        return loss, int(fitted.best_epoch[0, 0])

    found = {epochs: loss(epochs) for epochs in (1, 2, 3, 5, 8, 13, 21, 34)}
    losses = [each for each, _ in found.values()]
    assert losses == sorted(losses, reverse=True)
    kept = found[34][1]
    assert 1 <= kept < 34  # labels by chance: later epochs are worse
    assert loss(kept) == (pytest.approx(losses[-1], rel=1e-6), kept)


def test_a_loss_that_is_not_finite():
    rng = np.random.default_rng(5)
    bags = attention_pool.make_bags(*ragged(rng, [2] * 8, 3))
    recipe = attention_pool.Recipe(learning_rate=1e38)
    with pytest.raises(UserError, match=r'attention pooling: the loss is not finite in epoch \d+'):
        attention_pool.fit(bags, bags, 3, (0.1,), (0,), recipe)


# --- heads ---------------------------------------------------------------------------------------


def blobs(rng, songs, per_song=8, spread=0.6):
    """Songs of three classes around three centres; their windows lie close by."""
    label = np.arange(songs) % 3
    centre = 1.5 * np.eye(3, 5)[label] + spread * rng.normal(size=(songs, 5))
    bag = np.repeat(np.arange(songs), per_song)
    embedding = centre[bag] + 0.5 * rng.normal(size=(len(bag), 5))
    return embedding.astype(np.float32), label[bag].astype(np.int32), bag


@pytest.fixture(scope='module')
def blob_parts():
    rng = np.random.default_rng(6)
    return {part: windows(*blobs(rng, n), part) for part, n in (('train', 30), ('val', 30), ('test', 24))}


def test_logistic_regression_is_scikit_learns(blob_parts):
    """With the strength that is best on val, found by hand."""
    head = transfer_heads.fit('logistic', blob_parts, ['a', 'b', 'c'], [0])
    scaler = sklearn.preprocessing.StandardScaler().fit(blob_parts['train'].embedding)
    found = []
    for strength in transfer_heads.SETTINGS['logistic']['C']:
        model = sklearn.linear_model.LogisticRegression(C=strength, max_iter=2000)
        model.fit(scaler.transform(blob_parts['train'].embedding), blob_parts['train'].label)
        songs = {
            part: model.predict_proba(scaler.transform(blob_parts[part].embedding))
            .reshape(-1, 8, 3).mean(1)
            for part in ('val', 'test')
        }  # fmt: skip
        label = blob_parts['val'].label[::8]
        loss = -np.log(songs['val'][np.arange(30), label]).mean()
        found.append((-(songs['val'].argmax(1) == label).mean(), loss, strength, songs['test']))
    best = min(found, key=lambda each: each[:2])
    assert head.chosen['C'] == best[2]
    tried = [(each['accuracy'], each['log_loss']) for each in head.chosen['tried_on_val']]
    np.testing.assert_allclose(tried, [(-each[0], each[1]) for each in found], rtol=1e-3)
    assert len(head.probabilities['test']) == 24 * 8
    by_song = head.probabilities['test'].reshape(24, 8, 3).mean(1)
    np.testing.assert_allclose(by_song, best[3], atol=1e-3)


@pytest.mark.parametrize('name', ['logistic', 'mean_logistic', 'knn', 'attention'])
def test_the_test_part_decides_nothing(name, blob_parts):
    rng = np.random.default_rng(7)
    other = windows(*blobs(rng, 9), 'other')
    changed = blob_parts | {'test': other}
    one, two = (transfer_heads.fit(name, parts, ['a', 'b', 'c'], [0]) for parts in (blob_parts, changed))
    assert one.chosen == two.chosen
    np.testing.assert_array_equal(one.probabilities['val'], two.probabilities['val'])
    assert accuracy(one, blob_parts) > 0.6


def test_nearest_neighbours_of_few_songs():
    rng = np.random.default_rng(8)
    parts = {part: windows(*blobs(rng, 6), part) for part in ('train', 'val', 'test')}
    head = transfer_heads.fit('knn', parts, ['a', 'b', 'c'], [0])
    assert [each['n_neighbors'] for each in head.chosen['tried_on_val']] == [5, 3, 1]


@pytest.mark.parametrize('name', ['mean_logistic', 'knn', 'attention'])
def test_songs_of_one_group_get_one_answer(name, blob_parts):
    """And pooled over four songs, it is right more often than over one."""
    rng = np.random.default_rng(9)

    def of_artists(artists, prefix):
        label = np.arange(artists) % 3
        artist = np.repeat(np.arange(artists), 4)
        centre = 1.5 * np.eye(3, 5)[label[artist]] + 1.5 * rng.normal(size=(4 * artists, 5))
        embedding = np.repeat(centre, 2, axis=0).astype(np.float32)
        song = np.repeat([f'{prefix}{i:03}' for i in range(4 * artists)], 2)
        group = np.repeat([f'{prefix}{i:03}' for i in artist], 2)
        labels = np.repeat(label[artist], 2).astype(np.int32)
        return {bag: transfer_heads.Windows(embedding, labels, song, own) for bag, own in
                (('song', song), ('group', group))}  # fmt: skip

    drawn = {part: of_artists(30, part) for part in ('train', 'val', 'test')}
    parts = {part: each['group'] for part, each in drawn.items()}
    head = transfer_heads.fit(name, parts, ['a', 'b', 'c'], [0])
    answers = head.probabilities['test'].reshape(30, 4, 3)
    np.testing.assert_array_equal(answers, np.repeat(answers[:, :1], 4, axis=1))
    single = {part: each['song'] for part, each in drawn.items()}
    alone = transfer_heads.fit('mean_logistic', single, ['a', 'b', 'c'], [0])
    assert accuracy(head, parts) > accuracy(alone, single) + 0.05


def test_mistakes_of_heads(blob_parts):
    classes = ['a', 'b', 'c', 'd']
    for name in transfer_heads.SETTINGS:
        with pytest.raises(UserError, match="class 'd' has no (row|song) in the training part"):
            transfer_heads.fit(name, blob_parts, classes, [0])
    nothing = transfer_heads.Windows(*(np.zeros((0, *s)) for s in ((5,), (), (), ())))
    with pytest.raises(UserError, match='the val part has no windows'):
        transfer_heads.fit('knn', blob_parts | {'val': nothing}, classes[:3], [0])
    with pytest.raises(UserError, match=r"--bag=group: the group 'X' has songs of several classes, such as "
                       r"s1 of 'a' and s3 of 'b'"):  # fmt: skip
        transfer_heads.check_bags({'s1': 'X', 's2': 'Y', 's3': 'X'}, {'s1': 'a', 's2': 'b', 's3': 'b'})
    transfer_heads.check_bags({'s1': 'X', 's2': 'Y', 's3': 'X'}, dict.fromkeys(['s1', 's2', 's3'], 'a'))


def test_mean_and_deviation():
    features = np.random.default_rng(10).normal(size=(3, 50, 4)).astype(np.float32)
    model = models.build({'name': 'mean_deviation'}, 5)
    variables = model.init(jax.random.key(0), features, train=False)
    logits, embedding = model.apply(variables, features, train=False)
    expected = np.concatenate([features.mean(1), features.std(1)], 1)
    np.testing.assert_allclose(embedding, expected, atol=1e-6)
    assert logits.shape == (3, 5)
    with pytest.raises(UserError, match=r'mean_deviation: expected features of frames and bins'):
        model.apply(variables, features[:, 0], train=False)


# --- sources and flags ---------------------------------------------------------------------------


def test_names_of_sources():
    names = transfer_sources.names(['runs/a/seed_0', 'runs/b/seed_0', 'yamnet', 'untrained'])
    assert list(names.values()) == ['a_seed_0', 'b_seed_0', 'yamnet', 'untrained']
    for wanted, words in (
        ([], '--sources: expected run folders, checkpoints'),
        (['yamnet', ''], '--sources: expected run folders, checkpoints'),
        (['yamnet', 'mfcc', 'yamnet'], '--sources: yamnet is named twice'),
        (['untrained', 'mfcc'], 'no network is named: add a run folder or a checkpoint'),
    ):
        with pytest.raises(UserError, match=words):
            transfer_sources.names(wanted)


@pytest.mark.parametrize(
    ('settings', 'heads', 'folds', 'words'),
    [
        ({}, ['atention'], 0, "--heads: unknown head 'atention'; did you mean 'attention'"),
        ({}, ['knn', 'knn'], 0, '--heads: knn is named twice'),
        ({}, ['knn'], 1, '--folds=1: expected 2 or more, or 0'),
        ({}, ['knn'], -2, '--folds=-2: expected 2 or more, or 0'),
        ({'split.protocol': 'segment_leaky'}, ['knn'], 0, 'segment_leaky: whole songs are tested'),
        ({'split.protocol': 'official'}, ['knn'], 5, '--folds=5: .*protocol=official has no folds'),
        ({'data.name': 'feature_table'}, ['knn'], 0, "data of kind 'table'; expected recordings"),
    ],
)  # fmt: skip
def test_mistakes_of_flags(settings, heads, folds, words, tmp_path):
    config = load_page(str(program.PAGE))
    config.data.root = str(tmp_path)
    if 'data.name' in settings:
        config = load_page('configs/mlp_features.py')
        config.data.root = str(tmp_path / 'table.csv')
        (tmp_path / 'table.csv').write_text('filename,label,x\na.00000.wav,a,1\nb.00000.wav,b,2\n')
    config.update_from_flattened_dict(settings)
    with pytest.raises(UserError, match=words):
        transfer_fits.check(config, ['mfcc'], heads, folds)


# --- the page ------------------------------------------------------------------------------------

HEADS = ('mean_logistic', 'attention')
LONG = 400  # windows of the longest song


def write_study(home, n_songs=9, folds=2, source='<b>"run" & 100 %: #1'):
    """Writes cells of a study whose answers are drawn; returns what `fits.measure` would of them."""
    rng = np.random.default_rng(0)
    classes, columns = ['ballad', '<i>reel</i>', 'a name far too long for the margin of any chart'], {}
    for name in (source, 'untrained', 'mfcc'):
        for head in HEADS:
            for fold in range(folds):
                cell = home / name / head / f'fold_{fold}'
                columns.setdefault(name, {}).setdefault(head, []).append(f'{name}/{head}/fold_{fold}')
                cell.mkdir(parents=True)
                (cell / 'result.json').write_text('{}')
                track = np.array([f'folder/song "{fold}{i}"' for i in range(n_songs)])
                label = np.arange(n_songs, dtype=np.int32) % 3
                start_s, said = np.zeros(n_songs, np.float32), rng.dirichlet(np.ones(3), n_songs)
                group = np.array([f'artist {i // 2}' for i in range(n_songs)])
                arrays = (track, start_s, label, said.astype(np.float32), np.array(classes), group)
                evaluate.Predictions(*arrays).save(cell / 'predictions' / 'test.npz')
                if head == 'attention':
                    sizes = [LONG, *range(2, n_songs + 1)]
                    starts = np.concatenate([np.arange(n, dtype=np.float32) for n in sizes])
                    weight = np.concatenate([rng.dirichlet(np.ones(n), 3).T for n in sizes])
                    attention = Attention(np.repeat(track, sizes), starts, np.float32(1.5), weight)
                    attention.save(cell / 'attention.npz')
    figures = []
    for name, own in columns.items():
        for head in HEADS:
            tests = {
                key: [
                    evaluate.Predictions.load(home / place / 'predictions' / 'test.npz') for place in places
                ]
                for key, places in (('own', own[head]), ('control', columns['untrained'][head]))
            }
            found = paired.compare(*paired.tested(tests))['own']['song']
            above = [found['inflation'], found['inflation_ci95']] if name == source else [None, None]
            figures.append(
                {'source': name, 'head': head, 'leaky': name == source, 'accuracy': found['accuracy']}
                | {'accuracy_ci95': found['accuracy_ci95'], 'control': 'untrained' * (name == source)}
                | {'above_control': above[0], 'above_ci95': above[1]}
                | {'first': '', 'above_first': None, 'above_first_ci95': None}
            )
    return {
        'dataset': 'DIR folder', 'songs': n_songs * folds, 'groups': 5, 'group_key': 'artist', 'classes': 3,
        'folds': folds, 'bag': 'song', 'protocol': 'artist', 'protocol_detail': 'by artist', 'majority': 0.4,
        'heads': list(HEADS), 'layers': [], 'times': [],
        'words': {name: f'what {name} is' for name in columns}, 'warnings': ['careful'],
        'figures': figures, 'folders': columns,
    }  # fmt: skip


def test_the_page_shows_the_cells_and_what_the_attention_looks_at(tmp_path):
    result = write_study(tmp_path)
    transfer_report.write_page(result, tmp_path)
    page = Page((tmp_path / 'index.html').read_text())
    drawn = page.drawn()
    charts = drawn['charts']
    assert [len(charts[name]['rows']) for name in ('accuracy', 'above')] == [3, 1]
    right = {}
    for row in charts['accuracy']['rows']:
        for head, figure in zip(HEADS, row['figures'], strict=True):
            parts = [tmp_path / row['name'] / head / f'fold_{fold}/predictions/test.npz' for fold in range(2)]
            tables = [evaluate.Predictions.load(part) for part in parts]
            right[row['name'], head] = np.mean([t.probabilities.argmax(1) == t.label for t in tables])
            assert figure['value'] == pytest.approx(right[row['name'], head])
            assert figure['mark'] == ('LEAKY' if row['name'].startswith('<b>') else '')
    (row,) = charts['above']['rows']
    for head, figure in zip(HEADS, row['figures'], strict=True):
        assert figure['value'] == pytest.approx(right[row['name'], head] - right['untrained', head])
    assert [line['value'] for line in charts['accuracy']['lines']] == [1 / 3, 0.4]
    # Six songs of each fold, of every class in turn, from whose windows little is lost.
    assert [each['fold'] for each in drawn['attention']] == ['fold_0', 'fold_1'] * 3
    assert [each['mark'] for each in drawn['attention']] == ['LEAKY'] * 2 + [''] * 4
    each = drawn['attention'][1]
    kept = Attention.load(tmp_path / each['source'] / 'attention' / 'fold_1' / 'attention.npz')
    assert [song['true'] for song in each['songs']][:3] == [
        'ballad', '<i>reel</i>', 'a name far too long for the margin of any chart',
    ]  # fmt: skip
    long, short = each['songs'][:2]
    weight = kept.weight[kept.track == short['track']]
    np.testing.assert_allclose(short['mean'], weight.mean(1), atol=1e-5)
    np.testing.assert_allclose([short['low'], short['high']], [weight.min(1), weight.max(1)], atol=1e-5)
    assert short['start_s'] == [0, 1] and short['end_s'] == [1.5, 2.5]
    assert len(long['mean']) == 150 and long['end_s'][-1] == LONG + 0.5
    assert np.mean(long['mean']) == pytest.approx(1 / LONG, rel=0.05)
    # Names reach the page as text, and links lead to what is there.
    assert result['words'][each['source']] in page.text() and 'note: careful' in page.text()
    links = [urllib.parse.unquote(link) for link in page.links() if not link.startswith('#')]
    assert len(links) == 3 * 2 * 2 and all((tmp_path / link).exists() for link in links)


@pytest.mark.parametrize('page', ['musicnn', 'ast'])
def test_a_network_hears_as_what_lies_beside_its_weights_says(page, tmp_path):
    """Bands, mean and deviation too, whatever the network and the front end of the page."""
    extractor = {
        'feature_extractor_type': 'MAESTFeatureExtractor', 'num_mel_bins': 32, 'max_length': 60,
        'mean': 1.5, 'std': 0.25,
    }  # fmt: skip
    folder = test_convert_ast.folder_of(tmp_path, extractor=extractor)
    config = load_page(f'configs/finetune.py:model={page}')
    (source,) = transfer_sources.open_sources([folder], config, None, tmp_path / 'study')
    assert features.build(source.network.config.features) == features.build(
        {'name': 'maest', 'n_mels': 32, 'mean': 1.5, 'std': 0.5}
    )
    assert source.network.config.model.time_stride == 4
    (tmp_path / 'preprocessor_config.json').unlink()
    if page == 'ast':  # it is the page that says how it hears
        (source,) = transfer_sources.open_sources([folder], config, None, tmp_path / 'study')
        assert source.network.config.features.name == 'ast'
    else:
        with pytest.raises(UserError, match='--sources=.* does not say what it hears: .* preprocessor_conf'):
            transfer_sources.open_sources([folder], config, None, tmp_path / 'study')


def two_published(place):
    """Folders of an AST and of a MAEST, that were published with windows of 60 frames of their front ends."""
    extractor = {'feature_extractor_type': 'MAESTFeatureExtractor', 'num_mel_bins': 32, 'max_length': 60}
    (place / 'kaldi').mkdir(parents=True)
    (place / 'mel').mkdir()
    return (
        test_convert_ast.folder_of(place / 'kaldi'),
        test_convert_ast.folder_of(place / 'mel', extractor=extractor),
    )


# Of 25 and 10 ms at 22.05 kHz, the first frame whole; of 256 samples at 16 kHz, frames around their middles.
OWN_WINDOWS_S = {'kaldi': (551 + 59 * 220) / 22050, 'mel': 59 * 256 / 16000}


def test_each_network_with_windows_as_long_as_it_was_published_with(tmp_path):
    folders = two_published(tmp_path)
    config = load_page('configs/finetune.py:model=musicnn')
    config.windows.window_s = 0.5
    arguments = (folders, config, None, tmp_path / 'study', ['last'], 'mean')
    for source in transfer_sources.open_sources(*arguments):
        assert source.network.config.windows.window_s == 0.5
    own = {
        s.name: s.network.config.windows.window_s for s in transfer_sources.open_sources(*arguments, 'own')
    }
    assert own == pytest.approx(OWN_WINDOWS_S)
    assert config.windows.window_s == 0.5
    # Of two layers, where networks of that page have twelve.
    config = load_page('configs/finetune.py:model=ast')
    found = transfer_sources.open_sources(
        folders[:1], config, None, tmp_path / 'all', ['best'], 'tokens', 'own'
    )
    assert [source.name for source in found] == [
        'kaldi',
        *(f'kaldi_{x}' for x in ('layer_0', 'layer_1', 'best')),
    ]
    with pytest.raises(UserError, match='--layers: best is named twice'):
        transfer_fits.check(config, folders, ['knn'], 0, ['best', '0', 'best'])


# --- the program ---------------------------------------------------------------------------------


@pytest.mark.parametrize(('whole', 'window_s'), [(True, 0.0), (False, 0.4), (None, 0.4)])
def test_the_model_of_a_run_keeps_its_windows(whole, window_s, tmp_path, monkeypatch):
    """Of whole recordings it keeps the length of the longest, which is not that of its windows."""
    folder, _ = two_published(tmp_path)
    found = dataclasses.replace(init_from.find(folder), window_s=0.4, whole=whole)
    monkeypatch.setattr(transfer_sources.init_from, 'find', lambda *_: found)
    config = load_page('configs/finetune.py:model=ast')
    (source,) = transfer_sources.open_sources(
        [folder], config, None, tmp_path / 'study', ['last'], 'mean', 'own'
    )
    assert source.network.config.windows.window_s == window_s


def target_config(root, prepared):
    config = load_page(str(program.PAGE))
    config.data.update(root=str(root), prepared_dir=str(prepared))
    return config


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run on three registers of tones, and other tones of two other classes."""
    base = tmp_path_factory.mktemp('transfer')
    first = program.write_tones(base / 'first')
    target = program.write_tones(base / 'target', songs=9, classes=(('one', 330), ('two', 880)))
    done = program.run(
        program.command(base / 'run', first, base / 'prepared', '--config.train.length=2 epochs')
    )
    assert done.returncode == 0, done.stderr
    return base, first, target


@pytest.mark.slow
def test_the_command(trained):
    base, _, target = trained
    words = [
        *(sys.executable, '-m', 'genre_jax.transfer', f'--config={program.PAGE}'),
        *(f'--workdir={base / "study"}', f'--sources={base / "run"},untrained,mfcc', '--seeds=2'),
        *(f'--config.data.root={target}', f'--config.data.prepared_dir={base / "prepared"}'),
        *('--folds=2', '--heads=mean_logistic,attention', '--config.windows.window_s=0.9'),
    ]
    done = program.run(words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any('tested on 18 songs, 18 groups' in line and '2 folds' in line for line in lines)
    with (base / 'study' / 'transfer.csv').open() as stream:
        rows = {(row['source'], row['head']): row for row in csv.DictReader(stream)}
    assert len(rows) == 6
    for (source, head), row in rows.items():
        folders = [base / 'study' / source / head / f'fold_{i}' for i in range(2)]
        parts = [evaluate.Predictions.load(f / 'predictions' / 'test.npz') for f in folders]
        songs = np.unique(np.concatenate([part.track for part in parts]))
        assert len(songs) == 18
        found = paired.count(parts, songs.tolist()).right.mean()
        assert float(row['accuracy']) == pytest.approx(found)
        (line,) = [line for line in lines if line.split() and line.split()[0] == source]
        assert f'{100 * found:.1f} [' in line and 'LEAKY' not in line
        took = f'{source}: {float(row["seconds_per_hour"]):.0f} s for the embeddings of an hour of windows'
        assert f'{took}, on {row["devices"]}' in lines and row['earlier_pass'] == 'False'
        assert (folders[0] / 'attention.npz').exists() == (head == 'attention')
        result = json.loads((folders[0] / 'result.json').read_text())
        assert result['protocol'] == 'artist' and not result['leaky']
    page = Page((base / 'study' / 'index.html').read_text())
    for row in page.drawn()['charts']['accuracy']['rows']:
        for head, figure in zip(('mean_logistic', 'attention'), row['figures'], strict=True):
            assert figure['value'] == float(rows[row['name'], head]['accuracy'])
    assert len(page.drawn()['attention']) == 3 * 2
    assert all((base / 'study' / link).exists() for link in page.links() if not link.startswith('#'))
    # Tones of two registers: easy, once there is something that hears registers.
    assert float(rows['mfcc', 'mean_logistic']['accuracy']) > 0.9
    for head in ('mean_logistic', 'attention'):
        row, control = rows['run', head], rows['untrained_run', head]
        above = float(row['accuracy']) - float(control['accuracy'])
        assert row['control'] == 'untrained_run' and control['control'] == ''
        assert float(row['above_control']) == pytest.approx(above)
        assert float(row['above_low']) <= above <= float(row['above_high'])
    kept = Attention.load(base / 'study/run/attention/fold_1/attention.npz')
    per_song = {track: kept.weight[kept.track == track] for track in kept.track}
    assert kept.window_s == pytest.approx(0.6)
    for weight in per_song.values():
        assert weight.shape == (3, 2)
        np.testing.assert_allclose(weight.sum(0), 1, atol=1e-5)
    # Each source has its own network, and windows of its own length; each fold its own songs.
    for source, checkpoint in (
        ('run', base / 'run'),
        ('mfcc', base / 'study/embeddings/mfcc'),
        ('untrained_run', base / 'study/embeddings/untrained_run'),
    ):
        for fold in range(2):
            folder = base / 'study' / source / 'attention' / f'fold_{fold}'
            config = json.loads((folder / 'config.json').read_text())
            assert config['init']['checkpoint'] == str(checkpoint)
            assert config['windows']['window_s'] == (0.9 if source == 'mfcc' else 0.6)
            assert config['split']['fold'] == fold and config['model']['name'] == 'attention'
    # Again: what is there is read, what is missing is fitted.
    missing = base / 'study' / 'run' / 'attention' / 'fold_1' / 'result.json'
    before = missing.read_text()
    missing.unlink()
    there = base / 'study' / 'mfcc' / 'attention' / 'fold_0' / 'result.json'
    stamp = there.stat().st_mtime_ns
    config = target_config(target, base / 'prepared')
    config.windows.window_s = 0.9
    sources, heads = [str(base / 'run'), 'untrained', 'mfcc'], ['mean_logistic', 'attention']
    again = transfer_fits.measure(config, base / 'study', sources, heads, 2, 'song', 2)
    assert missing.read_text() == before and there.stat().st_mtime_ns == stamp
    # The same, and how long the networks took is known from then.
    kept_from = ', in the earlier pass that they are kept from'
    assert len(again['times']) == 3 and all(line.endswith(kept_from) for line in again['times'])
    assert transfer_report.table(again).replace(kept_from, '') in done.stdout
    for figure in again['figures']:
        row = rows[figure['source'], figure['head']]
        assert figure['seconds_per_hour'] == float(row['seconds_per_hour']) and figure['earlier_pass']
    with pytest.raises(UserError, match=r'--workdir=.* another config \(model.seeds: 2 -> 3\)'):
        transfer_fits.measure(config, base / 'study', [str(base / 'run')], ['attention'], 2, 'song', 3)


@pytest.mark.slow
def test_two_heads_and_two_sources_are_one_blend(trained):
    """After the study above: its cells are members, fold by fold."""
    base = trained[0]
    cells = [base / 'study' / name for name in ('run/attention', 'run/mean_logistic', 'mfcc/attention')]
    tasks = blend_members.make_tasks(cells, 'song')
    result, _ = blend_run.measure(tasks, cells, blend_run.Recipe('mean', {}, 'song', False))
    by_hand = []
    for fold in range(2):
        parts = [evaluate.Predictions.load(c / f'fold_{fold}/predictions/test.npz') for c in cells]
        assert all(part.track.tolist() == parts[0].track.tolist() for part in parts)
        mean = np.mean([part.probabilities for part in parts], axis=0)
        by_hand.append(mean.argmax(1) == parts[0].label)
    found = result['parts']['test']['song_max_probability']
    assert found['n'] == 18
    assert found['accuracy'] == pytest.approx(np.concatenate(by_hand).mean())


@pytest.mark.slow
def test_a_source_that_learnt_from_the_target_is_refused_or_marked(trained, tmp_path):
    base, first, _ = trained
    config = target_config(first, base / 'prepared')
    arguments = (tmp_path, [str(base / 'run')], ['knn'], 0, 'song', 1)
    result = transfer_fits.measure(config, *arguments)  # the run's own split: nothing leaks
    assert [figure['leaky'] for figure in result['figures']] == [False]
    config.split.seed = 1
    with pytest.raises(UserError, match='the network of .* was trained on the same recordings'):
        transfer_fits.measure(config, *arguments)
    config.split.allow_leak = True
    shutil.copytree(tmp_path / 'embeddings', tmp_path / 'leaky' / 'embeddings')
    leaky = transfer_fits.measure(config, tmp_path / 'leaky', *arguments[1:])
    assert [figure['leaky'] for figure in leaky['figures']] == [True]
    assert 'LEAKY' in transfer_report.table(leaky)


@pytest.mark.slow
def test_sources_that_cannot_be(trained, tmp_path):
    base, _, target = trained
    config = target_config(target, base / 'prepared')

    def study(source, bag='song', **changes):
        config.update_from_flattened_dict(changes)
        transfer_fits.measure(config, tmp_path, [str(source)], ['knn'], 0, bag, 1)

    with pytest.raises(UserError, match="--sources='musicnn_mds': there is no such folder or file"):
        study('musicnn_mds')
    unfinished = tmp_path / 'unfinished'
    unfinished.mkdir()
    shutil.copy(base / 'run' / 'config.json', unfinished)
    with pytest.raises(UserError, match='--sources=.*unfinished: the run has not finished'):
        study(unfinished)
    tracks = ''.join(f'{p.relative_to(target)},{p.parent.name},A{int(p.stem) % 4}\n'
                     for p in sorted(pathlib.Path(target).rglob('*.wav')))  # fmt: skip
    (target / 'tracks.csv').write_text('path,label,artist\n' + tracks)
    try:
        with pytest.raises(UserError, match='--bag=group: the group .* has songs of several classes'):
            study('mfcc', 'group')
        with pytest.raises(UserError, match='class .* too few for 7 folds'):
            study('mfcc', **{'split.protocol': 'artist', 'split.folds': 7})
    finally:
        (target / 'tracks.csv').unlink()


@pytest.mark.slow
def test_one_table_of_windows_of_several_lengths(trained, tmp_path):
    """On the same songs, and the table says how long the windows are, and how long their embeddings took."""
    base, _, target = trained
    config = target_config(target, base / 'prepared')
    sources = [*map(str, two_published(tmp_path)), 'untrained', 'mfcc']
    arguments = (tmp_path / 'study', sources, ['mean_logistic'], 0, 'song', 1, ['last'], 'mean', 'own')
    result = transfer_fits.measure(config, *arguments)
    names = ['kaldi', 'mel', 'mfcc', 'untrained_kaldi', 'untrained_mel']
    assert list(result['words']) == names and len(result['times']) == 5
    for name in names:
        window_s = OWN_WINDOWS_S.get(name.removeprefix('untrained_'), config.windows.window_s)
        kept = json.loads((tmp_path / 'study' / name / 'mean_logistic' / 'config.json').read_text())
        assert kept['windows']['window_s'] == pytest.approx(window_s)
        assert f'windows of {window_s:.4g} s' in result['words'][name]
    first, _, second = (
        evaluate.Predictions.load(tmp_path / 'study' / name / 'mean_logistic/predictions/test.npz').track
        for name in names[:3]
    )
    np.testing.assert_array_equal(first, second)
    (figure,) = [each for each in result['figures'] if each['source'] == 'mel']
    assert figure['control'] == 'untrained_mel' and figure['first'] == 'kaldi'
    with pytest.raises(UserError, match=r'another config \(.*windows.window_s'):
        transfer_fits.measure(config, *arguments[:-1])


# --- layers --------------------------------------------------------------------------------------


def test_weights_of_layers_find_the_layer_that_tells():
    """Of three layers of noise one knows the class; the mixture is that by hand, and finds it."""
    rng = np.random.default_rng(11)
    parts = {}
    for part, songs in (('train', 60), ('val', 30), ('test', 45)):
        label = np.repeat(np.arange(songs) % 3, 2).astype(np.int32)
        embedding = rng.normal(size=(2 * songs, 3, 5)).astype(np.float32)
        embedding[:, 1] += 4 * np.eye(3, 5)[label]
        parts[part] = windows(embedding, label, np.repeat(np.arange(songs), 2), part)
    for name in transfer_heads.TRAINED:
        head = transfer_heads.fit(name, parts, ['a', 'b', 'c'], [0, 1])
        shares = np.array(head.chosen['layer_weights'])
        assert shares.shape == (2, 3) and (shares.argmax(1) == 1).all()
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
        assert accuracy(head, parts) > 0.85
    embedding, mask = parts['test'].embedding[None, :4], np.array([[True, True, True, False]])
    model = attention_pool.AttentionPool(3, hidden_units=0)
    params = model.init(jax.random.key(0), embedding, mask)['params']
    params = {**params, 'layer_weights': np.float32([0.5, -1.0, 2.0])}
    share = np.exp([0.5, -1.0, 2.0]) / np.exp([0.5, -1.0, 2.0]).sum()
    mean = np.einsum('ilu,l->iu', embedding[0, :3], share).mean(0)
    logits, _ = model.apply({'params': params}, embedding, mask)
    np.testing.assert_allclose(logits[0], mean @ params['output']['kernel'], rtol=1e-4, atol=1e-5)


def test_weights_that_no_head_learns(tmp_path):
    config = load_page(str(program.PAGE))
    with pytest.raises(UserError, match='--layers=weighted: --heads has none that learns the weights'):
        transfer_fits.check(config, ['mfcc'], ['knn'], 0, ['weighted'])


@pytest.mark.slow
def test_layers_are_sources_and_the_best_is_that_of_validation(trained):
    base, _, target = trained
    config = target_config(target, base / 'prepared')
    home, heads = base / 'layers', ['mean_logistic', 'linear']
    layers = ['last', '0', 'best']
    sources = [str(base / 'run'), 'untrained']
    result = transfer_fits.measure(config, home, sources, heads, 0, 'song', 2, layers)
    names = ['run', 'run_layer_0', 'run_best']
    assert list(result['words']) == [*names, *(f'untrained_{name}' for name in names)]
    for head in heads:
        kept = {name: json.loads((home / name / head / 'result.json').read_text()) for name in names}
        tried = {
            name: max((t['accuracy'], -t['log_loss']) for t in each['head']['tried_on_val'])
            for name, each in kept.items()
            if name != 'run_best'
        }
        best = max(tried, key=tried.get)
        assert kept['run_best']['head']['source'] == best
        said, expected = (
            evaluate.Predictions.load(home / name / head / 'predictions' / 'test.npz')
            for name in ('run_best', best)
        )
        np.testing.assert_array_equal(said.probabilities, expected.probabilities)
    (row,) = [f for f in result['figures'] if (f['source'], f['head']) == ('run_layer_0', 'linear')]
    assert row['control'] == 'untrained_run_layer_0'
    with pytest.raises(UserError, match=r'layers=weighted: the layers are of several widths \(0: .*, 1: 8\)'):
        transfer_fits.measure(config, base / 'w', [str(base / 'run')], heads, 0, 'song', 2, ['weighted'])
