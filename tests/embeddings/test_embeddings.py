"""Embeddings of trained networks against the model applied by hand."""

import csv
import json
import sys
import time

import flax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import features, models
from genre_jax.config import load_page
from genre_jax.convert import store
from genre_jax.embeddings import network as embeddings
from genre_jax.errors import UserError
from genre_jax.loading import run_data
from tests import program
from tests.classical.test_classical import write_table


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """One run on tones, one epoch long."""
    return program.train_on_tones(tmp_path_factory.mktemp('trained'), '--config.train.length=1 epochs')


def page(home, name='tones', **split):
    config = load_page(str(program.PAGE))
    config.data.update(root=str(home / name), prepared_dir=str(home / 'prepared'))
    config.split.update(**split)
    # Of the run, whatever the page says.
    config.features = {'name': 'mfcc_13'}
    config.windows.window_s = 1.0
    return config


def test_they_are_those_by_hand(trained):
    config = page(trained)
    parts = embeddings.embed(config, str(trained / 'run'))
    config.windows.window_s = 0.6
    dataset = run_data.open_dataset(config)
    names = [track['track'] for track in dataset.tracks]
    split = run_data.make_split(config, dataset)
    own = load_page(str(program.PAGE))
    front_end = features.build(own.features)
    model = models.build(own.model, 3)
    kept = store.load(trained / 'run' / 'model').variables
    variables = flax.traverse_util.unflatten_dict(kept, sep='/')
    for part, each in parts.items():
        tracks = [i for i in split.tracks[part] for _ in range(3)]
        assert each.track.tolist() == [names[i] for i in tracks]
        labels = [dataset.tracks[i]['label'] for i in tracks]
        assert each.classes[each.label].tolist() == labels
        rate_hz = dataset.sample_rate_hz
        window = int(np.ceil(0.6 * rate_hz))
        starts = np.round(each.start_s.astype(np.float64) * rate_hz).astype(int)
        lasts = np.array([dataset.tracks[i]['n_samples'] - window for i in tracks])
        np.testing.assert_allclose(starts[0::3], 0)
        np.testing.assert_allclose(starts[2::3], lasts[2::3])
        pieces = [dataset.read(i, s, window) for i, s in zip(tracks, starts, strict=True)]
        audio = jnp.asarray(np.stack(pieces), jnp.float32) / 32767
        length = round(0.6 * front_end.sample_rate_hz)
        _, expected = model.apply(variables, front_end(audio[:, :length]), train=False)
        np.testing.assert_allclose(each.embedding, expected, atol=1e-5, rtol=1e-4)
    assert np.ptp(parts['test'].embedding, axis=0).max() > 0


@pytest.mark.slow
def test_they_are_computed_once_for_all_splits(trained, tmp_path, monkeypatch):
    run = str(trained / 'run')
    config = page(trained, allow_leak=True, folds=4)
    first = embeddings.embed(config, run, tmp_path)
    by_track = {
        (t, float(s)): e
        for part in first.values()
        for t, s, e in zip(part.track, part.start_s, part.embedding, strict=True)
    }
    (kept,) = tmp_path.iterdir()

    def compute(*_):
        raise AssertionError('computed again')

    with monkeypatch.context() as patch:
        patch.setattr(embeddings.Network, '_compute', compute)
        config.split.update(protocol='kfold', fold=2)
        second = embeddings.embed(config, run, tmp_path)
    assert second['test'].track.tolist() != first['test'].track.tolist()
    for part in second.values():
        for t, s, e in zip(part.track, part.start_s, part.embedding, strict=True):
            np.testing.assert_array_equal(e, by_track[t, float(s)])
    # By segment there are others: side by side.
    config.split.protocol = 'segment_leaky'
    third = embeddings.embed(config, run, tmp_path)
    starts = np.concatenate([part.start_s for part in third.values()])
    np.testing.assert_allclose(starts / 0.6, np.round(starts / 0.6), atol=1e-3)
    assert len(list(tmp_path.iterdir())) == 2
    kept.write_bytes(kept.read_bytes()[:-30])
    config.split.protocol = 'kfold'
    with pytest.raises(UserError, match=r'\.npz is damaged: delete it'):
        embeddings.embed(config, run, tmp_path)


