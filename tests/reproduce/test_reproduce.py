"""The papers run again: their figures, the plan, the page, and every mistake on the command line."""

import csv
import json
import re
import shlex
import sys

import numpy as np
import pytest

from genre_jax.classical import estimators
from genre_jax.config import overrides
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate
from genre_jax.reproduce import collect, paper, plan, present
from genre_jax.reproduce.present import Given
from genre_jax.sweep import space as search_space
from tests import program
from tests.report.test_report import Page

GENRES = ('blues', 'classical', 'country', 'disco')

# Typed from the papers, apart from the files that declare them.
MA_TABLE_1 = {
    '[58,258,258,10] ReLU': ('87.75', '0.4682'),
    '[58,128,128,10] ReLU': ('87.17', '0.4991'),
    '[58,128,256,10] ReLU': ('86.20', '0.5055'),
    '[58,128,10] ReLU': ('85.71', '0.5249'),
    '[58,128,128,10] Sigmoid': ('79.19', '0.6174'),
    '[58,128,10] Sigmoid': ('78.95', '0.6327'),
    '[58,128,128,10] tanh': ('82.56', '0.6307'),
    '[58,128,10] tanh': ('83.32', '0.5379'),
}
MA_FIGURE_9 = {
    'Our': '95.85', 'NN': '92.84', 'XGB': '89.72', 'Random Forest': '82.22', 'KNN': '81.45',
    'LSTM': '80.60', 'Support Vector Machine': '75.41', 'ResNet': '70.00',
    'Logistic Regression': '67.43', 'Stochastic Gradient Descent': '65.37',
    'Decision trees': '64.97', 'Inceptionv3': '54.55', 'Naive Bayes': '53.79',
}  # fmt: skip
BU_TABLE_9_F1 = (0.68, 0.44, 0.64, 0.67, 0.68, 0.78, 0.56, 0.63)


def write_table(path, songs=12, genres=GENRES):
    """Writes a table of features that tell the genres apart, three rows of 10 s a song."""
    rng = np.random.default_rng(0)
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['filename', 'length', 'loud', 'bright', 'label'])
        for number, genre in enumerate(genres):
            for song in range(songs):
                centre = 2 * number + rng.normal(0, 0.8, 2)
                for piece in range(3):
                    values = np.round(centre + rng.normal(0, 0.3, 2), 4)
                    writer.writerow([f'{genre}.{song:05}.{piece}.wav', 220500, *values, genre])
    return path


# --- what the papers print -----------------------------------------------------------------------


def printed(table):
    return {row.name: [figure.shown for figure in row.figures] for row in table.rows}


def test_tables_of_ma_are_the_papers():
    table_1, _, figure_9 = paper.load('ma').tables
    assert {name: tuple(texts[:2]) for name, texts in printed(table_1).items()} == MA_TABLE_1
    assert {name: texts[0] for name, texts in printed(figure_9).items()} == MA_FIGURE_9


def test_tables_of_the_others_are_the_papers():
    (wu,) = paper.load('wu').tables
    assert [texts[0] for texts in printed(wu).values()] == ['88.9', '65.5', '84.9', '77.3', '84.2']
    (herbert,) = paper.load('herbert').tables
    assert list(printed(herbert).values()) == [
        ['62.96', '75.80', '73.53'], ['64.01', '77.60', '76.60'],
        ['66.30', '77.30', '77.56'], ['66.55', '78.68', '77.64'],
    ]  # fmt: skip
    tables = {table.title: table for table in paper.load('bu').tables}
    by_genre = tables['Table IX: by genre']
    assert [row.figures[2].value for row in by_genre.rows] == list(BU_TABLE_9_F1)
    whole, *_ = paper.load('makam').tables
    best, *_, perceptron = printed(whole).values()
    assert best == ['71.4', '', '94.9', '63.2'] and perceptron[0] == '79.0'
    losses = paper.load('kirby_bhateja').tables[0]
    assert [row.figures[0].value for row in losses.rows] == [
        0.5285, 0.6019, 0.6092, 0.4207, 0.4151, 0.4555, 0.4757, 0.4458, 0.4957,
    ]  # fmt: skip


