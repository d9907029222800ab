"""Classical models against scikit-learn and XGBoost run by hand, and the command as users run it."""

import csv
import importlib.util
import json
import sys

import numpy as np
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from genre_jax.classical import estimators
from genre_jax.classical import fits as classical_fits
from genre_jax.classical import table as classical_report
from genre_jax.config import load_page
from genre_jax.errors import UserError
from genre_jax.evaluation.evaluate import Predictions
from genre_jax.report import page as report
from genre_jax.study import cells
from tests import program
from tests.program import DATA
from tests.report.test_report import Page

SEED = 3


def write_table(path, songs=12, rows=4, artists=True, spread=0.6):
    """Three classes; rows of a song lie close together, its artist's songs near; columns of any scale."""
    rng = np.random.default_rng(0)
    scale = np.array([1e5, 1, 1e-3, 10, 1, 1])
    with path.open('w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['filename', 'label', 'artist', *'uvwxyz'])
        for label, centre in zip('abc', rng.normal(size=(3, 6)), strict=True):
            for song in range(songs):
                if song % 2 == 0:
                    home = centre + spread * rng.normal(size=6)
                place = home + spread * rng.normal(size=6)
                for row in range(rows):
                    values = (place + 0.1 * rng.normal(size=6)) * scale
                    artist = f'{label}{song // 2}' if artists else ''
                    table.writerow([f'{label}.{song:05}.{row}.wav', label, artist, *values])
    return path


def page(tmp_path, root, **split):
    config = load_page('configs/mlp_features.py')
    config.seed = SEED
    config.data.update(root=str(root), prepared_dir=str(tmp_path / 'prepared'))
    config.split.update(folds=4, **split)
    return config


def read_rows(root):
    """Returns {(song, number of the row): (label, features)}, without the package."""
    with root.open(newline='') as file:
        table = list(csv.DictReader(file))
    facts = ('filename', 'label', 'artist', 'length')
    names = [name for name in table[0] if name not in facts]
    rows = {}
    for row in table:
        stem = row['filename'].removesuffix('.wav').split('.')
        song, number = '.'.join(stem[:2]), int(stem[2]) if len(stem) > 2 else 0
        values = np.array([float(row[name]) for name in names], np.float32).astype(np.float64)
        rows[song, number] = row['label'], values
    return rows


def hand_made(name, x, y, songs):
    """Fits a model by hand; returns its probabilities as a function."""
    scaler = StandardScaler().fit(x)
    z = scaler.transform(x)
    if name in ('svm', 'sgd'):
        # Platt's sigmoids, from margins of songs that were left out.
        of_song = dict(zip(songs.tolist(), y.tolist(), strict=True))
        names = sorted(of_song)
        folds = StratifiedKFold(5).split(names, [of_song[song] for song in names])
        out = [np.isin(songs, np.array(names)[left_out]) for _, left_out in folds]
        kind = SVC(random_state=SEED)
        if name == 'sgd':
            kind = SGDClassifier(max_iter=5000, random_state=SEED)
        model = CalibratedClassifierCV(
            make_pipeline(StandardScaler(), kind),
            cv=[(np.flatnonzero(~each), np.flatnonzero(each)) for each in out],
            ensemble=False,
        )
        return model.fit(x, y).predict_proba
    if name in ('knn', 'logistic', 'naive_bayes'):
        model = {
            'knn': KNeighborsClassifier(n_neighbors=5),
            'logistic': LogisticRegression(max_iter=2000),
            'naive_bayes': GaussianNB(),
        }[name].fit(z, y)
        return lambda new: model.predict_proba(scaler.transform(new))
    model = {
        'tree': DecisionTreeClassifier(random_state=SEED),
        'forest': RandomForestClassifier(30, random_state=SEED),
        'xgboost': xgboost.XGBClassifier(n_estimators=20, learning_rate=0.1, random_state=SEED),
    }[name].fit(x, y)
    return model.predict_proba


@pytest.mark.parametrize('protocol', ['segment_leaky', 'artist'])
def test_probabilities_are_those_by_hand(tmp_path, protocol):
    root = write_table(tmp_path / 't.csv')
    config = page(tmp_path, root)
    models = estimators.choose('all', ['forest.n_estimators=30', 'xgboost.n_estimators=20'])
    classical_fits.measure(config, tmp_path / 'w', models, [protocol], 0)
    rows = read_rows(root)
    parts = {}
    for name in models:
        folder = tmp_path / 'w' / protocol / 'features' / name / 'predictions'
        parts[name] = {part: Predictions.load(folder / f'{part}.npz') for part in ('val', 'test')}
    # start_s is the number of the row: a table has one row a "second".
    keys = {
        part: [(str(t), round(float(s))) for t, s in zip(p.track, p.start_s, strict=True)]
        for part, p in parts['tree'].items()
    }
    train = [key for key in rows if key not in {*keys['val'], *keys['test']}]
    assert len(train) + sum(map(len, keys.values())) == len(rows) == 144
    if protocol == 'artist':
        songs = {part: {key[0] for key in each} for part, each in keys.items()}
        assert not {key[0] for key in train} & (songs['val'] | songs['test'])
    x = np.stack([rows[key][1] for key in train])
    y = np.array(['abc'.index(rows[key][0]) for key in train])
    for name in models:
        by_hand = hand_made(name, x, y, np.array([key[0] for key in train]))
        for part, each in parts[name].items():
            expected = by_hand(np.stack([rows[key][1] for key in keys[part]]))
            np.testing.assert_allclose(each.probabilities, expected, atol=1e-6, err_msg=f'{name} {part}')
            assert [rows[key][0] for key in keys[part]] == each.classes[each.label].tolist()


def test_the_seed_and_settings_arrive():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    settings = estimators.choose('tree,knn', ['tree.max_depth=2', 'knn.weights=distance'])
    assert settings == {
        'knn': {'n_neighbors': 5, 'weights': 'distance'},
        'tree': {'max_depth': 2},
    }
    examples = estimators.Examples(x, y, np.arange(60), 'abc')
    model, notes = estimators.fit('tree', settings['tree'], examples, 7)
    assert (model.max_depth, model.random_state, model.get_depth(), notes) == (2, 7, 2, [])
    knn, _ = estimators.fit('knn', settings['knn'], examples, 7)
    assert knn[-1].weights == 'distance'
    np.testing.assert_array_equal(estimators.probabilities(knn, x).argmax(1), y)


def test_what_does_not_converge_is_noted():
    rng = np.random.default_rng(0)
    label = np.arange(90) % 3
    examples = estimators.Examples(rng.normal(size=(90, 8)), label, np.arange(90), 'abc')
    _, notes = estimators.fit('logistic', {'max_iter': 2}, examples, 0)
    assert len(notes) == 1 and notes[0].startswith('logistic: lbfgs failed to converge')


# --- the command ---------------------------------------------------------------------------------


def run(tmp_path, root, *flags, page='configs/mlp_features.py'):
    return program.run(
        [
            *(sys.executable, '-m', 'genre_jax.classical', f'--config={page}'),
            *(f'--workdir={tmp_path / "w"}', f'--config.data.root={root}', *flags),
            f'--config.data.prepared_dir={tmp_path / "prepared"}',
        ]
    )


def one_line(done):
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith('error: ')
    return line


@pytest.mark.slow
def test_the_whole_comparison(tmp_path):
    root = write_table(tmp_path / 't.csv', spread=2.0)
    flags = ('--models=tree,naive_bayes', '--folds=3')
    done = run(tmp_path, root, *flags)
    assert done.returncode == 0, done.stderr
    with (tmp_path / 'w' / 'classical.csv').open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 3 * 2
    figures = {(r['model'], r['protocol'], r['level']): r for r in lines}
    assert {(r['protocol'], r['leaky']) for r in lines} == {
        ('segment_leaky', 'True'), ('kfold', 'True'), ('artist', 'False'),
    }  # fmt: skip
    # Counted by hand from the predictions of all folds: every row is tested once.
    home = tmp_path / 'w'
    for protocol in ('segment_leaky', 'kfold', 'artist'):
        parts = [
            Predictions.load(home / protocol / f'features/tree/fold_{i}/predictions/test.npz')
            for i in range(3)
        ]
        hits = np.concatenate([p.probabilities.argmax(-1) == p.label for p in parts])
        tested = {(t, s) for p in parts for t, s in zip(p.track, p.start_s, strict=True)}
        assert len(hits) == len(tested) == 144
        row = figures['tree', protocol, 'segment']
        assert float(row['accuracy']) == pytest.approx(hits.mean())
        assert float(row['accuracy_low']) <= hits.mean() <= float(row['accuracy_high'])
        assert f'{100 * hits.mean():.1f} [' in done.stdout
    leak, strict = (figures['tree', p, 'segment'] for p in ('segment_leaky', 'artist'))
    assert float(leak['above_strictest']) == pytest.approx(
        float(leak['accuracy']) - float(strict['accuracy'])
    )
    assert float(strict['above_strictest']) == 0 and float(leak['above_low']) > 0
    headings = [line for line in done.stdout.splitlines() if line.startswith('by row or segment')]
    assert '(segment_leaky) LEAKY' in headings[0] and '(artist) LEAKY' not in headings[0]
    written = Page((home / 'index.html').read_text())
    charts = written.drawn()['charts']
    assert list(charts) == written.places() == [
        'accuracy-segment', 'above-segment', 'accuracy-song', 'above-song',
    ]  # fmt: skip
    for level in ('segment', 'song'):
        rows = {row['name']: row['figures'] for row in charts[f'accuracy-{level}']['rows']}
        above = {row['name']: row['figures'] for row in charts[f'above-{level}']['rows']}
        assert list(rows) == list(above) == ['decision tree', 'Gaussian naive Bayes']
        for model, title in zip(('tree', 'naive_bayes'), rows, strict=True):
            own = [figures[model, name, level] for name in ('segment_leaky', 'kfold', 'artist')]
            for shown, line in zip(rows[title], own, strict=True):
                assert shown['value'] == float(line['accuracy'])
                assert shown['ci95'] == [float(line[f'accuracy_{end}']) for end in ('low', 'high')]
                assert shown['mark'] == ('LEAKY' if line['leaky'] == 'True' else '')
            assert [each['value'] for each in above[title]] == [
                float(line['above_strictest']) for line in own[:-1]
            ]
    assert all((home / link).exists() for link in written.links() if not link.startswith('#'))

    # A folder like that of a run.
    folder = home / 'artist' / 'features' / 'tree' / 'fold_1'
    config = json.loads((folder / 'config.json').read_text())
    assert config['model'] == {'name': 'tree'}
    assert (config['split']['protocol'], config['split']['fold']) == ('artist', 1)
    assert len(json.loads((folder / 'environment.json').read_text())['split_fingerprint']) == 64
    result = program.result(folder)
    assert result['protocol'] == 'artist' and not result['leaky']
    assert program.result(home / 'kfold' / 'features' / 'tree' / 'fold_0')['leaky']
    page = program.run([sys.executable, '-m', 'genre_jax.report', str(folder)])
    assert page.returncode == 0, page.stderr
    assert 'fitted to the training part' in (folder / 'report.html').read_text()

    # Again: only what is missing is fitted.
    files = sorted((tmp_path / 'w').rglob('test.npz'))
    before = {file: file.stat().st_mtime_ns for file in files}
    content = (folder / 'result.json').read_bytes()
    (folder / 'result.json').unlink()
    again = run(tmp_path, root, *flags)
    assert again.returncode == 0 and again.stdout == done.stdout
    assert (folder / 'result.json').read_bytes() == content
    changed = [file for file in files if file.stat().st_mtime_ns != before[file]]
    assert changed == [folder / 'predictions' / 'test.npz']

    damaged = folder / 'predictions' / 'test.npz'
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-30])
    with pytest.raises(UserError, match=r'test.npz is damaged: delete that folder'):
        cells.read([folder])
    damaged.write_bytes(whole)

    other = one_line(run(tmp_path, root, *flags, '--set=tree.max_depth=3'))
    assert 'another config (model.max_depth: None -> 3)' in other