def test_those_of_some_classes_are_not_taken_for_those_of_others(trained, tmp_path, monkeypatch):
    def names(_, table, layers):  # in place of what a network makes of the windows
        tracks = [table.dataset.tracks[row]['track'] for row in table.track]
        found = np.array([[sum(map(ord, track))] for track in tracks], np.float32)
        return dict.fromkeys(layers, found), None

    monkeypatch.setattr(embeddings.Network, '_compute', names)
    config = page(trained, allow_leak=True)
    for classes in (('low', 'mid'), ('low', 'high')):  # as many songs, as long
        config.data.classes = classes
        for part in embeddings.embed(config, str(trained / 'run'), tmp_path).values():
            assert part.classes.tolist() == sorted(classes)
            assert part.embedding[:, 0].tolist() == [sum(map(ord, track)) for track in part.track]


def test_songs_that_the_network_has_heard(trained):
    run = str(trained / 'run')
    with pytest.raises(UserError) as caught:
        embeddings.embed(page(trained, seed=1), run)
    assert 'the grouped split leaks: the network of' in str(caught.value)
    network = embeddings.Network(page(trained, seed=1, allow_leak=True), run)
    dataset = run_data.open_dataset(network.config)
    split = run_data.make_split(network.config, dataset)
    assert not split.leaky
    marked = network.check_split(dataset, split)
    assert marked.leaky and 'under another split (grouped: ' in marked.detail
    # Other recordings than it was trained on: nothing leaks.
    program.write_tones(trained / 'others', songs=7, classes=(('lo', 200), ('hi', 900)))
    parts = embeddings.embed(page(trained, 'others', seed=1), run)
    assert sum(len(part.label) for part in parts.values()) == 3 * 14


def test_how_long_they_took_is_kept_with_them(trained, tmp_path):
    """By another program it is what the first one measured; files of before it was kept are read without."""
    run, config = str(trained / 'run'), page(trained)

    def opened(cache):
        network = embeddings.Network(config, run, cache, ('0', 'last'))
        dataset = run_data.open_dataset(network.config)
        split = run_data.make_split(network.config, dataset)
        return network, network.tables(dataset, split)['test']

    first, table = opened(tmp_path)
    began_s = time.monotonic()
    expected = first.embed(table)
    outside_s = time.monotonic() - began_s
    ((took,), earlier) = first.took(table)
    assert not earlier and 0 < took.seconds < outside_s
    batches = -(-72 // config.eval.batch_size)  # of 24 songs
    window_s = table.window / table.dataset.sample_rate_hz
    assert took.heard_s == pytest.approx((batches - 1) * config.eval.batch_size * window_s)
    later, table = opened(tmp_path)
    assert later.took(table) == ([took], True)
    np.testing.assert_array_equal(later.embed(table), expected)
    assert later.took(table) == ([took], True)
    for file in tmp_path.iterdir():
        embeddings.Embeddings.load(file).save(file)
    old, table = opened(tmp_path)
    assert old.took(table) == ([], True)
    np.testing.assert_array_equal(old.embed(table), expected)
    nothing, table = opened(None)
    assert nothing.took(table) == ([], False)


def test_layers_are_computed_in_one_pass_and_kept_apart(trained, tmp_path, monkeypatch):
    """Of the tiny page's network, each layer by its own call; side by side in the order of their names."""
    run, config = str(trained / 'run'), page(trained)
    passes = []
    compute = embeddings.Network._compute

    def counted(self, table, layers):
        passes.append(sorted(layers))
        return compute(self, table, layers)

    monkeypatch.setattr(embeddings.Network, '_compute', counted)
    both = embeddings.embed(config, run, tmp_path, ('0', 'last'))
    assert passes == [['0', 'last']] and len(list(tmp_path.iterdir())) == 2
    first, last = (embeddings.embed(config, run, tmp_path, (layer,)) for layer in ('0', 'last'))
    assert len(passes) == 1
    own = embeddings.embed(config, run)  # as it is without layers
    for part, each in both.items():
        np.testing.assert_array_equal(last[part].embedding, own[part].embedding)
        side_by_side = [first[part].embedding, own[part].embedding]
        np.testing.assert_array_equal(each.embedding, np.concatenate(side_by_side, axis=1))
    with pytest.raises(UserError, match='--layers=7: shallow_cnn has layers 0 to 1'):
        embeddings.embed(config, run, tmp_path, ('7',))
    with pytest.raises(UserError, match='--layers: 0 is named twice'):
        embeddings.embed(config, run, tmp_path, ('0', '0'))
    with pytest.raises(UserError, match='--pooling=class: shallow_cnn has no class token; expected mean'):
        embeddings.embed(config, run, tmp_path, ('0',), 'class')


@pytest.mark.slow
def test_a_network_on_a_table_keeps_its_own_scaling(tmp_path):
    root = write_table(tmp_path / 't.csv', songs=10)
    flags = ('--config.train.length=2 epochs', '--config.tracking.wandb=off', '--config.report.look=False')
    words = program.command(
        tmp_path / 'run', root, tmp_path / 'prepared', *flags, page='configs/mlp_features.py'
    )
    done = program.run(words)
    assert done.returncode == 0, done.stderr
    out = tmp_path / 'e.csv'
    done = program.run(
        [
            *(sys.executable, '-m', 'genre_jax.embed', '--config=configs/mlp_features.py'),
            *(f'--config.data.root={root}', f'--config.data.prepared_dir={tmp_path / "prepared"}'),
            *(f'--workdir={tmp_path / "e"}', f'--embeddings_of={tmp_path / "run"}'),
            f'--csv={out}',
        ]
    )
    assert done.returncode == 0, done.stderr
    assert '256 units for each window' in done.stdout
    parts = {
        part: embeddings.Embeddings.load(tmp_path / 'e' / f'{part}.npz') for part in ('train', 'val', 'test')
    }
    with root.open() as file:
        rows = {r['filename']: r for r in csv.DictReader(file)}

    def values(part):
        each = parts[part]
        names = [f'{t}.{round(float(s))}.wav' for t, s in zip(each.track, each.start_s, strict=True)]
        return np.array([[float(rows[n][c]) for c in 'uvwxyz'] for n in names])

    x = values('train')
    weights = store.load(tmp_path / 'run' / 'model').variables
    for part, each in parts.items():
        hidden = (values(part) - x.mean(0)) / x.std(0)
        for layer in ('dense_1', 'dense_2'):
            hidden = hidden @ weights[f'params/{layer}/kernel'] + weights[f'params/{layer}/bias']
            hidden = np.maximum(hidden, 0)
        np.testing.assert_allclose(each.embedding, hidden, atol=2e-4)
    with out.open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) == 120
    first = parts['train']
    assert table[0]['song'] == first.track[0] and table[0]['split'] == 'train'
    assert float(table[0]['unit_7']) == pytest.approx(float(first.embedding[0, 7]))