# --- the plan ------------------------------------------------------------------------------------


def everything(one, tmp_path):
    """Returns a paper's data as if all of them were there."""
    return {need.key: Given(need, str(tmp_path / need.key), need.dataset, False) for need in one.needs}


def check_command(words):
    """A program, a page that loads, keys that it has, and a model or a trial that there is."""
    given = dict(word.removeprefix('--').partition('=')[::2] for word in words[3:])
    kind = words[2].removeprefix('genre_jax.')
    assert words[:2] == ('python', '-m') and given.pop('workdir')
    if kind == 'blend':
        members = given.pop('members').split(',')
        if given.pop('method', 'integer') == 'mean':
            assert len(members) == 2 and given == {'level': 'song'}
        else:
            assert len(members) == 6 and set(given) <= {'leaky_fit_on_test'}
        return None
    page = given['config']
    _, assignments, _ = overrides.split(words)
    config, _ = overrides.load(page, assignments)
    if kind == 'classical':
        assert given['models'] in estimators.MODELS
        assert given['protocols'] == config.split.protocol
    else:
        assert kind in ('main', 'sweep')
    return page if kind == 'sweep' else None


@pytest.mark.parametrize('name', paper.PAPERS)
def test_commands_of_a_plan_can_be_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(program.ROOT)
    one = paper.load(name)
    wishes = plan.Wishes(tmp_path, everything(one, tmp_path), paper.PROTOCOLS)
    entries = plan.make_plan(one, wishes)
    assert {entry.protocol for entry in entries} == set(paper.PROTOCOLS)
    assert all(entry.jobs for entry in entries if not entry.why_not)
    pages = set()
    for job in plan.jobs(entries):
        page = check_command(job.command)
        if page:
            pages.add((page, job.way.point))
    for page, point in pages:
        sweep = search_space.load(page)
        points = search_space.make_points(sweep)
        assert any(all(each[key] == value for key, value in point) for each in points)
    text = plan.in_full(one, wishes, entries)
    assert all(shlex.join(job.command) in text for job in plan.jobs(entries))


def test_number_of_runs_is_the_papers_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(program.ROOT)
    herbert = paper.load('herbert')
    data = everything(herbert, tmp_path)
    entries = plan.make_plan(herbert, plan.Wishes(tmp_path, data, ['paper']))
    assert [len(entry.jobs) for entry in entries] == [5] * 4
    seeds = [job.config.seed for job in entries[0].jobs]
    assert seeds == [0, 1, 2, 3, 4]
    entries = plan.make_plan(herbert, plan.Wishes(tmp_path, data, ['paper'], seeds=2))
    assert [len(entry.jobs) for entry in entries] == [2] * 4


def test_one_split_for_all_members_of_a_blend(tmp_path, monkeypatch):
    """Members of different splits cannot be blended: seeds may not change the split."""
    monkeypatch.chdir(program.ROOT)
    ma = paper.load('ma')
    entries = plan.make_plan(ma, plan.Wishes(tmp_path, everything(ma, tmp_path), ['grouped'], only='^Our$'))
    (entry,) = [entry for entry in entries if entry.wanted]
    members = entry.jobs[0].members
    splits = {json.dumps(job.config.split.to_dict(), sort_keys=True) for job in members}
    data = {json.dumps(job.config.data.to_dict(), sort_keys=True) for job in members}
    assert len(members) == 6 and len(splits) == len(data) == 1


def test_other_data_take_the_place_of_the_papers(tmp_path, monkeypatch):
    monkeypatch.chdir(program.ROOT)
    folder = program.write_tones(tmp_path / 'tones', songs=2)
    herbert = paper.load('herbert')
    data = present.parse(herbert, [f'audio=folder:{folder}'])
    assert data['audio'].other
    entries = plan.make_plan(herbert, plan.Wishes(tmp_path, data, paper.PROTOCOLS, seeds=1))
    protocols = {entry.protocol: entry.jobs[0].config for entry in entries}
    for config in protocols.values():
        assert config.data.name == 'folder' and config.data.root == str(folder)
        assert 'index' not in config.data
    assert protocols['paper'].split.protocol == 'stratified'
    assert protocols['grouped'].split.protocol == 'grouped'
    assert all(entry.other == str(folder) for entry in entries)
    assert entries[0].jobs[0].command[2] == 'genre_jax.reproduce'