def test_protocols_that_do_not_differ_are_left_out(tmp_path):
    root = write_table(tmp_path / 't.csv', songs=20, rows=1, artists=False)
    models = estimators.choose('naive_bayes', [])
    result = classical_fits.measure(page(tmp_path, root), tmp_path / 'w', models, [], 0)
    assert list(result['protocols']) == ['kfold'] and not result['protocols']['kfold']['leaky']
    text = classical_report.table(result)
    assert 'LEAKY' not in text and 'above' not in text and 'one split' in text
    # The page: one protocol, no differences; it leads to the one run, whose page is not written yet.
    classical_report.write_page(result, tmp_path / 'w')
    page_file = tmp_path / 'w' / 'index.html'
    written = Page(page_file.read_text())
    assert written.places() == ['accuracy-segment', 'accuracy-song'] and 'LEAKY' not in page_file.read_text()
    tested = Predictions.load(tmp_path / 'w/kfold/features/naive_bayes/predictions/test.npz')
    (row,) = written.drawn()['charts']['accuracy-segment']['rows']
    hits = (tested.probabilities.argmax(1) == tested.label).mean()
    assert row['figures'][0]['value'] == pytest.approx(hits)
    assert [link for link in written.links() if not link.startswith('#')] == [
        'kfold/features/naive_bayes/result.json'
    ]
    report.write_report(tmp_path / 'w/kfold/features/naive_bayes')
    classical_report.write_page(result, tmp_path / 'w')
    assert 'kfold/features/naive_bayes/report.html' in Page(page_file.read_text()).links()