@pytest.mark.slow
def test_classical_models_on_embeddings(trained, tmp_path):
    words = [
        *(sys.executable, '-m', 'genre_jax.classical', f'--config={program.PAGE}'),
        *(f'--config.data.root={trained / "tones"}', '--models=knn,naive_bayes'),
        f'--config.data.prepared_dir={trained / "prepared"}',
        *(f'--workdir={tmp_path / "w"}', f'--embeddings_of={trained / "run"}'),
        '--config.split.folds=4',
    ]
    refused = program.run(words)
    assert refused.returncode == 2
    assert 'was trained on the same recordings' in refused.stderr.strip().splitlines()[-1]
    done = program.run([*words, '--protocols=grouped'])
    assert done.returncode == 0, done.stderr
    assert 'embeddings of ' in done.stdout and 'LEAKY' not in done.stdout
    folder = tmp_path / 'w' / 'grouped' / 'run' / 'knn'
    result = program.result(folder)
    assert result['parts']['test']['segment']['accuracy'] > 0.5
    assert result['n_segments']['train'] == 3 * result['n_songs']['train']
    environment = json.loads((folder / 'environment.json').read_text())
    run = json.loads((trained / 'run' / 'environment.json').read_text())
    assert environment['split_fingerprint'] == run['split_fingerprint']
    assert environment['init']['parameters_sha256']


def test_no_network(tmp_path):
    words = [
        *(sys.executable, '-m', 'genre_jax.embed', f'--config={program.PAGE}'),
        *(f'--config.data.root={tmp_path}', f'--workdir={tmp_path / "w"}'),
    ]
    done = program.run(words)
    assert done.returncode == 2 and 'no network: expected --embeddings_of=RUN' in done.stderr


def test_a_table_that_cannot_be_written_is_told_before_the_work(tmp_path):
    for name, said in ((tmp_path, 'is a folder'), (tmp_path / 'none' / 'x.csv', 'there is no folder')):
        words = [
            *(sys.executable, '-m', 'genre_jax.embeddings', f'--config={program.PAGE}', f'--csv={name}'),
            *('--embeddings_of=nowhere', f'--config.data.root={tmp_path}', f'--workdir={tmp_path / "w"}'),
        ]
        done = program.run(words)
        assert done.returncode == 2 and f'--csv={name}' in done.stderr and said in done.stderr