def test_sweeps_are_not_run_on_other_data(tmp_path, monkeypatch):
    monkeypatch.chdir(program.ROOT)
    folder = program.write_tones(tmp_path / 'tones', songs=2)
    bu = paper.load('bu')
    data = present.parse(bu, [f'fma=folder:{folder}'])
    entries = plan.make_plan(bu, plan.Wishes(tmp_path, data, paper.PROTOCOLS))
    for entry in entries:
        assert bool(entry.jobs) != isinstance(entry.row.way, paper.Trial)
        assert bool(entry.jobs) != ('not run: a sweep' in entry.why_not)


def test_folds_are_tested_once_each_and_taken_together(tmp_path, monkeypatch):
    monkeypatch.chdir(program.ROOT)
    makam = paper.load('makam')
    wishes = plan.Wishes(
        tmp_path, everything(makam, tmp_path), ['paper'], only='^orbit', settings={'split.folds': 3}
    )
    entries = plan.make_plan(makam, wishes)
    jobs = plan.jobs(entries)
    assert [job.config.split.fold for job in jobs] == [0, 1, 2]
    assert {job.config.seed for job in jobs} == {0}
    # Of unequal size: 2 of 4, 3 of 3 and 0 of 1 right; tonics at 0, 20, 30 cents and so on.
    rng, right, cents = np.random.default_rng(0), [1, 1, 0, 0, 1, 1, 1, 0], [0, 20, 30, 0, 590, 0, -24, -26]
    for job, rows in zip(jobs, (range(4), range(4, 7), range(7, 8)), strict=True):
        label = rng.integers(0, 2, len(rows))
        named = np.where([right[i] for i in rows], label, 1 - label)
        probabilities = np.eye(2, dtype=np.float32)[named] * 0.8 + 0.1
        # 1200 candidates, a cent apart: the estimate is the likeliest itself.
        tonic = np.eye(1200, dtype=np.float32)[np.array([cents[i] for i in rows]) % 1200]
        names = np.array([f'song {i}' for i in rows])
        tested = evaluate.Predictions(
            names, np.zeros(len(rows)), label, probabilities, np.array(['a', 'b']), names,
            np.full(len(rows), 110.0), tonic, probabilities[:, ::-1],
        )  # fmt: skip
        tested.save(job.folder / 'predictions' / 'test.npz')
        sizes = {key: {'test': len(rows)} for key in ('n_songs', 'n_groups', 'n_segments')}
        result = sizes | {'protocol': 'kfold', 'protocol_detail': 'folds', 'leaky': False}
        files = {
            'result.json': result | {'parts': {'test': {}}},
            'timing.json': {'train_s': 1, 'evaluate_s': 2},
            'environment.json': {'dataset': {'fingerprint': '0'}},
        }
        for name, content in files.items():
            (job.folder / name).write_text(json.dumps(content))
    side = collect.collect(makam, wishes, entries, {})['tables'][0]['rows'][0]['ours']['paper']
    figures = {path.split('/')[2]: found['mean'] for path, found in side['figures'].items()}
    assert figures == {
        'class_tonic_unknown': 5 / 8, 'class_tonic_known': 3 / 8, 'tonic': 5 / 8, 'tonic_and_class': 4 / 8,
    }  # fmt: skip
    assert (side['n_songs'], side['n_groups'], side['runs'], side['trainings']) == (8, 8, 1, 3)
    low, high = side['figures']['tonic/test/tonic/accuracy']['ci95']
    assert low < 5 / 8 < high and high - low > 0.4  # of eight songs, not of four


def test_a_mean_comes_after_all_folds_of_its_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(program.ROOT)
    makam = paper.load('makam')
    wishes = plan.Wishes(
        tmp_path, everything(makam, tmp_path), ['paper'], only='^both', settings={'split.folds': 2}
    )
    *members, mean = plan.jobs(plan.make_plan(makam, wishes))
    assert [job.config.model.name for job in members] == ['orbit'] * 2 + ['sequence'] * 2
    folders = dict.fromkeys(str(job.folder.parent) for job in members)
    assert f'--members={",".join(folders)}' in mean.command and len(folders) == 2
    assert all((job.folder.name, job.config.split.fold) in (('fold_0', 0), ('fold_1', 1)) for job in members)