def test_a_list_that_comes_with_the_data_keeps_its_rules(tmp_path):
    """A protocol that is not there for the comparison is refused where it leaks, as everywhere."""
    root = write_table(tmp_path / 't.csv')
    lines = root.read_text().splitlines()
    parts = {str(song): ('train', 'val', 'test')[song % 3] for song in range(12)}
    lines = [lines[0] + ',split'] + [f'{line},{parts[str(int(line.split(".")[1]))]}' for line in lines[1:]]
    root.write_text('\n'.join(lines))
    models = estimators.choose('naive_bayes', [])
    with pytest.raises(UserError, match='the official split leaks'):
        classical_fits.measure(page(tmp_path, root), tmp_path / 'w', models, ['official'], 0)
    config = page(tmp_path, root, allow_leak=True)
    result = classical_fits.measure(config, tmp_path / 'w', models, ['official'], 0)
    assert 'official LEAKY' in classical_report.table(result)


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('models', 'overrides', 'said'),
    [
        ('forrest', [], "unknown model 'forrest'; did you mean 'forest'?"),
        ('knn', ['n_neighbors=3'], 'expected MODEL.SETTING=VALUE'),
        ('knn', ['knn.n_neighbors'], 'expected MODEL.SETTING=VALUE'),
        ('knn', ['kn.p=3'], "unknown model 'kn'"),
        ('knn', ['tree.max_depth=3'], 'tree is not among --models=knn'),
        ('knn', ['knn.n_neighbour=3'], "did you mean 'n_neighbors'?"),
        ('svm', ['svm.random_state=3'], "no setting 'random_state'"),
    ],
)
def test_mistakes_in_flags(models, overrides, said):
    with pytest.raises(UserError) as caught:
        estimators.choose(models, overrides)
    assert said in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize(('platform', 'package'), [('linux', 'xgboost-cpu'), ('darwin', 'xgboost')])