# --- the whole program ---------------------------------------------------------------------------


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp('table') / 'features.csv')


def run(table, workdir, *flags):
    words = [
        *(sys.executable, '-m', 'genre_jax.reproduce', 'ma', f'--data=features={table}'),
        *(f'--workdir={workdir}', f'--set=data.prepared_dir={table.parent / "prepared"}'),
        *('--set=tracking.wandb=off', '--set=report.look=False', *flags),
    ]
    return program.run(words)


SHRUNK = (
    '--set=train.length=2 epochs', '--set=model.hidden_units=(8,)', '--set=optim.l2=0.0', '--seeds=1',
    '--set=train.batch_size=16', '--only=^Our$|Keras',
)  # fmt: skip


@pytest.fixture(scope='module')
def whole(table, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('ma')
    done = run(table, workdir, *SHRUNK)
    assert done.returncode == 0, done.stderr
    return workdir, done.stdout, (workdir / 'index.html').read_text()


def rows_of(page):
    """Returns what stands in the rows of the page's tables, by their names."""
    found = {}
    for body in re.findall(r'<tr[^>]*>\s*<th scope="row".*?</tr>', page, re.DOTALL):
        name, rest = body.split('</th>', 1)
        text = ' '.join(re.sub(r'<[^>]+>', ' ', name).split())
        found[text] = ' '.join(re.sub(r'<[^>]+>', ' ', rest).split())
    return found


@pytest.mark.slow
def test_page_holds_every_row_of_the_paper(whole):
    rows = rows_of(whole[2])
    for name, (accuracy, loss) in MA_TABLE_1.items():
        assert accuracy in rows[name] and loss in whole[2]
    for name, accuracy in MA_FIGURE_9.items():
        assert accuracy in rows[name]
    assert 'not run' in rows['NN'] and 'left out by --only' in rows['Decision trees']


@pytest.mark.slow
def test_what_leaks_is_marked(whole):
    workdir, text, page = whole
    rows = rows_of(page)
    assert rows['KNN'].count('LEAKY') == 1  # by row, not by song
    assert rows['Our'].count('LEAKY') == 2  # searched on the test part, whatever the split
    result = json.loads((workdir / 'result.json').read_text())
    of = {row['name']: row['ours'] for table in result['tables'] for row in table['rows']}
    assert [of['KNN'][side]['leaky'] for side in paper.PROTOCOLS] == [True, False]
    assert re.search(r'KNN .*paper LEAKY \d.* grouped \d', text)


@pytest.mark.slow
def test_figures_are_those_of_the_runs(whole):
    workdir = whole[0]
    result = json.loads((workdir / 'result.json').read_text())
    row = next(r for t in result['tables'] for r in t['rows'] if r['name'].startswith('Keras'))
    for side in paper.PROTOCOLS:
        content = row['ours'][side]
        test = program.result(workdir / content['folders'][0])['parts']['test']
        figure = content['figures']['test/segment/accuracy']
        assert figure['mean'] == test['segment']['accuracy']
        assert figure['ci95'] == test['segment']['accuracy_ci95']
        assert content['runs'] == 1 and figure['std'] is None
    # The same in figures.csv, which the docs are written from.
    with (workdir / 'figures.csv').open(newline='') as stream:
        lines = [line for line in csv.DictReader(stream) if line['row'] == row['name']]
    assert len(lines) == 2 * len(row['figures'])
    of = {(line['protocol'], line['figure']): line for line in lines}
    for side in paper.PROTOCOLS:
        figure = row['ours'][side]['figures']['test/segment/accuracy']
        line = of[side, 'test/segment/accuracy']
        assert [float(line[f'value{end}']) for end in ('', '_low', '_high')] == [
            figure['mean'], *figure['ci95'],
        ]  # fmt: skip
        assert (line['leaky'], line['runs']) == (str(side == 'paper'), '1')


@pytest.mark.slow
def test_gap_of_the_blend(whole):
    gaps = json.loads((whole[0] / 'result.json').read_text())['gaps']
    assert [gap['protocol'] for gap in gaps] == list(paper.PROTOCOLS)
    for gap in gaps:
        assert gap['accuracy']['accuracy'] >= gap['honest']['accuracy']
        assert gap['difference']['difference'] == pytest.approx(
            gap['accuracy']['accuracy'] - gap['honest']['accuracy']
        )


@pytest.mark.slow
def test_page_says_what_is_missing_and_what_was_changed(whole):
    page = whole[2]
    assert 'data=index=PATH' in page and 'GTZANindex.txt' in page
    assert 'train.length=2 epochs' in page and 'not comparable' in page
    assert 'tracking' not in page.split('<main>')[0]
    assert '144 rows of 48 songs, of 10 s each' in page
    assert 'python -m genre_jax.blend' in page and 'jaxlib' in page


@pytest.mark.slow
def test_page_is_self_contained(whole):
    links = Page(whole[2]).links()
    assert links and all(link.startswith('#') for link in links)


@pytest.mark.slow
def test_charts_show_the_first_share_of_each_row_that_was_run(whole):
    """Beside what the paper prints, which other settings make not comparable."""
    workdir, _, text = whole
    page = Page(text)
    charts = page.drawn()['charts']
    assert list(charts) == page.places() == ['table-1', 'table-2']  # of the first table no row was run
    first, figure_9 = charts.values()
    assert first['label'].startswith(first['caption'].split(' in %')[0])
    rows = {row['name']: row['figures'] for row in figure_9['rows']}
    assert list(rows) == [name for name in MA_FIGURE_9 if name in ('Our', 'XGB', 'Random Forest', 'KNN')]
    result = json.loads((workdir / 'result.json').read_text())
    of = {row['name']: row['ours'] for row in result['tables'][2]['rows']}
    for name, (comparable, printed, *sides) in rows.items():
        assert comparable is None
        assert printed['value'] == pytest.approx(float(MA_FIGURE_9[name]) / 100) and not printed['ci95']
        for side, figure in zip(paper.PROTOCOLS, sides, strict=True):
            ours = program.result(workdir / of[name][side]['folders'][0])
            test = ours['parts']['test']['segment']
            assert figure['value'] == test['accuracy'] and figure['ci95'] == test['accuracy_ci95']
            assert figure['mark'] == ('LEAKY' if ours['leaky'] else '')


@pytest.mark.slow
def test_second_call_trains_nothing(whole, table):
    workdir = whole[0]
    files = [*workdir.glob('*/**/result.json'), *workdir.glob('*/**/metrics.jsonl')]
    before = {file: file.stat().st_mtime_ns for file in files}
    done = run(table, workdir, *SHRUNK)
    assert done.returncode == 0 and len(before) > 10
    assert {file: file.stat().st_mtime_ns for file in files} == before
    assert done.stdout.count('(kept)') == len(list(workdir.glob('*/**/result.json')))
    # Data that were named once need not be named again.
    words = [sys.executable, '-m', 'genre_jax.reproduce', f'--workdir={workdir}', '--dry_run']
    assert f'--config.data.root={table}' in program.run([*words, 'ma']).stdout
    assert 'no data are given, and wu needs' in program.run([*words, 'wu']).stderr
    again = run(table, workdir, '--set=train.length=3 epochs')
    assert again.returncode == 2 and again.stderr.count('\n') == 1
    assert 'holds a reproduction with other settings' in again.stderr


@pytest.mark.slow
def test_changed_data_are_refused(tmp_path):
    table = write_table(tmp_path / 'features.csv')
    flags = ('--only=Decision', '--protocols=grouped')
    assert run(table, tmp_path / 'ma', *flags).returncode == 0
    write_table(table, songs=11)
    done = run(table, tmp_path / 'ma', *flags)
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert 'holds a reproduction with other data for features' in done.stderr


@pytest.mark.slow
def test_failing_row_does_not_stop_the_others(table, tmp_path):
    done = run(
        table, tmp_path, '--set=train.batch_size=1000', '--protocols=grouped', '--seeds=1',
        '--only=258|KNN|Our',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of((tmp_path / 'index.html').read_text())
    assert 'fewer than config.train.batch_size=1000' in rows['[58,258,258,10] ReLU']
    assert 'seed_0 of ma_keras failed' in rows['Our']
    assert re.search(r'81\.45 \d', rows['KNN'])
    assert '5 of 8 runs failed' in done.stdout


# --- mistakes ------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def odd(tmp_path_factory):
    """Returns files that are something else."""
    folder = tmp_path_factory.mktemp('odd')
    (folder / 'text.csv').write_text('a,b\n1,2\n')
    write_table(folder / 'other.csv', genres=('soul', 'rock'))
    (folder / 'index.txt').write_text('nothing\n')
    return folder


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (['mah'], "unknown paper 'mah'; did you mean 'ma'?"),
        (['ma'], 'no data are given, and ma needs some of: --data=features=PATH'),
        (['ma', '--data=index={odd}/index.txt'], 'expected "blues.00000.wav :::'),
        (['ma', '--data=features={odd}/none.csv'], "there is no file or folder '"),
        (['ma', '--data=features={odd}/text.csv'], "no column 'filename'"),
        (['ma', '--data=features={odd}'], 'is no file'),
        (['ma', '--data=features={odd}/other.csv'], "'soul' is no genre of GTZAN"),
        (['ma', '--data=feature={table}'], "ma has no data 'feature'; did you mean 'features'?"),
        (['ma', '--data=features'], 'expected KEY=PATH'),
        (['ma', '--data=features=feature_tabel:{table}'], "did you mean 'feature_table'?"),
        (['wu', '--data=audio={odd}/text.csv'], 'text.csv'),
        (['ma', '--data=features={table}', '--only=xyz'], 'no row of ma matches'),
        (['ma', '--data=features={table}', '--only=['], 'no regular expression'),
        (['ma', '--data=features={table}', '--protocols=artist'], "unknown protocol 'artist'"),
        (['ma', '--data=features={table}', '--set=train.lenght=1'], "did you mean 'train.length'?"),
        (['ma', '--data=features={table}', '--set=train.batch_size=x'], '--set=train.batch_size=x'),
        (['ma', '--data=features={table}', '--set=train'], 'expected KEY=VALUE'),
        (['ma', '--data=features={table}', '--set=train.length=long'], 'expected a duration'),
    ],
)
def test_mistakes_are_one_line(words, expected, odd, table, tmp_path, monkeypatch):
    monkeypatch.chdir(program.ROOT)
    name, *texts = (word.format(odd=odd, table=table) for word in words)
    given = {key: [] for key in ('data', 'only', 'protocols', 'set')}
    for text in texts:
        key, _, value = text.removeprefix('--').partition('=')
        given[key].append(value)
    with pytest.raises(UserError) as caught:
        one = paper.load(name)
        plan.make_plan(
            one,
            plan.Wishes(
                tmp_path,
                present.parse(one, given['data']),
                plan.check_protocols(given['protocols'] or paper.PROTOCOLS),
                ''.join(given['only']),
                settings=plan.parse_settings(given['set']),
            ),
        )
    assert expected in str(caught.value) and '\n' not in str(caught.value)


def test_mistake_is_exit_code_two(tmp_path):
    begin, workdir = [sys.executable, '-m', 'genre_jax.reproduce'], f'--workdir={tmp_path}'
    for words, expected in (
        (['mah', workdir], "unknown paper 'mah'; did you mean 'ma'?"),
        ([workdir], 'name one paper, herbert, bu'),
        (['ma', workdir], 'no data are given'),
        (['ma'], '--workdir=DIR is needed'),
        (['ma', workdir, '--seeds=x'], '--seeds=x: expected'),
        (['ma', workdir, '--sedes=1'], 'sedes'),
    ):
        done = program.run([*begin, *words])
        assert done.returncode == 2 and done.stderr.count('\n') == 1
        assert expected in done.stderr
    assert not any(tmp_path.iterdir())