def test_xgboost_that_is_not_installed(platform, package, monkeypatch):
    """The package without its libraries for GPUs has no wheel for macOS."""
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(estimators.sys, 'platform', platform)
    with pytest.raises(UserError, match=rf'pip install {package}, or --models=forest,knn,'):
        estimators.choose('all', [])
    assert list(estimators.choose('tree', [])) == ['tree']


@pytest.mark.parametrize(
    ('name', 'settings', 'change', 'said'),
    [
        ('knn', {'n_neighbors': 31}, {}, '--set=knn.n_neighbors=30 or fewer'),
        ('knn', {'n_neighbors': 0}, {}, 'knn with n_neighbors=0 cannot be fitted: '),
        ('tree', {'max_depth': 'deep'}, {}, "tree with max_depth='deep' cannot be fitted"),
        ('xgboost', {'booster': 'rocket'}, {}, "xgboost with booster='rocket' cannot be fitted"),
        ('svm', {}, {'songs': np.repeat([0, 1, 2], 10)}, "class 'a' has one song in the training"),
        ('tree', {}, {'labels': np.repeat([0, 2], 15)}, "class 'b' has no row in the training part"),
        ('tree', {}, {'rows': np.full((30, 2), np.nan)}, '30 of 30 training rows hold numbers'),
    ],
)  # fmt: skip
def test_mistakes_in_settings_and_data(name, settings, change, said):
    fine = {'rows': np.zeros((30, 2)), 'labels': np.repeat([0, 1, 2], 10), 'songs': np.arange(30)}
    with pytest.raises(UserError) as caught:
        estimators.fit(name, settings, estimators.Examples(**fine | change, classes='abc'), 0)
    assert said in str(caught.value) and '\n' not in str(caught.value)


def test_mistakes_in_the_command(tmp_path):
    root = write_table(tmp_path / 't.csv', songs=3)
    few = ('--models=naive_bayes',)
    line = one_line(run(tmp_path, root, '--folds=3', '--protocols=official', *few))
    assert '--protocols=official has no folds' in line
    text = root.read_text()
    root.write_text(text.replace(text.splitlines()[5].split(',')[4], 'nan'))
    line = one_line(run(tmp_path, root, *few))
    assert "line 6: v is 'nan'; expected a number" in line
    root.write_text(text.replace('c.00000', 'b.10000').replace(',c,', ',b,', 4))
    line = one_line(run(tmp_path, root, *few, '--folds=3'))
    assert "class 'c' has 2 songs in 2 groups, too few" in line
    assert not (tmp_path / 'w' / 'classical.csv').exists()


def test_audio_needs_a_network(tmp_path):
    tones = program.write_tones(tmp_path / 'tones', songs=2)
    line = one_line(run(tmp_path, tones, page=program.PAGE))
    assert "holds data of kind 'audio'" in line and '--embeddings_of=NETWORK' in line


# --- real tables ---------------------------------------------------------------------------------


def real(name):
    file = DATA / 'gtzan' / name
    if not file.exists():
        pytest.skip(f'no {file}: set GENRE_JAX_DATA')
    return file


def test_a_forest_on_gtzan_leaks_as_by_hand(tmp_path):
    """Rows of 10 s: scikit-learn by hand, on rows at random and on songs at random."""
    root = real('features_10_sec.csv')
    config = page(tmp_path, root, fractions=(0.78, 0.02, 0.2))
    config.split.folds = 5
    models = estimators.choose('forest', ['forest.n_estimators=100'])
    result = classical_fits.measure(config, tmp_path / 'w', models, ['segment_leaky', 'kfold'], 0)
    found = {f['protocol']: f['accuracy'] for f in result['figures'] if f['level'] == 'segment'}
    rows = read_rows(root)
    songs = sorted({song for song, _ in rows})
    for protocol, units in (('segment_leaky', list(rows)), ('kfold', songs)):
        train, _ = train_test_split(
            units, test_size=0.2, random_state=0, stratify=[str(u).split('.')[0] for u in units]
        )
        inside = set(train)
        chosen = np.array([(k if protocol == 'segment_leaky' else k[0]) in inside for k in rows])
        y, x = (np.array(each) for each in zip(*rows.values(), strict=True))
        forest = RandomForestClassifier(100, random_state=0, n_jobs=-1).fit(x[chosen], y[chosen])
        by_hand = forest.score(x[~chosen], y[~chosen])
        assert found[protocol] == pytest.approx(by_hand, abs=0.05)
    assert found['segment_leaky'] > found['kfold'] + 0.05


def test_whole_songs_of_gtzan(tmp_path):
    root = real('features_30_sec.csv')
    config = page(tmp_path, root)
    models = estimators.choose('logistic,knn', [])
    result = classical_fits.measure(config, tmp_path / 'w', models, ['kfold'], 0)
    rows = read_rows(root)
    folder = tmp_path / 'w' / 'kfold' / 'features' / 'logistic' / 'predictions'
    parts = {part: Predictions.load(folder / f'{part}.npz') for part in ('val', 'test')}
    out = {str(track) for part in parts.values() for track in part.track}
    train = [key for key in rows if key[0] not in out]
    classes = parts['test'].classes.tolist()
    x = np.stack([rows[key][1] for key in train])
    y = np.array([classes.index(rows[key][0]) for key in train])
    new = np.stack([rows[str(track), 0][1] for track in parts['test'].track])
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(max_iter=2000).fit(scaler.transform(x), y)
    np.testing.assert_allclose(
        parts['test'].probabilities, model.predict_proba(scaler.transform(new)), atol=1e-5
    )
    assert all(figure['accuracy'] > 0.5 for figure in result['figures'])
